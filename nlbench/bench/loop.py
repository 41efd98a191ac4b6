"""The tight loop that runs are measured against: one seed of a ReLU perceptron in plain torch, as fast as it is written by hand.

Every buffer exists before the first step, the update is part of the gradient's matrix product, the data are one tensor, and a
permuted task permutes the first layer. It uses nothing of nlbench but its draws, so that it learns the same as a run does.

As a command, `python -m nlbench.bench.loop permuted-mnist DATA`, it is a whole program with the work of
`nlbench run --model mlp --seeds 0, --stream permuted-mnist`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from nlbench import seeds as draws

TEST_BLOCK = 2000
CURVE_BATCHES = 10
SUBSAMPLE = 500


@dataclass(frozen=True, slots=True)
class Task:
    """Samples as `rows` of shared images with their labels; `order` (d,) permutes the pixels."""

    inputs: Tensor
    rows: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    order: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The accuracies after 0…T tasks, and seconds."""

    accuracies: np.ndarray
    train: float
    evaluate: float


class Perceptron:
    """The weights of one seed and everything a step writes."""

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor], batch: int) -> None:
        self.weights = [weight.clone() for weight in weights]
        self.biases = [bias.clone() for bias in biases]
        widths = [weight.shape[0] for weight in weights]
        self.inputs = torch.empty(batch, weights[0].shape[1])
        self.values, self.deltas = ([torch.empty(batch, width) for width in widths] for _ in range(2))
        self.tested = [torch.empty(TEST_BLOCK, width) for width in widths]
        self.minus_one = torch.full((batch, 1), -1.0)

    def step(self, inputs: Tensor, rows: Tensor, labels: Tensor, rate: float) -> None:
        """One step of SGD on a batch."""
        n, last = len(rows), len(self.weights) - 1
        x = torch.index_select(inputs, 0, rows, out=self.inputs[:n])
        values = [x, *(each[:n] for each in self.values)]
        for i, weight in enumerate(self.weights):
            torch.addmm(self.biases[i], values[i], weight.t(), out=values[i + 1])
            if i < last:
                values[i + 1].relu_()
        delta = torch.softmax(values[-1], 1).scatter_add_(1, labels[:, None], self.minus_one[:n]).div_(n)
        for i in range(last, -1, -1):
            if i:
                below = torch.mm(delta, self.weights[i], out=self.deltas[i - 1][:n]).mul_(values[i] > 0)
            self.weights[i].addmm_(delta.t(), values[i], alpha=-rate)
            self.biases[i].sub_(delta.sum(0), alpha=rate)
            if i:
                delta = below

    def correct(self, inputs: Tensor, labels: Tensor) -> int:
        """How many labels have the highest logit."""
        right = 0
        for x, y in zip(inputs.split(TEST_BLOCK), labels.split(TEST_BLOCK), strict=True):
            for i, weight in enumerate(self.weights):
                x = torch.addmm(self.biases[i], x, weight.t(), out=self.tested[i][: len(y)])
                if i + 1 < len(self.weights):
                    x.relu_()
            right += int((x.argmax(1) == y).sum())
        return right


@torch.no_grad()
def learn(net: Perceptron, tasks: Sequence[Task], *, seed: int, batch: int, rate: float, every: int | None) -> Outcome:
    """Train on the tasks in order; after each, and before the first, test on all of them; within them, as the protocol does."""
    matrix, train, evaluate = np.zeros((len(tasks) + 1, len(tasks))), 0.0, 0.0
    subsamples = list(_subsamples(tasks)) if every else []
    for after in range(len(tasks) + 1):
        if after:
            task, clock, within = tasks[after - 1], perf_counter(), 0.0
            order = torch.from_numpy(draws.permutation((seed,), f"order/{after}/0", len(task.rows))[0])
            rows, labels = task.rows[order], task.labels[order]
            if every:
                begun = perf_counter()
                for j in range(1, after + 1):
                    _tested(net, *subsamples[j - 1], _between(None, tasks[j - 1].order))
                within += perf_counter() - begun
            _permute(net, _between(None, task.order))
            for number, start in enumerate(range(0, len(rows), batch), 1):
                net.step(task.inputs, rows[start : start + batch], labels[start : start + batch], rate)
                seen = min(start + batch, len(rows))
                if every and (seen // every > start // every or number <= CURVE_BATCHES):
                    begun = perf_counter()
                    first = 1 if seen // every > start // every else after
                    for j in range(first, after + 1):
                        _tested(net, *subsamples[j - 1], _between(task.order, tasks[j - 1].order))
                    within += perf_counter() - begun
            _permute(net, task.order)
            train += perf_counter() - clock - within
        clock = perf_counter()
        for j, task in enumerate(tasks):
            right = _tested(net, task.test_inputs, task.test_labels, _between(None, task.order))
            matrix[after, j] = right / len(task.test_labels)
        evaluate += perf_counter() - clock
    return Outcome(matrix, train, evaluate)


def _subsamples(tasks: Sequence[Task]) -> Iterator[tuple[Tensor, Tensor]]:
    for number, task in enumerate(tasks, 1):
        n = len(task.test_labels)
        rows = torch.from_numpy(draws.permutation((draws.FIXED,), f"evaluation/{number}", n)[0, :SUBSAMPLE])
        yield task.test_inputs[rows], task.test_labels[rows]


def _between(present: Tensor | None, wanted: Tensor | None) -> Tensor | None:
    """How a first layer that stands in the order `present` is put in the order `wanted`."""
    if wanted is None or present is wanted:
        return None
    return wanted.argsort() if present is None else present[wanted.argsort()]


def _permute(net: Perceptron, order: Tensor | None) -> None:
    if order is not None:
        net.weights[0] = net.weights[0][:, order]


def _tested(net: Perceptron, inputs: Tensor, labels: Tensor, order: Tensor | None) -> int:
    own = net.weights[0]
    _permute(net, order)
    right = net.correct(inputs, labels)
    net.weights[0] = own
    return right


def initial(seed: int, widths: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
    """The weights and biases that a run's seed starts from."""
    pairs = list(enumerate(pairwise(widths)))
    weights = [draws.uniform((seed,), f"init/layer{i}.weight", (d_out, d_in), d_in**-0.5)[0] for i, (d_in, d_out) in pairs]
    biases = [draws.uniform((seed,), f"init/layer{i}.bias", (d_out,), d_in**-0.5)[0] for i, (d_in, d_out) in pairs]
    return [torch.tensor(each) for each in weights], [torch.tensor(each) for each in biases]


def mnist_tasks(stream: str, folder: Path, seed: int) -> list[Task]:
    """The tasks of split-mnist or permuted-mnist from MNIST's own files."""
    arrays = []
    for part in ("train", "t10k"):
        images = np.fromfile(folder / f"{part}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 784)
        labels = np.fromfile(folder / f"{part}-labels-idx1-ubyte", np.uint8, offset=8).astype(np.int64)
        pixels = torch.from_numpy(images.astype(np.float32)).mul_(1 / 255).sub_(0.1307).div_(0.3081)
        arrays += [pixels, torch.from_numpy(labels)]
    x, y, test_x, test_y = arrays
    if stream == "permuted-mnist":
        orders = [torch.from_numpy(draws.permutation((seed,), f"permutation/{task}", 784)[0]) for task in range(1, 11)]
        return [Task(x, torch.arange(len(y)), y, test_x, test_y, order) for order in orders]
    tasks = []
    for first in range(0, 10, 2):
        # class by class, as a run holds them
        rows, tested = (torch.cat([(labels == c).nonzero()[:, 0] for c in (first, first + 1)]) for labels in (y, test_y))
        tasks.append(Task(x, rows, y[rows], test_x[tested], test_y[tested]))
    return tasks


def main(stream: str, folder: str) -> None:
    """Write what the loop reached, and its seconds, as one line of JSON."""
    tasks = mnist_tasks(stream, Path(folder), seed=0)
    every = {"split-mnist": 2560, "permuted-mnist": 12800}[stream]
    net = Perceptron(*initial(0, (784, 256, 256, 10)), batch=128)
    found = learn(net, tasks, seed=0, batch=128, rate=0.1, every=every)
    facts = {"accuracies": found.accuracies.tolist(), "train": found.train, "evaluate": found.evaluate}
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
