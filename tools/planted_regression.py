"""How often the gate is right with five seeds: `python tools/planted_regression.py`.

`random-features` on split-digits is recorded with 80 seeds as it is and with 40 seeds and a planted regression: the read-out
keeps only part of its memory at each batch. Then 2,000 times five reference seeds are drawn from the first 40, five seeds of an
unchanged learner from the next 40, and five of the regression; the gate judges both against the reference, unpaired, by the
margins of the stream's `[check]` table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import nlbench
from nlbench.catalog import find
from nlbench.gate import judged
from nlbench.gate.model import PASSED
from nlbench.seeds import permutation
from nlbench.specs import read_table

RETAIN = "0.95"
DRAWS = 2000
SEEDS = 5


def recorded(results: Path, seeds: range, overrides: dict[str, str], margins: dict[str, float]) -> dict[str, dict[int, float]]:
    """Return each gated metric by seed."""
    run = nlbench.run("random-features", "split-digits", seeds=seeds, results=results, overrides=overrides)
    found = {name: run.metric(name) for name in margins}
    return {
        name: {seed: value for seed, value in values.items() if value is not None and seed in seeds}
        for name, values in found.items()
    }


def verdicts(new: dict, old: dict, chosen: list[int], reference: list[int], margins: dict[str, float]) -> set[str]:
    """Return the gate's verdicts on all metrics for a choice of seeds."""
    return {
        judged(name, margin, {s: new[name][s] for s in chosen}, {s: old[name][s] for s in reference}, SEEDS).verdict
        for name, margin in margins.items()
    }


def main() -> None:
    """Record what is missing and print the rates."""
    results = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("results/planted-regression")
    check = read_table(find("stream", "split-digits"))["check"]
    margins = {name: value for name, value in check.items() if name != "min_seeds"}
    old = recorded(results, range(40), {}, margins)
    same = recorded(results, range(40, 80), {}, margins)
    worse = recorded(results, range(80, 120), {"learner.readout.retain": RETAIN}, margins)
    orders = [permutation((i,), "planted-regression", 120).tolist()[0] for i in range(DRAWS)]
    caught = passed = 0
    for order in orders:
        reference, other, planted = ([s for s in order if s // 40 == group][:SEEDS] for group in range(3))
        passed += verdicts(same, old, other, reference, margins) <= PASSED
        caught += "worse" in verdicts(worse, old, planted, reference, margins)
    for name in margins:
        means = [np.mean(list(values[name].values())) for values in (old, same, worse)]
        sys.stdout.write(f"{name}: unchanged {means[0]:.4f} and {means[1]:.4f}, retain = {RETAIN}: {means[2]:.4f}\n")
    sys.stdout.write(
        f"unchanged passes {passed / DRAWS:.4f}, regression is caught {caught / DRAWS:.4f} ({DRAWS} draws of {SEEDS} seeds)\n"
    )


if __name__ == "__main__":
    main()
