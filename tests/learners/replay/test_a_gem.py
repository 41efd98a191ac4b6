from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_replay import SEEDS, Array, Mlp64, equals, flat, learner, of_surprise, shaped, surprise


class AGem:
    """Chaudhry et al. 2019, eq. 11, of one seed in NumPy."""

    def __init__(self) -> None:
        self.projected = self.free = 0

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        logits = network.logits(x)
        gradient = network.gradient(x, of_surprise(logits, y, classes))
        for old in drawn:
            reference = network.gradient(old["inputs"], of_surprise(network.logits(old["inputs"]), old["labels"], classes))
            g, r = flat(gradient), flat(reference)
            if g @ r < 0:
                self.projected += 1
                gradient = shaped(g - (g @ r) / (r @ r) * r, gradient)
            else:
                self.free += 1
        return surprise(logits, y, classes).mean(), gradient


def test_a_gem_equals_its_rendering_where_it_projects_and_where_it_does_not() -> None:
    made, renderings = learner("a-gem", replayed=3), [AGem() for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(each.projected > 0 and each.free > 0 for each in renderings)
