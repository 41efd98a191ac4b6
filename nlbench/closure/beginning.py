"""When this process began."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_TICKS: Final = 19  # its place behind the name of the program, which may hold spaces and brackets
_CLOCKS: Final = 2.0  # seconds by which the clocks of a file system and of the kernel may differ


def began() -> float:
    """Return a time before which no line of this process ran, in seconds since 1970; 0 where the system does not tell."""
    try:
        ticks = int(_STAT.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[_TICKS])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return 0.0
    return time.time() - age - _CLOCKS
