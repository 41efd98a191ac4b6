"""How a file of one's own is read: the table `[stream.read]` beside `source = "./file"`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, ValidationError

from nlbench.errors import SpecError
from nlbench.specs.model import Closed
from nlbench.specs.problems import problems

COLUMNS: Final = tuple(f"stream.read.{key}" for key in ("labels", "tasks", "split", "text", "image", "unused"))
"""Keys whose values name columns, which may be called `0` or `true`."""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class Reading(Closed):
    """What a file does not say of itself.

    labels, tasks, split, text, image  names of columns; the names here are looked for where none is given
    unused       columns that are no part of a sample, such as a row's number; one, or several
    test         a file with the test set; without one, and without a column `split` that says "test", a fixed fifth of each class
    layout       of images: channels first or last; last where nothing is said and that axis alone has 1, 3 or 4 numbers
    size         images are made this high and wide, bicubic; in files they must all be alike otherwise
    channels     images are made grey (1) or coloured (3); in files they must all be alike otherwise
    standardise  with mean and deviation of the training set: of all numbers (images), of each number of a sample, or of each
                 channel of an image (all else), or not at all
    """

    labels: str = "label"
    tasks: str = "task"
    split: str = "split"
    text: str = "text"
    image: str = "image"
    unused: Annotated[tuple[str, ...], BeforeValidator(_several), Field(strict=False)] = ()
    test: str | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    channels: Literal[1, 3] | None = None
    standardise: Literal["all", "each", "none"] | None = None
    features: Annotated[int, Field(ge=1)] = 2048
    """Hashed features of a text."""


def reading(said: Mapping[str, Any], place: str) -> Reading:
    """Return what the table `[stream.read]` says. Raises `SpecError` with every broken rule, naming `place`."""
    try:
        return Reading.model_validate(said)
    except ValidationError as error:
        found = problems(error, place, Reading, said)
        raise SpecError([line.replace(f"{place}: ", f"{place}: stream.read.", 1) for line in found]) from None
