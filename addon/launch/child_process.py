"""
A command in the foreground, as if the shell had started it: same terminal, same process group, its signals and its end.

What the terminal sends (Ctrl-C, Ctrl-Z, a resize) reaches every process of the group, so it is not passed on. What
another process sends to this one is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping

from ..frozen import dataclass
from .command_line import LaunchError

EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND = 126, 127  # as a shell says it
_FROM_KERNEL = 0x80  # the code of a signal that Linux itself has sent: it is the terminal's
_OF_TERMINAL = frozenset(
    {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH}
)
_PASSED_ON = _OF_TERMINAL | {signal.SIGHUP, signal.SIGTERM, signal.SIGCONT, signal.SIGUSR1, signal.SIGUSR2}
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


@dataclass(frozen=True, slots=True)
class Caught:
    """A signal of this process; *direct*: no other process of the group got it."""

    number: int
    direct: bool


def located(word: str, env: Mapping[str, str]) -> str:
    """Return the path of the program that *word* names. Raises LaunchError, with the exit code of a shell."""
    if not word:
        raise LaunchError("the command behind -- is an empty word: name a program there")
    if found := shutil.which(word, path=env.get("PATH")):
        return found
    if os.path.isdir(word) and "/" in word:
        raise LaunchError(f"{word} is a folder", EXIT_NOT_EXECUTABLE)
    if "/" in word and os.path.exists(word):
        raise LaunchError(f"{word} is not executable", EXIT_NOT_EXECUTABLE)
    where = "" if "/" in word else " on the PATH"
    raise LaunchError(f"there is no program {word}{where}", EXIT_NOT_FOUND)


def run(program: str, command: list[str], env: Mapping[str, str]) -> int:
    """
    Run *command*, whose file is *program*; return its exit code, or the negative number of the signal that ended it.

    Raises LaunchError where it cannot be started.
    """
    with _blocked() as before:
        child = _Child(_started(program, command, env, before))
        while (code := child.look()) is None:
            child.pass_on(_next())
        return code


class _Child:
    """The running command, and whether it is stopped."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._code: int | None = None
        self._is_stopped = False

    def look(self) -> int | None:
        """Return how it ended, or None. When it has stopped, this process stops too: the shell looks at no other."""
        while self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                break
            self._is_stopped = os.WIFSTOPPED(status)
            if self._is_stopped:
                os.kill(os.getpid(), signal.SIGSTOP)
            elif not os.WIFCONTINUED(status):
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def pass_on(self, caught: Caught) -> None:
        """Send it the signal *caught*, if it did not get it itself. A shell continues every process of the group."""
        if caught.number == signal.SIGCONT:
            wanted = self.look() is None and self._is_stopped
        else:
            wanted = caught.direct and caught.number != signal.SIGCHLD
        if wanted:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, caught.number)


@contextlib.contextmanager
def _blocked() -> Iterator[set[int]]:
    """Keep the signals that are waited for from acting on this process, and give those that were kept before."""
    signals = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN} | {signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield {int(number) for number in before}
    finally:
        while pending := signal.sigpending() & signals:  # they were for the command, which has ended
            signal.sigwait(pending)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _started(program: str, command: list[str], env: Mapping[str, str], mask: set[int]) -> int:
    try:
        try:
            return os.posix_spawn(program, command, env, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
        except OSError as e:
            if e.errno != errno.ENOEXEC:
                raise
            # A script without a first line that names its shell.
            words = ["/bin/sh", program, *command[1:]]
            return os.posix_spawn(words[0], words, env, setsigmask=mask, setsigdef=_IGNORED_BY_PYTHON)
    except OSError as e:
        raise LaunchError(f"{program} cannot be started: {e.strerror}", EXIT_NOT_EXECUTABLE) from e


def _next() -> Caught:
    signals = _PASSED_ON | {signal.SIGCHLD}
    if sys.platform == "darwin":
        number = signal.sigwait(signals)
        return Caught(number, not (number in _OF_TERMINAL and _is_in_foreground()))
    info = signal.sigwaitinfo(signals)
    return Caught(info.si_signo, info.si_code != _FROM_KERNEL)


def _is_in_foreground() -> bool:
    try:
        with open("/dev/tty", "rb", buffering=0) as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
