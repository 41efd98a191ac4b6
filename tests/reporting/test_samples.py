from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from small_streams import declared_stream, running, small_stream

import nlbench
from nlbench import api, catalog
from nlbench.errors import NlbenchError
from nlbench.reporting.samples import draw
from nlbench.streams.looking import look


def test_a_picture_has_a_row_a_task(tmp_path: Path) -> None:
    heights = [Image.open(draw(look(declared_stream("permuted", tasks=n)), tmp_path)).height for n in (2, 4)]
    assert heights[1] == 2 * heights[0]
    with pytest.raises(NlbenchError, match="its samples are no images"):
        draw(look(running(small_stream())), tmp_path)


def test_a_report_opens_with_the_stream_whose_samples_are_asked_for(tmp_path: Path) -> None:
    turned = tmp_path / "turned.toml"
    turned.write_text(
        catalog.find("stream", "split-digits").read_text().replace("tasks = 5", "tasks = 5\nclass_order = [9,8,7,6,5,4,3,2,1,0]")
    )
    record = nlbench.run("mlp", str(turned), seeds=2, results=tmp_path, device="cpu").record
    plain = api.report([record], tmp_path / "plain.html").page.read_text("utf-8")
    page = api.report([record], tmp_path / "page.html", streams=[str(turned)]).page.read_text("utf-8")
    assert "samples 1 × 8 × 8; 10 classes; class order 9, 8, 7, 6, 5, 4, 3, 2, 1, 0" in page
    opened = page[page.index("The stream") : page.index("Learners")]
    for task in api.look(str(turned)).tasks:
        cells = [str(task.number), f"{task.train:,}", f"{task.test:,}", f"{task.drift:.2f}", task.labels_text]
        assert cells in [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in opened.split("<tr>")]
    (picture,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert Image.open(BytesIO(b64decode(picture))).height > 5 * 30
    assert "The stream" not in plain
    with pytest.raises(NlbenchError, match="no record is on split-digits as declared now"):
        api.report([record], tmp_path / "none.html", streams=["split-digits"])
