"""What a `[learner]` table of each penalty may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nlbench.learners.gradient_config import GradientConfig

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class PenaltyConfig(GradientConfig):
    """What every penalty is told beside network, head and optimizer."""

    strength: NotNegative = 1.0
    """What the penalty is multiplied by; 0 is plain fine-tuning, to the bit."""


class EwcConfig(PenaltyConfig):
    """Elastic weight consolidation: a quadratic penalty weighted by the Fisher information's diagonal."""

    kind: Literal["ewc"]
    terms: Literal["separate", "online"] = "separate"
    """A quadratic term for each task that ended, or one running term around the latest weights."""
    decay: Share = 1.0
    """What is left of the running Fisher information when a task ends; for online terms."""
    samples: PositiveInt = 500
    """Of the present task, kept until it ends for its Fisher information."""
    fisher: Literal["exact", "likeliest"] = "exact"
    """In expectation over all answers of the model to a sample, or of its likeliest answer alone, as in some programmes."""

    @model_serializer(mode="wrap")
    def _older_runs_stay_the_same(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A declaration says `fisher` only where it is not what it was before there was the key."""
        return {key: value for key, value in whole(self).items() if (key, value) != ("fisher", "exact")}

    @model_validator(mode="after")
    def _decay_of_online(self) -> EwcConfig:
        if self.decay != 1 and self.terms == "separate":
            raise ValueError('decay: needs terms = "online"')
        return self


class MasConfig(PenaltyConfig):
    """Memory aware synapses: a quadratic penalty weighted by how far a weight moves the outputs' norm."""

    kind: Literal["mas"]
    samples: PositiveInt = 500
    """Of the present task, kept until it ends for its importances."""
    together: Annotated[int, Field(ge=1, le=128)] = 1
    """Samples, at most, whose mean output's slope counts as one: 1 in the paper, a batch in some programmes."""
    decay: Share = 1.0
    """What is left of earlier tasks' importances when a task ends."""


class SiConfig(PenaltyConfig):
    """Synaptic intelligence: a quadratic penalty weighted by what a weight's way did for the loss."""

    kind: Literal["si"]
    damping: PositiveFloat = 0.1
    """ξ: added to the squared distance that a weight went."""


class RwalkConfig(PenaltyConfig):
    """Riemannian walk: a quadratic penalty weighted by a running Fisher information and by what weights' ways did."""

    kind: Literal["rwalk"]
    every: PositiveInt = 10
    """Δt: steps between updates of the Fisher information and the scores."""
    forget: Annotated[float, Field(gt=0, le=1)] = 0.9
    """α: the weight of the newest steps in the running Fisher information."""
    damping: PositiveFloat = 1e-3
    """ε: added to the distance that a weight went."""
    scores: bool = True
    """Whether what weights' ways did for the loss counts too; without, it is EWC++ of a normalised Fisher information."""


class LwfConfig(PenaltyConfig):
    """Learning without forgetting: what the previous network answers to new samples stays answered so."""

    kind: Literal["lwf"]
    temperature: PositiveFloat = 2.0
