"""What a `[learner]` table of each kind of projecting learner may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.learners.config import GradientConfig

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class OwmConfig(GradientConfig):
    """Orthogonal weight modification (Zeng et al. 2019)."""

    kind: Literal["owm"]
    alpha: PositiveFloat = 1.0
    """How long a direction must be, squared and summed over batches, to be half closed."""


class GpmConfig(GradientConfig):
    """Gradient projection memory (Saha et al. 2021)."""

    kind: Literal["gpm"]
    thresholds: Annotated[tuple[Share, ...], Field(strict=False, min_length=1)] = (0.95, 0.99)
    """What share of a layer's squared inputs is to be spanned: of the first layer, the second, …; the last for all others."""
    samples: PositiveInt = 300
    """Of a task, whose inputs to every layer are decomposed at its end."""
