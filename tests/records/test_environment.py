from __future__ import annotations

import getpass
import json
import subprocess
from pathlib import Path

import pytest

from nlbench.records import environment


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "nlbench").mkdir()
    (tmp_path / "nlbench" / "a.py").write_text("a = 1\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_checkout(checkout: Path) -> None:
    (checkout / "README.md").write_text("changed\n")
    (checkout / "my_learner.py").write_text("")
    assert environment.source_state(checkout) == (git(checkout, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize("change", ["edited", "untracked", "staged"])
def test_changed_code_is_dirty(checkout: Path, change: str) -> None:
    (checkout / "nlbench" / ("b.py" if change == "untracked" else "a.py")).write_text("a = 2\n")
    if change == "staged":
        git(checkout, "add", ".")
    assert environment.source_state(checkout) == (git(checkout, "rev-parse", "HEAD"), True)


def test_no_checkout_is_null_not_clean(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert environment.source_state(tmp_path / "elsewhere") == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.source_state(checkout) == (None, None)


def test_description_is_plain_and_names_nobody() -> None:
    facts = environment.describe(Path("results")).facts()
    text = json.dumps(facts)
    assert facts["packages"]["numpy"]
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 2**28
    assert facts["cpu"]
    assert str(Path.home()) not in text
    assert str(Path(environment.__file__).parents[2]) not in text
    assert not {"user", "hostname", "argv", "path"} & facts.keys()
    assert getpass.getuser() not in facts.values()


@pytest.mark.parametrize(
    ("file", "dirty"),
    [("out/a.parquet", False), ("sub/__pycache__/x.pyc", False), ("results/reference/a.parquet", False), ("sub/new.py", True)],
)
def test_the_repository_around_a_run_is_asked_but_not_about_its_results(checkout: Path, file: str, dirty: bool) -> None:
    (checkout / "sub").mkdir()
    (checkout / file).parent.mkdir(parents=True, exist_ok=True)
    (checkout / file).write_text("x")
    commit = git(checkout, "rev-parse", "HEAD")
    assert environment.project_state(checkout / "sub", checkout / "out") == (commit, dirty)
    assert environment.project_state(Path(environment.__file__).parent, checkout / "out") == (None, None)


def test_outside_any_repository_nothing_is_known(tmp_path: Path) -> None:
    assert environment.project_state(tmp_path, tmp_path / "results") == (None, None)


def test_what_differs_is_named_whatever_became_of_it(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(environment, "_CHECKOUT", checkout / "nowhere")
    assert environment.changes(Path("results")) == []
    (checkout / "nlbench" / "a.py").write_text("a = 2\n")
    git(checkout, "mv", "README.md", "read me.md")
    (checkout / "new.py").touch()
    assert sorted(environment.changes(Path("results"))) == ["new.py", "nlbench/a.py", "read me.md"]


@pytest.mark.parametrize("where", ["in a commit", "changed", "untracked", "ignored", "in no repository"])
def test_files_of_a_user_s_own_are_of_their_own_repository_whatever_lies_around_the_run(
    checkout: Path, where: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("own") if where == "in no repository" else checkout / "mine"
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text("a = 1\n")
    commit = git(checkout, "rev-parse", "HEAD")
    if where == "ignored":
        (checkout / ".git" / "info" / "exclude").write_text("mine\n")
    if where in ("in a commit", "changed"):
        git(checkout, "add", ".")
        git(checkout, "commit", "-q", "-m", "mine")
        commit = git(checkout, "rev-parse", "HEAD")
    if where == "changed":
        (folder / "mine.py").write_text("a = 2\n")
    found = environment.describe(Path("results"), [folder / "mine.py"])
    known = where in ("in a commit", "changed")
    assert (found.project.commit, found.project.dirty) == ((commit, where == "changed") if known else (None, True))
    assert (found.in_repository, found.clean and not found.dirty) == (known, where == "in a commit" and not found.dirty)
