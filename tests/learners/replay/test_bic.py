from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from small_replay import SEEDS, STEPS, Array, B, C, Mlp64, batches, equals, learner, of_surprise, softmax, steps, surprise
from small_streams import CPU

from nlbench import Batch
from nlbench.learners import draws

T, SHARE = 2.0, 0.3


class Bic:
    """Wu et al. 2019, eq. 1-3, of one seed in NumPy, the correction taken from the learner when a task begins."""

    def __init__(self, seed: int, made: Any) -> None:
        self.distilled: list[float] = []
        self.held_out = 0
        self._seed, self._made = seed, made
        self._former: dict[str, Array] = {}
        self._known: set[int] = set()
        self._met: set[int] = set()
        self._starts = draws.starts((SEEDS[seed],), "held-out/chosen", CPU)

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        if step and step % STEPS == 0:
            self._former, self._known, self._met = dict(network.values), self._known | self._met, set()
            scale, offset = self._made.correction[self._seed].double().tolist()
            newest = self._made.corrected[self._seed].numpy().copy()
            self._corrected = lambda o: np.where(newest, scale * o + offset, o)
        self._met |= set(y.tolist())
        numbers = draws.numbers(self._starts, step * B + torch.arange(B))[0].numpy()
        trained = numbers >= SHARE * 2**draws.BITS
        self.held_out += int((~trained).sum())
        for old in drawn:
            x, y = np.concatenate([x, old["inputs"]]), np.concatenate([y, old["labels"]])
            trained = np.concatenate([trained, np.ones(len(old["labels"]), bool)])
        x, y = x[trained], y[trained]
        logits = network.logits(x)
        loss, of_logits = surprise(logits, y, classes).mean(), of_surprise(logits, y, classes)
        if self._known:
            old_classes, share = np.isin(np.arange(C), list(self._known)), len(self._known) / (len(self._known) + len(self._met))
            targets = softmax(self._corrected(network.logits(x, self._former)) / T, old_classes)
            now = softmax(logits / T, old_classes)
            apart = -(targets[:, old_classes] * np.log(now[:, old_classes])).sum(1).mean()
            self.distilled.append(float(abs(now - targets).max()))
            loss = share * apart + (1 - share) * loss
            of_logits = share * (now - targets) / (T * len(x)) + (1 - share) * of_logits
        return loss, network.gradient(x, of_logits)


@pytest.mark.parametrize("tasks", [(1, 2, 3), (1, 2, 1)])
def test_bic_equals_its_rendering_also_where_classes_come_back(tasks: tuple[int, ...]) -> None:
    made = learner("bic", capacity=12, held_out=SHARE, temperature=T, replayed=3)
    renderings = [Bic(seed, made) for seed in range(len(SEEDS))]
    equals(made, renderings, tasks)  # type: ignore[arg-type]
    assert all(len(each.distilled) == 10 and max(each.distilled) > 0.01 for each in renderings)
    assert all(5 < each.held_out < 40 for each in renderings)


def test_what_is_held_out_is_never_trained_on_and_the_newest_classes_are_put_right() -> None:
    made: Any = learner("bic", capacity=12, held_out=SHARE)
    held_out: set[bytes] = set()
    for *_, drawn in steps(made):
        held_out |= {row.tobytes() for row in made.held_out.fields["inputs"][0].double().numpy() if row.any()}
        for old in drawn:
            assert not held_out & {row.tobytes() for row in old["inputs"][0]}
    assert len(held_out) > 4
    assert made.corrected[0].tolist() == [False] * 4 + [True] * 2
    x = batches(3)[0].inputs
    answers, raw = made.predict(x, None), made.logits(x, None, training=False).detach()
    assert torch.equal(answers[..., :4], raw[..., :4])
    scale, offset = made.correction[:, :1, None], made.correction[:, 1:, None]
    torch.testing.assert_close(answers[..., 4:], scale * raw[..., 4:] + offset)
    assert (made.correction - torch.tensor([1.0, 0.0])).abs().min() > 1e-3


def test_a_batch_that_would_leave_nothing_to_draw_is_not_held_out() -> None:
    made: Any = learner("bic", capacity=8, held_out=0.9)
    (first, second, *_) = batches(1)
    for batch in (first, second):
        made.observe(Batch(batch.inputs[:, :1], batch.labels[:, :1], batch.classes, None))
    assert made.buffer.filled.any(1).all()
    assert made.held_out.filled.any()
    assert made.buffer.sample(4)["inputs"].flatten(2).any(2).all()


def test_both_kinds_of_samples_have_room() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        learner("bic", capacity=1)
