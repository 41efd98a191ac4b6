from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from small_replay import SEEDS, Array, C, Mlp64, added, equals, learner, of_surprise, surprise


class ErAce:
    """Caccia et al. 2022, eq. 4, of one seed in NumPy."""

    def __init__(self) -> None:
        self.kept_apart = 0

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        own = np.isin(np.arange(C), y)
        self.kept_apart += int((classes & ~own).sum())
        logits = network.logits(x)
        loss, gradient = surprise(logits, y, own).mean(), network.gradient(x, of_surprise(logits, y, own))
        for old in drawn:
            logits = network.logits(old["inputs"])
            loss += surprise(logits, old["labels"], classes).mean()
            gradient = added(gradient, network.gradient(old["inputs"], of_surprise(logits, old["labels"], classes)))
        return loss, gradient


def test_er_ace_equals_its_rendering_and_keeps_old_classes_out_of_the_new_samples_loss() -> None:
    made, renderings = learner("er-ace", replayed=3), [ErAce() for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(each.kept_apart > 20 for each in renderings)
