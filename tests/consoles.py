"""What is written to a console of the display, for tests."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console


@contextmanager
def written(
    monkeypatch: pytest.MonkeyPatch, module: object, console: str, *, terminal: bool = False, width: int = 100
) -> Iterator[io.StringIO]:
    """Give what is written to a console of a module of the display."""
    text = io.StringIO()
    monkeypatch.setattr(module, console, Console(file=text, force_terminal=terminal, width=width, highlight=False))
    yield text
