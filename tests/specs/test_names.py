from __future__ import annotations

from pathlib import Path

import pytest

from nlbench.specs.names import called


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./latest.v1.csv", "latest.v1"),
        ("a/b.PARQUET", "b"),
        ("./images", "images"),
        ("images.2024/", "images.2024"),
        ("./a:b.npz", "a:b"),
    ],
)
def test_a_data_file_is_called_by_its_name_without_its_end(name: str, expected: str) -> None:
    assert called(name) == expected


def test_the_present_folder_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("./") == tmp_path.name
