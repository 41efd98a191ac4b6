"""Importing a user's own code: siblings are found, stale or foreign ones never, and what no statement names is refused."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc import ErrorDuringImport
from types import ModuleType

import pytest

from nlbench import closure
from nlbench.closure import UnaccountedImportError, loading
from nlbench.errors import NlbenchError


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    closure.forget()


def load(place: Path | str) -> ModuleType:
    return closure.load(str(place), closure.outside(str(place)))


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "mine.py"


def test_siblings_import_also_later_from_functions(tmp_path: Path) -> None:
    mine = load(
        write(tmp_path, mine="from helper import x\ndef f():\n    import late\n    return late.y", helper="x = 1", late="y = 2")
    )
    assert (mine.x, mine.f()) == (1, 2)
    assert str(tmp_path) not in sys.path


def test_what_an_import_statement_names_is_brought_in_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, mine="def f():\n    import late\n    return late.y", late="y = 2", other="raise SystemExit")
    load(tmp_path / "mine.py")
    assert "late" not in sys.modules
    for name in ("late", "other", "antigravity", "gone"):
        next(finder for finder in sys.meta_path if hasattr(finder, "bring_in")).bring_in(name)
    assert sys.modules["late"].y == 2
    assert not {"other", "antigravity"} & sys.modules.keys()


def test_two_files_with_siblings_of_one_name_do_not_meet(tmp_path: Path) -> None:
    text = "import helper\nfrom helper import x\ndef f():\n    import late\n    return late.y"
    first = load(write(tmp_path / "a", mine=text, helper="x = 1", late="y = 1"))
    assert (first.x, first.f()) == (1, 1)
    second = load(write(tmp_path / "b", mine=text, helper="x = 2", late="y = 2"))
    assert (second.x, second.f()) == (2, 2)
    again = load(tmp_path / "a" / "mine.py")
    assert (again.x, again.f(), first.helper.x) == (1, 1, 1)


def test_a_changed_sibling_is_read_anew_even_of_one_size_within_a_second(tmp_path: Path) -> None:
    for value in range(5):
        assert load(write(tmp_path, mine="from helper import x", helper=f"x = {value}")).x == value
    assert not list(tmp_path.rglob("*.pyc"))


def test_what_holds_on_to_a_changed_sibling_is_read_anew_too(tmp_path: Path) -> None:
    for value in range(3):
        place = write(tmp_path, mine="from helper import x", helper="from last import x", last=f"x = {value}")
        assert load(place).x == value


def test_a_module_of_a_package_is_read_anew_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lib_anew", mine="from lib_anew.helper import x", __init__="")
    monkeypatch.syspath_prepend(str(tmp_path))
    for value in range(3):
        write(tmp_path / "lib_anew", helper=f"x = {value}")
        module = load("lib_anew.mine")
        assert module.x == value
        assert module.__name__ == "lib_anew.mine"


def imported_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    write(folder, nbl_before="from helper_before import x", helper_before="x = 1")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("nbl_before", "helper_before"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("nbl_before")


def test_what_was_imported_before_its_file_changed_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = imported_before(tmp_path, monkeypatch)
    write(tmp_path, helper_before="x = 2")
    os.utime(tmp_path / "helper_before.py", (0, 0))  # a file put in place of another may bear any date
    assert load("nbl_before").x == 2
    assert stale.x == 1


def test_what_was_imported_from_files_older_than_the_process_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = imported_before(tmp_path, monkeypatch)
    monkeypatch.setattr(loading, "_BEGAN", time.time() + 60)
    assert load("nbl_before") is before


def test_unchanged_siblings_are_one_module_for_two_parts(tmp_path: Path) -> None:
    write(tmp_path, mine="import helper", other="import helper", helper="class C: ...")
    assert load(tmp_path / "mine.py").helper.C is load(tmp_path / "other.py").helper.C


def test_what_was_brought_in_is_forgotten(tmp_path: Path) -> None:
    load(write(tmp_path, mine="import helper_of_mine", helper_of_mine=""))
    assert "helper_of_mine" in sys.modules
    closure.forget()
    assert "helper_of_mine" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        __import__("helper_of_mine")


@pytest.mark.parametrize(
    "text",
    [
        "import importlib\nhelper = importlib.import_module('hel' + 'per')",
        "helper = __import__('hel' + 'per')",
        "import sys, os\nsys.path.insert(0, os.path.dirname(__file__) + '/below')\n__import__('be' + 'low')",
        "from importlib.util import *\nimport sys\ns = spec_from_file_location('odd', __file__[:-7] + 'helper.py')\n"
        "m = sys.modules['odd'] = module_from_spec(s)\ns.loader.exec_module(m)",
    ],
)
def test_a_module_that_no_statement_names_is_refused_in_one_line(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    write(tmp_path / "below", below="")
    place = write(tmp_path, mine=text, helper="x = 1")
    with pytest.raises(UnaccountedImportError) as caught:
        load(place)
    assert any(str(tmp_path / name) in str(caught.value) for name in ("helper.py", "below/below.py"))
    assert str(caught.value).endswith("but no import statement names it. Import it by a plain import statement.")
    assert "\n" not in str(caught.value)
    for name in ("odd", "below"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("folder", ["mine", "importlib", "my-importlib-tests"])
@pytest.mark.parametrize(
    "text",
    [
        "__import__('hel' + 'per')",
        "importlib.import_module('hel' + 'per')",
        "pkgutil.resolve_name('helper:x')",
        "pydoc.locate('helper.x')",
        "exec('import helper')",
    ],
)
def test_one_that_comes_while_learning_is_refused_too(tmp_path: Path, folder: str, text: str) -> None:
    imports = "import importlib, pkgutil, pydoc\n"
    mine = load(write(tmp_path / folder, mine=f"{imports}def f():\n    return {text}", helper="x = 1"))
    with pytest.raises((UnaccountedImportError, ErrorDuringImport), match=r"helper\.py: was imported"):
        mine.f()


@pytest.mark.parametrize(
    "text",
    [
        "spec = util.spec_from_file_location('odd', beside)\n    spec.loader.exec_module(util.module_from_spec(spec))",
        "runpy.run_path(beside)",
        "exec(compile(open(beside).read(), beside, 'exec'))",
    ],
)
def test_a_file_that_is_run_around_the_imports_is_refused(tmp_path: Path, text: str) -> None:
    head = "import runpy\nimport importlib.util as util\nbeside = __file__[:-7] + 'helper.py'\ndef f():\n    "
    mine = load(write(tmp_path, mine=head + text, helper="x = 1"))
    with pytest.raises(UnaccountedImportError, match=r"helper\.py: was run, but no import statement names it"):
        mine.f()
    known = load(write(tmp_path, mine="import helper\n" + head + text, helper="x = 1"))
    known.f()


def test_somebody_elses_module_of_that_name_is_left_alone_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("helper")
    other.__file__ = "/elsewhere/helper.py"
    monkeypatch.setitem(sys.modules, "helper", other)
    place = write(tmp_path, mine="import helper", helper="x = 1")
    with pytest.raises(
        NlbenchError, match=r"helper\.py: another helper is imported already, from /elsewhere/helper\.py\. Rename"
    ):
        load(place)
    assert sys.modules["helper"] is other


def test_imports_of_others_are_none_of_its_business(tmp_path: Path) -> None:
    load(write(tmp_path, mine="x = 1", helper_beside="x = 1"))
    with pytest.raises(ModuleNotFoundError):
        import helper_beside  # noqa: F401
