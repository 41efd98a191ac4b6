"""What a source file says, apart from how it is written: a digest that comments, docstrings, layout and the version of Python
leave as it is, and the modules that the file imports.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from nlbench.errors import NlbenchError

_LAZY: Final = ("__getattr__", "__dir__")
_OMITTED: Final = ("ctx", "kind", "type_comment", "type_ignores")  # implied by the place, or without effect


class Import(NamedTuple):
    """`import module` (no names), or `from module import names` below `level` dots."""

    level: int
    module: str
    names: tuple[str, ...] = ()


class Definition(NamedTuple):
    """What a name of a module stands for."""

    digest: str
    uses: tuple[str, ...]
    """The module's other names that occur in it."""
    imports: tuple[Import, ...]


@dataclass(slots=True)
class Source:
    """What a source file says."""

    digest: str
    """16 hexadecimal digits of its canonical syntax."""
    imports: list[Import]
    """Wherever they stand, those under `if TYPE_CHECKING` left out."""
    exports: dict[str, Import] | None = None
    """Where each name comes from, if the file only passes names on: it defines nothing."""
    definitions: dict[str, Definition] | None = None
    """What each name stands for, if that was asked for and the file does nothing but define."""


class UnreadableSourceError(NlbenchError):
    """A source file that is no Python."""


def read(content: bytes, place: str, *, by_name: bool = False) -> Source:
    """Return what the bytes of a source file say, `by_name` with its definitions apart. Raises `UnreadableSourceError` that names
    `place`.

    Cost: some 0.1 ms a line; `nlbench.closure.kept` keeps the answers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings, which whoever imports the file will see
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or "too deeply nested"
        raise UnreadableSourceError(f"{place}{line}: no Python: {reason}.", "Mend it.") from None
    form = _Form.of(tree)
    return Source(form.digest, form.imports, _exports(tree), _definitions(tree) if by_name else None)


@dataclass
class _Form:
    """The canonical form of a tree, hashed as it is written: each node's class and the fields that hold something, in order."""

    imports: list[Import] = field(default_factory=list)
    _parts: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        return blake2b("\n".join(self._parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @classmethod
    def of(cls, *trees: ast.AST) -> _Form:
        """Return the form of trees, written without recursion, which a long chain of operators would exhaust."""
        form = cls()
        parts, todo = form._parts, [iter(trees)]
        while todo:
            item = next(todo[-1], _END)
            if item is _END:
                todo.pop()
                parts.append(")")
            elif isinstance(item, str):
                parts.append(item)
            else:
                parts.append(f"({type(item).__name__}")
                todo.append(form._fields(item))
        return form

    def _fields(self, node: Any) -> Iterator[Any]:
        """Yield what a node holds: texts, and nodes."""
        if isinstance(node, ast.Constant):
            yield _constant(node.value)
            return
        if isinstance(node, ast.JoinedStr):
            yield from _joined(node)
            return
        if isinstance(node, ast.Import):
            self.imports += [Import(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            self.imports.append(Import(node.level, node.module or "", tuple(alias.name for alias in node.names)))
        for name in node._fields:
            if name in _OMITTED:
                continue
            value = getattr(node, name, None)
            if isinstance(value, list):
                yield from _several(name, value)
            elif value is not None:
                yield name
                yield value if isinstance(value, ast.AST) else _constant(value)


_END: Final = object()


def _several(name: str, values: list[Any]) -> Iterator[Any]:
    """Yield the field of a list: statements without those that do nothing, and anything else as it stands."""
    if values and isinstance(values[0], ast.stmt):
        values = [statement for one in values for statement in _effective(one)]
    if values:
        yield f"{name} {len(values)}"
    for value in values:
        yield "None" if value is None else value if isinstance(value, ast.AST) else _constant(value)


def _effective(statement: ast.stmt) -> list[ast.stmt]:
    """Return what of a statement has an effect: nothing of docstrings, `...` and `pass`, the `else` of `if TYPE_CHECKING`."""
    if isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
        return []
    if isinstance(statement, ast.If) and _is_type_checking(statement.test):
        return [inner for one in statement.orelse for inner in _effective(one)]
    return [statement]


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _joined(node: ast.JoinedStr) -> Iterator[Any]:
    """Yield an f-string's parts, texts beside each other as one: Pythons differ in where they cut them."""
    text = ""
    for value in node.values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
            continue
        if text:
            yield _constant(text)
        text = ""
        yield value
    if text:
        yield _constant(text)


def _constant(value: object) -> str:
    """Return a constant as one line; numbers in hexadecimal, which every Python writes alike and for any length."""
    if isinstance(value, bool) or value is None or value is Ellipsis:
        return repr(value)
    if isinstance(value, int):
        return f"int {value:x}"
    if isinstance(value, float):
        return f"float {value.hex()}"
    if isinstance(value, complex):
        return f"complex {value.real.hex()} {value.imag.hex()}"
    if isinstance(value, bytes):
        return f"bytes {value.hex()}"
    text = str(value)
    return f"str {len(text)} {text}"


def _exports(tree: ast.Module) -> dict[str, Import] | None:
    """Return where a table of names has each from, None for a module that does more.

    A table of names holds imports, `__all__` and the like, and perhaps a table of places by name with a `__getattr__` that looks
    names up in it: places are modules of its package.
    """
    found: dict[str, Import] = {}
    statements = [inner for one in tree.body for inner in _effective(one)]
    lazy = any(name == "__getattr__" for statement in statements for name, _ in _bound(statement))
    for statement in statements:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                found[alias.asname or alias.name] = Import(statement.level, statement.module or "", (alias.name,))
        elif isinstance(statement, ast.FunctionDef) and statement.name in _LAZY:
            continue
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and lazy and (table := _places(statement)):
            found |= {name: Import(1, place.partition(":")[0], (name,)) for name, place in table.items()}
        elif isinstance(statement, ast.Assign) and all(map(_is_dunder, statement.targets)):
            continue
        elif not isinstance(statement, ast.Import):
            return None
    return None if "*" in found else found


def _places(statement: ast.stmt) -> dict[str, str]:
    """Return the texts by name of a statement's table, `**dict.fromkeys(names, text)` among them; nothing of any other table."""
    table = next((node for node in ast.walk(statement) if isinstance(node, ast.Dict)), ast.Dict([], []))
    places: dict[str, str] = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(value, ast.Call) and len(value.args) == 2 and isinstance(value.args[0], ast.Tuple | ast.List):
            names, value = value.args[0].elts, value.args[1]
        else:
            names = [] if key is None else [key]
        if not names or not all(map(_text, [*names, value])):
            return {}
        places |= {_text(name): _text(value) for name in names}
    return places


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _is_dunder(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id.startswith("__") and target.id.endswith("__")


def _definitions(tree: ast.Module) -> dict[str, Definition] | None:
    """Return what each name of a module stands for, None for one whose statements do more than define."""
    bound: dict[str, list[ast.stmt]] = {}
    for statement in (inner for one in tree.body for inner in _effective(one)):
        definitions = _bound(statement)
        if not definitions:
            return None
        for name, one in definitions:
            bound.setdefault(name, []).append(one)
    found = {}
    for name, statements in bound.items():
        form = _Form.of(*statements)
        read = {node.id for statement in statements for node in ast.walk(statement) if isinstance(node, ast.Name)}
        found[name] = Definition(form.digest, tuple(sorted((read & bound.keys()) - {name})), tuple(form.imports))
    return found


def _bound(statement: ast.stmt) -> list[tuple[str, ast.stmt]]:
    """Return what a definition, an import or a plain assignment binds to each name; nothing for any other statement."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [(statement.name, statement)]
    if isinstance(statement, ast.Import):
        return [(alias.asname or alias.name.partition(".")[0], ast.Import([alias])) for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        apart = [(alias, ast.ImportFrom(statement.module, [alias], statement.level)) for alias in statement.names]
        return [(alias.asname or alias.name, one) for alias, one in apart if alias.name != "*"]
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return [(name, statement) for name in names] if len(names) == len(targets) else []
