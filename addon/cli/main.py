"""
The `patchbay` command: what it offers, and how its arguments are read.

A new sub-command is a function from the parsed arguments to an exit code, and a row in COMMANDS.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TextIO

from .. import secret_patterns
from ..proxy import environment
from ..settings import reader
from ..settings.settings import Config
from . import explain, habits, incidents, verify, wake

FOLDER = Path(__file__).resolve().parent.parent
EXIT_MISTAKES = 1  # what was asked about is wrong
EXIT_USAGE = 2  # the question is wrong; argparse says so with the same number


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, as `argparse.ArgumentParser.add_argument` takes it."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """One sub-command. *run* gets the parsed arguments and returns the exit code."""

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    arguments: tuple[Argument, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command *argv* names (default: the process's arguments); return its exit code."""
    with contextlib.redirect_stderr(_Covered(sys.stderr)):
        parser = _parser(COMMANDS)
        arguments = parser.parse_args(argv)
        command: Command | None = arguments.command
        if command is None:
            parser.print_help()
            return EXIT_USAGE
        return command.run(arguments)


def path(_: argparse.Namespace) -> int:
    """Print the file that mitmproxy's `-s` and its `scripts:` option take."""
    print(FOLDER / "main.py")
    return 0


def version(_: argparse.Namespace) -> int:
    """Print the versions a bug report needs."""
    print(f"patchbay {_version()} ({FOLDER})")
    print(f"mitmproxy {_installed('mitmproxy')}, Python {platform.python_version()}, {platform.platform()}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """
    Print every mistake in the settings, and around them, one a line, and what is odd; exit code 1 for a mistake.

    Around them are the files, folders, variables and programs that they name. A program is not run.
    """
    file = environment.settings_file(arguments.config)
    try:
        settings = reader.load(environment.text_of(file), str(file), env=os.environ)
    except OSError as e:
        return _complain(f"{file}: {e.strerror or e}", EXIT_USAGE)
    except reader.ConfigError as e:
        return _complain(str(e), EXIT_MISTAKES)
    found = environment.problems(settings, os.environ)
    for warning in (*settings.warnings, *(each.text for each in found if each.kind == "absent")):
        print(f"warning: {warning}", file=sys.stderr)
    if mistakes := [each.text for each in found if each.kind != "absent"]:
        return _complain("\n".join(mistakes), EXIT_MISTAKES)
    print(f"{secret_patterns.covered(str(file))}: {_summary(settings)}")
    return 0


COMMANDS: tuple[Command, ...] = (
    Command("path", "print the file to load with mitmproxy's -s", path),
    Command(
        "check",
        "read the settings and print every mistake",
        check,
        (Argument("config", {"nargs": "?", "help": "the file; else $PATCHBAY_CONFIG, else ./config.yaml"}),),
    ),
    Command(
        "explain",
        "say whose conversation a request is, and why",
        explain.explain,
        (
            Argument(
                "file", {"nargs": "?", "default": "-", "help": "raw HTTP or JSON {method, path, headers, body}; -"}
            ),
            Argument("--flow", {"metavar": "N", "help": "the file is a dump of mitmproxy: explain its Nth flow"}),
            Argument("--config", {"help": "the settings; else $PATCHBAY_CONFIG, else ./config.yaml"}),
            Argument("--upstream", {"metavar": "URL", "help": "what `--mode reverse:URL` names"}),
            Argument("--json", {"action": "store_true", "help": "for programs"}),
        ),
    ),
    Command(
        "verify",
        "judge the answers in a saved flow file",
        verify.verify,
        (
            Argument("file", {"help": "a file that mitmdump -w or mitmweb has saved"}),
            Argument("--all", {"action": "store_true", "help": "print every exchange, also those without an alarm"}),
            Argument("--state", {"help": "the folder with the key; else the settings' own"}),
            Argument("--config", {"help": "the settings; else $PATCHBAY_CONFIG, else ./config.yaml"}),
        ),
    ),
    Command(
        "incidents",
        "show answers that belonged to another request",
        incidents.incidents,
        (
            Argument("id", {"nargs": "?", "help": "the request id of one incident, or its beginning: show it"}),
            Argument("--export", {"metavar": "FILE", "help": "write them as JSON for a provider's ticket; - prints"}),
            Argument("--state", {"help": "the folder with the incidents; else the settings' own"}),
            Argument("--config", {"help": "the settings; else $PATCHBAY_CONFIG, else ./config.yaml"}),
        ),
    ),
    Command(
        "habits",
        "show what is not held against a host any more",
        habits.habits,
        (
            Argument("--reset", {"nargs": "+", "help": "hold it against HOST again"}),
            Argument("--state", {"help": "the folder with the key and the store; else the settings' own"}),
            Argument("--config", {"help": "the settings; else $PATCHBAY_CONFIG, else ./config.yaml"}),
        ),
    ),
    Command(
        "wake",
        "use an account again that rests",
        wake.wake,
        (
            Argument("account", {"help": "the account's id"}),
            Argument("--state", {"help": "the folder with the key and the store; else the settings' own"}),
            Argument("--config", {"help": "the settings; else $PATCHBAY_CONFIG, else ./config.yaml"}),
        ),
    ),
    Command("version", "print the versions a bug report needs", version),
)


def _parser(commands: Sequence[Command]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="patchbay",
        description="Many LLM accounts behind the tools you already use: an addon for mitmproxy.",
    )
    parser.add_argument("--version", action="version", version=f"patchbay {_version()}")
    parser.set_defaults(command=None)
    names = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        sub = names.add_parser(command.name, help=command.help, description=command.run.__doc__)
        sub.set_defaults(command=command)
        for argument in command.arguments:
            sub.add_argument(argument.name, **dict(argument.options))  # type: ignore[arg-type]
    return parser


class _Covered(io.TextIOBase):
    """Writes to *out* without what looks like a key: every complaint passes here, argparse's about arguments too."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        self._out.write(secret_patterns.covered(text))
        return len(text)

    def flush(self) -> None:
        self._out.flush()


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def _summary(settings: Config) -> str:
    enabled = sum(account.enabled for account in settings.accounts)
    return f"no mistakes; {len(settings.accounts)} accounts, {enabled} of them enabled"


def _version() -> str:
    """Return the version of this very folder: a checkout says its own, whatever else is installed."""
    project = FOLDER.parent / "pyproject.toml"
    if FOLDER.name == "addon" and project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    return _installed("patchbay")


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
