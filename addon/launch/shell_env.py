"""`patchbay env`: for tools that are started from a shell, what `patchbay run` would give them."""

from __future__ import annotations

import difflib
import io
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from .. import secret_patterns
from ..frozen import dataclass
from ..proxy import control_socket
from ..proxy.control_answers import ProxyStatus
from ..proxy.control_socket import ControlFailed
from ..tool_recipes import PLACEHOLDER_KEY, RECIPES, Change
from ..visible_text import visible
from . import child_environment, proxy_variables
from .child_environment import ChildSetup
from .command_line import CommandLine, LaunchError
from .listeners import HOST
from .run import read_settings, settings_file

SHELLS = ("sh", "fish")
EXIT_UNKNOWN = 1  # as of every sub-command that does not know the name it was given
_DEFAULT = f"http://{HOST}:8080"
_OTHERS = ("python", "node", "curl")  # programs with no recipe that a user may ask for

ENV_HELP = """\
usage: patchbay env [CLIENT] [--shell sh|fish] [--url URL] [--config FILE]

Print what a tool in your shell needs to find the running proxy, for the shell to take over:

  eval "$(patchbay env claude)"
  patchbay env codex --shell fish | source

CLIENT is claude, codex, gemini, qwen or opencode. Without it, or for any other program, it is the base URLs of the SDKs
and, where the proxy has a listener for it, a proxy with certificates that include mitmproxy's.

  --url URL      the proxy's address; else that of the proxy that runs now, else http://127.0.0.1:8080
  --shell SHELL  sh (the default: also bash and zsh) or fish
  --config FILE  the settings; else $PATCHBAY_CONFIG, else ./config.yaml, else ~/.config/patchbay/config.yaml
  --help, -h     show this
"""


@dataclass(frozen=True, slots=True)
class EnvLine:
    """What `patchbay env` was asked for."""

    client: str = ""
    shell: str = "sh"
    url: str = ""
    config: str = ""
    help: bool = False


def env(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Print what the *words* behind `patchbay env` ask for, and return the exit code."""
    try:
        line = parse(words)
        _print(ENV_HELP if line.help else "\n".join(_lines(line, env)) + "\n")
        return 0
    except LaunchError as e:
        print(f"patchbay: {e}", file=sys.stderr)
        return e.code


def _print(text: str) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # a variable may hold any bytes
    print(text, end="")


def parse(words: Sequence[str]) -> EnvLine:
    """Read the *words* behind `patchbay env`. Raises LaunchError for a mistake."""
    line, left = EnvLine(), list(words)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name in ("-h", "--help"):
            line = replace(line, help=True)
        elif name in ("--shell", "--url", "--config"):
            if not equals and not left:
                raise LaunchError(f"{name} needs a value")
            line = _with(line, name[2:], value if equals else left.pop(0))
        elif name.startswith("-") or line.client:
            raise LaunchError(f"'{name}' is no option of patchbay env: --shell, --url, --config")
        else:
            line = replace(line, client=_client(name))
    if line.shell not in SHELLS:
        raise LaunchError(f"--shell: '{line.shell}' is none of {', '.join(SHELLS)}; bash and zsh are sh")
    return line


def _with(line: EnvLine, name: str, value: str) -> EnvLine:
    match name:
        case "shell":
            return replace(line, shell=value)
        case "url":
            return replace(line, url=value)
        case _:
            return replace(line, config=value)


def _client(word: str) -> str:
    known = [each.program for each in RECIPES]
    if word in known:
        return word
    if word not in _OTHERS and (near := difflib.get_close_matches(word, known, 1, 0.6)):
        raise LaunchError(f"'{word}' is none of {', '.join(known)}; did you mean {near[0]}?", EXIT_UNKNOWN)
    return word


def _lines(line: EnvLine, env: Mapping[str, str]) -> Iterator[str]:
    setup = _setup(line, env)
    change, _ = child_environment.changed(line.client, (), setup, env, Path("~/.mitmproxy").expanduser())
    removed = [*change.removed, *(proxy_variables.REMOVED if setup.proxy else ())]
    yield from (_unset(line.shell, name) for name in removed if env.get(name))
    yield from (_set(line.shell, name, value) for name, value in change.variables.items())
    yield from (_copy(line.shell, name, of) for name, of in change.copied.items())
    if change.arguments:
        yield _function(line.shell, line.client, change)
    if change.note:
        yield _comment(change.note)
    if change.snippet:
        yield _comment("or, in its settings file:")
        yield from (_comment(f"  {each}") for each in change.snippet.splitlines())


def _setup(line: EnvLine, env: Mapping[str, str]) -> ChildSetup:
    settings = read_settings(_file(line, env), CommandLine())
    status = None if line.url else _running(settings.folder, env)
    kinds = dict(zip(status.kinds, status.addresses, strict=False)) if status else {"base": line.url or _DEFAULT}
    own_keys = status.mode in ("shadow", "look") if status else settings.own_keys
    if status and not kinds.get("base") and not kinds.get("proxy"):
        raise LaunchError("the running proxy has no listener for tools: its mode is neither reverse nor regular")
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Without settings, the keys are those of the proxy's environment, which may be another than this one.
    hosts = settings.hosts if settings.hosts and not own_keys else child_environment.KNOWN_HOSTS
    base = "" if own_keys and kinds.get("proxy") else kinds.get("base", "").rstrip("/")
    return ChildSetup(base, kinds.get("proxy", ""), settings.folder, hosts, own_keys)


def _file(line: EnvLine, env: Mapping[str, str]) -> Path | None:
    """Return the settings file, None for none: a proxy that only looks has none."""
    try:
        return settings_file(CommandLine(config=line.config), env)
    except LaunchError:
        if line.config:
            raise
        return None


def _running(folder: Path, env: Mapping[str, str]) -> ProxyStatus | None:
    """Return the status of the proxy that was started last, None where none runs."""
    found = control_socket.running(folder, env)
    for each in sorted(found, key=lambda each: each.path.stat().st_mtime, reverse=True):
        try:
            return msgspec.convert(control_socket.ask(each.path, "status"), ProxyStatus)
        except (ControlFailed, msgspec.ValidationError, OSError):
            continue
    return None


def _comment(text: str) -> str:
    """Return *text* as one line that a shell passes over, whatever stands in it."""
    return f"# {visible(text)}".rstrip()


def _copy(shell: str, name: str, of: str) -> str:
    """Return the line that gives *name* the value of the variable *of*, which is not printed."""
    return f'set -gx {name} "${of}"' if shell == "fish" else f'export {name}="${of}"'


def _set(shell: str, name: str, value: str) -> str:
    if secret_patterns.holds_key(value.replace(f'"{PLACEHOLDER_KEY}"', '""')):
        raise LaunchError(
            f"{name} holds a key of yours, which is not printed: use  patchbay run -- …  or take the key out of it", 1
        )
    if shell == "fish":
        return f"set -gx {name} {_fish(value)}"
    return f"export {name}={shlex.quote(value)}"


def _unset(shell: str, name: str) -> str:
    return f"set -e {name}" if shell == "fish" else f"unset {name}"


def _function(shell: str, program: str, change: Change) -> str:
    """Return a function of the tool's name that adds the arguments."""
    if shell == "fish":
        return f"function {program}; command {program} {' '.join(map(_fish, change.arguments))} $argv; end"
    return f'{program}() {{ command {program} {shlex.join(change.arguments)} "$@"; }}'


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
