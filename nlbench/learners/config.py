"""What a `[learner]` table may say of each kind that brings its own network, or none. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nlbench.specs.model import Closed

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Widths = Annotated[tuple[PositiveInt, ...], Field(strict=False)]


class MlpConfig(Closed):
    """Plain fine-tuning of a ReLU multi-layer perceptron with SGD."""

    kind: Literal["mlp"]
    hidden: Widths = (256, 256)
    rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class CmsConfig(Closed):
    """A continuum memory: residual blocks, each updated once in its own period of steps (Behrouz et al. 2025, eq. 70-74).

    sequential  a chain; every level keeps what it learned
    nested      the same chain; at its parent's boundary a level returns to its initial state, which learns by FOMAML
    headwise    all levels read the embedding, and a learned mix of them is read out
    """

    kind: Literal["cms"]
    width: PositiveInt | None = None
    """Of a learned linear embedding, which goes with the slowest level; None: the first level reads the inputs themselves."""
    hidden: PositiveInt = 128
    """Units of all levels together."""
    periods: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (1, 16, 256)
    variant: Literal["sequential", "nested", "headwise"] = "sequential"
    rate: PositiveFloat = 0.1
    reduction: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _distinct(self) -> CmsConfig:
        if len(set(self.periods)) != len(self.periods):
            raise ValueError(f"periods: must differ from each other, as a level is named by its period, got {list(self.periods)}")
        return self


class ChanceConfig(Closed):
    """The most frequent label so far, whatever the input."""

    kind: Literal["chance"]


class InContextConfig(Closed):
    """The last samples stay in sight, and are attended to."""

    kind: Literal["in-context"]
    window: PositiveInt = 500
    """Samples in sight."""
    sharpness: PositiveFloat = 20.0
    """What cosines are multiplied by before the softmax."""


class EstimatorConfig(Closed):
    """An estimator with `partial_fit`, as scikit-learn has them, one a seed."""

    kind: Literal["estimator"]
    build: str = "sklearn.linear_model:SGDClassifier"
    """What makes it, called with `options`: `sklearn.linear_model:SGDClassifier`, `./mine.py:function`."""
    options: dict[str, Any] = Field(default_factory=dict)
