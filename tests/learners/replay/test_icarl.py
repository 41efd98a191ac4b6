from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from small_replay import SEEDS, STEPS, Array, C, Mlp64, batches, equals, learner


class Icarl:
    """Rebuffi et al. 2017, eq. 1, of one seed in NumPy, with the targets of algorithm 3."""

    def __init__(self) -> None:
        self.distilled: list[float] = []
        self._former: dict[str, Array] = {}
        self._known: set[int] = set()
        self._met: set[int] = set()

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        if step and step % STEPS == 0:
            self._former, self._known, self._met = dict(network.values), self._known | self._met, set()
        self._met |= set(y.tolist())
        for old in drawn:
            x, y = np.concatenate([x, old["inputs"]]), np.concatenate([y, old["labels"]])
        shares, targets = sigmoid(network.logits(x)), np.eye(C)[y]
        if self._known:
            known = sorted(self._known - self._met)
            targets[:, known] = sigmoid(network.logits(x, self._former))[:, known]
            self.distilled.append(float(abs(shares - targets)[:, known].max()))
        losses = -(targets * np.log(shares) + (1 - targets) * np.log(1 - shares))
        return losses[:, classes].mean(), network.gradient(x, (shares - targets) * classes / (len(x) * classes.sum()))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def directions(network: Mlp64, x: Array) -> Array:
    features = network.features(x)
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)


def test_icarl_equals_its_rendering() -> None:
    made, renderings = learner("icarl", capacity=9, candidates=12, replayed=3), [Icarl() for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(len(each.distilled) == 10 and max(each.distilled) > 0.003 for each in renderings)


def test_a_class_of_a_former_task_that_is_shown_again_is_learned_by_its_labels() -> None:
    made, renderings = learner("icarl", capacity=9, candidates=12, replayed=3), [Icarl() for _ in SEEDS]
    equals(made, renderings, tasks=(1, 2, 1))  # type: ignore[arg-type]


def test_exemplars_are_those_that_herding_chooses_among_the_candidates() -> None:
    made = learner("icarl", capacity=6, candidates=12)
    for batch in batches(1):
        made.observe(batch)
    stored = {name: value.clone().numpy() for name, value in made.candidates.fields.items()}  # type: ignore[attr-defined]
    networks = [Mlp64(made.parameters, seed) for seed in range(len(SEEDS))]
    made.end_task()
    for seed, network in enumerate(networks):
        exemplars = {row.tobytes() for row in made.buffer.fields["inputs"][seed].numpy()}
        for label in (0, 1):
            x = stored["inputs"][seed][stored["labels"][seed] == label]
            phi, chosen = directions(network, x.astype(np.float64)), []
            for k in range(1, 4):
                gaps = [np.linalg.norm(phi.mean(0) - (phi[chosen].sum(0) + each) / k) for each in phi]
                chosen.append(int(np.argmin([np.inf if i in chosen else gap for i, gap in enumerate(gaps)])))
            assert {x[i].tobytes() for i in chosen} <= exemplars
    assert made.candidates.empty  # type: ignore[attr-defined]
    assert np.bincount(made.buffer.fields["labels"][0].numpy()).tolist() == [3, 3]


def test_answers_are_the_nearest_mean_of_exemplars_and_of_candidates_while_there_are_none() -> None:
    made = learner("icarl", capacity=9, candidates=12)
    for task, step in ((task, step) for task in (1, 2) for step in range(STEPS)):
        made.observe(batches(task)[step])
        if step == STEPS - 1 and task == 1:
            made.end_task()
    x = batches(2)[0].inputs
    logits = made.predict(x, None).numpy()
    for seed in range(len(SEEDS)):
        network = Mlp64(made.parameters, seed)
        phi = directions(network, x[seed].double().numpy())
        for label in range(C):
            buffer = made.buffer if label < 2 else made.candidates  # type: ignore[attr-defined]
            chosen = (buffer.fields["labels"][seed] == label) & buffer.filled[seed]
            if label > 3:
                assert (logits[seed, :, label] == -5).all()
                continue
            mean = directions(network, buffer.fields["inputs"][seed][chosen].double().numpy()).mean(0)
            distances = ((phi - mean / np.linalg.norm(mean)) ** 2).sum(1)
            np.testing.assert_allclose(logits[seed, :, label], -distances, rtol=1e-3, atol=1e-4)


def test_means_follow_the_network() -> None:
    made = learner("icarl")
    for batch in batches(1):
        made.observe(batch)
    made.end_task()
    x, batch = batches(1)[0].inputs, batches(2)[0]
    made.predict(x, None)
    made.observe(batch)
    answers = made.predict(x, None)
    made._means = None  # type: ignore[attr-defined]
    assert torch.equal(made.predict(x, None), answers)
