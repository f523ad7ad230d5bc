"""What `patchbay doctor` looks at, as plain values, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ..frozen import dataclass
from ..settings.settings import Config
from ..values.http import is_loopback

DEFAULT_ADDRESS = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class MachineFault:
    """
    One thing that is wrong, in one line, and the command or the line that mends it (empty: there is none).

    `problem`: something cannot work. `warning`: something goes another way than it looks. `note`: worth knowing.
    """

    level: Literal["problem", "warning", "note"]
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class RunningAddresses:
    """
    The *addresses* of a running proxy, and what each is: `base` or `proxy`.

    *trusted_ca* and *trusted_confdir* hold the CAs by which it trusts providers (empty: it does not tell).
    """

    addresses: tuple[str, ...]
    kinds: tuple[str, ...]
    pid: int = 0
    trusted_ca: str = ""
    trusted_confdir: str = ""


@dataclass(frozen=True, slots=True)
class ExaminedMachine:
    """
    This machine, for one user at *now*: the environment, the home, the folder where the command runs.

    *file* is the settings file; *settings* is None where it cannot be read, and *mistakes* say why (empty: it is not
    there); *named_state* is the state folder that it names all the same. *unwritten* says which keys stand in for a
    file that is not there. *running* are the proxies of these settings that run now.
    """

    env: Mapping[str, str] = field(repr=False)
    home: Path
    folder: Path
    file: Path
    settings: Config | None = None
    mistakes: tuple[str, ...] = ()
    running: tuple[RunningAddresses, ...] = ()
    unwritten: str = ""
    now: float = 0.0
    named_state: str = ""

    def state(self) -> Path:
        """Return the state folder."""
        named = self.settings.state if self.settings else self.named_state
        return Path(named or Config(()).state).expanduser()

    def addresses(self, kind: str = "") -> tuple[str, ...]:
        """Return the addresses of the running proxies, of one *kind*; where none runs, the one that it would have."""
        found = [
            address
            for each in self.running
            for address, its in zip(each.addresses, each.kinds, strict=False)
            if kind in ("", its)
        ]
        return tuple(found) if self.running else (DEFAULT_ADDRESS,) * (kind != "proxy")

    def is_ours(self, url: str, kind: str = "") -> bool:
        """Whether *url* names an address of ours, of one *kind*, however this machine is called there."""
        host, port = place(url)
        return is_loopback(host) and any(place(each)[1] == port for each in self.addresses(kind))


def place(url: str) -> tuple[str, int]:
    """Return host and port of *url*; an empty host where it has none."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", 0
