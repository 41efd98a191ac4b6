from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.kernels import batch_product, bind, metric_update
from nlbench.kernels.metric_update import own_rates
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.memory import Ops, with_constant
from nlbench.learners.projected.readout import INITIAL_GAIN, RULES, Dgd, Exact, Protected, ReadOut, own_values
from nlbench.learners.projected.self_reference import Fading

S, B, D, C = 2, 5, 7, 4
ALL = torch.ones(C, dtype=torch.bool)
EACH = pytest.mark.parametrize("rule", ["exact", "protected", "dgd"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def readout(rule: str, backend: str = "reference", **options: Any) -> ReadOut:
    config = ProjectedConfig.model_validate({"kind": "projected", "readout": {"rule": rule, **options}})
    weights = drawn(S, C, D)
    steps = bind(metric_update, backend, weights)
    return RULES[rule](config, weights, Ops(steps, steps.beside(batch_product, weights)))


def keys(step: int, tokens: int = B) -> Tensor:
    return with_constant(drawn(S, tokens, D - 1, seed=10 + step))


def labels(step: int, chunks: int = 1) -> Tensor:
    return torch.randint(C, (S, chunks, B), generator=torch.Generator().manual_seed(step))


def tell(made: ReadOut, given: Tensor, said: Tensor, fading: Fading | None = None) -> None:
    directions = made.memory.directions(given)
    reading, _ = made.read(given, said, ALL, fading)
    made.write(given, directions, reading, said.shape[2], gathers=False)


@EACH
def test_rules_begin_with_even_readings(rule: str) -> None:
    made = readout(rule)
    expected = drawn(S, C, D) * (INITIAL_GAIN if rule == "protected" else 0.0)
    assert torch.equal(made.memory.weights, expected)


@pytest.mark.parametrize("retain", [1.0, 0.8])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_an_exact_one_solves_for_all_pairs_and_chunks_at_once_fade_as_chunks_do(backend: str, retain: float) -> None:
    alone, whole = (readout("exact", backend, ridge=2.0, retain=retain) for _ in range(2))
    shown, said = keys(0, 3 * B), labels(0, 3)
    for chunk in range(3):
        tell(alone, shown[:, chunk * B : (chunk + 1) * B], said[:, chunk : chunk + 1])
    tell(whole, shown, said)
    for made in (alone, whole):
        made.refresh()
    torch.testing.assert_close(whole.memory.weights, alone.memory.weights, atol=1e-5, rtol=1e-4)
    kept = retain ** torch.arange(2, -1, -1).repeat_interleave(B)[:, None]
    gram = (kept * shown).mT @ shown + 2.0 * torch.eye(D)
    expected = torch.linalg.solve(gram[0], (kept * shown)[0].mT @ F.one_hot(said.flatten(1)[0], C).float())
    torch.testing.assert_close(alone.memory.weights[0].T, expected, atol=1e-4, rtol=1e-4)


def test_an_exact_one_forgets_fades_and_follows_all_that_it_gathered() -> None:
    made = readout("exact")
    assert isinstance(made, Exact)
    tell(made, keys(0), labels(0))
    gram, products = made.memory.gram.clone(), made.products.clone()
    made.fade(torch.full((S, 1, 1), 0.25))
    torch.testing.assert_close(made.memory.gram, 0.25 * gram)
    torch.testing.assert_close(made.products, 0.25 * products)
    order = torch.stack([torch.randperm(D - 1) for _ in range(S)])
    made.follow(order)
    for s in range(S):
        torch.testing.assert_close(made.products[s, :-1], 0.25 * products[s, order[s]])
        torch.testing.assert_close(made.products[s, -1], 0.25 * products[s, -1])
    made.forget()
    assert not made.memory.gram.any()
    assert not made.products.any()
    assert made.tensors().keys() == {"products"}


@pytest.mark.parametrize("surprise", [0.0, 1.5])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_protected_one_steps_along_the_projected_gradient_of_its_loss(backend: str, surprise: float) -> None:
    made = readout("protected", backend, rate=0.3, ridge=1.0, surprise=surprise)
    assert isinstance(made, Protected)
    spread = keys(9, 30)
    made.memory.gram.copy_(spread.mT @ spread)
    made.memory.protect()
    made.memory.renew_projection()
    leaf = made.memory.weights.clone().requires_grad_()
    answers = keys(0) @ leaf.mT
    losses = F.cross_entropy(answers.mT, labels(0)[:, 0], reduction="none")
    one_hot = F.one_hot(labels(0)[:, 0], C).float()
    rates = own_rates(answers.detach().softmax(-1), one_hot, ALL, surprise)[..., 0]
    (gradient,) = torch.autograd.grad((losses * rates).sum() / B, leaf)
    reading, below = made.read(keys(0), labels(0), ALL, None)
    torch.testing.assert_close(reading.losses, losses.detach(), atol=1e-6, rtol=1e-5)
    expected_below = (reading.errors @ made.memory.weights)[..., :-1] * (keys(0)[..., :-1] > 0)
    torch.testing.assert_close(below, expected_below)
    made.write(keys(0), made.memory.directions(keys(0)), reading, B, gathers=False)
    expected = leaf.detach() - 0.3 * gradient @ made.memory.projection
    torch.testing.assert_close(made.memory.weights, expected, atol=1e-5, rtol=1e-4)


def test_a_delta_rule_writes_each_token_at_its_rate_and_fades_its_weights() -> None:
    made = readout("dgd", rate=0.7)
    assert isinstance(made, Dgd)
    made.memory.weights.copy_(drawn(S, C, D))
    fading = Fading(torch.rand(S, B, 1, generator=torch.Generator().manual_seed(1)), torch.full((S, 1, 1), 0.5))
    before = made.memory.weights.clone()
    answers = made.memory.answers(keys(0))
    reading = made.errors(answers, labels(0), ALL, fading)
    torch.testing.assert_close(made.memory.weights, 0.5 * before)
    assert reading.pairs is not None
    torch.testing.assert_close(reading.pairs.rates, fading.rates)
    torch.testing.assert_close(reading.errors, (answers - F.one_hot(labels(0)[:, 0], C)) * fading.rates / B)
    made.write(keys(0), made.memory.directions(keys(0)), reading, B, gathers=False)
    moved = (made.memory.weights - 0.5 * before).flatten(1).norm(dim=1)
    assert (moved > 0.01).all()


@EACH
def test_fading_lowers_every_tokens_share(rule: str) -> None:
    made = readout(rule)
    answers = drawn(S, B, C, seed=3)
    halved = Fading(torch.full((S, B, 1), 0.5), torch.ones(S, 1, 1))
    plain, faded = (made.errors(answers, labels(0), ALL, fading) for fading in (None, halved))
    torch.testing.assert_close(faded.errors, 0.5 * plain.errors)
    torch.testing.assert_close(faded.losses, plain.losses)


@EACH
def test_a_protected_ones_short_cut_and_its_long_way_read_the_same(rule: str) -> None:
    made, shown = readout(rule), keys(0)
    made.memory.weights.copy_(drawn(S, C, D))
    nothing = Fading(torch.ones(S, B, 1), torch.ones(S, 1, 1))
    (short, short_below), (long, long_below) = (made.read(shown, labels(0), ALL, fading) for fading in (None, nothing))
    torch.testing.assert_close(short.errors, long.errors)
    torch.testing.assert_close(short_below, long_below)


def test_values_are_the_readings_within_what_labels_allow() -> None:
    readings = torch.tensor([[[1.2, 0.4, -0.1], [0.3, -0.9, 2.0]]])
    labels = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(own_values(readings, labels, 0.0), labels)
    torch.testing.assert_close(own_values(readings, labels, 0.5), torch.tensor([[[1.2, 0.0, -0.1], [0.0, -0.5, 1.5]]]))


def test_a_token_read_with_the_full_margin_is_written_once_and_a_wrong_one_more() -> None:
    answers = torch.tensor([[[1.2, 0.1, 5.0], [0.75, 0.25, 5.0], [0.0, 1.0, 5.0]]])
    labels = torch.tensor([[[1.0, 0.0, 0.0]]]).expand(1, 3, 3)
    competing = torch.tensor([True, True, False])
    torch.testing.assert_close(own_rates(answers, labels, competing, 3.0)[0, :, 0], torch.tensor([1.0, 2.5, 4.0]))
