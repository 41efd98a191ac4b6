from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import BATCH, CLASSES, SEEDS, TASKS, Array, Weights, answers, gradient, learned, learner, shown, weights
from small_streams import CPU

from nlbench.errors import NlbenchError
from nlbench.learners import draws
from nlbench.learners.former import Former
from nlbench.learners.generative.dgr import Dgr

HIDDEN, LATENT, VARIANCE, RATE = 5, 2, 0.8, 0.05
dgr = partial(learner, "dgr", hidden=[HIDDEN], latent=LATENT, variance=VARIANCE, optimizer={"kind": "sgd", "rate": RATE})


def decoded(p: Weights, z: Array) -> tuple[Array, Array]:
    hidden = np.maximum(z @ p["generator.decoder0.weight"].T + p["generator.decoder0.bias"], 0)
    return hidden, hidden @ p["generator.decoder1.weight"].T + p["generator.decoder1.bias"]


def slopes_of_generator(p: Weights, x: Array, noise: Array) -> Weights:
    """Return the gradients of the mean bound, by hand."""
    first = np.maximum(x @ p["generator.encoder0.weight"].T + p["generator.encoder0.bias"], 0)
    code = first @ p["generator.encoder1.weight"].T + p["generator.encoder1.bias"]
    means, deviations = code[:, :LATENT], np.exp(code[:, LATENT:] / 2)
    z = means + deviations * noise
    hidden, again = decoded(p, z)
    out = (again - x) / VARIANCE / len(x)
    below = (out @ p["generator.decoder1.weight"]) * (hidden > 0)
    to_z = below @ p["generator.decoder0.weight"]
    to_code = np.hstack([to_z + means / len(x), to_z * noise * deviations / 2 + (deviations**2 - 1) / 2 / len(x)])
    to_first = (to_code @ p["generator.encoder1.weight"]) * (first > 0)
    pairs = {"encoder0": (to_first, x), "encoder1": (to_code, first), "decoder0": (below, z), "decoder1": (out, hidden)}
    found = {f"generator.{name}.weight": slope.T @ seen for name, (slope, seen) in pairs.items()}
    return found | {f"generator.{name}.bias": slope.sum(0) for name, (slope, _) in pairs.items()}


class Noise:
    """The learner's own normal numbers of a seed, one after another."""

    def __init__(self, seed: int) -> None:
        self.starts, self.drawn = draws.starts((seed,), "dgr", CPU), 0

    def __call__(self, n: int) -> Array:
        counters = self.drawn + torch.arange(n * LATENT)
        self.drawn += n * LATENT
        return draws.normals(self.starts, counters)[0].double().numpy().reshape(n, LATENT)


def rendered(seed: int, start: Weights) -> Weights:
    p, former, noise = start, start, Noise(SEEDS[seed])
    known: set[int] = set()
    met: set[int] = set()
    for task in range(1, TASKS + 1):
        share = 1 / task
        for x, y, classes in shown(task, seed):
            parts = [(share, x, y, noise(BATCH))]
            if task > 1:
                made = decoded(former, noise(BATCH))[1]
                logits = answers(former, made)[1]
                labels = np.array([max(known, key=lambda c: row[c]) for row in logits])
                parts.append((1 - share, made, labels, noise(BATCH)))
            steps = {name: np.zeros_like(value) for name, value in p.items()}
            for weight, inputs, labels, e in parts:
                for name, slope in {**gradient(p, inputs, labels, classes), **slopes_of_generator(p, inputs, e)}.items():
                    steps[name] += weight * slope
            p = {name: value - RATE * steps[name] for name, value in p.items()}
            met |= set(y.tolist())
        former, known = p, set(met)
    return p


def it_is_learned_so() -> None:
    start, made = dgr(), learned(dgr())
    for seed in range(len(SEEDS)):
        for name, value in rendered(seed, weights(start, seed)).items():
            np.testing.assert_allclose(made.parameters[name][seed].detach(), value, rtol=1e-3, atol=2e-5, err_msg=name)


def test_three_tasks_are_learned_as_the_equations_say() -> None:
    it_is_learned_so()


@pytest.mark.parametrize("fault", ["noughts are replayed", "the present network is asked", "all classes are known", "halves"])
def test_a_planted_fault_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generated, keep, end_task = Dgr.generated, Former.keep, Dgr.end_task
    if fault == "noughts are replayed":
        monkeypatch.setattr(Dgr, "generated", lambda self, n: tuple(0 * each for each in generated(self, n)))
    elif fault == "the present network is asked":

        def kept(self: Former, parameters: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
            keep(self, parameters, state)
            self.parameters.update(parameters)

        monkeypatch.setattr(Former, "keep", kept)
    else:

        def ended(self: Dgr) -> None:
            end_task(self)
            if fault == "halves":
                self.ended = 1
            else:
                self.known |= True

        monkeypatch.setattr(Dgr, "end_task", ended)
    with pytest.raises(AssertionError):
        it_is_learned_so()


def test_what_it_generates_is_like_what_it_learned_and_bears_known_labels() -> None:
    """Two points: after many steps generated samples lie about them, each labelled as its own."""
    from nlbench import Batch

    made = dgr(seeds=(0,), hidden=[16], variance=0.02, optimizer={"kind": "adam", "rate": 0.01})
    points = torch.tensor([[2.0, 0, 0, 0, 0], [0, 0, 0, 0, -2.0]])
    labels = torch.arange(32).remainder(2)[None]
    with torch.no_grad():
        for _ in range(400):
            made.observe(Batch(points[labels], labels * 3, torch.ones(CLASSES, dtype=torch.bool), None))
        made.end_task()
        inputs, found = made.generated(200)
    distances = torch.cdist(inputs[0], points)
    near = distances.amin(1) < 0.5  # the others lie on the way from one to the other
    assert near.float().mean() > 0.5
    assert set(found[0, near].tolist()) == {0, 3}
    assert (distances.argmin(1) * 3 == found[0])[near].float().mean() > 0.98


def test_it_stores_no_sample_and_bills_both_networks_before_from_the_start() -> None:
    made = dgr()
    bytes_ = made.memory_bytes()
    assert "samples" not in bytes_
    assert bytes_["memory"] > bytes_["parameters"]
    assert learned(made).memory_bytes() == bytes_


def test_a_task_that_is_told_is_refused() -> None:
    with pytest.raises(NlbenchError, match="not in task-il"):
        dgr(scenario="task-il")


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(dgr)
    it_resumes_bit_equal_within_a_task(dgr)
