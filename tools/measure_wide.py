"""Measure a run on a wide table beside a bare loop of the same products: `python tools/measure_wide.py`.

A Parquet file of 100,000 rows of 768 numbers in a hundred classes is learned by `random-features` as ten tasks, three seeds, in
one command, and by a loop of torch that makes the same keys, grams, read-outs and answers and nothing else. Both run as processes
of one thread, in turns; told are CPU seconds, and the largest memory of each beyond that of `import torch`, as a share of the
file's size. A run on a few rows goes before: it has the kernels compiled, by a process of its own, which takes seconds once on a
machine and none of the memory of the run that waits for it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROWS, WIDTH, CLASSES, TASKS, SEEDS = 100_000, 768, 100, 10, 3
FEW = 2000
FEATURES, BATCH, RIDGE, TESTED, AT_ONCE = 2000, 32, 10.0, 5, 500


class Spent(NamedTuple):
    """CPU seconds of a process, and the most MiB that it held."""

    seconds: float
    mib: float


def make(path: Path, n: int = ROWS) -> None:
    """Write a file of n rows: noise around the mean of each class."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.Generator(np.random.Philox(1))
    labels = draw.integers(0, CLASSES, n)
    rows = draw.standard_normal((CLASSES, WIDTH), dtype=np.float32)[labels]
    rows *= 0.25
    rows += draw.standard_normal(rows.shape, dtype=np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), WIDTH)
    parquet.write_table(pa.table({"feature": column, "label": labels}), path)


def bare(path: Path) -> None:
    """Do what has to be done, from the file to the accuracies: a fifth of the rows is tested before the first task and after each
    one, by a read-out that is solved for then.
    """
    import numpy as np
    import torch
    from pyarrow import parquet

    torch.set_num_threads(1)
    file = parquet.ParquetFile(path)
    n, first = file.metadata.num_rows, 0
    inputs, labels = np.empty((n, WIDTH), np.float32), np.empty(n, np.int64)
    for block in file.iter_batches(1024):
        own, first = slice(first, first + len(block)), first + len(block)
        inputs[own] = block.column(0).flatten().to_numpy().reshape(-1, WIDTH)
        labels[own] = block.column(1).to_numpy()
    tested = np.arange(n) % TESTED == 0
    inputs -= inputs[~tested].mean(0)
    inputs /= inputs[~tested].std(0)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels)
    weights, biases = torch.randn(SEEDS, FEATURES, WIDTH) * WIDTH**-0.5, torch.randn(SEEDS, FEATURES) / 2
    grams, products = torch.zeros(SEEDS, FEATURES + 1, FEATURES + 1), torch.zeros(SEEDS, FEATURES + 1, CLASSES)

    def keys(seed: int, rows: torch.Tensor) -> torch.Tensor:
        made = torch.addmm(biases[seed], x[rows], weights[seed].T).relu_()
        made *= made.square().mean(1, keepdim=True).rsqrt()
        return torch.cat([made, torch.ones(len(made), 1)], 1)

    def right(seed: int) -> int:
        gram = grams[seed].double()
        gram.diagonal().add_(RIDGE)
        readout = torch.cholesky_solve(products[seed].double(), torch.linalg.cholesky(gram)).float()
        parts = torch.from_numpy(np.flatnonzero(tested)).split(AT_ONCE)
        return sum(int(((keys(seed, part) @ readout).argmax(1) == y[part]).sum()) for part in parts)

    found = [[right(seed) for seed in range(SEEDS)]]
    for task in range(TASKS):
        own = torch.from_numpy(np.flatnonzero(~tested & (labels * TASKS // CLASSES == task)))
        orders = [own[torch.randperm(len(own))].split(BATCH) for _ in range(SEEDS)]
        for batches in zip(*orders, strict=True):
            for seed, rows in enumerate(batches):
                made = keys(seed, rows)
                grams[seed].addmm_(made.T, made)
                products[seed].addmm_(made.T, torch.nn.functional.one_hot(y[rows], CLASSES).float())
        found.append([right(seed) for seed in range(SEEDS)])
    sys.stdout.write(f"{np.mean(found[-1]) / tested.sum():.4f}\n")


PARTS: dict[str, Callable[[Path], None]] = {"make": make, "few": partial(make, n=FEW), "bare": bare}


def spent(command: list[str]) -> Spent:
    """Return what a process took. Raises `SystemExit` if it fails."""
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return Spent(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def part(path: Path, name: str) -> list[str]:
    """Return the command that makes a file, or does with it what has to be done."""
    return [sys.executable, __file__, "--file", str(path), "--part", name]


def run(path: Path, folder: str) -> list[str]:
    """Return the command that learns a file, but for how many tasks."""
    said = [sys.executable, "-m", "nlbench", "run", "--model", "random-features", "--stream", str(path), "--results", folder]
    return [*said, "--seeds", str(SEEDS), "--threads", "1", "--device", "cpu", "--force"]


def main() -> None:
    """Measure in turns; the parent imports nothing large, as a child's largest memory begins with its parent's."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--file", type=Path, help="where the file lies, or is made; a temporary folder otherwise")
    options.add_argument("--turns", type=int, default=2)
    options.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.part:
        PARTS[chosen.part](chosen.file)
        return
    with tempfile.TemporaryDirectory() as folder:
        path, few = chosen.file or Path(folder) / "wide.parquet", Path(folder) / "few.parquet"
        spent(part(few, "few"))
        spent([*run(few, folder), "--set", "stream.tasks=2"])
        if not path.exists():
            spent(part(path, "make"))
        torch, mib = spent([sys.executable, "-c", "import torch"]), path.stat().st_size / 2**20
        sys.stdout.write(f"file {mib:.0f} MiB; import torch {torch.seconds:.1f} s, {torch.mib:.0f} MiB\n")
        for _ in range(chosen.turns):
            own, loop = spent([*run(path, folder), "--set", f"stream.tasks={TASKS}"]), spent(part(path, "bare"))
            shares = [(each.mib - torch.mib) / mib for each in (own, loop)]
            sys.stdout.write(
                f"nlbench {own.seconds:.1f} s, {own.mib:.0f} MiB, {shares[0]:.2f} x the file; "
                f"bare {loop.seconds:.1f} s, {shares[1]:.2f} x the file; ratio {own.seconds / loop.seconds:.2f}\n"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
