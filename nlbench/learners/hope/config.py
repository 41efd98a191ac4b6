"""What a `[learner]` table of kind "hope" may say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nlbench.specs.model import Closed

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class HopeConfig(Closed):
    """Slow keys by filters of their own, and a memory that makes its own values, metric and rates; one setting for all streams.

    Switches: `filters`, `contrast`, `groups`, `metric`, `contexts` (1), `doubt` (0), `levels`, `rates` (0).
    """

    kind: Literal["hope"]
    width: PositiveInt | None = None
    """Features of a key; of several groups, those that one metric of the same room has. None takes the rule of `sizes`."""
    filters: bool = True
    """Whether an image's filters are turned into the metric of the first chunk's patches."""
    contrast: bool = True
    """Whether patches of a large image are brought to one contrast before filters read them."""
    groups: bool = True
    """Whether given features are read by several groups of random ones, each in a metric of its own."""
    metric: Literal["surprises", "keys"] = "surprises"
    """What is retained in: the gram of surprises, or that of keys, which is ridge regression."""
    ridge: PositiveFloat | None = None
    """What is added to the gram before it is solved for; None takes the rule of `memory.shrinking`, twice."""
    contexts: PositiveInt = 64
    """At most; 1 takes labels for values as they are."""
    opening: NotNegative = 10.0
    """By how much, in nats, a new context must explain a chunk better than any that there is."""
    hazard: Share = 0.05
    """Prior probability that a chunk belongs where none did lately."""
    decay: Share = 0.93
    """What is left of the belief in a context a token later."""
    warm_up: PositiveInt = 32
    """Samples before a second context may be opened."""
    doubt: NotNegative = 10.0
    """Nats a token that a context loses for other labels it would have given; 0 doubts none."""
    tolerance: Share = 0.25
    """Probability of other labels up to which a context is not doubted."""
    least: Annotated[float, Field(lt=0)] = -276.0
    """The deepest doubt: twelve orders of magnitude, ten times."""
    levels: bool = True
    """Whether levels are learned below the values of contexts, where `sizes.has_levels` says so."""
    rates: NotNegative = 2.0
    """A token counts 1, and this times (1 - p) q more: p how likely its label was held, q that it is of the label's value."""
