"""What a `[learner]` table of each kind of projecting learner may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.learners.gradient_config import GradientConfig

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class OwmConfig(GradientConfig):
    """Orthogonal weight modification (Zeng et al. 2019)."""

    kind: Literal["owm"]
    alpha: PositiveFloat = 1.0
    """How long a direction must be, squared and summed over batches, to be half closed."""


class SpanConfig(GradientConfig):
    """What every method is told that spans what layers see of a task."""

    thresholds: Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] = (0.95, 0.99)
    """What share of a layer's squared inputs is to be spanned: of the first layer, the second, …; the last for all others."""
    samples: PositiveInt = 300
    """Of a task, whose inputs to every layer are decomposed at its end."""


class GpmConfig(SpanConfig):
    """Gradient projection memory (Saha et al. 2021)."""

    kind: Literal["gpm"]


class ScaledConfig(SpanConfig):
    """What is told where weights are scaled along what related tasks span."""

    related: PositiveInt = 2
    """Most former tasks that a layer's weights are scaled for: those that span most of the first gradient."""
    sufficient: Share = 0.5
    """ε₁: what share of the first gradient's length a task must span to be related."""


class TrgpConfig(ScaledConfig):
    """Trust region gradient projection (Lin et al. 2022)."""

    kind: Literal["trgp"]


class CuberConfig(ScaledConfig):
    """Gradient projection with backward transfer (CUBER; Lin et al. 2022)."""

    kind: Literal["cuber"]
    aligned: Annotated[float, Field(ge=-1, lt=1)] = 0.0
    """ε₂: the least cosine between the gradients of a former and of the present task for which the former's weights may move."""
    strength: Annotated[float, Field(ge=0)] = 1.0
    """λ: of the penalty on how far weights move within what such a task spans."""
