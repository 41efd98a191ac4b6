import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nlbench import cache
from nlbench.runner import cores


@pytest.fixture(autouse=True)
def machine_of_eight(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "cache")


def test_each_further_run_takes_a_smaller_share_and_a_run_that_ended_gives_its_place_back() -> None:
    with cores.share() as first, cores.share() as second:
        with cores.share() as third:
            assert (first, second, third) == (8, 4, 2)
        with cores.share() as again:
            assert again == 2
    with cores.share() as alone:
        assert alone == 8


def test_a_share_is_never_less_than_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 1)
    with cores.share(), cores.share() as second:
        assert second == 1


def test_what_is_asked_for_is_taken_and_what_the_environment_says_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with cores.share(), cores.share() as said, cores.share(3) as asked:
        assert (said, asked) == (8, 3)


def test_a_container_s_limit_counts_where_it_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    with cores.share() as alone:
        assert alone == 3


@pytest.mark.parametrize("state", ["missing", "unwritable"])
def test_without_a_cache_folder_a_run_is_taken_to_be_alone(state: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "folder", lambda: None if state == "missing" else tmp_path / "file" / "cache")
    with cores.share() as first, cores.share() as second:
        assert (first, second) == (8, 8)


def test_a_run_that_was_killed_holds_no_place(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from nlbench import cache; from nlbench.runner import cores\n"
        f"cache.folder = lambda: Path({str(tmp_path / 'cache')!r})\n"
        "cores.share().__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 9
    with cores.share() as alone:
        assert alone == 8
