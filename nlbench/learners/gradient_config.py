"""What a `[learner]` table may say of a learner by gradients, whatever its network. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from nlbench.learners.optimizer_config import OptimizerConfig, ScheduleConfig, SgdConfig
from nlbench.networks.config import MlpConfig
from nlbench.specs.kinds import KindOf
from nlbench.specs.model import Closed

HeadKind = Literal["one", "task", "cosine"]


class GradientConfig(Closed):
    """What every learner by gradients is told: its network, its head and its optimizer."""

    network: Annotated[Closed, KindOf("networks")] = MlpConfig(kind="mlp")
    head: HeadKind = "one"
    """One linear layer for all classes, one for each task (task-il), or cosines of features and classes' vectors."""
    optimizer: Annotated[OptimizerConfig, Field(discriminator="kind")] = SgdConfig()
    schedule: Annotated[ScheduleConfig, Field(discriminator="kind")] | None = None
    """What multiplies the optimizer's moves, step by step; None: nothing."""

    own_rates: ClassVar[str] = ""
    """Why a schedule does not go with the method; empty where it does."""

    @field_validator("optimizer", mode="before")
    @classmethod
    def _usual_kind(cls, said: Any) -> Any:
        """A table that says no kind changes values of the usual one."""
        return {"kind": cls.model_fields["optimizer"].default.kind, **said} if isinstance(said, Mapping) else said

    @model_validator(mode="after")
    def _schedule_goes_with_it(self) -> Self:
        if self.schedule is not None and self.own_rates:
            raise ValueError(f"schedule: does not go with it: {self.own_rates}")
        return self


class NaiveConfig(GradientConfig):
    """Plain fine-tuning of any network: nothing is done about forgetting."""

    kind: Literal["naive"]


class SurpriseConfig(Closed):
    """Layers learn from ½‖y + δ‖² of their outputs y beside the loss, δ the gradient of the loss at y (`nested.surprise`)."""

    order: Literal[1, 2] = 1
    """1 holds δ fixed; 2 differentiates through it."""
    weight: Annotated[float, Field(gt=0)] = 0.01


class GabalRates(Closed):
    """Gated, bounded, learned rates: the fields of `nested.gabal.GabalConfig`, which says what each does."""

    base_rate: Annotated[float, Field(gt=0)] = 1e-2
    min_rate: Annotated[float, Field(ge=0)] = 1e-5
    nlms: Annotated[float, Field(gt=0, le=1)] = 1.0
    trust: Annotated[float, Field(gt=0)] = 0.1
    threshold: float = -2.0
    temperature: Annotated[float, Field(gt=0)] = 1.0
    min_retain: Annotated[float, Field(ge=0, le=1)] = 1.0
    meta_rate: Annotated[float, Field(ge=0)] = 1e-2
    meta_clip: Annotated[float, Field(ge=0)] = 1.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.base_rate <= self.min_rate:
            raise ValueError(f"base_rate: must be above min_rate {self.min_rate}, got {self.base_rate}")
        return self


class LevelsConfig(GradientConfig):
    """Every parameter moves once in the period that the network gives it (Behrouz et al. 2025, eq. 71-72); nothing else is done
    about forgetting."""

    own_rates: ClassVar[str] = "levels have rates of their own"

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

    surprise: SurpriseConfig | None = None
    """What layers learn from beside the loss; None: nothing."""
    gabal: GabalRates | None = None
    """Rates that every level makes for itself, in place of the optimizers'; None: the optimizers move the levels."""

    @model_validator(mode="after")
    def _one_rule_a_level(self) -> Self:
        if self.gabal is not None and (self.optimizers or self.scale != "none"):
            raise ValueError("gabal: makes the rates of all levels by itself, and takes no optimizers and no scale")
        if self.head != "one" and (self.surprise or self.gabal):
            raise ValueError(f'head: surprise and gabal go with "one", got "{self.head}"')
        return self

    @field_validator("optimizers")
    @classmethod
    def _named_by_period(cls, optimizers: dict[str, OptimizerConfig]) -> dict[str, OptimizerConfig]:
        for name in optimizers:
            if not name.isdecimal() or int(name) < 1:
                raise ValueError(f"must be named by period, got {name!r}")
        return optimizers
