"""Search the values of the recipes, each with the same budget: `python docs/tune_recipes.py`.

Every candidate learns the first tasks from 80 % of their training sets and is judged on the rest, with seeds 100 to 102
(`nlbench tune`): no test set is seen. What was searched and what it scored is written into the recipe's file as
`[search."<stream>"]`; its values stay as they are, for a person to change. `--models` and `--streams` choose some of them.
"""

from __future__ import annotations

import argparse
import re
import sys
from itertools import product
from pathlib import Path

import nlbench
from nlbench import specs
from nlbench.api import tune
from nlbench.tune import Search

ROOT = Path(__file__).parents[1]
BUDGET = 12
TASKS = 3
LONG = {("hope", "permuted-digits"): 10}
"""Three tasks do not tell fixed features from learned levels, which fill up later."""

RATES = ["0.01", "0.03", "0.1", "0.3"]
LEVELS = {"learner.rate": RATES, "learner.periods": ["[1, 4, 16]", "[1, 8, 64]", "[1, 16, 128]"]}
SHORT_LEVELS = {"learner.rate": RATES, "learner.periods": ["[1, 2, 4]", "[1, 3, 9]", "[1, 4, 16]"]}
EXACT = {
    "learner.readout.ridge": ["3.0", "10.0", "30.0"],
    "learner.readout.slack": ["0.0", "0.3"],
    "learner.readout.surprise": ["0.0", "1.0"],
}
LEARNED = {
    "batch": ["4", "8", "16"],
    "learner.levels": [
        "[{ period = 2, width = 600, rate = 0.6, ridge = 50.0 }, { period = 1, width = 300, rate = 0.6, ridge = 15.0 }]",
        "[{ period = 2, width = 600, rate = 0.6, ridge = 100.0 }, { period = 1, width = 300, rate = 0.6, ridge = 30.0 }]",
    ],
    "learner.readout.ridge": ["3.0", "6.0"],
}
SPACES = {
    "hope": EXACT,
    "hope-pixels": {
        "learner.readout.ridge": ["3.0", "10.0", "30.0"],
        "learner.keys.smoothing": ["0.125", "0.25"],
        "learner.keys.locality": ["0.0", "4.0"],
    },
    "random-features": {
        "learner.readout.ridge": ["0.3", "1.0", "3.0", "10.0", "30.0", "100.0"],
        "learner.keys.bias": ["0.1", "0.5"],
    },
    "hope-dgd": {"learner.readout.rate": ["0.03", "0.1", "0.2", "0.5", "1.0", "1.5"], "learner.keys.bias": ["0.1", "0.5"]},
    "hope-attention": LEVELS,
    "cms": LEVELS,
    "cms-nested": LEVELS,
    "cms-headwise": LEVELS,
    "mlp": {"learner.rate": RATES, "learner.momentum": ["0.0", "0.5", "0.9"]},
}
"""Twelve points each. Periods must fit into a search's steps, so streams as short as the digits' have their own."""

STREAMS = {
    "split-digits": tuple(SPACES),
    "permuted-digits": tuple(SPACES),
    "split-mnist": ("hope", "hope-dgd", "hope-attention", "cms", "cms-nested", "cms-headwise", "mlp"),
    "permuted-mnist": ("hope-dgd", "hope-attention", "cms", "cms-nested", "cms-headwise", "mlp"),
}
"""What two cores can search; the other recipes say in their file what was done instead."""


def space_of(model: str, stream: str) -> dict[str, list[str]]:
    """Return the candidate values of a recipe on a stream."""
    if (model, stream) in LONG:
        return LEARNED
    space = SPACES[model]
    return SHORT_LEVELS if space is LEVELS and stream.endswith("digits") else space


def searched(model: str, stream: str) -> Search:
    """Return the finished search of a recipe on a stream."""
    space = space_of(model, stream)
    assert len(list(product(*space.values()))) == BUDGET
    return tune(model, stream, space, budget=BUDGET, tasks=LONG.get((model, stream), TASKS), device="cpu")


def lines(found: Search) -> str:
    """Return the search as the TOML table that stands beside the recipe's values."""
    own = nlbench.resolve(found.model, found.stream, seeds=found.seeds).learner
    best = found.trials[0]
    kept = [
        trial.score
        for trial in found.trials
        if nlbench.resolve(found.model, found.stream, seeds=found.seeds, overrides=trial.values).learner.digest == own.digest
    ]
    rows = [
        f'[search."{found.stream}"]',
        f'rule = "{found.rule}"',
        f'objective = "{found.objective}"',
        f"seeds = {list(found.seeds)}",
        f"budget = {len(found.trials)}",
        *(f'space."{key}" = [{", ".join(values)}]' for key, values in found.space.items()),
        *(f'best."{key}" = {value}' for key, value in best.values.items()),
        f"score = {best.score:.4f}",
        *(f"score_before = {score:.4f}" for score in kept[:1] if score is not None),
    ]
    return "\n".join(rows) + "\n"


def record(found: Search) -> None:
    """Write the search into the recipe's file, in the place of an older one."""
    path = ROOT / "baselines" / f"{found.model}.toml"
    text = path.read_text(encoding="utf-8")
    text = re.sub(rf'\n\[search\."{found.stream}"\]\n(?:[^\[\n].*\n)*', "", text)
    path.write_text(f"{text.rstrip()}\n\n{lines(found)}", encoding="utf-8")
    specs.validate_file(path)


def main() -> None:
    """Run the searches and record them."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="*")
    options.add_argument("--streams", nargs="*", default=list(STREAMS))
    chosen = options.parse_args()
    for stream in chosen.streams:
        for model in STREAMS[stream]:
            if model not in (chosen.models or SPACES):
                continue
            found = searched(model, stream)
            record(found)
            sys.stderr.write(f"{model} on {stream}, {sum(trial.seconds for trial in found.trials):.0f} s\n{lines(found)}\n")
            for trial in found.trials:
                sys.stderr.write(f"  {trial.score} {trial.metrics.get('forgetting')} {trial.values}\n")


if __name__ == "__main__":
    main()
