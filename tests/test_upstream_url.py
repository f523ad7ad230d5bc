"""Where a path goes under an account's base URL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchbay import dialects, upstream_url
from patchbay.body import Body
from patchbay.settings.presets import PRESETS
from patchbay.values.account import Account, Models, Provider, Secret
from patchbay.values.http import Endpoint, Headers, Origin, Request


def account(base_path: str) -> Account:
    origin = Origin("https", "api.example", 443)
    return Account("a", PRESETS["openai_compatible"], Secret("literal", "k"), origin, base_path)


@pytest.mark.parametrize(
    ("base", "path", "expected"),
    [
        ("", "/v1/chat/completions?x=1", "/v1/chat/completions?x=1"),
        ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("/api/v1", "/v1/chat/completions", "/api/v1/chat/completions"),
        ("/v1beta/openai", "/v1/chat/completions", "/v1beta/openai/chat/completions"),
        ("/v1", "/chat/completions", "/v1/chat/completions"),
        ("/api/v1", "/api/v1/responses/resp_1", "/api/v1/responses/resp_1"),
        ("/v1", "/v1/messages", "/v1/messages"),
        ("/proxy", "/v1/messages?beta=true", "/proxy/v1/messages?beta=true"),
        ("/gw", "/v1beta/models/g:generateContent", "/gw/v1beta/models/g:generateContent"),
        ("/api/v1", "/v1/rerank", "/api/v1/rerank"),
        ("/api/v1", "/health", "/api/v1/health"),
    ],
)
def test_a_path_is_read_under_the_base_url(base: str, path: str, expected: str) -> None:
    endpoint = dialects.endpoint("POST", path.partition("?")[0])

    assert upstream_url.join(account(base), path, endpoint) == expected


def test_the_model_in_a_path_is_replaced_once() -> None:
    path = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"

    assert (
        upstream_url.with_model(path, "gemini-x", "tuned/y") == "/v1beta/models/tuned%2Fy:streamGenerateContent?alt=sse"
    )
    assert upstream_url.with_model(path, "other", "y") == path


def azure(base_path: str, version: str = "") -> Account:
    provider: Provider = replace(PRESETS["azure"], api_version=version)
    return Account("a", provider, Secret("literal", "k"), Origin("https", "r.openai.azure.com", 443), base_path)


CHAT = "/v1/chat/completions"
OLDER = "/openai/deployments/theirs/chat/completions"


@pytest.mark.parametrize(
    ("base", "version", "method", "path", "expected", "in_path"),
    [
        # with a version: the deployment stands in the path
        ("", "V", "POST", CHAT, "/openai/deployments/dep/chat/completions?api-version=V", True),
        ("/openai", "V", "POST", CHAT, "/openai/deployments/dep/chat/completions?api-version=V", True),
        ("", "V", "POST", "/v1/embeddings?x=1", "/openai/deployments/dep/embeddings?x=1&api-version=V", True),
        ("", "V", "POST", "/v1/images/generations", "/openai/deployments/dep/images/generations?api-version=V", True),
        ("", "V", "POST", f"{OLDER}?api-version=W", "/openai/deployments/dep/chat/completions?api-version=V", True),
        # … but not for what names its model in the body, or none
        ("", "V", "POST", "/v1/responses", "/openai/responses?api-version=V", False),
        ("", "V", "GET", "/v1/responses/resp_1", "/openai/responses/resp_1?api-version=V", False),
        ("", "V", "GET", "/v1/files/file-1/content", "/openai/files/file-1/content?api-version=V", False),
        # without one: OpenAI's paths
        ("", "", "POST", CHAT, "/openai/v1/chat/completions", False),
        ("/openai", "", "POST", "/v1/responses", "/openai/v1/responses", False),
        ("/openai/v1", "", "POST", CHAT, "/openai/v1/chat/completions", False),
        ("/openai/v1", "preview", "POST", CHAT, "/openai/v1/chat/completions?api-version=preview", False),
        ("/openai/v1", "", "GET", "/v1/models", "/openai/v1/models", False),
        ("/openai/v1", "", "POST", f"{OLDER}?api-version=W", "/openai/v1/chat/completions", False),
        # a version that only the client says
        ("", "", "POST", f"{OLDER}?api-version=W", "/openai/deployments/dep/chat/completions?api-version=W", True),
        # a base URL that names the deployment, and a gateway before it all
        ("/openai/deployments/one", "V", "POST", CHAT, "/openai/deployments/one/chat/completions?api-version=V", True),
        ("/gw", "V", "POST", CHAT, "/gw/openai/deployments/dep/chat/completions?api-version=V", True),
        ("/gw", "", "POST", CHAT, "/gw/openai/v1/chat/completions", False),
    ],
)
def test_azure_s_paths(base: str, version: str, method: str, path: str, expected: str, in_path: bool) -> None:
    bare, _, query = path.partition("?")
    endpoint = dialects.endpoint(method, bare)

    assert upstream_url.join(azure(base, version), path, endpoint, "dep") == expected
    assert upstream_url.names_model(azure(base, version), endpoint, query) == in_path


def test_a_deployment_s_name_is_quoted() -> None:
    endpoint = dialects.endpoint("POST", CHAT)

    assert "/deployments/a%2F..%2Fb%3Fc/chat" in upstream_url.join(azure("", "V"), CHAT, endpoint, "a/../b?c")


def asked(path: str, body: bytes = b"{}", method: str = "POST") -> Request:
    endpoint = dialects.endpoint(method, path.partition("?")[0])
    return Request(method, path, Headers(), Body(body), endpoint, Origin("http", "patchbay.invalid", 80))


GEMINI = "/v1beta/models/gemini-x:generateContent"


@pytest.mark.parametrize(
    ("at", "path", "body", "model", "expected"),
    [
        (account("/v1"), CHAT, b'{"model":"a"}', "b", (CHAT, {"model": "b"})),
        (account("/v1"), CHAT, b'{"model":"a"}', "a", (CHAT, {})),
        (account("/v1"), CHAT, b'{"model":"a"}', "", (CHAT, {})),
        (account("/v1"), "/v1/audio/transcriptions", b"--form", "b", ("/v1/audio/transcriptions", {})),
        (account("/v1"), OLDER, b'{"model":"a"}', "theirs", (OLDER, {"model": "theirs"})),
        (account("/v1"), OLDER, b"{}", "theirs", (OLDER, {"model": "theirs"})),
        (azure("", "V"), CHAT, b'{"model":"a"}', "b", (CHAT, {})),
        (azure("", "V"), "/v1/responses", b'{"model":"a"}', "b", ("/v1/responses", {"model": "b"})),
        (azure("/openai/v1"), CHAT, b'{"model":"a"}', "b", (CHAT, {"model": "b"})),
        (account(""), GEMINI, b"{}", "y", (GEMINI.replace("gemini-x", "y"), {})),
        (account(""), GEMINI.replace("gemini-x", "a%40b"), b"{}", "a%40b", (GEMINI.replace("gemini-x", "a%40b"), {})),
        (account(""), GEMINI.replace("gemini-x", "a@b"), b"{}", "a@b", (GEMINI.replace("gemini-x", "a@b"), {})),
    ],
)
def test_a_model_is_named_where_the_provider_looks(
    at: Account, path: str, body: bytes, model: str, expected: tuple[str, dict[str, object]]
) -> None:
    assert upstream_url.renamed(asked(path, body), at, model) == expected


def test_a_deployment_from_the_client_s_path_is_not_quoted_twice() -> None:
    path = OLDER.replace("theirs", "my%20one")
    endpoint = dialects.endpoint("POST", path)

    assert upstream_url.join(azure("", "V"), path, endpoint, endpoint.model) == f"{path}?api-version=V"


def test_azure_s_path_at_another_provider_is_that_provider_s() -> None:
    path = f"{OLDER}?api-version=W"
    endpoint = dialects.endpoint("POST", OLDER)

    assert upstream_url.join(account("/v1"), path, endpoint, "m") == "/v1/chat/completions?api-version=W"
    assert upstream_url.join(account(""), path, endpoint, "m") == "/v1/chat/completions?api-version=W"


def test_a_path_of_no_dialect_stays_under_azure_s_base_url() -> None:
    assert (
        upstream_url.join(azure("/openai", "V"), "/status", dialects.endpoint("GET", "/status"), "") == "/openai/status"
    )


def test_the_first_pool_is_that_of_the_first_account_that_can_be_used() -> None:
    other = replace(account("/v1"), id="b", origin=Origin("https", "b.example", 443))
    pool = (replace(account(""), enabled=False), replace(other, origin=None), other)
    reverse = Origin("http", "127.0.0.1", 8000)

    assert upstream_url.first(pool, "openai") == other.origin
    assert upstream_url.first(pool, "openai", reverse) == reverse
    assert upstream_url.first(pool, "gemini") is None


def test_services_that_only_the_model_could_tell_apart_are_named() -> None:
    one, two = (replace(account(""), id=name, origin=Origin("https", f"{name}.example", 443)) for name in "ab")
    narrow = replace(two, models=Models(allow=("gpt-*",)))

    assert upstream_url.mixed((one, two)) == {"openai": ("a", "b")}
    assert upstream_url.mixed((one, replace(one, id="c"))) == {}
    assert upstream_url.mixed((one, narrow)) == {}
    assert upstream_url.mixed((one, replace(two, models=Models(deny=("gpt-*",))))) == {}
    assert upstream_url.mixed((one, replace(two, enabled=False))) == {}
    assert upstream_url.mixed((one, replace(two, origin=None))) == {}
    assert upstream_url.mixed((one, replace(two, provider=PRESETS["anthropic"]))) == {}
    assert upstream_url.mixed((one, replace(two, provider=PRESETS["litellm"]))) == {"openai": ("a", "b")}


@pytest.mark.parametrize(
    ("path", "headers", "families"),
    [
        ("/v1/models", (), ["openai", "anthropic", "gemini"]),
        ("/v1/models", ("anthropic-version",), ["anthropic", "openai", "gemini"]),
        ("/v1/models?key=k", (), ["gemini", "openai", "anthropic"]),
        ("/v1/models/gemini-3", ("x-goog-api-key",), ["gemini", "openai", "anthropic"]),
        ("/v1/files/file_1/content", ("anthropic-version",), ["anthropic", "openai", "gemini"]),
        ("/gw/v1/files", ("anthropic-version",), ["anthropic", "openai", "gemini"]),
        ("/models", ("anthropic-version",), ["anthropic", "openai", "gemini"]),
        ("/v1/batches/batch_1", ("anthropic-version",), ["openai"]),
        ("/v1beta/openai/models", ("x-goog-api-key",), ["openai"]),
        ("/openai/files", (), ["openai"]),
        ("/v1/messages/batches", ("anthropic-version",), ["anthropic"]),
        ("/v1beta/models", (), ["gemini"]),
    ],
)
def test_what_dialects_spell_alike_is_read_as_the_headers_say(
    path: str, headers: tuple[str, ...], families: list[str]
) -> None:
    found = upstream_url.readings(dialects.endpoint("GET", path.partition("?")[0]), path, headers)

    assert [each.family for each in found] == families
    assert all(path.partition("?")[0].endswith(each.suffix) for each in found if path != "/models")


@pytest.mark.parametrize(
    ("preset", "base", "path", "expected"),
    [
        ("ollama", "/v1", "/api/chat", "/api/chat"),
        ("ollama", "/proxy/v1", "/api/tags?x=1", "/proxy/api/tags?x=1"),
        ("ollama", "/v1", "/v1/chat/completions", "/v1/chat/completions"),
        ("vllm", "/v1", "/tokenize", "/tokenize"),
        ("vllm", "/v1", "/v1/score", "/v1/score"),
        ("deepseek", "/v1", "/user/balance", "/user/balance"),
        ("openai", "/v1", "/threads/t", "/v1/threads/t"),
        ("openai", "/gateway/v1", "/v1/threads/t", "/gateway/v1/threads/t"),
        ("azure", "/openai/v1", "/openai/threads", "/openai/threads"),
        ("azure", "/openai/v1", "/openai/v1/videos", "/openai/v1/videos"),
        ("generic", "/v1", "/api/chat", "/v1/api/chat"),
    ],
)
def test_what_has_no_version_stands_beside_what_has_one(preset: str, base: str, path: str, expected: str) -> None:
    """R38: what goes upstream is the path that was found to get a key."""
    asked = Account("a", PRESETS[preset], Secret("literal", "k"), Origin("http", "h", 1), base)

    assert upstream_url.join(asked, path, dialects.endpoint("GET", path.partition("?")[0])) == expected


@pytest.mark.parametrize(
    ("path", "once"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/v1/v1/messages", "/v1/messages"),
        ("/v1beta/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/v1/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/openai/v1/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/v1/messages", "/v1/messages"),
        ("/v1/v11/messages", "/v1/v11/messages"),
        ("/odd/v1/v1/messages", "/odd/v1/v1/messages"),
        ("/v1/v2/messages", "/v1/v2/messages"),
        ("/v1/videos/v1/v1", "/v1/videos/v1/v1"),
    ],
)
def test_a_version_that_stands_twice_is_written_once(path: str, once: str) -> None:
    """P4: the base URL ends in a version, and the tool adds it too."""
    assert upstream_url.once(path) == once


@pytest.mark.parametrize(
    ("base", "path", "joined"),
    [
        ("", "/v1/v1/messages", "/v1/messages"),
        ("", "/v1/v1/messages?beta=true", "/v1/messages?beta=true"),
        ("/v1", "/v1/v1/messages", "/v1/messages"),
        ("/api/v1/v1", "/v1/messages", "/api/v1/v1/messages"),
        ("/v1/v1", "/v1/v1/messages", "/v1/v1/messages"),
        ("", "/v1/v1/own/path", "/v1/v1/own/path"),
        ("", "/odd/v1/v1/chat/completions", "/odd/v1/v1/chat/completions"),
    ],
)
def test_a_doubled_version_goes_up_once(base: str, path: str, joined: str) -> None:
    """P4: but where the account's base URL has it, or no dialect knows the path."""
    endpoint = dialects.endpoint("POST", path.partition("?")[0])

    assert upstream_url.join(account(base), path, endpoint) == joined


@pytest.mark.parametrize(
    ("paths", "base", "path", "taken"),
    [
        (("/threads",), "", "", True),  # a path of a dialect
        (("/threads",), "", "/threads", True),
        (("/threads",), "", "/threads/t", True),
        (("/threads/",), "", "/threads/t", True),
        (("/threads",), "", "/threadsx", False),
        (("/threads",), "", "/v1/threads", False),
        (("/v1/threads",), "/v1", "/threads", True),  # as it goes up
        (("/v1/threads",), "/v2", "/threads", False),
        (("/v?/threads",), "", "/v1/threads", True),
        (("/",), "", "/", True),
        (("/",), "", "/admin", False),
        (("/a", "*"), "", "/admin", True),
        ((), "", "/admin", False),
    ],
)
def test_a_key_goes_with_a_path_of_its_service_and_with_no_other(
    paths: tuple[str, ...], base: str, path: str, taken: bool
) -> None:
    known = replace(account(base), provider=replace(PRESETS["openai_compatible"], paths=paths))

    assert upstream_url.takes(known, path) is taken
    assert upstream_url.takes(replace(known, origin=None), path), "a server that --mode reverse: names"


@pytest.mark.parametrize("host", ["patchbay.invalid", "api.example"])
def test_one_host_stands_for_every_provider(host: str) -> None:
    assert upstream_url.is_anywhere(Origin("http", host, 80)) is (host == "patchbay.invalid")


@pytest.mark.parametrize(
    ("name", "held"),
    [("id", True), ("file_id", True), ("Session", True), ("my_session_token", True), ("cursor", True), ("upload", True),
     ("uploadType", True), ("after", True), ("before", True), ("limit", False), ("afterwards", False), ("idle", False)],
)  # fmt: skip
def test_a_query_parameter_that_names_a_resource_is_known_by_its_name(name: str, held: bool) -> None:
    assert upstream_url.names_id(name) is held


@pytest.mark.parametrize(
    ("path", "opens"),
    [("/u?upload_id=" + "a" * 16, True), ("/u?x=1&uploadId=" + "a" * 17, True), ("/u?upload_id=" + "a" * 15, False),
     ("/u?my_upload_id=" + "a" * 16, False), ("/u", False)],
)  # fmt: skip
def test_the_long_id_of_an_upload_is_itself_the_credential(path: str, opens: bool) -> None:
    assert upstream_url.opens_itself(path) is opens


FORM = b"model=a&file=x%20y"


@pytest.mark.parametrize(
    ("kind", "body", "changes", "changed"),
    [
        ("application/json", b'{"model":"a", "n":1}', {"model": "b"}, b'{"model":"b", "n":1}'),
        ("application/x-www-form-urlencoded", FORM, {"model": "b"}, b"model=b&file=x%20y"),
        ("application/x-www-form-urlencoded", FORM, {"model": 5}, b"model=5&file=x%20y"),
        ("application/x-www-form-urlencoded", b'{"model":"a"}', {"model": "b"}, b'{"model":"b"}'),
    ],
)
def test_a_body_is_changed_in_its_own_form(kind: str, body: bytes, changes: dict[str, object], changed: bytes) -> None:
    request = replace(asked(CHAT, body), headers=Headers([("content-type", kind)]))

    assert upstream_url.changed(request, changes) == changed


@pytest.mark.parametrize(
    ("path", "old", "told"),
    [
        ("/v1beta/models/a@b:generateContent", "a@b", "/v1beta/models/new:generateContent"),
        ("/v1beta/models/a%40b:generateContent", "a@b", "/v1beta/models/new:generateContent"),
        ("/v1beta/models/a%2Fb:generateContent?x=1", "a/b", "/v1beta/models/new:generateContent?x=1"),
        ("/v1beta/models/%61b:generateContent", "ab", "/v1beta/models/new:generateContent"),
        ("/v1beta/models/%61b:generateContent", "%61b", "/v1beta/models/new:generateContent"),
        ("/v1beta/models/a:b/models/a:c", "a", "/v1beta/models/new:b/models/a:c"),
        ("/v1beta/models/ab", "ab", "/v1beta/models/ab"),
    ],
)
def test_a_model_in_a_path_is_replaced_however_it_is_spelled(path: str, old: str, told: str) -> None:
    assert upstream_url.with_model(path, old, "new") == told


@pytest.mark.parametrize(
    ("base", "path", "endpoint", "joined"),
    [
        ("/api", "/v1/x", Endpoint(), "/api/v1/x"),
        ("/api/v1", "/v1/x", Endpoint("openai_chat", "openai", "generation", ""), "/api/v1/x"),
        ("/api/v1", "/v1/x", Endpoint(suffix="/x"), "/api/v1/x"),
        ("/api/v1/", "/v1/x/y", Endpoint(), "/api/v1/x/y"),
        ("/api/v1", "/v1x/y", Endpoint(), "/api/v1/v1x/y"),
        ("/api/v1", "/api/v1", Endpoint(), "/api/v1"),
        ("/api/v1", "/gate/v1/c%6Fmpletions", Endpoint("openai_chat", "openai", "generation", "/completions"),
         "/api/v1/completions"),
    ],
)  # fmt: skip
def test_what_base_and_path_share_is_written_once(base: str, path: str, endpoint: Endpoint, joined: str) -> None:
    assert upstream_url.join(account(base), path, endpoint) == joined


@pytest.mark.parametrize(
    ("base", "version", "path", "expected"),
    [
        ("/openai/deployments/one", "", "/v1/responses", "/openai/deployments/one/responses"),
        ("/openai/deployments/one", "", f"{CHAT}?api-version=W",
         "/openai/deployments/one/chat/completions?api-version=W"),
        ("/openai/v1/", "", CHAT, "/openai/v1/chat/completions"),
        ("/openai/v1", "", f"{CHAT}?api-version=W&x=1", "/openai/v1/chat/completions?x=1"),
        ("", "a b", f"{CHAT}?&x=1&api-version=W", "/openai/deployments/dep/chat/completions?x=1&api-version=a%20b"),
        ("", "", f"{CHAT}?api-version=a%20b", "/openai/deployments/dep/chat/completions?api-version=a%20b"),
        ("", "", f"{CHAT}?xapi-version=W", "/openai/v1/chat/completions?xapi-version=W"),
    ],
)  # fmt: skip
def test_azure_s_version_is_the_account_s_or_the_client_s_and_stands_once(
    base: str, version: str, path: str, expected: str
) -> None:
    endpoint = dialects.endpoint("POST", path.partition("?")[0])

    assert upstream_url.join(azure(base, version), path, endpoint, "dep") == expected
    named = upstream_url.names_model(azure(base, version), endpoint, path.partition("?")[2])
    assert named is ("/deployments/" in expected)


def test_the_model_of_a_client_s_path_stays_the_deployment_where_no_other_is_meant() -> None:
    endpoint = dialects.endpoint("POST", OLDER)

    for model in ("", "theirs"):
        assert upstream_url.join(azure("", "V"), OLDER, endpoint, model) == f"{OLDER}?api-version=V"


@pytest.mark.parametrize(
    ("path", "model", "named"),
    [(GEMINI, "gemini-x", True), ("/v1beta/models", "", False), (OLDER, "theirs", False), (CHAT, "", False)],
)
def test_a_path_names_the_model_where_its_dialect_says_so(path: str, model: str, named: bool) -> None:
    endpoint = dialects.endpoint("POST" if model else "GET", path)

    assert upstream_url.names_model(account(""), endpoint, "") is named


@pytest.mark.parametrize(
    ("path", "body", "changes"),
    [
        ("/v1/files", b"[]", {}),  # no object, and no model
        ("/v1/files", b"{}", {}),  # of no kind that names a model
        (CHAT, b"{}", {"model": "b"}),
        (CHAT, b"[]", {}),
        (CHAT, b'{"model":"b"}', {}),
    ],
)
def test_the_body_names_a_model_where_its_endpoint_reads_it_there(
    path: str, body: bytes, changes: dict[str, object]
) -> None:
    assert upstream_url.renamed(asked(path, body), account("/v1"), "b") == (path, changes)


def test_no_other_dialect_is_meant_by_a_path_that_the_first_does_not_have() -> None:
    endpoint = replace(dialects.endpoint("GET", "/v1/models"), dialect="gemini")

    assert upstream_url.readings(endpoint, "/v1/models", ("anthropic-version",)) == (endpoint,)


def test_the_version_in_a_client_s_query_decides_whether_azure_s_path_names_the_model() -> None:
    found = upstream_url.renamed(asked(f"{CHAT}?api-version=W", b'{"model":"a"}'), azure(""), "b")

    assert found == (f"{CHAT}?api-version=W", {})
