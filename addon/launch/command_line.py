"""The words of `patchbay run`: Patchbay's own options, those for mitmproxy, and the command behind `--`."""

from __future__ import annotations

import difflib
import shlex
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..frozen import dataclass

EXIT_USAGE = 2  # as for argparse
TOOLS = {"dump": "mitmdump", "web": "mitmweb", "console": "mitmproxy"}
LOG_FORMATS = ("text", "json")
_OWN = ("--look", "--config", "--quiet", "--log-format", "--help")
_NEARBY = frozenset({"--confdir"})  # mitmproxy's, of a name that is much like one of ours
# What is here another name of an option of mitmproxy.
_SHORT = {"-m": "mode", "-p": "listen_port"}


class LaunchError(Exception):
    """The start fails with this message, on stderr, and exit code *code*."""

    def __init__(self, message: str, code: int = EXIT_USAGE) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class CommandLine:
    """
    What `patchbay run` was asked for.

    *options* are mitmproxy's. *command* runs behind the proxy; without one the proxy itself is what runs.
    """

    tool: str = "dump"
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    config: str = ""
    log_format: str = ""
    look: bool = False
    quiet: bool = False
    help: bool = False

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values that *options* give to mitmproxy's option *name*, as `listen_port`."""
        return tuple(value for found, value in _given(self.options) if found == name)


def parse(words: Sequence[str]) -> CommandLine:
    """Read the *words* behind `patchbay run`. Raises LaunchError for a mistake."""
    ahead, behind = _split(words)
    line = CommandLine(command=tuple(behind or ()))
    if ahead and not ahead[0].startswith("-"):
        line = replace(line, tool=_tool(ahead[0], ahead[1:]))
        ahead = ahead[1:]
    line = _own_options(line, ahead)
    if line.help:
        return line
    if behind == []:
        raise LaunchError("there is no command behind --: write it there, or leave -- out to run the proxy alone")
    if line.command and line.tool == "console":
        raise LaunchError("console needs the terminal, and so does the command: use `run web -- …` or `run -- …`")
    return line


def _split(words: Sequence[str]) -> tuple[list[str], list[str] | None]:
    if "--" not in words:
        return list(words), None
    at = words.index("--")
    return list(words[:at]), list(words[at + 1 :])


def _tool(word: str, rest: Sequence[str]) -> str:
    if word == "help":
        return "dump"
    if word in TOOLS:
        return word
    message = f"'{word}' is none of {', '.join(TOOLS)}"
    if near := difflib.get_close_matches(word, TOOLS, 1, 0.5):
        message += f"; did you mean {near[0]}?"
    elif shutil.which(word):
        message += f"; to run it behind Patchbay:  patchbay run -- {shlex.join([word, *rest])}"
    raise LaunchError(message)


def _own_options(line: CommandLine, words: Sequence[str]) -> CommandLine:
    """Take Patchbay's own options out of *words*; what is left is mitmproxy's."""
    rest: list[str] = []
    left = list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        match name:
            case "-h" | "--help":
                line = replace(line, help=True)
            case "--look":
                line = replace(line, look=True)
            case "-q" | "--quiet":
                line = replace(line, quiet=True)
            case "--config":
                line = replace(line, config=value if equals else _next(name, left))
            case "--log-format":
                line = replace(line, log_format=_one_of(LOG_FORMATS, name, value if equals else _next(name, left)))
            case _ if near := _slip(name):
                raise LaunchError(f"{name} is no option of patchbay run; did you mean {near}?")
            case _:
                rest.append(name + equals + value)
                if not equals and name in ("-s", "-w", "-r", "--set") and left:  # a value that looks like an option
                    rest.append(left.pop(0))
    return replace(line, options=tuple(rest))


def _slip(name: str) -> str:
    """Return Patchbay's own option that *name* is a slip for, empty where it may be mitmproxy's."""
    if not name.startswith("--") or name in _NEARBY:
        return ""
    return next(iter(difflib.get_close_matches(name, _OWN, 1, 0.75)), "")


def _next(name: str, left: list[str]) -> str:
    if not left:
        raise LaunchError(f"{name} needs a value")
    return left.pop(0)


def _one_of(known: Sequence[str], name: str, value: str) -> str:
    if value not in known:
        raise LaunchError(f"{name}: '{value}' is none of {', '.join(known)}")
    return value


def _given(options: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each of mitmproxy's *options* in any of its forms: -m, --mode, --set mode=."""
    left = list(options)
    while left:
        word = left.pop(0)
        if not word.startswith("--") and word[:2] in _SHORT:
            yield _SHORT[word[:2]], word[2:] or (left.pop(0) if left else "")
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            value = value if equals else left.pop(0) if left and not left[0].startswith("-") else ""
            if name == "set":
                name, _, value = value.partition("=")
            yield name.replace("-", "_"), value
