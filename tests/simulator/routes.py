"""What each path of the provider is for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

_GEMINI = re.compile(r"/(?:models|tunedModels|endpoints)/([^/:]+):(\w+)$")
_RESPONSE = re.compile(r"/responses/((?!input_tokens)[^/]+)(?:/(cancel|input_items))?$")
_INTERACTION = re.compile(r"/interactions/([^/:]+)(?:/(cancel))?$")
_THING = re.compile(
    r"/(files|batches|containers|conversations|vector_stores|cachedContents)(?:/([^/:]+))?(?:[/:](cancel|content|items|results))?$"
)
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_PLAIN = (
    ("/chat/completions", "generate", "chat"),
    ("/messages/count_tokens", "count", "anthropic"),
    ("/messages", "generate", "anthropic"),
    ("/responses/input_tokens", "count", "responses"),
    ("/responses", "generate", "responses"),
    ("/embeddings", "embed", "chat"),
    ("/interactions", "generate", "interactions"),
)
_GEMINI_METHODS = {
    "generateContent": "generate",
    "streamGenerateContent": "generate",
    "countTokens": "count",
    "embedContent": "embed",
    "batchEmbedContents": "embed",
}


@dataclass(frozen=True, slots=True)
class Route:
    """
    What a request is for. *purpose*: generate | count | embed | response | socket | thing | models | health |
    other.

    *model* and *stream* are the path's word; *item* is the id in the path of a stored response or thing, *action* what
    is to happen to it, *collection* what kind of thing it is.
    """

    purpose: str
    dialect: str = ""
    model: str = ""
    stream: bool = False
    array: bool = False
    item: str = ""
    action: str = ""
    collection: str = ""


def split(target: str) -> tuple[str, str]:
    """Return path and query of a request target in either form."""
    parts = urlsplit(target)
    return parts.path or "/", parts.query


def route(method: str, path: str, query: str, anthropic: bool) -> Route:
    """Say what *method* on *path* is for; *anthropic* is whether the request names a version of that API."""
    if path == "/health" or (path == "/" and method in ("GET", "HEAD")):
        return Route("health")
    if method == "POST" and (found := _GEMINI.search(path)):
        return _gemini(found, query)
    if found := _RESPONSE.search(path):
        return Route("response", "responses", item=found[1], action=found[2] or method.lower())
    if found := _INTERACTION.search(path):
        return Route("response", "interactions", item=found[1], action=found[2] or method.lower())
    if (found := _THING.search(path)) and (found[2] or method == "POST"):
        dialect = "gemini" if "/v1beta/" in path else "anthropic" if anthropic else "chat"
        return Route("thing", dialect, item=found[2] or "", action=found[3] or method.lower(), collection=found[1])
    for suffix, purpose, dialect in _PLAIN:
        if method == "POST" and path.endswith(suffix):
            deployment = _DEPLOYMENT.search(path)
            return Route(purpose, dialect, deployment[1] if deployment else "")
    if method == "GET" and path.endswith("/responses"):
        return Route("socket", "responses")
    if method == "GET" and (path.endswith("/models") or "/models/" in path):
        dialect = "gemini" if "/v1beta/" in path else "anthropic" if anthropic else "chat"
        return Route("models", dialect, item=path.partition("/models/")[2])
    return Route("other")


def _gemini(found: re.Match[str], query: str) -> Route:
    model, method = unquote(found[1]), found[2]
    stream = method == "streamGenerateContent"
    array = stream and parse_qs(query).get("alt") != ["sse"]
    return Route(_GEMINI_METHODS.get(method, "other"), "gemini", model, stream, array, action=method)
