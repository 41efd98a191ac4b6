"""Turn the aligned lists in docstrings into Markdown lists, for the API page: named in mkdocs.yml as tools/docstring_lists.py.

A line `name   what it means`, its name and the text at least two spaces apart, starts an item; indented lines continue it.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ITEM = re.compile(r"^([\w*.,/ ]*[\w*]) {2,}(\S.*)$")


def listed(text: str) -> str:
    """The docstring with every aligned list as a Markdown list; other lines as they are."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        item = ITEM.match(line)
        if item:
            lines += ([] if inside else [""]) + [f"- `{item[1]}`: {item[2]}"]
        elif inside and line.startswith("  "):
            lines.append(f"  {line.strip()}")
            continue
        else:
            lines += ([""] if inside and line else []) + [line]
        inside = bool(item)
    return "\n".join(lines)


class DocstringLists(Extension):
    """Rewrites the docstring of everything that is loaded."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value)
