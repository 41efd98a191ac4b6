"""Every code block of the README and of the page on other tools runs; the output block is what the command prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from command_line import nlbench, script

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REPORT = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def block(language: str, containing: str, page: str = README) -> str:
    (found,) = [text for text in blocks(language, page) if containing in text]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the records of the quick start and of the Python block."""
    place = tmp_path_factory.mktemp("readme")
    command(place, "run", "--model", "hope", "--stream", "split-digits")
    python(place, block("python", "nlbench.compare"))
    return place


def command(place: Path, *arguments: str) -> str:
    done = nlbench(place, *arguments, width=100)
    assert done.code == 0, done.err
    return done.out


def python(place: Path, code: str) -> str:
    path = place / "block.py"
    path.write_text(code, encoding="utf-8")
    return script(place, path)


def test_quick_start_output_is_what_the_command_prints(folder):
    """To two test samples of the smallest task a cell: other machines round differently."""
    numbers = re.compile(r"\d\.\d{3}")
    (path,) = folder.glob("results/hope.split-digits.*.parquet")
    shown = block("text", "after")
    assert f"record  results/{path.name}" in shown.splitlines()
    fresh = command(folder, "show", str(path))
    rows = [line for line in shown.splitlines() if line.lstrip().startswith(("no task", "task "))]
    assert len(rows) == 6
    for row in rows:
        label = row.split("0.")[0].split("1.")[0].strip()
        (now,) = [line for line in fresh.splitlines() if line.strip().startswith(label + " ")]
        for before, after in zip(numbers.findall(row), numbers.findall(now), strict=True):
            assert abs(float(before) - float(after)) <= 0.03, (row, now)
    lines = [line.split() for line in fresh.splitlines()]
    metrics = [line for line in shown.splitlines() if line[:1].isalpha() and "better" in line]
    assert len(metrics) == 3
    for name, mean, *rest in map(str.split, metrics):
        (now,) = [line for line in lines if line[:1] == [name]]
        assert abs(float(mean) - float(now[1])) <= 0.03, (name, now)
        assert [word for word in rest if word.isalpha()] == [word for word in now[2:] if word.isalpha()]


def test_sql_line_reads_the_records(folder):
    (query,) = blocks("sql")
    rows = duckdb.sql(query.replace("results/", f"{folder}/results/")).fetchall()
    assert {(model, stream) for model, stream, _ in rows} == {("hope", "split-digits"), ("mlp", "split-digits")}
    assert all(0 <= value <= 1 for *_, value in rows)


def test_sql_line_of_the_page_on_other_tools_reads_one_value_a_seed(folder):
    (query,) = blocks("sql", REPORT)
    rows = duckdb.sql(query.replace("results/", f"{folder}/results/")).fetchall()
    assert sorted(seed for seed, _ in rows) == sorted(2 * list(range(10)))


def test_pandas_line_agrees_with_the_sql_line(folder):
    (query,) = blocks("sql")
    expected = {row[0]: row[2] for row in duckdb.sql(query.replace("results/", f"{folder}/results/")).fetchall()}
    (record,) = folder.glob("results/hope.*.parquet")
    for other in ("logs/events.out", "logs/old.parquet", f"reference/{record.name}"):  # what other features put there
        place = folder / "results" / other
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(record.read_bytes() if other.startswith("reference") else b"no record")
    lines = block("python", "pd.read_parquet", REPORT).strip().splitlines()
    printed = python(folder, "\n".join([*lines[:-1], f"print(({lines[-1]}).to_dict())"]))
    found = {model: value for (model, _), value in eval(printed).items()}
    assert found == pytest.approx(expected)


def test_own_network_runs_from_its_file(folder):
    code = block("python", "class Network")
    assert len([line for line in code[code.index("class Network") :].splitlines() if line.strip()]) <= 16
    assert code.rstrip() in (ROOT / "examples" / "network.py").read_text(encoding="utf-8")
    (folder / "my_network.py").write_text(code, encoding="utf-8")
    (line,) = [line for line in blocks("sh") if "my_network.py" in line]
    printed = command(folder, *line.split()[1:], "--seeds", "2")
    assert float(re.search(r"learning_accuracy\s+(\d\.\d+)", printed).group(1)) > 0.8


def test_own_stream_runs(folder):
    code = block("python", "stream_from_arrays")
    assert len([line for line in code.splitlines() if line.strip()]) < 25
    assert all(value > 0.5 for value in eval(python(folder, code)).values())


def test_everyday_commands_parse():
    from typer.testing import CliRunner

    from nlbench.cli import app

    for line in [line for text in blocks("sh") for line in text.splitlines() if line.startswith("nlbench ")]:
        words = line.split("#")[0].split()
        name = " ".join(words[1:3]) if words[1] in ("data", "bench") else words[1]
        page = CliRunner().invoke(app, [*name.split(), "--help"])
        assert page.exit_code == 0, line
        assert all(word in page.output for word in words if word.startswith("--")), line


@pytest.mark.slow
def test_gate_is_green_and_then_red(site, tmp_path):
    """The two blocks, in a repository of their own, with the installed package; then a change of the rate that forgets more."""
    reference, change = blocks("bash")
    assert len(reference.splitlines()) + len(change.splitlines()) <= 10
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "nlbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nlbench "$@"\n')
    (tools / "nlbench").chmod(0o755)
    repository = tmp_path / "repository"
    repository.mkdir()
    learner = repository / "my_network.py"
    learner.write_text(block("python", "class Network"), encoding="utf-8")
    (repository / ".gitignore").write_text("__pycache__/\n")
    identity = {f"GIT_{role}_{fact}": "somebody@example.org" for role in ("AUTHOR", "COMMITTER") for fact in ("NAME", "EMAIL")}
    paths = {"PYTHONPATH": str(site), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def shell(script: str) -> int:
        return subprocess.run(
            ["bash", "-ec", script], cwd=repository, env={**os.environ, **identity, **paths}, check=False
        ).returncode

    assert shell("git init -q && git add . && git commit -qm Learner") == 0
    assert shell(reference) == 0
    assert shell(change) == 0
    assert shell("test -z \"$(git status --porcelain -- ':(exclude)results')\"") == 0  # another reference can be made
    healthy = learner.read_text(encoding="utf-8")
    learner.write_text(healthy.replace('"rate", 0.01', '"rate", 0.05'), "utf-8")
    assert shell("rm -r results/new") == 0
    assert shell(change) == 1


def test_the_page_stays_short_and_its_pictures_and_links_exist():
    assert len(README.splitlines()) <= 200
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", README) if "://" not in target]
    assert "docs/picture.svg" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []
