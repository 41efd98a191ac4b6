"""Speed of whole commands, from start to record: beside `import torch`, and programs of the tight loop and of Avalanche."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from nlbench import sources
from nlbench.bench import avalanche
from nlbench.records import read_record

TORCH: Final = "python -c 'import torch'"


class Command(NamedTuple):
    """A run as a command: recipe, stream, how many seeds, and whether it is measured within tasks too, as the stream says."""

    model: str
    stream: str
    seeds: int
    within: bool = True

    def arguments(self) -> list[str]:
        """Return what follows `nlbench`."""
        measured = [] if self.within else ["--set", "protocol.evaluate_every=none"]
        return ["run", "--model", self.model, "--stream", self.stream, "--seeds", str(self.seeds), *measured]


COMMANDS: Final = (
    Command("mlp", "split-digits", 5),
    Command("mlp", "split-mnist", 1),
    Command("mlp", "split-mnist", 10),
    Command("mlp", "permuted-mnist", 1),
)
METHODS: Final = tuple(Command(model, "split-mnist", 1, within=False) for model in avalanche.STRATEGIES)
"""Those that Avalanche's programs do the work of: measured before the first task and after each, and not within."""


class Once(NamedTuple):
    """Seconds of a command by the clock, of the processor, and of training by its own clock; None where it does not say."""

    seconds: float
    processor: float
    training: float | None


@dataclass(frozen=True, slots=True)
class CommandTiming:
    """Medians of a command's seconds, with their range, and what is left without `import torch`.

    processor  its seconds on all cores, which other programs lengthen little
    training   the seconds that it trained, by its own clock; None where it does not say
    ratio      how many times as long Avalanche's program took: of each of the three; None without one
    """

    command: str
    seconds: float
    low: float
    high: float
    beyond_torch: float
    processor: float
    training: float | None
    ratio: Once | None = None


def avalanche_installed() -> str | None:
    """Return the version of Avalanche, or None where there is none."""
    try:
        return version("avalanche-lib")
    except PackageNotFoundError:
        return None


def time_commands(
    commands: Sequence[Command], repeats: int, data: Path | None, *, listen: Callable[[str], None]
) -> Iterator[CommandTiming]:
    """Whole commands from start to end, in turns, from their second time on; the loop as a program where it has one, and where
    Avalanche is installed its program that does the same.
    """
    lines, beside = {TORCH: ["-c", "import torch"]}, {}
    installed = avalanche_installed()
    for command in commands:
        run = " ".join(["nlbench", *command.arguments()])
        lines[run] = ["-m", "nlbench", *command.arguments(), *(["--data", str(data)] if data else [])]
        if command.seeds > 1:
            continue
        images = str(next(iter(sources.find("mnist").locate(data).values())).parent)
        if command.within and command.model == "mlp":
            lines[f"tight loop, {command.stream}, 1 seed"] = ["-m", "nlbench.bench.loop", command.stream, images]
        if command in METHODS and installed is not None:
            beside[run] = f"Avalanche {installed}, {avalanche.STRATEGIES[command.model][0]}, {command.stream}, 1 seed"
            lines[beside[run]] = ["-m", "nlbench.bench.avalanche", command.model, images]
    found: dict[str, list[Once]] = {name: [] for name in lines}
    for turn in range(repeats + 1):
        for name, arguments in lines.items():
            once = _timed(arguments)
            if turn > 0:  # the first stores Python's byte code and the kernels' machine code
                found[name].append(once)
                trained = "" if once.training is None else f", {once.training:.2f} s of training"
                listen(f"{name}: {once.seconds:.2f} s, {once.processor:.2f} s of the processor{trained}")
    medians = {name: _medians(times) for name, times in found.items()}
    for name, times in found.items():
        own, rival = medians[name], medians.get(beside.get(name, ""))
        ratio = None if rival is None else _ratio(rival, own)
        each = [once.seconds for once in times]
        beyond = own.seconds - medians[TORCH].seconds
        yield CommandTiming(name, own.seconds, min(each), max(each), beyond, own.processor, own.training, ratio)


def _timed(arguments: list[str]) -> Once:
    """Run a command of Python once, its results in a folder that is gone afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        own = ["--results", folder] if "run" in arguments else []
        before, clock = _processor(), time.perf_counter()
        ended = subprocess.run([sys.executable, *arguments, *own], check=True, capture_output=True, env=environment)
        seconds, processor = time.perf_counter() - clock, _processor() - before
        if own:
            (record,) = Path(folder).glob("*.parquet")
            return Once(seconds, processor, read_record(record).seconds()["train"])
        said = ended.stdout.decode().splitlines()
        return Once(seconds, processor, json.loads(said[-1])["train"] if said else None)


def _processor() -> float:
    """Return the processor's seconds of all programs that this one started and that ended."""
    used = os.times()
    return used.children_user + used.children_system


def _medians(times: Sequence[Once]) -> Once:
    trained = [once.training for once in times if once.training is not None]
    middle = median(trained) if trained else None
    return Once(median(once.seconds for once in times), median(once.processor for once in times), middle)


def _ratio(theirs: Once, ours: Once) -> Once:
    trained = theirs.training / ours.training if theirs.training and ours.training else None
    return Once(theirs.seconds / ours.seconds, theirs.processor / ours.processor, trained)
