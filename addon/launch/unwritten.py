"""
The settings of a machine that has no settings file: an account for each key that the environment holds.

Logins that tools keep are not among them: their user is asked first, by `patchbay init`.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ..frozen import dataclass
from . import found_keys
from .command_line import LaunchError
from .found_keys import FoundKey

_HEAD = """\
# Made by `patchbay run`, which found no config.yaml, for the keys of its environment. No key stands here.
# A change here is lost: `patchbay init` writes settings of your own.

"""


@dataclass(frozen=True, slots=True)
class UnwrittenSettings:
    """The *text* of settings for *keys*, and why other variables that look like keys are *left* out."""

    text: str
    keys: tuple[FoundKey, ...]
    left: tuple[str, ...] = ()

    def told(self) -> str:
        """Return what is used, in one line, for the terminal."""
        first, *others = self.keys
        each = [f"{_source(first)} as account {first.id}{_place(first)}"]
        each += [f"{_source(key)} as {key.id}{_place(key)}" for key in others]
        return f"no config.yaml: uses {', '.join(each)}; `patchbay init` writes {'them' if others else 'it'} down"


def of(env: Mapping[str, str]) -> UnwrittenSettings:
    """Return the settings for the keys in *env*."""
    keys, left = found_keys.in_environment(env)
    return UnwrittenSettings(_HEAD + found_keys.as_yaml(keys), keys, left)


def in_place_of(file: Path, named: str | None, env: Mapping[str, str]) -> UnwrittenSettings | None:
    """Return what stands in for the settings at *file*; None where that is there, is *named*, or no key is found."""
    if file.exists() or named or env.get("PATCHBAY_CONFIG"):
        return None
    made = of(env)
    return made if made.keys else None


def write(made: UnwrittenSettings, folder: Path) -> Path:
    """
    Write *made* to a file in the state *folder*, readable by its owner alone. Raises LaunchError.

    Its name follows from its text: a proxy that runs with other keys reads another file.
    """
    file = folder / f"environment-{hashlib.sha256(made.text.encode()).hexdigest()[:8]}.yaml"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=f".{file.name}.")  # its mode is 0600
        with open(handle, "w", encoding="utf-8") as out:
            out.write(made.text)
        os.replace(name, file)
    except OSError as e:
        raise LaunchError(
            f"the settings for the keys of this environment cannot be written to {folder}: {e.strerror}; write your own"
            " where you can, with `state: /other/folder`:  patchbay init FILE, then patchbay run --config FILE"
        ) from e
    return file


def _source(key: FoundKey) -> str:
    return key.key.partition(":")[2]


def _place(key: FoundKey) -> str:
    return f" at {key.base_url}" if key.base_url else ""
