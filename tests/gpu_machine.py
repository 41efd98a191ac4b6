"""A machine that says it has GPUs: the driver's programmes, by scripts of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, *table: str) -> None:
    """Have a machine whose GPUs are those of a table: index, name, MiB that are free."""
    _programme(folder / "nvidia-smi", *(f"echo '{row}'" for row in table))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def control(folder: Path, log: Path, first: str = ":") -> None:
    """Have the control of the multi-process service in a folder of `PATH`; it writes what it is asked to a log, but does `first`
    before.
    """
    _programme(
        folder / "nvidia-cuda-mps-control",
        first,
        f'said="$*"; [ -n "$said" ] || read said; echo "$said $CUDA_MPS_PIPE_DIRECTORY ${{CUDA_VISIBLE_DEVICES-all}}" >> {log}',
    )


def _programme(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines]), encoding="utf-8")
    path.chmod(0o755)
