"""What a path tells of a wrong base URL: an endpoint's path at its end, a version that is missing or twice."""

from __future__ import annotations

import re

from . import dialects, upstream_url
from .frozen import dataclass

_VERSION_LAST = re.compile(r"/v\d+(?:alpha|beta)?\d*$")
_VERSION_FIRST = re.compile(r"/v\d+(?:alpha|beta)?\d*(?:/|$)")
_VERSIONS = ("/v1beta", "/v1")  # Gemini's first: below `/v1` its models would be OpenAI's


@dataclass(frozen=True, slots=True)
class BaseUrlMistake:
    """What is wrong with the path of a base URL, and the *path* that is right."""

    what: str
    path: str


def endpoint_twice(method: str, bare: str) -> BaseUrlMistake | None:
    """Return the mistake where the path *bare* is that of two endpoints, one behind the other."""
    asked = dialects.endpoint(method, bare)
    if not asked.dialect or not bare.endswith(asked.suffix):
        return None
    first = _VERSION_LAST.sub("", bare[: -len(asked.suffix)])
    base = dialects.endpoint("POST", first)
    if base.kind != "generation" or not first.endswith(base.suffix):
        return None
    added = bare[len(first) :]
    before = _VERSION_LAST.sub("", first[: -len(base.suffix)])
    return BaseUrlMistake(f"ends in {first}, the path of an endpoint", before + _version(added))


def version_missing(method: str, bare: str) -> BaseUrlMistake | None:
    """Return the mistake where the path *bare*, which is of no dialect, would be of one behind a version."""
    for version in _VERSIONS:
        if dialects.endpoint(method, version + bare).dialect:
            return BaseUrlMistake(f"lacks {version} at its end", version)
    return None


def version_twice(bare: str) -> BaseUrlMistake | None:
    """Return the mistake where the path *bare* has its version twice."""
    if upstream_url.once(bare) == bare or not (first := _VERSION_FIRST.search(bare)):
        return None
    return BaseUrlMistake(f"ends in {first[0].rstrip('/')}, which the tool adds itself", bare[: first.start()])


def _version(added: str) -> str:
    return "" if _VERSION_FIRST.match(added) else "/v1"
