"""CONTRIBUTING.md is followed word for word: in a package of one's own, and in a copy of nlbench where it says to change that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from command_line import together

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
OWN, CHANGED = PAGE.split("## Change nlbench itself")


def section(title: str) -> str:
    """The text under a heading of the third level."""
    return PAGE.split(f"### {title}\n")[1].split("\n##")[0]


def files(page: str, language: str) -> dict[str, str]:
    """The blocks whose first line names the file they are."""
    return dict(re.findall(rf"^```{language}\n# (\S+)\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL))


def commands(page: str) -> list[list[str]]:
    """The arguments of every nlbench command."""
    return [line.split()[1:] for text in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) for line in text.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the package `mine`, as pip would have installed it, and the TOML files."""
    place = tmp_path_factory.mktemp("own")
    for name, text in (files(OWN, "python") | files(OWN, "toml")).items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    (place / "mine" / "__init__.py").touch()
    installed = place / "mine-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 0.1\n", encoding="utf-8")
    groups = tomllib.loads((place / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in points.items()) for group, points in groups.items()
    ]
    (installed / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of nlbench, changed as the page says."""
    place = tmp_path_factory.mktemp("changed")
    for part in ("nlbench", "tasks", "baselines"):
        shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in files(CHANGED, "python").items():
        (place / name).write_text(text, encoding="utf-8")
    for name, lines in files(CHANGED, "diff").items():
        path = place / name
        text = path.read_text(encoding="utf-8")
        for old, new in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)+)", lines, flags=re.MULTILINE):
            before, after = ("\n".join(line[1:] for line in part.splitlines()) for part in (old, new))
            assert text.count(before) == 1, f"{name} has {before!r} {text.count(before)} times"
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def shown(folder):
    """What is printed by `nlbench list` and by the command of each recipe, one after the other."""
    titles = ("A learner", "A network", "A data set", "A kind of stream", "A metric")
    given = [next(iter(commands(section(title)))) for title in titles]
    return dict(zip(("list", *titles), together(folder, ["list"], *given), strict=True))


def test_every_recipe_is_short():
    for title in re.findall(r"^### (.*)$", PAGE, flags=re.MULTILINE):
        code = [line for text in files(section(title), "python").values() for line in text.splitlines() if line.strip()]
        assert 0 < len(code) <= 25, title


def test_what_is_added_is_listed(shown):
    for name in ("anchored", "narrow", "wine", "dimming", "final_gap"):
        assert name in shown["list"], name


@pytest.mark.parametrize("title", ["A learner", "A network", "A data set", "A kind of stream"])
def test_what_is_added_runs(shown, title):
    assert float(re.search(r"^learning_accuracy +(\d\.\d+)", shown[title], flags=re.MULTILINE)[1]) > 0.4


def test_an_added_metric_is_measured(shown, folder):
    row = re.search(r"^mlp +2 +(\d\.\d+) ", shown["A metric"], flags=re.MULTILINE)
    assert 0 <= float(row[1]) <= 1
    (record,) = folder.glob("results/mlp.split-wine.*.parquet")
    (read,) = together(folder / "mine", ["show", str(record)])  # one can read it without the metric
    assert "average_accuracy" in read


@pytest.fixture(scope="module")
def changed(copy):
    """What the changed nlbench prints: of the command that was added, of help, and of the bench of the backend."""
    run = ["run", "--model", "chance", "--stream", "split-digits", "--seeds", "2"]
    ((command,), (bench,)) = (commands(section(title)) for title in ("A command", "A kernel backend"))
    _, *printed = together(copy, run, command, ["--help"], bench, package=copy)
    return printed


def test_an_added_command_runs(changed):
    answer, page, _ = changed
    assert answer.strip() == "split-digits: chance"
    assert "Name the most accurate learner" in page


def test_an_added_backend_is_judged_and_timed(changed):
    checked, of = re.search(r"(\d+) of (\d+) checks", changed[2]).groups()
    assert checked == of
    assert re.search(r"mlp_logits .* numpy ", changed[2])


def test_a_wrong_backend_is_caught(copy):
    path = copy / "nlbench" / "kernels" / "mlp_logits" / "_numpy.py"
    right = path.read_text(encoding="utf-8")
    path.write_text(right.replace("if i else values", "if i > 1 else values"), encoding="utf-8")
    code = (
        "from nlbench.bench.kernels import check_case\nfrom nlbench.kernels.cases import CASES\n"
        "found = [check for case in CASES if case.op == 'mlp_logits' for check in check_case(case)]\n"
        "print({check.backend for check in found if not check.passed})"
    )
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", code], cwd=copy, env=environment, capture_output=True, text=True, check=True)
    path.write_text(right, encoding="utf-8")
    assert done.stdout.strip() == "{'numpy'}"
