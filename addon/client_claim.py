"""The claim of a client: a name for it in its headers that outlives a rotating token."""

from __future__ import annotations

import base64
import binascii
import json
import re

from .credential_places import PROTOCOL_KEYS, KeyHeaders
from .values import header_names
from .values.http import Headers

# OAuth tokens are renewed every few hours; a scope made of one would cut every session as often.
_ROTATING = re.compile(r"sk-ant-oat|eyJ|ya29\.|tid=|gho_|ghu_", re.ASCII)
_STABLE_CLAIMS = ("sub", "account_uuid", "chatgpt_account_id", "email")
_OPENAI_CLAIMS = "https://api.openai.com/auth"
_TOKEN_LIMIT = 16_384


def claim(headers: Headers, places: KeyHeaders = PROTOCOL_KEYS) -> str:
    """
    Return the name of the client in its *headers*, or the empty string, which all clients without a stable name share.

    An API key counts as itself, in whichever header it stands; an OAuth token only by its account. The claim may be a
    secret: digest it, never keep or log it.
    """
    if account := headers.get("chatgpt-account-id").strip():
        return f"account:{account}"
    token = _token(headers) or places.in_own(headers)
    if not token:
        return ""
    if _ROTATING.match(token):
        return _stable(token)
    return f"key:{token}"


def _token(headers: Headers) -> str:
    scheme, _, value = headers.get("authorization").strip().partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    others = (headers.get(name).strip() for name, prefix in header_names.CREDENTIALS.items() if not prefix)
    return next(filter(None, others), "")


def _stable(token: str) -> str:
    """Return the account in a JWT, unverified: a claim only separates scopes, it grants nothing."""
    pieces = token.split(".")
    if len(pieces) != 3 or len(token) > _TOKEN_LIMIT:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1] + "=" * (-len(pieces[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return ""
    if not isinstance(claims, dict):
        return ""
    nested = claims.get(_OPENAI_CLAIMS)
    for name in _STABLE_CLAIMS:
        for place in (nested, claims):
            value = place.get(name) if isinstance(place, dict) else None
            if isinstance(value, str) and value:
                return f"{name}:{value}"
    return ""
