"""M3 is invariant to the gradients' scale and averages each period once; the letter of Algorithm 1 is kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from float64 import close, draw
from torch import Tensor

from nlbench.nested import optimizers as opt


def m3_updates(rule: Callable[..., Any], scale: float, steps: int, **settings: Any) -> list[Tensor]:
    state, updates = opt.m3_init(torch.zeros(6, 9, dtype=torch.float64)), []
    for t in range(steps):
        update, state = rule(scale * draw(6, 9, seed=t), state, lr=1.0, period=4, ns_dtype=None, **settings)
        updates.append(update)
    return updates


def rms(matrix: Tensor) -> float:
    return float(matrix.square().mean().sqrt())


def test_m3_is_invariant_to_the_gradients_scale_and_the_letter_is_not() -> None:
    plain, scaled = (m3_updates(opt.m3, scale, 12) for scale in (1.0, 1e-4))
    assert all(close(a, b) for a, b in zip(plain, scaled, strict=True))
    assert all(abs(rms(update) - 0.2) < 1e-6 for update in plain)
    plain, scaled = (m3_updates(opt.m3_literal, scale, 64) for scale in (1.0, 1e-2))
    assert 50 < rms(scaled[0]) / rms(plain[0]) < 200
    assert rms(plain[-1]) < 0.3 * rms(plain[0])


def test_m3_is_not_adam() -> None:
    state = opt.adam_init(torch.zeros(6, 9, dtype=torch.float64))
    for t, update in enumerate(m3_updates(opt.m3, 1.0, 12)):
        adam, state = opt.adam(draw(6, 9, seed=t), state, lr=1.0)
        cosine = float((update * adam).sum() / (update.norm() * adam.norm()))
        assert cosine < 0.999


def test_m3_slow_momentum_averages_each_period_once() -> None:
    state = opt.m3_init(torch.zeros(6, 9, dtype=torch.float64))
    slow = torch.zeros(6, 9, dtype=torch.float64)
    for t in range(1, 13):
        gradient = draw(6, 9, seed=t)
        before = state.slow
        _, state = opt.m3(gradient, state, lr=1.0, period=4, ns_dtype=None)
        assert torch.equal(state.slow, before) is (t % 4 != 0)
        if t % 4 == 0:
            mean = sum(draw(6, 9, seed=i) for i in range(t - 3, t + 1)) / 4
            slow = 0.9 * slow + 0.1 * mean
            assert close(state.slow, slow)
            assert not state.pending.any()


def slow_term_descends(rule: Callable[..., Any]) -> bool:
    """Whether the update still descends a constant gradient when only the slow momentum speaks."""
    gradient = draw(6, 9, seed=1)
    state = opt.m3_init(gradient)
    for _ in range(8):
        _, state = rule(gradient, state)
    update, _ = rule(torch.zeros_like(gradient), state._replace(fast=torch.zeros_like(gradient)))
    return float((update * gradient).sum()) < 0


def test_m3_slow_term_descends_and_the_sign_of_eq_75_ascends() -> None:
    settings: dict[str, Any] = {"lr": 1.0, "period": 4, "ns_dtype": None}
    assert slow_term_descends(lambda g, s: opt.m3(g, s, **settings))
    assert slow_term_descends(lambda g, s: opt.m3_literal(g, s, **settings))
    assert not slow_term_descends(lambda g, s: opt.m3(g, s, slow_weight=-0.5, **settings))


def test_m3_literal_is_algorithm_one_to_the_letter() -> None:
    """Accumulators without decay; line 3 adds β₃ Σ of the gradients (k-1)f .. kf, f + 1 of them, zero before the first."""
    f, gradients = 4, {t: draw(6, 9, seed=t) for t in range(1, 13)}
    fast, slow, second = (torch.zeros(6, 9, dtype=torch.float64) for _ in range(3))
    expected = []
    for k in range(3):
        slow = slow + 0.9 * sum(gradients.get(i, torch.zeros_like(slow)) for i in range((k - 1) * f, k * f + 1))
        slow_direction = opt.newton_schulz(slow, dtype=None)
        for t in range(k * f + 1, (k + 1) * f + 1):
            fast, second = fast + 0.95 * gradients[t], second + 0.999 * gradients[t].square()
            direction = opt.newton_schulz(fast, dtype=None) + 0.5 * slow_direction
            expected.append(-direction / (second + 1e-8).sqrt())
    state = opt.m3_init(slow)
    for t, update in enumerate(expected, 1):
        ours, state = opt.m3_literal(gradients[t], state, lr=1.0, period=f, ns_dtype=None)
        assert close(ours, update)
