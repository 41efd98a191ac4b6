from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_replay import SEEDS, Array, C, Mlp64, equals, learner, of_surprise, spied, steps, surprise


class Er:
    """Experience replay of one seed in NumPy."""

    def __init__(self) -> None:
        self.old_losses: list[float] = []

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        for old in drawn:
            self.old_losses.append(float(surprise(network.logits(old["inputs"]), old["labels"], classes).mean()))
            x, y = np.concatenate([x, old["inputs"]]), np.concatenate([y, old["labels"]])
        logits = network.logits(x)
        return surprise(logits, y, classes).mean(), network.gradient(x, of_surprise(logits, y, classes))


@pytest.mark.parametrize("config", [{}, {"policy": "balanced", "replayed": 3}, {"policy": "ring", "stratified": True}], ids=str)
def test_er_equals_its_rendering(config: dict[str, Any]) -> None:
    made, renderings = learner("er", **config), [Er() for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(len(each.old_losses) == 14 and min(each.old_losses) > 1e-3 for each in renderings)
    assert made.buffer.filled.all()


def test_stored_samples_of_a_told_task_compete_among_the_classes_of_then() -> None:
    made = learner("er", scenario="task-il")
    for _, _, losses, drawn in steps(made, "task-il"):
        for old in drawn:
            assert (old["classes"].sum(-1) == 2).all()
            assert np.take_along_axis(old["classes"], old["labels"][..., None], -1).all()
        assert losses.isfinite().all()
    assert len({tuple(row) for row in made.buffer.fields["classes"][0].tolist()}) == 3


def test_a_stratified_step_draws_as_many_of_each_class() -> None:
    made = learner("er", stratified=True, capacity=12, policy="balanced", replayed=6)
    drawn = spied(made)
    for _ in steps(made):
        pass
    assert (np.bincount(drawn[-1]["labels"][0], minlength=C) == 1).all()
