"""What is read from records: comparisons, reports, differences, and the gate's judgements. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from nlbench import catalog, comparison, gate
from nlbench.api.looking import look
from nlbench.errors import NlbenchError, RecordError
from nlbench.gate import Judgement, Update, exit_status
from nlbench.places import several
from nlbench.records import Record, read_record, read_records, record_files, tools
from nlbench.records.facts import Difference

if TYPE_CHECKING:
    from typing import TypeAlias

    from nlbench.api.running import Run
    from nlbench.plan import DeclaredStream
    from nlbench.publishing import Published

    Given: TypeAlias = Record | Run | str | Path
    Records: TypeAlias = Given | Iterable[Given]


def load(*paths: str | Path) -> list[Record]:
    """Return the records in files and folders; what is not a record is skipped, and nothing left is an error."""
    records, _ = read_records(paths)
    return records


def compare(
    records: Records,
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    with_reference: bool = False,
    flops: str | Path | None = None,
    within: Mapping[str, float] | None = None,
) -> comparison.Comparison:
    """Return the comparison of records, grouped by stream, with intervals and paired tests against `baseline`.

    Records may be given as such, as runs, and as files, folders and patterns, one or several; these are read together: what is
    not a record is skipped and named in `skipped`; records in a folder `reference` are left out beside others, unless
    `with_reference`.

    flops   a file that `nlbench flops` wrote: training FLOPs are a cost then, with a Pareto front
    within  the most of a cost, such as {"bytes": 1e7}: who takes more is left out, and named in `left_out`
    """
    read, skipped = _read(records, with_reference)
    counts = {} if flops is None else comparison.read_flops(Path(flops))
    compared = comparison.compare(read, baseline=baseline, metrics=metrics, flops=counts, within=within or {})
    return replace(compared, skipped=tuple(skipped))


def records_of(records: Records, *, with_reference: bool = False) -> list[Record]:
    """Return records that are given as `compare` takes them."""
    return _read(records, with_reference)[0]


def _read(records: Records, with_reference: bool) -> tuple[list[Record], list[str]]:
    """Return records as they were given and those in files, folders and patterns, and a note for each file skipped."""
    given: list[Any] = [records] if hasattr(records, "record") or isinstance(records, Record) else several(records)
    items = [getattr(item, "record", item) for item in given]
    paths = [item for item in items if not isinstance(item, Record)]
    read, skipped = read_records(paths, with_reference=with_reference) if paths else ([], [])
    return [*(item for item in items if isinstance(item, Record)), *read], skipped


class Comparing(TypedDict, total=False):
    """What `compare` takes beside records."""

    baseline: str | None
    metrics: Sequence[str] | None
    with_reference: bool
    flops: str | Path | None
    within: Mapping[str, float] | None


class Report(NamedTuple):
    """A page that was written, the files of its figures, and what was skipped while reading."""

    page: Path
    figures: tuple[Path, ...]
    skipped: tuple[str, ...]


def report(
    records: Records,
    out: str | Path = "report.html",
    *,
    figures: str | Path | None = None,
    streams: Sequence[str | DeclaredStream] = (),
    **compared_by: Unpack[Comparing],
) -> Report:
    """Write one self-contained HTML page about records, and each figure as SVG, PNG and PDF into a folder `figures`.

    Sections of `streams` open with what these look like, for which their data is read. What it takes else is what `compare`
    takes. Raises NlbenchError where a file cannot be written, or no record is on one of the streams.
    """
    from nlbench import reporting  # matplotlib and jinja2, which no other reader needs

    compared = compare(records, **compared_by)
    _refuse_python_streams(compared, streams)
    page, *drawn = reporting.report(compared, out, folder=figures, looks=[look(stream) for stream in streams])
    return Report(page, tuple(drawn), compared.skipped)


def _refuse_python_streams(compared: comparison.Comparison, streams: Sequence[str | DeclaredStream]) -> None:
    """Raise NlbenchError for the name of a stream that was given in Python, where alone its samples are."""
    from nlbench.reporting.in_python import given

    records = [entry.record for group in compared.groups for entry in group.entries]
    of_python = {record.stream for record in records if given(record).stream} - set(catalog.names("stream"))
    if named := [name for name in streams if isinstance(name, str) and name in of_python]:
        hint = "There, nlbench.api.report(…, streams=[stream]) takes the stream itself, as stream_from_arrays returned it."
        raise NlbenchError(f"stream {named[0]}: was given in Python, so that no name leads to its samples.", hint)


class Site(NamedTuple):
    """What was published, and what was skipped while reading."""

    published: Published
    skipped: tuple[str, ...]


def publish(
    records: Records,
    site: str | Path = "site",
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    with_reference: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Site:
    """Write a static leaderboard of records into a folder: an index, a page a stream, a page a record, badges, and the data.

    What it takes else is what `compare` takes; see `nlbench.publishing.publish`. What was skipped is not named on the site.
    """
    from nlbench import publishing  # matplotlib and jinja2, which no other reader needs

    read, skipped = _read(records, with_reference)
    published = publishing.publish(read, site, baseline=baseline, metrics=metrics, progress=progress)
    return Site(published, tuple(skipped))


def diff(first: Record | str | Path, second: Record | str | Path) -> list[Difference]:
    """Return the facts in which two records differ: declarations, data, seeds, code, machine, versions."""
    return tools.diff(*(one if isinstance(one, Record) else read_record(one) for one in (first, second)))


def check(record: Record | Run | str | Path, *, against: str | Path | None = None) -> Judgement:
    """Return the gate's judgement of a record against its reference; see `nlbench.gate.check`."""
    return gate.check(record.record if hasattr(record, "record") else record, against=against)


def check_all(
    paths: Iterable[str | Path],
    *,
    against: str | Path | None = None,
    only: Collection[str] = (),
    streams: Collection[str] = (),
    junit: str | Path | None = None,
    markdown: str | Path | None = None,
) -> list[Judgement]:
    """Return the judgements of the records in files and folders; see `nlbench.gate.check_all`. A file that is no record is an
    error, never a pass.

    They are also written to `junit` as JUnit XML, and appended to `markdown`, where these name a file.
    """
    judgements = gate.check_all(_all_named(paths), against=against, only=only, streams=streams)
    gate.write_reports(judgements, junit=Path(junit) if junit else None, markdown=Path(markdown) if markdown else None)
    return judgements


def update_references(paths: Iterable[str | Path], against: str | Path | None = None) -> list[Update]:
    """Return what became of each record as a new reference; the best reference is kept, not the last.

    Raises RecordError, with nothing written, where one of them may not be a reference.
    """
    named, unfit = _all_named(paths), []
    for path in named:
        try:
            gate.refuse_unfit(read_record(path))
        except RecordError as error:
            unfit.append(str(error))
    if unfit:
        raise RecordError("\n".join(unfit), "No reference was written." if len(named) > 1 else "")
    return [gate.update(path, against=against) for path in named]


def _all_named(paths: Iterable[str | Path]) -> list[Path]:
    """Return the record files that paths and patterns name. Raises RecordError where one names none."""
    given = several(paths)
    for path in given:
        if not record_files([path]):
            raise RecordError(f"{path}: holds no record.", "Name the record files, or a folder that has some.")
    return record_files(given)


__all__ = [
    "Report",
    "Site",
    "check",
    "check_all",
    "compare",
    "diff",
    "exit_status",
    "load",
    "publish",
    "report",
    "update_references",
]
