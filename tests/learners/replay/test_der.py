from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from small_replay import SEEDS, Array, C, Mlp64, added, equals, learner, of_surprise, surprise


class Der:
    """Buzzega et al. 2020, eq. 5 and 6, of one seed in NumPy; a sample's logits are those when it came."""

    def __init__(self, alpha: float, beta: float) -> None:
        self._alpha, self._beta = alpha, beta
        self._answers: dict[bytes, Array] = {}
        self.distances: list[float] = []

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        logits = network.logits(x)
        loss, gradient = surprise(logits, y, classes).mean(), network.gradient(x, of_surprise(logits, y, classes))
        for old in drawn:
            n = len(old["labels"]) // (2 if self._beta else 1)
            inputs, logits_now = old["inputs"], network.logits(old["inputs"])
            apart = logits_now[:n] - np.stack([self._answers[row.tobytes()] for row in inputs[:n]])
            of_logits = np.zeros_like(logits_now)
            of_logits[:n] = 2 * self._alpha * apart / (n * C)
            self.distances.append(float((apart**2).mean()))
            loss += self._alpha * (apart**2).mean()
            if self._beta:
                loss += self._beta * surprise(logits_now[n:], old["labels"][n:], classes).mean()
                of_logits[n:] = self._beta * of_surprise(logits_now[n:], old["labels"][n:], classes)
            gradient = added(gradient, network.gradient(inputs, of_logits))
        self._answers |= {row.tobytes(): answer for row, answer in zip(x, logits, strict=True)}
        return loss, gradient


@pytest.mark.parametrize(("kind", "config"), [("der", {"alpha": 0.7}), ("derpp", {"alpha": 0.7, "beta": 0.4})])
def test_der_equals_its_rendering(kind: str, config: dict[str, float]) -> None:
    made, renderings = learner(kind, replayed=3, **config), [Der(config["alpha"], config.get("beta", 0)) for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(len(each.distances) == 14 and max(each.distances) > 0.01 for each in renderings)
    assert made.buffer.memory_bytes()["samples"] == 8 * (3 * 4 + 8 + 8 + C * 4) + 24
