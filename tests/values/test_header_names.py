"""The names of headers: each group stands in one place, and what must spell a name by itself agrees with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from patchbay.values import header_names
from patchbay.values.account import CredentialForm

from ..each_row import each_row

ADDON = Path(__file__).parents[2] / "addon"
# group → how many of its names may stand together elsewhere
GROUPS = {
    frozenset(header_names.CREDENTIALS): 1,
    header_names.ACCOUNTS: 1,
    header_names.HOPS: 2,
    header_names.MESSAGE: 2,
}
# Lists of another kind that share names with a group, and the reason.
OTHER = {
    "proxy/curl.py",  # what curl writes by itself
    "proxy/flow_record.py",  # what mitmproxy changes by itself, in a digest that is stored
    "proxy/http1.py",  # what no trailer may set
    "values/account.py",  # a Literal, held to the table below
}


def test_every_name_is_in_lower_case() -> None:
    names = [*frozenset.union(*GROUPS), *(value for name, value in vars(header_names).items() if name.isupper()
                                          and isinstance(value, str))]  # fmt: skip
    assert [name for name in names if name != name.lower() or " " in name] == []


def test_every_header_for_a_key_has_a_form_and_the_forms_have_no_other() -> None:
    assert {header_names.credential_form(name) for name in header_names.CREDENTIALS} == {*get_args(CredentialForm)} - {
        "auto",
        "query",
    }
    assert header_names.credential_form("authorization") == "bearer"


@each_row("module", sorted(str(file.relative_to(ADDON)) for file in ADDON.rglob("*.py")))
def test_no_other_module_lists_the_names(module: str) -> None:
    tree = ast.parse((ADDON / module).read_text())
    if module != "values/header_names.py":
        assert [text for text in _texts(tree) if text.lower().startswith(header_names.OURS)] == []
    if module not in OTHER | {"values/header_names.py"}:
        lists = [listed for listed in _lists(tree) if any(len(listed & group) > most for group, most in GROUPS.items())]
        assert lists == []


def test_a_second_list_would_be_found() -> None:
    tree = ast.parse('A = "authorization api-key".split(); B = (b"Connection", b"te"); C = {"te": 1, "upgrade": ""}')

    assert [sorted(listed) for listed in _lists(tree)] == [
        ["connection", "te"],
        ["te", "upgrade"],
        ["api-key", "authorization"],
    ]
    assert list(_texts(ast.parse('"""X-Patchbay-Account"""\nA = b"x-patchbay-account"'))) == ["x-patchbay-account"]


def _lists(tree: ast.Module) -> Iterator[frozenset[str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
            each = node.keys if isinstance(node, ast.Dict) else node.elts
            yield frozenset(text.lower() for one in each if (text := _text(one)))
    yield from (frozenset(text.lower().split()) for text in _texts(tree) if " " in text)


def _texts(tree: ast.Module) -> Iterator[str]:
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    yield from (text for node in ast.walk(tree) if id(node) not in docstrings and (text := _text(node)))


def _text(node: ast.AST | None) -> str:
    value = node.value if isinstance(node, ast.Constant) else ""
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


def test_the_groups_hold_the_names_that_specifications_and_providers_give() -> None:
    assert {*header_names.ACCOUNTS} == {
        "openai-organization", "openai-project", "anthropic-organization-id", "x-goog-user-project",
        "chatgpt-account-id",
    }  # fmt: skip
    assert {*header_names.HOPS} == {"connection", "keep-alive", "te", "trailer", "upgrade", "http2-settings"}
    assert {*header_names.MESSAGE} == {
        "host", "content-length", "content-type", "content-encoding", "transfer-encoding",
    }  # fmt: skip
    assert header_names.encoded(["host", "te"]) == {b"host", b"te"}
