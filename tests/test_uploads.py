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


def test_a_body_is_small_up_to_a_mebibyte() -> None:
    assert uploads.SMALL == 1024 * 1024


@pytest.mark.parametrize(
    "path",
    ["/v1/files", "/v1/uploads", "/v1/audio/transcriptions", "/v1/images/edits", "/v1/skills", "/v1/containers",
     "/v1/containers/c/files", "/upload/v1beta/files", "/path/of/no/dialect"],
)  # fmt: skip
def test_each_endpoint_that_takes_a_form_streams_it(path: str) -> None:
    headers = Headers((("content-type", PARTS), ("content-length", LARGE)))

    assert uploads.streams_through("POST", path, dialects.endpoint("POST", path), headers)


@pytest.mark.parametrize(
    ("path", "streams"),
    [
        ("/v1/files", True), ("/v1/uploads", True), ("/upload/v1beta/files", True), ("/v1/containers", False),
        ("/v1/skills", False), ("/v1/images/edits", False), ("/x/files", False), ("/upload/x", False),
    ],
)  # fmt: skip
def test_each_resource_that_keeps_a_file_streams_its_bytes(path: str, streams: bool) -> None:
    headers = Headers((("content-type", "application/octet-stream"), ("content-length", LARGE)))

    assert uploads.streams_through("PUT", path, dialects.endpoint("POST", path), headers) is streams
