from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from nlbench.errors import DataError
from nlbench.sources import read
from nlbench.sources.zipped import CORE50, TINY_IMAGENET, ZippedImages


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NLBENCH_DATA", str(tmp_path))


def picture(colour: tuple[int, int, int] | int, side: int, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    Image.new("L" if isinstance(colour, int) else "RGB", (side, side), colour).save(content, kind)
    return content.getvalue()


def made(source: ZippedImages, folder: Path, members: Mapping[str, bytes]) -> ZippedImages:
    (name,) = source.files
    (folder / source.folder).mkdir(exist_ok=True)
    path = folder / source.folder / name
    with ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return replace(source, files={name: sha256(path.read_bytes()).hexdigest()}) if source.files[name] else source


def test_tiny_imagenet_is_labelled_by_sorted_synset_and_tested_on_its_validation_set(tmp_path: Path) -> None:
    root = "tiny-imagenet-200"
    source = made(
        TINY_IMAGENET,
        tmp_path,
        {
            f"{root}/wnids.txt": b"n02\nn01\n",
            f"{root}/train/n02/images/n02_0.JPEG": picture((200, 10, 30), 64),
            f"{root}/train/n02/n02_boxes.txt": b"n02_0.JPEG\t0\t0\t5\t5\n",
            f"{root}/train/n01/images/n01_0.JPEG": picture(90, 64),
            f"{root}/val/val_annotations.txt": b"val_0.JPEG\tn02\t0\t0\t5\t5\nval_1.JPEG\tn01\t0\t0\t5\t5\n",
            f"{root}/val/images/val_1.JPEG": picture((1, 2, 3), 64),
            f"{root}/val/images/val_0.JPEG": picture((4, 5, 6), 64),
            f"{root}/test/images/test_0.JPEG": picture((7, 8, 9), 64),
        },
    )
    arrays = read(source)
    assert (arrays.train_inputs.dtype, arrays.train_inputs.shape) == (np.uint8, (2, 3, 64, 64))
    assert dict(zip(arrays.train_labels.tolist(), arrays.train_inputs[:, :, 3, 5].tolist(), strict=True)) == {
        1: [200, 10, 30],
        0: [90, 90, 90],
    }
    assert arrays.test_labels.tolist() == [1, 0]
    assert arrays.test_inputs[:, :, 0, 0].tolist() == [[4, 5, 6], [1, 2, 3]]


def things(sessions: tuple[int, ...], colour: int = 0) -> dict[str, bytes]:
    return {
        f"core50_128x128/s{session}/o{thing}/C_{session:02}_{thing:02}_000.png": picture((session, thing, colour), 128)
        for session in sessions
        for thing in (1, 50)
    }


def test_core50_is_labelled_by_thing_and_tested_on_sessions_three_seven_and_ten(tmp_path: Path) -> None:
    arrays = read(made(CORE50, tmp_path, {"core50_128x128/s1/": b"", **things((1, 3, 10, 11))}))
    assert arrays.train_inputs.shape == (4, 3, 32, 32)
    shown = {(int(image[0, 0, 0]), int(image[1, 9, 9])) for image in arrays.train_inputs}
    assert shown == {(1, 1), (1, 50), (11, 1), (11, 50)}
    assert {int(image[0, 0, 0]) for image in arrays.test_inputs} == {3, 10}
    assert sorted(arrays.test_labels.tolist()) == [0, 0, 49, 49]


def test_every_photograph_in_the_archive_identifies_core50(tmp_path: Path) -> None:
    first = made(CORE50, tmp_path, things((1, 3))).checksum
    assert made(CORE50, tmp_path, things((1, 3))).checksum == first
    assert made(CORE50, tmp_path, things((1, 3), colour=1)).checksum != first
    assert made(CORE50, tmp_path, things((1,))).checksum != first


def test_an_archive_that_is_missing_or_none_is_told_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"core50: not found in .*Put core50_128x128\.zip into CORe50/ of a folder"):
        CORE50.read()
    (tmp_path / CORE50.folder).mkdir()
    (tmp_path / CORE50.folder / "core50_128x128.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"core50_128x128\.zip: cannot be read: File is not a zip file"):
        CORE50.read()
