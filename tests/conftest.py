"""Marks that depend on the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(os.environ.get("NLBENCH_DATA", "")) / "MNIST/raw"
    if any((folder / f"train-images-idx3-ubyte{packed}").is_file() for packed in ("", ".gz")):
        return
    for item in items:
        if item.get_closest_marker("mnist"):
            item.add_marker(pytest.mark.skip(reason="needs canonical MNIST: set NLBENCH_DATA to a folder that holds MNIST/raw"))
