"""Train `HopeClassifier` on digits with every continuum memory and every optimizer, and write the table of docs/seeds.md.

    python tools/make_seeds_table.py               the table: five seeds at once, accuracy after PASSES passes
    python tools/make_seeds_table.py AdamW Muon    these rows of it only
    python tools/make_seeds_table.py tune          how RATES were chosen: validation on a fifth of the training set

The split is the one of the stream split-digits; the yardstick a joint ridge regression on 512 random ReLU features of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.nested import optimizers
from nlbench.nested.hope import HopeClassifier
from nlbench.nested.layers import Linear
from nlbench.nested.level_optimizer import LevelOptimizer
from nlbench.nested.local_objective import LocalObjective, attach
from nlbench.seeds import FIXED, normal, permutation
from nlbench.sources.pixels import DIGITS

PAGE = Path(__file__).parents[1] / "docs" / "seeds.md"
SEEDS = (0, 1, 2, 3, 4)
PASSES, BATCH = 6, 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FEATURES, RIDGE = 512, 1.0
VARIANTS = ("sequential", "nested", "headwise")
RATES = {
    "DGD": 0.03,
    "Momentum": 0.03,
    "PreconditionedMomentum": 1e-4,
    "DeltaMomentum": 0.03,
    "FeatureMomentum": 0.03,
    "DMGD": 0.1,
    "AdamW": 3e-3,
    "Shampoo": 0.01,
    "Muon": 3e-3,
    "M3": 1e-3,
}
TRIED = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Multiples of each optimizer's own default rate that `tune` compares."""
KAPPA = 0.01
"""DGD's pull of every layer's output to zero, the best of 0.1, 0.03, 0.01; at the paper's 1 an L2 loss writes half its target."""


class Digits(NamedTuple):
    """Training and test pixels (N, 64) in [0, 1] and labels (N,)."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor


def digits() -> Digits:
    """The fixed split of the stream."""
    data = DIGITS.read()
    parts = (data.train_inputs, data.train_labels, data.test_inputs, data.test_labels)
    inputs, labels, test_inputs, test_labels = (torch.from_numpy(part) for part in parts)
    return Digits(inputs.flatten(1), labels, test_inputs.flatten(1), test_labels)


def held_out(data: Digits) -> Digits:
    """The training set alone, a fifth of it as test set."""
    order = torch.from_numpy(permutation([FIXED], "validation", len(data.labels))[0])
    kept, out = order[len(order) // 5 :], order[: len(order) // 5]
    return Digits(data.inputs[kept], data.labels[kept], data.inputs[out], data.labels[out])


def maker(name: str, rate: float) -> Callable[[list[nn.Parameter], int], torch.optim.Optimizer]:
    """How `LevelOptimizer` makes a level's optimizer. DGD's hooks change the gradients, and momentum steps on those."""
    rule = optimizers.Momentum if name == "DGD" else getattr(optimizers, name)
    return lambda parameters, period: rule(parameters, lr=rate, replica_axes=1)


def accuracy(cms: str, name: str, rate: float, seeds: Sequence[int], passes: int, data: Digits) -> Tensor:
    """Test accuracy of each seed after training."""
    data = Digits(*(part.to(DEVICE) for part in data))
    model = HopeClassifier(64, 128, 10, periods=(1, 4, 16), cms=cms, depth=3, seeds=seeds).to(DEVICE)
    if name == "DGD":
        attach([layer for layer in model.modules() if isinstance(layer, Linear)], LocalObjective(output=KAPPA))
    optimizer = LevelOptimizer(model, maker(name, rate))
    batches = len(data.labels) // BATCH
    for epoch in range(passes):
        order = torch.from_numpy(permutation(seeds, f"order/{epoch}", len(data.labels))).to(DEVICE)
        for batch in range(batches):
            optimizer.scale_rates(1 - (epoch + batch / batches) / passes)
            rows = order[:, batch * BATCH : (batch + 1) * BATCH]
            logits = model(data.inputs[rows])
            loss = len(seeds) * F.cross_entropy(logits.flatten(0, 1), data.labels[rows].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        logits = model(data.test_inputs.expand(len(seeds), -1, -1))
    return (logits.argmax(-1) == data.test_labels).float().mean(1).cpu()


def ridge_accuracy(data: Digits) -> Tensor:
    """Test accuracy of a joint ridge regression on random ReLU features, seed by seed."""
    weight = torch.from_numpy(normal(SEEDS, "features", (64, FEATURES))).double() / 8
    shift = torch.from_numpy(normal(SEEDS, "shift", (1, FEATURES))).double() / 8
    train, test = ((x.double() @ weight + shift).relu() for x in (data.inputs, data.test_inputs))
    gram = train.mT @ train + RIDGE * torch.eye(FEATURES).double()
    readout = torch.cholesky_solve(train.mT @ F.one_hot(data.labels, 10).double(), torch.linalg.cholesky(gram))
    return ((test @ readout).argmax(-1) == data.test_labels).double().mean(1)


def row(name: str, data: Digits) -> str:
    """The table's row of one optimizer."""
    cells = []
    for cms in VARIANTS:
        reached = accuracy(cms, name, RATES[name], SEEDS, PASSES, data)
        cells.append(f"{reached.mean():.4f} ± {reached.std():.4f}")
        sys.stderr.write(f"{name} {cms} {cells[-1]}\n")
    return f"| {name} | {RATES[name]:g} | {' | '.join(cells)} |"


def write(page: Path, names: Sequence[str], data: Digits) -> None:
    """Replace the rows of `names` in the page's table, and the yardstick above it."""
    bound = float(ridge_accuracy(data).mean())
    for name in names:
        line = row(name, data)
        before, body, after = re.split(r"(?<=<!-- digits -->\n)(.*)(?=<!-- /digits -->)", page.read_text(), flags=re.S)
        rows = {cells[1].strip(): text for text in body.splitlines() if len(cells := text.split("|")) > 1} | {name: line}
        head = [
            f"Joint ridge on {FEATURES} random features: {bound:.4f}; the bound of the rows is {bound - 0.01:.4f}.",
            "",
            f"| optimizer | rate | {' | '.join(VARIANTS)} |",
            "|---|---|---|---|---|",
        ]
        page.write_text(before + "\n".join([*head, *(rows[each] for each in RATES if each in rows), ""]) + after)


def tune(names: Sequence[str], data: Digits) -> None:
    """Validation accuracy of every tried rate, sequential memory, mean over seeds, half the passes."""
    validation = held_out(data)
    defaults = {name: maker(name, 1.0)([nn.Parameter(torch.zeros(1, 1))], 1).default_lr for name in RATES}
    for name in names:
        for rate in (factor * defaults[name] for factor in TRIED):
            reached = accuracy("sequential", name, rate, SEEDS, PASSES // 2, validation)
            sys.stdout.write(f"{name} {rate:g} {float(reached.mean()):.4f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = [name for name in sys.argv[1:] if name != "tune"]
    if unknown := [name for name in chosen if name not in RATES]:
        sys.exit(f"unknown optimizer {', '.join(unknown)}: choose from {', '.join(RATES)}, or none for all of them.")
    if sys.argv[1:2] == ["tune"]:
        tune(chosen or list(RATES), digits())
    else:
        write(PAGE, chosen or list(RATES), digits())
