"""The gate as a pytest fixture: `def test_forgetting(nlbench_check): nlbench_check("hope", "split-digits")`.

Loaded by every pytest session on the machine, so it imports nothing else until the fixture is called.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nlbench.gate import Judgement


@pytest.fixture
def nlbench_check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Judgement]:
    """Return a function that runs a learner on a stream and fails the test unless the gate passes.

    nlbench_check(model, stream, against=None, **options): `against` is a reference record or a folder of them (default:
    `results/reference` under pytest's root, else the one that came with nlbench); the options are those of `nlbench.run`, such as
    `seeds`. Returns the judgement. What cannot be judged fails too.
    """

    def check(model: str, stream: str, *, against: Path | str | None = None, **options: Any) -> Judgement:
        from nlbench import api, gate

        here = request.config.rootpath / "results" / "reference"
        run = api.run(model, stream, **{"results": tmp_path, **options})
        judgement = gate.check(run.record, against=against or (here if here.is_dir() else None))
        if judgement.exit_status != 0:
            pytest.fail(gate.to_text(judgement), pytrace=False)
        return judgement

    return check
