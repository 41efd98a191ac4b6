"""A row of a table of extensions."""

from __future__ import annotations

from typing import NamedTuple


class Extension(NamedTuple):
    """Where an extension and its config are, each as `module:Name`; of a learner, what its class says it needs, and in a few
    words what it keeps beside its network.
    """

    place: str
    config: str = ""
    needs: tuple[str, ...] = ()
    keeps: str = ""
