"""Write records atomically, read them back, and refuse what is not one.

A record is one Parquet file; `schema.py` says what is in it. Row group 0 is small and enough to compare; the rest is read when it
is asked for.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from nlbench.errors import NotFiniteError, RecordError
from nlbench.metrics import METRICS, versions
from nlbench.places import place
from nlbench.records import arrays, seal
from nlbench.records.agreement import check_agreement
from nlbench.records.columns import NONE, Columns, derive, null_metrics
from nlbench.records.content import Content
from nlbench.records.files import REFERENCE_FOLDER, record_files
from nlbench.records.footer import Diverged, Footer, NotARecordError, differing_identity, of_execution
from nlbench.records.record import Record
from nlbench.records.schema import (
    CONSTANT,
    METADATA_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    Row,
    belongs_first,
    check_finite,
)
from nlbench.records.storage import Change, storage

_METRIC_NAMES: Final = frozenset(METRICS)


def write_record(path: Path | str, *, rows: Iterable[Row], metadata: Mapping[str, Any]) -> Path:
    """Write one execution as a record, atomically, and return its path.

    Adds the derived metrics of each seed, `schema_version`, `metric_versions` and `created` (UTC). Missing folders are made.
    Raises RecordError where a key repeats, metadata is incomplete or the disk refuses; NotFiniteError on NaN or infinity. What
    stood at the path is replaced.
    """
    path = place(path)
    return replace_file(path, _executed(path, rows, metadata))


def _executed(path: Path, rows: Iterable[Row], metadata: Mapping[str, Any]) -> bytes:
    footer = _stamped(metadata, path)
    return _packed(path, _table(rows, footer), footer)


def extend_record(record: Record, *, rows: Iterable[Row], metadata: Mapping[str, Any]) -> Path:
    """Rewrite a record with a further execution on other seeds, atomically, and return its path.

    The identity (fingerprint, specs, data) must be the same; what belongs to one execution (backend, seconds, versions) is kept
    for each under `runs`, and the newest stands at the top. Raises RecordError if a seed is already there.
    """
    return replace_file(record.path, _extended(record, rows, metadata))


def _extended(record: Record, rows: Iterable[Row], metadata: Mapping[str, Any]) -> bytes:
    old, new = record.footer, _stamped(metadata, record.path)
    if differing := differing_identity(old, new):
        raise RecordError(f"{record.path}: cannot be extended by a run whose {', '.join(differing)} differs.")
    repeated = sorted(set(new.seeds) & set(old.seeds))
    if repeated:
        raise RecordError(f"{record.path}: seed {repeated[0]} is already recorded.")
    merged = new.model_copy(update={"seeds": sorted([*old.seeds, *new.seeds]), "runs": [*old.runs, *new.runs]})
    return _packed(record.path, pa.concat_tables([_without_derived(record.table), _table(rows, new)]), merged)


def add_execution(path: Path, *, rows: Sequence[Row], metadata: Mapping[str, Any], replace: bool = False) -> tuple[int, ...]:
    """Write one execution as a record, or into the record at the path unless `replace`; return the seeds that were added.

    Runs that end at once wait for each other. Of a seed that another run recorded meanwhile, what stands there is kept.
    """
    added: tuple[int, ...] = ()

    def change(found: bytes | None) -> bytes | None:
        nonlocal added
        added = tuple(sorted(metadata["seeds"]))
        if replace or found is None:
            return _executed(path, rows, metadata)
        record = _whole(Content.of_bytes(found, path))
        added = tuple(seed for seed in added if seed not in record.seeds)
        own = [row for row in rows if row.seed is None or row.seed in added]
        return _extended(record, own, {**metadata, "seeds": list(added)}) if added else None

    update_file(path, change)
    return added


def note_diverged(path: Path, diverged: Mapping[int, str]) -> None:
    """Say in the record at a path, if there is one, which seeds are in it nowhere because they diverged, and why; what it says
    already stays.
    """

    def change(found: bytes | None) -> bytes | None:
        if found is None:
            return None
        record = _whole(Content.of_bytes(found, path))
        footer = record.footer
        unsaid = [Diverged(seed=seed, why=why) for seed, why in diverged.items() if seed not in {*footer.seeds, *footer.lost}]
        if not unsaid:
            return None
        newest = footer.runs[-1]
        told = newest.model_copy(update={"diverged": [*newest.diverged, *unsaid]})
        said = footer.model_copy(update={"runs": [*footer.runs[:-1], told]})
        return _packed(path, _without_derived(record.table), said)

    if diverged and storage(path).exists(path):
        update_file(path, change)


def rewrite_record(record: Record, path: Path | str) -> Path:
    """Write a record that was read to `path`, in today's schema and with today's metrics; return the path."""
    path = place(path)
    today = {"schema_version": SCHEMA_VERSION, "metric_versions": versions()}
    return replace_file(path, _packed(path, _without_derived(record.table), record.footer.model_copy(update=today)))


def read_record(path: Path | str) -> Record:
    """Return the record at a path, all its rows read and every derived metric compared with its recomputation.

    Raises RecordError in one line that names the path: missing, a folder, not Parquet, cut short, not ours, of a future schema,
    contradictory.
    """
    return _whole(Content.of(place(path)))


def read_records(paths: Iterable[Path | str], *, with_reference: bool = False) -> tuple[list[Record], list[str]]:
    """Return the records under files, folders and glob patterns, and a note for each path that was skipped: what is no record,
    and what contradicts itself.

    Decodes row group 0 only. Records that differ in seeds only are merged; two values for one seed are an error that names both
    files. Records in a folder named `reference` are left out when there are others, unless `with_reference`. Raises RecordError
    if nothing is left.
    """
    records: list[Record] = []
    refused: list[RecordError | NotFiniteError] = []
    for path in record_files(paths, references=True):
        try:
            records.append(_open(Content.of(path)))
        except (RecordError, NotFiniteError) as refusal:
            refused.append(refusal)
    notes = [f"skipped {refusal}" for refusal in refused]
    if not records and len(refused) == 1 and not isinstance(refused[0], NotARecordError):
        raise refused[0]
    if not records:
        raise RecordError("no record found in " + ", ".join(str(path) for path in paths) + ".", "; ".join(notes))
    others = [record for record in records if record.path.parent.name != REFERENCE_FOLDER]
    if others and not with_reference:
        records = others
    return _merged(records), notes


def _stamped(metadata: Mapping[str, Any], path: Path) -> Footer:
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    today = {"schema_version": SCHEMA_VERSION, "metric_versions": versions(), "created": created}
    return of_execution({**metadata, "seeds": sorted(metadata["seeds"]), **today}, path)


def _table(rows: Iterable[Row], footer: Footer, run: str | None = None) -> pa.Table:
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(Row._fields)
    named = dict(zip(Row._fields, columns, strict=True))
    strangers = sorted({seed for seed in named["seed"] if seed is not None} - set(footer.seeds))
    if strangers:
        raise RecordError(f"a row names seed {strangers[0]}, which the metadata does not.")
    count = len(named["metric"])
    constant = {"run": run or footer.run, **{name: getattr(footer, name) for name in CONSTANT}}
    texts = {"metric": named["metric"], **{name: (text,) * count for name, text in constant.items()}}
    packed = [
        arrays.from_strings(texts[field.name]) if field.name in texts else arrays.from_numbers(named[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.table(packed, schema=SCHEMA)


def _without_derived(table: pa.Table) -> pa.Table:
    columns = Columns.of(table)
    derived = columns.of_metrics(tuple(METRICS)) & (columns.on_task == NONE)
    return table.filter(arrays.mask(~derived)).select(SCHEMA.names)


def _packed(path: Path, table: pa.Table, footer: Footer) -> bytes:
    check_finite(table, str(path))
    check_agreement(footer, path)
    columns = Columns.of(table, str(path))
    columns.check(footer.seeds, footer.n_tasks, str(path))
    columns.check_keys(str(path))
    run_of = {seed: execution.run for execution in footer.runs for seed in execution.seeds}
    derived = derive(columns, footer.seeds, footer.n_tasks, conflict=footer.conflict, shared=footer.shared)
    rows = [
        (run_of[seed], Row(seed, footer.n_tasks, None, None, name, value.value))
        for seed, values in derived.items()
        for name, value in values.items()
    ]
    for run in dict.fromkeys(run for run, _ in rows):
        table = pa.concat_tables([table, _table([row for owner, row in rows if owner == run], footer, run)])
    footer = footer.model_copy(update={"null_metrics": null_metrics(derived)})
    columns = Columns.of(table)
    first = columns.of_metrics([name for name in columns.names if belongs_first(name, _METRIC_NAMES)])
    return _parquet([table.filter(arrays.mask(first)), table.filter(arrays.mask(~first))], footer)


def _parquet(groups: Sequence[pa.Table], footer: Footer) -> bytes:
    text = json.dumps(footer.facts(), allow_nan=False, sort_keys=True, ensure_ascii=False)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", store_schema=False, write_page_checksum=True) as writer:
        writer.add_key_value_metadata({METADATA_KEY.decode(): text, seal.KEY: seal.EMPTY})
        for group in groups:
            if group.num_rows or group is groups[0]:
                writer.write_table(group.combine_chunks(), row_group_size=max(1, group.num_rows))
    return seal.sealed(sink.getvalue().to_pybytes())


def replace_file(path: Path, *parts: bytes | memoryview, sync: bool = True) -> Path:
    """Put the parts, in order, at the path so that a reader sees the old file or the whole new one.

    With `sync` that holds after a power cut too.
    """
    with _writing(path):
        storage(path).replace(path, *parts, sync=sync)
    return path


def update_file(path: Path, change: Change) -> None:
    """Put what `change` makes of the file at a path there, as one step among all writers."""
    with _writing(path):
        storage(path).update(path, change)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}.", "Choose another place, with --results or --out.") from error


def _open(content: Content) -> Record:
    """Return the record with row group 0 read and its matrix metrics checked."""
    record = Record((content,), *content.begin())
    check_agreement(record.footer, content.path)
    record.verify()
    return record


def _whole(content: Content) -> Record:
    """Return the record with all its rows read and checked."""
    record = _open(content)
    record.verify_all()
    return record


def _merged(records: Sequence[Record]) -> list[Record]:
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.model, record.stream, record.fingerprint), []).append(record)
    return [group[0] if len(group) == 1 else _merge(group) for group in groups.values()]


def _merge(records: Sequence[Record]) -> Record:
    owner: dict[int, Path] = {}
    for record in records:
        for seed in record.seeds:
            if seed in owner:
                hint = "Remove one of them."
                raise RecordError(f"two values for seed {seed} of {record.model}: in {owner[seed]} and in {record.path}.", hint)
            owner[seed] = record.path
    footers = [record.footer for record in records]
    for record in records[1:]:
        if differing := differing_identity(footers[0], record.footer):
            other, named = records[0].path, ", ".join(differing)
            raise RecordError(f"{record.path}: is of the fingerprint of {other}, but its {named} differs.")
    merged = {
        "seeds": sorted(owner),
        "runs": [run for footer in footers for run in footer.runs],
        "null_metrics": {name: why for footer in footers for name, why in footer.null_metrics.items()},
        "metric_versions": dict(set.intersection(*(set(record.metric_versions.items()) for record in records))),
    }
    newest = max(footers, key=lambda footer: footer.created)
    contents = tuple(content for record in records for content in record.contents)
    return Record(contents, newest.model_copy(update=merged), Columns.joined([record.first for record in records]))
