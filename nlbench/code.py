"""The code of a run, a part at a time: what the protocol, the stream, the data set, the learner and its network reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from nlbench import catalog, closure
from nlbench.catalog import Group
from nlbench.closure import Reached
from nlbench.errors import NlbenchError

_ALWAYS: Final = {"protocol": ("nlbench.protocol",)}
_AROUND: Final[Mapping[Group, tuple[str, ...]]] = {
    "learners": ("nlbench.learners.building", "nlbench.runner.preparing"),
    "networks": ("nlbench.networks.building",),
    "streams": ("nlbench.streams.building",),
}
"""What of the package stands around an extension that is not ours."""

Part = tuple[str, Group, str]
"""What it is in the run, its group, and the name of its kind."""


@dataclass(frozen=True)
class Code:
    """What code makes a run's numbers, as it is when the run is planned."""

    digests: Mapping[str, str]
    """Of everything that a part reaches, by part."""
    outside: Mapping[str, Reached] = field(default_factory=dict, repr=False)
    """What parts of a user's own bring in, by `part kind`."""

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Code:
        """Return the code of the parts of a run and of the protocol, none of it imported.

        Raises `NlbenchError` for what is not there or no Python, and where two parts mean two files by one name.
        """
        digests = {part: closure.package_digest(*roots) for part, roots in _ALWAYS.items()}
        outside = {}
        for part, group, kind in parts:
            found = catalog.brought_in(group, kind)
            if found is None:
                digests[part] = closure.package_digest(*catalog.modules(group, kind))
            else:
                outside[f"{part} {kind}"] = found
                known = closure.digest_outside(found, _around(group, found))
                digests[part] = f"unidentified {token_hex(8)}" if found.unknown else known
        _refuse_two_meanings(outside.values())
        return cls(digests, outside)

    @property
    def unidentified(self) -> tuple[str, ...]:
        """What each part holds that cannot be told from its like: no other run is the same as one of it."""
        return tuple(
            f"{place.partition(' ')[2]} holds {' and '.join(reached.unknown)}, which says nothing of what it does"
            for place, reached in self.outside.items()
            if reached.unknown
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say to the user of what is not identified."""
        return tuple(
            f"{what}: the same call will run anew, and this run, if it is killed, is not resumed. Define what it needs in a "
            "file, or within the class."
            for what in self.unidentified
        )

    def check_unchanged(self, parts: Iterable[Part]) -> None:
        """Refuse a run whose code is no longer what was planned."""
        for part, group, kind in parts:
            planned = self.outside.get(f"{part} {kind}")
            if planned is not None and catalog.brought_in(group, kind) != planned:
                raise NlbenchError(f"{kind}: has changed since the run was planned.", "Plan it anew.")


def networks(options: Mapping[str, Any], place: str = "") -> Iterator[Part]:
    """Yield the parts that a learner's options name: every table whose `kind` is a network's, and what builds its module.

    The class of somebody else's learner, whose config would say which options are networks, is not imported for a plan.
    """
    for name, value in options.items():
        where = f"{place}.{name}"
        table: Any = dict(enumerate(value)) if isinstance(value, list | tuple) else value
        if not isinstance(table, Mapping):
            continue
        kind, build = table.get("kind"), table.get("build")
        if isinstance(kind, str) and (":" in kind or kind in catalog.extensions("networks")):
            label = "" if where == ".network" else where
            yield f"network{label}", "networks", kind
            if isinstance(build, str):
                yield f"module{label}", "networks", build
        yield from networks(table, where)


def _around(group: Group, found: Reached) -> list[str]:
    """Return what stands around an extension that is not ours, and the networks that it has where its options name none: those
    whose configs it reaches.
    """
    around = _AROUND.get(group, ())
    reached = closure.reached_inside(found, around)
    return [*around, *(row.place for row in catalog.NETWORKS.values() if {row.config, row.config.partition(":")[0]} & reached)]


def _refuse_two_meanings(several: Iterable[Reached]) -> None:
    """Refuse two files that are imported by one name: in one process there is one module of a name."""
    meant: dict[str, Path] = {}
    for reached in several:
        for name, path in reached.files.items():
            other = meant.setdefault(name, path)
            if other.resolve() != path.resolve() and not name.startswith(closure.NAMED):
                raise NlbenchError(f"{other} and {path} are both imported as {name}.", "Rename one of them.")
