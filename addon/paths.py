"""Where a request goes: destinations, and the path under an account's base URL."""

from __future__ import annotations

from urllib.parse import quote

from .config import Account
from .values import Endpoint, Origin

# The target of `--mode reverse:http://patchbay.invalid`: one port for every provider, and nothing answers without us.
ANYWHERE = "patchbay.invalid"


def is_anywhere(origin: Origin) -> bool:
    """Whether *origin* leaves it to the dialect and the model where a request goes."""
    return origin.host == ANYWHERE


def join(account: Account, path: str, endpoint: Endpoint) -> str:
    """
    Return *path* (with its query) as it reads under the account's base URL.

    Without a path in the base URL it stays as the client sent it. A dialect's own part replaces the client's prefix
    (`/v1/chat/completions` under `…/api/v1` is `/api/v1/chat/completions`); elsewhere what both share is written once.
    """
    base = account.base_path.rstrip("/")
    if not base or account.origin is None:
        return path
    bare, mark, query = path.partition("?")
    if endpoint.suffix and endpoint.dialect and bare.endswith(endpoint.suffix):
        bare = endpoint.suffix
    return base + bare[_overlap(base, bare) :] + mark + query


def with_model(path: str, old: str, new: str) -> str:
    """Return *path* with the model in it (Gemini) replaced."""
    for spelled in (old, quote(old, safe="")):
        if f"/{spelled}:" in path:
            return path.replace(f"/{spelled}:", f"/{quote(new, safe='')}:", 1)
    return path


def _overlap(base: str, path: str) -> int:
    for start in range(len(base)):
        if base[start] == "/" and (path + "/").startswith(base[start:] + "/"):
            return len(base) - start
    return 0
