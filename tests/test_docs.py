"""What README and docs say is so: links lead somewhere, names exist, and the recipes run as they are written."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import yaml

from patchbay.accounts import cooldown, refusals, selection, upstream_faults
from patchbay.accounts.absent import Absent
from patchbay.cli.main import COMMANDS
from patchbay.crosstalk import host_habits
from patchbay.crosstalk.detectors import DETECTORS
from patchbay.dialects import FAMILIES
from patchbay.identity import references, shared_keys
from patchbay.identity.signals import SIGNALS
from patchbay.ledger import Ledger
from patchbay.needs import NEEDS
from patchbay.proxy import persistence, reload, response_head, upstream_connections, upstream_stream
from patchbay.proxy.hooks import SHUTTING_DOWN
from patchbay.proxy.reload import FIXED
from patchbay.settings import reader, settings, syntax
from patchbay.settings.presets import PRESETS
from patchbay.settings.renamed import RENAMED
from patchbay.settings.yaml_document import Section
from patchbay.store import write_behind
from patchbay.values import account, decision, header_names
from patchbay.values.account import CredentialForm, OutcomeKind
from patchbay.values.decision import Refusal
from scripts import clients_errors
from scripts.clients_recipes import RECIPES

from .end_to_end.harness import Proxy, proxy
from .simulator import Simulator, simulator_thread
from .test_layering import LAYERS
from .test_shape import FILE_LINES, FUNCTION_LINES, LINES

ROOT = Path(__file__).parent.parent
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *TEMPLATES])
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADERS = (ROOT / "docs" / "headers.md").read_text(encoding="utf-8")
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "addon").rglob("*.py"))).lower()
PORT = 8080  # of the recipes: what mitmproxy listens on

# What the wire, and not our code, calls by name.
OF_HTTP = {"host", "content-length", "user-agent"}

# Codes of errors that no client sees: it has left, it is a request in shadow, it is the check at the start.
UNSEEN = {"client_left", "would_wait", "blocked"}

# Former names of settings that are words for something else there: a reaction, a member of an identity or the journal.
OTHER_WORDS = {
    "architecture.md": {"hold", "owner"},
    "settings.md": {"quota", "seconds", "failover.seconds: is now called 'timeout'"},
}

# Words in capitals that are no constants of ours.
ABBREVIATIONS = set("ALPN CORS CRLF CUSUM ECONNRESET HAR IETF NDJSON PEP RFC RST_STREAM TCP TGI TIME".split())

# The sections of the settings, and the values that settings have a choice of.
SECTIONS = [found for found in vars(reader).values() if isinstance(found, Section)]
CHOICES = {
    f"{kind.__name__}.{field}": {value for value in get_args(choice) if value}
    for module in (settings, account, decision)
    for kind in vars(module).values()
    if isinstance(kind, type) and is_dataclass(kind)
    for field, hint in get_type_hints(kind).items()
    for choice in (hint, *get_args(hint))
    if get_origin(choice) is Literal
}
VALUES = {value for choice in CHOICES.values() for value in choice}

# Names that a page may list: those of a table of the code, or the values of a setting.
NAMES: dict[str, set[str]] = {
    **CHOICES,
    "Decision.binding": {*get_args(decision.BindingKind)},
    "Outcome.kind": set(),  # `ok` is no outcome of an error rule
    "ErrorRule.outcome": {*get_args(OutcomeKind)} - {"ok"},
    "Secret.source": CHOICES["Secret.source"] - {"literal"},
    "PRESETS": {*PRESETS},
    "TIERS": {*settings.TIERS},
    "FAMILIES": {*FAMILIES},
    "DETECTORS": {*DETECTORS},
    "COMMANDS": {command.name for command in COMMANDS},
    "ACCOUNTS": {*header_names.ACCOUNTS},
    "HOPS": {*header_names.HOPS},
    "FIXED": {*FIXED},
    "template fields": {*syntax._FIELDS},
}


# -- words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [target for target in _links(page) if not _leads_somewhere(page, target)]

    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_header_that_is_named_exists_in_the_code(page: Path) -> None:
    unknown = [name for name in _headers_in(page.read_text(encoding="utf-8")) if not _is_known(name)]

    assert unknown == []


def test_every_signal_of_the_code_is_in_the_list_of_headers() -> None:
    wheres = {signal.where.removeprefix("header ") for signal in SIGNALS if signal.where.startswith("header ")}

    assert {name for name in wheres if f"`{name}`" not in HEADERS.lower()} == set()


def test_every_place_of_a_key_is_in_the_pages() -> None:
    settings, security = (
        (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("settings", "security")
    )
    (row,) = re.findall(r"^\| `credential` \| .*$", settings, re.MULTILINE)

    assert {form for form in get_args(CredentialForm) if f"`{form}`" not in row} == set()
    sent = HEADERS.lower().partition("## what goes to the provider")[2]
    assert {
        name for name in header_names.CREDENTIALS for page in (security, sent) if f"`{name}`" not in page.lower()
    } == set()


def test_a_page_that_lists_the_names_of_a_table_lists_all_of_them() -> None:
    """A paragraph, a row or a first column with more than two thirds of the names is such a list."""
    missing = [
        (page.name, block.strip()[:60], kind, names - words)
        for page in [*PAGES, ROOT / "config.example.yaml"]
        for block, words in _blocks_of(page)
        for kind, names in NAMES.items()
        if len(names) > 2 and 2 * len(names) / 3 < len(names & words) < len(names)
    ]

    assert missing == []


def test_every_value_that_a_setting_may_have_is_in_the_reference_and_in_the_example() -> None:
    page, example = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/settings.md", "config.example.yaml"))
    kinds = {name for name in vars(settings) if name.endswith("Settings")} | {"Config", "Account", "Provider", "Echo"}
    values = {
        value for of, choice in CHOICES.items() for value in choice
        if of.partition(".")[0] in kinds and of != "Provider.layout"
    }  # fmt: skip

    assert len(values) > 25
    assert {value for value in values if f"`{value}`" not in page or not re.search(rf"\b{value}\b", example)} == set()


def _blocks_of(page: Path) -> Iterator[tuple[str, set[str]]]:
    """Yield each paragraph, item, row and first column of *page*, with the names in it; of YAML, each comment."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        for block in re.findall(r"(?:^ *# .*\n)+.*", text, re.MULTILINE):
            yield block, set(re.findall(r"[\w-]+", block))
        return
    for part in re.split(r"\n\n", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)):
        rows = re.findall(r"^\|([^|]*)\|.*$", part, re.MULTILINE)
        blocks = [*part.splitlines(), "".join(rows)] if rows else re.split(r"\n(?=- )", part)
        for block in blocks:
            yield block, {name.lower() for name in re.findall(r"`(?:patchbay |{)?([\w-]+)[^`]*`", block)}


_OLDEST = next(need.least for need in NEEDS if need.distribution == "mitmproxy")


def _figures() -> Iterator[tuple[str, str]]:
    """Yield (page, words of it with a figure of the code)."""
    server = cooldown.PENALTIES["server"]
    assert isinstance(server, cooldown.Penalty)
    twice = server.first * server.factor
    verified = f"more than {cooldown.VERIFY_AFTER / 60:g} minutes"
    of = host_habits
    written = persistence.HAND_ON_EVERY + write_behind.POLLING
    yield from (
        ("crosstalk", f"A strong finding needs {of.RUN_STRONG} answers in a row"),
        ("crosstalk", f"a proof by form alone {of.RUN_FORM_PROOF}"),
        ("crosstalk", f"comes twice {of.RUN_UNIQUE_VALUE} (`tool-call`, `same-text`) or {of.RUN_UNIQUE_ID} (an id"),
        ("crosstalk", f"explains the answer, {of.RUN_EXPLAINED} are enough"),
        ("crosstalk", f"repeated in {of.RUN_PROOF} answers before"),
        ("crosstalk", f"a rule needs {of.RUN_AFTER_BREAK} answers in a row before it counts again"),
        ("crosstalk", f"before the break (at most {of.RUN_AFTER_BREAK_MAX})"),
        ("crosstalk", f"break within its next {of.RUN_AFTER_BREAK} answers"),
        ("crosstalk", f"the host has kept it in {of.RUN_REINSTATED} answers in a row"),
        ("crosstalk", f"need {_in_words(of.GROWTH_AFTER_BREAK)} as many as before the break (at most"),
        ("crosstalk", f"is **demoted** by {_in_words(of.BREAKS_FOR_HABIT)} answers in a row that break it"),
        ("crosstalk", f"After {_in_words(of.BREAKS_FOR_HABIT)} answers in a row whose promised *header* has an id"),
        ("settings", f"with ids of the provider's own {_in_words(of.BREAKS_FOR_HABIT)} times in a row is [learned]"),
        ("settings", f"{server.first:g} s, {twice:g} s … from the second fault on" if server.failures == 2 else "?"),
        ("settings", f"probes each of them {cooldown.LAST_CHANCE:g} seconds after the start of its cooldown"),
        ("settings", f"a cooldown of {verified} that the provider asks for"),
        ("settings", f"{verified} are verified"),
        ("settings", "writes changes within half a second" if written < 0.5 else "?"),
        ("settings", f"reads the latest changes, for {_in_words(persistence.CATCH_UP)} at most"),
        ("settings", f"looked up once more after {persistence.NEW * 1000:g} ms"),
        ("settings", f"logged once and retried every {_in_words(write_behind.STORE_RETRY).removeprefix('a ')}"),
        ("settings", f"one from a clock ahead of ours counts for {cooldown.LAST_CHANCE:g} s at most"),
        ("settings", f"on a server also, for {_in_words(Ledger()._ttl)}, the ids of requests"),
        ("settings", "checked for changes twice a second" if reload.LOOK_EVERY == 0.5 else "?"),
        (
            "../CONTRIBUTING",
            f"at most {LINES:,} lines, a file {FILE_LINES}, a function {FUNCTION_LINES} (`tests/test_sh",
        ),
        ("../README", f"`X-Session-ID` binds for {_in_words(settings.SessionSettings().ttl)}"),
        ("../README", f"at {settings.SessionSettings().limit:,} sessions, new ones".replace(",", " ", 1)),
        ("../README", f"relies on private parts of mitmproxy {_OLDEST.partition('.')[0]} (tested: {_OLDEST} to "),
        ("sockets", f"`grace_period` ({settings.Config(()).grace_period:g} seconds)"),
        ("security", f"within {upstream_faults.WINDOW:g} s, meets on two accounts"),
        ("security", f"met it on the account within {upstream_faults.MEMORY / 60:g} minutes"),
        ("architecture", f"or {selection.BOUND_ALIKE:g} times its share of all ({selection.BOUND:g} times for"),
        ("architecture", f"until it has had more than {shared_keys.SEVERAL} openings"),
        ("architecture", f"an answer of {references.MIN_TEXT} characters or more"),
        ("architecture", f"at most {upstream_connections.IDLE_CONNECTIONS} idle upstream connections"),
        ("architecture", f"Above {upstream_stream.BACKLOG >> 20} MiB of a streamed answer"),
        ("architecture", f"until {upstream_stream.SHARED_BACKLOG >> 20} MiB are buffered"),
        ("architecture", f"JSON that announces more than {response_head.COLLECTED >> 20} MiB is streamed"),
    )


def _in_words(number: float) -> str:
    words = {0.25: "a quarter of a second", 1: "a second", 2: "twice", 3: "three", 3600: "an hour"}
    return words.get(round(number, 3), "?")


@pytest.mark.parametrize(("page", "words"), [*_figures()])
def test_a_figure_of_the_code_that_a_page_states_is_that_of_the_code(page: str, words: str) -> None:
    assert words in (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def test_every_sub_command_is_on_a_page() -> None:
    told = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "CHANGELOG.md")

    assert {command.name for command in COMMANDS if not re.search(rf"patchbay {command.name}\b", told)} == set()


def test_every_header_of_our_own_is_in_the_list_of_headers() -> None:
    ours = set(re.findall(r"x-patchbay-[a-z]+(?:-[a-z]+)*", CODE))

    assert {name for name in ours if f"`{name}`" not in HEADERS.lower()} == set()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "config.example.yaml"], ids=lambda page: page.name)
def test_no_page_calls_a_setting_by_a_former_name(page: Path) -> None:
    if page.name != "CHANGELOG.md":
        text = page.read_text(encoding="utf-8").partition("\n## Former names\n")[0]
        assert _former_names(text) - OTHER_WORDS.get(page.name, set()) == set()


def test_the_table_of_former_names_is_that_of_the_code() -> None:
    _, _, table = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8").partition("\n## Former names\n")
    rows = re.findall(r"^\| (top level|`\w+`) \| `(\w+)` \| (no longer used|`\w+`) \|$", table, re.MULTILINE)
    found = [("" if "`" not in within else within.strip("`"), old, new.strip("`")) for within, old, new in rows]

    assert found == [
        (section, old, new or "no longer used") for section, names in RENAMED.items() for old, new in names.items()
    ]
    assert len(rows) == table.count("\n|") - 2 and "\n## " not in table


def test_no_message_calls_a_setting_by_a_former_name() -> None:
    messages = _messages()

    assert len(messages) > 1000
    assert _former_names("\n".join(messages)) == set()
    assert {name for name in _former_names(CODE) if name.endswith(":")} == set(), "in comments and docstrings"


def test_a_former_name_would_be_found() -> None:
    assert _former_names("`other`, `quota:`, `failover.seconds`, `headers`, `hold: false`, `other_traffic`, other") == {
        "other", "quota:", "failover.seconds", "hold: false",
    }  # fmt: skip
    assert _former_names("(other: refuse), the other: it, mode: shadow") == {"other: refuse"}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "config.example.yaml"], ids=lambda page: page.name)
def test_every_setting_that_a_page_names_with_its_section_exists(page: Path) -> None:
    assert page.name == "CHANGELOG.md" or _unknown_settings(page.read_text(encoding="utf-8")) <= {"failover.seconds"}


def test_every_setting_that_a_message_names_with_its_section_exists() -> None:
    assert _unknown_settings("\n".join(_messages())) == set()
    assert _unknown_settings("queue.timeout, queue.seconds, limits.md, a limits.body") == {"queue.seconds"}


def test_no_test_and_no_script_writes_a_setting_by_a_former_name() -> None:
    """`test_renamed.py` and the warning of `patchbay check` are the exceptions."""
    old = re.compile(rf"""(?:\\n|["'])({"|".join(RENAMED[""])}): """)
    files = [path for folder in ("tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    found = {path.name for path in files if old.search(path.read_text(encoding="utf-8"))}

    assert found <= {"test_renamed.py", "test_main.py", "test_docs.py"}


def _former_names(text: str) -> set[str]:
    """Return the names of settings in *text*, in backticks or before a value, that no section has any longer."""
    gone = {old for names in RENAMED.values() for old in names} - {name for each in SECTIONS for name in each.keys}
    quoted = re.findall(r"`([\w.]+(?::(?: [^`\n]*)?)?)`", text)
    written = re.findall(rf"\b(\w+: (?:{'|'.join(VALUES)}))\b", text)
    return {name for name in (*quoted, *written) if name.partition(":")[0].rpartition(".")[2] in gone}


def _unknown_settings(text: str) -> set[str]:
    """Return each `section.setting` in *text* that does not exist."""
    sections = {name: each for name, each in reader.SETTINGS.keys.items() if isinstance(each, Section)}
    named = re.findall(rf"(?<![\w/.\"-])({'|'.join(sections)})\.([a-z_]+)(?![\w/(])", text)
    return {f"{section}.{name}" for section, name in named if name not in (*sections[section].keys, "md", "py")}


@cache
def _messages() -> set[str]:
    """Return all texts of the package: strings and bytes, no docstrings."""
    files = (ROOT / "addon").rglob("*.py")
    nodes = [node for path in files for node in _without_docstrings(_nodes(path))]
    return {node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value) for node in nodes}


def _nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def _without_docstrings(nodes: list[ast.AST]) -> Iterator[ast.Constant]:
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and id(node) not in docstrings:
            yield node


def test_every_name_in_the_answers_to_where_exists() -> None:
    page = (ROOT / "docs" / "where.md").read_text(encoding="utf-8")
    rows = [int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)]
    named = {part for name in re.findall(r"`([\w./]+)`", page) for part in re.split(r"[./]", name)} - {"", "md"}
    code = [path for folder in ("addon", "tests", "scripts") for path in (ROOT / folder).rglob("*") if path.is_file()]
    known = {part for path in [*code, *ROOT.glob("*.*")] for part in re.split(r"[./]", str(path.relative_to(ROOT)))}
    unknown = named - known
    for path in (*(ROOT / "addon").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        if not unknown.isdisjoint(re.findall(r"\w+", path.read_text(encoding="utf-8"))):
            unknown -= _names(path)

    assert len(named) > 160
    assert unknown == set()
    assert rows == [*range(1, 50)]
    assert "Forty-eight changes" in page and "forty-eight changes" in (ROOT / "CONTRIBUTING.md").read_text(
        encoding="utf-8"
    )


def test_every_kind_of_id_at_a_test_is_in_the_legend() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Tests")[2]
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    letters = set(re.findall(r'"""([A-Z]+)\d+(?:, [A-Z]\d+)*:', text))

    assert letters == set(re.findall(r"^\| `([A-Z]+)` \|", page, re.MULTILINE))
    assert set(re.findall(r"def test_\w*?row_([a-z])\d", text)) == set("abcde") and "`row_a` … `row_e`" in page


def test_every_constant_that_a_comment_or_a_docstring_names_exists() -> None:
    files = [path for folder in ("addon", "tests", "scripts") for path in sorted((ROOT / folder).rglob("*.py"))]
    known = {name for path in files for name in _names(path)} | ABBREVIATIONS
    constant = re.compile(r"(?<![\w`.-])(?:_?[A-Z]{2,}_[A-Z_]+|[A-Z]{3,})(?![\w.-])")
    said = {path.name: set(constant.findall(_prose(path))) - known for path in files}

    assert {name: unknown for name, unknown in said.items() if unknown} == {}


def test_every_page_that_the_code_names_exists() -> None:
    files = [path for folder in ("addon", "tests", "scripts") for path in sorted((ROOT / folder).rglob("*"))]
    text = [
        path.read_text(encoding="utf-8")
        for path in files
        if path.suffix == ".py" or (path.parent.name == "scripts" and path.is_file())
    ]
    named = {
        name for each in text for name in re.findall(r"\b(?:docs/[\w-]+|README|CONTRIBUTING|CHANGELOG)\.md\b", each)
    }

    assert len(named) > 8
    assert {name for name in named if not (ROOT / name).is_file()} == set()


@cache
def _names(path: Path) -> set[str]:
    """Return the words of the code in *path*: names, keys and other texts, without docstrings and comments."""
    nodes = _nodes(path)
    texts = " ".join(str(node.value) for node in _without_docstrings(nodes))
    return {*re.findall(r"\w+", texts), *(str(name) for node in nodes for name in _identifiers(node))}


def _identifiers(node: ast.AST) -> list[object]:
    return [getattr(node, field) for field in ("id", "attr", "name", "arg") if hasattr(node, field)]


def _prose(path: Path) -> str:
    with path.open("rb") as file:
        comments = [token.string for token in tokenize.tokenize(file.readline) if token.type == tokenize.COMMENT]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n".join([*comments, *(ast.get_docstring(node) or "" for node in _nodes(path) if isinstance(node, kinds))])


def test_every_file_of_proxy_stands_once_in_the_table_of_tasks() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| task | files |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines() for name in re.findall(r"[|,)h] `(\w+\.py)`", row)]

    assert sorted(named) == sorted(file.name for file in (ROOT / "addon" / "proxy").glob("[!_]*.py"))


def test_every_code_of_an_error_is_one_that_we_give() -> None:
    told = re.findall(r"^\| \d{3}(?:, \d{3})? \| (.*?) \|", HEADERS, re.MULTILINE)
    codes = {code for cell in told for code in re.findall(r"`(\w+)`", cell)}

    assert len(codes) > 8
    assert {code for code in codes if f'"{code}"' not in CODE} == set()


def test_every_code_that_we_give_is_in_the_list_of_errors() -> None:
    given = {code for path in (ROOT / "addon").rglob("*.py") for code in _codes_in(path)}

    assert len(given) > 40
    assert {code for code in given - UNSEEN if f"`{code}`" not in HEADERS} == set()


def test_every_refusal_of_the_guards_is_in_their_table() -> None:
    """With its status; a row may say more than the guards: what is seen only while a body is read."""
    security = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = security.partition("\n## Guards\n")[2].partition("\n\n`")[0]
    refused = [
        call for call in _nodes(ROOT / "addon" / "guards.py")
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Refusal"
    ]  # fmt: skip
    given = {tuple(each.value for each in call.args[:2] if isinstance(each, ast.Constant)) for call in refused}

    assert len(given) > 6
    assert {(status, code) for status, code in given if f"| {status} `{code}` |" not in table} == set()


def _codes_in(path: Path) -> Iterator[str]:
    """Return the codes of the refusals that a module makes; the number is the place of the code in a call."""
    makers = {"Refusal": 1, "_Said": 1, "of_upstream": 1, "_gave_up": 1, "gave_up": 0, "blame": 0}
    for call in _nodes(path):
        if isinstance(call, ast.Call):
            name = getattr(call.func, "id", getattr(call.func, "attr", ""))
            place = makers.get(name, len(call.args))
            if place < len(call.args) and isinstance(code := call.args[place], ast.Constant):
                yield str(code.value)


def test_every_module_stands_in_its_layer_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("| layer | modules and packages |")[2].partition("\n\n")[0]
    rows = [frozenset(re.findall(r"`(\w+)`", row)) for row in table.splitlines() if "`" in row]

    assert rows == list(reversed(LAYERS))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_script_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w/])(?:scripts|\.ci)/[\w.]+", page.read_text(encoding="utf-8")))

    assert {name for name in named if not (ROOT / name.rstrip(".")).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_package_that_is_named_exists(page: Path) -> None:
    named = set(re.findall(r"`((?:addon|tests|docs)/[\w./-]*\w)`", page.read_text(encoding="utf-8")))

    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_sub_command_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)(?:patchbay|scripts/python -m patchbay\.cli) ([a-z]+)", text, re.MULTILINE))

    assert named <= {command.name for command in COMMANDS}


def test_a_report_of_a_problem_holds_the_versions_and_the_incident() -> None:
    """The forms are for one forge; CONTRIBUTING.md says the same for every other way."""
    asked = [page.read_text(encoding="utf-8") for page in (*TEMPLATES, ROOT / "CONTRIBUTING.md")]

    assert len(TEMPLATES) == 2
    assert all("`patchbay version`" in text for text in asked)
    assert sum("`patchbay incidents ID --export " in text for text in asked) == 2


def test_the_sdks_on_the_page_have_the_versions_that_the_tests_run() -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"^\| Python SDKs: (.*?) \|", page, re.MULTILINE)
    pins = re.findall(
        r"^(openai|anthropic|google-genai)==(\d+\.\d+)", (ROOT / "requirements-dev.txt").read_text(), re.MULTILINE
    )

    assert len(pins) == 4
    assert [pin for pin in pins if not re.search(rf"{pin[0]} [^,]*\b{re.escape(pin[1])}\b", row)] == []


def test_no_line_of_a_command_or_the_log_counts_one_of_many() -> None:
    """`accounts: 1` is right for every number, `1 accounts` is not."""
    counted = re.compile(r"(?:%d|\{len\([^}]*\)\}) [a-z]+s\b")
    files = [*(ROOT / "addon" / "cli").glob("*.py"), *(ROOT / "addon" / "proxy").glob("*.py")]

    assert counted.search('f"{len(found)} rules are"') and counted.search('"patchbay: %d accounts (%d enabled)"')
    assert [found for file in files for found in counted.findall(file.read_text(encoding="utf-8"))] == []


def test_every_step_of_the_check_has_a_hook() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    entries = [hook["entry"] for hook in hooks]
    check = (ROOT / "scripts" / "check").read_text(encoding="utf-8")
    steps = [*re.findall(r"^scripts/python -m ruff \w+", check, re.MULTILINE), "scripts/check types"]

    assert len(steps) == 3 and "\ntypes\n" in check
    assert [step for step in steps if not any(entry.startswith(step) for entry in entries)] == []
    assert "scripts/check" in entries
    assert {hook["language"] for hook in hooks} == {"system"}


def test_every_new_name_of_a_setting_is_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert {new for names in RENAMED.values() for new in names.values() if new and f"{new}`" not in text} == set()


def test_a_released_version_has_its_section_in_the_changelog() -> None:
    """`## [Unreleased]` first; each section below it is a version with its date, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *cut = re.findall(r"^## (.*)$", text, re.MULTILINE)
    dates = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d\d-\d\d)", title) for title in cut]
    kinds = re.findall(r"^### (.*)$", text, re.MULTILINE)

    assert first == "[Unreleased]"
    assert all(dates)
    assert [date[1] for date in dates if date] == sorted((date[1] for date in dates if date), reverse=True)
    assert kinds
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_no_tracked_file_names_a_folder_of_one_machine() -> None:
    """A path below a home folder, or of whoever built this, works nowhere else."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    tracked = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    machine = re.compile(rb"/(?:home|Users)/[a-z]\w+/|/root/\w|" + re.escape(str(ROOT).encode()))

    found = [name for name in tracked.split("\0") if name and (text := _bytes(ROOT / name)) and machine.search(text)]
    assert found == []


def _links(page: Path) -> Iterator[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = page.parent / path if path else page
    if not file.exists():
        return False
    return not anchor or anchor in _anchors(file)


def _anchors(file: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _headers_in(text: str) -> set[str]:
    """Return what is written as a header: `Such-A-Name`, each part beginning with a capital, or in a `-H` of curl."""
    named = set(re.findall(r"`((?:[A-Z][A-Za-z]*)(?:-[A-Z][A-Za-z]*)+)`", text))
    sent = set(re.findall(r'-H "([\w-]+):', text))
    return {name.lower() for name in named | sent}


def _is_known(name: str) -> bool:
    return name in OF_HTTP or name in CODE or name.replace("-", "_") in CODE


def _bytes(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


# -- recipes -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The shipped example settings, unchanged, in front of the simulated provider as the README starts it."""
    folder = tmp_path_factory.mktemp("recipes")
    settings = (ROOT / "config.example.yaml").read_text(encoding="utf-8")
    home = {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    with (
        simulator_thread({}, require_key=False, echo="both") as simulator,
        proxy(folder, settings, mode=f"reverse:{simulator.url}", environment=home) as running,
    ):
        yield running


def test_the_curl_recipe_works_as_written(example: Proxy, tmp_path: Path) -> None:
    """Not a character of it is changed: curl is told elsewhere that the port of the README is another one here."""
    if shutil.which("curl") is None:
        pytest.skip("not run: there is no curl")
    recipe = _block("curl -i")
    assert '-H "X-Session-ID: test-123"' in recipe

    answers = [_answer(_shell(recipe, _elsewhere(tmp_path, example.port))) for _ in range(3)]

    for status, headers, body in answers:
        assert status == 200
        assert body["choices"][0]["message"]["content"]
        assert headers["x-patchbay-verdict"] == "clean"
    assert len({headers["x-patchbay-request-id"] for _, headers, _ in answers}) == 3
    assert len({headers["x-patchbay-account"] for _, headers, _ in answers}) == 1
    assert len({headers["x-patchbay-session-id"] for _, headers, _ in answers}) == 1


def test_the_answer_in_the_readme_has_the_headers_of_a_real_one(example: Proxy, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("not run: there is no curl")
    shown = re.findall(r"^(x-patchbay-[a-z-]+): ", README, re.MULTILINE)

    _, headers, _ = _answer(_shell(_block("curl -i"), _elsewhere(tmp_path, example.port)))

    assert shown == [name for name in headers if name.startswith("x-patchbay-")]


def test_the_simulated_provider_starts_as_written() -> None:
    (line,) = re.findall(r"^scripts/python (-m tests\.simulator .*?)(?: +#.*)?$", README, re.MULTILINE)
    command = [sys.executable, *line.replace("--port 8000", "--port 0").split()]

    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            assert json.loads(running.stdout.readline())["url"].startswith("http://127.0.0.1:")
        finally:
            running.terminate()


@pytest.mark.parametrize(("language", "read"), [("json", json.loads), ("toml", tomllib.loads)])
def test_every_settings_file_of_a_tool_can_be_read(language: str, read: Callable[[str], object]) -> None:
    blocks = [block for page in PAGES for block in _blocks(page.read_text(encoding="utf-8"), language)]

    assert blocks
    for block in blocks:
        read(block)


def test_without_a_browser_the_pictures_say_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.pictures"],
        cwd=ROOT,
        env={**os.environ, "PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "apt-get install chromium" in done.stderr


def test_the_variables_of_the_recipes_are_those_that_the_tools_are_run_with(tmp_path: Path) -> None:
    pages = [README, (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")]
    for recipe in RECIPES:
        told = recipe.home(tmp_path / recipe.program, f"http://127.0.0.1:{PORT}")
        names = [name for name in told if name.endswith(("_BASE_URL", "_API_KEY", "_MODEL"))]
        values = [told[name] for name in names if name.endswith("_BASE_URL")]

        assert [word for word in (*names, *values) for page in pages if word not in page] == []


SDKS = """
import anthropic, openai
from google import genai

said = [{"role": "user", "content": "hello"}]
google = genai.Client()
print(openai.OpenAI().chat.completions.create(model="sim-large", messages=said).choices[0].message.content)
print(openai.OpenAI().responses.create(model="sim-large", input="hello").output_text)
print(anthropic.Anthropic().messages.create(model="sim-large", max_tokens=99, messages=said).content[0].text)
print(google.models.generate_content(model="sim-large", contents="hello").text)
"""


def test_the_recipe_of_the_sdks_is_all_that_a_program_needs(tmp_path: Path) -> None:
    """One port for every provider, as `scripts/run` starts it; only the port is another one."""
    keys = {f"sk-of-{name}-0123456789": name for name in ("openai", "anthropic", "gemini")}
    program = tmp_path / "program.py"
    program.write_text(SDKS)
    with simulator_thread(keys, echo="none") as simulator:
        settings = _one_account_each(tmp_path, simulator, keys)
        with proxy(tmp_path / "run", settings, "-q", mode="reverse:http://patchbay.invalid") as running:
            recipe = _block("export OPENAI_BASE_URL").replace(f":{PORT}", f":{running.port}")
            done = _shell(f'{recipe}\n"{sys.executable}" "{program}"', {"NO_PROXY": "127.0.0.1"})

    assert done.count("Answer-") == 4
    assert [record.account for record in simulator.truth.requests] == ["openai", "openai", "anthropic", "gemini"]


def _one_account_each(folder: Path, simulator: Simulator, keys: dict[str, str]) -> str:
    base = {"openai": f"{simulator.url}/v1", "anthropic": simulator.url, "gemini": simulator.url}
    accounts = [f"  - {{id: {n}, provider: {n}, base_url: {base[n]}, key: {key}}}" for key, n in keys.items()]
    return "\n".join([f"state: {folder / 'state'}", "accounts:", *accounts])


def _block(begins: str) -> str:
    """Return the one block of the README that begins so."""
    (found,) = (block for block in _blocks(README, "sh") if block.startswith(begins))
    return found


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def _elsewhere(folder: Path, port: int) -> dict[str, str]:
    """Return the environment in which curl finds the README's port at *port*."""
    (folder / ".curlrc").write_text(f'connect-to = "127.0.0.1:{PORT}:127.0.0.1:{port}"\nnoproxy = "*"\nmax-time = 60\n')
    return {"CURL_HOME": str(folder)}


def _shell(script: str, more: dict[str, str]) -> str:
    bash = shutil.which("bash") or "bash"
    done = subprocess.run(
        [bash, "-euc", script], env={**os.environ, **more}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _answer(printed: str) -> tuple[int, dict[str, str], dict[str, object]]:
    """Read what `curl -i` printed: status, headers by lower-case name in their order, and the JSON body."""
    head, _, body = printed.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.splitlines()
    return int(first.split()[1]), {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}, json.loads(body)


def test_what_the_tools_show_is_what_they_are_told_today() -> None:
    """A5, A6, A7: the page was recorded by `scripts/clients --errors`; it holds every situation, in today's words."""
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    recorded = clients_errors.sections(page.partition(clients_errors.BEGIN)[2].partition(clients_errors.END)[0])
    told = {
        "unreachable": _told("unreachable"),
        "all rate limited, for 25 seconds": _told("rate", hinted=True),
        "all rate limited, for 10 minutes": _told("rate", hinted=True),
        "usage limit reached": _told("quota", hinted=True),
        "all out of credit": _told("quota"),
        "key refused": _told("auth"),
        "unserved model": refusals.unserved("sim-large"),
        "queue full": refusals.queue_full(1, [], 0),
        "shutting down": SHUTTING_DOWN,
    }

    assert list(recorded) == [each.name for each in clients_errors.SITUATIONS] == list(told)
    for situation in clients_errors.SITUATIONS:
        section, refusal = recorded[situation.name], told[situation.name]
        assert refusal.code == situation.code, situation.name
        assert f"(`{refusal.code}`)" in section, situation.name
        assert section.count(refusal.message.partition(":")[0]) >= 2, situation.name  # the SDKs show it as it is
        for word in re.findall(r"amber: [\w ]+\w", refusal.message):
            assert section.count(word) >= 2, (situation.name, word)
        for tool in (*clients_errors.SDKS, *clients_errors.TOOLS):
            assert f"\n| {tool} " in section, (situation.name, tool)


def test_the_message_on_the_page_of_headers_is_one_of_today() -> None:
    noon = 12 * 3600.0
    accounts = [
        Absent(name, "openai", "quota", "429", True, None, noon + lasts)
        for name, lasts in (("team-1", 5 * 3600 + 2410), ("team-2", 2 * 3600 + 300))
    ]

    assert f"\n{refusals.none_left('gpt-5.1', accounts, noon).message}\n" in HEADERS


def _told(cause: refusals.Cause, *, hinted: bool = False) -> Refusal:
    at = 20.0 if hinted else None
    accounts = [Absent(name, "generic", cause, "429", hinted, at, at) for name in ("amber", "birch")]
    return refusals.none_left("sim-large", accounts, 0)
