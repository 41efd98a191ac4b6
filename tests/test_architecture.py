"""The tree is the architecture: layers point down, modules stay small, readers start fast and without torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PATHS = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "nlbench").rglob("*.py"))]

MAX_LINES = 500
MAX_LEARNER = 250
MAX_CLASS = 250
MAX_FUNCTION = 80
MAX_KERNEL = 150
MAX_PARAMETERS = 8
MAX_COMMAND_PARAMETERS = 20
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "misc"}


@cache
def tree_of(path: str) -> ast.Module:
    """The module at a path, parsed when it is first asked for: every worker collects, and one of them tests."""
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def functions(tree: ast.Module):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_kernel(path: str) -> bool:
    return path.startswith("nlbench/kernels/") and Path(path).name.startswith("_")


def test_layers_hold():
    result = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph("nlbench", cache_dir=None)
    TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules}).prepare()


def too_large(path: str):
    """Yield what in a module is longer, or takes more, than is allowed."""
    lines = (ROOT / path).read_text(encoding="utf-8").count("\n")
    if lines > (MAX_LEARNER if path.startswith("nlbench/learners/") else MAX_LINES):
        yield f"{path} has {lines} lines"
    for each in (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef)):
        if (length := each.end_lineno - each.lineno + 1) > MAX_CLASS:
            yield f"{path}: {each.name} has {length} lines"
    for function in functions(tree_of(path)):
        first = function.body[0].lineno if is_kernel(path) else function.lineno  # of a kernel, the body counts
        if (length := function.end_lineno - first + 1) > (MAX_KERNEL if is_kernel(path) else MAX_FUNCTION):
            yield f"{path}: {function.name} has {length} lines"
        arguments = function.args
        count = sum(map(len, (arguments.posonlyargs, arguments.args, arguments.kwonlyargs)))
        count -= arguments.args[:1] != [] and arguments.args[0].arg in ("self", "cls")
        limit = MAX_COMMAND_PARAMETERS if path.startswith("nlbench/cli/") else MAX_PARAMETERS
        if count > limit and not path.startswith("nlbench/kernels/"):
            yield f"{path}: {function.name} takes {count}"


def test_sizes():
    assert PATHS
    assert list(chain.from_iterable(map(too_large, PATHS))) == []


def test_no_dumping_grounds():
    assert not [path for path in PATHS if FORBIDDEN_NAMES & set(Path(path).with_suffix("").parts)]


SEEDING = {"torch.manual_seed", "np.random.seed", "random.seed"}
DRAWING = ("np.random.rand", "numpy.random.rand", "random.random")


def forbidden(path: str):
    """Yield where a module catches everything, draws from a global generator, or prints."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ExceptHandler):
            names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)} if node.type else {"everything"}
            blanket = names & {"everything", "Exception", "BaseException"}
            if blanket and path != "nlbench/cli/__init__.py":
                yield f"{path}:{node.lineno} catches {blanket}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in SEEDING or called.startswith(DRAWING) or (called == "print" and not path.startswith("nlbench/display/")):
                yield f"{path}:{node.lineno} calls {called}"


def test_no_blanket_except_global_draw_or_stray_print():
    assert list(chain.from_iterable(map(forbidden, PATHS))) == []


def test_no_batched_lu_on_the_seed_axis():
    """LU of two or more large matrices never returns on some CPUs; Cholesky does."""
    forbidden = {"torch.linalg.solve", "torch.linalg.inv", "torch.linalg.lu_factor", "torch.inverse", "torch.linalg.lu"}
    calls = [
        f"{path}:{node.lineno}"
        for path in PATHS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden
    ]
    assert not calls


def test_no_learner_names_a_backend():
    learners = [path for path in PATHS if path.startswith("nlbench/learners/")]
    strings = [
        f"{path}:{node.lineno} names {node.value!r}"
        for path in learners
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and node.value in ("reference", "numba", "triton")
    ]
    words = [path for path in learners if {"numba", "triton"} & set(re.findall(r"\w+", (ROOT / path).read_text("utf-8").lower()))]
    assert learners
    assert not strings + words


def test_no_module_shares_a_public_name():
    import nlbench

    modules = {path.stem for path in (ROOT / "nlbench").glob("*.py")} | {
        path.name for path in (ROOT / "nlbench").iterdir() if path.is_dir()
    }
    assert not modules & (set(nlbench.__all__) - {"__version__"})


READERS = [
    *(
        "nlbench.cli",
        "nlbench.api.running",
        "nlbench.api.reading",
        "nlbench.api.files",
        "nlbench.api.choices",
        "nlbench.api.showing",
        "nlbench.api.data",
    ),
    *(f"nlbench.display.{path.stem}" for path in (ROOT / "nlbench" / "display").glob("[a-z]*.py")),
]


HEAVY = {"torch", "numba", "triton", "pandas", "matplotlib", "sklearn"}


def test_readers_import_no_torch():
    """All in one process, which says after which one what is there."""
    says = f"print(name, *sorted({HEAVY} & sys.modules.keys()))"
    code = f"import importlib, sys\nfor name in {READERS}:\n    importlib.import_module(name)\n    {says}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.splitlines() == READERS


STEPS = {
    "memories": "\n".join(
        f"import nlbench.nested.{name}" for name in ("retention", "rules", "associative", "local_objective", "surprise", "gabal")
    ),
    "a reference": """
import torch
from nlbench.kernels.memory_scan import memory_scan
z, g = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2)
memory_scan(z, z, z, g, g, chunk=2, backend="reference")
""",
    "the runner": "import nlbench.runner, nlbench.sources",
    "a run": """
sys.argv = ["nlbench", "run", "--model", "mlp", "--stream", "split-digits", "--seeds", "2", "--results", sys.argv[1]]
from nlbench.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
""",
}
"""What one process does, one after the other: what is not there after a step was not there after those before."""


@pytest.fixture(scope="module")
def loaded_after(tmp_path_factory):
    """The modules that are there after each step."""
    said = "\n".join(f"{code}\nprint({name!r}, *sys.modules, sep=chr(9))" for name, code in STEPS.items())
    command = [sys.executable, "-c", f"import sys\n{said}", str(tmp_path_factory.mktemp("steps"))]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = (line.split("\t") for line in result.stdout.splitlines() if "\t" in line)
    return {name: set(modules) for name, *modules in lines}


@pytest.mark.parametrize(
    ("step", "needs_no"),
    [
        ("memories", {"torch._dynamo", "nlbench.nested.optimizers"}),
        ("a reference", {"numba", "triton", "llvmlite"}),
        ("the runner", {"torchvision", "sklearn", "torch._dynamo", "pandas", "matplotlib", "numba"}),
        ("a run", {"numba", "scipy", "sklearn", "pandas", "matplotlib", "torchvision"}),
    ],
)
def test_what_a_step_does_not_need_is_not_imported(loaded_after, step, needs_no):
    """Making a torch optimizer loads torch's compiler, over a second; memories and controllers must not."""
    assert not loaded_after[step] & needs_no
    assert ("nlbench.learners.mlp" in loaded_after[step]) == (step == "a run")


def test_catalog_folders_hold_only_declarations():
    stray = [path for path in chain((ROOT / "tasks").iterdir(), (ROOT / "baselines").iterdir()) if path.suffix != ".toml"]
    assert not stray


WITHOUT_A_TEST_OF_THEIR_OWN = {
    "kernels/*/*.py": "the reference and the backends of an op are held to each other, case by case, by tests/kernels",
    **dict.fromkeys(("comparison/model.py", "verify/model.py"), "values without behaviour"),
    "catalog/*.py": "tables of names, held row by row by tests/catalog/test_catalog.py",
}


def test_tests_mirror_the_package():
    """`nlbench/a/b.py` is held by `tests/a/test_b.py`."""
    assert all(any(Path(path).match(f"nlbench/{pattern}") for path in PATHS) for pattern in WITHOUT_A_TEST_OF_THEIR_OWN)
    modules = {path.removeprefix("nlbench/") for path in PATHS if Path(path).stem not in ("__init__", "__main__")}
    excused = {module for module in modules for pattern in WITHOUT_A_TEST_OF_THEIR_OWN if Path(module).match(pattern)}
    mirrors = {module: (ROOT / "tests" / module).with_name(f"test_{Path(module).name}") for module in modules - excused}
    assert sorted(module for module, mirror in mirrors.items() if not mirror.exists()) == []
