"""What a `[learner.optimizer]` table of each kind may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nlbench.specs.model import Closed

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Betas = Annotated[tuple[Decay, Decay], Field(strict=False)]


class SgdConfig(Closed):
    """Stochastic gradient descent, as torch's."""

    kind: Literal["sgd"] = "sgd"
    rate: PositiveFloat = 0.1
    momentum: Decay = 0.0
    nesterov: bool = False
    weight_decay: NotNegative = 0.0

    @model_validator(mode="after")
    def _momentum_of_nesterov(self) -> SgdConfig:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: needs momentum")
        return self


class AdamConfig(Closed):
    """Adam, as torch's: weight decay is part of the gradient."""

    kind: Literal["adam"]
    rate: PositiveFloat = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NotNegative = 0.0


class AdamWConfig(Closed):
    """AdamW, as torch's: weight decay is beside the gradient."""

    kind: Literal["adamw"]
    rate: PositiveFloat = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NotNegative = 1e-2


class ExpressiveConfig(Closed):
    """A rule of `nlbench.nested.optimizers`; the keys of a subclass are the rule's settings."""

    kind: str
    rate: PositiveFloat
    weight_decay: NotNegative = 0.0

    def settings(self) -> dict[str, Any]:
        """Return the rule's own settings."""
        return {name: value for name, value in self if name not in ("kind", "rate", "weight_decay", "vector_rate")}

    @property
    def rate_of_vectors(self) -> float:
        """Adam's rate, where vectors take Adam."""
        return getattr(self, "vector_rate", self.rate)


class MomentumConfig(ExpressiveConfig):
    """m⁺ = αm - ηg (eq. 33)."""

    kind: Literal["momentum"]
    rate: PositiveFloat = 3e-2
    decay: Decay = 0.9


class PreconditionedMomentumConfig(ExpressiveConfig):
    """m⁺ = αm - ηPg (eq. 47)."""

    kind: Literal["preconditioned-momentum"]
    rate: PositiveFloat = 3e-4
    decay: Decay = 0.9
    beta: Share = 0.999
    eps: PositiveFloat = 1e-8


class DeltaMomentumConfig(ExpressiveConfig):
    """m⁺ = m(αI - η_c ĝᵀĝ) - ηg (eq. 48-49)."""

    kind: Literal["delta-momentum"]
    rate: PositiveFloat = 1e-1
    decay: Decay = 0.9
    contraction: Share = 1.0


class FeatureMomentumConfig(ExpressiveConfig):
    """m⁺ = αm - ηPφ(g) (eq. 51)."""

    kind: Literal["feature-momentum"]
    rate: PositiveFloat = 3e-2
    decay: Decay = 0.9
    coefficients: Annotated[tuple[NotNegative, NotNegative, NotNegative], Field(strict=False)] = (1.0, 0.1, 0.1)


class DmgdConfig(ExpressiveConfig):
    """A momentum that is a small network and learns (eq. 50)."""

    kind: Literal["dmgd"]
    rate: PositiveFloat = 1.0
    decay: Decay = 0.9
    inner_lr: PositiveFloat = 0.1
    inner_decay: Share = 0.99
    hidden: PositiveInt = 16


class ShampooConfig(ExpressiveConfig):
    """L^(-1/4) m R^(-1/4) (eq. 107-111)."""

    kind: Literal["shampoo"]
    rate: PositiveFloat = 3e-2
    vector_rate: PositiveFloat = 1e-3
    """Adam's, for biases and norms."""
    momentum: Decay = 0.9
    decay: Share = 0.99
    refresh: PositiveInt = 20
    damping: PositiveFloat = 1e-6
    one_sided: bool = False


class MuonConfig(ExpressiveConfig):
    """Orthogonalised momentum (eq. 42-44, 52)."""

    kind: Literal["muon"]
    rate: PositiveFloat = 1e-2
    vector_rate: PositiveFloat = 1e-3
    """Adam's, for biases and norms."""
    momentum: Decay = 0.95
    nesterov: bool = True
    ns_steps: PositiveInt = 5


class M3Config(ExpressiveConfig):
    """A fast and a slow orthogonalised momentum (eq. 75, Alg. 1)."""

    kind: Literal["m3"]
    rate: PositiveFloat = 3e-3
    vector_rate: PositiveFloat = 1e-3
    """Adam's, for biases and norms."""
    betas: Annotated[tuple[Share, Share, Share], Field(strict=False)] = (0.95, 0.999, 0.9)
    slow_weight: NotNegative = 0.5
    period: PositiveInt = 32
    ns_steps: PositiveInt = 5


class Cycle(Closed):
    """What every schedule says: it goes through again from its start every so many steps."""

    steps: PositiveInt
    """Of a cycle: a task's batches, if the rate is to follow each task."""
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Steps at the start of a cycle over which the rate rises linearly; the first has 1 / (warm_up + 1) of it."""

    @model_validator(mode="after")
    def _warm_up_within(self) -> Self:
        if self.warm_up >= self.steps:
            raise ValueError(f"warm_up: must be less than the {self.steps} steps of a cycle, got {self.warm_up}")
        return self


class ConstantSchedule(Cycle):
    """The whole rate, once it is warm."""

    kind: Literal["constant"]


class CosineSchedule(Cycle):
    """From the whole rate to the share `least` by half a cosine (Loshchilov & Hutter 2017, eq. 5)."""

    kind: Literal["cosine"]
    least: Share = 0.0


class StepSchedule(Cycle):
    """Multiplied by `drop` every so many steps after the warm-up."""

    kind: Literal["step"]
    every: PositiveInt
    drop: Share = 0.1


ScheduleConfig = ConstantSchedule | CosineSchedule | StepSchedule
"""Told apart by `kind`."""

OptimizerConfig = (
    SgdConfig
    | AdamConfig
    | AdamWConfig
    | MomentumConfig
    | PreconditionedMomentumConfig
    | DeltaMomentumConfig
    | FeatureMomentumConfig
    | DmgdConfig
    | ShampooConfig
    | MuonConfig
    | M3Config
)
"""Told apart by `kind`."""
