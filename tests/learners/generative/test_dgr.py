from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import BATCH, CLASSES, SEEDS, TASKS, Array, Weights, answers, batches, gradient, learned, learner, weights
from small_streams import CPU

from nlbench import Batch
from nlbench.errors import NlbenchError
from nlbench.learners import draws
from nlbench.learners.former import Former
from nlbench.learners.generative.autoencoder import Autoencoder
from nlbench.learners.generative.dgr import Dgr
from nlbench.learners.trial import observe_made

HIDDEN, LATENT, VARIANCE, RATE = 5, 2, 0.8, 0.05
dgr = partial(learner, "dgr", hidden=[HIDDEN], latent=LATENT, variance=VARIANCE, optimizer={"kind": "sgd", "rate": RATE})
pixels = partial(learner, "dgr", hidden=[HIDDEN], latent=LATENT, decoder="bernoulli", optimizer={"kind": "sgd", "rate": RATE})
MADE: dict[str, Any] = {"gaussian": dgr, "bernoulli": pixels}


def shown(task: int, decoder: str) -> list[Batch]:
    """Return a task's batches, of pixels from 0 to 1 where the decoder asks for them."""
    found = list(batches(task))
    return found if decoder == "gaussian" else [replace(batch, inputs=(batch.inputs / 2 + 0.5).clamp(0, 1)) for batch in found]


def taught(made: Any, decoder: str) -> Any:
    with torch.no_grad():
        for task in range(1, TASKS + 1):
            for batch in shown(task, decoder):
                made.observe(batch)
            made.end_task()
    return made


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def decoded(p: Weights, z: Array) -> tuple[Array, Array]:
    hidden = np.maximum(z @ p["generator.decoder0.weight"].T + p["generator.decoder0.bias"], 0)
    return hidden, hidden @ p["generator.decoder1.weight"].T + p["generator.decoder1.bias"]


def slopes_of_generator(p: Weights, x: Array, noise: Array, decoder: str) -> Weights:
    """Return the gradients of the mean bound, by hand."""
    first = np.maximum(x @ p["generator.encoder0.weight"].T + p["generator.encoder0.bias"], 0)
    code = first @ p["generator.encoder1.weight"].T + p["generator.encoder1.bias"]
    means, deviations = code[:, :LATENT], np.exp(code[:, LATENT:] / 2)
    z = means + deviations * noise
    hidden, again = decoded(p, z)
    out = ((again - x) / VARIANCE if decoder == "gaussian" else sigmoid(again) - x) / len(x)
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


def rendered(seed: int, start: Weights, decoder: str) -> Weights:
    p, former, noise = start, start, Noise(SEEDS[seed])
    known: set[int] = set()
    met: set[int] = set()
    for task in range(1, TASKS + 1):
        share = 1 / task
        for batch in shown(task, decoder):
            x, y, classes = batch.inputs[seed].double().numpy(), batch.labels[seed].numpy(), batch.classes.numpy()
            parts = [(share, x, y, noise(BATCH))]
            if task > 1:
                made = decoded(former, noise(BATCH))[1]
                made = made if decoder == "gaussian" else sigmoid(made)
                logits = answers(former, made)[1]
                labels = np.array([max(known, key=lambda c: row[c]) for row in logits])
                parts.append((1 - share, made, labels, noise(BATCH)))
            steps = {name: np.zeros_like(value) for name, value in p.items()}
            for weight, inputs, labels, e in parts:
                for name, slope in {**gradient(p, inputs, labels, classes), **slopes_of_generator(p, inputs, e, decoder)}.items():
                    steps[name] += weight * slope
            p = {name: value - RATE * steps[name] for name, value in p.items()}
            met |= set(y.tolist())
        former, known = p, set(met)
    return p


def it_is_learned_so(decoder: str = "gaussian") -> None:
    start, made = MADE[decoder](), taught(MADE[decoder](), decoder)
    for seed in range(len(SEEDS)):
        for name, value in rendered(seed, weights(start, seed), decoder).items():
            np.testing.assert_allclose(made.parameters[name][seed].detach(), value, rtol=1e-3, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("decoder", ["gaussian", "bernoulli"])
def test_three_tasks_are_learned_as_the_equations_say(decoder: str) -> None:
    it_is_learned_so(decoder)


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


@pytest.mark.parametrize("fault", ["no sigmoid in what is replayed", "a square of pixels", "a mean over pixels"])
def test_a_planted_fault_of_the_bernoulli_decoder_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = Autoencoder._errors
    if fault == "no sigmoid in what is replayed":
        monkeypatch.setattr(Autoencoder, "generated", lambda self, p, codes: self._through(p, "decoder", codes))
    elif fault == "a square of pixels":
        monkeypatch.setattr(Autoencoder, "_errors", lambda self, x, y: (x - y.sigmoid()).square().sum(2))
    else:
        monkeypatch.setattr(Autoencoder, "_errors", lambda self, x, y: errors(self, x, y) / x.shape[2])
    with pytest.raises(AssertionError):
        it_is_learned_so("bernoulli")


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan")])
def test_numbers_outside_0_to_1_are_refused_with_a_bernoulli_decoder(wrong: float) -> None:
    """In a task's first step at once, later when the task ends: the host does not wait for every step."""
    first, later = (shown(1, "bernoulli")[:2] for _ in range(2))
    for batch in (first[0], later[1]):
        batch.inputs[1, 2, 3] = wrong
    with torch.no_grad():
        with pytest.raises(NlbenchError, match=r'"bernoulli" needs samples of numbers from 0 to 1.*mnist-unscaled'):
            pixels().observe(first[0])
        made = pixels()
        for batch in later:
            made.observe(batch)
        with pytest.raises(NlbenchError, match='"bernoulli" needs samples of numbers from 0 to 1'):
            made.end_task()


def test_the_trial_step_on_a_gpu_is_let_be_though_its_samples_are_no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbench.learners.gradient.try_on_gpu", observe_made)
    made = pixels()
    assert not made.strayed
    taught(made, "bernoulli")
    with pytest.raises(NlbenchError, match="from 0 to 1"):
        pixels().observe(next(iter(batches(1))))


def test_what_a_bernoulli_decoder_generates_lies_in_0_to_1() -> None:
    inputs, _ = taught(pixels(), "bernoulli").generated(100)
    assert inputs.shape == (len(SEEDS), 100, 5)
    assert ((inputs >= 0) & (inputs <= 1)).all()
    assert taught(pixels(), "bernoulli").memory_bytes()["parameters"] == dgr().memory_bytes()["parameters"]


def test_what_it_generates_is_like_what_it_learned_and_bears_known_labels() -> None:
    """Two points: after many steps generated samples lie about them, each labelled as its own."""
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
