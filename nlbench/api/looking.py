"""What a stream looks like. Imports torch when it looks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nlbench import catalog
from nlbench.launching import running_half
from nlbench.plan import DeclaredStream, Machine, resolve

if TYPE_CHECKING:
    from nlbench.streams.looking import Look


def look(
    stream: str | DeclaredStream, *, seed: int = 0, data: str | Path | None = None, figures: str | Path | None = None
) -> Look:
    """Return sizes, labels, class order, drift and samples of a stream's first tasks, and what it should not be, for one seed;
    draw the samples into the folder `figures` where one is given. Raises `DataError` if its data cannot be had.
    """
    half = running_half()
    from nlbench.streams.looking import look as looked

    plan = resolve("chance", stream, seeds=(seed,))
    machine = Machine(device="cpu", data=None if data is None else Path(data))
    found = looked(half.build_stream(plan, machine))
    found = replace(found, label_names=_label_names(plan.declared, found))
    if figures is not None:
        from nlbench.reporting.samples import draw

        draw(found, Path(figures))
    return found


def _label_names(declared: DeclaredStream, found: Look) -> tuple[str, ...]:
    """Return what each label of a stream stands for in the words of its data set, () where it calls them by numbers, where one
    stands for several classes, and of a kind from elsewhere.
    """
    names = () if declared.source is None else declared.source.label_names
    kind, own = declared.spec.stream.kind, found.scenario == "domain-il"
    if not catalog.built_in("streams", kind) or kind == "relabelled" or (kind == "split" and own):
        return ()
    in_order = tuple(names[place] for place in found.class_order) if names and found.class_order else names
    return in_order if kind in ("split", "arrays") or own else in_order * found.n_tasks
