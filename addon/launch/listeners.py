"""Where the proxy listens for a command, and how the command reaches it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ..frozen import dataclass
from ..upstream_url import ANYWHERE
from .command_line import CommandLine, LaunchError
from .proxy_variables import OuterProxy

MODE = f"reverse:http://{ANYWHERE}"  # one port for every provider; where no account is responsible, nothing answers
HOST = "127.0.0.1"  # a client must not reach it from outside
_PORT = 8080  # mitmproxy's, where none is named
_BASES, _PROXIES = ("reverse",), ("regular", "upstream")
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - looked for


@dataclass(frozen=True, slots=True)
class Listeners:
    """*options* are for mitmproxy. *base* and *proxy* are the URLs of the listeners of each kind, empty for none."""

    options: tuple[str, ...]
    base: str = ""
    proxy: str = ""


def defaults(line: CommandLine) -> tuple[str, ...]:
    """Return the options for a proxy that runs alone, less those that the user gave."""
    mode = () if line.values("mode") else ("--mode", "regular" if line.look else MODE)
    return (*mode, *_host(line))


def places(line: CommandLine) -> tuple[tuple[str, int], ...]:
    """Return host and port of the listeners of a proxy that runs alone. Raises LaunchError."""
    named = line.values("listen_port")
    port = _port(named[-1]) if named else _PORT
    modes = line.values("mode") or ("regular",)
    urls = (urlsplit(_url(mode, line, port)) for mode in modes if _kind(mode) in (*_BASES, *_PROXIES))
    return tuple((url.hostname or HOST, url.port or port) for url in urls)


def beside_command(
    line: CommandLine, modes: tuple[str, ...], free_ports: Callable[[int], list[int]], outer: OuterProxy | None
) -> Listeners:
    """
    Return the listeners for a command: in the user's own modes, else in *modes*, of which those that are proxies send
    their requests through the *outer* proxy. Raises LaunchError.
    """
    if given := line.values("mode"):
        options: tuple[str, ...] = ()
    else:
        given = tuple(f"upstream:{outer.url}" if outer and mode in _PROXIES else mode for mode in modes)
        options = ()
    ports = free_ports(len(given))
    if named := line.values("listen_port"):
        ports[0] = _port(named[-1])
    else:
        options += ("--listen-port", str(ports[0]))
    if not line.values("mode"):
        placed = [given[0], *(f"{mode}@{port}" for mode, port in zip(given[1:], ports[1:], strict=True))]
        options += tuple(word for mode in placed for word in ("--mode", mode))
        given = tuple(placed)
    urls = [(_kind(mode), _url(mode, line, ports[0])) for mode in given]
    base = next((url for kind, url in urls if kind in _BASES), "")
    proxy = next((url for kind, url in urls if kind in _PROXIES), "")
    if not base and not proxy:
        raise LaunchError(f"a command reaches no proxy in the mode {' '.join(given)}: use reverse, regular or upstream")
    return Listeners((*options, *_host(line)), base, proxy)


def _host(line: CommandLine) -> tuple[str, ...]:
    return () if line.values("listen_host") else ("--listen-host", HOST)


def _kind(mode: str) -> str:
    return mode.partition("@")[0].partition(":")[0].lower()


def _url(mode: str, line: CommandLine, port: int) -> str:
    """Return the address of the listener of *mode*, a specification as `reverse:http://x@127.0.0.1:8080`."""
    named = line.values("listen_host")
    host = named[-1] if named else HOST
    specified, at, place = mode.rpartition("@")
    if at and specified and (number := place.rpartition(":")[2]).isdigit():
        host, port = place.rpartition(":")[0].strip("[]") or host, int(number)
    host = HOST if host in _EVERYWHERE else host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise LaunchError(f"the port '{text}' is none of 1 to 65535")
    return int(text)
