"""Write docs/claims.md from the verdicts that are kept beside the claims: `python tools/make_claims.py`.

    nlbench verify --quick --format json > results/claims/quick.json
    nlbench verify --format json > results/claims/full.json

A claim is shown by its full form where every run of that is recorded, and by its reduced form where one is missing.
"""

from __future__ import annotations

import json
from pathlib import Path

from nlbench.verify.claims import read_claims
from nlbench.verify.kept import judged_of
from nlbench.verify.page import page
from nlbench.verify.running import Judged

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims.md"
KEPT = tuple(ROOT / "results" / "claims" / name for name in ("quick.json", "full.json"))
"""The later goes before the earlier."""


def kept() -> list[Judged]:
    """Return each claim's verdict. Raises `SystemExit` where what was judged is another claim by now."""
    claims, found = dict(read_claims()), {}
    for path in KEPT:
        for said in json.loads(path.read_text(encoding="utf-8")):
            name = said["claim"]
            if name not in claims or said["digest"] != claims[name].digest:
                raise SystemExit(f"{path}: {name} is another claim by now: judge it again, or take it out.")
            if said["cells"] and set(said["cells"]) == set(claims[name].cells):
                found[name] = judged_of(said, claims[name])
    if missing := set(claims) - set(found):
        raise SystemExit(f"{KEPT[0]}: nothing is kept of {', '.join(sorted(missing))}.")
    return list(found.values())


if __name__ == "__main__":
    PAGE.write_text(page(kept(), markdown=True), encoding="utf-8")
