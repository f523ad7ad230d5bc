"""`patchbay run`: mitmproxy's tool with Patchbay in it, alone or beside a command that gets its addresses."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..frozen import dataclass
from ..proxy import environment
from ..proxy.persistence import VARIABLE
from ..proxy.release import ADDON, CALLED
from ..settings import reader
from ..settings.settings import Config
from ..visible_text import visible
from . import (
    child_environment,
    child_process,
    client_programs,
    command_line,
    host,
    listeners,
    summary,
    taken_ports,
    unwritten,
)
from .child_environment import ChildSetup
from .command_line import CommandLine, LaunchError
from .listeners import MODE, Listeners
from .proxy_process import AddressInUse, ProxyProcess, free_ports, host_command, remove_old_logs
from .proxy_variables import OuterProxy, outer_proxy

_TRIES = 5  # to find a port that no other program takes before the proxy has it
_AT_ONCE_SECONDS = 3.0  # after which a command is not taken for one that only starts another
_LEFT = (
    "the command ended at once, and the proxy with it: what it may have left running (an editor, a program in the"
    f' background) needs a proxy that stays:  {CALLED} run, and in its terminal  eval "$({CALLED} env)"'
)
_WEB = re.compile(r"Web server listening at (\S+)")

RUN_HELP = """\
usage: patchbay run [dump|web|console] [OPTION …] [-- COMMAND …]

Run mitmproxy with Patchbay: mitmdump (the default), mitmweb or the console. Every option that is not named here is
mitmproxy's: -p PORT, -w FILE, --mode MODE, --set NAME=VALUE, …

Without a command it listens on http://127.0.0.1:8080 for all providers.

With a command the proxy has a port of its own and ends with the command. Only the command is told of it, by its
environment or arguments; no settings file of yours is changed. Known by name: claude, codex, gemini, qwen, opencode.
Any other program gets the base URLs of the SDKs, and a proxy (HTTPS_PROXY) with certificates that include mitmproxy's.
A key is only needed if the program has none of its own settings for one: Patchbay replaces it. The exit code is the
command's; three lines at the end say what was asked, what it used, and which accounts served it.

  patchbay run -- claude
  patchbay run -w talk.flows -- codex exec "why is the sky blue?"
  patchbay run web --look -- gemini
  patchbay run -- python my_agent.py

  --look             only look: no settings and no account are needed, the command's own keys pass and are not kept
  --config FILE      the settings; else $PATCHBAY_CONFIG, else ./config.yaml, else ~/.config/patchbay/config.yaml, else
                     an account for each key in the environment, as `patchbay init` would write them down
  --quiet, -q        no lines about exchanges, and none at the end
  --log-format json  the lines about exchanges as JSON; or text
  --help, -h         show this
"""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run takes from the settings. *own_keys*: requests keep the credentials that the command has."""

    file: Path | None
    folder: Path
    hosts: tuple[str, ...]
    own_keys: bool


def run(words: Sequence[str], env: Mapping[str, str]) -> int:
    """Run what the *words* behind `patchbay run` say, and return the exit code; without a command do not return."""
    try:
        line = command_line.parse(words)
        if line.help:
            print(RUN_HELP, end="")
            return 0
        return _beside_command(line, env) if line.command else _alone(line, env)
    except LaunchError as e:
        print(f"patchbay: {e}", file=sys.stderr)
        return e.code


# -- without a command ------------------------------------------------------------------------------------------------


def _alone(line: CommandLine, env: Mapping[str, str]) -> int:
    file = _used_file(line, env)
    options = (*listeners.defaults(line), *_own_options(line), *_free_web_port(line, file, env), *line.options)
    if line.look and not line.quiet:
        print(f'patchbay: in the terminal of your tool:  eval "$({CALLED} env)"', file=sys.stderr)
    sys.stdout.flush()
    command = host_command(line.tool, "-", options)
    os.execve(command[0], command, _proxy_environment(file, line, env))  # noqa: S606 - this Python


def _free_web_port(line: CommandLine, file: Path | None, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the option for a free port of mitmweb, none where its usual one is free. Raises LaunchError."""
    places, folder = _places(line), _state_folder(file, line)
    tool = f"{line.tool} " * (line.tool != "dump")
    taken_ports.check(places, f"{tool}-p", folder, env)
    if line.tool != "web" or _is_configured("web_port", line):
        return ()
    if named := line.values("web_port"):
        pages = ((listeners.HOST, int(named[-1])),) if named[-1].isdigit() else ()
        taken_ports.check(pages, f"{tool}--web-port", folder, env)
        return ()
    used = {port for _, port in places}
    if taken_ports.WEB_PORT not in used and taken_ports.is_free(listeners.HOST, taken_ports.WEB_PORT):
        return ()
    return ("--web-port", str(taken_ports.free_after(listeners.HOST, taken_ports.WEB_PORT, used)))


def _places(line: CommandLine) -> tuple[tuple[str, int], ...]:
    """Return where the proxy will listen, as far as the command line says."""
    is_closed = {"-n", "--no-server", "server=false"} & set(line.options)
    return () if is_closed or _is_configured("listen_port", line) else listeners.places(line)


def _is_configured(name: str, line: CommandLine) -> bool:
    """Whether mitmproxy's own settings give the option *name*, and the command line does not."""
    with contextlib.suppress(OSError):
        text = (_confdir(line) / "config.yaml").read_text(encoding="utf-8", errors="replace")
        return not line.values(name) and f"{name}:" in text
    return False


def _state_folder(file: Path | None, line: CommandLine) -> Path:
    """Return the folder with the sockets of running proxies. The proxy itself says what is wrong with its settings."""
    try:
        return read_settings(file, line).folder
    except LaunchError:
        return read_settings(None, line).folder


# -- with a command ---------------------------------------------------------------------------------------------------


def _beside_command(line: CommandLine, env: Mapping[str, str]) -> int:
    program = child_process.located(line.command[0], env)
    settings = read_settings(_used_file(line, env), line)
    _make_folders(line, settings)
    remove_old_logs(settings.folder, time.time())
    outer = None if line.values("mode") else _outer(line, settings, env)
    proxy = ProxyProcess(settings.folder, _with_auth(_proxy_environment(settings.file, line, env), outer))
    try:
        reached = _started(proxy, line, settings, outer)
        setup = ChildSetup(reached.base, reached.proxy, settings.folder, settings.hosts, settings.own_keys)
        command, child, note = child_environment.prepared(line.command, setup, env, _confdir(line))
        if note:
            _say(visible(note))
        _tell_web(proxy, line)
        began = time.monotonic()
        code = child_process.run(program, command, child)
        _end(proxy, line, at_once=time.monotonic() - began < _AT_ONCE_SECONDS)
    except KeyboardInterrupt:
        code = -signal.SIGINT
    finally:
        proxy.end()
    return _passed_on(code)


def _make_folders(line: CommandLine, settings: RunSettings) -> None:
    """Make the folder for the log of the proxy. Raises LaunchError where this folder or mitmproxy's cannot be used."""
    if wrong := environment.unwritable(settings.folder):
        other = environment.OTHER_STATE if settings.file else "name another home:  HOME=/other/folder"
        raise LaunchError(f"the proxy keeps its log and its state in a folder, and {wrong}; {other}")
    own = _confdir(line)
    if not (own / "mitmproxy-ca.pem").exists() and (wrong := environment.unwritable(own)):
        raise LaunchError(
            f"mitmproxy keeps its certificates in a folder, and {wrong}; add  --set confdir=/other/folder"
        )
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _started(proxy: ProxyProcess, line: CommandLine, settings: RunSettings, outer: OuterProxy | None) -> Listeners:
    modes = _modes(line, settings, outer)
    for left in reversed(range(_TRIES)):
        reached = listeners.beside_command(line, modes, free_ports, outer)
        web = ("--web-port", str(free_ports(1)[0])) if line.tool == "web" and not line.values("web_port") else ()
        try:
            proxy.start(line.tool, (*reached.options, *web, *_own_options(line), *line.options))
        except AddressInUse as e:
            if not left or line.values("listen_port") or line.values("web_port"):
                raise LaunchError(f"the proxy did not start:\n{e}", 1) from None
        else:
            return reached
    raise AssertionError("the last try returns or raises")


def _modes(line: CommandLine, settings: RunSettings, outer: OuterProxy | None) -> tuple[str, ...]:
    """Return the modes of mitmproxy for the ways in which the command is to reach it."""
    if settings.own_keys or outer:
        return ("regular",)
    wanted = child_environment.ways(client_programs.find(line.command)[0], settings.hosts)
    return tuple({"base": MODE, "proxy": "regular"}[way] for way in wanted)


def _outer(line: CommandLine, settings: RunSettings, env: Mapping[str, str]) -> OuterProxy | None:
    """Return the proxy of this network, and say that requests leave through it. Raises LaunchError."""
    outer = outer_proxy(env, settings.hosts)
    if outer is None:
        return None
    without = f"env -u {outer.named} patchbay run …"
    if not outer.is_usable:
        named = f"{outer.named} names a proxy that mitmproxy cannot use" + (f", {outer.url}" if outer.url else "")
        raise LaunchError(f"{named}: name an HTTP proxy there, or leave it out:  {without}")
    if not line.quiet:
        told = f"requests leave through {outer.url} ({outer.named}); to connect directly:  {without}"
        print(f"patchbay: {told}", file=sys.stderr)
    return outer


def _with_auth(env: dict[str, str], outer: OuterProxy | None) -> dict[str, str]:
    return {**env, host.AUTH: outer.auth} if outer and outer.auth else env


def _confdir(line: CommandLine) -> Path:
    """Return mitmproxy's own folder, which holds its certificate."""
    named = line.values("confdir")
    return Path(named[-1] if named else "~/.mitmproxy").expanduser()


def _tell_web(proxy: ProxyProcess, line: CommandLine) -> None:
    """Say where mitmweb is, with its token: past the stream that hides what looks like a key."""
    if line.tool == "web" and not line.quiet and (found := _WEB.search(proxy.output())):
        print(f"patchbay: mitmweb is at {found[1]}", file=sys.__stderr__, flush=True)


def _end(proxy: ProxyProcess, line: CommandLine, *, at_once: bool) -> None:
    """
    Say what went through *proxy*, and end it. Its log stays where there is a reason to read it.

    *at_once*: the command may have left another program running, as the one that opens an editor does.
    """
    if (code := proxy.exit_code) is not None:
        told = proxy.told().rpartition("\n")[2]
        _say(f"the proxy ended before the command, with exit code {code}: {told}\nits log: {proxy.log}")
        return
    found = proxy.status()
    proxy.end()
    if found is not None and not line.quiet:
        for text in summary.lines(found.totals, looked=line.look):
            _say(visible(text))
        if found.store_fault:
            _say(visible(f"nothing was kept for the next run: {found.store_fault}"))
        if at_once and not found.totals.exchanges and not found.totals.refused:
            _say(_LEFT)
    if found is not None and summary.is_flagged(found.totals):
        _say(f"the proxy's log: {proxy.log}")
    elif proxy.exit_code:
        _say(f"the proxy ended with exit code {proxy.exit_code}; its log: {proxy.log}")
    else:
        proxy.log.unlink(missing_ok=True)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal is gone
        print(f"patchbay: {text}", file=sys.stderr, flush=True)


def _passed_on(code: int) -> int:
    """Return the exit code for *code*, negative for a signal, as a shell counts it."""
    if code == -signal.SIGINT:
        # A shell that runs a script or a loop ends it only when this process is seen to die of Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return 128 - code if code < 0 else code


# -- the settings -----------------------------------------------------------------------------------------------------


class NoSettings(LaunchError):
    """None of the usual places has a settings file."""


def _used_file(line: CommandLine, env: Mapping[str, str]) -> Path | None:
    """
    Return the settings file to use, None for none. Raises LaunchError.

    Where the usual places have none, it is made for the keys in *env*, which is said.
    """
    try:
        return settings_file(line, env)
    except NoSettings as e:
        made = unwritten.of(env)
        if not made.keys:
            look = f"{CALLED} run --look" + (f" -- {shlex.join(line.command)}" if line.command else "")
            left = "".join(f"\nleft out: {each}" for each in made.left)
            raise LaunchError(f"{e}; without an account, to only look:  {look}{left}") from e
        if not line.quiet:
            _say(visible(made.told()))
        return unwritten.write(made, Path(Config(()).state).expanduser())


def settings_file(line: CommandLine, env: Mapping[str, str]) -> Path | None:
    """Return the settings file to use, None for none. Raises LaunchError where there is no such file, or NoSettings."""
    if line.look:
        return None
    named = line.values("patchbay_config")
    if named:
        return Path(named[-1]).expanduser().absolute()
    file = environment.settings_file(line.config or None)
    if file.exists():
        return file.absolute()
    if line.config or env.get("PATCHBAY_CONFIG"):
        raise LaunchError(f"there is no {file}; make it:  {_init(file)}")
    if ADDON.name == "addon" and (own := ADDON.parent / "config.yaml").exists():  # a checkout has its own
        return own
    wanted = environment.home_settings()
    raise NoSettings(f"there is no {file} here, no {wanted}, and no key in the environment; make one:  {_init(wanted)}")


def _init(file: Path) -> str:
    return f"{CALLED} init {shlex.quote(str(file))}"


def read_settings(file: Path | None, line: CommandLine) -> RunSettings:
    """Return what a run takes from the settings at *file*. Raises LaunchError."""
    config = Config(())
    if file is not None:
        try:
            config = reader.load(environment.text_of(file), str(file), env=os.environ)
        except reader.ConfigError as e:
            raise LaunchError(str(e)) from e
        except OSError as e:
            raise LaunchError(environment.told(e, file)) from e
    hosts = {account.origin.host for account in config.accounts if account.enabled and account.origin}
    own_keys = line.look or config.mode == "shadow"
    return RunSettings(
        file, Path(config.state).expanduser(), child_environment.KNOWN_HOSTS if own_keys else tuple(hosts), own_keys
    )


def _own_options(line: CommandLine) -> tuple[str, ...]:
    """Return mitmproxy's options for Patchbay's own ones in *line*."""
    options: list[str] = []
    if line.look:
        options += ["--set", "patchbay_look=true"]
    if line.quiet:
        options += ["-q", "--set", "patchbay_quiet=true"]
    if line.log_format:
        options += ["--set", f"patchbay_log_format={line.log_format}"]
    return tuple(options)


def _proxy_environment(file: Path | None, line: CommandLine, env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the proxy. Conversations stay with their accounts over a restart."""
    own = {} if line.look else {VARIABLE: env.get(VARIABLE, "sqlite")}
    if file is not None and not line.values("patchbay_config"):
        own["PATCHBAY_CONFIG"] = str(file)
    return {**env, **own}
