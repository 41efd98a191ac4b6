"""What learning costs, and what is left of a comparison within a budget: bytes held, seconds of training, training FLOPs.

FLOPs are in no record: `nlbench flops` counts them once, into a file of numbers by fingerprint, which comparisons read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from nlbench.errors import ComparisonError, NlbenchError
from nlbench.records import Record
from nlbench.records.store import replace_file

COSTS: Final = ("bytes", "seconds", "flops")
"""Of a seed: held after the last task; of training; of training."""
_PREFIXES: Final = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_UNITS: Final = {"bytes": "B", "seconds": "s", "flops": "FLOP"}

Flops = Mapping[str, float]
"""Training FLOPs of a seed, by the fingerprint of its run."""


def read_flops(path: Path) -> dict[str, float]:
    """Return the counts in a file that `nlbench flops` wrote. Raises `NlbenchError` for another."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        found = {str(fingerprint): float(flops) for fingerprint, flops in said.items()}
    except OSError as error:
        raise NlbenchError(f"{path}: cannot be read: {error.strerror}.", "Make it: nlbench flops RECORDS --out FILE.") from None
    except (ValueError, TypeError, AttributeError):
        raise NlbenchError(f"{path}: is no file of counts.", "Make one: nlbench flops RECORDS --out FILE.") from None
    if any(not 0 <= flops < float("inf") for flops in found.values()):
        raise NlbenchError(f"{path}: a count is negative or not finite.", "Make it anew: nlbench flops RECORDS --out FILE.")
    return found


def write_flops(path: Path, flops: Flops) -> None:
    """Write counts to a file, in place of what it holds."""
    replace_file(path, (json.dumps(dict(flops), indent=2) + "\n").encode())


def budgets(texts: Iterable[str]) -> dict[str, float]:
    """Return the most of each cost, of texts such as `bytes=10MB` and `flops=2T`. Raises `NlbenchError` for others."""
    found = {}
    for text in texts:
        cost, _, amount = text.partition("=")
        number = amount.strip().removesuffix(_UNITS.get(cost, ""))
        prefix = number[-1:] if number[-1:] in _PREFIXES else ""
        try:
            found[cost] = float(number.removesuffix(prefix)) * _PREFIXES[prefix]
        except ValueError:
            found[cost] = float("nan")
        if cost not in COSTS or not found[cost] >= 0:
            raise NlbenchError(
                f"--within {text}: must be a cost and the most of it.", "Such as bytes=10MB, seconds=60 or flops=2T."
            )
    return found


def spent(record: Record, flops: Flops) -> dict[str, float | None]:
    """Return each cost of a record, None where it was not recorded or counted."""
    sizes, seconds = record.bytes(), record.seconds()
    return {
        "bytes": sum(sizes.values()) if sizes else None,
        "seconds": seconds["train"] / len(record.seeds) if "train" in seconds else None,
        "flops": flops.get(record.fingerprint),
    }


def affordable(records: Sequence[Record], most: Mapping[str, float], flops: Flops) -> tuple[list[Record], list[str]]:
    """Return the records within a budget, and why each other one is left out. Raises `ComparisonError` where none is left."""
    kept, notes = [], []
    for record in records:
        costs = spent(record, flops)
        over = [text for cost, limit in most.items() if (text := _over(cost, costs[cost], limit))]
        kept += [] if over else [record]
        notes += [f"left out: {record.model} on {record.stream}, {', '.join(over)}."] if over else []
    if not kept:
        raise ComparisonError("no record is within the budget.", notes[0])
    return kept, notes


def _over(cost: str, value: float | None, most: float) -> str:
    """Return in words by what a cost is over the most of it; empty where it is not."""
    if value is None:
        return f"whose {cost} are not known" + (": count them with nlbench flops" if cost == "flops" else "")
    return f"{cost_text(cost, value)} of {cost_text(cost, most)}" if value > most else ""


def cost_text(cost: str, value: float) -> str:
    """Return a cost in its unit, in decimal steps."""
    if cost == "seconds":
        return f"{value:.2f} s"
    for prefix, factor in reversed(_PREFIXES.items()):
        if value >= factor:
            return f"{value / factor:.{'0' if factor == 1 else '1'}f} {prefix}{_UNITS[cost]}"
    return f"0 {_UNITS[cost]}"
