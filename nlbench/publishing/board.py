"""What a site is made of: the records that count today, those that a newer one supersedes, and which of them belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nlbench.comparison import Comparison, Entry, Group, compare
from nlbench.records import Record
from nlbench.records.tools import declaration, superseded
from nlbench.reporting.page import fit_names, names_of_groups


@dataclass(frozen=True)
class Item:
    """A record of the site: the name of its files, how it did, and beside whom."""

    name: str
    entry: Entry
    group: Group
    stream: str
    """Name of its stream's page."""
    current: bool
    """Whether no newer record of the same declaration supersedes it."""

    @property
    def record(self) -> Record:
        """The record."""
        return self.entry.record

    @property
    def created(self) -> str:
        """When it was made (UTC)."""
        return self.record.footer.created

    @property
    def commit(self) -> str:
        """The commit that it was made at, + where the tree was not clean; empty where that is not known."""
        said = self.record.footer.environment
        commit = said.commit or said.project.commit or ""
        return commit and commit[:12] + ("" if said.clean else "+")


@dataclass(frozen=True)
class Board:
    """A comparison of the records that count, and all records as items of a site."""

    comparison: Comparison
    streams: tuple[tuple[str, Group], ...]
    items: tuple[Item, ...]
    histories: Mapping[str, tuple[Item, ...]]
    """By declaration: its records, oldest first."""

    def of(self, group: Group) -> dict[str, Item]:
        """Return the items of a group by their labels."""
        return {item.entry.label: item for item in self.items if item.group is group}

    def history(self, item: Item) -> tuple[Item, ...]:
        """Return the records of an item's declaration, itself among them, oldest first."""
        return self.histories[declaration(item.record)]


def board(records: Sequence[Record], *, baseline: str | None = None, metrics: Sequence[str] | None = None) -> Board:
    """Return the board of records; what a newer record supersedes is compared with nobody, and stands in the history.

    Raises what `nlbench.comparison.compare` raises.
    """
    old = superseded(records)
    gone = {id(record) for record in old}
    comparison = compare([record for record in records if id(record) not in gone], baseline=baseline, metrics=metrics)
    names = names_of_groups(comparison.groups)
    placed = [(entry, group, name, True) for group, name in zip(comparison.groups, names, strict=True) for entry in group.entries]
    pages = {declaration(entry.record): name for entry, _, name, _ in placed}
    by_name = {group.stream: name for group, name in zip(comparison.groups, names, strict=True)}
    for record in old:
        (group,) = compare([record], metrics=metrics).groups
        page = pages.get(declaration(record)) or by_name[record.stream]
        placed.append((group.entries[0], group, page, False))
    files = fit_names([_name(entry.record) for entry, *_ in placed])
    items = tuple(Item(file, *each) for file, each in zip(files, placed, strict=True))
    histories: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: (item.created, item.current, item.name)):
        histories.setdefault(declaration(item.record), []).append(item)
    streams = tuple(zip(names, comparison.groups, strict=True))
    return Board(comparison, streams, items, {key: tuple(found) for key, found in histories.items()})


def _name(record: Record) -> str:
    return f"{record.model[:40]}.{record.stream[:40]}.{record.fingerprint[:32]}"
