"""
The control sockets of running proxies: where they lie, and how another process asks one.

One JSON object a line: `{"command": "status", "arguments": []}` is answered by `{"ok": true, "result": …}` or
`{"ok": false, "error": "…"}`. Knows nothing of mitmproxy, so that the command line starts quickly.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..frozen import dataclass
from ..settings import yaml_document

VARIABLE_OF_PATH = "PATCHBAY_CONTROL"  # the path of the socket, in place of one in the state folder; `off`: none
NO_SOCKET = "no control socket"  # begins what is logged where it cannot be made
LONGEST_LINE = 64 * 1024  # bytes of a command
LONGEST_ANSWER = 16 * 1024 * 1024  # bytes
LONGEST_PATH = 90  # bytes; Linux takes 107, macOS 103, and the name is a little longer until it listens
PATIENCE = 10.0  # seconds until an answer
COOL = 600.0  # seconds of a pause without a length
_LONGEST_COOL = 30 * 86_400.0  # seconds
_NAME = re.compile(r"control-(\d+)(?:-\d+)?\.sock")
_SAME_NAME = 9  # sockets of one process id: containers that share a state folder may all be process 1


class ControlCommand(msgspec.Struct, frozen=True):
    """A line to the socket."""

    command: str
    arguments: tuple[str, ...] = ()


class ControlAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line from the socket. *error* is a sentence for people."""

    ok: bool
    result: Any = None
    error: str = ""


class ControlFailed(Exception):
    """A running proxy refused a command, or gave no answer. The message is a sentence for people."""


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A control socket with a process behind it. *pid* is 0 where its name does not tell."""

    path: Path
    pid: int


def running(folder: Path, env: Mapping[str, str]) -> list[RunningProxy]:
    """Return the proxies to ask: the one that *env* names, else those with a socket in the state *folder*."""
    if (named := env.get(VARIABLE_OF_PATH, "")) and named != "off":
        return [RunningProxy(Path(named), 0)] if is_live(Path(named)) else []
    return [RunningProxy(path, _pid(path)) for path in _sockets(folder) if is_live(path)]


def ask(path: Path, command: str, *arguments: str, patience: float = PATIENCE) -> Any:
    """Return the result of *command* at the socket *path*. Raises ControlFailed."""
    try:
        with _connected(path, patience) as connection:
            connection.sendall(msgspec.json.encode(ControlCommand(command, arguments)) + b"\n")
            with connection.makefile("rb") as lines:
                answer = msgspec.json.decode(lines.readline(LONGEST_ANSWER), type=ControlAnswer)
    except TimeoutError as e:
        raise ControlFailed(f"the proxy gave no answer within {patience:g} seconds") from e
    except (OSError, msgspec.MsgspecError) as e:
        raise ControlFailed("the proxy ended before it answered") from e
    if not answer.ok:
        raise ControlFailed(answer.error)
    return answer.result


def is_live(path: Path) -> bool:
    """Whether a process listens at *path*."""
    if not os.path.lexists(path):  # a connection to a path that is too long fails in the same way as to a busy socket
        return False
    try:
        _connected(path, 1.0).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:  # it is busy, or another user's
        return True
    return True


def listening(folder: Path, env: Mapping[str, str], pid: int) -> tuple[socket.socket, Path] | None:
    """
    Make the control socket of the process *pid*, which listens, and return it with its path; None: `off`.

    Sockets that dead processes left in *folder* are removed. Raises OSError.
    """
    named = env.get(VARIABLE_OF_PATH, "")
    if named == "off" or not hasattr(socket, "AF_UNIX"):
        return None
    if named:
        remove_stale([Path(named)])
        if os.path.lexists(named):
            raise FileExistsError(
                errno.EEXIST, f"{VARIABLE_OF_PATH} names the socket of another proxy, or another file"
            )
        return _listening(Path(named)), Path(named)
    remove_stale(_sockets(folder))
    for number in range(1, _SAME_NAME + 1):
        path = folder / (f"control-{pid}.sock" if number == 1 else f"control-{pid}-{number}.sock")
        if not os.path.lexists(path):
            return _listening(path), path
    raise FileExistsError(errno.EEXIST, f"{_SAME_NAME} sockets of a process {pid} are in use")


def seconds_of(given: str) -> float:
    """Return the length of a pause. Raises ValueError, with a sentence for people."""
    length = yaml_document.length_of(given)
    if length is None or not 1 <= length <= _LONGEST_COOL:
        raise ValueError(f"{given[:20]!r} is no length such as 90s, 10m or 2h, of 1 second to 30 days")
    return length


def remove_stale(paths: Sequence[Path]) -> None:
    """Remove those sockets of *paths* at which no process listens; other files, and other users' sockets, stay."""
    for path in paths:
        if _is_own(path) and not is_live(path):
            remove(path)


def remove(path: Path) -> None:
    """Remove the socket *path*, and where it lies elsewhere, the folder that was made for it; no other file."""
    with contextlib.suppress(OSError):
        if not _is_own(path):
            return
        aside = _aside(path)
        path.unlink()
        if aside is not None:
            aside.unlink(missing_ok=True)
            aside.parent.rmdir()


def path_for(folder: Path, pid: int, number: int) -> Path:
    """Return the path for the socket of the process *pid* in *folder*, by the *number* no other one's of that id."""
    return folder / f"control-{pid}-{number}.sock"


# -- paths ------------------------------------------------------------------------------------------------------------

# The operating system limits a socket's path to about a hundred bytes. For a longer one the socket lies in a temporary
# folder of its own, and a symbolic link to it stands at the path.
_PREFIX, _SOCKET = "patchbay-control-", "socket"


def _listening(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return _listening_at(path)
    aside = Path(tempfile.mkdtemp(prefix=_PREFIX)) / _SOCKET  # the folder has mode 0700
    found = None
    try:
        found = _listening_at(aside)
        path.symlink_to(aside)
    except OSError:
        if found:
            found.close()
        aside.unlink(missing_ok=True)
        aside.parent.rmdir()
        raise
    return found


def _listening_at(path: Path) -> socket.socket:
    # Renamed once it listens: at its own name it can be connected to from the first moment on, and a process that
    # starts meanwhile does not take it for one that a dead process left.
    early = path.with_name(f"{path.name}.{os.getpid()}")
    remove_stale([early])
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.bind(str(early))  # fails where any file is
    except OSError:
        found.close()
        raise
    try:
        early.chmod(0o600)  # before it listens, so no other user was let in
        found.listen()
        early.rename(path)
    except OSError:
        found.close()
        early.unlink(missing_ok=True)
        raise
    return found


def _connected(path: Path, patience: float) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.settimeout(patience)
        found.connect(str(_aside(path) or path))
    except BaseException:
        found.close()
        raise
    return found


def _aside(path: Path) -> Path | None:
    return Path(os.readlink(path)) if path.is_symlink() else None


def _sockets(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("control-*.sock") if _NAME.fullmatch(path.name) and _is_own(path))


def _is_own(path: Path) -> bool:
    """Whether *path* is a socket of this user, or a link as `_listening` makes it. No link is followed further."""
    with contextlib.suppress(OSError):
        aside = _aside(path)
        return _is_own_socket(path) if aside is None else _is_made_aside(path, aside)
    return False


def _is_made_aside(link: Path, aside: Path) -> bool:
    """Whether *aside*, where *link* leads, lies in a folder made for it. The socket may be gone, or the folder."""
    folder = aside.parent
    is_named = aside.is_absolute() and aside.name == _SOCKET and folder.name.startswith(_PREFIX)
    if not is_named or os.path.normpath(aside) != str(aside) or not _is_of_user(link.lstat()):
        return False
    if not os.path.lexists(folder):
        return True
    found = folder.lstat()
    is_made = stat.S_ISDIR(found.st_mode) and _is_of_user(found) and not found.st_mode & 0o077
    return is_made and (not os.path.lexists(aside) or _is_own_socket(aside))


def _is_own_socket(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISSOCK(found.st_mode) and _is_of_user(found)


def _is_of_user(found: os.stat_result) -> bool:
    return os.geteuid() in (0, found.st_uid)


def _pid(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else 0
