from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from small_streams import declared_stream, running, small_stream

from nlbench.errors import NlbenchError
from nlbench.reporting.samples import draw
from nlbench.streams.looking import look


def test_a_picture_has_a_row_a_task(tmp_path: Path) -> None:
    heights = [Image.open(draw(look(declared_stream("permuted", tasks=n)), tmp_path)).height for n in (2, 4)]
    assert heights[1] == 2 * heights[0]
    with pytest.raises(NlbenchError, match="its samples are no images"):
        draw(look(running(small_stream())), tmp_path)
