"""What a `[learner]` table of each kind of bound may say; those that are only presented otherwise are recipes of kind "naive"."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.learners.gradient_config import GradientConfig


class IndependentConfig(GradientConfig):
    """Plain fine-tuning that starts anew at every task."""

    kind: Literal["independent"]


class AveragedConfig(GradientConfig):
    """Plain fine-tuning that answers by an average of its weights so far."""

    kind: Literal["averaged"]
    power: Annotated[float, Field(ge=0, le=1e6)] = 8.0
    """η: 0 weighs every step alike; about the last 1 / (η + 1) of them count."""
