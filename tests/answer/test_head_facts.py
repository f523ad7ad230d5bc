"""What the head of an answer says: each header of each table, and nothing where a value is strange."""

from __future__ import annotations

import pytest

from patchbay.answer.head_facts import head_facts
from patchbay.values.account import Echo
from patchbay.values.answer import Fact, Head
from patchbay.values.http import Headers

PROVIDER_IDS = (
    "request-id", "x-request-id", "apim-request-id", "x-amzn-requestid", "x-amzn-request-id", "x-ms-request-id",
    "x-generation-id", "x-inference-id", "x-litellm-call-id", "x-ds-trace-id", "x-oai-request-id", "x-goog-request-id",
    "mistral-correlation-id",
)  # fmt: skip
CACHES = (
    "x-cache", "cf-cache-status", "cf-aig-cache-status", "x-portkey-cache-status", "helicone-cache", "x-cache-hit",
    "x-openrouter-cache-status", "x-litellm-cache-hit",
)  # fmt: skip


def facts(*fields: tuple[str, str], echo: Echo | None = None, early: bool = False) -> list[Fact]:
    return list(head_facts(Head(200, Headers(fields), early=early), echo or Echo()))


@pytest.mark.parametrize("name", PROVIDER_IDS)
def test_each_header_with_an_id_of_the_provider_is_told_unless_it_echoes_ours(name: str) -> None:
    assert facts((name.title(), "req_1")) == [Fact("provider_id", "req_1", f"header {name}")]
    assert facts((name, "")) == facts((name, ""), echo=Echo({name: "edge"})) == []
    assert facts((name, "pb1-a"), echo=Echo({name.upper(): "edge"})) == [
        Fact("echo", "pb1-a", f"header {name}", "edge")
    ]


def test_headers_that_name_a_connection_or_a_client_s_request_are_no_id_of_the_answer() -> None:
    assert facts(*((name, "x") for name in ("cf-ray", "traceparent", "x-client-request-id", "x-patchbay-id"))) == []


@pytest.mark.parametrize("name", CACHES)
def test_each_header_of_a_cache_tells_a_hit(name: str) -> None:
    assert facts((name, "HIT from edge")) == [Fact("kept", "hit", f"header {name}")]
    assert facts((name, "MISS")) == []


@pytest.mark.parametrize("word", ["hit", "true", "1", "revalidated", "stale"])
def test_each_word_for_a_hit_is_read_at_the_beginning_of_the_value(word: str) -> None:
    assert [fact.kind for fact in facts(("x-cache", f"{word.upper()}, x"))] == ["kept"]
    assert facts(("x-cache", f"no {word}")) == []


@pytest.mark.parametrize("name", ["openai-processing-ms", "x-envoy-upstream-service-time"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("1500", 1.5), (" 7 ", 0.007), ("9" * 11, 99999999.999), ("9" * 12, None), ("", None), ("-1", None),
     ("1.5", None), ("٣", None)],
)  # fmt: skip
def test_each_header_with_a_time_is_told_in_seconds(name: str, value: str, seconds: float | None) -> None:
    assert facts((name, value)) == ([] if seconds is None else [Fact("took", seconds, f"header {name}")])


def test_date_age_and_an_early_head_are_told() -> None:
    date = "Thu, 26 Nov 2026 18:00:00 GMT"

    assert facts(("date", date), ("age", "30"), early=True) == [
        Fact("date", date, "header date"),
        Fact("age", 30, "header age"),
        Fact("early", "the head", "head"),
    ]
    assert facts(("date", ""), ("age", "old")) == []
