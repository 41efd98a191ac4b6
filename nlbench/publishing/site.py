"""Records -> the files of a site, in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nlbench.places import place
from nlbench.publishing import data, pages
from nlbench.publishing.badges import badge
from nlbench.publishing.board import Board, board
from nlbench.publishing.folder import fill
from nlbench.records import Record
from nlbench.reporting.page import standouts


@dataclass(frozen=True)
class Published:
    """A site that was written: its folder, how many files, records and streams it holds, and the bytes of its largest page."""

    folder: Path
    files: int
    records: int
    streams: int
    largest: int


def publish(
    records: Sequence[Record],
    folder: Path | str,
    *,
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Published:
    """Write a leaderboard of records to a folder, which then needs no server: `index.html` opens from a disk.

    Of records of one declaration the newest is compared; the older ones are its history. The same records give the same bytes. A
    site that was published there before is replaced, and files that are not of it stay. `progress` is told pages made, of how
    many. Cost: about 30 ms a record. Raises NlbenchError where the folder holds something else or cannot be written.
    """
    folder = place(folder)
    made = board(records, baseline=baseline, metrics=metrics)
    of = 3 * len(made.items) + len(made.streams) + 3
    sizes = fill(folder, _files(made), None if progress is None else lambda written: progress(written, of))
    largest = max(size for path, size in sizes.items() if path.endswith(".html"))
    return Published(folder, len(sizes), len(made.items), len(made.streams), largest)


def _files(made: Board) -> Iterator[tuple[str, bytes]]:
    yield from data.files(made)
    styles = standouts([group for _, group in made.streams])
    for (name, group), of_group in zip(made.streams, styles, strict=True):
        yield f"streams/{name}.html", pages.stream(made, name, group, of_group).encode()
    for item in made.items:
        yield f"records/{item.name}.html", pages.record(made, item).encode()
        yield f"badges/{item.name}.svg", badge(item).encode()
    yield "index.html", pages.index(made).encode()
