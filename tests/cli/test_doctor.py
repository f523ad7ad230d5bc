"""`patchbay doctor` finds each planted fault, and names what mends it."""

from __future__ import annotations

import json
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trustme
from msgspec import structs

from patchbay.cli import doctor, doctor_machine, doctor_tools, examined
from patchbay.cli.examined import ExaminedMachine, MachineFault, RunningAddresses
from patchbay.cli.main import main
from patchbay.needs import NEEDS
from patchbay.proxy.control_socket import RunningProxy

from ..simulator import Simulator, simulator_thread

KEY = "sk-real-0123456789abcdef0123"
SETTINGS = """
state: {state}
accounts:
  - {{id: one, provider: openai, key: "env:KEY_ONE"}}
  - {{id: two, provider: anthropic, key: "file:{folder}/key"}}
"""


@dataclass
class Bench:
    """A home and a folder in which nothing is wrong, until a fault is planted."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.env |= {"KEY_ONE": KEY, "PATH": os.environ["PATH"]}
        self.state.mkdir(mode=0o700)
        self.write("key", "sk-ant-9876543210fedcba")
        self.write("config.yaml", SETTINGS.format(state=self.state, folder=self.home))

    @property
    def state(self) -> Path:
        return self.home / "state"

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def more(self, text: str) -> None:
        file = self.home / "config.yaml"
        file.write_text(file.read_text() + text)

    def machine(self, monkeypatch: pytest.MonkeyPatch) -> ExaminedMachine:
        for name in os.environ:
            monkeypatch.delenv(name)
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        return doctor.look(str(self.home / "config.yaml"), self.home, self.home)

    def found(self, monkeypatch: pytest.MonkeyPatch, *more: tuple[str, doctor.Check]) -> list[MachineFault]:
        return doctor.examined(self.machine(monkeypatch), (*doctor.CHECKS, *more))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(doctor_machine, "is_free", lambda host, number: True)  # other tests may use 8080
    return Bench(tmp_path)


def test_where_nothing_is_wrong_nothing_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.found(monkeypatch) == []


def env(**variables: str) -> Callable[[Bench], object]:
    return lambda bench: bench.env.update(variables)


def file(name: str, text: str, mode: int = 0o600) -> Callable[[Bench], object]:
    return lambda bench: bench.write(name, text, mode)


def duplicated(bench: Bench) -> None:
    bench.more("  - {id: three, provider: openai, key: env:KEY_TWO}\n")
    bench.env["KEY_TWO"] = bench.env["KEY_ONE"]


def literal(bench: Bench) -> None:
    bench.more(f"  - {{id: three, provider: openai, key: {KEY}x}}\n")
    (bench.home / "config.yaml").chmod(0o644)


def login(end: int, mode: int = 0o600) -> Callable[[Bench], object]:
    """Return what adds an account of a login whose key and account id are over at *end*."""

    def write(bench: Bench) -> None:
        tokens = {"access_token": "tok-0123456789", "account_id": "acc-0123456789", "expires_at": end}
        kept = bench.write("auth.json", json.dumps({"tokens": tokens}), mode)
        bench.more(f"  - {{id: three, provider: codex_login, login: {kept}}}\n")

    return write


def ca_alone(bench: Bench) -> None:
    text = trustme.CA().cert_pem.bytes().decode()
    bench.env["SSL_CERT_FILE"] = str(bench.write(".mitmproxy/mitmproxy-ca-cert.pem", text))


def expired(bench: Bench) -> None:
    from datetime import UTC, datetime

    authority = trustme.CA()
    leaf = authority.issue_cert(
        "x.test", not_before=datetime(2019, 1, 1, tzinfo=UTC), not_after=datetime(2020, 1, 1, tzinfo=UTC)
    )
    bench.write(".mitmproxy/mitmproxy-ca-cert.pem", leaf.cert_chain_pems[0].bytes().decode())


def set_back(bench: Bench) -> None:
    made = bench.write("state/state.db", "")
    os.utime(made, (time.time() + 3600,) * 2)


def disabled(bench: Bench) -> None:
    text = f"state: {bench.state}\naccounts: [{{id: one, provider: openai, key: env:KEY_ONE, enabled: false}}]\n"
    bench.write("config.yaml", text)


def no_redis(bench: Bench) -> None:
    bench.more("store: env:NO_SUCH_STORE\n")


def folder_of_settings(bench: Bench) -> None:
    (bench.home / "config.yaml").unlink()
    (bench.home / "config.yaml").mkdir()


def damaged_store(bench: Bench) -> None:
    from patchbay.store import master_key

    master_key(bench.state)
    bench.write("state/state.db", "no database" * 1000)


HERE = "http://127.0.0.1:8080"
FAULTS: dict[str, tuple[Callable[[Bench], object], str, str]] = {
    "no settings": (lambda bench: (bench.home / "config.yaml").unlink(), "no file", "patchbay init "),
    "a folder in its place": (folder_of_settings, "is a folder", "patchbay init "),
    "a key for all": (file("key", "sk-ant-9876543210fedcba", 0o644), "by its owner only", "chmod 600 "),
    "a damaged store": (damaged_store, "file is not a database", "mv "),
    "a damaged file of a tool": (file(".claude/settings.json", '{"env": {"a": \n'), "damaged (line 2)", "correct"),
    "another file of a tool": (file(".codex/config.toml", "model_providers = [1]\n"), "is damaged", "correct"),
    "a mistake": (lambda bench: bench.more("colour: red\n"), "colour", "patchbay check"),
    "no variable": (lambda bench: bench.env.pop("KEY_ONE"), "account one: env:KEY_ONE: is not set", "export KEY_ONE=…"),
    "an empty key": (file("key", ""), "account two: file:", "put the key into "),
    "a login that is over": (login(1_600_000_000), "account three: file:", "run `codex` once"),
    "a login for all": (login(4_000_000_000, 0o644), "must be readable by its owner only", "chmod 600 "),
    "quotes": (env(KEY_ONE=f"'{KEY}'"), "account one: env:KEY_ONE: stands in quotes", "export KEY_ONE=…"),
    "one key twice": (duplicated, "accounts one and three have the same key", "remove one of them"),
    "none enabled": (disabled, "no account is enabled", "enabled: true at one"),
    "shadow": (lambda bench: bench.more("mode: shadow\n"), "`mode: shadow`: nothing is carried out", "mode: serve"),
    "keys for all": (literal, "others can read ", "chmod 600 "),
    "a state for all": (lambda bench: bench.state.chmod(0o755), "others can look into ", "chmod 700 "),
    "a state that others write": (lambda bench: bench.state.chmod(0o777), "others can change ", "chmod go-w "),
    "no folder": (lambda bench: (bench.state.rmdir(), bench.write("state", "")), "is no folder", "state: /other"),
    "no store": (no_redis, "NO_SUCH_STORE", "in the settings"),
    "a clock set back": (set_back, "the clock was set back", "timedatectl"),
    "TLS secrets": (env(SSLKEYLOGFILE="/tmp/keys"), "SSLKEYLOGFILE is set", "unset SSLKEYLOGFILE"),  # noqa: S108
    "no bundle": (env(NODE_EXTRA_CA_CERTS="/nowhere.pem"), "holds no certificate", "unset NODE_EXTRA_CA_CERTS"),
    "only our CA": (ca_alone, "names mitmproxy's certificate alone", "certifi"),
    "an old CA": (expired, "has expired", "rm "),
    "version twice": (
        env(ANTHROPIC_BASE_URL=f"{HERE}/v1"), "so that it is there twice", f"export ANTHROPIC_BASE_URL={HERE}"
    ),
    "no version": (env(OPENAI_BASE_URL=HERE), "OPENAI_BASE_URL: it lacks /v1", f"export OPENAI_BASE_URL={HERE}/v1"),
    "a slash": (env(OPENAI_BASE_URL=f"{HERE}/v1/"), "it ends in `/`", f"export OPENAI_BASE_URL={HERE}/v1"),
    "an endpoint": (env(OPENAI_BASE_URL=f"{HERE}/v1/chat/completions"), "the path of an endpoint", f"{HERE}/v1"),
    "https": (env(ANTHROPIC_BASE_URL="https://127.0.0.1:8080"), "begins with https://", f"={HERE}"),
    "another port": (env(ANTHROPIC_BASE_URL="http://localhost:9999"), "leads to port 9999", f"={HERE}"),
    "elsewhere": (env(OPENAI_BASE_URL="https://api.openai.com/v1"), "past Patchbay", f"={HERE}/v1"),
    "Claude Code": (
        file(".claude/settings.json", json.dumps({"env": {"ANTHROPIC_BASE_URL": f"{HERE}/v1"}})),
        "ANTHROPIC_BASE_URL in ", f'"ANTHROPIC_BASE_URL": "{HERE}" under env in ',
    ),
    "Codex": (
        file(".codex/config.toml", f'[model_providers.patchbay]\nbase_url = "{HERE}"\n'),
        "it lacks /v1", f'base_url = "{HERE}/v1" under [model_providers.patchbay] in ',
    ),
    "Gemini CLI": (
        file(".gemini/.env", f"# mine\nexport GOOGLE_GEMINI_BASE_URL='{HERE}/v1beta'\n"), "it ends in /v1beta", HERE
    ),
    "Qwen Code": (
        file(".qwen/settings.json", json.dumps({"security": {"auth": {"baseUrl": HERE}}})),
        "security.auth.baseUrl in ", f'"baseUrl": "{HERE}/v1" in ',
    ),
    "OpenCode": (
        file("opencode.json", '{// mine\n"provider": {"openai": {"options": {"baseURL": "' + HERE + '"}},},}'),
        "provider openai in ", f'"baseURL": "{HERE}/v1" of provider openai',
    ),
    "a base URL as a proxy": (env(HTTPS_PROXY=HERE), "is no HTTP proxy", "unset HTTPS_PROXY"),
    "a proxy before us": (
        env(HTTPS_PROXY="http://proxy.corp:3128", ANTHROPIC_BASE_URL=HERE), "NO_PROXY lacks", "export NO_PROXY="
    ),
    "Bedrock": (
        env(CLAUDE_CODE_USE_BEDROCK="1", ANTHROPIC_BASE_URL=HERE), "does not ask", "unset CLAUDE_CODE_USE_BEDROCK"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_with_what_mends_it(bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    plant, what, mend = FAULTS[fault]
    plant(bench)
    found = bench.found(monkeypatch)

    assert [each for each in found if what in each.what and mend in each.mend], found
    assert len(found) <= 2, found
    told = "\n".join(map(doctor.line, found))
    assert KEY not in told and "sk-ant-9876543210fedcba" not in told


def test_a_port_that_another_program_has_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        monkeypatch.undo()
        monkeypatch.setattr(doctor_machine, "DEFAULT_ADDRESS", f"http://127.0.0.1:{number}")
        [found] = doctor_machine.port(bench.machine(monkeypatch))
    assert f"port {number} is in use by " in found.what and found.mend.endswith(str(number + 1))
    if Path("/proc/net/tcp").exists():
        assert f"(pid {os.getpid()})" in found.what


def test_a_running_proxy_is_known_when_its_settings_are_broken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be taken for a stranger on its own port, which is to be ended."""
    monkeypatch.setattr(doctor_machine, "is_free", lambda host, number: False)
    status = {"addresses": [HERE], "kinds": ["base"], "pid": 4711}
    of_state = {bench.state: [RunningProxy(bench.state / "control-4711.sock", 4711)]}
    monkeypatch.setattr(doctor.control_socket, "running", lambda folder, env: of_state.get(folder, []))
    monkeypatch.setattr(doctor.control_socket, "ask", lambda path, command, patience: status)

    for broken in ("colour: red\n", "accounts: [\n"):
        bench.write("config.yaml", SETTINGS.format(state=bench.state, folder=bench.home) + broken)
        found = bench.found(monkeypatch)
        assert [each.what for each in found if each.level == "note"] == [
            "the proxy of pid 4711 keeps its last good settings"
        ]
        assert all(str(bench.home / "config.yaml") in each.what for each in found if each.level != "note")


def test_an_account_that_leads_to_the_proxy_itself_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(bench, f"{HERE}/v1")
    at = bench.machine(monkeypatch)
    assert list(doctor.doctor_accounts.accounts(at)) == []  # a server of the user may run there
    [found] = doctor.doctor_accounts.accounts(replace(at, running=(RunningAddresses((HERE,), ("base",), 1),)))
    assert (
        found.what == "account one: its base_url is this proxy itself, port 8080" and "`base_url` of one" in found.mend
    )


def test_our_own_proxy_may_have_the_port(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "is_free", lambda host, number: False)
    at = replace(bench.machine(monkeypatch), running=(RunningAddresses((HERE,), ("base",), 1),))
    assert list(doctor_machine.port(at)) == []


def test_a_listener_that_is_a_proxy_is_no_base_url(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.env["OPENAI_BASE_URL"] = f"{HERE}/v1"
    at = replace(bench.machine(monkeypatch), running=(RunningAddresses((HERE,), ("proxy",), 1),))
    [found] = doctor_tools.base_urls(at)
    assert "which is an HTTP proxy" in found.what


def test_a_disk_that_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine, "_LEAST_FREE", 1 << 62)
    assert "is full" in next(iter(bench.found(monkeypatch))).what


def test_packages_that_are_missing_or_old(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"mitmproxy": "11.1.3", "h11": ""}
    real = doctor_machine.installed
    monkeypatch.setattr(doctor_machine, "installed", lambda name: versions.get(name, real(name)))
    old, missing = bench.found(monkeypatch)
    assert old.what == "mitmproxy 11.1.3 is installed, and Patchbay needs mitmproxy>=12.2,<13"
    assert (
        missing.what
        == f"h11 is missing, and Patchbay needs {next(each for each in NEEDS if each.module == 'h11').requirement}"
    )
    assert "pip install" in old.mend


@pytest.mark.parametrize(
    ("prefix", "mend"),
    [
        ("/home/u/.local/share/pipx/venvs/mitmproxy", "pipx inject mitmproxy 'x>=1'"),
        (
            "/home/u/.local/share/uv/tools/patchbay",
            "uv pip install --python /home/u/.local/share/uv/tools/patchbay/bin/python 'x>=1'",
        ),
        ("/opt/homebrew/Cellar/mitmproxy/12.2", "python3 -m venv .venv; .venv/bin/pip install 'x>=1'"),
        ("/usr", "python3 -m venv .venv; .venv/bin/pip install 'x>=1'"),
    ],
)
def test_the_command_is_that_of_the_installer(prefix: str, mend: str) -> None:
    assert doctor_machine._install("x>=1", Path(prefix), Path("/home/u")).endswith(mend)


def test_another_mitmdump_on_the_path_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = bench.write("bin/mitmdump", "#!/bin/sh\n", 0o700)
    bench.env["PATH"] = str(other.parent)
    ours = bench.write("venv/bin/mitmdump", "", 0o700).parent.parent
    monkeypatch.setattr(doctor_machine.sys, "prefix", str(ours))
    [found] = bench.found(monkeypatch)
    assert f"`mitmdump` is {other}" in found.what and found.mend == "patchbay run"


def test_an_account_that_rests_is_named_with_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from patchbay.accounts.cooldown import SharedCooldown
    from patchbay.proxy.persistence import store_of
    from patchbay.state import _of_rest
    from patchbay.store import master_key

    bench.more("store: sqlite\n")
    settings = bench.machine(monkeypatch).settings
    assert settings is not None
    opened = store_of(settings, master_key(bench.state))[1]
    assert opened is not None
    until = time.time() + 600
    opened.write([_of_rest(SharedCooldown("two", None, "cooling", "rate", until, until, time.time()))], time.time())
    opened.close()
    [found] = bench.found(monkeypatch)
    assert found.what.startswith("account two rests until ") and found.mend == "patchbay wake two"


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with simulator_thread({KEY: "one"}) as running:
        yield running


ASKED = ("providers", doctor.doctor_ask.providers)


def asking(bench: Bench, url: str) -> None:
    bench.write(
        "config.yaml",
        f"state: {bench.state}\naccounts: [{{id: one, provider: generic, base_url: '{url}', key: env:KEY_ONE}}]\n",
    )


def test_a_provider_that_takes_the_key_is_no_finding(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, provider: Simulator
) -> None:
    provider.reset()
    asking(bench, f"{provider.url}/v1")
    assert bench.found(monkeypatch, ASKED) == []
    assert [record.path for record in provider.truth.requests] == ["/v1/models"]
    assert bench.found(monkeypatch) == []  # without --ask nothing is sent
    assert len(provider.truth.requests) == 1


def test_doctor_trusts_what_the_proxy_trusts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    company = bench.write("ca.pem", authority.cert_pem.bytes().decode())
    with simulator_thread({KEY: "one"}, host="localhost", tls=folder / "server.pem") as secured:
        asking(bench, f"https://localhost:{secured.port}/v1")
        [untrusted] = bench.found(monkeypatch, ASKED)
        assert untrusted.what == "account one: localhost is not reachable (TLS certificate not trusted)"
        assert "SSL_CERT_FILE" in untrusted.mend

        bench.env["NODE_EXTRA_CA_CERTS"] = str(company)
        machine = bench.machine(monkeypatch)
        assert list(doctor.doctor_ask.providers(machine)) == []
        without = RunningAddresses(
            (HERE,), ("base",), 1, str(bench.write("ours.pem", trustme.CA().cert_pem.bytes().decode()))
        )
        assert len(list(doctor.doctor_ask.providers(replace(machine, running=(without,))))) == 1

        del bench.env["NODE_EXTRA_CA_CERTS"]
        bench.write(".mitmproxy/config.yaml", f"ssl_verify_upstream_trusted_ca: {company}\n")
        assert bench.found(monkeypatch, ASKED) == []
        bench.write(".mitmproxy/config.yaml", "[: broken")
        assert len(bench.found(monkeypatch, ASKED)) == 1


def test_a_refused_key_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch, provider: Simulator) -> None:
    asking(bench, f"{provider.url}/v1")
    bench.env["KEY_ONE"] = "sk-other-0123456789"
    [found] = bench.found(monkeypatch, ASKED)
    assert found.what == "account one: 127.0.0.1 refused its key (401)" and "replace `key:` of one" in found.mend
    assert "sk-other" not in doctor.line(found)


def test_a_provider_that_is_not_there_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asking(bench, "http://127.0.0.1:9/v1")
    [found] = bench.found(monkeypatch, ASKED)
    assert found.what == "account one: 127.0.0.1 is not reachable (connection refused)"


def test_no_key_leaves_over_plain_http(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    at = bench.machine(monkeypatch)
    assert at.settings is not None
    account = at.settings.accounts[0]
    assert account.origin is not None
    found = doctor.doctor_ask.ask(account, structs.replace(account.origin, scheme="http"), at)
    assert isinstance(found, MachineFault) and "no key goes over plain http" in found.what


@pytest.mark.parametrize(("ahead", "said"), [(3600.0, "behind"), (-3600.0, "ahead of"), (1.0, "")])
def test_a_clock_that_is_wrong_is_found(bench: Bench, monkeypatch: pytest.MonkeyPatch, ahead: float, said: str) -> None:
    monkeypatch.setattr(doctor.doctor_ask, "ask", lambda *_: doctor.doctor_ask.Asked(200, ahead))
    found = bench.found(monkeypatch, ASKED)
    assert [each.what for each in found] == ([f"this clock is 3600 seconds {said} the providers'"] if said else [])


def test_a_check_that_fails_leaves_the_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(at: ExaminedMachine) -> Iterator[MachineFault]:
        raise RuntimeError(KEY)

    bench.env["SSLKEYLOGFILE"] = "x"
    told, failed = bench.found(monkeypatch, ("odd", broken))
    assert (told.level, failed) == ("warning", MachineFault("note", "odd could not be looked at: RuntimeError", ""))


@pytest.mark.parametrize("text", ["[]", "{", '{"env": 7}', '{"env": {"ANTHROPIC_BASE_URL": ["x"]}}', "\x00"])
@pytest.mark.parametrize("name", [name for name, _ in doctor_tools._FILES])
def test_a_tool_s_file_may_be_anything(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    bench.write(name, text)
    known = ("leads to no server", f"{bench.home / name} is damaged")
    assert all(any(each in found.what for each in known) for found in bench.found(monkeypatch))


def test_the_command_has_exit_codes_and_json(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.machine(monkeypatch)
    monkeypatch.setattr(Path, "home", lambda: bench.home)
    monkeypatch.chdir(bench.home)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.endswith("wrong: 0\n")

    monkeypatch.setenv("SSLKEYLOGFILE", "keys")
    assert main(["doctor", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [each["level"] for each in told["findings"]] == ["warning"] and "mitmproxy" in told["checks"]


def test_a_line_has_what_and_mend(bench: Bench) -> None:
    assert doctor.line(MachineFault("problem", "a\nb", "c")) == "problem: a\\nb  →  c"
    assert examined.place("http://[::1") == ("", 0)
    assert stat.S_IMODE((bench.home / "config.yaml").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("account", "path", "headers"),
    [
        ("provider: openai", "/v1/models", {"authorization": f"Bearer {KEY}"}),
        ("provider: anthropic", "/v1/models", {"x-api-key": KEY, "anthropic-version": "2023-06-01"}),
        ("provider: gemini", "/v1beta/models", {"x-goog-api-key": KEY}),
        (
            "provider: generic, base_url: 'https://llm.example/api/v1'", "/api/v1/models",
            {"authorization": f"Bearer {KEY}"},
        ),
        (
            "provider: openai, headers: {OpenAI-Organization: org-1}", "/v1/models",
            {"authorization": f"Bearer {KEY}", "OpenAI-Organization": "org-1"},
        ),
    ],
)  # fmt: skip
def test_the_list_of_models_is_asked_for_as_the_provider_wants_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, account: str, path: str, headers: dict[str, str]
) -> None:
    bench.write("config.yaml", f"state: {bench.state}\naccounts: [{{id: one, key: env:KEY_ONE, {account}}}]\n")
    at = bench.machine(monkeypatch)
    assert at.settings is not None
    asked, sent = doctor.doctor_ask._request(at.settings.accounts[0], at)
    assert asked == path
    assert {name: value for name, value in sent.items() if name not in ("user-agent", "accept")} == headers


def test_without_settings_the_keys_of_the_environment_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> tuple[str, str, str]:
        machine = doctor.look(None, tmp_path, tmp_path)
        [found] = [each for each in doctor.examined(machine) if "config.yaml" in each.what]
        return found.level, found.what, found.mend

    monkeypatch.setattr(doctor_machine, "is_free", lambda host, number: True)
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert told() == ("problem", "there are no settings at config.yaml", "patchbay init")

    running = (RunningAddresses((examined.DEFAULT_ADDRESS,), ("base",)),)
    with monkeypatch.context() as patched:
        patched.setattr(doctor, "_running", lambda *_: running)
        level, what, _ = told()
    assert level == "note" and "the running proxy has its accounts from the environment in which" in what

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    line = "no config.yaml: uses OPENAI_API_KEY as account openai; `patchbay init` writes it down"
    assert told() == ("note", line, "patchbay init")
    assert doctor.look(None, tmp_path, tmp_path).settings is not None


@pytest.mark.parametrize("name", ["{x}", "{url.__class__.__mro__}", "{url}", "a\nb", "$(x)"])
def test_a_name_of_a_foreign_file_is_told_as_it_is(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    key, url = json.dumps(name), "http://127.0.0.1:9/v1"
    bench.write(".codex/config.toml", f'[model_providers.{key}]\nbase_url = "{url}"')
    bench.write("opencode.json", json.dumps({"provider": {name: {"options": {"baseURL": url}}}}))
    found = bench.found(monkeypatch)

    assert not [each for each in found if "could not be looked at" in each.what]
    mends = {each.mend for each in found if "leads to port 9" in each.what}
    ours = "http://127.0.0.1:8080/v1"
    assert mends == {
        f'base_url = "{ours}" under [model_providers.{name}] in {bench.home / ".codex/config.toml"}',
        f'"baseURL": "{ours}" of provider {name} in {bench.home / "opencode.json"}',
    }


def test_deep_settings_of_a_tool_are_damaged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(".claude/settings.json", "[" * 200_000)

    found = bench.found(monkeypatch)

    assert [each.what.partition(" is ")[2] for each in found] == ["damaged, so a tool may not find its base URL there"]


def test_what_mends_is_quoted_for_a_shell(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = bench.home / "a;b $(x)"
    odd.mkdir()
    bench.write("config.yaml", f"state: '{odd}'\naccounts: [{{id: one, provider: openai, key: 'env:KEY_ONE'}}]")
    odd.chmod(0o755)

    assert [f"chmod 700 '{odd}'"] == [each.mend for each in bench.found(monkeypatch) if str(odd) in each.what]
