"""
Makes docs/pictures/mitmweb.png: what one sees in mitmweb while Patchbay works.

Four conversations go through the official SDKs and a real mitmweb to a simulated provider, then two answers are
exchanged on purpose, and headless Chromium looks at the flow that was flagged. Nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.end_to_end.harness import ROOT, Proxy, eventually, generic_config, proxy
from tests.simulator import Simulator, simulator_thread

Turn = Callable[[str, dict[str, str], list[str], bool], str]

PICTURE = ROOT / "docs" / "pictures" / "mitmweb.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTH, HEIGHT = 1280, 540
COLUMNS = ("path", "status", "comment", "time")
# mitmweb's row of an exchange shows its place, its mark and its comment; the flagged one is opened as a user would.
OPEN_FLAGGED = """
[...document.querySelectorAll('tr')].filter(row => row.textContent.includes('CROSSTALK'))[0]?.click()
"""
OPEN_COMMENT = "[...document.querySelectorAll('nav a')].filter(tab => tab.textContent == 'Comment')[0]?.click()"


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        print("scripts/pictures needs Chromium: apt-get install chromium fonts-noto-color-emoji", file=sys.stderr)
        return 2
    from scripts.demo import ACCOUNTS, TURN_OF  # only now: the SDKs take their time to load

    with tempfile.TemporaryDirectory(prefix="patchbay-pictures-") as folder:
        keys = {key: name for name, key in ACCOUNTS.items()}
        columns = [part for name in COLUMNS for part in ("--set", f"web_columns={name}")]
        with (
            simulator_thread(keys, echo="both") as simulator,
            proxy(
                Path(folder),
                generic_config(Path(folder), ACCOUNTS),
                *columns,
                mode=f"reverse:{simulator.url}",
                program="mitmweb",
            ) as patchbay,
        ):
            _hold_conversations(patchbay, TURN_OF)
            _exchange_two(patchbay, simulator)
            picture = _seen_by(browser, Path(folder) / "browser", f"http://127.0.0.1:{patchbay.web_port}/?token=look")
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_bytes(picture)
    print(f"{PICTURE.relative_to(ROOT)}: {len(picture)} bytes")
    return 0


def _hold_conversations(patchbay: Proxy, turn_of: Mapping[str, Turn]) -> None:
    for number, (api, turn) in enumerate(turn_of.items()):
        turns = [f"What is special about {api}?"]
        headers = {"X-Session-ID": f"chat-{number}"} if number % 2 else {}
        turns.append(turn(patchbay.url, headers, turns, False))
        turns.append("And what else? Please go on.")
        turn(patchbay.url, headers, turns, True)


def _exchange_two(patchbay: Proxy, simulator: Simulator) -> None:
    simulator.fault("swap", {"timeout": 10.0}, times=2)
    running = [
        subprocess.Popen(_curl(patchbay.url, who), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for who in ("alice", "bob")
    ]
    for each in running:
        each.wait(20)
    assert eventually(lambda: patchbay.log.count("event_type=crosstalk") >= 2), "the exchanged answers were not flagged"


def _curl(url: str, who: str) -> list[str]:
    body = {"model": "sim-large", "messages": [{"role": "user", "content": f"Who am I? {who}"}]}
    return [
        "curl", "--silent", "--noproxy", "*", f"{url}/v1/chat/completions",
        "-H", "Content-Type: application/json", "-H", f"X-Session-ID: {who}", "-d", json.dumps(body),
    ]  # fmt: skip


# -- the browser -------------------------------------------------------------------------------------------------------


class Page:
    """A page of a headless browser, driven over its DevTools socket."""

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

    def value(self, script: str) -> Any:
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True).get("result", {}).get("value")

    def wait_for(self, script: str, what: str) -> None:
        assert eventually(lambda: self.value(script), 20), f"mitmweb does not show {what}"


def _seen_by(browser: str, profile: Path, url: str) -> bytes:
    with _browser(browser, profile) as page:
        page.ask("Page.enable")
        page.ask("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)
        page.ask("Page.navigate", url=url)
        page.wait_for("document.body?.textContent.split('CROSSTALK').length > 2", "the flagged exchanges")
        page.value(OPEN_FLAGGED)
        page.wait_for("[...document.querySelectorAll('nav a')].some(tab => tab.textContent == 'Comment')", "the tabs")
        page.value(OPEN_COMMENT)
        time.sleep(1)  # until it is painted, for which there is no event
        return base64.b64decode(page.ask("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def _browser(browser: str, profile: Path) -> Iterator[Page]:
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync --hide-scrollbars"
    command = [browser, *options.split(), *more.split(), f"--user-data-dir={profile}", "--remote-debugging-port=0"]
    port_file = profile / "DevToolsActivePort"
    running = subprocess.Popen([*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: port_file.exists() and port_file.read_text().strip(), 30), "the browser did not start"
        port = port_file.read_text().split()[0]
        with httpx.Client(trust_env=False) as http:
            pages = http.get(f"http://127.0.0.1:{port}/json").json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        with connect(address, max_size=None, proxy=None) as socket:
            yield Page(socket)
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(5)


if __name__ == "__main__":
    sys.exit(main())
