"""What a training step of a method costs beside the plain steps that its arithmetic is: `python tools/measure_methods.py`.

    python tools/measure_methods.py         on one core of the CPU: methods on an MLP 256-256 of MNIST, batches of 128
    python tools/measure_methods.py own     one seed of examples/own_network.py beside a plain torch loop, on one core
    python tools/measure_methods.py cuda    on the GPU, captured: a resnet18 on 32x32 images, alone and with stored samples

All in one process, in turns: on the CPU the shortest counts in processor time, which other programs only lengthen, on the GPU the
median by the clock. ER learns as many stored samples beside a batch, so its arithmetic is a plain step over twice the batch; that
of DER++ is one over three times the batch; of A-GEM two plain steps and the products of two gradients; of EWC one and the
penalty's gradient. Products and penalty are timed as torch makes them of whole trees, with nothing around them.
"""

from __future__ import annotations

import runpy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nlbench import catalog
from nlbench.batch import Batch, Learner, Problem
from nlbench.learners.building import build
from nlbench.learners.gradient import GradientLearner
from nlbench.plan import Machine, resolve
from nlbench.protocol import Meeting, Position, Schedule
from nlbench.runner import prepare
from nlbench.specs.model import Closed

WARM = 8
PLAIN = {"plain, 128": 128, "plain, 256": 256, "plain, 384": 384}
METHODS = {
    "ewc": {"plain, 128": 1, "penalty": 1},
    "er": {"plain, 256": 1},
    "derpp": {"plain, 384": 1},
    "a-gem": {"plain, 128": 2, "projection": 1},
}
"""What a method's arithmetic is made of, and how often."""

IMAGES: dict[str, tuple[str, int, int, int, str, float]] = {
    "resnet18 of width 20": ("naive", 20, 10, 5, "float32", 1.2),
    "the same, ER 10 + 10": ("er", 20, 10, 5, "float32", 1.6),
    "resnet18 of width 64, bf16": ("naive", 64, 128, 5, "bf16", 3.0),
}
"""Learner, width, batch, seeds, precision, and the milliseconds of a seed's step that are aimed at."""


def made(kind: str, network: dict[str, object], problem: Problem, **values: object) -> Learner:
    """Return a learner of a kind on a network, with SGD."""
    table = {"kind": kind, "network": network, "optimizer": {"kind": "sgd", "rate": 0.01}, **values}
    declared = catalog.config("learners", kind).model_validate(table)
    assert isinstance(declared, Closed)
    return build(declared, problem)


def batch_of(problem: Problem, size: int) -> Batch:
    """Return made samples of every seed."""
    shape = (len(problem.seeds), size)
    inputs, labels = torch.randn(*shape, *problem.input_shape), torch.randint(problem.n_classes, shape)
    classes = torch.ones(problem.n_classes, dtype=torch.bool)
    return Batch(*(each.to(problem.device) for each in (inputs, labels, classes)), None)


def in_turns(
    steps: dict[str, Callable[[], object]],
    clock: Callable[[], float],
    of: Callable[[list[float]], float],
    at_once: int,
    rounds: int,
) -> dict[str, float]:
    """Return the milliseconds of each step: of so many rounds the shortest or the median; `at_once` steps follow each other."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    with torch.no_grad():
        for step in steps.values():
            for _ in range(WARM):
                step()
        for _ in range(rounds):
            for name, step in steps.items():
                start = clock()
                for _ in range(at_once):
                    step()
                times[name].append((clock() - start) / at_once * 1e3)
    return {name: of(found) for name, found in times.items()}


def on_the_cpu(seeds: int) -> None:
    """Print what methods cost beside plain steps."""
    problem = Problem((1, 28, 28), 10, tuple(range(seeds)), "class-il", torch.device("cpu"), "auto", 1000)
    network, batches = {"kind": "mlp", "hidden": [256, 256]}, {size: batch_of(problem, size) for size in PLAIN.values()}

    def step(kind: str, size: int) -> Callable[[], object]:
        learner = made(kind, network, problem)
        with torch.no_grad():
            for _ in range(WARM):
                learner.observe(batches[size])
            learner.end_task()
        return lambda: learner.observe(batches[size])

    steps = {name: step("naive", size) for name, size in PLAIN.items()} | {kind: step(kind, 128) for kind in METHODS}
    found = in_turns({**steps, **passes(network, problem)}, time.process_time, min, 1, 200)
    parts = [*PLAIN, "penalty", "projection"]
    sys.stdout.write(f"{seeds} seeds: {', '.join(f'{name} {found[name]:.2f} ms' for name in parts)}\n")
    for kind, made_of in METHODS.items():
        arithmetic = sum(times * found[part] for part, times in made_of.items())
        sys.stdout.write(f"  {kind:8} {found[kind]:7.2f} ms, {found[kind] / arithmetic:.3f} of its arithmetic\n")


def passes(network: dict[str, object], problem: Problem) -> dict[str, Callable[[], object]]:
    """Return what EWC and A-GEM do with whole trees of a network's size, alone."""
    learner = made("naive", network, problem)
    assert isinstance(learner, GradientLearner)
    one, two, three, four = ([torch.randn_like(each) for each in learner.parameters.values()] for _ in range(4))

    def penalty() -> None:
        torch._foreach_addcmul_(one, two, list(torch._foreach_sub(three, four)), value=1e-9)

    def projection() -> None:
        for other in (two, one):
            along = sum(torch.linalg.vecdot(g.flatten(1), r.flatten(1)) for g, r in zip(two, other, strict=True)) * 1e-9
        for g, r in zip(one, two, strict=True):
            g.addcmul_(r, along.view(-1, *[1] * (r.ndim - 1)), value=-1)

    return {"penalty": penalty, "projection": projection}


def own_network() -> None:
    """Print what a training step of the example's network takes in a run, drawing and protocol included, beside a plain loop."""
    example = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "own_network.py"))
    network, tasks = example["Network"], example["tasks"]
    plan = resolve(network, example["stream"], seeds=(0,))
    rate: float = plan.learner.learner.optimizer.rate  # type: ignore[attr-defined]

    def run() -> float:
        stream, learner = prepare(plan, Machine(device="cpu"))
        schedule = Schedule.of(stream, plan.batch, plan.learner.presents)
        meeting, clock = Meeting(learner, stream, schedule), time.process_time()
        with torch.no_grad():
            for task in range(1, stream.n_tasks + 1):
                for _ in meeting.train(Position(task)):
                    pass
        return (time.process_time() - clock) / schedule.steps

    def loop() -> float:
        model = network(10)
        optimizer, steps, clock = torch.optim.SGD(model.parameters(), rate), 0, time.process_time()
        for inputs, labels, *_ in tasks:
            x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
            for rows in torch.randperm(len(x)).split(plan.batch):
                loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps += 1
        return (time.process_time() - clock) / steps

    times = [(run(), loop()) for _ in range(41)][1:]
    ours, theirs = map(min, zip(*times, strict=True))
    ratio = statistics.median(run / loop for run, loop in times)
    sys.stdout.write(f"a step of a run {ours * 1e6:.0f} µs, of a plain loop {theirs * 1e6:.0f}; median of ratios {ratio:.3f}\n")


def on_the_gpu() -> None:
    """Print the milliseconds of a seed's step on images."""
    device = torch.device("cuda")

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    for name, (kind, width, size, seeds, precision, aim) in IMAGES.items():
        problem = Problem((3, 32, 32), 10, tuple(range(seeds)), "class-il", device, "auto", 1000, precision)
        learner, batch = made(kind, {"kind": "resnet18", "width": width}, problem), batch_of(problem, size)
        found = in_turns({name: lambda learner=learner, batch=batch: learner.observe(batch)}, clock, statistics.median, 8, 40)
        sys.stdout.write(f"{name:28} batch {size:3}, {seeds} seeds: {found[name] / seeds:.3f} ms a seed's step, aim {aim}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "cuda" in sys.argv[1:]:
        on_the_gpu()
    elif "own" in sys.argv[1:]:
        own_network()
    else:
        for count in (1, 10):
            on_the_cpu(count)
