"""The canonical form: what changes nothing leaves the digest as it is, what may change something does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nlbench.closure import syntax
from nlbench.closure.syntax import Import, UnreadableSourceError, read

EVERY_SYNTAX = Path(__file__).with_name("data") / "every_syntax.txt"
GOLDEN = "e43d4ae8fac2afde"
"""Of EVERY_SYNTAX, on every Python. It changes with the canonical form, and with it every fingerprint."""

ALONE = """
import importlib.util, sys, types
class Error(Exception): pass
for name in ("nlbench", "nlbench.errors"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["nlbench.errors"].NlbenchError = Error
spec = importlib.util.spec_from_file_location("syntax", sys.argv[1])
sys.modules["syntax"] = syntax = importlib.util.module_from_spec(spec)
spec.loader.exec_module(syntax)
for file in sys.argv[2:]:
    print(syntax.read(open(file, "rb").read(), file).digest)
"""
"""Reads files with nothing installed: what stands for another Python, which may not have the package's dependencies."""


def digest(text: str) -> str:
    return read(text.encode(), "file.py").digest


def interpreters() -> list[str]:
    """Every Python from 3.11 on that is found here but this one."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    places += sorted(Path.home().glob(".pyenv/versions/3.*/bin"))
    names = [f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info[1]]
    found = {name: path for name in names for place in places if (path := shutil.which(name, path=str(place)))}
    return list(found.values())


def test_every_kind_of_syntax_has_one_digest_on_every_python() -> None:
    assert read(EVERY_SYNTAX.read_bytes(), "file.py").digest == GOLDEN


@pytest.mark.slow
@pytest.mark.parametrize("python", interpreters())
def test_other_pythons_give_the_package_s_modules_the_same_digests(python: str) -> None:
    modules = sorted(Path(syntax.__file__).parents[1].rglob("*.py"))
    command = [python, "-I", "-c", ALONE, syntax.__file__, str(EVERY_SYNTAX), *map(str, modules)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode and "SyntaxError" not in answer.stderr and "Traceback" not in answer.stderr:
        pytest.skip(f"{python} does not run here")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == [GOLDEN, *(read(module.read_bytes(), str(module)).digest for module in modules)]


@pytest.mark.parametrize(
    "other",
    [
        "def f(x: int) -> int:\n    return x + 1\n\nVALUE = 0.1\n",
        "# comment\ndef f(x: int) -> int:  # another\n    return (x + 1)\n\n\nVALUE = 0.1",
        '"""Module."""\ndef f(x: int) -> int:\n    """Function."""\n    return x + 0x1\nVALUE = 1e-1\n"""Value."""\n',
        "def f(x: int) -> int:\n\tpass\n\treturn x + 1\nVALUE = .10\n...\n",
        "def f(x: int) -> int: return x + 1\r\nVALUE = 0.1\r\nif TYPE_CHECKING:\r\n    import a\r\n",
        "\ufeffdef f(x: int) -> int: return x + 1\nVALUE = 0.1\n",
    ],
)
def test_layout_comments_and_docstrings_change_nothing(other: str) -> None:
    assert digest(other) == digest("def f(x: int) -> int:\n    return x + 1\nVALUE = 0.1\n")


@pytest.mark.parametrize(
    "other",
    [
        "def f(x: int) -> int:\n    return x + 2\nVALUE = 0.1\n",
        "def f(x: int) -> int:\n    return x - 1\nVALUE = 0.1\n",
        "def f(x: int) -> int:\n    return x + 1.0\nVALUE = 0.1\n",
        "def f(x: int) -> int:\n    return x + True\nVALUE = 0.1\n",
        "def f(x: int) -> int:\n    x + 1\nVALUE = 0.1\n",
        "def f(x: float) -> int:\n    return x + 1\nVALUE = 0.1\n",
        "def f(x: int = 1) -> int:\n    return x + 1\nVALUE = 0.1\n",
        "def f(x: int) -> int:\n    return x + 1\n    VALUE = 0.1\n",
        "def f(x: int) -> int:\n    return x + 1\nVALUE = 0.10000000000000002\n",
        "VALUE = 0.1\ndef f(x: int) -> int:\n    return x + 1\n",
        "async def f(x: int) -> int:\n    return x + 1\nVALUE = 0.1\n",
        "@cache\ndef f(x: int) -> int:\n    return x + 1\nVALUE = 0.1\n",
    ],
)
def test_whatever_may_change_a_number_changes_the_digest(other: str) -> None:
    assert digest(other) != digest("def f(x: int) -> int:\n    return x + 1\nVALUE = 0.1\n")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("x = 'a', 'b'", "x = 'a b',"),
        ("x = '1'", "x = 1"),
        ("x = b'1'", "x = '1'"),
        ("x = None", "x = 'None'"),
        ("x = f'{a}b'", "x = f'{a}', 'b'"),
        ("x = f'{a!r}'", "x = f'{a}'"),
        ("x = f'{a:>3}'", "x = f'{a}:>3'"),
        ("x = -1", "x = 1"),
        ("x = {**a}", "x = {a: a}"),
        ("f(*a)", "f(a)"),
        ("x = 'str 1 b'", "x = 'a'"),
        ("if a:\n  b()\nelse:\n  c()", "if a:\n  b()\n  c()"),
        ("if a:\n  if b:\n    c()\n  d()", "if a:\n  if b:\n    c()\n    d()"),
        ("def f(a, /, b): g()", "def f(a, b, /): g()"),
        ("def f(a, *, b): g()", "def f(a, b): g()"),
        ("from . import a", "import a"),
        ("import a as b", "import b"),
    ],
)
def test_no_two_meanings_share_a_form(first: str, second: str) -> None:
    assert digest(first) != digest(second)


def test_an_fstring_is_one_however_it_was_cut() -> None:
    assert digest("x = f'a{v}b' 'c'") == digest("x = 'a' f'{v}' f'' 'bc'") == digest('x = f"a{v}" f"bc"')


def test_imports_are_found_wherever_they_stand_but_for_typing() -> None:
    text = """
import a.b as c, d
from . import e
def f():
    from ..g import h, i
    class C:
        import j
if typing.TYPE_CHECKING:
    import never
else:
    import k
try: import l
except ImportError: import m
"""
    found = read(text.encode(), "file.py").imports
    assert set(found) == {
        *(Import(0, name) for name in ("a.b", "d", "j", "k", "l", "m")),
        Import(1, "", ("e",)),
        Import(2, "g", ("h", "i")),
    }


def test_a_table_of_names_says_where_each_is_from() -> None:
    text = '''
"""Docstring."""
from nlbench.one import A, B as C
from .two import D
__version__ = "1"
__all__ = ["A", "C"]
_PLACES: dict[str, str] = {"E": "three", "F": "four:F"}
def __getattr__(name): return load(_PLACES[name])
'''
    exports = read(text.encode(), "file.py").exports
    assert exports == {
        "A": Import(0, "nlbench.one", ("A",)),
        "C": Import(0, "nlbench.one", ("B",)),
        "D": Import(1, "two", ("D",)),
        "E": Import(1, "three", ("E",)),
        "F": Import(1, "four", ("F",)),
    }
    loader = '__getattr__ = names(__name__, {**dict.fromkeys(("A", "B"), "one"), "C": "two.three"})'
    assert read(loader.encode(), "file.py").exports == {
        **{name: Import(1, "one", (name,)) for name in ("A", "B")},
        "C": Import(1, "two.three", ("C",)),
    }
    for code in (
        "def f(): ...",
        "A.x = 1",
        "register()",
        "from x import *",
        "TABLE = {'a': B}",
        "MODE = 'x'",
        "x = {}",
        "class C: ...",
        "for x in y: z()",
    ):
        assert read(f"{text}\n{code}\n".encode(), "file.py").exports is None, code
    without = text.replace("__getattr__", "__dir__")
    assert read(without.encode(), "file.py").exports is None


def test_by_name_each_definition_stands_apart_with_what_it_uses() -> None:
    text = "from a import b, c as d\nimport e.f\nX = 1\nY: int = X + b\ndef g(): return Y\n"
    whole = read(text.encode(), "file.py")
    found = read(text.encode(), "file.py", by_name=True)
    assert (whole.definitions, whole.digest) == (None, found.digest)
    assert found.definitions is not None
    assert {name: one.uses for name, one in found.definitions.items()} == {
        **dict.fromkeys(("b", "d", "e", "X"), ()),
        "Y": ("X", "b"),
        "g": ("Y",),
    }
    assert found.definitions["d"].imports == (Import(0, "a", ("c",)),)
    other = read(text.replace("b, c", "b, h, c").encode(), "file.py", by_name=True).definitions
    assert other is not None
    assert {name: other[name] for name in found.definitions} == found.definitions
    for code in ("g()", "g.x = 1", "X += 1", "for i in g(): ...", "from x import *", "del X", "X, Y = 1, 2"):
        assert read(f"{text}{code}\n".encode(), "file.py", by_name=True).definitions is None, code


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"x = (\n", "file.py, line 1"),
        (b"x = 1\ny = = 2\n", "file.py, line 2"),
        (b"x = '\xff'\n", "file.py"),
        (b"a\0b", "file.py"),
    ],
)
def test_what_is_no_python_is_told_in_one_line(content: bytes, line: str) -> None:
    with pytest.raises(UnreadableSourceError) as caught:
        read(content, "file.py")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_long_chains_and_odd_strings_are_read(recwarn: pytest.WarningsRecorder) -> None:
    assert digest("x = " + " + ".join(["a"] * 2000)) != digest("x = " + " + ".join(["a"] * 2001))
    assert digest("x = '\\ud800'") != digest("x = '\\ud801'")
    digest("x = '\\d'")
    assert not recwarn.list
