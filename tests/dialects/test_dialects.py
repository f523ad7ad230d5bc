"""A dialect is one file: its name stands nowhere else, and a new file and its place in the tuple are all it takes."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from patchbay import answer_urls, dialects
from patchbay.body import Body
from patchbay.dialects.dialect import Dialect
from patchbay.identity import auxiliary_calls
from patchbay.settings.presets import PRESETS as PROVIDERS
from patchbay.values.account import Account, Secret
from patchbay.values.decision import Refusal
from patchbay.values.http import Headers, Origin, Request

from ..simulator.asking import Asked
from ..simulator.dialects import DIALECTS as SIMULATED
from ..simulator.reply import Reply, Tool, Usage

HERE = Path(__file__).parent
ADDON = HERE.parent.parent / "addon"
CODE = "\n".join(file.read_text(encoding="utf-8") for file in sorted(ADDON.rglob("*.py")))
PRESETS = ADDON / "settings/presets.py"  # a preset names the families that its service speaks
RECIPES = ADDON / "tool_recipes.py"  # a tool is named with the family of its models, and one is called as a dialect is


def test_a_dialect_is_named_in_its_own_file_alone() -> None:
    own = {name: ADDON / f"dialects/{name}.py" for name in dialects.BY_NAME}
    found = [
        f"{file.relative_to(ADDON)}:{line}: {name}"
        for file in sorted(ADDON.rglob("*.py"))
        for line, name in _names(file)
        if file not in (own.get(name), PRESETS, RECIPES, ADDON / "dialects/openai.py")
    ]

    assert not found, "\n".join(found)


def test_a_dialect_s_file_is_imported_by_the_tuple_alone() -> None:
    files = "|".join(dialects.BY_NAME)
    pattern = re.compile(rf"\b(?:import|from)\b[^\n]*\b(?:{files})\b")
    found = [file for file in sorted(ADDON.rglob("*.py")) if file != PRESETS and pattern.search(file.read_text())]

    assert found == [ADDON / "dialects/__init__.py"]


def test_a_dialect_that_is_added_is_served(tmp_path: Path) -> None:
    package = tmp_path / "patchbay"
    shutil.copytree(ADDON, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "toy.py", package / "dialects")
    registry = package / "dialects/__init__.py"
    text = registry.read_text()
    registry.write_text(
        text.replace("import anthropic,", "import toy, anthropic,").replace("gemini))", "gemini, toy))")
    )

    done = subprocess.run(
        [sys.executable, HERE / "serve_toy.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert not done.stderr
    assert json.loads(done.stdout) == {
        "family": "toys",
        "dialect": "toy",
        "event": "toy_success",
        "key": "x-api-key",
        "same account": True,
        "same thread": True,
        "findings": ["disorder over"],
        "refusal": {"toy": None, "broken": "model_cooldown"},
        "unknown spelling": True,
    }


@pytest.mark.parametrize("dialect", [*dialects.DIALECTS, dialects.NO_DIALECT], ids=lambda dialect: dialect.name)
def test_every_field_that_another_package_reads_answers(dialect: dialects.Dialect) -> None:
    """Each field of each dialect is there and takes what other packages pass."""
    refusal = Refusal(429, "model_cooldown", "All accounts are cooling down", 30.0)
    body = Body(b'{"model": "m"}')

    assert dialects.of(dialect.name) is dialect
    assert dialects.of_family(dialect.family).family == dialect.family
    assert json.loads(dialect.error(refusal, "pb1-x"))
    assert dialect.error_event(refusal, "pb1-x").endswith(b"\n\n")
    assert ("retry-after", "30") in dialect.error_headers(refusal)
    assert dialect.without_sealed(body, lambda sealed: False) is body.raw
    assert dialect.settings(body) == {}
    assert not dialect.hides_models("", b"")
    assert not dialect.has_shape({}) and not any(test({}) for test in dialect.other_shapes.values())
    assert [*dialect.read_calls({}), *dialect.order().feed({}), *dialect.order().end()] == []
    assert dialect.endpoint("POST", "/nowhere") is None
    assert dialect.answer_shape("/nowhere") in ("", dialect.name)


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda dialect: dialect.name)
def test_a_dialect_says_what_the_defaults_cannot_know(dialect: dialects.Dialect) -> None:
    assert dialect.vendor and dialect.terminal and dialect.path_words and dialect.owning_marks
    assert dialect.outcome_rules
    assert dialect.history in dialects.HISTORIES
    assert dialect.order is not dialects.NO_DIALECT.order
    assert dialect.name in dialects.SHAPES


def test_a_name_of_no_dialect_is_served_in_the_shape_that_most_tools_show() -> None:
    unknown = dialects.of("unheard-of")

    assert unknown is dialects.NO_DIALECT is dialects.of("") is dialects.of_family("unheard-of")
    assert set(json.loads(unknown.error(Refusal(404, "x", "y"), ""))) == {"error"}


def _names(file: Path) -> Iterator[tuple[int, str]]:
    """Yield each string of *file* that is the name of a dialect or a family, or holds a name that nothing else has."""
    names = {*dialects.BY_NAME, *dialects.FAMILIES}
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in names:
                yield node.lineno, node.value
            elif found := re.search(r"openai_(?:chat|responses)", node.value):
                yield node.lineno, found[0]


def test_the_order_of_the_dialects_decides_which_has_a_path_and_which_stands_for_its_family() -> None:
    assert list(dialects.BY_NAME) == ["openai_responses", "openai_chat", "anthropic", "gemini"]
    assert dialects.FAMILIES == ("openai", "anthropic", "gemini")
    assert [dialects.of_family(family).name for family in dialects.FAMILIES] == [
        "openai_responses", "anthropic", "gemini",
    ]  # fmt: skip


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda each: each.name)
@pytest.mark.parametrize("member", sorted(set(re.findall(r"\bof_family\(\w+\)\.(\w+)", CODE))))
def test_what_is_read_of_a_family_is_the_same_in_all_its_dialects(dialect: Dialect, member: str) -> None:
    assert getattr(dialect, member) == getattr(dialects.of_family(dialect.family), member)


def test_the_commonest_history_is_looked_for_first_and_each_once() -> None:
    assert dialects.HISTORIES == ("messages", "input", "contents")


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ({"choices": []}, "openai_chat"),
        ({"object": "response"}, "openai_responses"),
        ({"type": "message_start"}, "anthropic"),
        ({"candidates": []}, "gemini"),
        ({"data": [{"object": "embedding"}]}, "embedding"),
        ({"choices": [], "candidates": []}, ""),
        ({}, ""),
    ],
)
def test_an_object_has_the_one_shape_whose_mark_it_bears(data: dict[str, object], shape: str) -> None:
    assert dialects.shape_of(data) == shape
    assert set(dialects.SHAPES) == {*dialects.BY_NAME, "embedding"}


def test_the_marks_of_account_bound_resources_are_those_of_every_dialect() -> None:
    assert dialects.owning_marks() == {
        "input": (b"encrypted_content", b"item_reference", b"file_id", b'"rs_', b'"uri"'),
        "messages": (b"file_id",),
        "contents": (b"fileUri", b"file_uri"),
        "request": (b"fileUri", b"file_uri"),
    }


@pytest.mark.parametrize("length", [200, 256, 257, 300])
def test_a_path_of_any_length_is_read(length: int) -> None:
    path = "/" + "x" * (length - 10) + "/v1/messages"
    endpoint = dialects.endpoint("POST", path)

    assert (endpoint.dialect, endpoint.suffix) == ("anthropic", "/v1/messages")
    assert not dialects.is_ambiguous("POST", path)
    assert dialects.is_ambiguous("POST", path.replace("messages", "%6dessages/"))
    assert dialects.endpoint("GET", path + "/nowhere").suffix == path + "/nowhere"


def shared(name: str) -> set[str]:
    return set(dialects.of(name).shared_paths)


def test_paths_that_several_dialects_spell_alike_are_named_by_each() -> None:
    assert shared("openai_chat") == shared("anthropic") == {"/models", "/files", "/skills"}
    assert (shared("gemini"), shared("openai_responses")) == ({"/models", "/files"}, set())


# Words of paths that stand in no pattern of the dialect's endpoints: verbs, and what a server takes besides.
BESIDE = {
    "openai_responses": "deployments",
    "openai_chat": "cancel pause",
    "anthropic": "rawPredict streamRawPredict cancel",
    "gemini": "generateContent streamGenerateContent embedContent"
    " batchEmbedContents generateAnswer predict predictLongRunning batchGenerateContent asyncBatchEmbedContent"
    " generateMessage generateText wait register download query importFile uploadToFileSearchStore batchCreate"
    " batchUpdate batchDelete transferOwnership updateGenerateContentBatch updateEmbedContentBatch loadCodeAssist"
    " onboardUser fetchAdminControls getCodeAssistGlobalUserSetting setCodeAssistGlobalUserSetting"
    " recordCodeAssistMetrics recordClientEvent listExperiments retrieveUserQuota fetchAvailableModels"
    " listRemoteRepositories countTokens countTextTokens countMessageTokens computeTokens cancel"
    " fetchPredictOperation rawPredict streamRawPredict serverStreamingPredict",
}


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda dialect: dialect.name)
def test_each_word_of_a_dialect_s_paths_has_its_own_case(dialect: dialects.Dialect) -> None:
    """A word that is missing there can be written in another case for a server that ignores case."""
    beside = set(BESIDE.get(dialect.name, "").split())

    assert dialect.path_words == _pattern_words(dialect) | beside
    assert not _pattern_words(dialect) & beside


# The last words of the paths that generate: those of a conversation, then those of none. For a new one see
# `_NO_TALK` (without it there, its requests bind) and `_COUNTING` in addon/identity/auxiliary_calls.py, and `_WORDLESS`
# in addon/answer_urls.py.
TALKS = {
    "openai_responses": "responses compact",
    "openai_chat": "completions",
    "anthropic": "messages complete rawPredict streamRawPredict",
    "gemini": "generateContent streamGenerateContent generateAnswer generateMessage generateText interactions",
}
NO_TALK = {
    "openai_chat": "embeddings moderations rerank speech transcriptions translations generations edits variations",
    "gemini": "embedContent batchEmbedContents asyncBatchEmbedContent batchGenerateContent predict predictLongRunning",
}
WORDLESS = {"openai_chat": "speech transcriptions translations generations edits variations"}
COUNTING = {
    "openai_responses": "input_tokens",
    "anthropic": "count_tokens",
    "gemini": "countTokens computeTokens",
}


@pytest.mark.parametrize("dialect", dialects.DIALECTS, ids=lambda dialect: dialect.name)
def test_what_other_modules_know_of_the_paths_of_a_dialect(dialect: dialects.Dialect) -> None:
    """The rules of `identity.auxiliary_calls` and `answer_urls` go by the path, and know no dialect."""
    headers = Headers([("content-type", "application/json")])
    talks, others, wordless, counting = set(), set(), set(), set()
    for word, path in _paths(dialect):
        endpoint = dialect.endpoint("POST", path)
        if endpoint and endpoint.kind == "generation":
            (talks if auxiliary_calls.converses(endpoint) else others).add(word)
            if answer_urls.body_form(endpoint, path, 200, headers.get):
                wordless.add(word)
        elif endpoint and auxiliary_calls.counts_tokens(
            Request("POST", path, headers, Body(b"{}"), endpoint, Origin("http", "h", 1))
        ):
            counting.add(word)

    expected = (set(each.get(dialect.name, "").split()) for each in (TALKS, NO_TALK, WORDLESS, COUNTING))
    assert (talks, others, wordless, counting) == tuple(expected)


def test_each_dialect_s_text_is_known_where_it_is_stored() -> None:
    """An address that a model wrote stays as it is when its answer is asked for again; see `_ANSWER_TEXT`."""
    origin = Origin("https", "api.example.com", 443)
    account = Account("a", PROVIDERS["generic"], Secret("literal", "k"), origin=origin)
    addresses = answer_urls.AddressMap(account, origin, "http://127.0.0.1:8080", "/v1/x", "/v1/x")
    said = f"{origin}/v1/files/b"
    called = Tool("look", {"url": said}, "call_1")
    for name, dialect in SIMULATED.items():
        for tool in (None, called):
            reply = Reply(Asked(name, "m", False, ()), "id", "item", "m", said, 1, Usage(), tool)
            documents = [dialect.whole(reply), *(data for _, data in dialect.events(reply) if isinstance(data, dict))]
            for document in documents:
                raw = json.dumps(document).encode()
                assert addresses.body(raw) == raw, name


def _paths(dialect: dialects.Dialect) -> Iterator[tuple[str, str]]:
    """Yield paths made of each word of *dialect*, with their last word: those of every operation are among them."""
    for word in dialect.path_words:
        for before in ("/v1/", *(f"/v1/{other}/" for other in dialect.path_words), "/v1beta/models/m:", "/v1internal:",
                       f"/v1/projects/p/locations/l/publishers/{dialect.family}/models/m:"):  # fmt: skip
            yield word, before + word


def _pattern_words(dialect: dialects.Dialect) -> set[str]:
    """Return the words of the patterns that the endpoints of *dialect* are read with."""
    module = sys.modules[dialect.endpoint.__module__]
    used = [getattr(module, name, None) for name in dialect.endpoint.__code__.co_names]
    patterns = [each.pattern for each in used if isinstance(each, re.Pattern)]
    literal = [re.sub(r"\?P<\w+>|\[[^]]*\]|\\.|\bv\d\w*|\b(?:alpha|beta)", "", each) for each in patterns]
    return {word for each in literal for word in re.findall(r"[A-Za-z_]{2,}", each)}
