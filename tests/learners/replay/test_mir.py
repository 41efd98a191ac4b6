from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_replay import SEEDS, Array, Mlp64, equals, learner, of_surprise, surprise


class Mir:
    """Aljundi et al. 2019, eq. 1, of one seed in NumPy: of the candidates drawn first, it looks for the worst itself."""

    def __init__(self) -> None:
        self.harms: list[float] = []

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        if drawn:
            _, once = np.unique(drawn[0]["inputs"], axis=0, return_index=True)
            inputs, labels = drawn[0]["inputs"][once], drawn[0]["labels"][once]
            moved = network.moved(network.gradient(x, of_surprise(network.logits(x), y, classes)))
            before, after = (surprise(network.logits(inputs, each), labels, classes) for each in (network.values, moved))
            worst = np.argsort(before - after, kind="stable")[:2]
            self.harms.append(float((after - before)[worst].min()))
            x, y = np.concatenate([x, inputs[worst]]), np.concatenate([y, labels[worst]])
        logits = network.logits(x)
        return surprise(logits, y, classes).mean(), network.gradient(x, of_surprise(logits, y, classes))


def test_mir_equals_its_rendering_and_finds_samples_that_the_step_harms() -> None:
    made, renderings = learner("mir", replayed=2, candidates=6), [Mir() for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(each.harms and max(each.harms) > 0.01 for each in renderings)
