"""
The credentials of what passes as it came: those that clients presented, and those that a login gave.

Commands without mitmproxy read `credentials`, which holds these, so this module knows nothing of mitmproxy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .. import credential_members
from ..bounded import BoundedMap
from .redaction import MARK, Redactor, cover_of_length

_KNOWN = 64  # credentials that are looked for, the latest first: each costs a search through every body
_LONG_ENOUGH = 16  # bytes of a value that is looked for everywhere


class PassingCredentials:
    """
    The credentials that were seen lately in what passes. They live here and on the wire alone.

    *learned* is called when there are others.
    """

    def __init__(self, learned: Callable[[], object] = object) -> None:
        self._learned = learned
        self._known: BoundedMap[bytes, None] = BoundedMap(_KNOWN)
        self._redactor: Redactor | None = Redactor(())

    def __repr__(self) -> str:
        return f"PassingCredentials({len(self._known)} known)"

    def note(self, values: Iterable[bytes]) -> None:
        """Look for *values* from now on."""
        for value in values:
            if len(value) < _LONG_ENOUGH or value.startswith(MARK):
                continue
            if value not in self._known:
                self._redactor = None
                self._learned()
            self._known[value] = None

    def without_known(self, data: bytes) -> bytes:
        """Return *data* with every known credential covered, in whatever spelling."""
        return self.redactor().scrub(data)

    def redactor(self) -> Redactor:
        """Return what covers every known credential; another one once there are others."""
        if self._redactor is None:
            self._redactor = Redactor(value.decode("latin-1") for value in self._known if value.isascii())
        return self._redactor

    def without(self, data: bytes, *, conversation: bool, asked: bool = False) -> bytes:
        """
        Return *data* with every credential covered, known or recognised; what a login gives is known from now on.

        In a *conversation*, a model's request or answer, names and formats alone make no credential. *asked*: it is
        the request, which may be long; its client spells its own credentials as they are.
        """
        places = credential_members.in_conversation if conversation else credential_members.anywhere
        covered, values = credential_members.covered(data, places(data), cover_of_length)
        self.note(values)
        if asked and conversation and not any(value in covered for value in self._known):
            return covered
        return self.without_known(covered)
