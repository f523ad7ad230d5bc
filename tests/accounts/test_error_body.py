"""What is read of an error's body: codes, message, status, place and parts, each within its bound."""

from __future__ import annotations

import json

import pytest

from patchbay.accounts import error_body
from patchbay.accounts.error_body import ErrorBody
from patchbay.body import Body

from ..each_row import each_row


def read(document):
    return error_body.read(Body(document if isinstance(document, bytes) else json.dumps(document).encode()))


def nested(depth, inner):
    for _ in range(depth):
        inner = {"error": inner}
    return inner


@pytest.mark.parametrize(
    "member", ["type", "code", "status", "reason", "error_code", "error_type", "limit_source", "quotaId", "@type"]
)
def test_the_members_that_hold_a_code(member):
    assert read({member: "Some_Code"}).codes == read({"error": {member: "Some_Code"}}).codes == {"some_code"}
    assert read({member: 429}).codes == {"429"}
    assert read({member: True}).codes == read({member: ""}).codes == read({member: None}).codes == set()


@pytest.mark.parametrize("member", ["message", "msg", "detail", "error", "error_description", "errors", "faultstring"])
def test_the_members_that_hold_a_message(member):
    assert read({member: 'Wrong &amp; "quoted"'}).message == 'wrong & "quoted"'
    assert read({"error": {member: "Wrong"}}).message == "wrong"
    assert read({member: ["Wrong", 5, "again"]}).message == "wrong again"
    assert read({member: 5}).message == ""


@pytest.mark.parametrize(
    "member",
    [
        "error",
        "errors",
        "detail",
        "details",
        "message",
        "metadata",
        "violations",
        "fieldViolations",
        "innererror",
        "fault",
    ],
)
def test_the_members_whose_objects_are_parts_of_the_error(member):
    assert {"code": "x"} in read({"error": {member: {"code": "x"}}}).parts
    assert {"code": "x"} in read({"error": {member: [[], {"code": "x"}]}}).parts


@pytest.mark.parametrize("member", ["input", "ctx", "body", "instance"])
def test_a_member_that_repeats_the_request_is_no_part(member):
    assert read({"error": {member: {"code": "x"}}}).codes == set()


HINTS = """
    details metadata retryDelay resets_in_seconds resets_at quotaResetDelay quotaResetTimeStamp
    retry_after_ms retry_after retry_after_seconds retryAfter retryAfterSeconds reset_seconds
    reset_at resetAt resetsAt reset_in_seconds
"""


@pytest.mark.parametrize("member", HINTS.split())
def test_the_members_of_an_outermost_object_that_may_hold_hints_are_kept(member):
    assert read({member: ["x"]}).parts == ({member: ["x"]},)


def test_other_members_of_the_outermost_object_are_not_read():
    assert read({"prompt": "x" * 9, "code": "a"}).parts == ({"code": "a"},)


@each_row("member", ["param", "loc", "field"])
@each_row(
    ("value", "place"),
    [
        ("Messages[0].role", "messages[0].role"),
        (["body", "messages", 0, "role"], "messages.role"),
        (["query", "path", "header", "null", "none", "x"], "x"),
        (["body"], ""),
        ("", ""),
        (5, ""),
        (list("abcdefghi"), "a.b.c.d.e.f.g.h"),
        ("x" * 97, "x" * 96),
    ],
)
def test_the_place_in_the_request_that_an_error_names(member, value, place):
    assert read({"error": {member: value}}).place == place


def test_the_first_place_that_is_one_counts():
    assert read({"error": {"param": "none", "loc": ["a"], "field": "b", "details": [{"param": "c"}]}}).place == "a"
    assert read({"error": {"details": [{"x": 1}, {"param": "c"}]}}).place == "c"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (400, 400),
        (599, 599),
        (399, 0),
        (600, 0),
        ("429", 429),
        ("0429", 0),
        (4290, 0),
        ("٤٢٩", 0),
        (99_999, 0),
        ("x", 0),
    ],
)
def test_a_code_in_the_range_of_http_is_a_status(code, status):
    assert read({"error": {"code": code}}).status == status


def test_the_lowest_of_several_statuses_counts():
    assert read({"error": {"code": 503, "status": "429", "type": 200}}).status == 429


def test_codes_and_messages_are_cut_and_a_huge_number_is_no_code():
    assert read({"code": "X" * 97}).codes == {"x" * 96}
    assert read({"code": 99_999, "status": 100_000, "type": -100_000}).codes == {"99999", ""}
    assert read({"message": "x" * 601}).message == "x" * 600
    said = read({"message": "a" * 601, "msg": "b" * 601, "detail": "c"})
    assert said.message == said.own == f"{'a' * 600} {'b' * 599}"
    assert read({"flagged_input": "x", "error": {"flagged_input": "x"}}).codes == {"flagged_input"}


def test_parts_are_read_outermost_first_and_in_bounds():
    assert [part["code"] for part in read({"code": 1, "error": {"code": 2, "details": [{"code": 3}]}}).parts] == [
        1,
        2,
        3,
    ]
    assert len(read({"details": [{"code": number} for number in range(30)]}).parts) == 24
    assert len(read({"details": [[], *({"code": number} for number in range(30))]}).parts) == 24
    for depth, codes in ((6, {"deep"}), (7, set())):
        assert read(nested(depth, {"code": "deep"})).codes == codes


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ('{"error": {"message": "the inner one"}}', True),
        ("""AnthropicException - {'type': 'error', 'message': 'the inner one'}""", True),
        ('Upstream error: b\'{\\"message\\": \\"the inner one\\"}', True),
        ('see {"message": "the inner one"}', False),
        ('exception{} and {"message": "the inner one"}', True),
        ("exception{" + " " * 4050 + '"message": "the inner one"', True),
        ("exception{" + " " * 4080 + '"message": "the inner one"', False),
        (" " * 4096 + '{"message": "the inner one"}', False),
        ("exception" + " " * 101 + '{"message": "the inner one"}', False),
    ],
)
def test_an_error_inside_a_message_is_read_too(text, inner):
    message = read({"message": text}).message
    assert message == " ".join(filter(None, (text[:600].lower(), "the inner one" if inner else "")))
    assert ("the inner one" in read({"metadata": {"raw": text}}).message) is inner


def test_the_inner_error_may_have_a_status_before_it_and_its_message_directly_in_it():
    assert read({"message": "400: {'error': 'the inner one'}"}).own.endswith(" the inner one")
    assert not read({"message": "4000: {'error': 'the inner one'}"}).own.endswith(" the inner one")


@each_row("member", ["errors", "fault"])
def test_an_outermost_member_that_holds_the_error_is_read(member):
    assert read({member: {"code": "x"}}).codes == {"x"}
    assert read({"param": "tools", "message": "x"}).place == "tools"


def test_escapes_of_an_inner_message_are_read_and_it_is_cut():
    assert read({"metadata": {"raw": r'{"message": "a\\u0022b\u00e9"}'}}).message == 'a"bé'
    assert read({"metadata": {"raw": '{"message": "' + "x" * 601 + '"}'}}).message == "x" * 600


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"Incorrect API key", "incorrect api key"),
        (b'"as JSON \\u0041"', "as json a"),
        (b"12", "12"),
        (b"\xff", "\ufffd"),
        (b" <html>", ""),
        (b" {broken", ""),
        (b" [broken", ""),
        (b"x" * 2048, "x" * 600),
        (b"x" * 2049, ""),
        (b"", ""),
    ],
)
def test_a_body_that_is_no_object_is_a_message_unless_it_is_a_page(raw, message):
    said = read(raw)
    assert (said.message, said.codes, said.parts) == (message, set(), ())
    assert bool(said) is bool(message)


def test_the_first_error_of_an_array_counts():
    assert read([{"code": "a"}, {"code": "b"}]).codes == {"a"}
    assert read(b' [{"code": "a"}]').codes == {"a"}
    assert not read(["a", {"code": "b"}]) and not read([])
    assert not error_body.read(None) and not read(b"[" * 100_000)


@pytest.mark.parametrize(
    ("document", "alone"),
    [
        ({"error": "x"}, True),
        ([{"error": "x"}], True),
        ({"error": None}, False),
        ({"code": 5}, False),
        ({"error": "x", "object": "response"}, False),
        ({"error": "x", "choices": []}, False),
        ({"error": "x", "candidates": []}, False),
        ("x", False),
    ],
)
def test_a_body_is_an_error_and_nothing_else(document, alone):
    assert error_body.is_error(Body(json.dumps(document).encode())) is alone
    assert not error_body.is_error(None)


def test_the_error_of_an_event_has_its_code_and_message_and_those_of_its_object():
    said = error_body.of_event("X" * 97, "M" * 601, {"code": "Y", "message": "z", "param": "p"})
    assert (said.codes, said.message, said.place) == ({"x" * 96, "y"}, "m" * 600, "p")
    assert error_body.of_event("", "").codes == set()


@pytest.mark.parametrize("fields", [{"codes": frozenset("a")}, {"message": "a"}, {"parts": ({},)}])
def test_an_error_is_one_if_anything_was_said(fields):
    assert ErrorBody(**fields)
    assert not ErrorBody() and ErrorBody().status == 0
