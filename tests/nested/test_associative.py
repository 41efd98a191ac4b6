"""Associative memories against autograd and token loops, in float64; the same checks reject the faulty rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.associative import (
    AssociativeMemory,
    MemoryConfig,
    dot_loss,
    l2_loss,
    layers,
    oja_loss,
    read,
    write,
)

S, N, D = 3, 5, 6
FORMS = ("linear", "residual-linear", "residual-mlp")


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> bool:
    return actual.shape == expected.shape and float((actual - expected).detach().abs().max()) <= tolerance


def weights_of(form: str, *lead: int) -> tuple[Tensor, ...]:
    if form == "residual-mlp":
        return draw(*lead, 9, D, seed=1), draw(*lead, D, 9, seed=2)
    return (draw(*lead, D, D, seed=1),)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("objective", ["dot", "l2"])
def test_each_layer_sees_its_own_gradient(form: str, objective: str) -> None:
    keys, values = draw(S, N, D, seed=3), draw(S, N, D, seed=4)
    leaves = tuple(w.requires_grad_() for w in weights_of(form, S))
    loss = {"dot": dot_loss, "l2": l2_loss}[objective](read(form, leaves, keys), values)
    assert loss.shape == (S,)
    expected = torch.autograd.grad(loss.sum(), leaves)
    for layer, gradient in zip(layers(form, leaves, keys, values, objective), expected, strict=True):
        assert close(layer.surprises.mT @ layer.inputs, gradient)


def is_oja_gradient(rule: Callable[[Tensor, Tensor, Tensor], Tensor], d_v: int, d_k: int) -> bool:
    """Whether `rule(M, k, v)` returns ∂/∂M of -⟨Mk, v⟩ + ½‖Mᵀv‖²."""
    memory, key, value = draw(d_v, d_k, seed=1).requires_grad_(), draw(d_k, seed=2), draw(d_v, seed=3)
    expected = torch.autograd.grad(oja_loss(memory, key[None], value[None]), memory)[0]
    try:
        return close(rule(memory, key, value), expected)
    except RuntimeError:  # shapes that do not fit
        return False


def oja_without_transpose(memory: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Seed system 1: M v in place of Mᵀ v, which only exists for square memories."""
    return -torch.outer(value, key - memory @ value)


def test_oja_gradient_has_the_outer_product_and_the_transpose() -> None:
    def ours(memory: Tensor, key: Tensor, value: Tensor) -> Tensor:
        (layer,) = layers("linear", (memory,), key[None], value[None], "oja")
        return layer.surprises.mT @ layer.inputs

    for d_v, d_k in ((4, 4), (3, 7), (7, 3)):
        assert is_oja_gradient(ours, d_v, d_k)
        assert not is_oja_gradient(oja_without_transpose, d_v, d_k)


@pytest.mark.parametrize("objective", ["dot", "l2", "oja"])
@pytest.mark.parametrize("target", ["init", "zero"])
def test_token_recurrence_of_hebb_delta_and_oja(objective: str, target: str) -> None:
    """αM + ηvkᵀ, αM - η(Mk - v)kᵀ and αM + ηv(k - Mᵀv)ᵀ, or the same about the initial state."""
    config = MemoryConfig("linear", objective, "gd", target)
    memory = AssociativeMemory(D, D, config).double()
    memory.initial[0].data.copy_(draw(D, D, seed=9))
    state, start = memory.initial_state(), memory.initial[0].detach()
    expected = start.clone()
    for t in range(15):
        k, v = draw(D, seed=10 + t) / 3, draw(D, seed=50 + t) / 3
        kept = 0.9 * expected if target == "zero" else start + 0.9 * (expected - start)
        written = {"dot": torch.outer(v, k), "l2": -torch.outer(expected @ k - v, k), "oja": torch.outer(v, k - expected.T @ v)}[
            objective
        ]
        expected = kept + 0.4 * written
        state = memory.write(state, k[None], v[None], 0.4, 0.9)
    assert close(state.weights[0].detach(), expected, 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_dgd_write_is_the_exact_proximal_step_of_every_layer(form: str) -> None:
    keys, values, rate = 2 * draw(S, N, D, seed=3), draw(S, N, D, seed=4), 0.3
    config = MemoryConfig(form, "l2", "dgd")
    state = AssociativeMemory(D, D, replace(config, hidden=9), replicas=S).double().initial_state()
    state = state._replace(weights=weights_of(form, S), initial=weights_of(form, S))
    new = write(config, state, keys, values, rate)
    for old, fresh, layer in zip(state.weights, new.weights, layers(form, state.weights, keys, values, "l2"), strict=True):
        gradient = (layer.inputs @ fresh.mT + layer.surprises).mT @ layer.inputs + (fresh - old) / rate
        assert float(gradient.abs().max()) < 1e-9


def test_momentum_write_equals_the_loop() -> None:
    """S = μS - η'δxᵀ, M = M_0 + α(M - M_0) - η'(Mx)xᵀ + S."""
    memory = AssociativeMemory(D, D, MemoryConfig("linear")).double()
    state = memory.initial_state()
    expected, speed = torch.zeros(D, D, dtype=torch.float64), torch.zeros(D, D, dtype=torch.float64)
    for t in range(15):
        k, v = draw(D, seed=10 + t), draw(D, seed=50 + t)
        state = memory.write(state, k[None], v[None], 0.4, 0.95, 0.5)
        rate = 0.4 / (1 + 0.4 * k @ k)
        speed = 0.5 * speed - rate * torch.outer(expected @ k - v, k)
        expected = 0.95 * expected - rate * torch.outer(expected @ k, k) + speed
    assert close(state.weights[0].detach(), expected, 1e-12)


@pytest.mark.parametrize("form", ["linear", "residual-linear"])
def test_metric_memory_recalls_every_task_where_delta_memory_forgets_the_first(form: str) -> None:
    """The metric memory depends on the data through sums only: the first write reads as well as the last."""
    keys, values = draw(S, 20, 24, seed=3), draw(S, 20, 24, seed=4)

    def first_task_error(rule: str) -> float:
        memory = AssociativeMemory(24, 24, MemoryConfig(form, rule=rule, ridge=1e-6), replicas=S).double()
        state = memory.initial_state()
        for part in (slice(0, 10), slice(10, 20)):
            for _ in range(1 if rule == "metric" else 50):
                state = memory.write(state, keys[:, part], values[:, part], 1.0)
        return float((memory.read(state, keys[:, :10]) - values[:, :10]).detach().square().mean().sqrt())

    assert first_task_error("metric") < 1e-3
    assert first_task_error("dgd") > 0.1


def moves_without_evidence(update: Callable[[Tensor], Tensor]) -> bool:
    return not close(update(draw(D, D, seed=1)), draw(D, D, seed=1), 1e-12)


def test_a_write_at_rate_zero_changes_nothing() -> None:
    """Seed system 1 adds scale * memory.mean(0) to the weights after every update: drift without evidence."""
    config = MemoryConfig("linear")

    def ours(start: Tensor) -> Tensor:
        zeros = torch.zeros_like(start)
        state = AssociativeMemory(D, D, config).double().initial_state()._replace(weights=(start,), momentum=(zeros,))
        return write(config, state, draw(N, D, seed=2), draw(N, D, seed=3), 0.0).weights[0]

    assert not moves_without_evidence(ours)
    assert moves_without_evidence(lambda start: start + 0.1 * start.mean(0))


@pytest.mark.parametrize("form", FORMS)
def test_one_replica_is_a_slice_of_many_and_streams_do_not_interact(form: str) -> None:
    config = MemoryConfig(form, rule="dgd")
    many = AssociativeMemory(D, D, config, replicas=S, generator=torch.Generator().manual_seed(0)).double()
    keys, values = draw(S, 2, 8, D, seed=3), draw(S, 2, 8, D, seed=4)
    outputs, state = many(keys, values, 0.5, 0.9, chunk=3)
    one = AssociativeMemory(D, D, config).double()
    for mine, theirs in zip(one.initial, many.initial, strict=True):
        mine.data.copy_(theirs.data[1])
    alone, alone_state = one(keys[1, 1], values[1, 1], 0.5, 0.9, chunk=3)
    assert close(outputs[1, 1], alone)
    for mine, theirs in zip(alone_state.weights, state.weights, strict=True):
        assert close(theirs[1, 1], mine)
    disturbed, _ = many(torch.cat((keys[:, :1] + 1, keys[:, 1:]), 1), values, 0.5, 0.9, chunk=3)
    assert close(disturbed[:, 1], outputs[:, 1], 0.0)


def test_memory_state_and_initial_state_are_never_the_same_tensor() -> None:
    """Seed system 1 trains and inner-updates the same parameters in place."""
    memory = AssociativeMemory(D, D, MemoryConfig("residual-mlp"), generator=torch.Generator().manual_seed(0)).double()
    before = [p.detach().clone() for p in memory.parameters()]
    state = memory.write(memory.initial_state(), draw(N, D, seed=3), draw(N, D, seed=4), 0.5)
    assert all(close(p, b, 0.0) for p, b in zip(memory.parameters(), before, strict=True))
    assert any(not close(w, b, 1e-6) for w, b in zip(state.weights, before, strict=True))
    memory.read(memory.initial_state(), draw(N, D, seed=5)).sum().backward()
    gradients = [p.grad for p in memory.parameters()]
    assert all(g is not None for g in gradients)


def rate_gets_a_gradient_per_token(memory_write: Callable[[Tensor], Tensor]) -> bool:
    rates = torch.full((N,), 0.3, dtype=torch.float64, requires_grad=True)
    output = memory_write(rates)
    if not output.requires_grad:
        return False
    output.square().sum().backward()
    return rates.grad is not None and rates.grad.unique().numel() == N


def test_rates_are_per_token_and_differentiable() -> None:
    """Seed system 1 reduces η to one Python number per call: no gates per token, no meta-gradient."""
    memory = AssociativeMemory(D, D, MemoryConfig("linear")).double().requires_grad_(False)
    keys, values = draw(N, D, seed=3), draw(N, D, seed=4)

    def ours(rates: Tensor) -> Tensor:
        return memory.write(memory.initial_state(), keys, values, rates).weights[0]

    def faulty(rates: Tensor) -> Tensor:
        return memory.write(memory.initial_state(), keys, values, rates.mean().item()).weights[0]

    assert rate_gets_a_gradient_per_token(ours)
    assert not rate_gets_a_gradient_per_token(faulty)


def recalls(answers_to: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether a fast state that has seen pairs of keys and values once answers the keys nearer to the values than 0 is."""
    keys, values = torch.linalg.qr(draw(D, D, seed=3))[0][:4], draw(4, D, seed=4)
    return bool((answers_to(keys, values) - values).square().sum() < 0.3 * values.square().sum())


def recurrent_cell(keys: Tensor, values: Tensor) -> Tensor:
    """Seed system 2: the fast level is an LSTM, whose state follows from weights alone and descends no objective."""
    cell, state = nn.LSTMCell(2 * D, D).double(), None
    with torch.no_grad():
        for index, parameter in enumerate(cell.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=index))
        for pair in torch.cat((keys, values), -1):
            state = cell(pair[None], state)
        return torch.cat([cell(F.pad(key, (0, D))[None], state)[0] for key in keys])


@pytest.mark.parametrize("rule", ["gd", "dgd", "metric"])
def test_a_memory_recalls_what_it_has_just_seen_and_a_recurrent_cell_does_not(rule: str) -> None:
    def memory(keys: Tensor, values: Tensor) -> Tensor:
        associative = AssociativeMemory(D, D, MemoryConfig("linear", rule=rule, kappa=0.1, ridge=0.1)).double()
        _, state = associative(keys, values, 1.0)
        return associative.read(state, keys)

    assert recalls(memory)
    assert not recalls(recurrent_cell)


def test_outputs_never_see_their_own_or_later_tokens() -> None:
    memory = AssociativeMemory(D, D, MemoryConfig("linear")).double()
    keys, values = draw(9, D, seed=3), draw(9, D, seed=4)
    outputs, _ = memory(keys, values, 0.5, chunk=3)
    changed = values.clone()
    changed[5:] += 1
    disturbed, _ = memory(keys, changed, 0.5, chunk=3)
    assert close(disturbed[:6], outputs[:6], 0.0)
    assert not close(disturbed[6:], outputs[6:], 1e-3)


def test_forward_with_rates_per_token_is_the_token_loop() -> None:
    memory = AssociativeMemory(D, D, MemoryConfig("linear")).double()
    keys, values = draw(6, D, seed=3), draw(6, D, seed=4)
    rates = torch.rand(6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    outputs, state = memory(keys, values, rates)
    expected, reads = torch.zeros(D, D, dtype=torch.float64), []
    for k, v, eta in zip(keys, values, rates, strict=True):
        reads.append(expected @ k)
        expected = expected - eta / (1 + eta * k @ k) * torch.outer(2 * expected @ k - v, k)
    assert close(outputs, torch.stack(reads), 1e-12)
    assert close(state.weights[0], expected, 1e-12)


@pytest.mark.parametrize("rule", ["gd", "dgd"])
def test_write_passes_gradcheck_through_the_mlp_memory(rule: str) -> None:
    config = MemoryConfig("residual-mlp", rule=rule)
    keys, values, rate = draw(2, 3, seed=3), draw(2, 3, seed=4), torch.tensor(0.3, dtype=torch.float64)
    inner, outer = draw(4, 3, seed=1), draw(3, 4, seed=2)
    state = AssociativeMemory(3, 3, replace(config, hidden=4)).double().requires_grad_(False).initial_state()

    def two_writes(inner: Tensor, outer: Tensor, k: Tensor, v: Tensor, r: Tensor) -> tuple[Tensor, ...]:
        current = state._replace(weights=(inner, outer), initial=(inner, outer))
        for _ in range(2):
            current = write(config, current, k, v, r, 0.9, 0.5)
        return current.weights

    assert torch.autograd.gradcheck(two_writes, [t.requires_grad_() for t in (inner, outer, keys, values, rate)])


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"rule": "rls"}, "rule 'rls'"),
        ({"rule": "metric", "objective": "dot"}, "metric"),
        ({"rule": "metric", "form": "residual-mlp"}, "metric"),
        ({"rule": "dgd", "objective": "oja", "form": "linear"}, "oja"),
        ({"target": "initial"}, "target 'initial'"),
        ({"form": "mlp"}, "form 'mlp'"),
        ({"objective": "l1"}, "objective 'l1'"),
        ({"kappa": 1.5}, "kappa"),
        ({"ridge": 0.0, "rule": "metric"}, "ridge"),
        ({"hidden": 0, "form": "residual-mlp"}, "hidden"),
    ],
)
def test_combinations_without_a_meaning_are_refused(fields: dict[str, str], match: str) -> None:
    with pytest.raises(NlbenchError, match=match):
        MemoryConfig(**fields)


def test_unknown_names_and_unequal_widths_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="form"):
        read("mlp", weights_of("linear"), draw(N, D))
    with pytest.raises(UnknownNameError, match="objective"):
        layers("linear", weights_of("linear"), draw(N, D), draw(N, D), "l1")
    with pytest.raises(NlbenchError, match="oja"):
        layers("residual-linear", weights_of("linear"), draw(N, D), draw(N, D), "oja")
    with pytest.raises(NlbenchError, match="as many values"):
        AssociativeMemory(D, D)(draw(N, D), draw(1, D), 0.5)  # would write the first token and no other
    with pytest.raises(NlbenchError, match="equal widths"):
        AssociativeMemory(D, D + 1)


def test_no_tokens_answer_nothing_and_leave_the_initial_state() -> None:
    memory = AssociativeMemory(D, D, MemoryConfig(), replicas=S).double()
    answers, state = memory(draw(S, 2, 0, D), draw(S, 2, 0, D), 0.5)
    assert answers.shape == (S, 2, 0, D)
    assert all(torch.equal(new, old) for new, old in zip(state.weights, memory.initial_state(2).weights, strict=True))
