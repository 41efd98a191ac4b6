from __future__ import annotations

from typing import TYPE_CHECKING

from nlbench import lazy

if TYPE_CHECKING:
    from nlbench.kernels.backends import Backend, Bound, bind

__all__ = ["Backend", "Bound", "bind"]

__getattr__ = lazy.names(__name__, dict.fromkeys(__all__, "backends"))
