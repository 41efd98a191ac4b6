"""What a user's own file or module brings in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nlbench import closure
from nlbench.errors import NlbenchError


def write(folder: Path, **files: str) -> Path:
    """Write modules, `__` in a name a folder, and return the folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def reached(place: Path | str) -> set[str]:
    return set(closure.outside(str(place)).digests)


def test_siblings_count_transitively_and_wherever_they_are_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        mine="import helper, torch\nfrom parts.inner import x\ndef f():\n    import late\ntry: import gone\nexcept OSError: 0",
        helper="import json\nfrom further import y",
        further="y = 1",
        late="z = 1",
        unused="w = 1",
        json="shadows = 'nothing: the standard library comes first'",
    )
    write(tmp_path / "parts", inner="from . import beside\nfrom .. import nowhere\nx = 1", beside="")
    (tmp_path / "parts" / "__init__.py").write_text("from parts import passed_on")
    (tmp_path / "parts" / "passed_on.py").write_text("")
    parts = {"parts", "parts.inner", "parts.beside", "parts.passed_on"}
    assert reached(tmp_path / "mine.py") == {"./mine.py", "helper", "further", "late", *parts}


def test_a_module_on_the_path_counts_with_its_packages_and_none_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, lib_here__mine="import lib_there.thing as t, numpy", lib_there__thing="", lib_there__other="")
    (tmp_path / "lib_here" / "__init__.py").write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert reached("lib_here.mine") == {"lib_here", "lib_here.mine", "lib_there.thing"}  # lib_there has no __init__
    assert not {"lib_here", "lib_there", "lib_there.thing"} & set(sys.modules)


def test_a_module_that_lies_here_and_is_on_no_path_is_named_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, mine="", folder__deep="")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    for place, file in (("mine", "mine.py"), ("folder.deep", "folder/deep.py")):
        with pytest.raises(NlbenchError, match=rf"^{place}: there is no such module\. What lies here is named \./{file}:Name\.$"):
            closure.outside(place)


def test_what_is_installed_does_not_count_but_for_the_named_part_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site-packages"
    write(site, plugin__mine="import plugin.parts, installed_lib", plugin__parts="", installed_lib="")
    write(tmp_path, user="import installed_lib, plugin.mine")
    monkeypatch.syspath_prepend(str(site))
    assert reached(tmp_path / "user.py") == {"./user.py"}
    assert reached("plugin.mine") == {"plugin.mine", "plugin.parts"}


def test_our_own_dependencies_do_not_count() -> None:
    assert closure.outside("torchvision.models").digests == {}
    with pytest.raises(NlbenchError, match="torch\\.no_such: there is no such module"):
        closure.outside("torch.no_such")


def test_an_editable_install_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.machinery import PathFinder

    write(tmp_path / "checkout", edited__core="x = 1")
    write(tmp_path, user="from edited.core import x")

    class Editable:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> object:
            return PathFinder.find_spec(name, [str(tmp_path / "checkout")]) if name == "edited" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])
    assert reached(tmp_path / "user.py") == {"./user.py", "edited.core"}


def test_the_packages_own_modules_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, mine="from nlbench import Learner, seeds\nimport nlbench.nested.rules\nfrom nlbench.learners.mlp import Mlp")
    found = closure.outside(str(tmp_path / "mine.py"))
    assert set(found.digests) == {"./mine.py"}
    assert set(found.package) == {"nlbench.batch", "nlbench.seeds", "nlbench.nested.rules", "nlbench.learners.mlp"}
    without = write(tmp_path / "b", mine="from nlbench import Learner")
    assert closure.digest_outside(found) != closure.digest_outside(closure.outside(str(without / "mine.py")))


def test_a_compiled_module_counts_by_its_bytes(tmp_path: Path) -> None:
    from importlib.machinery import EXTENSION_SUFFIXES

    write(tmp_path, mine="import fast")
    compiled = tmp_path / f"fast{EXTENSION_SUFFIXES[0]}"
    compiled.write_bytes(b"machine code")
    first = closure.outside(str(tmp_path / "mine.py"))
    compiled.write_bytes(b"machine_code")
    second = closure.outside(str(tmp_path / "mine.py"))
    assert set(first.digests) == {"./mine.py", "fast"}
    assert {name for name in first.digests if first.digests[name] != second.digests[name]} == {"fast"}


def test_the_digest_is_of_contents_wherever_they_lie_and_sees_every_file(tmp_path: Path) -> None:
    texts = {"mine": "import helper\nx = 1", "helper": "import last\nx = 1", "last": "x = 1"}

    def digest(folder: str, **changed: str) -> str:
        return closure.digest_outside(closure.outside(str(write(tmp_path / folder, **{**texts, **changed}) / "mine.py")))

    same = digest("a")
    assert digest("b") == same
    assert digest("c", last="# a comment\nx = 1", helper='"""Doc."""\nimport last\nx = 1') == same
    others = {digest(name, **{name: f"{text}\nx = 2"}) for name, text in texts.items()}
    assert len(others | {same}) == 4


def test_what_is_not_there_or_no_python_is_told(tmp_path: Path) -> None:
    with pytest.raises(NlbenchError, match=r"gone\.py: there is no such file\. Name a class as \./file\.py:Name\."):
        closure.outside("gone.py")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(NlbenchError, match=r"folder\.py: is a folder\. Name a class as"):
        closure.outside(str(tmp_path / "folder.py"))
    with pytest.raises(NlbenchError, match=r"no_such\.module: there is no such module"):
        closure.outside("no_such.module")
    write(tmp_path, mine="import helper", helper="def f(:\n")
    with pytest.raises(NlbenchError, match=r"helper\.py, line 1: no Python"):
        closure.outside(str(tmp_path / "mine.py"))
