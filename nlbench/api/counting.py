"""Training FLOPs of records, counted once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench.api.reading import records_of
from nlbench.api.rerunning import command_of
from nlbench.api.running import options
from nlbench.comparison.costs import read_flops, write_flops
from nlbench.errors import NlbenchError
from nlbench.launching import running_half
from nlbench.records import Record

if TYPE_CHECKING:
    from nlbench.api.reading import Records


@dataclass(frozen=True)
class Counts:
    """What was counted: training FLOPs of a seed by the record's path, where they are kept, and of which it cannot be, why."""

    path: Path
    flops: dict[Path, float]
    unknown: dict[Path, str]


def count_flops(
    records: Records,
    out: str | Path = "flops.json",
    *,
    data: str | Path | None = None,
    with_reference: bool = False,
    listen: Callable[[Record, float], None] | None = None,
) -> Counts:
    """Return the FLOPs that records' runs trained with, of one seed, and write them to a file by the runs' fingerprints; what
    stands there is not counted again.

    listen  called with each record as it is counted
    Cost: about the training of a seed a run, in plain torch on the CPU. Nothing that only a record names is opened: of such a run
    they are not known.
    """
    running_half()
    from nlbench.bench.counting import training_flops

    path, machine = Path(out), options(device="cpu", data=data)
    known = read_flops(path) if path.exists() else {}
    found = Counts(path, {}, {})
    for record in records_of(records, with_reference=with_reference):
        if record.fingerprint not in known:
            how = command_of(record)
            try:
                if how.plan is None:
                    raise NlbenchError(how.remark)
                known[record.fingerprint] = float(training_flops(how.plan, machine))
            except NlbenchError as error:
                found.unknown[record.path] = str(error)
                continue
            write_flops(path, known)
            if listen is not None:
                listen(record, known[record.fingerprint])
        found.flops[record.path] = known[record.fingerprint]
    return found
