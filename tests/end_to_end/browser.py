"""A page of a headless Chromium, driven over its DevTools socket."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from .harness import eventually

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"
)


def program() -> str | None:
    """Return the path of Chromium, None where there is none."""
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


class Page:
    """A page of a browser."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._asked = 0

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result; what else the browser tells meanwhile is passed over."""
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=20))
            if told.get("id") == self._asked:
                return dict(told.get("result") or {})

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Give the page *width* times *height* pixels, each of *scale* squared on a picture."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def open(self, url: str) -> None:
        """Load *url*."""
        self.ask("Page.enable")
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Return the value of *script*."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def wait_for(self, script: str, what: str) -> Any:
        """Return the value of *script* once it is true."""
        assert eventually(lambda: self.value(script), 20), f"the page does not show {what}"
        return self.value(script)


@contextlib.contextmanager
def page(profile: Path) -> Iterator[Page]:
    """Run a browser with its files in *profile*, and yield its page."""
    found = program()
    assert found is not None, "there is no Chromium"
    command = [found, *_OPTIONS.split(), f"--user-data-dir={profile}", "about:blank"]
    port_file = profile / "DevToolsActivePort"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: port_file.exists() and port_file.read_text().strip(), 30), "the browser did not start"
        port = port_file.read_text().split()[0]
        with httpx.Client(trust_env=False, timeout=30) as http:
            pages = http.get(f"http://127.0.0.1:{port}/json").json()
        address = next(each["webSocketDebuggerUrl"] for each in pages if each["type"] == "page")
        with connect(address, max_size=None, proxy=None) as socket:
            yield Page(socket)
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(5)
