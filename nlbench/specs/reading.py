"""How a file of one's own is read: the table `[stream.read]` beside `source = "./file"`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.specs.model import Closed


class Reading(Closed):
    """What a file does not say of itself.

    labels, tasks, split, text, image  names of columns; the names here are looked for where none is given
    test         a file with the test set; without one, and without a column `split` that says "test", a fixed fifth of each class
    layout       of images: channels first or last
    size         images are made this high and wide, bilinear; in files they must all be alike otherwise
    standardise  with mean and deviation of the training set: of all numbers (images), of each number of a sample, or of each
                 channel of an image (all else), or not at all
    """

    labels: str = "label"
    tasks: str = "task"
    split: str = "split"
    text: str = "text"
    image: str = "image"
    test: str | None = None
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    size: Annotated[int, Field(ge=1)] | None = None
    standardise: Literal["all", "each", "none"] | None = None
    features: Annotated[int, Field(ge=1)] = 2048
    """Hashed features of a text."""
