"""
What the settings name outside their file: secrets, folders, programs. Looked at without changing or running anything.

Said by `patchbay check` and at the start alike, each with its setting and its place, and never with a key.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from .. import secret_patterns
from ..frozen import dataclass
from ..settings.settings import Config
from ..store import file_of, master_key, missing_package
from ..values.account import Secret
from . import credentials
from .credentials import KeyUnavailable
from .persistence import VARIABLE
from .release import CALLED

_LARGEST = 16 * 1024 * 1024  # bytes of a settings file
OTHER_STATE = "name another one in the settings:  state: /other/folder"
_HANDED_OVER = (Path("/dev/fd"), Path("/proc/self/fd"))  # a shell's `<(…)`


@dataclass(frozen=True, slots=True)
class Problem:
    """
    What is wrong, in one line.

    `stops`: the start is refused. `wrong`: unusable as it is. `absent`: not on this machine now.
    """

    kind: Literal["stops", "wrong", "absent"]
    text: str


def settings_file(named: str | None) -> Path:
    """
    Return the settings file to use: the file *named*, else $PATCHBAY_CONFIG, else `config.yaml` right here.

    Where there is none here, it is `~/.config/patchbay/config.yaml` if that exists: a tool runs in any folder.
    """
    if found := named or os.environ.get("PATCHBAY_CONFIG"):
        return Path(found).expanduser()
    here, own = Path("config.yaml"), home_settings()
    return own if own.is_file() and not here.exists() else here


def home_settings() -> Path:
    """Return the settings file that is used in every folder without one."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "patchbay" / "config.yaml"


def text_of(path: Path) -> bytes:
    """
    Return what the settings file at *path* holds. Raises OSError, which says what is wrong, where it cannot be read.

    A named pipe or a device is not read: it may never end, and nothing else runs meanwhile.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, and the settings are a file", str(path))
    if not stat.S_ISREG(found.st_mode) and path.parent not in _HANDED_OVER:
        raise OSError(errno.EINVAL, "is no ordinary file", str(path))
    if found.st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"is larger than {_LARGEST} bytes", str(path))
    return path.read_bytes()


def told(e: Exception, path: Path) -> str:
    """Return what *e* says; where it is about the settings file at *path*, also what to do."""
    if not isinstance(e, OSError) or not e.filename:
        return str(e)
    if str(e.filename) != str(path):
        return f"{e.filename}: {e.strerror}" if e.strerror else str(e)
    wrong = f"no file {path}" if isinstance(e, FileNotFoundError) else f"{path}: {e.strerror}"
    there = "name the settings (in mitmproxy: --set patchbay_config=FILE), or set $PATCHBAY_CONFIG"
    return f"{wrong}; {there}, or make them: {CALLED} init"


def problems(settings: Config, env: Mapping[str, str]) -> tuple[Problem, ...]:
    """Return what is wrong around *settings*, in no particular order of weight."""
    found = (*_folders(settings, env), *_secrets(settings, env), *_programs(settings))
    return tuple(Problem(kind, _said(settings, setting, text)) for kind, setting, text in found)


def looked_at(settings: Config, env: Mapping[str, str]) -> Config:
    """Return *settings* with what is odd around them among the warnings. Raises ValueError for what stops a start."""
    found = problems(settings, env)
    if stops := [problem.text for problem in found if problem.kind == "stops"]:
        raise ValueError("; ".join(stops))
    return replace(settings, warnings=(*settings.warnings, *(problem.text for problem in found)))


def keys_amiss(settings: Config, env: Mapping[str, str]) -> Iterator[tuple[str, Secret, KeyUnavailable]]:
    """Yield the setting of each key of an enabled account that cannot be had, and why."""
    for at, account in enumerate(settings.accounts):
        named = {header.secret: f"headers.{header.name}" for header in reversed(account.secret_headers)}
        for secret, wrong in credentials.faults(account.secrets if account.enabled else (), env):
            setting = "login" if secret.tool else "key" if secret == account.secret else named[secret]
            yield f"accounts[{at}].{setting}", secret, wrong


_Found = tuple[Literal["stops", "wrong", "absent"], str, str]


def _said(settings: Config, setting: str, text: str) -> str:
    place = settings.places.get(setting, "")
    return secret_patterns.covered(f"{place}: {setting}: {text}" if place else f"{setting}: {text}")


# -- folders and files that are written -------------------------------------------------------------------------------


def _folders(settings: Config, env: Mapping[str, str]) -> Iterator[_Found]:
    state = Path(settings.state)
    if wrong := unwritable(state):
        yield "stops", "state", f"{wrong}; {OTHER_STATE}"
    elif wrong := _shared(state) or _key(state):
        yield "stops", "state", wrong
    if settings.journal.path and (wrong := _file(Path(settings.journal.path))):
        yield "stops", "journal.path", wrong
    yield from _store(settings, env, state_is_well=not unwritable(state))


def unwritable(path: Path) -> str:
    """Say why *path* cannot be used as a folder that is made when it is missing, or nothing."""
    try:
        path = path.expanduser()
        if path.is_dir():
            return "" if os.access(path, os.W_OK | os.X_OK) else f"the folder {path} cannot be written to"
        if path.exists() or path.is_symlink():
            return f"{path} is no folder"
        above = next((each for each in path.parents if each.exists()), path)
        if not above.is_dir():
            return f"{path} cannot be made: {above} is no folder"
        return "" if os.access(above, os.W_OK | os.X_OK) else f"{path} cannot be made: {above} cannot be written to"
    except (OSError, RuntimeError, ValueError) as e:
        return f"{path} cannot be used: {getattr(e, 'strerror', None) or e}"


def _shared(path: Path) -> str:
    path = path.expanduser()
    if path.is_dir() and path.stat().st_mode & 0o022:
        return f"others can change what is in {path}, and the key of all ids is there: chmod go-w {path}"
    return ""


def _key(folder: Path) -> str:
    folder = folder.expanduser()
    try:
        if (folder / "master.key").exists():
            master_key(folder)
    except OSError as e:
        return f"{e.filename}: {e.strerror}" if e.strerror else str(e)
    except ValueError as e:
        return str(e)
    return ""


def _file(path: Path) -> str:
    """Say why *path* cannot be used as a file that is made when it is missing, or nothing."""
    try:
        path = path.expanduser()
        if path.is_file():
            return "" if os.access(path, os.W_OK) else f"{path} cannot be written to"
        if path.exists():
            return f"{path} is no ordinary file"
    except (OSError, RuntimeError, ValueError) as e:
        return f"{path} cannot be used: {getattr(e, 'strerror', None) or e}"
    return unwritable(path.parent)


def _store(settings: Config, env: Mapping[str, str], *, state_is_well: bool) -> Iterator[_Found]:
    url = settings.store or env.get(VARIABLE, "")
    setting = "store" if settings.store else VARIABLE
    if url.startswith("env:"):
        name = url.removeprefix("env:")
        if not env.get(name):
            yield "stops", setting, f"the environment variable {name} is not set"
        url = env.get(name, "")
    if lacks := missing_package(url):
        yield "absent", setting, lacks
    folder = Path(settings.state)
    file = file_of(url, folder)
    if file and (state_is_well or file.parent != folder) and (wrong := _file(file)):
        yield "wrong", setting, wrong


# -- secrets and programs ---------------------------------------------------------------------------------------------


def _secrets(settings: Config, env: Mapping[str, str]) -> Iterator[_Found]:
    """Yield what is wrong with the keys that are used. A variable that is not set is among the settings' warnings."""
    for at, client in enumerate(settings.clients):
        if wrong := credentials.unusable(client.secret, env):
            yield "stops", f"clients[{at}].key", str(wrong)
    for setting, secret, wrong in keys_amiss(settings, env):
        if not (wrong.absent and secret.source == "env"):
            yield "absent" if wrong.absent else "wrong", setting, str(wrong)


def _programs(settings: Config) -> Iterator[_Found]:
    command = settings.crosstalk.on_incident
    if command and (wrong := credentials.unusable(Secret("cmd", argv=command), {})):
        yield "absent", "crosstalk.on_incident", str(wrong)
