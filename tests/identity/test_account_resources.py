"""Accounts that keep resources of a request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay.identity.account_resources import ADDRESS_TTL, OWNED_TTL, AccountResources
from patchbay.identity.client_resources import ClientResources
from patchbay.identity.lineage import Lineage
from patchbay.identity.seeds import Seeds
from patchbay.ledger import Entry, Ledger
from patchbay.values.http import Client, Request

from .traffic import RESPONSES, request

FILE = "file-Zk3v9QxWm2TnB7cL"
UPLOAD = "/upload/v1beta/files?upload_id=Zk3v9QxWm2TnB7cLAb1x&upload_protocol=resumable"


class Tables:
    def __init__(self, ttl: float = 60) -> None:
        seeds, ledger = Seeds(b"k" * 32), Ledger()
        self.ledger = ledger
        self.lineage = Lineage(seeds, ledger)
        self.client_resources = ClientResources(seeds, ledger)
        self.resources = AccountResources(self.lineage, self.client_resources, ttl)

    def own(self, account: str, token: str, now: float = 0) -> None:
        self.lineage.note(b"", token, Entry("", account=account), now, 1000)
        self.lineage.tie(b"", now, 1000)


def asking(*files: str, **more: object) -> Request:
    content = [{"type": "input_file", "file_id": each} for each in files]
    return request(RESPONSES, {"input": [{"role": "user", "content": content}], **more})


def test_a_file_is_owned_by_the_account_that_gave_it():
    tables = Tables()
    tables.own("b", FILE)
    owner, evidence = tables.resources.owner(asking(FILE), None, 1)

    assert owner == {"b"}
    assert [(each.tier, each.where, each.used, each.value) for each in evidence] == [("owner", "file", True, FILE)]
    assert tables.resources.owner(asking("file-other"), None, 1) == (None, [])


def test_of_two_owners_the_first_counts_and_the_other_is_evidence():
    tables = Tables()
    tables.own("a", "resp_1")
    tables.own("b", FILE)
    owner, evidence = tables.resources.owner(asking(FILE, previous_response_id="resp_1"), None, 1)

    assert owner == {"a"}
    assert [(each.used, each.why) for each in evidence] == [(True, ""), (False, "of another account")]


def test_a_history_is_searched_only_where_a_token_ties():
    tables = Tables()
    tables.lineage.note(b"", FILE, Entry("", account="b"), 0, 1000)
    assert tables.resources.owner(asking(FILE), None, 1) == (None, [])

    tables.lineage.tie(b"", 0, 1000)
    assert tables.resources.owner(asking(FILE), None, 1)[0] == {"b"}


def test_the_outline_is_searched_before_the_whole_request():
    tables = Tables()
    tables.own("a", "file-new")
    tables.own("b", FILE)

    assert tables.resources.owner(asking(FILE), asking("file-new"), 1)[0] == {"a"}
    assert tables.resources.owner(asking(FILE), asking(), 1)[0] == {"b"}


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({"previous_response_id": "token"}, {"a"}),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "token"}]}]}, {"a"}),
        ({"input": [{"type": "reasoning", "id": "x", "encrypted_content": "token"}]}, None),
        ({"previous_response_id": "other"}, None),
    ],
)
def test_a_request_cannot_do_without_a_file_or_a_response_but_without_reasoning(body, stored):
    tables = Tables()
    tables.own("a", "token")

    assert tables.resources.stored_at(request(RESPONSES, body), 1) == stored


@pytest.mark.parametrize("scope", [b"", b"ann" * 5])
def test_an_upload_address_names_its_client_and_its_account(scope: bytes):
    tables = Tables()
    given = replace(request("/upload/v1beta/files", {}), client=Client(scope=scope, key=b"key"))
    tables.resources.note_addresses(given, "b", [UPLOAD], 0)
    asked = replace(request(UPLOAD, b"data"), client=given.client)

    assert tables.resources.client_of(UPLOAD, 1) == (scope, b"key")
    assert tables.resources.knows_address(asked, 1)
    assert tables.resources.owner(asked, None, 1)[0] == {"b"}
    assert not tables.resources.knows_address(replace(asked, client=Client(scope=b"bob")), 1)
    assert tables.resources.client_of(UPLOAD, ADDRESS_TTL) is None
    assert tables.resources.client_of(UPLOAD.replace("Zk3v", "Zk3w"), 1) is None


def test_the_address_of_a_collection_is_not_remembered():
    tables = Tables()
    tables.resources.note_addresses(request("/v1/files", {}), "b", ["/v1/files", "/v1/models/gpt-5"], 0)

    assert tables.lineage.is_empty()
    assert tables.resources.client_of(UPLOAD, 0) is None


@pytest.mark.parametrize(("ttl", "lived"), [(60, OWNED_TTL), (OWNED_TTL + 60, OWNED_TTL + 60)])
def test_a_resource_lives_as_long_as_providers_keep_it(ttl: float, lived: float):
    tables = Tables()
    tables.resources.resize(ttl)
    asked = request(UPLOAD, b"data")
    tables.resources.note_addresses(asked, "b", [UPLOAD], 0)

    assert tables.resources.owner_of(asked, "Zk3v9QxWm2TnB7cLAb1x", lived - 1) == "b"
    assert tables.resources.owner_of(asked, "Zk3v9QxWm2TnB7cLAb1x", lived) == ""


FIELDS = {"messages": [], "diagnostics": {"previous_message_id": "msg_1"}, "fallback_credit_token": "credit"}


def test_a_field_that_belongs_to_another_account_is_named():
    tables = Tables()
    asked = request("/v1/messages", FIELDS)
    tables.own("a", "msg_1")

    def elsewhere(account: str, *, moved: bool) -> list[str]:
        return [each.member for each in tables.resources.bound_elsewhere(asked, "x", account, 1, moved=moved)]

    assert elsewhere("a", moved=False) == []
    assert elsewhere("b", moved=False) == ["diagnostics.previous_message_id"]
    assert elsewhere("b", moved=True) == ["diagnostics.previous_message_id", "fallback_credit_token"]
    assert elsewhere("a", moved=True) == ["fallback_credit_token"]


def test_a_value_of_the_clients_own_belongs_to_the_first_account_in_its_conversation():
    tables = Tables()
    asked = request("/v1/messages", {"messages": [], "workspace_id": "w"})
    tables.resources.note_bound(asked, "x", "a", 0)
    tables.resources.note_bound(asked, "x", "b", 1)  # a later account changes nothing
    tables.resources.note_bound(asked, "", "c", 1)

    assert tables.resources.bound_elsewhere(asked, "x", "a", 1, moved=True) == ()
    assert tables.resources.bound_elsewhere(asked, "x", "b", 1, moved=False) != ()
    assert tables.resources.bound_elsewhere(asked, "another", "b", 1, moved=False) == ()
    assert tables.resources.bound_elsewhere(asked, "", "b", 1, moved=False) == ()


def test_a_value_that_an_answer_gives_is_not_bound_by_a_request():
    tables = Tables()
    tables.resources.note_bound(request("/v1/messages", FIELDS), "x", "a", 0)

    assert tables.lineage.is_empty()


def test_two_references_to_one_account_are_one_piece_of_evidence():
    tables = Tables()
    tables.own("a", "resp_1")
    tables.own("a", FILE)

    assert len(tables.resources.owner(asking(FILE, previous_response_id="resp_1"), None, 1)[1]) == 1


def test_only_an_address_that_opens_itself_identifies_its_client():
    tables = Tables()
    tables.resources.note_addresses(request("/v1/files", {}), "b", ["/v1/files/file-1"], 0)

    assert len(tables.ledger) == 1


@pytest.mark.parametrize(
    ("target", "opens"),
    [
        (UPLOAD, True),
        (UPLOAD.replace("upload_id", "file_id"), False),
        (UPLOAD.replace("Zk3v9QxWm2TnB7cLAb1x", "1"), False),
        (UPLOAD.replace("&upload_protocol=resumable", ""), True),
    ],
)
def test_an_address_identifies_its_client_if_it_is_of_an_upload_and_cannot_be_guessed(target: str, opens: bool):
    tables = Tables()
    tables.resources.note_addresses(request("/upload/v1beta/files", {}), "b", [target], 0)

    assert (tables.resources.client_of(target, 1) is not None) == opens
    assert len(tables.ledger) == 1 + (target != UPLOAD.replace("Zk3v9QxWm2TnB7cLAb1x", "1")) + opens


def test_an_upload_that_two_clients_were_given_is_neither_s():
    tables = Tables()
    for at, name in enumerate((b"ann", b"bob")):
        given = replace(request("/upload/v1beta/files", {}), client=Client(scope=name, key=name))
        tables.resources.note_addresses(given, "b", [UPLOAD], at)
    asked = replace(asking("Zk3v9QxWm2TnB7cLAb1x"), client=Client(scope=b"ann", key=b"ann"))

    assert tables.client_resources.foreign_id(asked, 2) == ""
