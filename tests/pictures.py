"""Archives of pictures as they are published, for tests of what reads them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return an archive as the publisher's: a folder of files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, part in files.items():
            info = tarfile.TarInfo(f"cifar-binary/{name}")
            info.size = len(part)
            archive.addfile(info, io.BytesIO(part))
    return content.getvalue()
