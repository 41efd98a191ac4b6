"""What a `[learner]` table of each generative method may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.learners.config import PositiveFloat, PositiveInt
from nlbench.learners.gradient_config import GradientConfig


class DgrConfig(GradientConfig):
    """Deep generative replay: a variational autoencoder makes the samples of old tasks."""

    kind: Literal["dgr"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (400, 400)
    """Units of the encoder's layers; the decoder has them in reverse."""
    latent: PositiveInt = 100
    """Numbers in a code."""
    variance: PositiveFloat = 0.1
    """Of the decoder about its answer: the less, the more a generated sample is to look like a true one."""
    generated: PositiveInt | None = None
    """Generated samples in a step; None: as many as the batch has."""
