from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from small_replay import SEEDS, STEPS, Array, Mlp64, equals, flat, learner, of_surprise, shaped, steps, surprise

from nlbench.learners.replay.gem import EASED, multipliers


class Gem:
    """Lopez-Paz & Ranzato 2017, eq. 11 and 12, of one seed in NumPy, the dual solved by a general method."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self.projected = 0

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        logits = network.logits(x)
        gradient = network.gradient(x, of_surprise(logits, y, classes))
        assert len(drawn) == step // STEPS  # one for each former task
        if drawn:
            g = flat(gradient)
            rows = [
                flat(network.gradient(old["inputs"], of_surprise(network.logits(old["inputs"]), old["labels"], classes)))
                for old in drawn
            ]
            against = np.stack(rows)
            if (against @ g < 0).any():
                self.projected += 1
                gradient = shaped(g + against.T @ by_a_general_method(against @ against.T, against @ g, self._margin), gradient)
        return surprise(logits, y, classes).mean(), gradient


def by_a_general_method(gram: Array, along: Array, margin: float) -> Array:
    eased = gram + EASED * np.trace(gram) / len(gram) * np.eye(len(gram))
    found = minimize(
        lambda v: 0.5 * v @ eased @ v + along @ v,
        np.full(len(gram), margin + 1.0),
        jac=lambda v: eased @ v + along,
        bounds=[(margin, None)] * len(gram),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 10_000},
    )
    return found.x


def test_gem_equals_its_rendering() -> None:
    made, renderings = learner("gem", margin=0.3, capacity=9), [Gem(0.3) for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(each.projected > 0 for each in renderings)


def test_what_is_stored_is_the_newest_of_each_task_and_no_step_raises_a_former_task_s_loss() -> None:
    made = learner("gem", margin=0.0, capacity=9)
    for task, *_ in steps(made):
        sizes = np.bincount(made.buffer.fields["task"][0].numpy()[made.buffer.filled[0].numpy()], minlength=3)
        assert (sizes[task:] == 0).all()
    assert sizes.tolist() == [3, 3, 3]


def test_multipliers_are_optimal() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    for _ in range(50):
        rows, g, margin = rng.standard_normal((4, 9)), rng.standard_normal(9), rng.choice([0.0, 0.5])
        gram, along = rows @ rows.T, rows @ g
        v = multipliers(gram, along, margin)
        if (along >= 0).all():
            assert (v == 0).all()
            continue
        slope = gram @ v + along + EASED * np.trace(gram) / 4 * v
        np.testing.assert_allclose(slope[v > margin + 1e-9], 0, atol=1e-8)
        assert (slope > -1e-8).all()
        assert (v >= margin).all()
