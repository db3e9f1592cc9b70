"""A real headless Chromium that can be asked what it shows (Chrome DevTools Protocol)."""

import base64
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
        self._told: list[dict[str, Any]] = []
        """What the browser says unasked, once `watch()` was called."""

    @property
    def text(self) -> str:
        """What a person can read; "" while it loads."""
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def evaluate(self, expression: str) -> Any:
        """The value of some JavaScript; "" when it has none."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer.get("result", {}).get("value", "")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A method of the protocol."""
        self._last_id += 1
        self._websocket.send(json.dumps({"id": self._last_id, "method": method, "params": params}))
        while (answer := json.loads(self._websocket.recv(DEADLINE))).get("id") != self._last_id:
            self._told.append(answer)
        result: dict[str, Any] = answer.get("result", {})
        return result

    # a page that is watched from its first byte on

    def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def show_as(self, width: int, height: int, *, dark: bool = False) -> None:
        """The size of the window in CSS pixels, and what the person prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """The whole page, as high as it is."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    @property
    def errors(self) -> list[str]:
        """What stands in the console as an error, and exceptions that nobody caught."""
        self.evaluate("1")  # what was told so far has arrived
        found = []
        for told in self._told:
            params = told.get("params", {})
            if told.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif told.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            elif told.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                found.append(str(params["args"]))
        return found

    @property
    def requested(self) -> set[str]:
        """Every address that was asked for anything."""
        self.evaluate("1")
        return {
            told["params"]["request"]["url"]
            for told in self._told
            if told.get("method") == "Network.requestWillBeSent"
        }


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
            with connect(tab["webSocketDebuggerUrl"], max_size=None, ping_interval=None) as websocket:
                yield Page(websocket)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
