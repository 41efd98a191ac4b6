import pytest
import torch

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.continuum_update import LevelState, Plan, continuum_update, flush, tree_norm
from nlbench.nested.transfer import meta_gradient


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def descent(parameters, gradient, state, rate=0.1):
    return {name: value - rate * gradient[name] for name, value in parameters.items()}, state


def adam(parameters, gradient, state, rate=0.01):
    m, v, t = state or ({n: 0 * g for n, g in gradient.items()}, {n: 0 * g for n, g in gradient.items()}, 0)
    m = {n: 0.9 * m[n] + 0.1 * g for n, g in gradient.items()}
    v = {n: 0.999 * v[n] + 0.001 * g**2 for n, g in gradient.items()}
    t += 1
    move = {n: (m[n] / (1 - 0.9**t)) / ((v[n] / (1 - 0.999**t)).sqrt() + 1e-12) for n in m}
    return {n: p - rate * move[n] for n, p in parameters.items()}, (m, v, t)


def loss_at(step):
    a, b = draw(4, 4, seed=step), draw(4, seed=100 + step)
    return lambda w: (a @ w - b).tanh().square().sum()


def gradient(loss, w):
    leaf = w.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf), leaf)[0]


def run(plan, steps, rule=descent, start=None, initial=False):
    """Every level holds one vector w and sees the loss of each step at its own w; returns the trajectory of each level."""
    start = draw(4, seed=9) if start is None else start
    parents = [plan.parent(i) for i in range(len(plan.periods))]
    levels = tuple(LevelState({"w": start}, {"w": start} if initial and p is not None else {}) for p in parents)
    history = [levels]
    for step in range(1, steps + 1):
        gradients = [{"w": gradient(loss_at(step), level.parameters["w"])} for level in levels]
        levels = continuum_update(levels, gradients, [rule] * len(levels), plan, step)
        history.append(levels)
    return history


def check_boundary_is_the_sum_at_frozen_parameters(trajectory, period, rate=0.1):
    """What eq. 71 asks of w_0, w_1, …: constant inside a chunk, then the sum of C gradients, all at the chunk's parameters."""
    expected, pending = trajectory[0], torch.zeros(4).double()
    for step, w in enumerate(trajectory[1:], start=1):
        pending = pending + gradient(loss_at(step), expected)
        if step % period == 0:
            expected, pending = expected - rate * pending, torch.zeros(4).double()
        assert (w - expected).abs().max() < 1e-12, f"step {step}"


@pytest.mark.parametrize("period", [1, 3, 8])
def test_level_is_constant_between_boundaries_and_then_moves_by_the_sum_of_gradients(period):
    history = run(Plan((period,), reduction="sum"), 20)
    check_boundary_is_the_sum_at_frozen_parameters([levels[0].parameters["w"] for levels in history], period)


def last_gradient_only(step, period, w, pending):
    """Faulty: gradients are cleared at every step, so a slow level sees one of C."""
    return gradient(loss_at(step), w)


def one_term_too_many(step, period, w, pending):
    """Faulty: the printed sum t = i - C … i has C + 1 terms, the chunks overlap."""
    extra = gradient(loss_at(step - period), w) if step > period else 0
    return sum(gradient(loss_at(t), w) for t in range(step - period + 1, step + 1)) + extra


def fires_at_zero(step, period, w, pending):
    """Faulty: the clock counts from 0, so the first chunk is one step long."""
    return sum(gradient(loss_at(t), w) for t in range(max(1, step - period + 1), step + 1))


@pytest.mark.parametrize(("fault", "offset"), [(last_gradient_only, 0), (one_term_too_many, 0), (fires_at_zero, 1)])
def test_faulty_accumulations_are_rejected(fault, offset):
    w = draw(4, seed=9)
    trajectory = [w]
    for step in range(1, 17):
        if (step - offset) % 4 == 0:
            w = w - 0.1 * fault(step, 4, w, None)
        trajectory.append(w)
    with pytest.raises(AssertionError, match="step"):
        check_boundary_is_the_sum_at_frozen_parameters(trajectory, 4)


def test_update_counts_are_floors_and_partial_chunks_stay_pending():
    plan = Plan((16, 4, 1))
    for steps in (3, 16, 37):
        levels = run(plan, steps)[-1]
        assert [level.updates for level in levels] == [steps // 16, steps // 4, steps]
        assert [level.pending for level in levels] == [steps % 16, steps % 4, 0]


def test_resume_in_the_middle_of_a_chunk_is_exact():
    plan = Plan((8, 1))
    whole = run(plan, 20, rule=adam)
    levels = whole[11]
    for step in range(12, 21):
        gradients = [{"w": gradient(loss_at(step), level.parameters["w"])} for level in levels]
        levels = continuum_update(levels, gradients, [adam] * 2, plan, step)
    assert all(torch.equal(a.parameters["w"], b.parameters["w"]) for a, b in zip(levels, whole[-1], strict=True))


def test_flush_applies_a_partial_chunk_and_keeps_the_clock():
    plan = Plan((4,))
    levels = run(plan, 6)[-1]
    flushed = flush(levels, [descent], plan)
    assert (flushed[0].pending, flushed[0].updates) == (0, 2)
    expected = levels[0].parameters["w"] - 0.1 * levels[0].accumulated["w"] / 2
    assert (flushed[0].parameters["w"] - expected).abs().max() < 1e-14
    g = {"w": torch.ones(4).double()}
    after = continuum_update(continuum_update(flushed, [g], [descent], plan, 7), [g], [descent], plan, 8)
    assert after[0].updates == 3
    assert flush(after, [descent], plan) == after


def test_accumulated_updates_are_the_literal_rule_and_equal_accumulated_gradients_for_descent():
    both = [run(Plan((4,), reduction="sum", accumulate=kind), 12)[-1][0].parameters["w"] for kind in ("grad", "update")]
    assert (both[0] - both[1]).abs().max() < 1e-12
    levels, w, state, moved = run(Plan((4,), reduction="sum", accumulate="update"), 12, rule=adam), draw(4, seed=9), None, 0
    for step in range(1, 13):
        new, state = adam({"w": w}, {"w": gradient(loss_at(step), w)}, state)
        moved = moved + new["w"] - w
        if step % 4 == 0:
            w, moved = w + moved, 0
    assert (levels[-1][0].parameters["w"] - w).abs().max() < 1e-12


def distance(scale: str, period: int) -> float:
    """How far Adam carries a level in 512 steps of one constant gradient."""
    plan = Plan((period,), rate_scale=scale)
    levels = (LevelState({"w": torch.zeros(1).double()}),)
    for step in range(1, 513):
        levels = continuum_update(levels, [{"w": torch.ones(1).double()}], [adam], plan, step)
    return abs(float(levels[0].parameters["w"]))


def test_adam_at_the_default_scale_is_not_slowed_twice():
    """The learning rate over C, with a scale-free rule, slows a level C² times; the default slows it C times, by its period."""
    slowdown = {scale: distance(scale, 1) / distance(scale, 16) for scale in ("none", "inverse", "sqrt")}
    assert slowdown["none"] == pytest.approx(16, rel=1e-6)
    assert slowdown["inverse"] == pytest.approx(256, rel=1e-6)
    assert slowdown["sqrt"] == pytest.approx(4, rel=1e-6)


def test_mean_and_sum_differ_by_the_period():
    mean, total = (run(Plan((8,), reduction=r), 8)[-1][0].parameters["w"] - draw(4, seed=9) for r in ("mean", "sum"))
    assert torch.allclose(8 * mean, total, atol=1e-14)


@pytest.mark.parametrize("accumulate", ["grad", "update"])
def test_trust_ratio_bounds_every_seed_on_its_own(accumulate):
    plan = Plan((1,), accumulate=accumulate, trust_ratio=0.01, seed_axis=True)
    w, g = draw(3, 4, 5), draw(3, 4, 5, seed=1) * torch.tensor([1e-4, 1.0, 100.0]).double()[:, None, None]
    (level,) = continuum_update((LevelState({"w": w}),), [{"w": g}], [descent], plan, 1)
    moved = tree_norm({"w": level.parameters["w"] - w}, True) / tree_norm({"w": w}, True)
    assert moved[0] == pytest.approx(float(0.1 * g[0].norm() / w[0].norm()), rel=1e-9), "a small step is left alone"
    assert torch.allclose(moved[1:], torch.full((2,), 0.01).double(), rtol=1e-9)


def restarts_and_learns_its_start(history, period):
    """Whether at the parent's boundaries, and only there, w returns to w_0 and w_0 has moved; history holds (w, w_0) by step."""
    seen = []
    for step, ((w, start), (_, before)) in enumerate(zip(history[1:], history, strict=False), start=1):
        seen.append((torch.equal(w, start), not torch.equal(start, before)) == (step % period == 0, step % period == 0))
    return all(seen)


def without_restart(w, start, moved):
    """Faulty: "nested" in name only, nothing ever restarts."""
    return w, moved


def without_meta_learning(w, start, moved):
    """Faulty: the level restarts from where it began, which nobody teaches."""
    return start, start


def test_nested_level_restarts_from_its_initial_state_which_has_moved():
    history = run(Plan((16, 4, 1), restart="fomaml"), 16, initial=True)
    for level, period in ((2, 4), (1, 16)):
        steps = [levels[level] for levels in history[:: 1 if level == 2 else 4]]
        pairs = [(each.parameters["w"], each.initial["w"]) for each in steps]
        assert restarts_and_learns_its_start(pairs, 4), period
    assert history[16][0].initial == {}


@pytest.mark.parametrize("fault", [without_restart, without_meta_learning])
def test_faulty_restarts_are_rejected(fault):
    w = start = draw(4, seed=9)
    history = [(w, start)]
    for step in range(1, 17):
        slope = gradient(loss_at(step), w)
        w = w - 0.1 * slope
        if step % 4 == 0:
            w, start = fault(w, start, start - 0.1 * slope)
        history.append((w, start))
    assert not restarts_and_learns_its_start(history, 4)


def test_fomaml_restart_equals_the_meta_gradient_oracle():
    start = {"w": draw(4, seed=9)}
    losses = [lambda p, step=step: loss_at(step)(p["w"]) for step in range(1, 5)]
    meta = meta_gradient(start, losses[:3], losses[3], 0.1, first_order=True)["w"]
    fast = run(Plan((4, 1), restart="fomaml"), 4, initial=True)[-1][1]
    assert (fast.initial["w"] - (start["w"] - 0.1 * meta)).abs().max() < 1e-12


def test_reptile_restart_moves_towards_where_the_level_got_to():
    free = run(Plan((4, 1)), 4)[-1][1].parameters["w"]
    fast = run(Plan((4, 1), restart="reptile", restart_rate=0.25), 4, initial=True)[-1][1]
    assert (fast.initial["w"] - (draw(4, seed=9) + 0.25 * (free - draw(4, seed=9)))).abs().max() < 1e-12
    whole = run(Plan((4, 1), restart="reptile", restart_rate=1.0), 12, initial=True)[-1][1].parameters["w"]
    assert (whole - run(Plan((4, 1)), 12)[-1][1].parameters["w"]).abs().max() < 1e-12, "rate 1 is the sequential memory"


def test_parents_go_by_period_whatever_the_order_of_the_chain():
    plan = Plan((1, 16, 4))
    assert [plan.parent(i) for i in range(3)] == [2, None, 1]


def test_plan_rejects_what_it_cannot_mean():
    with pytest.raises(UnknownNameError, match="median"):
        Plan((1,), reduction="median")
    with pytest.raises(NlbenchError, match="divide"):
        Plan((2, 3), restart="reptile")
    with pytest.raises(NlbenchError, match="trust_ratio: must be > 0, got -1"):
        Plan((1,), trust_ratio=-1.0)  # would turn every step round
    for rate in (0.0, 1.5):
        with pytest.raises(NlbenchError, match="restart_rate"):
            Plan((1, 2), restart="reptile", restart_rate=rate)
    with pytest.raises(NlbenchError, match="FOMAML"):
        Plan((1, 2), restart="fomaml", accumulate="update")
