from __future__ import annotations

from pathlib import Path

from nlbench import closure
from nlbench.ownership import is_own


def test_a_user_s_own_is_what_is_neither_standard_nor_installed_nor_ours(tmp_path: Path) -> None:
    import json

    import numpy

    for installed in (json.__file__, numpy.__file__, closure.__file__, "/tmp/torchinductor_user/ab/cd.py"):
        assert not is_own(installed)
    assert is_own(str(tmp_path / "mine.py"))
