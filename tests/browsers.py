"""A headless Chromium, and a server that keeps what was asked for, for tests of pages."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary: apt-get install chromium")


class Answers(SimpleHTTPRequestHandler):
    """Serves a folder and keeps the paths that were asked for."""

    asked: list[str]

    def __init__(self, *arguments, asked, **options):
        self.asked = asked
        super().__init__(*arguments, **options)

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments):
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, asked=asked, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def dumped(address: str, profile: Path, *options: str, budget: int = 5000) -> tuple[str, list[str]]:
    """Open an address; return the document as it is when its scripts have run, and console lines."""
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        "--disable-features=NetworkTimeServiceQuerying",
        *(f"--user-data-dir={profile}", "--enable-logging=stderr", f"--virtual-time-budget={budget}"),
        *("--window-size=1400,1000", *options, "--dump-dom", address),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def probed(folder: Path, probe: str, profile: Path, *options: str, budget: int = 5000) -> tuple[Any, list[str], list[str]]:
    """Serve a folder and open `probe.html` there; return its title, which is JSON, console lines, paths asked for."""
    (folder / "probe.html").write_text(probe)
    with served(folder) as (address, asked):
        rules = f"--host-resolver-rules=MAP * {address.removeprefix('http://')}"
        document, console = dumped(f"{address}/probe.html", profile, rules, *options, budget=budget)
    title = unescape(re.search("<title>(.*?)</title>", document)[1])  # type: ignore[index]
    return json.loads(title), console, [path for path in asked if path not in ("/probe.html", "/favicon.ico")]
