"""What a `[learner]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from nlbench.learners.optimizer_config import OptimizerConfig, SgdConfig
from nlbench.networks.config import MlpConfig as MlpNetworkConfig
from nlbench.specs.kinds import KindOf
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


HeadKind = Literal["one", "task", "cosine"]


class GradientConfig(Closed):
    """What every learner by gradients is told: its network, its head and its optimizer."""

    network: Annotated[Closed, KindOf("networks")] = MlpNetworkConfig(kind="mlp")
    head: HeadKind = "one"
    """One linear layer for all classes, one for each task (task-il), or cosines of features and classes' vectors."""
    optimizer: Annotated[OptimizerConfig, Field(discriminator="kind")] = SgdConfig()


class NaiveConfig(GradientConfig):
    """Plain fine-tuning of any network: nothing is done about forgetting."""

    kind: Literal["naive"]


class LevelsConfig(GradientConfig):
    """Every parameter moves once in the period that the network gives it (Behrouz et al. 2025, eq. 71-72); nothing else is done
    about forgetting."""

    kind: Literal["levels"]
    optimizers: dict[str, Annotated[OptimizerConfig, Field(discriminator="kind")]] = Field(default_factory=dict)
    """By period, such as "16": the optimizers of levels that do not take `optimizer`."""
    reduction: Literal["mean", "sum"] = "mean"
    """Of the gradients of a period."""
    scale: Literal["none", "inverse", "root"] = "none"
    """What multiplies a level's rate: 1, 1 / period or √period. A mean with 1 / period slows a rule that ignores the scale of
    gradients by the square of the period."""
    restart: Literal["fomaml", "reptile"] = "fomaml"
    """How the initial states of a nested memory learn: by the gradients of a level's last period, or by where it got to."""

    @field_validator("optimizers")
    @classmethod
    def _named_by_period(cls, optimizers: dict[str, OptimizerConfig]) -> dict[str, OptimizerConfig]:
        for name in optimizers:
            if not name.isdecimal() or int(name) < 1:
                raise ValueError(f"must be named by period, got {name!r}")
        return optimizers


class EstimatorConfig(Closed):
    """An estimator with `partial_fit`, as scikit-learn has them, one a seed."""

    kind: Literal["estimator"]
    build: str = "sklearn.linear_model:SGDClassifier"
    """What makes it, called with `options`: `sklearn.linear_model:SGDClassifier`, `./mine.py:function`."""
    options: dict[str, Any] = Field(default_factory=dict)
