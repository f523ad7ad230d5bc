"""Which client was given a stored resource."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from patchbay.identity import client_resources
from patchbay.identity.client_resources import ClientResources
from patchbay.identity.seeds import Seeds
from patchbay.ledger import Ledger
from patchbay.values.answer import Fact
from patchbay.values.http import Client, Request

from .traffic import CHAT, RESPONSES, request

ANN, BOB = Client(scope=b"ann", key=b"a"), Client(scope=b"bob", key=b"b")
ID = "file-Zk3v9QxWm2TnB7cL"


def held(value: str = ID, where: str = "file", kind: str = "token", asked: Request | None = None) -> ClientResources:
    """Return resources of which *value* was given to ann."""
    found = ClientResources(Seeds(b"k" * 32), Ledger())
    found.note(replace(asked or request(CHAT, {}), client=ANN), Fact(kind, value, where), 0, 100)
    return found


def foreign(resources: ClientResources, asked: Request, client: Client = BOB, now: float = 1) -> str:
    return resources.foreign_id(replace(asked, client=client), now)


def naming(value: str = ID) -> Request:
    return request(RESPONSES, {"previous_response_id": value})


def test_another_client_may_not_name_it():
    assert foreign(held(), naming()) == ID
    assert foreign(held(), naming(), ANN) == ""
    assert foreign(held(), naming(), Client(scope=b"bob")) == ""  # without a key there is one client
    assert foreign(held(), naming(), now=100) == ""
    assert foreign(held(), naming("file-unknown")) == ""


def test_an_id_that_several_clients_were_given_is_nobodys():
    resources = held()
    resources.note(replace(request(CHAT, {}), client=BOB), Fact("token", ID, "file"), 0, 100)

    assert foreign(resources, naming(), Client(scope=b"eve", key=b"e")) == ""


@pytest.mark.parametrize("where", sorted(client_resources._HELD))
def test_each_kind_of_resource_is_noted(where: str):
    assert foreign(held(where=where), naming()) == ID


@pytest.mark.parametrize(("kind", "where"), [("token", "tool"), ("token", "signature"), ("text", "file"), ("echo", "")])
def test_other_facts_name_no_resource(kind: str, where: str):
    assert foreign(held(kind=kind, where=where), naming()) == ""


@pytest.mark.parametrize("size", [511, 512, 513])
def test_an_id_has_512_characters_at_most(size: int):
    assert (foreign(held("a" * size), naming("a" * size)) != "") == (size <= 512)


@pytest.mark.parametrize("value", ["", 7, None])
def test_other_values_name_nothing(value: Any):
    resources = ClientResources(Seeds(b"k" * 32), Ledger())
    resources.note(replace(request(CHAT, {}), client=ANN), Fact("id", value), 0, 100)

    assert foreign(resources, naming("")) == ""


def test_an_id_that_the_client_named_in_its_path_need_not_be_its_own():
    named = request(f"/v1/files/{ID}", None, method="GET")

    assert foreign(held(asked=named), naming()) == ""
    assert foreign(held(f"https://host/v1beta/files/{ID}", asked=named), naming()) == ""
    assert foreign(held(asked=request("/v1/files", {})), naming()) == ID


MESSAGE = {"role": "user", "content": [{"type": "input_file", "file_id": ID}]}
NAMED: dict[str, tuple[str, Any]] = {
    "path": (f"/v1/files/{ID}", None),
    "path, escaped": (f"/v1/files/{ID.replace('-', '%2D')}", None),
    "query": (f"/v1/files?after={ID}", None),
    "query, escaped twice": (f"/v1/files?after={ID.replace('-', '%252D')}", None),
    "member": (RESPONSES, {"some_id": ID}),
    "member, deep": (RESPONSES, {"some": [{"thing": {"here": [ID]}}]}),
    "message": (RESPONSES, {"input": [MESSAGE]}),
    "message, of any type": (RESPONSES, {"input": [{"type": "new", "thing_id": ID}]}),
    "item": (RESPONSES, {"input": [{"id": ID}]}),
    "tool": (RESPONSES, {"tools": [{"type": "file_search", "vector_store_ids": [ID]}]}),
    "tool, camel case": (RESPONSES, {"tools": [{"storeId": ID}]}),
    "prompt": (RESPONSES, {"prompt": {"id": ID}}),
    "system": ("/v1/messages", {"system": [{"type": "document", "source": {"type": "file", "file_id": ID}}]}),
    "content beside a history": ("/v1/threads", {"thread": {"messages": [MESSAGE]}}),
}


@pytest.mark.parametrize("place", NAMED)
def test_it_is_found_wherever_a_request_names_it(place: str):
    path, body = NAMED[place]

    assert foreign(held(), request(path, body, method="GET" if body is None else "POST")) == ID


UNNAMED: dict[str, Any] = {
    "text": {"input": [{"role": "user", "content": ID}]},
    "prompt": {"prompt": ID},
    "instructions": {"instructions": ID},
    "metadata": {"metadata": {"some_id": ID}},
    "call": {"input": [{"type": "function_call", "call_id": ID, "name": "ls"}, {"tool_use_id": ID}]},
    "call beside a history": {"system": [{"type": "tool_result", "tool_use_id": ID}]},
    "text, deep": {"some": {"text": ID, "metadata": {"a": ID}, "tools": {"a": ID}}},
    "label": {"input": [{"id": ID, "type": "message", "content": []}]},
}


@pytest.mark.parametrize("place", UNNAMED)
def test_a_label_or_a_text_names_nothing(place: str):
    assert foreign(held(), request(RESPONSES, UNNAMED[place])) == ""


@pytest.mark.parametrize("member", sorted(client_resources._SAYS))
def test_each_member_with_content_makes_an_id_a_label(member: str):
    assert foreign(held(), request(RESPONSES, {"input": [{"id": ID, member: ""}]})) == ""
    assert foreign(held(), request(RESPONSES, {"input": [{"thing_id": ID, member: ""}]})) == ID


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"a=1&b=" + ID.encode()),
        ("application/x-www-form-urlencoded", b"b=" + ID.replace("-", "%2D").encode()),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="b"\r\n\r\n' + ID.encode() + b"\r\n--x--\r\n",
        ),
    ],
)
def test_a_form_names_it_too(kind: str, body: bytes):
    assert foreign(held(), request("/v1/files", body, {"content-type": kind})) == ID
    assert foreign(held(), request("/v1/files", body, {"content-type": "text/plain"})) == ""


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("projects/p/locations/l/cachedContents/1", "cachedContents/1"),
        ("cachedContents/1", "projects/other/cachedContents/1:verb"),
        ("https://host/v1beta/files/abc", "files/abc"),
        ("files/abc?x=1", "files/abc#y"),
        ("files/a%62c/", "files/abc"),
    ],
)
def test_a_name_is_its_last_two_parts(given: str, named: str):
    assert foreign(held(given), naming(named)) == named


@pytest.mark.parametrize(("before", "is_seen"), [(19_998, True), (19_999, False)])
def test_a_walk_ends_after_20_000_nodes(before: int, is_seen: bool):
    body = {"many": [ID, *range(before)]}  # the last item is read first

    assert (foreign(held(), request(RESPONSES, body)) == ID) == is_seen


@pytest.mark.parametrize("body", [{"tools": 7}, {"input": None}, {"messages": True}, {"contents": {}}])
def test_a_history_that_is_no_list_names_nothing(body: Any):
    assert foreign(held(), request(RESPONSES, body)) == ""


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
def test_a_form_without_a_body_names_nothing(kind: str):
    assert foreign(held(), request("/v1/files", None, {"content-type": kind})) == ""


def test_stored_ids_never_change():
    assert held()._seed(f" {ID} ")[:16] == "86deef72039505a5"
