"""A real tracker (`tracker run`) and a real Chromium. Skipped, with the reason, where there is no Chromium."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Tracker:
    """A running tracker with the bundled report, its data folder and its command line."""

    address: str
    data: Path
    set_up_link: str
    environ: dict[str, str]

    def command(self, *words: str) -> str:
        """Run `tracker WORDS` beside the running one and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "tracker", *words],
            cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def mails(self) -> list[str]:
        """The mails in the outbox folder, oldest first."""
        paths = sorted((self.data / "outbox").glob("*.eml"), key=lambda path: path.stat().st_mtime_ns)
        return [path.read_text(encoding="utf-8") for path in paths]


@pytest.fixture
def tracker(database_url: str, tmp_path: Path) -> Iterator[Tracker]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    data = tmp_path / "data"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")} | {
        "TRACKER_DATA_DIR": str(data),
        "TRACKER_PORT": str(port),
        "TRACKER_DATABASE_URL": database_url,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    log = tmp_path / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tracker", "run"], cwd=ROOT, env=environ, stdout=out, stderr=out
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait(address, process, log)
        link = re.search(r"http\S+/set-up/\S+", log.read_text())
        assert link, log.read_text()
        yield Tracker(address, data, link.group(), environ)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the tracker did not answer within a minute: " + log.read_text())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("Debian's Chromium is not installed")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any, tracker: Tracker) -> Iterator[Callable[..., Any]]:
    """`new_page(color_scheme="dark")`: a page in a browser window of its own, as somebody else's."""
    contexts: list[Any] = []

    def make(**options: Any) -> Any:
        context = chromium.new_context(base_url=tracker.address, java_script_enabled=True, **options)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()
