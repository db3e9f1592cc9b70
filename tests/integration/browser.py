"""A real headless Chromium that can be asked what it shows (Chrome DevTools Protocol)."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

DEADLINE = 20.0


class Page:
    """What one tab shows."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self._last_id = 0

    @property
    def text(self) -> str:
        """What a person can read; "" while it loads."""
        return str(self._ask("document.body ? document.body.innerText : ''"))

    def _ask(self, expression: str) -> Any:
        self._last_id += 1
        question = {"id": self._last_id, "method": "Runtime.evaluate", "params": {"expression": expression}}
        self._websocket.send(json.dumps(question))
        while (answer := json.loads(self._websocket.recv(DEADLINE))).get("id") != self._last_id:
            continue
        return answer.get("result", {}).get("result", {}).get("value", "")


@contextmanager
def browse(url: str, folder: Path) -> Iterator[Page]:
    """Open a page; the browser keeps its files in `folder`. Skips where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    with subprocess.Popen(
        [*command, "--remote-debugging-port=0", f"--user-data-dir={folder}/profile", url],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as browser:
        try:
            assert browser.stderr is not None
            where = next(
                found for line in browser.stderr if (found := re.search(r"ws://([^/]+)/devtools", line))
            )
            with urllib.request.urlopen(f"http://{where[1]}/json", timeout=DEADLINE) as answer:
                [tab] = [one for one in json.load(answer) if one["type"] == "page"]
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as websocket:
                yield Page(websocket)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
