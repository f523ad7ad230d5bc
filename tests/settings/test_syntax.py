from __future__ import annotations

import re

import pytest

from patchbay.settings import reader, syntax
from patchbay.settings.reader import ConfigError, load
from patchbay.values.account import Secret
from patchbay.values.http import Origin

from ..each_row import each_row
from .written import ONE, account, key, mistakes, wrong_account, wrong_key


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://API.Example.com/v1/", Origin("https", "api.example.com", 443), "/v1"),
        ("HTTPS://api.example.com", Origin("https", "api.example.com", 443), ""),
        ("https://api.example.com:8443/a/b", Origin("https", "api.example.com", 8443), "/a/b"),
        ("http://localhost/v1", Origin("http", "localhost", 80), "/v1"),
        ("http://127.0.0.7:8000", Origin("http", "127.0.0.7", 8000), ""),
        ("'http://[0:0::1]:8000/v1'", Origin("http", "::1", 8000), "/v1"),
        ("reverse", None, ""),
    ],
)
def test_base_urls(url: str, origin: Origin | None, path: str) -> None:
    found = account(f"base_url: {url}")

    assert (found.origin, found.base_path) == (origin, path)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("reversed", "must begin with https:// or http://, or be 'reverse', is 'reversed'"),
        ("api.openai.com/v1", "must begin with https:// or http://, or be 'reverse', is 'api.openai.com/v1'"),
        ("ftp://me:hidden@x", "must begin with https:// or http://, or be 'reverse'"),
        ("https://me:hidden@x", "must not contain a user name or password"),
        ("https://x/?key=hidden", "must not contain a query or a fragment (? or #)"),
        ("https://x/#", "must not contain a query or a fragment (? or #)"),
        ("https://", "must name a host in ASCII letters, or an address, without spaces"),
        ("https://bücher.example", "must name a host in ASCII letters, or an address, without spaces"),
        ("'https://a b'", "must name a host in ASCII letters, or an address, without spaces"),
        ("'https://a\\b'", "must name a host in ASCII letters, or an address, without spaces"),
        ("https://x:0", "must name a port from 1 to 65535"),
        ("https://x:70000", "must be a URL such as https://api.openai.com/v1"),
        ("'https://[::1'", "must be a URL such as https://api.openai.com/v1"),
        ("https://x/a/../b", "must have a plain path: no spaces, no //, no . or .. between slashes"),
        ("http://x.example", "must be https: no key goes over plain http beyond this machine (see insecure_http)"),
        ("http://127.0.0.1.example", "must be https: no key goes over plain http beyond this machine"),
    ],
)
def test_a_base_url_that_will_not_do(url: str, said: str) -> None:
    (found,) = wrong_account("base_url: '" + url.strip("'") + "'")

    assert found.startswith(f"base_url: {said}")
    assert "hidden" not in found


def test_the_sources_of_a_key() -> None:
    assert key("env:OPENAI_API_KEY") == Secret("env", "OPENAI_API_KEY")
    assert key("file:~/keys/a") == Secret("file", "~/keys/a")
    assert key("file:/a.json#/tokens/0") == Secret("file", "/a.json", "/tokens/0")
    assert key("{cmd: [op, read, 'op://a b']}") == Secret("cmd", argv=("op", "read", "op://a b"))
    assert key("{cmd: [op], ttl: 1m, timeout: 3}") == Secret("cmd", argv=("op",), ttl=60.0, timeout=3.0)
    assert key("sk-ant:with:colons") == Secret("literal", "sk-ant:with:colons")
    assert key("0123") == Secret("literal", "0123")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "key: must be a credential: env:NAME, file:PATH, {cmd: [program, argument]} or the key itself, is empty"),
        ("'env:'", "key: env: must name an environment variable, as in env:OPENAI_API_KEY"),
        ("env:sk-hidden", "key: env: must name an environment variable, as in env:OPENAI_API_KEY"),
        ("'file:'", "key: file: must name a file, as in file:~/.config/patchbay/key"),
        ("file:/a#hidden", "key: the part after # must be a JSON pointer such as #/tokens/access_token"),
        ("'cmd: op read'", "key: must be written as {cmd: [program, argument]}"),
        ("{cmd: op read hidden}", "key.cmd: must be a list of words, as in [program, argument]; no shell runs it"),
        ("{cmd: []}", "key.cmd: must name a program"),
        ("{cmd: [op], tll: 5m}", "key.tll: is not a setting, did you mean 'ttl'?"),
        ("{ttl: 5m}", "key: cmd is missing"),
        ("Bearer sk-hidden", "key: must be the key alone, without spaces or line breaks"),
        ('"sk-hidden\\r\\nX: y"', "key: must be the key alone, without spaces or line breaks"),
        ("sk-hidden-ü", "key: must be visible ASCII characters only"),
        ("$HIDDEN", "key: variables are written env:NAME"),
        ("os.environ/HIDDEN", "key: variables are written env:NAME"),
    ],
)
def test_a_key_that_will_not_do_is_not_shown(text: str, said: str) -> None:
    found = wrong_key(text)

    assert found == said
    assert "hidden" not in found.lower()


def test_hosts_and_pages_that_are_allowed_are_read() -> None:
    found = load(
        ONE + "allowed_hosts: [Box.lan, '*.corp', '[::2]', '*']\nallowed_origins: [http://A.b:3000, 'null']\n", "c"
    )

    assert found.allowed_hosts == ("box.lan", "*.corp", "::2", "*")
    assert found.allowed_origins == ("http://a.b:3000", "null")


@pytest.mark.parametrize("host", ["box.lan:80", "http://box.lan", "a b", "b*x"])
def test_a_host_is_a_name(host: str) -> None:
    assert "must be a host's name" in mistakes(ONE + f"allowed_hosts: ['{host}']\n")[0]


@pytest.mark.parametrize("page", ["box.lan", "http://box.lan/", "'*'", "http://u@box.lan"])
def test_a_page_is_an_origin(page: str) -> None:
    assert "must be an origin" in mistakes(ONE + f"allowed_origins: [{page}]\n")[0]


@pytest.mark.parametrize(
    "value",
    ["memory", "sqlite", "sqlite:///~/x.db", "redis://h:6379/0", "rediss://:pw@h", "redis://[::1]", "env:STORE_URL"],
)
def test_a_store_is_named_by_a_url(value: str) -> None:
    found = load(f"store: '{value}'\n" + ONE, "c")

    assert found.store == value
    assert value not in repr(found)


@pytest.mark.parametrize(
    "value",
    ["", "sqlite://x", "sqlite:///", "redis://", "redis:///0", "postgres://sk-pw@h", "env:a b", "redis://h:sk-pw"],
)
def test_a_store_that_will_not_do_is_not_quoted(value: str) -> None:
    (found,) = mistakes(f"store: '{value}'\n" + ONE)

    assert "store: must be" in found
    assert "sk-pw" not in found


def test_the_headers_of_an_account_hold_credentials_like_its_key() -> None:
    """T9: by where it is kept, by the name of the header, or by its own looks; everything else is text."""
    headers = (
        '{X-One: "env:ONE", X-Two: "Bearer file:/two#/a", X-Three: {cmd: [three], ttl: 1s}, X-Acme-Token: four,'
        " X-Five: 'Key sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ', OpenAI-Organization: org-x, X-Six: 'a: b'}"
    )
    [account] = reader.load(f"accounts: [{{id: a, provider: openai, key: env:KEY, headers: {headers}}}]", "c").accounts

    assert account.headers == {"OpenAI-Organization": "org-x", "X-Six": "a: b"}
    assert [(own.name, own.scheme, own.secret) for own in account.secret_headers] == [
        ("X-One", "", Secret("env", "ONE")),
        ("X-Two", "Bearer ", Secret("file", "/two", "/a")),
        ("X-Three", "", Secret("cmd", argv=("three",), ttl=1.0)),
        ("X-Acme-Token", "", Secret("literal", "four")),
        ("X-Five", "Key ", Secret("literal", "sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ")),
    ]
    assert account.secrets == (Secret("env", "KEY"), *(own.secret for own in account.secret_headers))
    assert "four" not in repr(account)


@pytest.mark.parametrize(
    ("provider", "complaint"),
    [
        ("stamp: {headers: {X-Acme-Token: 'env:NAME'}}", "must not be a credential; write it under headers"),
        ("stamp: {body: {token: 'file:/x'}}", "must not be a credential; write it under headers"),
        ("pass_headers: [Authorization]", "must not pass: it carries the account's own credential"),
        ("pass_headers: [Connection]", "must not pass: it belongs to the connection"),
        ("pass_headers: [X-Patchbay-Account]", "must not pass: it belongs to the connection"),
        ("pass_headers: ['a b']", "is not a header name"),
    ],
)
def test_where_a_credential_cannot_be_it_is_refused(provider: str, complaint: str) -> None:
    """T7, T9: a stamp is the same for all accounts of a provider, and the account's own key is no client's."""
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        reader.load(
            f"providers: {{p: {{preset: openai, {provider}}}}}\naccounts: [{{id: a, provider: p, key: x}}]", "c"
        )


@pytest.mark.parametrize(
    "host", ["sk-consulting-cloud.example", "ak-bratislava-1.llm.example.com", "key-value-4.example"]
)
def test_a_host_of_words_may_begin_like_a_key(host: str) -> None:
    """T6: what is legitimate loads; a key in its place is refused."""
    text = "accounts: [{{id: a, provider: generic, key: env:HOME, base_url: 'https://{}'}}]"
    assert reader.load(text.format(host), "c.yaml").accounts[0].origin == Origin("https", host, 443)
    with pytest.raises(reader.ConfigError, match="looks like a key"):
        reader.load(text.format("sk-3f9a2b7c1d4e5f60718293a4b5c6d7e8.example"), "c.yaml")


@each_row("name", sorted(syntax._CREDENTIAL_HEADERS | syntax._PROXY_HEADERS | {"x-patchbay-session-id"}))
def test_every_header_of_patchbay_or_the_proxy_is_refused(name: str) -> None:
    kinds = [
        (syntax._CREDENTIAL_HEADERS, "the credential comes from key: only"),
        (syntax._PROXY_HEADERS, "belongs to the connection or the body"),
    ]
    why = next((told for names, told in kinds if name in names), "X-Patchbay-* is Patchbay's own")
    (own,) = wrong_account(f"headers: {{{name.title()}: x}}")
    assert own.endswith(why)

    passed = f"providers: {{p: {{preset: openai, pass_headers: [{name.title()}]}}}}\n{ONE}"
    if name == "cookie":
        assert load(passed, "c")
    else:
        assert "must not pass" in mistakes(passed)[0]


def test_a_key_in_quotes_within_the_quotes_of_yaml_is_refused() -> None:
    assert wrong_key("\"'abc'\"").endswith("must be the key alone, without quotes inside the quotes of YAML")
    assert key('"\'abc"').value == "'abc"


@pytest.mark.parametrize("name", syntax._FIELDS)
def test_every_field_of_a_template_is_known(name: str) -> None:
    provider = f"providers: {{p: {{preset: openai, stamp: {{headers: {{X-One: 'a-{{{name}}}'}}}}}}}}"

    assert load(f"{provider}\n{ONE}", "c")
    assert "is none of" in mistakes(f"{provider.replace(name, name + 'x')}\n{ONE}")[0]


def test_a_path_begins_with_a_slash() -> None:
    def provider(paths: str) -> str:
        return f"providers: {{p: {{preset: openai, paths: [{paths}]}}}}\n{ONE}"

    assert load(provider("/v1/x, '*', '/a*'"), "c")
    for wrong in ("v1/x", "'**'", "/a b"):
        assert "must be a path such as /v1/assistants" in mistakes(provider(wrong))[0]


def test_a_single_quotation_mark_is_a_key_like_any_other() -> None:
    assert key('"\'"').value == "'"


def test_a_path_of_a_file_may_look_like_anything_with_a_slash_in_it() -> None:
    random = "Zq8wNfT2vXb7RkLm4HcJdP9sGyU1eA0oIi"

    assert load(f"state: ./{random}\n{ONE}", "c").state == f"./{random}"
    assert load(f"state: folder\n{ONE}", "c").state == "folder"
    assert "looks like a key" in mistakes(f"state: {random}\n{ONE}")[0]


@pytest.mark.parametrize("member", ["a.b.c", "a b", ".a", "a."])
def test_a_member_is_a_name_or_two(member: str) -> None:
    def provider(name: str) -> str:
        return f"providers: {{p: {{preset: openai, stamp: {{body: {{'{name}': x}}}}}}}}\n{ONE}"

    assert load(provider("outer.inner"), "c")
    assert "must name a member of the body" in mistakes(provider(member))[0]


def test_a_list_that_grants_something_is_not_empty() -> None:
    assert load(f"providers: {{p: {{preset: openai, families: [openai]}}}}\n{ONE}", "c")
    assert "must name at least one of" in mistakes(f"providers: {{p: {{preset: openai, families: []}}}}\n{ONE}")[0]
    assert account("models: [a]").models.allow == ("a",)
    assert "must name at least one model" in wrong_account("models: []")[0]


def test_a_right_of_a_client_names_something() -> None:
    def client(rights: str) -> str:
        return f"clients: [{{name: x, key: env:X, {rights}}}]\n{ONE}"

    assert load(client("pools: [openai]"), "c").clients[0].pools == ("openai",)
    assert "must name at least one; leave it out to allow all" in mistakes(client("pools: []"))[0]


LOOKS_LIKE_A_KEY = "sk-proj-abcdefghij0123456789"


@each_row(
    ("store", "wrong"),
    [
        ("memory", ""),
        ("sqlite", ""),
        ("sqlite:///state.db", ""),
        ("redis://host", ""),
        ("redis://host:6379/0", ""),
        ("rediss://:password@host:1/2", ""),
        ("env:STORE", ""),
        ("memory:", "must be one of memory, sqlite"),
        ("sqlite:", "must be one of memory, sqlite"),
        ("sqlite:///", "must be one of memory, sqlite"),
        ("sqlite://state.db", "must be one of memory, sqlite"),
        ("redis://", "must be one of memory, sqlite"),
        ("redis://host:0", "must be one of memory, sqlite"),
        ("redis://host:x", "must be one of memory, sqlite"),
        ("env:", "must be one of memory, sqlite"),
        ("env:1", "must be one of memory, sqlite"),
        ("postgres://host", "must be one of memory, sqlite"),
        (f"redis://{LOOKS_LIKE_A_KEY}", "looks like a key"),
        (f"sqlite:///{LOOKS_LIKE_A_KEY}", "looks like a key"),
        (f"sqlite:///folder/{LOOKS_LIKE_A_KEY}", ""),
        (f"redis://:{LOOKS_LIKE_A_KEY}@host", ""),
    ],
)
def test_each_form_of_a_store(store: str, wrong: str) -> None:
    text = f"mode: shadow\nstore: '{store}'\n"
    if not wrong:
        assert load(text, "c").store == store
    else:
        (found,) = mistakes(text)
        assert wrong in found
        assert "abcdefghij0123456789" not in found


def test_a_key_in_the_place_of_a_variable_is_said_to_be_one() -> None:
    found = wrong_key("env:sk_abcdefghij0123456789abcd")

    assert found == "key: env: must be followed by a name, and this looks like a key; write a key without env:"


def test_headers_and_parameters_that_pass_are_kept_as_a_set() -> None:
    text = (
        "providers: {p: {preset: generic, pass_headers: [X-One, x-two], pass_query: [sig, Sig]}}\n"
        "accounts: [{id: a, provider: p, base_url: reverse, key: example-a}]\n"
    )
    provider = load(text, "c").accounts[0].provider

    assert (provider.pass_headers, provider.pass_query) == ({"x-one", "x-two"}, {"sig", "Sig"})
