"""Several records judged together: the newest of each learner decides, and no learner that has a reference is left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nlbench.errors import NotFiniteError, UnknownNameError
from nlbench.gate.judging import check, not_finite
from nlbench.gate.model import Finding, Judgement
from nlbench.gate.reference import here, read_references
from nlbench.places import place
from nlbench.records import Record, read_record

Judged = tuple[Record, Judgement]


def check_all(
    paths: Iterable[Path | str],
    *,
    against: Path | str | None = None,
    only: Collection[str] = (),
    streams: Collection[str] = (),
) -> list[Judgement]:
    """Return the judgements of the records at some paths, and `missing` for each learner that has a reference and no record.

    Of several records of one learner on one stream the newest decides; it names the others. Every reference asks for a record,
    also one on a stream of which none is given, and one that cannot be read, of whose learner nothing is known; those that came
    with the package ask for none. `only`: names of learners, `streams`: names of streams; no other is judged or asked for. Raises
    RecordError for what is no record, UnknownNameError for a learner or stream that has neither.
    """
    read: list[Record] = []
    broken: list[Judgement] = []
    for path in paths:
        try:
            read.append(read_record(path))
        except NotFiniteError as error:
            broken.append(not_finite(path, error))
    asking, refused = _asking(against)
    _refuse_unknown("learner", only, {one.model for one in (*read, *asking)})
    _refuse_unknown("stream", streams, {one.stream for one in (*read, *asking)})

    def is_meant(one: Record) -> bool:
        return (not only or one.model in only) and (not streams or one.stream in streams)

    judged = [(record, check(record, against=against)) for record in filter(is_meant, read)]
    unread = [] if only or streams else map(_unread, refused)
    return [*broken, *newest(judged), *map(_missing, _alone(filter(is_meant, asking), judged)), *unread]


def _refuse_unknown(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise UnknownNameError(kind, name, known)


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


def _asking(against: Path | str | None) -> tuple[list[Record], list[str]]:
    """Return the references for each of which there must be a record, and a line for each file among them that is none."""
    folder = here() if against is None else place(against)
    try:
        return read_references(folder) if folder is not None else ([], [])
    except NotFiniteError:  # which every record that is judged against them says
        return [], []


def _alone(references: Iterable[Record], judged: Sequence[Judged]) -> Iterator[Record]:
    """Yield the references that no record was judged by; a record without any is the finding on its learner already."""
    for reference in references:
        of_learner = [its for one, its in judged if _is_of(reference, one)]
        if not any(its.reference in (None, str(reference.path)) for its in of_learner):
            yield reference


def _is_of(reference: Record, record: Record) -> bool:
    """Whether a record is of the reference's learner and of its stream, or of what that stream has become."""
    same = reference.stream_digest == record.stream_digest or reference.stream == record.stream
    return same and reference.model == record.model


def _unread(line: str) -> Judgement:
    finding = Finding(None, "missing", f"{line} Which learner it asks for is not known: restore it, or delete it.")
    return Judgement(None, "one that cannot be read", "", "", (finding,), (), {})


def _missing(reference: Record) -> Judgement:
    reason = (
        f"{reference.model} has a reference on {reference.stream} and no new record. Run it, narrow with --only NAME or "
        "--stream NAME, or delete the reference if it is out of date."
    )
    finding = Finding(None, "missing", reason)
    return Judgement(None, str(reference.path), reference.model, reference.stream, (finding,), (), {})
