"""Request bodies that stream through unread: files and multipart forms."""

from __future__ import annotations

from .media_types import media_type
from .values.http import Endpoint, Headers

SMALL = 1024 * 1024  # bytes; a smaller body is read, so that another account can get it
_SENDS = frozenset({"POST", "PUT", "PATCH"})
_FORMS = ("/files", "/uploads", "/audio/", "/images/", "/skills", "/containers")  # endpoints that take a form
_KEPT = ("/files", "/uploads", "/upload/")


def streams_through(method: str, path: str, endpoint: Endpoint, headers: Headers) -> bool:
    """Whether the body of a request to *path* (without its query) goes up in chunks, unread."""
    if method not in _SENDS or not _is_upload(path, endpoint, headers):
        return False
    length = headers.get("content-length").strip()
    return not length.isdecimal() or int(length) > SMALL


def _is_upload(path: str, endpoint: Endpoint, headers: Headers) -> bool:
    kind = media_type(headers.get("content-type"))
    if kind.startswith("multipart/"):  # elsewhere some servers read JSON whatever the type says
        return not endpoint.dialect or path.startswith("/upload/") or any(part in endpoint.suffix for part in _FORMS)
    if endpoint.kind != "resource" or kind == "application/json":
        return False
    return path.startswith("/upload/") or any(part in endpoint.suffix for part in _KEPT)
