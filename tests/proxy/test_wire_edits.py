"""What differs on the wire from what the client sent."""

from __future__ import annotations

import gzip

from patchbay.proxy import wire_edits

from .driven import KEY, Driven

ALIASED = "provider: openai, models: {aliases: {m: gpt-real}}"


def opened(settings: str = "provider: openai", **more: object) -> Driven:
    driven = Driven(settings, **more)  # type: ignore[arg-type]
    driven.open()
    return driven


def test_a_request_of_the_client_s_own_model_differs_by_its_stamps_alone() -> None:
    driven = opened()
    found = wire_edits.of(driven.flow, driven.driver)

    assert set(found) <= {"headers", "members"}
    assert found["headers"]


def test_a_renamed_model_is_named_before_and_after() -> None:
    driven = opened(ALIASED)

    assert wire_edits.of(driven.flow, driven.driver)["model"] == ["m", "gpt-real"]


def test_what_a_user_edits_is_named_by_member_and_header() -> None:
    driven = opened()
    driven.flow.backup()
    driven.flow.request.content = b'{"model": "other", "messages": [{"role": "user", "content": "hi"}], "n": 1}'
    driven.flow.request.headers["X-Mine"] = "value"

    edited = wire_edits.of(driven.flow, driven.driver)["edited"]
    assert edited == {"members": ["model", "n"], "headers": ["x-mine"]}


def test_the_same_values_in_other_spellings_are_no_edit() -> None:
    driven = opened(body=b'{"model": "m", "tools": [{"a": "\\u00e9", "n": 1}], "messages": []}')
    driven.flow.backup()
    driven.flow.request.content = '{"messages":[],\n"model":"m","tools":[{"n":1,"a":"é"}]}'.encode()
    assert "edited" not in wire_edits.of(driven.flow, driven.driver)

    driven.flow.request.content = b'{"model": "m", "tools": [{"a": "e", "n": 1}], "messages": []}'
    assert wire_edits.of(driven.flow, driven.driver)["edited"] == {"members": ["tools"]}
    driven.flow.request.content = b'{"model": "m", "tools": [{"a": "\\u00e9", "n": true}], "messages": []}'
    assert wire_edits.of(driven.flow, driven.driver)["edited"] == {"members": ["tools"]}


def test_what_patchbay_itself_set_in_the_flow_is_no_edit_of_the_user() -> None:
    driven = opened()
    driven.flow.request.headers["Host"] = "the-account.example"
    driven.driver.placed_fields = driven.flow.request.headers.fields
    driven.flow.backup()
    driven.flow.request.content = b'{"model": "other", "messages": [{"role": "user", "content": "hi"}]}'

    assert wire_edits.of(driven.flow, driven.driver)["edited"] == {"members": ["model"]}
    driven.flow.request.headers["Host"] = "another.example"
    assert wire_edits.of(driven.flow, driven.driver)["edited"]["headers"] == ["host"]


def test_another_path_is_an_edit_and_its_query_is_not_kept() -> None:
    driven = opened()
    driven.flow.request.path = "/v1/responses?key=sk-secret"

    edited = wire_edits.of(driven.flow, driven.driver)["edited"]
    assert edited["path"] == ["/v1/chat/completions", "/v1/responses"]


def test_a_compressed_body_that_nothing_touched_is_no_edit() -> None:
    body = b'{"model": "m", "messages": []}'
    driven = opened(body=body)
    driven.flow.request.headers["content-encoding"] = "gzip"
    driven.flow.request.raw_content = gzip.compress(body)

    assert "edited" not in wire_edits.of(driven.flow, driven.driver)


def test_a_body_that_is_no_object_is_edited_as_a_whole() -> None:
    driven = opened()
    driven.flow.request.content = b"no JSON"

    assert wire_edits.of(driven.flow, driven.driver)["edited"]["members"] == ["body"]


def test_no_value_but_the_model_is_told() -> None:
    driven = opened(f"provider: openai, headers: {{X-Team: {KEY[3:]}}}")
    driven.flow.request.headers["X-Mine"] = "sk-mine"

    assert KEY[3:] not in str(wire_edits.of(driven.flow, driven.driver))
    assert "sk-mine" not in str(wire_edits.of(driven.flow, driven.driver))


def test_before_a_lease_nothing_differs() -> None:
    driven = Driven()

    assert wire_edits.of(driven.flow, driven.driver) == {}
