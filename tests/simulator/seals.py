"""Encrypted reasoning: opaque to everybody, and of use only under the account that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .asking import Mistake, objects
from .reply import mint

_START = "gAAAAAB"


def wanted(document: Mapping[str, Any]) -> bool:
    """Whether a Responses request asks for its reasoning in encrypted form, or Anthropic's for thinking."""
    include, thinking = document.get("include"), document.get("thinking")
    thinks = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
    return thinks or (isinstance(include, list) and "reasoning.encrypted_content" in include)


def seal(account: str, seed: str) -> str:
    """Return reasoning that only *account* can hand in again."""
    return _START + mint("", f"seal {account}", 12) + mint("", seed, 60)


def check(document: Mapping[str, Any], account: str) -> None:
    """Raise Mistake when the input carries reasoning that was sealed for another account."""
    for item in objects(document.get("input")):
        sealed = item.get("encrypted_content")
        if sealed and not str(sealed).startswith(_START + mint("", f"seal {account}", 12)):
            message = f"The encrypted content for item {item.get('id')} could not be verified."
            raise Mistake(message, code="invalid_encrypted_content")
