"""What a browser is told about a page that may ask."""

from __future__ import annotations

import pytest
from mitmproxy.http import Headers, Response
from mitmproxy.test import tutils

from patchbay.proxy import cors

PAGE = "https://page.example"
ASKS = {"access-control-request-method": "POST"}


def preflight(method: str = "OPTIONS", origin: str = PAGE, **headers: str) -> Response | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = tutils.treq(method=method.encode(), headers=Headers())
    for name, value in named.items():
        request.headers[name] = value
    return cors.preflight(request, origin)


def test_a_preflight_allows_the_methods_and_the_headers_that_are_asked_for() -> None:
    response = preflight(access_control_request_method="POST", access_control_request_headers="authorization, x-mine")

    assert response is not None
    assert (response.status_code, response.raw_content) == (204, b"")
    assert dict(response.headers) == {
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
        "access-control-allow-headers": "authorization, x-mine",
        "access-control-max-age": "600",
        "content-length": "0",
    }


def test_without_a_list_any_header_is_allowed_and_a_private_network_where_asked() -> None:
    plain = preflight(access_control_request_method="POST")
    private = preflight(access_control_request_method="POST", access_control_request_private_network="true")

    assert plain is not None and private is not None
    assert plain.headers["access-control-allow-headers"] == "*"
    assert "access-control-allow-private-network" not in plain.headers
    assert private.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    ("method", "origin", "headers"), [("POST", PAGE, ASKS), ("OPTIONS", "", ASKS), ("OPTIONS", PAGE, {})]
)
def test_what_is_no_preflight_of_an_allowed_page_is_not_answered(
    method: str, origin: str, headers: dict[str, str]
) -> None:
    assert preflight(method, origin, **headers) is None


def test_a_page_may_read_the_answer_which_varies_with_it() -> None:
    response = Response.make(200, b"", {"vary": "accept", "access-control-allow-origin": "https://provider.example"})
    cors.admit(response, PAGE)

    assert response.headers["access-control-allow-origin"] == PAGE
    assert response.headers["access-control-expose-headers"] == "*"
    assert response.headers["vary"] == "accept, origin"

    response = Response.make(200)
    cors.admit(response, PAGE)
    assert response.headers["vary"] == "origin"


def test_no_other_page_may() -> None:
    response = Response.make(200, b"", {"vary": "accept"})
    before = response.headers.fields
    cors.admit(response, "")

    assert response.headers.fields == before
