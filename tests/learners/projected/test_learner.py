from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from small_projected import (
    AT_ONCE,
    AT_ONCE_NAMES,
    DGD,
    DGD_SELF,
    EXACT,
    IMAGES,
    LEVELS,
    LEVELS_SELF,
    SELF,
    SHAPE,
    WARM,
    WARM_SELF,
    B,
    C,
    N,
    S,
    batch,
    learner,
    taught,
)
from small_streams import CPU, declared_stream, problem_of, rows_of, values
from torch import Tensor
from torch.nn import functional as F

from nlbench import Batch, Batches, NlbenchError, Problem
from nlbench.kernels.metric_update import least_squares, own_rates, whole
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.learner import Projected
from nlbench.learners.projected.readout import Exact, own_values
from nlbench.learners.trial import observe_made
from nlbench.nested.rules import dgd

ALL = pytest.mark.parametrize(
    "table",
    [EXACT, LEVELS, WARM, IMAGES, DGD, WARM_SELF, LEVELS_SELF, DGD_SELF],
    ids=["exact", "levels", "warm", "images", "dgd", "warm-self", "levels-self", "dgd-self"],
)


def test_an_exact_read_out_is_ridge_regression_on_everything_seen_in_any_order() -> None:
    steps = list(range(7))
    forth, back = learner(EXACT), learner(EXACT)
    for step in steps:
        forth.observe(batch(step))
        back.observe(batch(steps[-1 - step]))
    shown = torch.randn(S, 30, *SHAPE, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(forth.predict(shown, None), back.predict(shown, None), atol=1e-4, rtol=1e-4)

    def keys(inputs: Tensor) -> np.ndarray:
        weight, bias, *_ = forth.features.tensors
        features = torch.relu(inputs.flatten(2) @ weight.mT + bias[:, None]).double()
        features = features / features.square().mean(-1, keepdim=True).sqrt()
        return np.concatenate([features.numpy(), np.ones((S, inputs.shape[1], 1))], -1)

    seen = keys(torch.cat([batch(step).inputs for step in steps], 1))
    wanted = F.one_hot(torch.cat([batch(step).labels for step in steps], 1), C).numpy()
    memory = np.linalg.solve(seen.swapaxes(1, 2) @ seen + np.eye(21), seen.swapaxes(1, 2) @ wanted)
    np.testing.assert_allclose(forth.predict(shown, None).numpy(), keys(shown) @ memory, atol=1e-4)


def test_each_level_steps_along_its_projected_gradient_in_its_own_period() -> None:
    """Written out with autograd: the gradient at the weights of each step, projected by the metric as of the last refresh."""
    made = learner(LEVELS)
    weights = [memory.weights.clone() for memory in made.continuum.memories]
    inverses = [torch.eye(memory.shape[2]).repeat(S, 1, 1) for memory in weights]
    metrics = [torch.zeros_like(inverse) for inverse in inverses]
    rates, ridges, periods, retain = (0.3, 0.2, 0.5), (2.0, 3.0, 1.0), (3, 1, 1), (1.0, 0.9, 1.0)
    pending = [torch.zeros_like(weight) for weight in weights]
    for step in range(1, 10):
        shown = batch(step)
        leaves = [weight.detach().requires_grad_() for weight in weights]
        keys = [F.pad(shown.inputs.flatten(2), (0, 1), value=1.0)]
        for leaf in leaves[:-1]:
            keys.append(F.pad(torch.relu(keys[-1] @ leaf.mT), (0, 1), value=1.0))
        loss = sum(F.cross_entropy(own, labels) for own, labels in zip(keys[-1] @ leaves[-1].mT, shown.labels, strict=True))
        gradients = torch.autograd.grad(loss, leaves)
        made.observe(shown)
        for i, gradient in enumerate(gradients):
            projected = gradient @ inverses[i]
            pending[i] += projected * (2.0 / projected.flatten(1).norm(dim=1)).clamp_max(1.0)[:, None, None]
            if step % periods[i] == 0:
                weights[i] = weights[i] - rates[i] / periods[i] * pending[i]
                pending[i].zero_()
            if step % 2 == 0:
                metrics[i] = retain[i] * metrics[i] + 2 * (keys[i].mT @ keys[i]).detach() / B
            if step in (1, 2, 4, 8):
                inverses[i] = torch.linalg.inv(torch.eye(metrics[i].shape[1]) + metrics[i] / ridges[i])
            torch.testing.assert_close(made.continuum.memories[i].weights, weights[i], atol=2e-5, rtol=1e-4)


def together(made: Projected, calls: tuple[int, ...]) -> Tensor:
    """Let a learner observe what `given` shows, so many samples a call; return its losses."""
    images, rows, labels = given()
    losses, start = [], 0
    for size in calls:
        own = slice(start, start + size)
        classes = torch.ones(C, dtype=torch.bool)
        losses.append(made.observe_batches(Batches(images, rows[:, own], labels[:, own], B, classes, None)))
        start = own.stop
    return torch.cat(losses)


def given() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(11)
    shape = S, 40 * B - 2
    return (
        torch.randn(60, *SHAPE, generator=draw),
        torch.randint(60, shape, generator=draw),
        torch.randint(C, shape, generator=draw),
    )


@pytest.mark.parametrize(
    "table",
    [*AT_ONCE, EXACT, LEVELS, {**WARM, "refresh": 16}, IMAGES, DGD, LEVELS_SELF],
    ids=[*AT_ONCE_NAMES, "exact", "levels", "warm", "images", "dgd", "levels-self"],
)
def test_chunks_learned_at_once_lead_where_one_after_the_other_does(table: dict[str, Any]) -> None:
    """Across refreshes, periods begun and ended within a call, chunks gathered and not, and a last chunk that is short."""
    alone, whole = learner(table, backend="reference"), learner(table, backend="reference")
    images, rows, labels = given()
    losses = []
    for own in zip(rows.split(B, 1), labels.split(B, 1), strict=True):
        losses.append(alone.observe(Batch(images[own[0]], own[1], torch.ones(C, dtype=torch.bool), None)))
    torch.testing.assert_close(together(whole, (17 * B, B, 3 * B, 19 * B - 2)), torch.stack(losses), atol=1e-5, rtol=1e-5)
    found = whole.state_dict()
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_errors_reach_a_slow_level_through_the_read_out_that_made_them() -> None:
    """A delta-rule read-out starts at zero: what its first step writes must not send the first errors on."""
    made = learner({"levels": [{"width": 9, "period": 4}], "readout": {"rule": "dgd"}})
    made.observe(batch(1))
    assert made.continuum.memories[-1].weights.abs().max() > 0
    assert made.continuum.memories[0].pending.abs().max() == 0
    made.observe(batch(2))
    assert made.continuum.memories[0].pending.abs().max() > 0


def test_a_learner_loaded_between_tasks_owes_its_metric_the_order_of_its_inputs() -> None:
    order = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    table = {"levels": [{"width": 9}], "readout": {"rule": "protected"}}
    made, other = learner(table), learner(table)
    for step in range(1, 4):
        made.observe(batch(step))
    made.permute_inputs(order)
    other.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    for each in (made, other):
        each.observe(batch(4))
    assert all(torch.equal(other.state_dict()[name], value) for name, value in made.state_dict().items())


def test_as_many_chunks_are_learned_at_once_as_nothing_changes_for() -> None:
    made, seen = learner(AT_ONCE[0], backend="reference"), []
    observe = made._observe
    made._observe = lambda inputs, *others: seen.append(inputs.shape[1]) or observe(inputs, *others)  # type: ignore[method-assign]
    together(made, (20 * B, 20 * B - 2))
    assert seen == [1, 1, 2, 4, 8, 4, 4, 8, 4, 2, 1, 1]  # refreshed after 1, 2, 4, 8, 16, 32; the last one is short
    assert made.continuum.memories[0].pending.abs().max() == 0


@pytest.mark.parametrize(
    "table",
    [EXACT, LEVELS, IMAGES, LEVELS_SELF, {**WARM, "keys": {"kind": "random", "width": 20, "warm_up": 1}}],
    ids=["exact", "levels", "images", "levels-self", "warm-at-once"],
)
def test_a_trial_step_leaves_nothing_behind(table: dict[str, Any]) -> None:
    made, fresh = learner(table), learner(table)
    observe_made(made, Problem(SHAPE, C, (0, 1), "class-il", CPU, "auto", 100))
    for step in range(5):
        assert torch.equal(made.observe(batch(step)), fresh.observe(batch(step)))
    assert all(
        torch.equal(one, other) for one, other in zip(made.state_dict().values(), fresh.state_dict().values(), strict=True)
    )


def test_the_metric_keeps_old_readings_where_plain_steps_lose_them() -> None:
    """Task 1 and task 2 have other inputs; after task 2, the protected learner still reads task 1 as it did."""

    def drift(**changes: Any) -> float:
        made = learner({**LEVELS, "share": 1, "refresh": 2, **changes})
        gains = [torch.zeros(N).index_fill_(0, torch.arange(start, start + 32), 1.0).view(SHAPE) for start in (0, 32)]
        tasks = [[batch(step) for step in range(start, start + 150)] for start in (0, 500)]
        shown = torch.cat([each.inputs for each in tasks[0]], 1) * gains[0]
        before = torch.empty(0)
        for gain, task in zip(gains, tasks, strict=True):
            for each in task:
                made.observe(Batch(each.inputs * gain, each.labels, each.classes, None))
            before = before if before.numel() else made.predict(shown, None)
        return float((made.predict(shown, None) - before).square().mean())

    plain = {"metric": False, "readout": {"rule": "protected", "rate": 0.5, "ridge": 1e9}}
    assert drift() < drift(**plain) / 5


LATE: dict[str, Any] = {**EXACT, "refresh": 16}
SURPRISED: dict[str, Any] = {**LATE, "readout": {"rule": "exact", "ridge": 1.0, "slack": 0.5, "surprise": 2.0}}
RIDGES = pytest.mark.parametrize(
    "table",
    [LATE, SURPRISED, {**WARM, "refresh": 16}, {**IMAGES, "refresh": 16}, {"readout": {"rule": "exact"}, "refresh": 16}],
    ids=["plain", "surprised", "warm", "images", "bare"],
)


@RIDGES
def test_an_exact_read_out_answers_by_all_it_has_seen_between_two_refreshes(
    table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 13 chunks, of which 5 follow a refresh; the two calls of an evaluation are answered by one solution."""
    made = taught(table, steps=13)
    readout = made.continuum.readout
    assert isinstance(readout, Exact)
    solve = Mock(side_effect=readout._op.least_squares)
    monkeypatch.setattr(readout._op, "least_squares", solve)
    shown = batch(50).inputs
    found = [made.predict(shown, None) for _ in range(2)]
    weights = least_squares(readout.memory.gram, readout.products, table["readout"].get("ridge", 10.0))
    keys = F.pad(made.features.of_chunks(shown.flatten(2)[:, None]), (0, 1), value=1.0)
    for each in found:
        torch.testing.assert_close(each, keys @ weights.mT, atol=1e-4, rtol=1e-4)
    assert solve.call_count == 1


@RIDGES
def test_where_nothing_is_learned_by_a_reading_it_is_solved_for_seldom_and_nothing_learned_is_another(
    table: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 batches six are followed by a solution, eleven where every fifth is; only what the loss is read by differs."""
    seldom, often = learner({**table, "refresh": 5}), learner({**table, "refresh": 5})
    often.schedule = replace(often.schedule, by_readings=True)
    counts = []
    for made in (seldom, often):
        solve = Mock(side_effect=made.continuum.readout._op.least_squares)
        monkeypatch.setattr(made.continuum.readout._op, "least_squares", solve)
        for step in range(40):
            made.observe(batch(step))
        counts.append(solve.call_count)
    assert counts == ([6, 11] if table is not SURPRISED else [11, 11])
    found = often.state_dict()
    differ = [name for name, value in seldom.state_dict().items() if not torch.equal(value, found[name])]
    assert differ == ([] if table is SURPRISED else ["memory0.weights"])
    assert torch.equal(seldom.predict(batch(50).inputs, None), often.predict(batch(50).inputs, None))


@RIDGES
def test_asking_changes_nothing_of_what_is_learned(table: dict[str, Any]) -> None:
    asked, left = learner(table), learner(table)
    for step in range(13):
        losses = asked.observe(batch(step)), left.observe(batch(step))
        assert torch.equal(*losses)
        asked.predict(batch(50).inputs, None)
    found = left.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in asked.state_dict().items())
    assert torch.equal(asked.predict(batch(50).inputs, None), left.predict(batch(50).inputs, None))


def test_what_a_token_is_written_with_reaches_an_exact_read_out() -> None:
    table = {**EXACT, "readout": {"rule": "exact", "ridge": 1.0, "slack": 0.5, "surprise": 2.0}}
    made, shown = taught(table, steps=3), batch(3)
    readings = made.predict(shown.inputs, None)
    metric, products = made.continuum.memories[0].gram.clone(), made.continuum.readout.products.clone()
    weight, bias, *_ = made.features.tensors
    features = torch.relu(shown.inputs.flatten(2) @ weight.mT + bias[:, None])
    keys = F.pad(features / features.square().mean(-1, keepdim=True).sqrt(), (0, 1), value=1.0)
    labels = F.one_hot(shown.labels, C).float()
    rates, wanted = own_rates(readings, labels, shown.classes, 2.0), own_values(readings, labels, 0.5)
    made.observe(shown)
    metric, products = metric + (rates * keys).mT @ keys, products + (rates * keys).mT @ wanted
    torch.testing.assert_close(
        made.predict(shown.inputs, None), keys @ least_squares(metric, products, 1.0).mT, atol=1e-4, rtol=1e-4
    )


def test_a_read_out_that_learns_by_the_delta_rule_is_written_once_a_batch() -> None:
    made, shown = taught(DGD, steps=2), batch(2)
    weight, bias, *_ = made.features.tensors
    features = torch.relu(shown.inputs.flatten(2) @ weight.mT + bias[:, None])
    keys = F.pad(features / features.square().mean(-1, keepdim=True).sqrt(), (0, 1), value=1.0)
    memory, labels = made.continuum.memories[0].weights.clone(), F.one_hot(shown.labels, C).float()
    expected = dgd(memory, keys, keys @ memory.mT - labels, torch.full((S, B), 0.5 / 21)).weights
    made.observe(shown)
    torch.testing.assert_close(made.continuum.memories[0].weights, expected, atol=1e-5, rtol=1e-4)


def self_made(made: Projected, shown: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the self-made keys of a chunk that the learner is yet to see, its tokens' rates and what each retains."""
    assert made.self_references is not None
    slow = made.features.of_chunks(shown.inputs.flatten(2)[:, None])
    before = made.self_references.tensors[1].clone()
    writes = made.self_references.write(slow)
    made.self_references.tensors[1] = before
    return F.pad(made.self_references.keys(slow), (0, 1), value=1.0), *writes


def test_an_exact_read_out_keeps_of_each_token_what_later_ones_leave_and_writes_it_at_its_own_rate() -> None:
    made = learner({**EXACT, **SELF})
    kept, weights, wanted = torch.zeros(S, 0, 21), torch.zeros(S, 0), torch.zeros(S, 0, C)
    for step in range(6):
        shown = batch(step)
        keys, rates, retained = self_made(made, shown)
        made.observe(shown)
        for t in range(B):
            weights = torch.cat([weights * retained[:, t : t + 1], rates[:, t : t + 1]], 1)
        kept, wanted = torch.cat([kept, keys], 1), torch.cat([wanted, F.one_hot(shown.labels, C).float()], 1)
    torch.testing.assert_close(made.continuum.memories[0].gram, (weights[..., None] * kept).mT @ kept, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.continuum.readout.products, (weights[..., None] * kept).mT @ wanted, atol=1e-4, rtol=1e-4)
    assert weights.std() > 0.1
    shown = batch(7)
    keys, *_ = self_made(made, shown)
    memory = least_squares(made.continuum.memories[0].gram, made.continuum.readout.products, 1.0)
    torch.testing.assert_close(made.predict(shown.inputs, None), keys @ memory.mT, atol=1e-4, rtol=1e-4)


def test_levels_step_at_self_made_rates_and_their_metrics_keep_what_tokens_retain() -> None:
    made = learner({**LEVELS_SELF, "share": 1})
    rivals = [memory.weights.clone() for memory in made.continuum.memories]
    shown = batch(0)
    first, rates, retained = self_made(made, shown)
    made.observe(shown)
    leaves = [rival.requires_grad_() for rival in rivals]
    keys = [first]
    for leaf in leaves[:-1]:
        keys.append(F.pad(torch.relu(keys[-1] @ leaf.mT), (0, 1), value=1.0))
    readings = (keys[-1] @ leaves[-1].mT).flatten(0, 1)
    later = retained.flip(1).cumprod(1).flip(1)
    left = torch.cat([later[:, 1:], torch.ones(S, 1)], 1)
    losses = F.cross_entropy(readings, shown.labels.flatten(), reduction="none").view(S, B)
    gradients = torch.autograd.grad((losses * rates * left).sum() / B, leaves)
    rates_of = (0.0, 0.2, 0.5)
    for i, gradient in enumerate(gradients):
        bounded = gradient * (2.0 / gradient.flatten(1).norm(dim=1)).clamp_max(1.0)[:, None, None]
        torch.testing.assert_close(
            made.continuum.memories[i].weights, leaves[i].detach() - rates_of[i] * bounded, atol=1e-5, rtol=1e-4
        )
    torch.testing.assert_close(made.continuum.memories[2].gram, (keys[2].mT @ keys[2]).detach() / B, atol=1e-5, rtol=1e-4)
    held, shown = made.continuum.memories[0].gram.clone(), batch(1)
    keys_now, _, retained = self_made(made, shown)
    made.observe(shown)
    gathered = retained.prod(1)[:, None, None] * whole(held) + keys_now.mT @ keys_now / B
    torch.testing.assert_close(whole(made.continuum.memories[0].gram), gathered, atol=1e-5, rtol=1e-4)


@ALL
def test_a_seed_is_the_same_alone_and_beside_others(table: dict[str, Any]) -> None:
    together, alone = taught(table, seeds=(0, 1, 2)), taught(table, seeds=(2,))
    shown = torch.randn(1, 6, *SHAPE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(together.predict(shown, None)[2:], alone.predict(shown, None), atol=1e-4, rtol=1e-4)


@ALL
def test_backends_learn_the_same_to_rounding(table: dict[str, Any]) -> None:
    fast, plain = learner(table), learner(table, backend="reference")
    for step in range(12):
        torch.testing.assert_close(fast.observe(batch(step)), plain.observe(batch(step)), atol=1e-4, rtol=1e-4)
    shown = batch(50).inputs
    torch.testing.assert_close(fast.predict(shown, None), plain.predict(shown, None), atol=1e-3, rtol=1e-3)
    assert plain.backend == "reference"
    assert fast.backend == ("reference" if table in (DGD, DGD_SELF) else "numba")


@ALL
def test_a_restored_learner_continues_bit_for_bit(table: dict[str, Any]) -> None:
    made, restored = taught(table, steps=2), learner(table)
    restored.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    torch.testing.assert_close(restored.predict(batch(50).inputs, None), made.predict(batch(50).inputs, None), atol=0, rtol=0)
    for step in range(2, 9):
        torch.testing.assert_close(restored.observe(batch(step)), made.observe(batch(step)), atol=0, rtol=0)
    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in made.state_dict().items())


@ALL
def test_predicting_changes_nothing(table: dict[str, Any]) -> None:
    made = taught(table)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made.predict(batch(50).inputs, None)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


@pytest.mark.parametrize(
    "table",
    [
        EXACT,
        LEVELS,
        WARM,
        DGD,
        WARM_SELF,
        {"readout": {"rule": "exact"}, "refresh": 1},
        {"readout": {"rule": "exact"}, "refresh": 5},
    ],
    ids=["exact", "levels", "warm", "dgd", "warm-self", "bare", "bare-late"],
)
def test_permuting_the_learner_is_permuting_the_images(table: dict[str, Any]) -> None:
    """To and fro between observations, as a harness does that evaluates tasks of other orders in between."""
    shown_images, permuted = learner(table), learner(table)
    draw = torch.Generator().manual_seed(3)
    orders = [torch.stack([torch.randperm(N, generator=draw) for _ in range(S)]) for _ in range(2)]
    for order in orders:
        permuted.permute_inputs(order.argsort(1))
        for step in range(6):
            given = batch(step)
            images = given.inputs.flatten(2).gather(2, order[:, None].expand(S, B, N)).view_as(given.inputs)
            shown_images.observe(Batch(images, given.labels, given.classes, None))
            permuted.observe(given)
            if step == 2:
                permuted.permute_inputs(order)
                permuted.permute_inputs(order.argsort(1))
        permuted.permute_inputs(order)
    probe = torch.randn(S, 9, *SHAPE, generator=draw)
    torch.testing.assert_close(permuted.predict(probe, None), shown_images.predict(probe, None), atol=1e-4, rtol=1e-4)


def test_many_rows_are_answered_in_parts_as_each_part_alone() -> None:
    made, shown = taught(EXACT), torch.randn(1, 1100, *SHAPE, generator=torch.Generator().manual_seed(4))
    parts = [made.predict(part, None) for part in shown.split(300, 1)]
    torch.testing.assert_close(made.predict(shown, None), torch.cat(parts, 1), atol=1e-6, rtol=1e-5)


def test_what_reads_pixels_as_they_lie_keeps_them_in_place() -> None:
    assert not hasattr(learner(IMAGES), "permute_inputs")
    assert not hasattr(learner(LEVELS_SELF), "permute_inputs")
    with pytest.raises(NlbenchError, match="needs images"):
        Projected(
            ProjectedConfig.model_validate({"kind": "projected", **IMAGES}), Problem((9,), C, (0,), "class-il", CPU, "auto", 100)
        )


def test_bytes_are_counted_per_seed_and_levels_report_their_updates() -> None:
    made = taught(LEVELS)
    one = taught(LEVELS, seeds=(0,))
    assert made.memory_bytes() == one.memory_bytes()
    assert made.memory_bytes()["memory"] == 2 * 4 * (65**2 + 10**2 + 8**2)
    assert made.memory_bytes()["optimizer"] == 4 * 9 * 65
    found = made.diagnostics()
    assert found["level.3.updates"].tolist() == [4.0] * S
    assert found["level.1.updates"].tolist() == [12.0] * S
    assert ((found["level.3.plasticity"] > 0) & (found["level.3.plasticity"] < 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "table",
    [
        {"keys": {"kind": "random", "width": 256}, "readout": {"rule": "exact"}, "refresh": 90},
        {
            "levels": [{"width": 128, "period": 2, "ridge": 100.0}, {"width": 64, "ridge": 100.0}],
            "readout": {"rule": "protected", "ridge": 30.0},
            "refresh": 45,
        },
    ],
    ids=["exact", "levels"],
)
def test_a_hundred_tasks_in_float32_leave_every_metric_positive_definite(table: dict[str, Any]) -> None:
    """4,500 chunks of permuted digits. A metric that lost definiteness raises; one that lost its meaning reads at chance, 0.1."""
    stream = declared_stream("permuted", tasks=100, scenario="domain-il", protocol={"evaluate": "final", "batch": 32})
    made = Projected(ProjectedConfig.model_validate({"kind": "projected", **table}), problem_of(stream))
    final = values(rows_of(made, stream), "accuracy")
    accuracy = np.mean([value for value in final.values() if value is not None])
    assert accuracy > 0.3
    for memory in made.continuum.memories:
        metric = memory.gram
        shifted = metric[0].double() + 1e-6 * metric[0].diagonal().sum() * torch.eye(metric.shape[1])
        assert torch.linalg.eigvalsh(shifted).min() > 0
    for inverse in (memory.projection for memory in made.continuum.memories):
        if inverse.numel():
            eigenvalues = torch.linalg.eigvalsh(inverse[0].double())
            assert eigenvalues.min() > 0
            assert eigenvalues.max() < 1.001
