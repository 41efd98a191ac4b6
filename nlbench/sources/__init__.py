"""Sources: data sets as objects that know their files, checksums, origin and how they are read. Imports no torch, and neither
torchvision nor scikit-learn.

A source of one's own is an object of a subclass of `Source` that defines `read`; a stream's `source = "./file.py:NAME"` names it.
"""

from __future__ import annotations

from nlbench import catalog
from nlbench.sources.source import Arrays, Source, folders, read, read_ahead


def find(name: str) -> Source:
    """Return a data set: ours, a registered one, or the object that `./file.py:NAME` or `package.module:NAME` names."""
    return catalog.extension("sources", name, lambda value: isinstance(value, Source), "a nlbench.sources.Source")


__all__ = ["Arrays", "Source", "find", "folders", "read", "read_ahead"]
