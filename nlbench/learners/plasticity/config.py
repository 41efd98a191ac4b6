"""What a `[learner]` table of each method for plasticity may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.learners.gradient_config import GradientConfig

NotNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class L2InitConfig(GradientConfig):
    """Regenerative regularisation: weights are drawn back to where they started."""

    kind: Literal["l2-init"]
    strength: NotNegative = 1e-3


class ShrinkAndPerturbConfig(GradientConfig):
    """Before a new task, weights shrink and noise is added."""

    kind: Literal["shrink-and-perturb"]
    keep: Share = 0.6
    """What is left of each weight."""
    noise: NotNegative = 0.01
    """Standard deviation of what is added."""


class ContinualBackpropConfig(GradientConfig):
    """Units of least use are replaced by new ones, a few at a time."""

    kind: Literal["continual-backprop"]
    replaced: Share = 1e-4
    """ρ: the share of a layer's mature units that is replaced each step."""
    maturity: Annotated[int, Field(ge=0)] = 100
    """Steps during which a new unit is not replaced."""
    decay: Decay = 0.99
    """Of the running utility."""


class UpgdConfig(GradientConfig):
    """Weights of little use move and are perturbed, useful ones less."""

    kind: Literal["upgd"]
    decay: Decay = 0.999
    """Of the running utility."""
    noise: NotNegative = 1e-3
    """Standard deviation of what is added to the gradient."""
