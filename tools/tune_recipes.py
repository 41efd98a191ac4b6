"""Search the values of the recipes, each with the same budget: `python tools/tune_recipes.py`.

Every candidate learns the first tasks from 80 % of their training sets and is judged on the rest, with seeds 100 to 102
(`nlbench tune`): no test set is seen. Every trial is a line in `--out`/trials.jsonl as soon as it ends; what stands there is not
tried again. A finished search is written into the recipe's file as `[search."<stream>"]`; the recipe's values stay as they are,
for a person to change. `--models` and `--streams` choose some searches, `--processes` try as many candidates at a time, and
`--record` tries nothing and writes the searches that are finished.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import nlbench
from nlbench import catalog
from nlbench.api import tune
from nlbench.tune import TUNING_SEEDS, Search, Trial, candidates, finish

ROOT = Path(__file__).parents[1]
BUDGET = 12
TASKS = {"permuted-mnist": 5, "split-digits": 3, "permuted-digits": 3, "split-mnist": 3}
"""How many tasks candidates learn; those that must be told the task learn them as task-il."""
LONG = {("projected-levels", "permuted-digits"): 10}
"""Few tasks do not tell fixed features from learned levels, which fill up later."""

RATES = ["0.01", "0.03", "0.1", "0.3"]
LOW_RATES = ["0.001", "0.01", "0.03", "0.1"]
LEVELS = {"learner.rate": LOW_RATES, "learner.periods": ["[1, 4, 16]", "[1, 8, 64]", "[1, 16, 128]"]}
SHORT_LEVELS = {"learner.rate": LOW_RATES, "learner.periods": ["[1, 2, 4]", "[1, 3, 9]", "[1, 4, 16]"]}
BLOCKS = {"learner.optimizer.rate": RATES, "learner.network.periods": ["[1, 2, 4]", "[1, 4, 16]", "[1, 8, 64]"]}
SGD = {"learner.optimizer.rate": RATES, "learner.optimizer.momentum": ["0.0", "0.5", "0.9"]}
FISHER = {"learner.optimizer.rate": RATES[1:], "learner.strength": ["1.0", "10.0", "100.0", "1000.0"]}
SLOPES = {"learner.optimizer.rate": RATES[1:], "learner.strength": ["0.03", "0.1", "0.3", "1.0"]}
EXACT = {
    "learner.readout.ridge": ["3.0", "10.0", "30.0"],
    "learner.readout.slack": ["0.0", "0.3"],
    "learner.readout.surprise": ["0.0", "1.0"],
}
LEARNED_DIGITS = {
    "batch": ["4", "8", "16"],
    "learner.levels": [
        "[{ period = 2, width = 600, rate = 0.6, ridge = 50.0 }, { period = 1, width = 300, rate = 0.6, ridge = 15.0 }]",
        "[{ period = 2, width = 600, rate = 0.6, ridge = 100.0 }, { period = 1, width = 300, rate = 0.6, ridge = 30.0 }]",
    ],
    "learner.readout.ridge": ["3.0", "6.0"],
}
LEARNED_MNIST = {
    "learner.levels": [
        f"[{{ period = 2, width = 1000, {rate}, ridge = {slow} }}, {{ period = 1, width = 500, {rate}, ridge = {fast} }}]"
        for rate in ("rate = 0.3", "rate = 0.6")
        for slow, fast in ((500.0, 150.0), (1000.0, 300.0), (2000.0, 600.0))
    ],
    "learner.readout.ridge": ["15.0", "50.0"],
}
SPACES = {
    "convolution-ridge": EXACT,
    "projected-levels": LEARNED_DIGITS,
    "turned-features": {
        "learner.readout.ridge": ["3.0", "10.0", "30.0"],
        "learner.keys.smoothing": ["0.125", "0.25"],
        "learner.keys.locality": ["0.0", "4.0"],
    },
    "random-features": {
        "learner.readout.ridge": ["0.3", "1.0", "3.0", "10.0", "30.0", "100.0"],
        "learner.keys.bias": ["0.1", "0.5"],
    },
    "delta-rule": {"learner.readout.rate": ["0.03", "0.1", "0.2", "0.5", "1.0", "1.5"], "learner.keys.bias": ["0.1", "0.5"]},
    **dict.fromkeys(("hope-attention", "hope-paper", "hope-paper-stream"), BLOCKS),
    "cms": LEVELS,
    "cms-nested": LEVELS,
    "cms-headwise": LEVELS,
    "mlp": {"learner.rate": RATES, "learner.momentum": ["0.0", "0.5", "0.9"]},
    **dict.fromkeys(("er", "er-ace", "a-gem", "mir", "gdumb", "icarl"), SGD),
    "gem": {"learner.optimizer.rate": RATES, "learner.margin": ["0.0", "0.5", "1.0"]},
    "bic": {
        "learner.optimizer.rate": RATES[1:],
        "learner.optimizer.momentum": ["0.0", "0.5"],
        "learner.held_out": ["0.1", "0.2"],
    },
    "lwf": {"learner.optimizer.rate": RATES, "learner.strength": ["0.3", "1.0", "3.0"]},
    **dict.fromkeys(("ewc", "ewc-online"), FISHER),
    **dict.fromkeys(("si", "mas"), SLOPES),
    "rwalk": {"learner.optimizer.rate": RATES[1:], "learner.strength": ["0.1", "1.0", "10.0", "100.0"]},
    "owm": {"learner.optimizer.rate": ["0.1", "0.3", "1.0", "3.0"], "learner.alpha": ["0.1", "0.3", "1.0"]},
    "gpm": {
        "learner.optimizer.rate": RATES,
        "learner.thresholds": ["[0.9, 0.95]", "[0.95, 0.99]", "[0.99, 0.99]"],
    },
    "trgp": {
        "learner.optimizer.rate": RATES[1:],
        "learner.thresholds": ["[0.9, 0.95]", "[0.95, 0.99]"],
        "learner.sufficient": ["0.2", "0.5"],
    },
    "cuber": {
        "learner.optimizer.rate": RATES[1:],
        "learner.thresholds": ["[0.9, 0.95]", "[0.95, 0.99]"],
        "learner.strength": ["0.1", "1.0"],
    },
    "der": {"learner.optimizer.rate": RATES[1:], "learner.alpha": ["0.2", "0.5", "1.0", "3.0"]},
    "dgr": {
        "learner.optimizer.rate": ["0.0003", "0.001", "0.003"],
        "learner.variance": ["0.03", "0.1", "0.3", "1.0"],
    },
    "derpp": {"learner.optimizer.rate": RATES[1:], "learner.alpha": ["0.2", "1.0"], "learner.beta": ["0.5", "1.0"]},
}
"""Twelve points each. Periods must fit into a search's steps, so streams as short as the digits' have their own."""

SPACES_ON = {("projected-levels", "permuted-mnist"): LEARNED_MNIST}
NOT_ON = {
    ("turned-features", "permuted-mnist"),
    ("convolution-ridge", "permuted-digits"),
    ("convolution-ridge", "permuted-mnist"),
    ("projected-levels", "split-digits"),
    ("projected-levels", "split-mnist"),
}


class Point(NamedTuple):
    """A candidate of a search."""

    model: str
    stream: str
    values: dict[str, str]

    @property
    def tasks(self) -> int:
        """How many tasks it learns."""
        return LONG.get(self[:2], TASKS[self.stream])


def space_of(model: str, stream: str) -> dict[str, list[str]]:
    """Return the candidate values of a recipe on a stream: twelve points."""
    space = SPACES_ON.get((model, stream), SPACES[model])
    space = SHORT_LEVELS if space is LEVELS and stream.endswith("digits") else space
    assert len(list(product(*space.values()))) == BUDGET
    return space


def tried(point: Point, device: str) -> Trial:
    """Return a candidate's trial."""
    only = {key: [value] for key, value in point.values.items()}
    told = scenario(point.model)
    return tune(point.model, point.stream, only, budget=1, tasks=point.tasks, overrides=told, device=device).trials[0]


def scenario(model: str) -> dict[str, str]:
    """Return the overrides by which a recipe is told what it needs of the stream."""
    kind = nlbench.resolve(model, "split-digits", seeds=1).learner.learner.kind  # type: ignore[attr-defined]
    return {"stream.scenario": "task-il"} if "task" in catalog.needs(kind) else {}


def known(path: Path) -> dict[str, Trial]:
    """Return the trials in a file by what they tried."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["point"]: Trial(**line["trial"]) for line in lines}


def name(point: Point) -> str:
    """Return a candidate in one line that no other shares."""
    return json.dumps([*point, point.tasks])


def search(points: list[Point], path: Path, processes: int, device: str) -> None:
    """Try the points that the file does not know, and add each as it ends; raise the first error when all have ended."""
    before = known(path)
    points = [point for point in points if name(point) not in before]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool, path.open("a", encoding="utf-8") as file:
        trials = {pool.submit(tried, point, device): point for point in points}
        for count, future in enumerate(as_completed(trials), 1):
            point, error = trials[future], future.exception()
            sys.stderr.write(f"{count}/{len(points)} {name(point)}: ")
            if error is None:
                trial = future.result()
                file.write(json.dumps({"point": name(point), "trial": asdict(trial)}) + "\n")
                file.flush()
                sys.stderr.write(f"{trial.score} in {trial.seconds:.0f} s\n")
            else:
                sys.stderr.write(f"{error!r}\n")
    for future in trials:
        future.result()


def finished(model: str, stream: str, trials: dict[str, Trial]) -> Search | None:
    """Return the search of a recipe on a stream if all its candidates were tried."""
    space = space_of(model, stream)
    points = [Point(model, stream, values) for values in candidates(space, BUDGET)]
    if any(name(point) not in trials for point in points):
        return None
    plan = nlbench.resolve(model, stream, seeds=TUNING_SEEDS, overrides=scenario(model))
    found = [trials[name(point)] for point in points]
    return finish(plan, space, BUDGET, points[0].tasks, "average_accuracy", found)


def lines(found: Search) -> str:
    """Return the search as the TOML table that stands beside the recipe's values."""

    def decided(values: dict[str, str]) -> tuple[str, int]:
        plan = nlbench.resolve(found.model, found.stream, seeds=found.seeds, overrides={**scenario(found.model), **values})
        return plan.learner.digest, plan.batch

    best = found.trials[0]
    kept = [trial.score for trial in found.trials if decided(trial.values) == decided({})]
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
    nlbench.resolve(found.model, found.stream, seeds=1)


def main() -> None:
    """Run the searches and record those that are finished."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--models", nargs="*", default=list(SPACES))
    options.add_argument("--streams", nargs="*", default=list(TASKS))
    options.add_argument("--out", type=Path, default=ROOT / "results" / "search")
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--device", default="cpu")
    options.add_argument("--record", action="store_true")
    chosen = options.parse_args()
    pairs = [(model, stream) for stream in chosen.streams for model in chosen.models if (model, stream) not in NOT_ON]
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "trials.jsonl"
    if not chosen.record:
        points = [Point(*pair, values) for pair in pairs for values in candidates(space_of(*pair), BUDGET)]
        search(points, path, chosen.processes, chosen.device)
    trials = known(path)
    for pair in pairs:
        found = finished(*pair, trials)
        if found is not None:
            record(found)
            sys.stderr.write(f"{found.model} on {found.stream}\n{lines(found)}\n")


if __name__ == "__main__":
    main()
