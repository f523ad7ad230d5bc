"""
What looks like a key: the formats of providers' keys, and long runs of random characters.

Every text that is shown passes `covered` or `shown`, which err on the safe side. Values that must stay usable (of a
header, the name of a model) are checked with `is_key`, which knows only the formats, or with `holds_key`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, wraps
from itertools import pairwise

NOT_SHOWN = "(not shown: it looks like a key)"

_USUAL = 64  # characters of a cached name
_LONG_ENOUGH = 20  # characters of a key that is recognised by its format alone
_RUN = re.compile(r"[A-Za-z0-9_\-.+/=~%]+")
_WORD = re.compile(r"[A-Za-z0-9]+")
_LONG_RUN = re.compile(r"[A-Za-z0-9_\-.+/=~%]{20,}")
_PLAIN_ID = re.compile(r"[0-9a-f\-]+")  # a UUID, a hash: no format begins so
# Prefixes that no name has. Anything may follow.
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|csk|rk|ak|pcsk)[-_](?=[A-Za-z0-9_\-]{8})|gsk_(?=\w{6})|AIza(?=[\w\-]{8})|ya29\.(?=[\w\-]{4})"
    r"|gh[pousr]_(?=\w{6})|github_pat_(?=\w{6})|glpat-(?=[\w\-]{6})|nvapi-(?=[\w\-]{6})|pplx-(?=\w{12})|tvly-(?=[\w\-]{12})"
    r"|tgp_v1_(?=[\w\-]{6})|lsv2_(?=\w{8})|pk-lf-(?=[\w\-]{6})|xox[abeprs]-(?=[\w\-]{6})|hvs\.(?=[\w\-]{8})|whsec_(?=\w{8})"
    r"|(?:AKIA|ASIA|ABIA)(?=[A-Z0-9]{12})|ABSK(?=[A-Za-z0-9+/=]{20})|dapi(?=[0-9a-f]{16})|AGE-SECRET-KEY-(?=\w)"
    r"|AQ\.(?=[\w\-]{16})|SG\.(?=[\w\-]{16})|1//0(?=[\w\-]{12})"
    r"|eyJ[\w\-]{4,300}={0,2}\.(?=[\w\-]{2})"
    r")[A-Za-z0-9_\-.+/=~%]+",
    re.IGNORECASE,
)
# Prefixes that a name may have too: what follows must not look like words.
_SOFT = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_|xai-|fw_|r8_|sess-|vck_|npm_|pypi-|jina_|rpa_|flp_|dop_v1_|esecret_|key-|pa-)([\w\-]{12,})",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?<![0-9A-Fa-f])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Fa-f])|[0-9A-Fa-f]{32,}"
)
_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY")
# `key=…` in place of a name, `Bearer …`, and the password of a URL
_GIVEN = re.compile(
    r"(?:key|token|secret|passw(?:or)?d|pwd|credentials?|auth\w{0,20})[\"']?\s{0,9}[:=]\s{0,9}[^\s:=]|\b(?:bearer|basic)\s{1,9}\S{6}",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")
# A line that is a credential, and a member or a parameter with its value.
_SCHEMED = re.compile(r"^[ \t]*(?:bearer|basic|token)[ \t]+[!-~]{12,}[ \t]*$", re.IGNORECASE | re.MULTILINE)
_STATED = re.compile(
    r"[?&;\"']([A-Za-z0-9_.\-]{2,64})[\"']?\s{0,4}[=:]\s{0,4}(?:[\"']|(?![0-9.]+[&,}\s]))[^\s\"'&,}\[{]{6}"
)
_PASSWORD = re.compile(r"://[^/\s@:]{0,256}:[^/\s@]{1,256}@")


def is_key(text: str) -> bool:
    """Whether *text* holds a key in a provider's format."""
    return any(map(_has_shape, _LONG_RUN.findall(text)))


def is_no_host(name: str) -> bool:
    """Whether *name*, of a host, holds a key: names made of words may begin like one (`sk-cloud.example`)."""
    return is_key(name) and _is_no_word(name)


def holds_key(text: str) -> bool:
    """
    Whether *text*, one or more lines, holds a key in a known format, or a marked credential.

    Marks are a line `Bearer …`, a password in a URL, and a parameter or JSON member with the name of a credential.
    """
    if is_key(text) or ("-----" in text and _PRIVATE.search(text)):
        return True
    if (" " in text or "\t" in text) and _SCHEMED.search(text):
        return True
    if "://" in text and _PASSWORD.search(text):
        return True
    stated = "?" in text or ";" in text or '"' in text or "'" in text
    return stated and any(map(names_key, _STATED.findall(text)))


def may_be_key(text: str) -> bool:
    """Whether *text* may hold a key: a known format of any length, or a long run that looks random."""
    if _SHAPES.search(text) or _PRIVATE.search(text) or _NUMBERED.search(text):
        return True
    if any(map(_is_no_word, _SOFT.findall(text))):
        return True
    return any(_is_drawn(run[0]) or any(map(_is_random, _WORD.findall(run[0]))) for run in _RUN.finditer(text))


def shown(text: str) -> str:
    """
    Return *text*, written by a user, for a message: all of it or nothing.

    A text that holds a key is hidden as a whole: the end of the key is unknown.
    """
    if may_be_key(text) or _GIVEN.search(text) or _LOGIN.search(text):
        return NOT_SHOWN
    joined = "".join(c for c in text if c.isprintable() and not c.isspace())
    return NOT_SHOWN if joined != text and may_be_key(joined) else text


def covered(line: str) -> str:
    """Return *line*, a message with texts of users in it, with everything hidden that may be a key."""
    if not may_be_key(line) and "@" not in line:
        return line
    line = _SHAPES.sub(NOT_SHOWN, _LOGIN.sub("…@", line))
    return _RUN.sub(lambda run: _without_keys(run[0]), line)


def _has_shape(run: str) -> bool:
    if _PLAIN_ID.fullmatch(run):
        return False
    long = [match for match in _SHAPES.finditer(run) if len(match[0]) >= _LONG_ENOUGH]
    return bool(long) or any(map(_is_no_word, _SOFT.findall(run)))


def _without_keys(run: str) -> str:
    if _is_drawn(run):
        return NOT_SHOWN
    return "/".join(NOT_SHOWN if may_be_key(part) else part for part in run.split("/"))


def _is_random(word: str) -> bool:
    """Whether *word* (letters and digits) looks random."""
    if len(word) < 16:
        return False
    if word.isalpha():
        return len(word) >= 32 or (len(word) >= 20 and _turns(word) >= 0.16 * len(word))
    return len(word) >= 20 or (not word.isdigit() and _turns(word) >= 3)


def _is_drawn(run: str) -> bool:
    """Whether the kinds of characters in *run* alternate as often as in random text."""
    words = _WORD.findall(run)
    size = sum(map(len, words))
    return size >= 20 and any(c.isdigit() for c in run) and sum(map(_turns, words)) >= 0.25 * size


def _is_no_word(text: str) -> bool:
    words = _WORD.findall(text)
    mixed = any(len(word) >= 10 and not (word.isalpha() or word.isdigit()) for word in words)
    return mixed or any(len(word) >= 15 for word in words) or sum(map(_turns, words)) >= 0.2 * len(text)


def _turns(word: str) -> int:
    """Count changes between letter and digit, and from a lower-case to a capital letter, in *word*."""
    return sum(a.isdigit() != b.isdigit() or (a.islower() and b.isupper()) for a, b in pairwise(word))


# -- by name ----------------------------------------------------------------------------------------------------------

_HUMPS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PARTS = re.compile(r"[a-z]+[0-9]*|[0-9]+")
_OWN_WORDS = frozenset(
    "secret secrets password passwd passphrase passcode pwd credential credentials cookie cookies jwt bearer dpop"
    " creds csrf otp totp vk pat sas saml sig signature apikeys".split()
)
_ENDINGS = (
    "token", "secret", "password", "apikey", "appkey", "userkey", "authkey", "accesskey", "secretkey", "privatekey",
    "cookie", "credential", "credentials", "auth",
)  # fmt: skip
_NO_AUTH = frozenset({"author", "authors", "authored", "authority", "authorities", "authoring"})
# Words before `key` or `token` where these mean a name, a position, or a piece of text.
_HARMLESS_BEFORE = frozenset(
    "idempotency idempotence websocket cache routing route partition shard sort surrogate affinity conversation thread"
    " chat dedup dedupe deduplication correlation trace request lookup hash primary foreign row object group"
    " continuation page pagination resume sync next prev previous cursor max min prompt input output completion total"
    " first last stop eos bos pad count".split()
)
_HARMLESS_BEHIND_AUTH = frozenset("type mode method methods scheme provider required status".split())
# Words after it where a number or a kind is meant.
_HARMLESS_BEHIND = frozenset(
    "count counts limit limits budget usage remaining reset type types expires expiry ttl rate length size id"
    " efficient required".split()
)


def remembered[Name: (str, bytes)](judge: Callable[[Name], bool]) -> Callable[[Name], bool]:
    """Cache the results of *judge* for names of usual length; longer ones are not cached, to bound memory."""
    known = lru_cache(4096)(judge)

    @wraps(judge)
    def asked(name: Name) -> bool:
        return known(name) if len(name) <= _USUAL else judge(name)

    return asked


@remembered
def names_key(name: str) -> bool:
    """
    Whether a header or a parameter called *name* carries a credential, by its name.

    Hyphens, underscores and inner capitals separate words: `x-acme-token`, `access_token`, `apiKey`.
    """
    parts = _PARTS.findall(_HUMPS.sub("-", name).lower())
    return any(_is_of_key(part, parts[:at], parts[at + 1 :]) for at, part in enumerate(parts))


def _is_of_key(part: str, before: list[str], behind: list[str]) -> bool:
    word = part.rstrip("0123456789")
    if word in ("key", "keys") or word.endswith("token"):
        if (before and before[-1] in _HARMLESS_BEFORE) or (behind and behind[0] in _HARMLESS_BEHIND):
            return False
        return word.endswith("token") or not behind or behind[0] in ("secret", "value")
    if "auth" in word and word not in _NO_AUTH:
        return not behind or behind[0] not in _HARMLESS_BEHIND_AUTH
    if word == "signature":
        return not behind or behind[0].isdigit()
    return word in _OWN_WORDS or word.endswith(_ENDINGS)
