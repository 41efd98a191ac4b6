"""What a `[learner]` table of each kind of analytic learner may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.networks.config import RandomFourierConfig, RandomReluConfig
from nlbench.specs.kinds import KindOf
from nlbench.specs.model import Closed

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class AnalyticConfig(Closed):
    """What every analytic learner is told: its features, those of any network as it starts, which never learn."""

    network: Annotated[Closed, KindOf("networks")] = RandomReluConfig(kind="random-relu")


class NcmConfig(AnalyticConfig):
    """The nearest class mean."""

    kind: Literal["ncm"]


class SldaConfig(AnalyticConfig):
    """Streaming linear discriminant analysis (Hayes & Kanan 2020)."""

    kind: Literal["slda"]
    shrinkage: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Share of the identity in the covariance that is inverted."""


class FecamConfig(AnalyticConfig):
    """The nearest class in each class's own normalised covariance (Goswami et al. 2023)."""

    kind: Literal["fecam"]
    power: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Of Tukey's transformation; 1 leaves the features as they are, and less needs features that are never negative."""
    shrinkage: Annotated[tuple[PositiveFloat, NotNegative], Field(strict=False)] = (1.0, 1.0)
    """How many mean variances are added to each variance, and how many mean covariances to each covariance."""


class AcilConfig(AnalyticConfig):
    """Recursive least squares on frozen features (Zhuang et al. 2022)."""

    kind: Literal["acil"]
    ridge: PositiveFloat = 0.1


class RanpacConfig(AnalyticConfig):
    """Ridge regression whose ridge is chosen anew after every task (McDonnell et al. 2023)."""

    kind: Literal["ranpac"]
    ridges: Annotated[tuple[PositiveFloat, ...], Field(strict=False, min_length=1)] = tuple(10.0**power for power in range(-8, 9))
    """Candidates; until a task has ended, 1."""
    held_out: Annotated[int, Field(ge=2)] = 5
    """One sample of so many of a task judges the candidates."""


class RandumbConfig(AnalyticConfig):
    """The nearest class mean of random Fourier features, in their common covariance (Prabhu et al. 2024)."""

    kind: Literal["randumb"]
    network: Annotated[Closed, KindOf("networks")] = RandomFourierConfig(kind="random-fourier")


class PecConfig(Closed):
    """Prediction error-based classification (Zając et al. 2024)."""

    kind: Literal["pec"]
    width: PositiveInt = 10
    """Hidden units of a student."""
    teacher_width: PositiveInt = 5000
    outputs: PositiveInt = 99
    rate: PositiveFloat = 0.01
