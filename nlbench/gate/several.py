"""Several records judged together: the newest of each learner decides, and no learner that has a reference is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nlbench.errors import NotFiniteError, UnknownNameError
from nlbench.gate.judging import check, not_finite
from nlbench.gate.model import Finding, Judgement
from nlbench.gate.reference import here, read_references
from nlbench.records import Record, read_record

Judged = tuple[Record, Judgement]


def check_all(paths: Iterable[Path | str], *, against: Path | str | None = None, only: Collection[str] = ()) -> list[Judgement]:
    """Return the judgements of the records at some paths, and `missing` for each learner that has a reference and no record.

    Of several records of one learner on one stream the newest decides; it names the others. A reference asks for a record where
    any record of its stream is given. Those that came with the package ask for none. `only`: names of learners, and no other is
    judged or asked for. Raises RecordError for what is no record, UnknownNameError for a learner that has neither.
    """
    read: list[Record] = []
    broken: list[Judgement] = []
    for path in paths:
        try:
            read.append(read_record(path))
        except NotFiniteError as error:
            broken.append(not_finite(path, error))
    streams = {record.stream_digest for record in read}
    asked = [one for one in _asking(against) if one.stream_digest in streams]
    known = {one.model for one in (*read, *asked)}
    for name in only:
        if name not in known:
            raise UnknownNameError("learner", name, known)
    judged = [(record, check(record, against=against)) for record in read if not only or record.model in only]
    asked = [reference for reference in asked if not only or reference.model in only]
    return [*broken, *newest(judged), *(_missing(reference) for reference in _alone(asked, judged))]


def newest(judged: Sequence[Judged]) -> list[Judgement]:
    """Return the judgements that decide: of a learner on a stream the newest of each reference, and the newest of all.

    Records of one second are both judged. A record without a reference gives way to any newer one.
    """
    superseded = {
        id(judgement)
        for record, judgement in judged
        for other, its in judged
        if _newer(other, record) and (judgement.reference is None or judgement.reference == its.reference)
    }
    return [
        replace(judgement, older=tuple(str(one.path) for one, its in judged if id(its) in superseded and _newer(record, one)))
        for record, judgement in judged
        if id(judgement) not in superseded
    ]


def _newer(one: Record, other: Record) -> bool:
    """Return whether a record is of the same learner and stream as another, and newer."""
    return (one.model, one.stream) == (other.model, other.stream) and one.footer.created > other.footer.created


def _asking(against: Path | str | None) -> list[Record]:
    """Return the references for each of which there must be a record."""
    folder = here() if against is None else Path(against)
    try:
        return read_references(folder)[0] if folder is not None else []
    except NotFiniteError:  # which every record that is judged against them says
        return []


def _alone(references: Iterable[Record], judged: Sequence[Judged]) -> Iterator[Record]:
    """Yield the references that no record was judged by; a record without any is the finding on its learner already."""
    for reference in references:
        of_learner = [its for one, its in judged if (one.model, one.stream_digest) == (reference.model, reference.stream_digest)]
        if not any(its.reference in (None, str(reference.path)) for its in of_learner):
            yield reference


def _missing(reference: Record) -> Judgement:
    reason = f"{reference.model} has a reference on {reference.stream} and no new record. Run it, or narrow with --only NAME."
    finding = Finding(None, "missing", reason)
    return Judgement(None, str(reference.path), reference.model, reference.stream, (finding,), (), {})
