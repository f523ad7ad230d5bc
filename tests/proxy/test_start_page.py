"""The page that a browser gets for `/`."""

from __future__ import annotations

from html.parser import HTMLParser

from patchbay.proxy import start_page


def test_it_says_what_this_is_and_has_lines_to_paste() -> None:
    found = start_page.response("http://127.0.0.1:8080")
    text = (found.content or b"").decode()

    assert found.status_code == 200
    assert "<code>ANTHROPIC_BASE_URL=http://127.0.0.1:8080 ANTHROPIC_AUTH_TOKEN=any claude</code>" in text
    assert "<code>OPENAI_BASE_URL=http://127.0.0.1:8080/v1 " in text
    assert "{url}" not in text and "{lines}" not in text
    HTMLParser().feed(text)


def test_nothing_is_loaded_run_or_kept() -> None:
    found = start_page.response("http://x")
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert found.headers["cache-control"] == "no-store"
    assert "<script" not in found.text and "src=" not in found.text


def test_an_address_is_text() -> None:
    assert "<b>" not in start_page.response("http://<b>").text
