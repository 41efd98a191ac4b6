"""What is known of values and contexts, the rules for these, and what is said of a chunk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass
class Values:
    """What is known of values and contexts. Contiguous, changed in place.

    squares  (S, D), Σ w x² over all keys
    sums, counts   (S, G, C, D), (S, G, C), Σ w x and Σ w of values
    belief, doubts   (S, G): which contexts chunks lately belonged to; log odds against what a context says
    used     (S,) int64, contexts that there are
    """

    squares: Tensor
    sums: Tensor
    counts: Tensor
    belief: Tensor
    doubts: Tensor
    used: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [self.squares, self.sums, self.counts, self.belief, self.doubts, self.used]


class Assigned(NamedTuple):
    """chosen     (S,) int64, one of the contexts used or the next, which is then used too, though there may be no room for it yet
    expected   (S, B), how likely it held each label before, among those it knows; 0 where it does not know the label
    plausible  (S, B), the probability that a key is of its label's value rather than of a new one; 0 as above
    """

    chosen: Tensor
    expected: Tensor
    plausible: Tensor


@dataclass(frozen=True, slots=True)
class Rules:
    """contexts   at most; 1 chooses nothing
    opening    nats by which a new context must explain a chunk better than any that there is
    hazard     prior probability that a chunk belongs where none did lately
    warm_up    samples before a second context may be opened
    doubt      nats a token that a context loses for other labels that it would have given; 0 doubts none
    tolerance  probability of other labels up to which a context is not doubted
    least      the deepest doubt
    """

    contexts: int
    opening: float
    hazard: float
    warm_up: int
    doubt: float
    tolerance: float
    least: float
