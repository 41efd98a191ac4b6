"""The wheel carries the catalog and works outside the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import nlbench

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/publish.md").read_text(encoding="utf-8")
READING = re.search(r"^pip install (filelock .*)$", PAGE, re.MULTILINE)[1].split()  # type: ignore[index]
"""What the reading half needs, as documented."""


def test_wheel_holds_the_whole_catalog(site):
    names = {path.relative_to(site).as_posix() for path in site.rglob("*")}
    for folder in ("tasks", "baselines", "results/reference"):
        expected = {f"nlbench/_catalog/{folder}/{path.name}" for path in (ROOT / folder).glob("*.*")}
        assert expected
        assert expected <= names
    assert "nlbench/py.typed" in names


def test_wheel_runs_outside_the_checkout(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def nlbench(*arguments):
        command = [sys.executable, "-m", "nlbench", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert "split-digits" in nlbench("list", "streams")
    nlbench("run", "--model", "chance", "--stream", "split-digits", "--seeds", "2")
    assert len(list((tmp_path / "results").glob("chance.split-digits.*.parquet"))) == 1
    where = subprocess.run(
        [sys.executable, "-c", "import nlbench; print(nlbench.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout


READS = (
    ("compare", "reference"),
    ("check", "reference", "--against", "nowhere"),
    ("report", "reference", "--out", "report.html"),
    ("publish", "reference", "site"),
    ("export", "reference", "--out", "all.csv"),
    ("list",),
    ("show", "hope", "split-digits"),
)
"""Commands that read, and need no torch; with `check` only that it judges, and finds no reference."""


def distributions() -> set[str]:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    return {re.split(r"[<>=]", each)[0] for each in declared}


def references(folder: Path) -> Path:
    """Copy two reference records into a new folder, and return it."""
    (folder / "reference").mkdir(parents=True)
    for name in ("mlp", "hope"):
        (record,) = (ROOT / "results/reference").glob(f"{name}.split-digits.*.parquet")
        shutil.copy(record, folder / "reference")
    return folder


ALL_IN_ONE = f"""
import sys
from nlbench import cli

for arguments in {READS!r}:
    sys.argv = ["nlbench", *arguments]
    try:
        cli.main()
        status = 0
    except SystemExit as stopped:
        status = stopped.code or 0
    assert status == (2 if arguments[0] == "check" else 0), (arguments, status)
"""


BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_what_reads_needs_no_more_than_is_documented(site, tmp_path):
    assert set(READING) <= distributions()
    modules = {"scikit-learn": "sklearn", "pillow": "PIL"}
    blocked = {modules.get(each, each) for each in distributions() - set(READING)} - {"PIL"}  # which matplotlib brings
    assert {"torch", "numba", "pandas", "sklearn", "torchvision"} <= blocked
    (tmp_path / "path").mkdir()
    (tmp_path / "path/sitecustomize.py").write_text(BLOCKER.format(blocked={*blocked, "triton"}))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{site}"}
    folder = references(tmp_path / "work")
    subprocess.run([sys.executable, "-c", ALL_IN_ONE], cwd=folder, env=environment, check=True, capture_output=True)
    assert (folder / "site/index.html").is_file()
    refused = subprocess.run([sys.executable, "-c", "import torch"], env=environment, capture_output=True, check=False)
    assert refused.returncode == 1


def built(folder: Path, name: str) -> dict[str, bytes]:
    """Build wheel and sdist of a copy of the checkout whose files were touched at another time."""
    source = folder / name
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for path in filter(None, listed.decode().split("\0")):
        if (ROOT / path).is_file():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, source / path)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / f"{name}-dist"), str(source)]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return {path.name: path.read_bytes() for path in (folder / f"{name}-dist").iterdir()}


@pytest.mark.slow
def test_two_builds_are_equal_byte_for_byte(tmp_path):
    first, second = built(tmp_path, "first"), built(tmp_path, "second")
    version = nlbench.__version__
    assert set(first) == {f"nlbench-{version}-py3-none-any.whl", f"nlbench-{version}.tar.gz"}
    assert first == second


@pytest.mark.slow
def test_a_clean_environment_with_the_documented_list_reads(tmp_path):
    shutil.copytree(ROOT, tmp_path / "source", ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(tmp_path / "source")]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = next((tmp_path / "venv").glob("[bS]*/python*"))
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    done = subprocess.run([*pip, *READING], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr[-200:]}")
    folder = references(tmp_path / "work")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for arguments in READS:
        done = subprocess.run([str(python.with_name("nlbench")), *arguments], cwd=folder, env=environment, check=False)
        assert done.returncode == (2 if arguments[0] == "check" else 0), arguments


OFFLINE = """
import socket

def refused(*arguments):
    raise OSError("there is no network")

socket.socket.connect = socket.getaddrinfo = refused
"""


@pytest.mark.slow
def test_the_first_two_commands_of_the_readme_run_offline_from_the_wheel(site, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    run = re.search(r"^(nlbench run --model hope .*)$", readme, re.MULTILINE)[1]  # type: ignore[index]
    compare = re.search(r"^(nlbench compare [^#]*?)\s*(?:#.*)?$", readme, re.MULTILINE)[1].partition(" --baseline")[0]  # type: ignore[index]
    (tmp_path / "path").mkdir()
    (tmp_path / "path/sitecustomize.py").write_text(OFFLINE)
    (tmp_path / "path/nlbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nlbench "$@"\n')
    (tmp_path / "path/nlbench").chmod(0o755)
    environment = {key: value for key, value in os.environ.items() if key != "NLBENCH_DATA"}
    environment |= {"PYTHONPATH": f"{tmp_path / 'path'}{os.pathsep}{site}", "PATH": f"{tmp_path / 'path'}:{os.environ['PATH']}"}
    folder = tmp_path / "work"
    folder.mkdir()
    said = [
        subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
        for command in (run, compare)
    ]
    assert "average_accuracy" in said[0]
    assert "hope" in said[1]


def test_the_image_is_built_of_what_the_wheel_needs():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    taken = {line[1:] for line in ignored if line.startswith("!")}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {*declared["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"], "nlbench", "pyproject.toml"}
    assert needed | {declared["project"]["readme"], *declared["project"]["license-files"]} == taken
    assert ignored[1] == "*"
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert "ARG TORCH=cpu" in lines
    torch = next(each for each in declared["project"]["dependencies"] if re.match(r"torch\b", each))
    assert any(f'"{torch}"' in line for line in lines)


def test_an_image_runs_before_it_is_pushed_under_a_name_that_registries_take(tmp_path):
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    scripts = [step.get("run", "").replace("${{ matrix.torch }}", "cpu") for step in workflow["jobs"]["image"]["steps"]]
    (tmp_path / "docker").write_text('#!/bin/sh\necho "$@" >> "$LOG"\n')
    (tmp_path / "docker").chmod(0o755)
    said = {"GITHUB_ACTOR": "Some", "TOKEN": "secret", "IMAGE": "ghcr.io/Some/Nlbench:v1.0.0-cuda", "LOG": str(tmp_path / "log")}
    environment = {**os.environ, **said, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-e", "-c", "\n".join(scripts)], env=environment, check=True)
    done = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in done] == ["build", "run", "login", "tag", "push"]
    assert done[0] == "build --build-arg TORCH=cpu --tag nlbench ."
    assert done[-1] == "push ghcr.io/some/nlbench:v1.0.0-cuda"
    assert "secret" not in "".join(done)


def test_a_release_is_of_one_version_and_the_documented_list():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    steps = {step.get("name"): step.get("run", "") for step in workflow["jobs"]["build"]["steps"]}

    def shell(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-c", script], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
        )

    tagged = steps["The tag is the version, and the changelog has it"]
    assert "is not v" in shell(tagged, GITHUB_REF_NAME="v99.0.0").stdout
    assert f"v{nlbench.__version__}" in shell(tagged, GITHUB_REF_NAME="v99.0.0").stdout
    names = re.search(r"(sed .*) \| xargs", steps["Without torch, it reads"])[1]  # type: ignore[index]
    assert shell(names).stdout.split() == READING
    notes = next(step["run"] for step in workflow["jobs"]["publish"]["steps"] if "notes.md" in step.get("run", "")).splitlines()[
        0
    ]
    section = shell(notes.replace("> notes.md", ""), GITHUB_REF_NAME="vUnreleased").stdout
    assert "### Added" in section
    assert "## [" not in section
