"""Where the user's cache is."""

from __future__ import annotations

from pathlib import Path

import platformdirs


def folder() -> Path | None:
    """Return the user's cache folder, which need not exist; None for a user without a home."""
    try:
        found = Path(platformdirs.user_cache_dir("nlbench"))
    except RuntimeError:
        return None
    return found if found.is_absolute() else None
