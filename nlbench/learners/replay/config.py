"""What a `[learner]` table of each method that stores samples may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlbench.learners.config import PositiveFloat, PositiveInt
from nlbench.learners.gradient_config import GradientConfig

NotNegative = Annotated[float, Field(ge=0)]


class ReplayConfig(GradientConfig):
    """What every method that stores samples is told."""

    capacity: PositiveInt = 500
    """Samples stored."""
    replayed: PositiveInt | None = None
    """Stored samples in a step; None: as many as the batch has."""


class ErConfig(ReplayConfig):
    """Experience replay: each batch beside stored samples."""

    kind: Literal["er"]
    policy: Literal["reservoir", "balanced", "ring"] = "reservoir"
    stratified: bool = False
    """Whether as many samples are drawn of each class."""


class ErAceConfig(ReplayConfig):
    """Experience replay whose new samples compete among their own classes alone."""

    kind: Literal["er-ace"]


class AGemConfig(ReplayConfig):
    """Gradients never against that of stored samples on average."""

    kind: Literal["a-gem"]


class GemConfig(ReplayConfig):
    """Gradients never against that of any former task's stored samples."""

    kind: Literal["gem"]
    margin: NotNegative = 0.5
    """Least share of each former task's gradient in what is added where one is violated: the paper's γ."""


class DerConfig(ReplayConfig):
    """Dark experience replay: stored samples keep the logits that they had."""

    kind: Literal["der"]
    alpha: NotNegative = 1.0
    """Weight of the distance from the stored logits."""


class DerppConfig(ReplayConfig):
    """Dark experience replay that also asks for the labels of stored samples."""

    kind: Literal["derpp"]
    alpha: NotNegative = 1.0
    """Weight of the distance from the stored logits."""
    beta: NotNegative = 0.5
    """Weight of the cross-entropy on stored samples."""


class MirConfig(ReplayConfig):
    """Experience replay of those samples that the next step would harm most."""

    own_rates: ClassVar[str] = "it looks a step ahead at the optimizer's whole rate"

    kind: Literal["mir"]
    candidates: PositiveInt = 50
    """Stored samples among which these are looked for."""


class GdumbConfig(ReplayConfig):
    """A network trained anew, on nothing but a balanced buffer, whenever a task ends."""

    own_rates: ClassVar[str] = "the rate of its passes is a cosine, from the optimizer's to least_rate"

    kind: Literal["gdumb"]
    passes: PositiveInt = 63
    """Over the buffer, each time."""
    fit_batch: PositiveInt = 16
    """Samples a step of these passes."""
    least_rate: PositiveFloat = 5e-4
    """Where the rate ends in each cycle of the cosine."""


class IcarlConfig(ReplayConfig):
    """Exemplars chosen by herding, distillation, and the nearest mean of exemplars."""

    kind: Literal["icarl"]
    capacity: Annotated[int, Field(ge=1, le=32768)] = 500
    """Samples stored: as many as ranks have room for at most."""
    candidates: PositiveInt = 500
    """Samples of the task at hand among which exemplars are chosen when it ends."""


class BicConfig(ReplayConfig):
    """Distillation, and a bias of the newest classes corrected on stored samples that were not trained on."""

    kind: Literal["bic"]
    capacity: Annotated[int, Field(ge=2)] = 500
    """Samples stored, those held out among them."""
    temperature: PositiveFloat = 2.0
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the samples, and of the places, that only the correction is fitted to."""
