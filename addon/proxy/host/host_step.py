"""What one faster way replaces in mitmproxy, and how it is known that this is what it was written for."""

from __future__ import annotations

import inspect
from typing import Any

from blake3 import blake3

from ...frozen import dataclass

_SIZE = 8  # bytes of a digest
Replaced = tuple[Any, str, Any]  # an owner (a class or a module), a name in it, and what takes its place


@dataclass(frozen=True, slots=True)
class HostStep:
    """*known* is what else of mitmproxy it relies on; *written_for* has the digests of what it was tried with."""

    replaced: tuple[Replaced, ...]
    known: tuple[Any, ...]
    written_for: tuple[str, ...]  # of releases, the oldest first

    def digest(self) -> str:
        """
        Return the digest of the source of what it stands for. Raises OSError where there is no source.

        What an owner inherits is in it where it is *known*.
        """
        own = (vars(owner)[name] for owner, name, _ in self.replaced if name in vars(owner))
        text = "".join(inspect.getsource(source) for source in (*own, *self.known))
        return blake3(text.encode()).hexdigest(_SIZE)
