"""What a `[learner]` table of kind "projected" may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from nlbench.specs.model import Closed

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Pair = Annotated[tuple[PositiveInt, PositiveInt], Field(strict=False)]


class InputKeys(Closed):
    """The inputs themselves."""

    kind: Literal["inputs"] = "inputs"


class ConvolutionKeys(Closed):
    """Two layers of random local filters, each followed by ReLU and average pooling: for images, never changed."""

    kind: Literal["convolution"]
    filters: Pair = (32, 300)
    sizes: Pair = (5, 4)
    pools: Pair = (2, 3)


class RandomKeys(Closed):
    """Random ReLU features of plain vectors. After `warm_up` batches they change once, into the metric of the inputs seen."""

    kind: Literal["random"]
    width: PositiveInt = 512
    bias: NotNegative = 0.5
    """Standard deviation of the biases, in standard deviations of the features."""
    warm_up: Annotated[int, Field(ge=0)] = 0
    """Batches whose second moments C are gathered; 0 never looks at the inputs."""
    smoothing: NotNegative = 0.25
    """Weights are multiplied by C to this power: inputs that vary together get weights alike."""
    locality: NotNegative = 4.0
    """A unit's weights fade with their inputs' correlation with its centre, to a power from 0 (first unit) to this (last)."""


class ProjectedLevel(Closed):
    """One hidden level of the continuum memory."""

    width: PositiveInt
    period: PositiveInt = 1
    rate: PositiveFloat = 0.5
    ridge: PositiveFloat = 500.0
    retain: Share = 1.0
    """What the level keeps of its metric at every batch that it gathers."""


class Readout(Closed):
    """The read-out memory and how it is written.

    exact      the least-squares memory of every pair so far, in the metric of all keys
    protected  one bounded step a batch on softmax cross-entropy, in the metric of past keys
    dgd        one step of delta gradient descent a batch, in no metric (Behrouz et al. 2025, eq. 93)
    """

    rule: Literal["exact", "protected", "dgd"] = "exact"
    rate: PositiveFloat = 0.5
    ridge: PositiveFloat = 10.0
    retain: Share = 1.0
    slack: NotNegative = 0.0
    """Self-generated values: how far beyond its label's value a reading may lie and still be its own target."""
    surprise: NotNegative = 0.0
    """Self-generated rates: a token is written 1 + this times its surprise."""


class SelfReference(Closed):
    """Memories that make keys, values, rates and retentions from the slow keys, and learn by what they make (eq. 83-90)."""

    makes: Annotated[tuple[Literal["keys", "rates", "retentions"], ...], Field(strict=False, min_length=1)]
    """What the writes of the learner's own memories take from them; values are the targets that they set themselves."""
    forget: Share = 0.001
    """The most that a token may take from what was written before it."""


class ProjectedConfig(Closed):
    """Fixed features, levels from slow to fast and a read-out; all retain in the metric of past keys.

    Without levels and with the exact read-out it is ridge regression on frozen features (ACIL, RanPAC, RanDumb); levels step
    where past keys leave room (OWM).
    """

    kind: Literal["projected"]
    keys: Annotated[InputKeys | RandomKeys | ConvolutionKeys, Field(discriminator="kind")] = InputKeys()
    levels: Annotated[tuple[ProjectedLevel, ...], Field(strict=False)] = ()
    readout: Readout = Readout()
    bound: PositiveFloat = 2.0
    """The longest step of a level, before its rate."""
    self_reference: SelfReference | None = None
    metric: bool = True
    """False takes the metric from the hidden levels: plain gradient steps."""
    refresh: PositiveInt = 64
    """Batches between two refreshes of what the metrics protect and of what an exact read-out learns by; before the first, after
    1, 2, 4, … Of one that learns by no reading, these go on doubling. What it is asked, it answers by all it has seen."""
    share: PositiveInt = 1
    """Every how many batches the metrics of levels gather keys."""

    @property
    def by_readings(self) -> bool:
        """Whether what is written depends on what is read: always but where labels alone are, and no level below is told errors;
        then a reading makes no more than the loss that is told.
        """
        own = self.readout
        return own.rule != "exact" or bool(self.levels) or own.slack > 0 or own.surprise > 0

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A learner without self-reference is the learner it was before there was one."""
        return {key: value for key, value in dump(self).items() if key != "self_reference" or value is not None}

    @model_validator(mode="after")
    def _slow_to_fast(self) -> ProjectedConfig:
        periods = [level.period for level in self.levels]
        if periods != sorted(periods, reverse=True):
            raise ValueError(f"levels: must go from slow to fast, got periods {periods}")
        return self
