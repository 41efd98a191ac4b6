"""What a `[learner]` table of each kind of bound may say; those that are only presented otherwise are recipes of kind "naive"."""

from __future__ import annotations

from typing import Literal

from nlbench.learners.gradient_config import GradientConfig


class IndependentConfig(GradientConfig):
    """Plain fine-tuning that starts anew at every task."""

    kind: Literal["independent"]
