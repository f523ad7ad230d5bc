"""Which bodies stream through."""

from __future__ import annotations

import pytest

from patchbay import dialects, uploads
from patchbay.values.http import Headers

LARGE = str(uploads.SMALL + 1)
PARTS = "multipart/form-data; boundary=x"


@pytest.mark.parametrize(
    ("method", "path", "kind", "length", "streams"),
    [
        ("POST", "/v1/files", PARTS, LARGE, True),
        ("POST", "/v1/files", PARTS, "", True),
        ("POST", "/v1/files", PARTS, str(uploads.SMALL), False),
        ("POST", "/v1/files", "Multipart/Form-Data", "ten", True),
        ("POST", "/v1/uploads/upload_1/parts", PARTS, LARGE, True),
        ("POST", "/v1/uploads", "application/json", LARGE, False),
        ("POST", "/upload/v1beta/files", "", LARGE, True),
        ("PUT", "/upload/v1beta/files", "video/mp4", LARGE, True),
        ("POST", "/v1/audio/transcriptions", PARTS, LARGE, True),
        ("POST", "/v1/images/edits", PARTS, LARGE, True),
        ("POST", "/v1/containers/c/files", "application/octet-stream", LARGE, True),
        ("POST", "/v1/chat/completions", "application/json", LARGE, False),
        ("POST", "/v1/messages", "", LARGE, False),
        ("GET", "/v1/files", PARTS, LARGE, False),
    ],
)
def test_files_and_what_comes_in_parts_stream_through(
    method: str, path: str, kind: str, length: str, streams: bool
) -> None:
    headers = Headers([("Content-Type", kind), ("Content-Length", length)])

    assert uploads.streams_through(method, path, dialects.endpoint(method, path), headers) is streams


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses", "/v1/chat/completions", "/v1/messages", "/v1/messages/batches", "/v1/conversations",
        "/v1beta/models/m:generateContent", "/v1beta/interactions", "/v1/batches", "/v1/fine_tuning/jobs",
    ],
)  # fmt: skip
def test_a_form_where_none_is_taken_is_read(path: str) -> None:
    """R5, T5: a type that lies does not let JSON pass unread."""
    endpoint = dialects.endpoint("POST", path)

    assert not uploads.streams_through("POST", path, endpoint, Headers((("content-type", "multipart/form-data"),)))
