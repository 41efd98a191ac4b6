from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Command, Done

from nlbench import cli
from nlbench.display import console


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Return a function that runs the command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console.out, "width", 160)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["nlbench", *arguments])
        capsys.readouterr()
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        return Done(code, *capsys.readouterr())

    return call
