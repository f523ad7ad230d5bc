"""Paths that are spelled otherwise: each is refused, or read as what the plain spelling is."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from patchbay import dialects, upstream_url
from patchbay.dialects import spelling
from patchbay.guards import Arrival, Guards
from patchbay.settings.settings import Config
from patchbay.values.decision import Refusal
from patchbay.values.http import Headers

from ..each_row import each_row

PLAIN = (
    "/v1/chat/completions",
    "/api/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/audio/transcriptions",
    "/v1/batches",
    "/v1/fine_tuning/jobs",
    "/v1/responses",
    "/v1/responses/compact",
    "/backend-api/codex/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/messages/batches",
    "/v1/complete",
    "/v1beta/models/gemini-pro:generateContent",
    "/v1beta/models/gemini-pro:streamGenerateContent",
    "/v1beta/models/gemini-pro:batchGenerateContent",
    "/v1beta/models/gemini-pro:embedContent",
    "/v1beta/models/gemini-pro:countTokens",
    "/v1/projects/p/locations/l/publishers/google/models/gemini-pro:generateContent",
    "/v1/projects/p/locations/l/publishers/anthropic/models/claude:rawPredict",
    "/v1beta/interactions",
    "/v1beta/cachedContents",
    "/v1internal:generateContent",
)


def encoded(path: str, place: int, times: int = 1, upper: bool = True) -> str:
    code = f"{ord(path[place]):02x}"
    return path[:place] + "%" + "25" * (times - 1) + (code.upper() if upper else code) + path[place + 1 :]


def mutations(path: str) -> Iterator[str]:
    """Yield *path* in spellings that some server takes for the same."""
    random = Random(path)
    places = range(1, len(path))
    for place in (*random.sample(places, 4), path.rindex("/"), path.rfind(":") if ":" in path else 1):
        yield encoded(path, place)
        yield encoded(path, place, upper=False)
        yield encoded(path, place, times=2)
        yield encoded(path, place, times=3)
    yield "".join(encoded(character, 0) if character != "/" else "/" for character in path)
    for place in [place for place in places if path[place] == "/"] + [0]:
        yield path[:place] + "/" + path[place:]
        yield path[:place] + "/." + path[place:]
        yield path[:place] + "/x/.." + path[place:]
        yield path[:place] + "/%2e%2e" + path[place:]
        yield path[:place] + "/%2e" + path[place:]
        yield path[:place] + ";a=b" + path[place:]
        yield path[:place] + "%3Ba=b" + path[place:]
        yield path[:place] + "\\" + path[place + 1 :]
        yield path[:place] + "%5C" + path[place + 1 :]
        yield path[:place] + "%20" + path[place:]
        yield path[:place] + "." + path[place:]
    for end in (
        "/",
        "//",
        "/.",
        ";",
        ";/",
        "%2F",
        "%3F",
        "%3fx=1",
        "%23",
        "%00",
        "%0a",
        "%09",
        ".",
        "..",
        "%",
        "%zz",
        "%u002f",
    ):
        yield path + end
    yield path.upper()
    yield path.title()
    yield path.replace("e", "E", 1)
    last = path.rindex("/") + 1
    yield path[:last] + path[last:].capitalize()
    yield path.replace("m", "\uff4d", 1)  # the same letter, full width
    yield path.replace("m", "%EF%BD%8D", 1)
    yield path.replace("/", "%c0%af", 1)


MUTATED = [(plain, spelled) for plain in PLAIN for spelled in mutations(plain) if spelled != plain]
GUARDS = Guards(Config(()))
CLIMBING = (
    "/%25252e%25252e", "/%252525252e.", "/..%20", "/..%09", "/..%2500", "/%ef%bc%8e%ef%bc%8e", "/\u2025", "/%e2%80%a5",
    "/%e2%80%a4.", "/..%3f", "/..%253Fx", "/..%3bx=1", "/..%25253b", "%ef%bc%8f..", "%25255c..", "/...",
)  # fmt: skip


def test_there_are_enough_of_them_in_every_dialect() -> None:
    counted = dict.fromkeys(dialects.BY_NAME, 0)
    for plain, _ in MUTATED:
        counted[dialects.endpoint("POST", plain).dialect] += 1

    assert all(count >= 200 for count in counted.values()), counted


def refused(path: str, method: str = "POST") -> Refusal | None:
    arrival = Arrival(method, path, Headers(), "localhost", ())
    return GUARDS.refusal(arrival, dialects.endpoint(method, path.partition("?")[0]))


@each_row("plain", PLAIN)
def test_another_spelling_is_refused_or_read_as_the_plain_one(plain: str) -> None:
    """T4: no spelling of a generation's path makes it something that asks no model."""
    meant = dialects.endpoint("POST", plain)
    assert refused(plain) is None
    wrong = []
    for spelled in (spelled for of, spelled in MUTATED if of == plain):
        found = dialects.endpoint("POST", spelled.partition("?")[0])
        # a name in other letters is another name; rights ask it in any case
        if refused(spelled) is None and (found.dialect, found.model_source, found.kind, found.model.casefold()) != (
            meant.dialect, meant.model_source, meant.kind, meant.model,
        ):  # fmt: skip
            wrong.append(spelled)

    assert not wrong


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models/gemini-pro%3AgenerateContent", "/v1beta/models/gemini%2dpro:generate%43ontent",
     "/v1beta/%6dodels/gemini-pro%3agenerateContent"],
)  # fmt: skip
def test_what_rfc_3986_calls_equal_is_read_alike(path: str) -> None:
    """T4: `%3A` before the verb is the colon."""
    found = dialects.endpoint("POST", path)

    assert (found.kind, found.model) == ("generation", "gemini-pro")
    assert refused(path) is None


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models/models/x:generateContent", "/v1beta/models/x", "/v1/models/x/y:generateContent",
     "/v1beta/tunedModels/tunedModels/x:generateContent", "/v1beta/cachedContents/x:generateContent",
     "/v1beta/files/x:generateContent", "/v1/models"],
)  # fmt: skip
def test_a_post_to_a_model_whose_verb_is_not_read_is_refused(path: str) -> None:
    """T4: nothing is posted below /models/ that nobody reads."""
    found = refused(path)

    assert found is not None
    assert (found.status, found.code) == (400, "path_unusable")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/meta-llama%2FLlama-3"),
        ("GET", "/v1/models/Files"),
        ("GET", "/v1/models/"),
        ("DELETE", "/v1/files/file-abc"),
        ("GET", "/v1beta/files/abc:download?alt=media"),
        ("POST", "/v1/projects/p/locations/l/publishers/anthropic/models/claude%4020250514:rawPredict"),
        ("POST", "/v1beta/batches/abc:cancel"),
        ("POST", "/openai/deployments/My%20One/chat/completions"),
        ("GET", "/health"),
        ("POST", "/api/Chat"),
        ("GET", "/"),
    ],
)
def test_what_has_one_reading_passes(method: str, path: str) -> None:
    assert refused(path, method) is None


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("//v1/messages", "http://localhost as"),
        ("/v1//messages", "http://localhost/v1 as"),
        ("/v1//chat/completions", "http://localhost/v1 as"),
        ("/v1beta//models/m:generateContent", "http://localhost/v1beta as"),
        ("/openai/v1//responses", "http://localhost/openai/v1 as"),
        ("/v1/messages/", "/v1/messages behind"),
        ("//v1/messages/", "http://localhost as"),
        ("//nothing", "end in '/'?"),
    ],
)
def test_a_base_url_with_a_slash_too_many_is_named(path: str, right: str) -> None:
    """P4: the answer says what to change."""
    found = refused(path)
    assert found is not None
    assert "base URL" in found.message and right in found.message


@pytest.mark.parametrize("path", ["/api//tags", "/files/x//y"])
def test_a_server_s_own_slashes_pass(path: str) -> None:
    """P4: an upstream may have odd paths of its own."""
    assert refused(path) is None


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_header_does_not_change_the_method(name: str) -> None:
    """T4: a GET that a server takes for a POST would ask no right."""
    arrival = Arrival("GET", "/v1/messages", Headers([(name, "POST")]), "localhost", ())

    assert GUARDS.refusal(arrival, dialects.endpoint("GET", "/v1/messages")) is not None


def test_the_bytes_of_a_path_that_need_not_change_go_up_as_they_came() -> None:
    """T4: reading a path does not rewrite it; giving a model another name does."""
    from ..test_upstream_url import account, asked

    path = "/v1beta/models/a%2Db%3AgenerateContent?alt=sse%20x"

    assert upstream_url.renamed(asked(path), account(""), "a-b") == (path, {})
    assert upstream_url.renamed(asked(path), account(""), "c")[0] == "/v1beta/models/c:generateContent?alt=sse%20x"
    at_base = upstream_url.join(
        account("/gw/v1"), "/openai/v1/%63hat/completions?q=%63", asked("/v1/chat/completions").endpoint
    )
    assert at_base == "/gw/v1/chat/completions?q=%63"


@each_row("climbs", CLIMBING)
@each_row("below", ["/v1/threads", "/v1/files", "/v1/models", "/v1beta/files", "/v1/messages/batches"])
def test_a_path_that_climbs_for_some_server_is_refused(below: str, climbs: str) -> None:
    """T4, R38: a path that may lead out of what gets a key is refused, also where nobody here reads it."""
    assert refused(f"{below}{climbs}{climbs}/organization/admin_api_keys", "GET")


@pytest.mark.parametrize(
    ("path", "loosest"),
    [
        ("/v1/files/a", "/v1/files/a"),
        ("/v1/files/a. ", "/v1/files/a"),
        ("/v1\\files./a", "/v1/files/a"),
        ("/v1/fi%6ces/a;x=1", "/v1/files/a"),
        ("/v1/files%2Fa%3Fb", "/v1/files/a"),
        ("/v1/files/a%2520%253Bx", "/v1/files/a"),
        ("/v1/%09files%20/a..", "/v1/files/a"),
        ("/v1\\files/\uff41", "/v1/files/a"),
        ("/v1/files/%", "/v1/files/%"),
        ("/v1/files/%ff", "/v1/files/%ff"),
        ("/v1/files/;%25252561", "/v1/files/;%25252561"),
    ],
)
def test_the_least_strict_server_decodes_all_and_cuts_parameters(path: str, loosest: str) -> None:
    assert spelling.loosest(path) == loosest


@pytest.mark.parametrize(("times", "decodes"), [(0, True), (1, True), (3, True), (4, False)])
def test_a_path_is_decoded_up_to_a_number_of_times(times: int, decodes: bool) -> None:
    encoded = "/%61"
    for _ in range(times - 1):
        encoded = encoded.replace("%", "%25")
    encoded = encoded if times else "/a"

    if decodes:
        assert spelling.decoded(encoded) == "/a"
    else:
        with pytest.raises(ValueError, match="too often"):
            spelling.decoded(encoded)


@pytest.mark.parametrize("path", ["/a%", "/%zz", "/%f", "/%25zz"])
def test_a_percent_sign_that_encodes_nothing_is_an_error(path: str) -> None:
    with pytest.raises(ValueError, match="encodes nothing"):
        spelling.decoded(path)


@pytest.mark.parametrize(
    ("path", "climbs"),
    [("/a/../b", True), ("/a/.", True), ("/...", True), ("/a/ ..\t/b", True), ("/..;x/b", True), ("/.?x", True),
     ("/#/..#b", True), ("/a.b/c..", False), ("/ab", False), ("/", False)],
)  # fmt: skip
def test_a_segment_of_dots_climbs(path: str, climbs: bool) -> None:
    assert spelling.climbs(path) is climbs


@pytest.mark.parametrize(
    ("path", "simplest"),
    [
        ("//V1//Files/", "/v1/files"), ("/v1/files;a=1/b", "/v1/files/b"), ("/v1/files./b. ", "/v1/files/b"),
        ("/v1/files?x/y", "/v1/files"), ("/V1BETA2/GEMINI:Files", "/v1beta2/GEMINI:files"),
        ("/V1Internal:FILES", "/v1internal:files"), ("/Other", "/Other"), ("", "/"),
    ],
)  # fmt: skip
def test_the_simplest_spelling_knows_words_and_versions(path: str, simplest: str) -> None:
    assert spelling.simplest(path, {"files": "files"}) == simplest


@pytest.mark.parametrize(
    ("path", "plain"),
    [("/%66iles", "/files"), ("/a%2fb", "/a%2Fb"), ("/a%3Fb%3b", "/a%3Fb%3B"), ("/%7E%3a", "/~:"), ("/%zz", "/%zz")],
)
def test_only_needless_encodings_are_undone(path: str, plain: str) -> None:
    assert spelling.plain(path) == plain
