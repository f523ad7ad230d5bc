"""
The values of secrets: read from where they are kept, held in memory, and recognised wherever they turn up.

The only place a value lives. No message, log line or repr of this module carries one, nor what a command printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from .. import keyed, logins, secret_patterns
from ..bounded import BoundedMap
from ..credential_places import PROTOCOL_KEYS, KeyHeaders
from ..frozen import dataclass
from ..values.account import CredentialHeader, Secret
from .key_cover import KeyCover
from .passing_credentials import PassingCredentials
from .redaction import MIN_COVERED, Redactor

MAX_FILE = 1_000_000  # bytes; also of what a command may print
MAX_KNOWN = 4096  # values that are recognised, the latest first
MAX_HELD = 4096  # secrets whose value is at hand
IN_HEADS = 16  # characters of a value that is covered in a head: `localhost` may be the key of a server of one's own
_QUOTED = 12  # characters of the beginning of a value that are covered in a message
COMMAND_RETRY = 5.0  # seconds after which a command that failed may be run again
KILL_WAIT = 1.0  # seconds to wait for a killed command to end

_SAME_VERSION = 3  # readings after which the secrets of an account are used as they are
_REPLACED_WITHIN = 0.05  # seconds in which a tool that removes a file first has written it anew

FileStamp = tuple[int, ...]
_SOUND = re.compile(r"[!-~]+")
_MARKING = secrets.token_bytes(32)  # the key of `mark_of`: a mark is good in this process alone


class KeyUnavailable(Exception):
    """
    A credential cannot be had now. The message names its source, never its value.

    *absent*: nothing is there; else what is there cannot be used. *torn*: its file seems to be half written.
    """

    def __init__(self, message: str, absent: bool = False, torn: bool = False) -> None:
        super().__init__(message)
        self.absent = absent
        self.torn = torn


@dataclass(frozen=True, slots=True)
class _Held:
    """
    A value as it was read at *at*. *failed* is why a later reading gave none, if that is so.

    *over* is when its login expires, in seconds of the wall clock; None: it says nothing of an end. *mark* stands for
    the secret with this value: see `fingerprint`.
    """

    value: str = field(repr=False)
    at: float
    stamp: FileStamp | None = None
    failed: str = ""
    over: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read: a value, and when its login is over."""

    value: str = field(repr=False)
    over: float | None = None


class Credentials:
    """
    Values by secret.

    `ready` makes one available, `value` returns it without waiting, `refresh` reads it anew after it was refused.
    *env*, *clock* (monotonic seconds) and *now* (of the wall clock) are there for tests.
    """

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._env = os.environ if env is None else env
        self._clock = clock
        self._now = now
        self._held: BoundedMap[Secret, _Held] = BoundedMap(MAX_HELD)
        self._flights: dict[Secret, asyncio.Task[None]] = {}
        self._known: BoundedMap[str, None] = BoundedMap(MAX_KNOWN)
        self._cover: Redactor | None = Redactor(())
        self._message_cover: Redactor | None = self._cover
        self._head_cover: Redactor | None = self._cover
        self.texts = KeyCover(self.scrub_text)
        self.passing = PassingCredentials(self.texts.forget)
        self._seal = secrets.token_bytes(32)
        self._withheld: tuple[set[str], set[str]] = set(), set()  # variables, values
        self.key_headers = PROTOCOL_KEYS  # of the settings, now or earlier: what carried a key is covered for good

    def __repr__(self) -> str:
        return f"Credentials({len(self._held)} held)"

    async def ready(self, *wanted: Secret) -> None:
        """
        Make the values of *wanted* available, reading what is new or stale. Raises KeyUnavailable.

        A key and the headers that belong to it may stand in one file: all of them are of one version of it.
        """
        for _ in range(_SAME_VERSION):
            for secret in wanted:
                await self._one_ready(secret)
            if len(wanted) == 1 or all(map(self._is_fresh, wanted)):
                return

    async def _one_ready(self, secret: Secret) -> None:
        if not self._is_fresh(secret):
            await self._flight(secret)
        self.value(secret)
        over = self._held[secret].over
        if over is not None and self._now() >= over:
            raise KeyUnavailable(logins.expired(over, secret.tool))

    def value(self, secret: Secret) -> str:
        """Return the value of *secret* from memory. Raises KeyUnavailable."""
        held = self._held.get(secret)
        if held is None:
            raise KeyUnavailable(f"{named(secret)}: has not been read yet")
        if not held.value:
            raise KeyUnavailable(held.failed)
        return held.value

    async def refresh(self, secret: Secret) -> bool:
        """Read *secret* anew, as after a 401. Say whether it has another value that can be used now."""
        if secret.source == "literal":
            return False
        before = self._held.get(secret)
        await self._flight(secret)
        after = self._held.get(secret)
        if after is None or after.value in ("", before.value if before else ""):
            return False
        return after.over is None or self._now() < after.over

    def cover(self) -> Redactor:
        """What covers every value that is known now or was until recently."""
        if self._cover is None:
            self._cover = Redactor(self._known)
        return self._cover

    def cover_of_heads(self) -> Redactor:
        """What covers values of IN_HEADS characters in the heads of requests, whose ordinary words must stay."""
        if self._head_cover is None:
            self._head_cover = Redactor(value for value in self._known if len(value) >= IN_HEADS)
        return self._head_cover

    def scrub(self, data: bytes) -> bytes:
        """Return *data* with every known value covered, however it is escaped; see `Redactor`."""
        return self.cover().scrub(data)

    def scrub_text(self, text: str) -> str:
        """Return *text*, a message, with every known value covered, also where it is cut off."""
        before = text.encode("utf-8", "backslashreplace")
        after = self.passing.without_known(self._cover_of_messages().scrub(before))
        return text if after == before else after.decode()

    def _cover_of_messages(self) -> Redactor:
        """What covers also the beginning of a value: a message about what came may quote only so many bytes of it."""
        if self._message_cover is None:
            self._message_cover = Redactor((*self._known, *(value[:_QUOTED] for value in self._known)))
        return self._message_cover

    def withhold(self, secrets: Iterable[Secret], variables: Iterable[str] = ()) -> None:
        """Let no child process inherit *secrets*, nor the environment *variables* besides theirs, from now on."""
        names, literal = self._withheld
        names.update(variables)
        for secret in secrets:
            if secret.source == "env":
                names.add(secret.value)
            elif secret.source == "literal":
                literal.add(secret.value)

    def carried_by(self, headers: Iterable[CredentialHeader]) -> None:
        """Let *headers* count as carriers of a key from now on."""
        if found := set(headers) - set(self.key_headers.own):
            self.key_headers = KeyHeaders((*self.key_headers.own, *sorted(found, key=lambda each: each.header)))

    def environment(self) -> dict[str, str]:
        """Return the environment for a child process: ours, without the variables that hold a credential."""
        names, literal = self._withheld
        values = {self._env[name].strip() for name in names if name in self._env} | literal | set(self._known)
        values = {value for value in values if len(value) >= MIN_COVERED}
        return {
            name: value
            for name, value in self._env.items()
            if name not in names and not any(known in value for known in values)
        }

    def state_of(self, secrets: Iterable[Secret]) -> tuple[str, ...]:
        """Return what differs when one of *secrets* has another value."""
        return tuple(map(self.fingerprint, secrets))

    def is_replaced(self, secrets: Sequence[Secret], state: tuple[str, ...]) -> bool:
        """Whether one of *secrets* has another value than in *state*, or its file or variable has changed since."""
        kept = (secret for secret in secrets if secret.source in ("file", "env"))
        return self.state_of(secrets) != state or not all(map(self._is_fresh, kept))

    def fingerprint(self, secret: Secret) -> str:
        """Return a digest that changes with *secret* or its value. Its key is this process's own."""
        held = self._held.get(secret)
        return held.mark if held else self._mark(secret, "")

    def _mark(self, secret: Secret, value: str) -> str:
        parts = (secret.source, secret.value, secret.pointer, *secret.argv, value)
        return keyed.digest(self._seal, *(part.encode("utf-8", "surrogateescape") for part in parts)).hex()

    # -- reading ---------------------------------------------------------------------------------------------------

    def _is_fresh(self, secret: Secret) -> bool:
        held = self._held.get(secret)
        if held is None:
            return False
        match secret.source:
            case "literal":
                return True
            case "env":
                return held.value == self._env.get(secret.value, "").strip() != ""
            case "file":
                return bool(held.value) and held.stamp == stamp_of(secret.value)
            case "cmd":
                return self._clock() - held.at < (COMMAND_RETRY if held.failed else secret.ttl)

    async def _flight(self, secret: Secret) -> None:
        """Join the reading of *secret* that runs on this loop, or begin one. Cancelling the caller does not end it."""
        task = self._flights.get(secret)
        if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
            task = self._flights[secret] = asyncio.create_task(self._take(secret))
            task.add_done_callback(lambda done: self._landed(secret, done))
        await asyncio.shield(task)

    def _landed(self, secret: Secret, task: asyncio.Task[None]) -> None:
        if self._flights.get(secret) is task:
            del self._flights[secret]

    async def _take(self, secret: Secret) -> None:
        try:
            found, stamp = await self._read_patiently(secret)
            held = _Held(_sound(found.value), self._clock(), stamp, over=found.over)
        except KeyUnavailable as e:
            held = self._after(secret, f"{named(secret)}: {e}", torn=e.torn)
        except Exception as e:  # what it says could quote what was read
            held = self._after(secret, f"{named(secret)}: cannot be read ({type(e).__name__})")
        self._keep(secret, held)

    async def _read_patiently(self, secret: Secret) -> tuple[Found, FileStamp | None]:
        """Read *secret*; once more, a moment later, where the file that had it is being replaced."""
        try:
            return await self._read(secret)
        except KeyUnavailable as e:
            held = self._held.get(secret)
            if secret.source != "file" or not (held and held.value) or not (e.absent or e.torn):
                raise
        await asyncio.sleep(_REPLACED_WITHIN)
        return await self._read(secret)

    async def _read(self, secret: Secret) -> tuple[Found, FileStamp | None]:
        match secret.source:
            case "literal":
                return Found(secret.value), None
            case "env":
                return Found(_from_variable(secret, self._env)), None
            case "file":
                return await asyncio.to_thread(_from_file, secret)
            case "cmd":
                text = await _from_command(secret, self.environment())
                return (_member(text, secret.pointer) if secret.pointer else Found(text)), None

    def _after(self, secret: Secret, failed: str, *, torn: bool = False) -> _Held:
        # A command may fail for a while, as when a vault is locked, and a tool may take its time to write a file: the
        # last value may still be good.
        held = self._held.get(secret)
        if not held or not (torn or secret.source == "cmd"):
            return _Held("", self._clock(), failed=failed)
        stamp = stamp_of(secret.value) if torn and secret.source == "file" else None
        return _Held(held.value, self._clock(), stamp, failed, held.over)

    def _keep(self, secret: Secret, held: _Held) -> None:
        self._held[secret] = replace(held, mark=self._mark(secret, held.value))
        if not held.value:
            return
        if held.value not in self._known:
            self._cover = self._message_cover = self._head_cover = None
            self.texts.forget()
        self._known[held.value] = None


def named(secret: Secret) -> str:
    """
    Return what a message may call *secret*: its source, and no more of a command than the program.

    A key that was written where a name or a path belongs is not shown.
    """
    match secret.source:
        case "literal":
            return "the key in the settings"
        case "env":
            return secret_patterns.covered(f"env:{secret.value}")
        case "file":
            return secret_patterns.covered(f"file:{secret.value}" + (f"#{secret.pointer}" if secret.pointer else ""))
        case "cmd":
            return secret_patterns.covered(f"cmd {secret.argv[0]}")


def stamp_of(path: str | Path) -> FileStamp | None:
    """Return a value that changes when the file at *path* does; None where there is none to be read."""
    try:
        return _stamp(Path(path).expanduser().stat())
    except (OSError, ValueError, RuntimeError):
        return None


def unusable(secret: Secret, env: Mapping[str, str]) -> KeyUnavailable | None:
    """Say why *secret* cannot be had, if that can be said without running a command. Reads its file."""
    try:
        match secret.source:
            case "literal":
                _sound(secret.value)
            case "env":
                _sound(_from_variable(secret, env))
            case "file":
                found = _from_file(secret)[0]
                _sound(found.value)
                if found.over is not None and time.time() >= found.over:
                    raise KeyUnavailable(logins.expired(found.over, secret.tool), absent=True)
            case "cmd" if not shutil.which(secret.argv[0]):
                raise KeyUnavailable("there is no such program", absent=True)
    except KeyUnavailable as e:
        return KeyUnavailable(f"{named(secret)}: {e}", e.absent)
    return None


def faults(secrets: Iterable[Secret], env: Mapping[str, str]) -> Iterator[tuple[Secret, KeyUnavailable]]:
    """Yield each of *secrets* that is `unusable`, and why; of a file that holds several, each fault once."""
    told: set[tuple[str, str, str]] = set()
    for secret in secrets:
        if wrong := unusable(secret, env):
            fault = secret.source, secret.value, str(wrong).removeprefix(named(secret))
            if fault not in told:
                told.add(fault)
                yield secret, wrong


def mark_of(secret: Secret, env: Mapping[str, str]) -> str:
    """Return a digest by which equal keys are found; empty where *secret* cannot be had. Runs no command."""
    if unusable(secret, env):
        return ""
    match secret.source:
        case "literal":
            value = secret.value
        case "env":
            value = _from_variable(secret, env)
        case "file":
            value = _from_file(secret)[0].value
        case "cmd":
            value = "\0".join(secret.argv)
    return keyed.tag(_MARKING, value.strip().encode("utf-8", "surrogateescape")).hex()


def _from_variable(secret: Secret, env: Mapping[str, str]) -> str:
    if not env.get(secret.value):
        raise KeyUnavailable("is empty" if secret.value in env else "is not set", absent=True)
    return env[secret.value]


def _sound(value: str) -> str:
    """Return *value* without the blanks around it, or refuse what would break or end a header."""
    found = value.strip()
    if not found:
        raise KeyUnavailable("is empty")
    if len(found) > 1 and found[0] == found[-1] and found[0] in "'\"`":  # as files for `docker --env-file` keep them
        raise KeyUnavailable("stands in quotes, which would be sent with it; take them off")
    if not _SOUND.fullmatch(found):
        raise KeyUnavailable("must be one line of visible ASCII characters, without blanks")
    return found


# -- files ------------------------------------------------------------------------------------------------------------


def _stamp(found: os.stat_result) -> FileStamp:
    # a chmod changes the ctime only if the clock of the file system has moved on; so the mode counts too
    return found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_size, found.st_ino, found.st_dev


def _from_file(secret: Secret) -> tuple[Found, FileStamp]:
    try:
        path = Path(secret.value).expanduser()
        # O_NONBLOCK: the open would wait at a pipe
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise KeyUnavailable(e.strerror or "cannot be opened", absent=isinstance(e, FileNotFoundError)) from e
    except (ValueError, RuntimeError):
        raise KeyUnavailable("is no path that can be opened") from None
    try:
        found = os.fstat(handle)
        _check(found, secret)
        with open(handle, "rb", closefd=False) as file:
            data = file.read(MAX_FILE + 1)
    finally:
        os.close(handle)
    return _member(_decoded(data), secret.pointer), _stamp(found)


def _check(found: os.stat_result, secret: Secret) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise KeyUnavailable("is no ordinary file")
    if found.st_mode & 0o077:
        raise KeyUnavailable(f"must be readable by its owner only: chmod 600 {secret_patterns.covered(secret.value)}")


def _decoded(data: bytes) -> str:
    if len(data) > MAX_FILE:
        raise KeyUnavailable(f"holds more than {MAX_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise KeyUnavailable("holds no UTF-8 text") from None


def _member(text: str, pointer: str) -> Found:
    if not pointer:
        if text.lstrip().startswith("{"):
            raise KeyUnavailable("holds JSON; name the member that is the key, as in file:PATH#/access_token")
        return Found(text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise KeyUnavailable("holds no JSON to look into", torn=True) from None
    around: Any = None
    for step in pointer.split("/")[1:]:
        around, value = value, _step(value, step.replace("~1", "/").replace("~0", "~"))
    if not isinstance(value, str):
        raise KeyUnavailable("does not point at text")
    return Found(value, logins.end_of(value, around))


def _step(value: Any, step: str) -> Any:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", step) and int(step) < len(value):
        return value[int(step)]
    raise KeyUnavailable("points at nothing")


# -- commands ---------------------------------------------------------------------------------------------------------


async def _from_command(secret: Secret, env: Mapping[str, str]) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *secret.argv,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may hold the key
            start_new_session=True,  # so that its children can be ended with it, and Ctrl-C is ours alone
        )
    except OSError as e:
        raise KeyUnavailable(e.strerror or "cannot be started") from e
    try:
        async with asyncio.timeout(secret.timeout):
            data = await _printed(process)
            code = await process.wait()
    except TimeoutError:
        await _end(process)
        raise KeyUnavailable(f"took longer than {secret.timeout:g} seconds") from None
    except BaseException:
        await _end(process)
        raise
    if code != 0:
        raise KeyUnavailable(f"exit code {code}")
    return _decoded(data)


async def _printed(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    data = bytearray()
    while chunk := await process.stdout.read(65536):
        data += chunk
        if len(data) > MAX_FILE:
            raise KeyUnavailable(f"printed more than {MAX_FILE} bytes")
    return bytes(data)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_WAIT):
            await process.wait()
