"""
Names of headers that several modules decide by, in lower case: credentials, accounts, connections, Patchbay's own.

What a module does with a group is its own decision. In the code a new name of a group belongs here alone; only the form
of a key in a new header stands in `CredentialForm` too. Pages that list a group must name it (`tests/test_docs.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# Headers that carry a key → the prefix of the key. The order is that in which a client's key is looked for.
CREDENTIALS: Mapping[str, str] = {
    "authorization": "Bearer ",
    "x-api-key": "",
    "x-goog-api-key": "",
    "api-key": "",
}
# Headers that name an account: the client's own to the upstream, ours to the client.
ACCOUNTS = frozenset(
    "openai-organization openai-project anthropic-organization-id x-goog-user-project chatgpt-account-id".split()
)
# Headers of one connection (RFC 9110, 7.6.1), besides `Proxy-*`.
HOPS = frozenset("connection keep-alive te trailer upgrade http2-settings".split())
# Headers that say where a message goes and how to read its body: no hop can do without.
MESSAGE = frozenset("host content-length content-type content-encoding transfer-encoding".split())

OURS = "x-patchbay-"  # begins every header of Patchbay's own
ACCOUNT = "x-patchbay-account"  # of a request: the account it must go to; of an answer: that it came from
SESSION_ID = "x-patchbay-session-id"
SESSION = "x-patchbay-session"  # of an answer: the short name of the conversation
REQUEST_ID = "x-patchbay-request-id"
VERDICT = "x-patchbay-verdict"
GAVE_UP = "x-patchbay-gave-up"
TURN_STATE = "x-codex-turn-state"  # the client gives it back, and only the account that made it can read it


def credential_form(name: str) -> str:
    """Return the form of a key in the header *name*: a `CredentialForm`, or the name of a provider's own header."""
    return "bearer" if CREDENTIALS.get(name) else name


def encoded(names: Iterable[str]) -> frozenset[bytes]:
    """Return *names* as mitmproxy holds them."""
    return frozenset(name.encode() for name in names)
