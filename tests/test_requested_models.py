"""Which models a request names: each word of each table, in each place where some server reads one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from patchbay import dialects, requested_models
from patchbay.body import Body
from patchbay.requested_models import RequestedModels, anywhere, matches
from patchbay.values.http import Headers, Origin, Request

from .each_row import each_row

CHAT = "/v1/chat/completions"
NAMING = (
    "model", "models", "fallback", "fallbacks", "model_id", "model_ids", "modelid", "modelids", "model_name",
    "model_names", "modelname", "modelnames",
)  # fmt: skip
PRESETS = ("agent", "agent_id", "assistant_id", "preset", "deployment", "deployment_id", "engine")
TEXTS = (
    "messages", "input", "contents", "content", "system", "instructions", "prompt", "metadata", "response_format",
    "text", "systeminstruction", "system_instruction",
)  # fmt: skip
DESCRIPTIONS = (
    "parameters", "input_schema", "inputschema", "schema", "json_schema", "responseschema", "response_schema",
    "responsejsonschema", "parametersjsonschema", "properties", "function", "functiondeclarations",
    "function_declarations", "custom", "examples", "arguments",
)  # fmt: skip
SEGMENTS = ("models", "model", "tunedmodels", "engines", "engine", "deployments", "deployment", "endpoints")
SETTINGS = ("-config", "-fallbacks", "-targets", "-override", "-overrides", "-params")


def asked(body: Any = None, path: str = CHAT, headers: dict[str, str] | None = None, method: str = "POST") -> Request:
    raw = body if isinstance(body, bytes) else json.dumps({"model": "m"} if body is None else body).encode()
    endpoint = dialects.endpoint(method, path.partition("?")[0])
    return Request(method, path, Headers((headers or {}).items()), Body(raw), endpoint, Origin("http", "h", 1))


def named(body: Any = None, path: str = CHAT, headers: dict[str, str] | None = None) -> set[str]:
    return set(anywhere(asked(body, path, headers)).all)


def form(*fields: tuple[str, str]) -> bytes:
    parts = (f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields)
    return "".join(parts).encode() + b"--x--\r\n"


@each_row("word", NAMING)
@each_row("spelled", [str, str.upper, lambda word: f" {word}\t", lambda word: f"first_{word}"])
def test_each_word_for_a_model_names_one_at_any_depth(word: str, spelled: Any) -> None:
    member = spelled(word)

    assert named({"model": "m", member: "other"}) >= {"m", "other"} if member != "model" else True
    assert named({"model": "m", "x": {"y": [{member: "other"}]}}) == {"m", "other"}
    assert named({"model": "m", member: ["a", {"model": "b"}]}) >= {"a", "b"} if member != "model" else True


@pytest.mark.parametrize("word", PRESETS)
def test_each_word_for_a_preset_names_one_at_the_top_alone(word: str) -> None:
    assert named({"model": "m", word: "other"}) == {"m", "other"}
    assert named({"model": "m", "x": {word: "other"}}) == {"m"}


@pytest.mark.parametrize("word", TEXTS)
def test_each_text_is_left_out(word: str) -> None:
    assert named({"model": "m", word: [{"model": "other"}]}) == {"m"}
    assert named({"model": "m", "x": {word: {"model": "other"}}}) == {"m"}


@pytest.mark.parametrize("word", DESCRIPTIONS)
def test_each_description_is_left_out_inside_an_object_alone(word: str) -> None:
    assert named({"model": "m", "tools": [{word: {"model": "other"}}]}) == {"m"}
    assert named({"model": "m", word: {"model": "other"}}) == {"m", "other"}


@pytest.mark.parametrize("word", ["allow_fallbacks", "fallback"])
@pytest.mark.parametrize("value", [True, False, None, 3])
def test_a_switch_for_fallbacks_names_none(word: str, value: object) -> None:
    found = anywhere(asked({"model": "m", word: value}))

    assert found == RequestedModels("m")


@pytest.mark.parametrize("segment", SEGMENTS)
def test_each_segment_before_a_name_of_a_model_is_read(segment: str) -> None:
    assert named(path=f"/gateway/{segment}/other:x{CHAT}") == {"m", "other"}
    assert named(path=f"/gateway/{segment.title()}/o%74her{CHAT}") == {"m", "other"}


def test_the_words_in_the_place_of_a_model_are_none() -> None:
    assert named(path="/v1/projects/p/endpoints/openapi/chat/completions") == {"m"}
    assert named(path="/v1/projects/p/publishers/anthropic/models/count-tokens:rawPredict") == {"m"}


@pytest.mark.parametrize("name", ["x-model", "model", "x-fallback-models", "x_model_x"])
def test_a_header_for_a_model_is_read(name: str) -> None:
    assert named(headers={name: " a, b "}) == {"m", "a, b", "a", "b"}


@pytest.mark.parametrize("name", ["x-remodel", "modeled", "x-models1"])
def test_another_header_is_not_read(name: str) -> None:
    assert anywhere(asked(headers={name: "other"})) == RequestedModels("m")


@pytest.mark.parametrize("ending", SETTINGS)
def test_each_header_with_settings_hides_models_where_it_speaks_of_them(ending: str) -> None:
    assert anywhere(asked(headers={f"x-gateway{ending}": '{"Model": 1}'})).hidden
    assert not anywhere(asked(headers={f"x-gateway{ending}": '{"cache": 1}'})).hidden


def test_stored_settings_hide_models_and_routing_parameters_name_them() -> None:
    assert anywhere(asked(headers={"x-portkey-config": "pc-1"})).hidden
    assert named(headers={"x-goog-request-params": "model=a&x=b"}) == {"m", "a"}


@pytest.mark.parametrize("field", ["model", "Models[0]", "extra[model]", "extra.model", "model%5B0%5D", "engine"])
def test_a_field_of_a_form_or_a_query_is_read(field: str) -> None:
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    path = "/v1/audio/transcriptions"

    in_form = anywhere(asked(form((field, "other")), path, multipart))
    assert "other" in in_form.all or ("%" in field and in_form.unreadable)
    assert "other" in named(f"{field}=other".encode(), path, urlencoded)
    assert "other" in named(path=f"{CHAT}?{field}=other")


@pytest.mark.parametrize(
    ("body", "headers", "hidden"),
    [
        (b"", {}, "JSON object"),
        (b"[]", {}, "JSON object"),
        (b'{"model": "a", "model": "b"}', {}, "twice"),
        (b'{"model": 7}', {}, "cannot be read"),
        (b'{"model": {"x": 1}}', {}, "cannot be read"),
        (b'{"model": "m"}', {"content-type": "application/json, text/plain"}, "two content types"),
        (b'{"model": "m"}', {"content-type": "application/json; charset=utf-16"}, "charset"),
        (b"no form", {"content-type": "multipart/form-data; boundary=x"}, "boundary"),
        (form(("model", "")), {"content-type": "multipart/form-data; boundary=x"}, "cannot be read"),
    ],
)
def test_a_body_that_cannot_be_read_for_certain_is_unreadable(
    body: bytes, headers: dict[str, str], hidden: str
) -> None:
    found = anywhere(asked(body, headers=headers))

    assert found.unreadable and hidden in found.hidden


@pytest.mark.parametrize("charset", ["utf-8", "UTF8", "us-ascii", '"ascii"'])
def test_each_charset_of_json_is_read(charset: str) -> None:
    assert not anywhere(asked(headers={"content-type": f"application/json; charset={charset}"})).hidden


@pytest.mark.parametrize(("depth", "unreadable"), [(8, False), (9, True)])
def test_an_object_is_entered_up_to_a_depth(depth: int, unreadable: bool) -> None:
    nested: Any = {"model": "deep"}
    for _ in range(depth - 1):
        nested = {"x": nested}
    found = anywhere(asked({"model": "m", "x": nested}))

    assert (found.unreadable, "deep" in found.all) == (unreadable, not unreadable)


def test_a_request_without_a_model_is_hidden_and_one_that_changes_a_model_names_it() -> None:
    assert anywhere(asked({})).hidden == "it names none"
    assert anywhere(asked(path="/v1/models/ft-1", method="DELETE")).all == ("ft-1",)
    assert anywhere(asked(path="/v1/models/ft-1", method="GET")).all == ()


def test_a_message_that_opens_an_answer_has_to_name_a_model() -> None:
    assert requested_models.of_message(Body(b'{"type": "x"}'), creates=True).hidden == "it names none"
    assert requested_models.of_message(Body(b'{"type": "x"}'), creates=False) == RequestedModels()
    found = requested_models.of_message(Body(b'{"model": "a", "x": {"model": "b"}}'), creates=True)
    assert found == RequestedModels("a", ("b",))


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("gpt-*", "gpt-5", True), ("gpt-*", "o3", False), ("claude-x[1m]", "claude-x[1m]", True),
        ("claude-*[1m]", "claude-x[1m]", True), ("claude-*[1m]", "claude-xm", False), ("gpt-[45]", "gpt-5", True),
        ("a[200K]", "a[200K]", True), ("weird[", "weird[", True),
    ],
)  # fmt: skip
def test_a_size_in_brackets_is_a_part_of_a_pattern(pattern: str, name: str, fits: bool) -> None:
    assert matches([pattern], [name]) is fits
    assert matches(["never", pattern], ["nothing", name]) is fits


@pytest.mark.parametrize(
    ("model", "bare"),
    [("models/g", "g"), ("publishers/google/models/g", "g"), ("projects/p/locations/l/publishers/x/models/g", "g"),
     ("g", "g"), ("tunedModels/g", "tunedModels/g")],
)  # fmt: skip
def test_a_resource_path_before_a_model_is_taken_off(model: str, bare: str) -> None:
    assert requested_models.bare(model) == bare


@given(st.binary(max_size=200), st.sampled_from(["", "application/json", "multipart/form-data; boundary=x"]))
def test_no_bytes_make_it_raise(raw: bytes, kind: str) -> None:
    for path in (CHAT, "/v1/messages/batches", "/v1beta/models/m:batchGenerateContent", "/nowhere", "/v1/batches"):
        anywhere(asked(raw, path, {"content-type": kind}))


# -- the usual place ---------------------------------------------------------------------------------------------------

MULTIPART = {"content-type": "multipart/form-data; boundary=x"}
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
SPEECH = "/v1/audio/transcriptions"


@pytest.mark.parametrize(
    ("request_", "model"),
    [
        (asked({"model": "m"}), "m"),
        (asked({"contents": []}, "/v1beta/models/g%2Dx:generateContent"), "g-x"),
        (asked({"model": "m"}, "/v1beta/models/g:generateContent"), "g"),
        (asked({"model": "m"}, "/v1/files"), ""),
        (asked(form(("model", "whisper")), SPEECH, MULTIPART), "whisper"),
        (asked(b"model=whisper", SPEECH, URLENCODED), "whisper"),
        (asked(b"model=whisper", SPEECH, {"content-type": "text/plain"}), ""),
        (asked({"x": "model=whisper"}, SPEECH, URLENCODED), ""),
        (asked(b'{"x": 1, "y": "&model=whisper"}', SPEECH, URLENCODED), ""),
        (asked(b"", SPEECH, URLENCODED), ""),
        (asked(b"model=whisper", "/v1/nothing", URLENCODED), ""),
    ],
)
def test_the_model_in_the_usual_place(request_: Request, model: str) -> None:
    assert requested_models.in_usual_place(request_) == RequestedModels(model)


def test_the_model_of_the_usual_place_is_first_and_the_others_keep_their_order() -> None:
    found = anywhere(asked({"fallbacks": ["b", "a"], "model": "m"}))
    assert (found.model, found.others, found.all) == ("m", ("b", "a"), ("m", "b", "a"))
    found = anywhere(asked({"x": {"models": ["b", "a"]}}))
    assert (found.model, found.others) == ("b", ("a",))
    assert RequestedModels("", ("a",)).all == ("a",)
    path = "/v1beta/models/g:generateContent?model=q"
    assert anywhere(asked({"model": "m"}, path)).all == ("g", "m", "q")


def test_an_unknown_endpoint_may_run_what_its_body_names_and_more() -> None:
    found = anywhere(asked({"model": "m"}, "/v1/nothing"))

    assert (found.all, found.hidden, found.unreadable) == (("m",), "the endpoint is unknown", False)
    assert anywhere(asked(b"[", "/v1/nothing")).unreadable is False
    assert anywhere(asked({"model": "m"}, "/v1/nothing", method="GET")).hidden == ""


def test_an_encoded_value_names_a_model_as_it_stands_and_decoded() -> None:
    assert named(b"model=a%252Fb", SPEECH, URLENCODED) == {"a%2Fb", "a/b"}
    assert named(form(("model-id", "a")), SPEECH, MULTIPART) >= {"a"}
    assert named(path=f"{CHAT}?x-model-id=a") == {"m", "a"}
    assert named(path="/v1beta/models/g%2Dx:generateContent") == {"m", "g-x"}


@pytest.mark.parametrize("value", ["[1]", ' {"a":1}'])
def test_a_list_in_a_field_is_unreadable(value: str) -> None:
    assert anywhere(asked(form(("model", value)), SPEECH, MULTIPART)).unreadable
    assert not anywhere(asked(form(("model", "x[1]")), SPEECH, MULTIPART)).unreadable


def test_what_stands_in_a_text_of_json_is_no_field() -> None:
    assert named(b'{"model": "m", "x": "&model=other&y="}') == {"m"}


def test_a_form_that_is_json_all_the_same_is_read_as_both() -> None:
    assert named(b'{"model": "m", "x": "&model=other&y="}', SPEECH, URLENCODED) == {"m", "other"}
    assert anywhere(asked(b"x=1", SPEECH, URLENCODED)).unreadable


# -- a batch -----------------------------------------------------------------------------------------------------------

BATCHES = "/v1/messages/batches"


def one(model: Any, **more: Any) -> dict[str, Any]:
    return {"custom_id": "1", "params": {"model": model, "max_tokens": 1, "messages": []}, **more}


@each_row("word", requested_models._NAMES)
@each_row("spelled", [str, str.upper, lambda word: f" {word}\t", lambda word: f"first_{word}"])
def test_each_word_for_a_model_names_one_in_a_request_of_a_batch(word: str, spelled: Any) -> None:
    """`_simple_model` reads most requests of a batch, and must leave every other word to the careful reader."""
    member = spelled(word)
    if member != "model":
        assert named({"requests": [{"params": {"model": "a", member: "other"}}]}, BATCHES) == {"a", "other"}
    assert named({"requests": [{"params": {"model": "a", "x": {member: "other"}}}]}, BATCHES) == {"a", "other"}
    assert named({"requests": [{"params": {"model": "a"}, member: "other"}]}, BATCHES) == {"a", "other"}


@pytest.mark.parametrize(
    ("body", "models", "hidden"),
    [
        ({"requests": [one("a"), one("b"), one("a")]}, ("a", "b"), ""),
        ({"requests": [{**one("a"), "model": "b"}]}, ("a", "b"), ""),
        ({"requests": [one("a", fallbacks=["c"])]}, ("a", "c"), ""),
        ({"requests": [{"params": {"model": "a", "fallbacks": ["b"]}}]}, ("a", "b"), ""),
        ({"requests": [{"params": {"model": "a", "x": {"model": "b"}}}]}, ("a", "b"), ""),
        ({"requests": [{"params": {"model": "a", "engine": "b"}}]}, ("a",), ""),
        (b'{"requests": [{"params": {"model": "a", "m\\u006fdel": "b"}}]}', (), "the body holds a member twice"),
        (b'{"requests": [{"params": {"m\\u006fdel": "b"}}]}', ("b",), ""),
        ({"requests": [one("a"), one("")]}, ("a",), "a request of the batch names no model"),
        ({"requests": [one(7)]}, (), "a request of the batch names no model"),
        ({"requests": [{"params": {}}]}, (), "a request of the batch names no model"),
        ({"requests": [one("a", PARAMS={"model": "b"})]}, ("a",), "the body holds a member twice"),
        ({"requests": [one("a")], "Requests": []}, (), "the body holds a member twice"),
        ({"requests": []}, (), "it names none"),
        ({}, (), None),
        (b"", (), None),
        (b"[]", (), None),
        ({"requests": [7]}, (), None),
    ],
)
def test_a_batch_names_the_model_of_each_of_its_requests(body: Any, models: tuple[str, ...], hidden: str) -> None:
    found = anywhere(asked(body, BATCHES))

    assert found.all == models
    assert (found.unreadable, found.hidden) == (hidden != "", hidden) if hidden is not None else found.unreadable


@pytest.mark.parametrize(("depth", "unreadable"), [(7, False), (8, True)])
def test_a_request_of_a_batch_is_entered_up_to_the_same_depth(depth: int, unreadable: bool) -> None:
    nested: Any = {"model": "deep"}
    for _ in range(depth - 1):
        nested = {"x": nested}
    found = anywhere(asked({"requests": [{"params": {"model": "a", "x": nested}}]}, BATCHES))

    assert (found.unreadable, "deep" in found.all) == (unreadable, not unreadable)


def test_a_parameter_names_a_model_as_it_stands_and_decoded() -> None:
    assert named(path=f"{CHAT}?model=a%252Fb") == {"m", "a%2Fb", "a/b"}


def test_a_pattern_that_is_the_name_itself_matches_it() -> None:
    assert matches(["a[!b]"], ["a[!b]"]) and not matches(["a[!b]"], ["ab"])


def test_a_list_of_models_may_hold_nothing_at_all() -> None:
    assert anywhere(asked({"model": "m", "fallbacks": [None, "a"]})) == RequestedModels("m", ("a",))
    assert anywhere(asked({"model": "m", "fallbacks": [True]})).unreadable
    assert named({"model": "m", "x": [1, "y", {"model": "a"}]}) == {"m", "a"}
    assert requested_models.of_message(Body(None), creates=True).unreadable
    assert anywhere(asked({"model": "m"}, "/v1/nothing", method="HEAD")).hidden == ""
