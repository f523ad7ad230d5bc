"""
The `patchbay` command: its sub-commands, their arguments and their errors.

A new sub-command is a function from the parsed arguments to an exit code, and a row in COMMANDS.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import os
import platform
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import TextIO

from .. import secret_patterns
from ..frozen import dataclass
from ..launch import run as launch_run, shell_env
from ..proxy import environment, release
from ..settings import reader
from ..settings.settings import Config
from ..visible_text import visible
from . import account_commands, doctor, explain, habits, incidents, init, shown, verify
from .inputs import EXIT_CODES, EXIT_FOUND, EXIT_USAGE, CommandError

EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE  # as a shell counts it


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument, as `argparse.ArgumentParser.add_argument` takes it."""

    name: str
    options: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Command:
    """
    One sub-command. *run* gets the parsed arguments and returns the exit code.

    One that *parses* its arguments itself gets them as `words`.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    arguments: tuple[Argument, ...] = ()
    parses: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sub-command of *argv* (default: the process's arguments) and return its exit code."""
    with contextlib.redirect_stderr(_Covered(sys.stderr)):
        try:
            try:
                return _run(argv)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # of `patchbay … | head`; Python flushes stdout once more when it ends
            with open(os.devnull, "w") as nothing, contextlib.suppress(OSError):
                os.dup2(nothing.fileno(), sys.stdout.fileno())
            return EXIT_BROKEN_PIPE


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(COMMANDS)
    if words[:1] and words[0] in _ELSEWHERE:
        return _complain(f"{words[0]} is a command of mitmproxy's command bar: {_ELSEWHERE[words[0]]}", EXIT_USAGE)
    itself = next((each for each in COMMANDS if each.parses and words[:1] == [each.name]), None)
    if told := _program(words):
        return _complain(told, EXIT_USAGE)
    arguments = argparse.Namespace(command=itself, words=words[1:]) if itself else parser.parse_args(words)
    command: Command | None = arguments.command
    if command is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return command.run(arguments)
    except CommandError as e:
        return _complain(str(e), e.code)
    except reader.ConfigError as e:
        return _complain(str(e), EXIT_USAGE)
    except BrokenPipeError:
        raise
    except OSError as e:
        file = environment.settings_file(getattr(arguments, "config", None))
        return _complain(environment.told(e, file), EXIT_USAGE)


def _program(words: Sequence[str]) -> str:
    """Say how the program that *words* name runs behind Patchbay, empty where they name none."""
    word = next(iter(words), "-")
    known = [each.name for each in COMMANDS]
    is_program = not word.startswith("-") and word not in known and shutil.which(word)
    if not is_program or difflib.get_close_matches(word, known, 1, 0.75):
        return ""
    return f"'{word}' is no command of patchbay; to run it behind Patchbay:  patchbay run -- {shlex.join(words)}"


def run(arguments: argparse.Namespace) -> int:
    """Run mitmproxy with Patchbay, alone or beside a command that gets its addresses."""
    return launch_run.run(arguments.words, os.environ)


def env(arguments: argparse.Namespace) -> int:
    """Print the variables with which a tool in this shell finds the running proxy."""
    return shell_env.env(arguments.words, os.environ)


def path(_: argparse.Namespace) -> int:
    """Print the file for mitmproxy's `-s` and its `scripts:` option."""
    print(release.ADDON / "main.py")
    return 0


def version(_: argparse.Namespace) -> int:
    """Print the versions a bug report needs."""
    print(f"patchbay {release.version()} ({release.ADDON})")
    print(f"mitmproxy {release.installed('mitmproxy')}, Python {platform.python_version()}, {platform.platform()}")
    return 0


def check(arguments: argparse.Namespace) -> int:
    """
    Print every mistake and warning about the settings, one a line.

    Once they have none, the files, folders, variables and programs that they name are checked. No program is run.
    """
    file = environment.settings_file(arguments.config)
    try:
        settings = reader.load(environment.text_of(file), str(file), env=os.environ)
    except reader.ConfigError as e:
        return _complain(str(e), EXIT_FOUND)
    found = environment.problems(settings, os.environ)
    for warning in (*settings.warnings, *(each.text for each in found if each.kind == "absent")):
        print(f"warning: {warning}", file=sys.stderr)
    if mistakes := [each.text for each in found if each.kind != "absent"]:
        return _complain("\n".join(mistakes), EXIT_FOUND)
    print(f"{secret_patterns.covered(str(file))}: {_summary(settings)}")
    return 0


_ELSE = "else $PATCHBAY_CONFIG, else ./config.yaml, else ~/.config/patchbay/config.yaml"
_CONFIG = Argument("--config", {"help": f"the settings; {_ELSE}"})
_STATE = Argument("--state", {"help": "the folder with the key, the store and incidents; else that of the settings"})
_PID = Argument("--pid", {"type": int, "metavar": "N", "help": "only the running proxy with this process id"})
_JSON = Argument("--json", {"action": "store_true", "help": "print JSON"})
_ACCOUNT = Argument("account", {"help": "the account's id"})
_PROXY = (_PID, _STATE, _CONFIG)
COMMANDS: tuple[Command, ...] = (
    Command("run", "start the proxy, alone or with a command behind it", run, parses=True),
    Command("env", "print what a tool in your shell needs to find the running proxy", env, parses=True),
    Command(
        "init",
        "write the settings for the keys that this machine has",
        init.init,
        (
            Argument("config", {"nargs": "?", "help": f"the file; {_ELSE}"}),
            Argument("--force", {"action": "store_true", "help": "write it anew if it is there already"}),
            Argument("--logins", {"action": "store_true", "help": "name the logins that tools keep here as well"}),
            Argument("--yes", {"action": "store_true", "help": "ask nothing; logins of tools are left out"}),
        ),
    ),
    Command("path", "print the file to load with mitmproxy's -s", path),
    Command(
        "check",
        "read the settings and print every mistake in them",
        check,
        (Argument("config", {"nargs": "?", "default": argparse.SUPPRESS, "help": f"the file; {_ELSE}"}), _CONFIG),
    ),
    Command(
        "explain",
        "show the conversation and the account of a request, and why",
        explain.explain,
        (
            Argument(
                "file",
                {
                    "nargs": "?",
                    "default": "-",
                    "help": "raw HTTP or JSON {method, path, headers, body}, - is stdin; or a session",
                },
            ),
            Argument(
                "--flow",
                {
                    "metavar": "N",
                    "help": "the file is a mitmproxy flow file: explain its Nth flow, or the last of a session",
                },
            ),
            _CONFIG,
            Argument("--upstream", {"metavar": "URL", "help": "the URL of `--mode reverse:URL`"}),
            _PID,
            _STATE,
            _JSON,
        ),
    ),
    Command(
        "verify",
        "check the answers in a saved flow file for crosstalk",
        verify.verify,
        (
            Argument("file", {"help": "a file that mitmdump -w or mitmweb has saved"}),
            Argument("--all", {"action": "store_true", "help": "print clean exchanges too"}),
            _STATE,
            _CONFIG,
        ),
    ),
    Command(
        "incidents",
        "list recorded crosstalk: answers to another request",
        incidents.incidents,
        (
            Argument(
                "id", {"nargs": "?", "help": "show those of this request id, session or victim; its begin is enough"}
            ),
            Argument(
                "--export", {"metavar": "FILE", "help": "write them as JSON, for a provider's ticket; - is stdout"}
            ),
            _STATE,
            _CONFIG,
        ),
    ),
    Command(
        "habits",
        "list the crosstalk rules that are demoted for a host",
        habits.habits,
        (
            Argument("--reset", {"nargs": "+", "metavar": ("HOST", "DETECTOR"), "help": "restore the rules of HOST"}),
            _STATE,
            _CONFIG,
        ),
    ),
    Command("status", "show the running proxy: its addresses, exchanges, tokens", shown.status, (*_PROXY, _JSON)),
    Command("accounts", "show why accounts are not used, and until when", shown.accounts, (*_PROXY, _JSON)),
    Command(
        "sessions",
        "list the conversations, with account, tokens and moves",
        shown.sessions,
        (Argument("name", {"nargs": "?", "help": "only those that this begins, with their moves"}), *_PROXY, _JSON),
    ),
    Command("wake", "end the cooldown of an account", account_commands.wake, (_ACCOUNT, *_PROXY)),
    Command(
        "cool",
        "send nothing to an account for a time",
        account_commands.cool,
        (_ACCOUNT, Argument("seconds", {"nargs": "?", "help": "seconds, or 10m, 2h; without it 10m"}), *_PROXY),
    ),
    Command("disable", "send nothing to an account until it is enabled", account_commands.disable, (_ACCOUNT, *_PROXY)),
    Command("enable", "use an account again after disable", account_commands.enable, (_ACCOUNT, *_PROXY)),
    Command(
        "unbind",
        "let a conversation choose its account anew",
        account_commands.unbind,
        (Argument("session", {"help": "the session's name, or the begin of it"}), *_PROXY),
    ),
    Command("reload", "read the settings and keys again, in the running proxy", account_commands.reload, _PROXY),
    Command(
        "doctor",
        "find what is wrong here, and what mends it",
        doctor.doctor,
        (
            Argument("--ask", {"action": "store_true", "help": "also send each account's provider one cheap request"}),
            _JSON,
            _CONFIG,
        ),
    ),
    Command("version", "print the versions a bug report needs", version),
)


_ELSEWHERE = {  # what needs a flow, or mitmproxy's own lists
    "curl": "select the flow in mitmproxy or mitmweb, and type `: patchbay.curl @focus`",
}


@cache
def _parser(commands: tuple[Command, ...]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="patchbay",
        description="Many LLM accounts behind the tools you already use: an addon for mitmproxy.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"patchbay {release.version()}")
    parser.set_defaults(command=None)
    names = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in commands:
        sub = names.add_parser(command.name, help=command.help, description=command.run.__doc__)
        sub.set_defaults(command=command)
        for argument in command.arguments:
            sub.add_argument(argument.name, **dict(argument.options))  # type: ignore[arg-type]
    return parser


class _Covered(io.TextIOBase):
    """
    Stderr, to which argparse writes arguments and errors quote files: hides from *out* what looks like a key, and shows
    what a terminal would obey as escapes.
    """

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> int:
        self._out.write("\n".join(secret_patterns.covered(visible(line)) for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        self._out.flush()


def _complain(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def _summary(settings: Config) -> str:
    enabled = sum(account.enabled for account in settings.accounts)
    return f"no mistakes; accounts: {len(settings.accounts)} ({enabled} enabled)"
