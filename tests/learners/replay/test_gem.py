from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from small_replay import SEEDS, STEPS, Array, Mlp64, equals, flat, learner, of_surprise, shaped, steps, surprise
from small_streams import CPU

from nlbench import Batch, Problem, catalog
from nlbench.learners.building import build
from nlbench.learners.gradient import cross_entropy
from nlbench.learners.replay.gem import EASED, multipliers
from nlbench.learners.replay.gem import Gem as Learner


class Gem:
    """Lopez-Paz & Ranzato 2017, eq. 11 and 12, of one seed in NumPy, the dual solved by a general method."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self.projected = 0

    def __call__(
        self, network: Mlp64, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], drawn: list[dict[str, Any]], step: int
    ) -> tuple[float, dict[str, Array]]:
        logits = network.logits(x)
        gradient = network.gradient(x, of_surprise(logits, y, classes))
        former = [(old, task) for old in drawn for task in np.unique(old["task"])]
        assert len(former) == step // STEPS
        if former:
            g, rows = flat(gradient), []
            for old, task in former:
                own, their = (old[name][old["task"] == task] for name in ("inputs", "labels"))
                rows.append(flat(network.gradient(own, of_surprise(network.logits(own), their, classes))))
            against = np.stack(rows)
            if (against @ g < 0).any():
                self.projected += 1
                gradient = shaped(g + against.T @ by_a_general_method(against @ against.T, against @ g, self._margin), gradient)
        return surprise(logits, y, classes).mean(), gradient


def by_a_general_method(gram: Array, along: Array, margin: float) -> Array:
    eased = gram + EASED * np.trace(gram) / len(gram) * np.eye(len(gram))
    found = minimize(
        lambda v: 0.5 * v @ eased @ v + along @ v,
        np.full(len(gram), margin + 1.0),
        jac=lambda v: eased @ v + along,
        bounds=[(margin, None)] * len(gram),
        method="L-BFGS-B",
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 10_000},
    )
    return found.x


def test_gem_equals_its_rendering() -> None:
    made, renderings = learner("gem", margin=0.3, capacity=9), [Gem(0.3) for _ in SEEDS]
    equals(made, renderings)  # type: ignore[arg-type]
    assert all(each.projected > 0 for each in renderings)


def test_what_is_stored_is_the_newest_of_each_task_and_no_step_raises_a_former_task_s_loss() -> None:
    made = learner("gem", margin=0.0, capacity=9)
    for task, *_ in steps(made):
        sizes = np.bincount(made.buffer.fields["task"][0].numpy()[made.buffer.filled[0].numpy()], minlength=3)
        assert (sizes[task:] == 0).all()
    assert sizes.tolist() == [3, 3, 3]


NETWORKS: dict[str, dict[str, Any]] = {
    "inputs": {},
    "mlp": {"hidden": [5]},
    "random-relu": {"width": 6},
    "convolutional": {"channels": [3, 4]},
    "resnet18": {"width": 2},
    "sequence": {"context": "stream", "width": 8, "heads": 2, "periods": [1]},
}


def imaged(kind: str, capacity: int, scenario: str) -> Learner:
    table = {"network": {"kind": kind, **NETWORKS[kind]}, "capacity": capacity, "optimizer": {"kind": "sgd", "rate": 0.05}}
    declared = catalog.config("learners", "gem").model_validate({"kind": "gem", "margin": 0.3, **table})
    return build(declared, Problem((1, 4, 4), 4, SEEDS, scenario, CPU, "auto", 15))  # type: ignore[return-value,arg-type]


Tensors = dict[str, torch.Tensor]


def by_a_loop(made: Learner, batch: Batch) -> tuple[Tensors, list[int], Tensors]:
    """Return what the gradients become, one former task after another, how many samples each has, and the network's state then;
    nothing moves.
    """
    state = dict(made.state)

    def gradient(inputs: torch.Tensor, labels: torch.Tensor, classes: torch.Tensor) -> Tensors:
        features, after = made.network.apply(made.parameters, state, inputs, training=True)
        state.update({name: value.detach() for name, value in after.items()})
        logits = made.head.logits(made.parameters, features, None)
        if classes.ndim == 1:
            return made.gradients(cross_entropy(logits, labels, classes))
        each = torch.where(classes, logits, -torch.inf).log_softmax(-1).gather(-1, labels[..., None])
        return made.gradients(-each[..., 0].mean(1))

    fields, filled = made.buffer.fields, made.buffer.filled
    rows, counts = [], []
    for task in range(made.ended):
        there = filled & (fields["task"] == task)
        counts.append(int(there[0].sum()))
        if counts[-1]:
            old = {name: value[there].unflatten(0, (len(SEEDS), -1)) for name, value in fields.items()}
            rows.append(gradient(old["inputs"], old["labels"], old.get("classes", batch.classes)))
    own = gradient(batch.inputs, batch.labels, batch.classes)
    for s in range(len(SEEDS)) if rows else ():
        g, *against = (torch.cat([each[name][s].flatten() for name in own]).double() for each in (own, *rows))
        stacked = torch.stack(against)
        v = multipliers((stacked @ stacked.T).numpy(), (stacked @ g).numpy(), 0.3)
        moved = (g + torch.from_numpy(v) @ stacked).float().split([each[s].numel() for each in own.values()])
        for each, part in zip(own.values(), moved, strict=True):
            each[s] = part.view_as(each[s])
    return own, counts, state


@pytest.mark.parametrize("scenario", ["class-il", "task-il"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_tasks_that_pass_together_give_what_they_give_one_after_another(
    kind: str, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, draw = imaged(kind, 7, scenario), torch.Generator().manual_seed(0)
    if scenario == "task-il":  # two of three at a time
        monkeypatch.setattr("nlbench.learners.replay.gem.ON_CPU", 2 * sum(value.numel() for value in made.parameters.values()))
    seen, violated = set(), 0
    for task, length in enumerate((4, 1, 4, 4)):  # of the second there are fewer samples than it has room for
        for _ in range(length):
            labels = torch.randint(2, (len(SEEDS), 2), generator=draw) + 2 * (task % 2)
            inputs = torch.randn(len(SEEDS), 2, 1, 4, 4, generator=draw) + labels[..., None, None, None] * (1 - task)
            classes = torch.tensor([True, True, task > 0, task > 0])
            batch = Batch(inputs, labels, classes, task if scenario == "task-il" else None)
            expected, counts, after = by_a_loop(made, batch)
            plain = made.gradients(made.loss(batch), again=True)
            found = made.adjust({name: value.clone() for name, value in plain.items()})
            violated += any((found[name] - plain[name]).abs().max() > 1e-3 for name in plain)
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
            for name, value in after.items():
                torch.testing.assert_close(made.state[name], value)
            made.observe(batch)
            seen.add(tuple(sorted(counts)))
        made.end_task()
    assert violated > 3
    assert any(len(set(counts)) > 1 for counts in seen)


def test_a_task_without_a_sample_any_more_is_left_out() -> None:
    made = imaged("mlp", 2, "class-il")
    for task in range(4):
        batch = Batch(torch.randn(len(SEEDS), 2, 1, 4, 4), torch.full((len(SEEDS), 2), task), torch.arange(4) <= task, None)
        for _ in range(2):
            expected, counts, _ = by_a_loop(made, batch)
            found = made.adjust(made.gradients(made.loss(batch)))
            for name, value in expected.items():
                torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
            made.observe(batch)
        made.end_task()
    assert counts.count(0) == 2


def test_multipliers_are_optimal() -> None:
    rng = np.random.Generator(np.random.Philox(3))
    for _ in range(50):
        rows, g, margin = rng.standard_normal((4, 9)), rng.standard_normal(9), rng.choice([0.0, 0.5])
        gram, along = rows @ rows.T, rows @ g
        v = multipliers(gram, along, margin)
        if (along >= 0).all():
            assert (v == 0).all()
            continue
        slope = gram @ v + along + EASED * np.trace(gram) / 4 * v
        np.testing.assert_allclose(slope[v > margin + 1e-9], 0, atol=1e-8)
        assert (slope > -1e-8).all()
        assert (v >= margin).all()
