"""Packed tensors are read one by one, and a file that holds none is refused by a line that says why."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

import nlbench
from nlbench.errors import RecordError
from nlbench.protocol import Position, Progress
from nlbench.runner import Checkpoint
from nlbench.runner import checkpoint as checkpoints
from nlbench.runner.checkpoint import FORMAT, Saved
from nlbench.runner.packing import Form, Packed
from nlbench.state import put


def test_a_file_that_is_cut_while_it_is_open_is_no_tensor(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x", "run")
    state = {"weights": torch.zeros(2_000_000)}
    checkpoint.save(Saved("cpu", "reference", 1, Progress(Position(1), 0.0, False, {}), [], [], state))
    with checkpoint.opened() as saved:
        assert saved is not None
        os.truncate(checkpoint.path, 1000)
        with pytest.raises(OSError, match="it became shorter"):
            saved.state["weights"]


def test_a_tensor_is_read_to_where_it_belongs_and_copied_only_where_it_lies_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, numbers = Checkpoint(tmp_path / "x", "run"), torch.randn(3, 4, 5)
    state = {
        "row": numbers,
        "turned": numbers.permute(2, 0, 1),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "long": torch.ones(50_000),
    }
    checkpoint.save(Saved("cpu", "reference", 1, Progress(Position(1), 0.0, False, {}), [], [], state))
    made: list[str] = []
    real = Packed.tensor
    monkeypatch.setattr(Packed, "tensor", lambda packed, name, form: made.append(name) or real(packed, name, form))
    with checkpoint.opened() as saved:
        assert saved is not None
        for name, value in state.items():
            alike, other = torch.zeros_like(value), torch.zeros_like(value, dtype=torch.float64)
            put(alike, saved.state, name)
            assert torch.equal(alike, value)
            assert not made
            put(other, saved.state, name)
            assert torch.equal(other, value.double())
            assert len(made) == 1
            put(copied := torch.zeros_like(value), state, name)
            assert torch.equal(copied, value)
            made.clear()
        across = torch.zeros(5, 3, 4)
        put(across, saved.state, "turned")
        assert torch.equal(across, state["turned"])
        sliced = torch.zeros(3, 4, 10)[..., ::2]
        put(sliced, saved.state, "row")
        assert torch.equal(sliced, numbers)
        os.truncate(checkpoint.path, 1000)
        with pytest.raises(OSError, match="it became shorter"):
            put(torch.zeros(50_000), saved.state, "long")


def test_the_largest_tensors_of_a_learner_go_from_the_file_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    real = Packed.tensor

    def noted(packed: Packed, name: str, form: Form) -> torch.Tensor:
        found = real(packed, name, form)
        read.append(found.numel())
        return found

    monkeypatch.setattr(Packed, "tensor", noted)
    nlbench.run("random-features", "split-digits", seeds=2, results=tmp_path, device="cpu")
    assert read
    assert max(read) <= 2 * 512 * 64 < 2 * 513**2


@pytest.mark.parametrize(
    ("form", "line"),
    [
        (["float32", [3], [0]], "a tensor of 16 bytes cannot have the form float32, [3]"),
        (["float33", [4], [0]], "no tensor has the form float33, [4], [0]"),
        (["load", [4], [0]], "no tensor has the form load, [4], [0]"),
        (["float32", [4], [1]], "no tensor has the form float32, [4], [1]"),
        (["float32", [2, 2], [0]], "no tensor has the form float32, [2, 2], [0]"),
        (["float32", [-4], [0]], "tensors.0.2.0: Input should be greater than or equal to 0"),
        (["float32", [0, 2**62, 2**62], [0, 1, 2]], "a tensor of 16 bytes cannot have the form float32"),
    ],
)
def test_a_form_that_no_such_tensor_has_is_one_line(form: list[Any], line: str, tmp_path: Path, monkeypatch: Any) -> None:
    checkpoint = Checkpoint(tmp_path / "x", "run")
    monkeypatch.setattr(checkpoints, "form_of", lambda value: form)
    saved = Saved("cpu", "numba", 1, Progress(Position(1), 0.0, False, {}), [], [], {"weights": torch.zeros(4)})
    checkpoint.save(saved)
    with pytest.raises(RecordError, match=re.escape(f"x: the checkpoint cannot be read: {line}")):
        checkpoint.load()


@pytest.mark.parametrize(
    ("header", "line"),
    [
        (b"", "Invalid JSON"),
        (b"[" * 5000, "recursion limit exceeded"),
        (b'{"0": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', "0.dtype: Input should be 'U8'"),
        (b'{"0": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}', "its tensors do not fill it one after the other"),
        (
            b'{"0": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, '
            b'"1": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}',
            "its tensors do not fill it one after the other",
        ),
        (b'{"0": {"dtype": "U8", "shape": [4], "data_offsets": [4, 0]}}', "its tensors do not fill it one after the other"),
        (b'{"0": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}', "'facts'"),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_one_line(header: bytes, line: str, tmp_path: Path) -> None:
    rest = len(header).to_bytes(8, "little") + header + bytes(4)
    (tmp_path / "x").write_bytes(FORMAT + sha256(rest).digest() + rest)
    with pytest.raises(RecordError, match=re.escape(line)) as caught:
        Checkpoint(tmp_path / "x", "run").load()
    assert "\n" not in str(caught.value)
    long = (2**62).to_bytes(8, "little")
    (tmp_path / "x").write_bytes(FORMAT + sha256(long).digest() + long)
    with pytest.raises(RecordError, match="its header is longer than the file"):
        Checkpoint(tmp_path / "x", "run").load()
