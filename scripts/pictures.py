"""
Makes the pictures in docs/pictures: mitmweb, the console and the terminal while Patchbay works.

Conversations go through real programs to a simulated provider, and headless Chromium looks at mitmweb, or at the
screen of a terminal. Nothing is drawn by hand.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx

from tests.end_to_end import browser
from tests.end_to_end.dialogue import DIALECTS, path
from tests.end_to_end.harness import BIN, ROOT, Proxy, certificates, eventually, generic_config, main_script, proxy
from tests.ports import free_port
from tests.simulator import Simulator, simulator_thread

from .screen import Screen, screen

Turn = Callable[[str, dict[str, str], list[str], bool], str]

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1440, 560
KEYS = {"claude-home": "sk-home-0123456789abcdef0123", "claude-work": "sk-work-0123456789abcdef0123"}
ROW = "[...document.querySelectorAll('.flow-table tbody tr')].filter(row => row.textContent.includes('{}')).at(-1)"
SYSTEM = "You are a careful engineer. Answer briefly, and read a file before you speak of it. "
TOOLS = {"Read": "Reads a file from the disk.", "Bash": "Runs a command.", "Grep": "Searches files."}


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("only", nargs="*", choices=[*SHOTS, []], help="which of them; without a name all")
    only = asked.parse_args().only or SHOTS
    if browser.program() is None or shutil.which("tmux") is None:
        needed = "Chromium and tmux: apt-get install chromium fonts-noto-color-emoji tmux"
        print(f"scripts/pictures needs {needed}", file=sys.stderr)
        return 2
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="patchbay-pictures-") as folder,
        browser.page(Path(folder) / "browser") as page,
    ):
        for name in only:
            SHOTS[name](Path(folder) / name, page)
    return 0


def _save(name: str, page: browser.Page) -> None:
    time.sleep(1)  # until it is painted, for which there is no event
    picture = base64.b64decode(page.ask("Page.captureScreenshot", format="png")["data"])
    (PICTURES / name).write_bytes(picture)
    print(f"docs/pictures/{name}: {len(picture)} bytes")


# -- mitmweb -----------------------------------------------------------------------------------------------------------


def _list(folder: Path, page: browser.Page) -> None:
    """Make the picture of the list: four conversations in four protocols, then two exchanged answers."""
    from scripts.demo import ACCOUNTS, TURN_OF  # only now: the SDKs take their time to load

    with simulator_thread({key: name for name, key in ACCOUNTS.items()}, echo="both") as simulator:
        settings = generic_config(folder, ACCOUNTS)
        with proxy(folder, settings, mode=f"reverse:{simulator.url}", program="mitmweb") as patchbay:
            _hold_conversations(patchbay, TURN_OF)
            _exchange_two(patchbay, simulator)
            page.resize(WIDTH, HEIGHT)
            page.open(f"http://127.0.0.1:{patchbay.web_port}/?token=look")
            page.wait_for("document.body?.textContent.split('CROSSTALK').length > 2", "the flagged exchanges")
            page.value(f"{ROW.format('CROSSTALK')}?.click()")
            page.wait_for("document.querySelector('.flow-detail pre')?.innerText.includes('CROSSTALK')", "its page")
            page.value("document.querySelector('.flow-detail pre').scrollIntoView()")
            _save("mitmweb.png", page)


def _conversations(folder: Path, page: browser.Page) -> None:
    """Make a picture of a streamed exchange of each protocol."""
    with (
        simulator_thread({key: name for name, key in KEYS.items()}) as simulator,
        proxy(folder, generic_config(folder, KEYS), mode=f"reverse:{simulator.url}", program="mitmweb") as patchbay,
    ):
        for dialect in DIALECTS:
            _ask(patchbay.url, dialect)
        page.resize(WIDTH, 760)
        page.open(f"http://127.0.0.1:{patchbay.web_port}/?token=look")
        for dialect in DIALECTS:
            row = ROW.format(path(dialect, stream=True).partition("?")[0])
            page.wait_for(f"!!{row}", f"the row of {dialect}")
            page.value(f"{row}.click()")
            page.wait_for("document.querySelector('.flow-detail pre')?.innerText.includes('tokens')", "its page")
            page.value("document.querySelector('.flow-detail .contentview').scrollIntoView()")
            _save(f"mitmweb-{dialect.replace('_', '-')}.png", page)


def _ask(url: str, dialect: str) -> None:
    """Hold a conversation of two turns in *dialect*; both stream."""
    turns = ["Which files does the parser read, and in which order?"]
    for _ in range(2):
        answer = _sent(url, dialect, turns)
        turns += [answer, "Then explain WORDS-70 why the second one comes before the first."]


def _sent(url: str, dialect: str, turns: list[str]) -> str:
    with httpx.Client(trust_env=False, timeout=30) as client:
        answer = client.post(
            url + path(dialect, stream=True),
            headers={"x-session-id": f"chat-{dialect}", "user-agent": "claude-cli/2.1"},
            json=_body(dialect, turns),
        )
    assert answer.status_code == 200, answer.text
    return f"It reads {len(answer.content)} bytes of them, the oldest first."


def _body(dialect: str, turns: list[str]) -> dict[str, object]:
    """Return a streaming request of *dialect* with a system text and tools, as a coding tool sends it."""
    system, schema = SYSTEM * 20, {"type": "object", "properties": {"path": {"type": "string"}}}
    said = [(("user", "assistant")[number % 2], text) for number, text in enumerate(turns)]
    messages = [{"role": role, "content": text} for role, text in said]
    named = [{"name": name, "description": told} for name, told in TOOLS.items()]
    match dialect:
        case "anthropic":
            tools: list[dict[str, object]] = [{**each, "input_schema": schema} for each in named]
            return {"model": "sim-1", "max_tokens": 400, "system": system, "messages": messages, "tools": tools,
                    "stream": True}  # fmt: skip
        case "openai_chat":
            tools = [{"type": "function", "function": {**each, "parameters": schema}} for each in named]
            return {"model": "sim-1", "messages": [{"role": "system", "content": system}, *messages], "tools": tools,
                    "stream": True, "stream_options": {"include_usage": True}}  # fmt: skip
        case "openai_responses":
            tools = [{"type": "function", **each, "parameters": schema} for each in named]
            return {"model": "sim-1", "instructions": system, "input": messages, "tools": tools, "stream": True,
                    "store": False}  # fmt: skip
        case _:
            roles = {"user": "user", "assistant": "model"}
            return {
                "systemInstruction": {"parts": [{"text": system}]},
                "contents": [{"role": roles[role], "parts": [{"text": text}]} for role, text in said],
                "tools": [{"functionDeclarations": [{**each, "parameters": schema} for each in named]}],
            }


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


# -- terminals ---------------------------------------------------------------------------------------------------------


def _terminal(columns: int) -> Callable[[Path, browser.Page], None]:
    def shot(folder: Path, page: browser.Page) -> None:
        """Make the picture of a terminal during a cooldown and a move."""
        with simulator_thread({key: name for name, key in KEYS.items()}) as simulator:
            port = free_port()
            with screen(folder, _command("mitmdump", folder, simulator, port), columns, 40, _colours()) as terminal:
                assert eventually(lambda: _listens(port)), terminal.text()
                for dialect in DIALECTS:
                    _ask(f"http://127.0.0.1:{port}", dialect)
                limited = {"status": 429, "retry_after": 600}
                simulator.fault("status", limited, account="claude-home", times=1)
                simulator.fault("status", limited, account="claude-work", times=0)
                for dialect in DIALECTS:
                    _ask(f"http://127.0.0.1:{port}", dialect)
                terminal.wait_for("moved")
                _photograph(f"terminal-{columns}.png", terminal, page, "listens at")

    return shot


def _console(folder: Path, page: browser.Page) -> None:
    """Make the picture of a streamed exchange in the console."""
    with simulator_thread({key: name for name, key in KEYS.items()}) as simulator:
        port = free_port()
        with screen(folder, _command("mitmproxy", folder, simulator, port), 120, 44, _colours()) as terminal:
            assert eventually(lambda: _listens(port)), terminal.text()
            _ask(f"http://127.0.0.1:{port}", "anthropic")
            terminal.wait_for("/v1/messages")
            terminal.keys("G", "Enter", "Tab")
            terminal.wait_for("account")
            _photograph("console.png", terminal, page)


def _command(program: str, folder: Path, simulator: Simulator, port: int) -> list[str]:
    folder.mkdir(parents=True)
    settings = folder / "config.yaml"
    settings.write_text(generic_config(folder, KEYS))
    settings.chmod(0o600)
    return [
        str(BIN / program), "-s", main_script(), "--set", f"patchbay_config={settings}",
        "--set", f"confdir={certificates(folder)}", "--mode", f"reverse:{simulator.url}", "--listen-port", str(port),
    ]  # fmt: skip


def _colours() -> dict[str, str]:
    return {"TERM": "tmux-256color", "LANG": "C.UTF-8"}


def _listens(port: int) -> bool:
    try:
        with httpx.Client(trust_env=False) as client:
            client.get(f"http://127.0.0.1:{port}/", timeout=5)
    except httpx.TransportError:
        return False
    return True


def _photograph(name: str, terminal: Screen, page: browser.Page, begin: str = "") -> None:
    shown = terminal.page(begin)
    page.open("about:blank")
    page.wait_for("location.href == 'about:blank'", "an empty page")
    page.value(f"document.write({json.dumps(shown)}); document.close()")
    page.value("document.getElementById('screen').style.display = 'inline-block'")
    width, height = page.value(
        "(() => { const at = document.getElementById('screen').getBoundingClientRect();"
        " return [Math.ceil(at.width), Math.ceil(at.height)] })()"
    )
    page.resize(width, height)
    _save(name, page)


SHOTS: dict[str, Callable[[Path, browser.Page], None]] = {
    "list": _list,
    "conversations": _conversations,
    "terminal-80": _terminal(80),
    "terminal-160": _terminal(160),
    "console": _console,
}


if __name__ == "__main__":
    sys.exit(main())
