"""Text from elsewhere, such as the names in a record, as each kind of output can show it without obeying it."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Final

LONGEST_NAME: Final = 200

# controls, marks that turn the direction of writing, line separators, halves of surrogate pairs, and what takes no room: soft
# hyphens, spaces of no width, tags; without the joiners that scripts need
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_COMMAND: Final = re.compile(r"^\s*::|##\[", re.MULTILINE)
_FORMULA: Final = ("=", "+", "-", "@", "::")
_LATEX: Final = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "≤": r"$\leq$",
    "◆": r"$\star$",
    "…": r"\ldots{}",
}


def name_fault(name: str) -> str:
    """Return the rule of names that a name breaks; nothing for a fit one."""
    if not 1 <= len(name) <= LONGEST_NAME:
        return f"must have 1 to {LONGEST_NAME} characters"
    return "must have no control character" if not name.isprintable() and _CONTROL.search(name) else ""


def printable(text: str) -> str:
    """Return text in one line, each control character as its escape: `\\n`, `\\x1b`, `\\u202e`."""
    if text.isprintable():
        return text
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def terminal(text: str) -> str:
    """Return text in one line that no terminal obeys, nor GitHub where it stands in a job's log: `::error`, `##[error]`."""
    return _COMMAND.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", printable(text))


def json_text(text: str) -> str:
    """Return JSON with every control character left in its strings as `\\uXXXX`; line breaks between values stay."""
    return _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else json.dumps(found[0])[1:-1], text)


def markdown(text: str) -> str:
    """Return text in one line that stands for itself in a Markdown cell, item or heading."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|").replace("`", "\\`").replace("](", "]\\(")


@lru_cache(1024)
def csv(text: str) -> str:
    """Return text as a cell that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def latex(text: str) -> str:
    """Return text in one line that stands for itself in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in printable(text)).replace("::", ":{}:")


def github(text: str, *, property: bool = False) -> str:
    """Return text as the message of a GitHub workflow command, or as one of its properties."""
    special = "%\r\n,:" if property else "%\r\n"
    return "".join(f"%{ord(character):02X}" if character in special else printable(character) for character in text)
