"""What a `[learner]` table of each generative method may say. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nlbench.learners.config import PositiveFloat, PositiveInt
from nlbench.learners.gradient_config import GradientConfig


class DgrConfig(GradientConfig):
    """Deep generative replay: a variational autoencoder makes the samples of old tasks."""

    kind: Literal["dgr"]
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)] = (400, 400)
    """Units of the encoder's layers; the decoder has them in reverse."""
    latent: PositiveInt = 100
    """Numbers in a code."""
    decoder: Literal["gaussian", "bernoulli"] = "gaussian"
    """Normal about its answer, for any numbers; or its answer is how likely a pixel is bright, for pixels from 0 to 1."""
    variance: PositiveFloat = 0.1
    """Of the normal decoder about its answer: the less, the more a generated sample is to look like a true one."""
    generated: PositiveInt | None = None
    """Generated samples in a step; None: as many as the batch has."""

    @model_serializer(mode="wrap")
    def _older_runs_stay_the_same(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A declaration says `decoder` only where it is not what it was before there was the key."""
        return {key: value for key, value in whole(self).items() if (key, value) != ("decoder", "gaussian")}

    @model_validator(mode="after")
    def _variance_of_gaussian(self) -> DgrConfig:
        if self.decoder != "gaussian" and self.variance != type(self).model_fields["variance"].default:
            raise ValueError('variance: needs decoder = "gaussian"')
        return self
