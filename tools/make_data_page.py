"""Write the table of data sets into docs/data.md: `python tools/make_data_page.py`."""

from __future__ import annotations

import re
from pathlib import Path

from nlbench import catalog, sources

PAGE = Path(__file__).parents[1] / "docs" / "data.md"
MARKS = re.compile(r"(?<=<!-- data sets -->\n).*?(?=<!-- end -->)", re.DOTALL)


def table() -> str:
    """Return the data sets as Markdown, in the order of the catalog."""
    lines = ["| name | what it is | sample | comes from | licence |", "|---|---|---|---|---|"]
    for name in catalog.SOURCES:
        source = sources.find(name)
        sample = f"{source.kind}, {'×'.join(map(str, source.input_shape))}"
        ways = "; ".join(supplier.way for supplier in source.suppliers) or (
            "a folder" if source.files else "made when it is read"
        )
        lines.append(f"| `{name}` | {source.title} | {sample} | {ways} | {source.licence} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    PAGE.write_text(MARKS.sub(lambda _: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
