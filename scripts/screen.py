"""A terminal of a given size in tmux, and its screen as a page that a browser makes a picture of."""

from __future__ import annotations

import contextlib
import html
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.end_to_end.harness import eventually

_SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")
_COLOURS = ("#2e3436", "#cc0000", "#4e9a06", "#c4a000", "#3465a4", "#75507b", "#06989a", "#d3d7cf",
            "#888a85", "#ef2929", "#8ae234", "#fce94f", "#729fcf", "#ad7fa8", "#34e2e2", "#eeeeec")  # fmt: skip
_STYLE = "margin:0;background:#1b1d1e;color:#d3d7cf;font:13px/17px 'DejaVu Sans Mono',monospace;padding:10px 12px"


class Screen:
    """The terminal of one session of tmux, whose server is at *socket*."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def keys(self, *keys: str) -> None:
        """Press *keys*, in tmux's names."""
        self._tmux("send-keys", *keys)

    def text(self, *, coloured: bool = False) -> str:
        """Return what stands on the screen."""
        return self._tmux("capture-pane", "-p", *(["-e"] if coloured else []))

    def wait_for(self, words: str) -> None:
        assert eventually(lambda: words in self.text(), 30), f"the terminal does not show {words!r}:\n{self.text()}"

    def page(self, begin: str = "") -> str:
        """Return the screen from the line with *begin* on, without the blank lines at its end, as HTML."""
        lines = self.text(coloured=True).rstrip().split("\n")
        shown = "\n".join(lines[next(number for number, line in enumerate(lines) if begin in line) :])
        return f"<body style='margin:0'><pre id=screen style=\"{_STYLE}\">{_marked(shown)}"

    def _tmux(self, *command: str) -> str:
        asked = ["tmux", "-S", str(self._socket), *command]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout


@contextlib.contextmanager
def screen(
    folder: Path, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str]
) -> Iterator[Screen]:
    """Run *command* in a terminal of *columns* times *lines* until the block ends."""
    socket, given = folder / "tmux", [f"{name}={value}" for name, value in environment.items()]
    size = ["-x", str(columns), "-y", str(lines)]
    line = shlex.join(["env", *given, *command])
    tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", *size, line], check=True, timeout=20)
    subprocess.run([*tmux, "set-option", "-g", "status", "off"], check=True, timeout=20)
    try:
        yield Screen(socket)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, timeout=20)


def _marked(text: str) -> str:
    """Return *text*, with escape sequences for its colours, as HTML."""
    parts: list[str] = []
    style: dict[str, str] = {}
    before = 0
    for found in _SEQUENCE.finditer(text):
        parts.append(_span(text[before : found.start()], style))
        style = _styled(style, [int(number or 0) for number in found[1].split(";")])
        before = found.end()
    return "".join([*parts, _span(text[before:], style)])


def _span(text: str, style: Mapping[str, str]) -> str:
    if not text or not style:
        return html.escape(text)
    shown = {**style}
    if "reverse" in shown:
        del shown["reverse"]
        shown["color"], shown["background"] = shown.get("background", "#1b1d1e"), shown.get("color", "#d3d7cf")
    return f'<span style="{";".join(f"{name}:{value}" for name, value in shown.items())}">{html.escape(text)}</span>'


def _styled(style: Mapping[str, str], numbers: list[int]) -> dict[str, str]:
    """Return *style* after the *numbers* of one sequence."""
    found = {**style}
    while numbers:
        match numbers.pop(0):
            case 0:
                found = {}
            case 1:
                found["font-weight"] = "bold"
            case 2:
                found["opacity"] = "0.65"
            case 4:
                found["text-decoration"] = "underline"
            case 7:
                found["reverse"] = "1"
            case 22:
                found = {name: value for name, value in found.items() if name not in ("font-weight", "opacity")}
            case 38 | 48 as which:
                place = "color" if which == 38 else "background"
                if numbers[:1] == [5]:
                    found[place], numbers = _of_256(numbers[1]), numbers[2:]
                elif numbers[:1] == [2]:
                    found[place], numbers = "rgb({},{},{})".format(*numbers[1:4]), numbers[4:]
            case 39:
                found.pop("color", None)
            case 49:
                found.pop("background", None)
            case number if number // 10 in (3, 9):
                found["color"] = _COLOURS[number % 10 + (8 if number > 89 else 0)]
            case number if number // 10 in (4, 10):
                found["background"] = _COLOURS[number % 10 + (8 if number > 99 else 0)]
    return found


def _of_256(number: int) -> str:
    if number < 16:
        return _COLOURS[number]
    if number >= 232:
        return f"rgb({(number - 232) * 10 + 8},{(number - 232) * 10 + 8},{(number - 232) * 10 + 8})"
    steps = (0, 95, 135, 175, 215, 255)
    number -= 16
    return f"rgb({steps[number // 36]},{steps[number // 6 % 6]},{steps[number % 6]})"
