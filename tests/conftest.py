"""Marks that depend on the machine, and what all workers share."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

# one thread a worker, which sleeps while it waits: spinning threads slow each other tenfold when workers share cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# ignored as in the background of a script, or under nohup: tests send them, and mean them
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if signal.getsignal(number := getattr(signal, name, signal.SIGTERM)) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(os.environ.get("NLBENCH_DATA", "")) / "MNIST/raw"
    if any((folder / f"train-images-idx3-ubyte{packed}").is_file() for packed in ("", ".gz")):
        return
    for item in items:
        if item.get_closest_marker("mnist"):
            item.add_marker(pytest.mark.skip(reason="needs canonical MNIST: set NLBENCH_DATA to a folder that holds MNIST/raw"))


def pytest_collection_finish() -> None:
    """Imported modules and collected tests are no garbage: each look through them for some takes the better part of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the package as its wheel installs it and nothing else, made once for all workers."""
    shared = tmp_path_factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else tmp_path_factory.getbasetemp()
    folder, root = shared / "site", Path(__file__).parents[1]
    with FileLock(shared / "site.lock"):
        if not folder.exists():
            build = ["build", "--wheel", "--no-isolation", "--outdir", str(shared), str(root)]
            subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True, text=True)
            (wheel,) = shared.glob("*.whl")
            install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
            subprocess.run([sys.executable, "-m", *install], check=True, capture_output=True, text=True)
    return folder


@pytest.fixture
def no_debian_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Debian package of this machine holds files of a data set."""
    monkeypatch.setattr("nlbench.sources.downloads.Debian.installed", lambda self: {})
