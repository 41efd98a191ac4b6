"""Stored machine code belongs to one version of the sources, and a second process uses it instead of compiling."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import torch
from numba.core import event
from nlbench.kernels.newton_schulz import newton_schulz
with event.install_recorder("numba:compile") as recorder:
    newton_schulz(torch.eye(3), backend="numba")
ours = [event for _, event in recorder.buffer if event.data["dispatcher"].py_func.__module__.startswith("nlbench.")]
print(len(recorder.buffer), len(ours))
"""


def compilations(folder: Path) -> int:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    result = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    return int(result.stdout.split()[0])


def test_of_two_processes_at_once_one_compiles_a_program_and_a_later_one_compiles_nothing(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", PROGRAM], os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    waiting, compiling = sorted(int(each.communicate()[0].split()[1]) for each in both)
    assert waiting == 0
    assert compiling > 0
    assert compilations(tmp_path) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "kept"), [("nbi", 0), ("nbc", 200)])
def test_code_that_was_cut_is_compiled_and_stored_again(tmp_path: Path, ending: str, kept: int) -> None:
    assert compilations(tmp_path) > 0
    for path in tmp_path.rglob(f"*.{ending}"):
        path.write_bytes(path.read_bytes()[:kept])
    assert compilations(tmp_path) > 0
    assert compilations(tmp_path) == 0


@pytest.mark.slow
def test_code_that_cannot_be_stored_is_compiled_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert compilations(tmp_path / "file") > 0


def test_code_is_stored_under_a_digest_of_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compilation = pytest.importorskip("nlbench.kernels.compilation")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    before = compilation._folder()
    assert before.parent == tmp_path
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"# changed" if path.name == "_chunk.py" else b""))
    assert compilation._folder() != before


LEARNER = """
import sys
import torch
from nlbench.kernels import bind, mlp_logits, mlp_step
training = bind(mlp_step, "numba", torch.zeros(1))
training.load()
training.beside(mlp_logits, torch.zeros(1)).load()
print(*sys.modules)
"""


@pytest.mark.slow
def test_stored_code_is_loaded_without_what_only_compiling_needs(tmp_path: Path) -> None:
    command, environment = [sys.executable, "-c", LEARNER], os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        set(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()) for _ in range(2)
    )
    for module in ("numba.typed.typeddict", "scipy.linalg"):  # 0.3 s of imports together
        assert module in first
        assert module not in second
