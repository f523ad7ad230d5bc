from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from h2.events import ConnectionTerminated

from patchbay.proxy import credentials as module
from patchbay.proxy.credentials import Credentials, KeyUnavailable, named
from patchbay.proxy.redaction import MARK
from patchbay.values.account import Secret

LITERAL = Secret("literal", "sk-literal-0001")
LONG_ENOUGH = 30.0  # seconds; `sleep 300` does not end in them


KILL_WAIT = module.KILL_WAIT


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KILL_WAIT", LONG_ENOUGH)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def got(keys: Credentials, secret: Secret) -> str:
    asyncio.run(keys.ready(secret))
    return keys.value(secret)


def refused(keys: Credentials, secret: Secret) -> str:
    with pytest.raises(KeyUnavailable) as caught:
        asyncio.run(keys.ready(secret))
    with pytest.raises(KeyUnavailable):
        keys.value(secret)
    return str(caught.value)


def kept(path: Path, text: str, mode: int = 0o600) -> Secret:
    """Put *text* in a file, as by a tool that replaces it whole."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)
    return Secret("file", str(path))


def shell(code: str, *arguments: str, ttl: float = 300.0, timeout: float = LONG_ENOUGH) -> Secret:
    return Secret("cmd", argv=("/bin/sh", "-c", code, "sh", *arguments), ttl=ttl, timeout=timeout)


def test_a_value_is_there_only_after_ready() -> None:
    keys = Credentials()

    with pytest.raises(KeyUnavailable, match="has not been read yet"):
        keys.value(LITERAL)
    assert got(keys, LITERAL) == "sk-literal-0001"


def test_a_variable_is_read_and_read_again_when_it_changes() -> None:
    env = {"KEY": "  sk-first-0001\n"}
    keys, secret = Credentials(env), Secret("env", "KEY")
    assert got(keys, secret) == "sk-first-0001"

    env["KEY"] = "sk-other-0002"
    assert got(keys, secret) == "sk-other-0002"

    del env["KEY"]
    assert refused(keys, secret) == "env:KEY: is not set"


@pytest.mark.parametrize("value", ["sk-a\r\nX-Evil: 1", "sk a", "sk-\x00", "sk-ü", "sk-\x7f", "", " \n"])
def test_what_would_break_a_header_is_refused_and_not_quoted(value: str) -> None:
    said = refused(Credentials({"KEY": value}), Secret("env", "KEY"))

    assert said in (
        "env:KEY: must be one line of visible ASCII characters, without blanks",
        "env:KEY: is empty",
    )


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, reads = Credentials(), []
    sound: Callable[[Secret], object] = module._from_file
    monkeypatch.setattr(module, "_from_file", lambda secret: (reads.append(1), sound(secret))[1])
    secret = kept(tmp_path / "key", "sk-first-0001\n")

    assert [got(keys, secret), got(keys, secret)] == ["sk-first-0001"] * 2
    assert len(reads) == 1

    kept(tmp_path / "key", "sk-other-0002\n")
    assert got(keys, secret) == "sk-other-0002"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    secret = kept(tmp_path / "key", "sk-first-0001", mode)

    assert refused(Credentials(), secret) == (
        f"file:{secret.value}: must be readable by its owner only: chmod 600 {secret.value}"
    )


def test_a_file_that_is_opened_to_others_later_is_refused_then(tmp_path: Path) -> None:
    keys, secret = Credentials(), kept(tmp_path / "key", "sk-first-0001")
    assert got(keys, secret)

    os.chmod(secret.value, 0o644)

    assert "chmod 600" in refused(keys, secret)


def test_another_mode_is_a_change_whatever_the_clock_says(tmp_path: Path) -> None:
    """The clock of a file system stands still for milliseconds, so a file may change twice at one time."""
    found = Path(kept(tmp_path / "key", "sk-first-0001").value).stat()
    opened = SimpleNamespace(**{name: getattr(found, name) for name in dir(found) if name.startswith("st_")})
    opened.st_mode |= 0o044

    assert module._stamp(opened) != module._stamp(found)  # type: ignore[arg-type]


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    said = [refused(Credentials(), Secret("file", str(tmp_path / name))) for name in ("none", "", "pipe")]

    assert [one.partition(": ")[2] for one in said] == [
        "No such file or directory",
        "is no ordinary file",
        "is no ordinary file",
    ]


def test_a_file_that_goes_takes_its_key_with_it(tmp_path: Path) -> None:
    keys, secret = Credentials(), kept(tmp_path / "key", "sk-first-0001")
    assert got(keys, secret)

    Path(secret.value).unlink()

    assert "No such file" in refused(keys, secret)


def test_a_pointer_finds_the_member(tmp_path: Path) -> None:
    text = json.dumps({"a/b": [{"m~n": "sk-inside-0001"}], "n": 1})
    path = kept(tmp_path / "auth.json", text).value
    keys = Credentials()

    assert got(keys, Secret("file", path, "/a~1b/0/m~0n")) == "sk-inside-0001"
    assert refused(keys, Secret("file", path, "/a~1b/1")).endswith("points at nothing")
    assert refused(keys, Secret("file", path, "/n")).endswith("does not point at text")
    assert "name the member" in refused(keys, Secret("file", path))


def test_a_pointer_into_no_json_quotes_nothing(tmp_path: Path) -> None:
    path = kept(tmp_path / "key", "sk-plain-0001").value

    assert "sk-plain" not in refused(Credentials(), Secret("file", path, "/a"))


def test_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    kept(tmp_path / "key", "sk-at-home-01")

    assert got(Credentials(), Secret("file", "~/key")) == "sk-at-home-01"


# -- commands ---------------------------------------------------------------------------------------------------------


def test_a_command_runs_without_shell_or_input(tmp_path: Path) -> None:
    secret = Secret("cmd", argv=("/bin/echo", "$HOME;`id`"))
    assert got(Credentials(), secret) == "$HOME;`id`"

    assert got(Credentials(), shell("cat; echo noise >&2; echo sk-after-eof")) == "sk-after-eof"


def test_a_command_runs_once_for_all_who_wait(tmp_path: Path) -> None:
    secret = shell('echo x >> "$1"; echo sk-shared-0001', str(tmp_path / "runs"))
    keys = Credentials()

    async def everybody() -> None:
        await asyncio.gather(*(keys.ready(secret) for _ in range(20)))

    asyncio.run(everybody())
    assert keys.value(secret) == "sk-shared-0001"
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.mark.usefixtures("processes")
def test_one_who_leaves_does_not_end_the_reading_for_the_rest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    secret, keys = shell('read word < "$1"; echo "$word"', str(tmp_path / "gate")), Credentials()

    async def story() -> None:
        first, second = asyncio.create_task(keys.ready(secret)), asyncio.create_task(keys.ready(secret))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.to_thread((tmp_path / "gate").write_text, "sk-gated-0001\n")
        await second

    asyncio.run(story())
    assert keys.value(secret) == "sk-gated-0001"


def test_a_command_is_run_again_after_its_time(tmp_path: Path) -> None:
    clock = Clock()
    keys, secret = Credentials(clock=clock), shell('echo x >> "$1"; wc -l < "$1"', str(tmp_path / "runs"), ttl=60)
    assert got(keys, secret) == "1"

    clock.now = 59.9
    assert got(keys, secret) == "1"
    clock.now = 60
    assert got(keys, secret) == "2"


def test_a_command_that_fails_says_its_code_and_nothing_else() -> None:
    said = refused(Credentials(), shell("echo sk-on-stdout; echo sk-on-stderr >&2; exit 3"))

    assert said == "cmd /bin/sh: exit code 3"


def test_a_command_that_failed_is_left_alone_for_a_moment(tmp_path: Path) -> None:
    clock = Clock()
    keys, secret = Credentials(clock=clock), shell('echo x >> "$1"; exit 1', str(tmp_path / "runs"))
    for clock.now in (0.0, module.COMMAND_RETRY - 0.1, module.COMMAND_RETRY):
        refused(keys, secret)

    assert (tmp_path / "runs").read_text() == "x\n" * 2


def test_the_last_value_outlives_a_failing_command(tmp_path: Path) -> None:
    """A vault that has locked itself says nothing about the key it gave before."""
    clock = Clock()
    (tmp_path / "vault").write_text("sk-vault-0001")
    keys, secret = Credentials(clock=clock), shell('cat "$1"', str(tmp_path / "vault"), ttl=60)
    assert got(keys, secret) == "sk-vault-0001"

    (tmp_path / "vault").unlink()
    clock.now = 60
    assert got(keys, secret) == "sk-vault-0001"

    (tmp_path / "vault").write_text("sk-vault-0002")
    clock.now += module.COMMAND_RETRY
    assert got(keys, secret) == "sk-vault-0002"


@pytest.mark.usefixtures("processes")
def test_a_slow_command_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed, fifo, started = asyncio.timeout, tmp_path / "fifo", tmp_path / "started"

    def from_then_on(seconds: float) -> asyncio.Timeout:
        """Let the command's time begin once there is a child to end."""
        end = time.monotonic() + LONG_ENOUGH
        while not started.exists() and time.monotonic() < end:
            time.sleep(0.01)
        return timed(seconds)

    monkeypatch.setattr(asyncio, "timeout", from_then_on)
    with held_open(fifo) as has_ended:
        secret = shell('exec 3> "$1"; sleep 300 & : > "$2"; wait', str(fifo), str(started), timeout=0.3)

        assert refused(Credentials(), secret) == "cmd /bin/sh: took longer than 0.3 seconds"
        assert has_ended()


@contextlib.contextmanager
def held_open(fifo: Path) -> Iterator[Callable[[], bool]]:
    """Yield a function that waits until all processes that hold *fifo* open have ended, and says whether they have."""
    os.mkfifo(fifo)
    handle = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield lambda: bool(select.select([handle], [], [], LONG_ENOUGH)[0])
    finally:
        os.close(handle)


def test_a_program_that_is_not_there_and_one_without_end_are_refused() -> None:
    assert refused(Credentials(), Secret("cmd", argv=("/none/at/all", "sk-argument"))) == (
        "cmd /none/at/all: No such file or directory"
    )
    assert "printed more than" in refused(Credentials(), shell("exec cat /dev/zero"))


# -- refresh, now -----------------------------------------------------------------------------------------------------


def test_refresh_says_whether_the_value_changed(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text("sk-vault-0001")
    keys, secret = Credentials(), shell('cat "$1"', str(tmp_path / "vault"), ttl=1e9)
    assert got(keys, secret) == "sk-vault-0001"

    assert not asyncio.run(keys.refresh(secret))
    (tmp_path / "vault").write_text("sk-vault-0002")
    assert asyncio.run(keys.refresh(secret))
    assert keys.value(secret) == "sk-vault-0002"


def test_refresh_never_raises_and_a_failure_is_no_change(tmp_path: Path) -> None:
    keys, secret = Credentials(), kept(tmp_path / "key", "sk-first-0001")
    assert got(keys, secret)
    Path(secret.value).unlink()

    assert not asyncio.run(keys.refresh(secret))
    assert not asyncio.run(keys.refresh(LITERAL))


def test_a_reading_on_another_loop_is_not_joined() -> None:
    """A change of the option `patchbay_config` reads keys on a loop of its own while the proxy's loop stands still."""
    keys, secret = Credentials(), shell("echo sk-command-0001")

    async def proxy() -> str:
        reading = asyncio.create_task(keys.ready(secret))
        await asyncio.sleep(0)  # the proxy's own reading is under way
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as aside:
            aside.submit(asyncio.run, keys.ready(secret)).result()
        await reading
        return keys.value(secret)

    assert asyncio.run(proxy()) == "sk-command-0001"


# -- scrubbing, fingerprints ------------------------------------------------------------------------------------------


def knowing(*values: str) -> Credentials:
    keys = Credentials()
    for value in values:
        got(keys, Secret("literal", value))
    return keys


def test_a_known_value_is_covered_at_its_own_length() -> None:
    body = b'{"error": "Incorrect API key: sk-literal-0001"}'
    scrubbed = knowing("sk-literal-0001").scrub(body)

    assert b"sk-literal" not in scrubbed
    assert len(scrubbed) == len(body)
    assert json.loads(scrubbed)["error"].startswith("Incorrect API key: removed-by")


@pytest.mark.parametrize(
    "spelled",
    [
        'a/b+c=d"e\\f<g',
        "a/b%2Bc%3Dd%22e%5Cf%3Cg",
        "a%2Fb%2Bc%3Dd%22e%5Cf%3Cg",
        "a%2fb%2bc%3dd%22e%5cf%3cg",
        'a/b+c=d\\"e\\\\f<g',
        'a\\/b+c=d\\"e\\\\f<g',
        'a/b+c=d\\"e\\\\f\\u003cg',
    ],
)
def test_a_value_is_covered_however_it_is_escaped(spelled: str) -> None:
    scrubbed = knowing('a/b+c=d"e\\f<g').scrub(b"key=" + spelled.encode() + b"&x")

    assert scrubbed == b"key=" + (MARK + b"-" * 40)[: len(spelled)] + b"&x"


def test_of_two_values_the_longer_is_covered_whole() -> None:
    scrubbed = knowing("sk-live-1", "sk-live-1-and-more").scrub(b"sk-live-1-and-more, sk-live-1")

    assert scrubbed == b"removed-by-patchba, removed-b"


def test_a_value_is_covered_from_when_it_is_known() -> None:
    keys = knowing("sk-first-0001")
    before = keys.scrub(b"sk-other-0002")
    got(keys, Secret("literal", "sk-other-0002"))

    assert (before, keys.scrub(b"sk-other-0002")) == (b"sk-other-0002", b"removed-by-pa")


def test_in_a_head_only_a_value_that_is_no_word_is_covered() -> None:
    """The key of a server of one's own may be a word that stands in `Host` and in the names of headers."""
    keys = knowing("localhost", "anthropic", "of-15-character", "of-16-characters")
    cover = keys.cover_of_heads()

    assert cover.scrub(b"anthropic localhost of-15-character") == b"anthropic localhost of-15-character"
    assert cover.scrub(b"of-16-characters") == b"removed-by-patch"
    assert keys.cover_of_heads() is cover
    got(keys, Secret("literal", "of-more-characters"))
    assert keys.cover_of_heads().scrub(b"of-more-characters") == b"removed-by-patchba"


def test_in_a_message_the_beginning_of_a_value_is_covered_too() -> None:
    """R4: of what an HTTP/2 upstream says as it leaves, a message quotes twenty bytes in hexadecimal."""
    keys = knowing("sk-live-0123456789abcdef")
    event = ConnectionTerminated()
    event.error_code, event.last_stream_id, event.additional_data = 0, 0, b"sk-live-0123456789abcdef"
    said = repr(event)

    assert b"0123".hex() in said
    assert b"0123".hex() not in keys.scrub_text(said)
    assert keys.scrub_text("sk-live-0123 and \ud800") == "removed-by-p and \\ud800"
    assert keys.scrub_text("nothing \ud800") == "nothing \ud800"


def test_a_short_value_and_unknown_text_are_left() -> None:
    assert knowing("tiny", "sk-literal-0001").scrub(b"a tiny sk-literal-0002") == b"a tiny sk-literal-0002"


def test_a_value_that_was_replaced_is_still_covered(tmp_path: Path) -> None:
    """An answer to a request that went out with it may still be on its way."""
    keys = Credentials()
    for value in ("sk-first-0001", "sk-other-0002"):
        got(keys, kept(tmp_path / "key", value))

    assert set(keys._known) == {"sk-first-0001", "sk-other-0002"}
    assert keys.scrub(b"sk-first-0001 sk-other-0002") == b"removed-by-pa removed-by-pa"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KNOWN", 2)
    monkeypatch.setattr(module, "MAX_HELD", 2)
    keys = knowing("sk-first-0001", "sk-other-0002", "sk-third-0003")

    assert set(keys._known) == {"sk-other-0002", "sk-third-0003"}
    with pytest.raises(KeyUnavailable):
        keys.value(Secret("literal", "sk-first-0001"))


def test_a_fingerprint_changes_with_the_source_and_with_the_value(tmp_path: Path) -> None:
    keys, secret = Credentials(), kept(tmp_path / "key", "sk-first-0001")
    got(keys, secret)
    first = keys.fingerprint(secret)

    assert first == keys.fingerprint(Secret("file", secret.value))
    assert first != keys.fingerprint(Secret("file", secret.value, "/a"))
    kept(tmp_path / "key", "sk-other-0002")
    got(keys, secret)
    assert first != keys.fingerprint(secret)
    assert Credentials().fingerprint(LITERAL) != Credentials().fingerprint(LITERAL)


def test_nothing_shows_a_value(tmp_path: Path) -> None:
    secret = shell("echo sk-command-0001")
    keys = knowing("sk-literal-0001")
    got(keys, secret)

    shown = repr((keys, keys._held, LITERAL, secret)) + named(LITERAL) + named(secret)
    assert "sk-" not in shown


@pytest.mark.parametrize(
    "secret",
    [
        Secret("file", "/run/sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ"),
        Secret("file", "/nowhere", "/sk-ant-api03-Zq8wNfT2vXb7RkLm4HcJ"),
        Secret("env", "Zq8wNfT2vXb7RkLm4HcJ0123456789ab"),
        Secret("cmd", argv=("Zq8wNfT2vXb7RkLm4HcJ0123456789ab",)),
    ],
    ids=["path", "pointer", "variable", "program"],
)
def test_a_key_in_the_place_of_its_source_is_not_named(secret: Secret) -> None:
    """T6: what is wrong with it is said all the same."""
    told = refused(Credentials(env={}), secret)

    assert "Zq8wNfT2" not in told
    assert told.partition(": ")[2]


def test_a_command_does_not_inherit_the_keys_of_others(tmp_path: Path) -> None:
    """R17: neither the variables that `env:` names, nor others with a known key in them; everything else it keeps."""
    key, other = "sk-one-0123456789abcdef", "sk-two-0123456789abcdef"
    env = {
        **os.environ,
        "ONE": key,
        "AGAIN": f"Bearer {key}",
        "STORE": "redis://:word@host",
        "TWO": other,
        "MINE": "my-own",
    }
    keys = Credentials(env)
    keys.withhold([Secret("env", "ONE"), Secret("literal", other), Secret("env", "SHORT")], ["STORE"])
    show = f"import os; print(','.join(sorted(set(os.environ) & set({sorted(env)!r}))))"

    shown = got(keys, Secret("cmd", argv=(sys.executable, "-c", show))).split(",")

    assert {"MINE", "PATH"} <= set(shown)
    assert not {"ONE", "AGAIN", "STORE", "TWO"} & set(shown)


def test_a_key_that_was_read_meanwhile_is_withheld_too(tmp_path: Path) -> None:
    """R17"""
    path = tmp_path / "key"
    path.write_text("sk-of-a-file-0123456789")
    path.chmod(0o600)
    keys = Credentials({"COPY": "sk-of-a-file-0123456789", "PATH": "/bin"})
    assert "COPY" in keys.environment()

    assert got(keys, Secret("file", str(path)))

    assert keys.environment() == {"PATH": "/bin"}


# -- bounds and refusals ----------------------------------------------------------------------------------------------


def test_the_bounds_are_the_documented_ones() -> None:
    found = {name: getattr(module, name) for name in ("MAX_FILE", "MAX_KNOWN", "MAX_HELD", "COMMAND_RETRY")}

    assert found == {"MAX_FILE": 1_000_000, "MAX_KNOWN": 4096, "MAX_HELD": 4096, "COMMAND_RETRY": 5.0}
    assert KILL_WAIT == 1.0


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ('"sk-a"', "stands in quotes, which would be sent with it; take them off"),
        ("'sk-a'", "stands in quotes, which would be sent with it; take them off"),
        ("`sk-a`", "stands in quotes, which would be sent with it; take them off"),
        ("''", "stands in quotes, which would be sent with it; take them off"),
        ("'sk-a", ""),
        ("sk-a'", ""),
        ("aa'a", ""),  # its first character stands twice, and is no quote
        ("a'", ""),
        ("'", ""),
        ("!~", ""),
        (" sk-a\n", ""),
        ("\n", "is empty"),
    ],
)
def test_what_a_value_may_be(value: str, said: str) -> None:
    keys, secret = Credentials({"KEY": value}), Secret("env", "KEY")

    found = module.unusable(secret, {"KEY": value})
    assert (str(found) if found else "") == (f"env:KEY: {said}" if said else "")
    if said:
        assert refused(keys, secret) == f"env:KEY: {said}"
    else:
        assert got(keys, secret) == value.strip()


@pytest.mark.parametrize(
    ("held", "pointer", "said"),
    [
        (b"k" * 1_000_000, "", ""),
        (b"k" * 1_000_001, "", "holds more than 1000000 bytes"),
        (b"\xff", "", "holds no UTF-8 text"),
        (b"\xef\xbb\xbfsk-marked-0001", "", ""),
        (b" {}", "", "holds JSON; name the member that is the key, as in file:PATH#/access_token"),
        (b"no JSON", "/a", "holds no JSON to look into"),
        (b"[" * 100_000, "/a", "holds no JSON to look into"),
        (b'["a"]', "/0", ""),
        (b'["a"]', "/00", "points at nothing"),
        (b'["a"]', "/-1", "points at nothing"),
        (b'"a"', "/0", "points at nothing"),
        (b'{"~1": "a"}', "/~01", ""),
    ],
)
def test_what_a_file_may_hold(tmp_path: Path, held: bytes, pointer: str, said: str) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(held)
    secret = Secret("file", str(path), pointer)
    before = len(os.listdir("/dev/fd"))
    found = module.unusable(secret, {})

    assert (str(found) if found else "") == (f"{named(secret)}: {said}" if said else "")
    assert len(os.listdir("/dev/fd")) == before  # it is closed
    assert found is None or not found.absent


@pytest.mark.parametrize(
    ("secret", "said", "absent"),
    [
        (Secret("literal", ""), "the key in the settings: is empty", False),
        (Secret("env", "NONE"), "env:NONE: is not set", True),
        (Secret("env", "EMPTY"), "env:EMPTY: is empty", True),
        (Secret("file", "/none"), "file:/none: No such file or directory", True),
        (Secret("file", "/dev/null/x"), "file:/dev/null/x: Not a directory", False),
        (Secret("file", "/a\0b"), "file:/a\0b: is no path that can be opened", False),
        (Secret("cmd", argv=("/none", "sk-argument")), "cmd /none: there is no such program", True),
        (Secret("cmd", argv=("/bin/sh", "-c", "exit 1")), "", False),
        (Secret("literal", "sk-a"), "", False),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_running_it(secret: Secret, said: str, absent: bool) -> None:
    found = module.unusable(secret, {"EMPTY": ""})

    assert (str(found) if found else "", bool(found and found.absent)) == (said, absent)


@pytest.mark.parametrize("path", ["/none", "/a\0b", "~no-such-user-here/key"])
def test_a_file_that_is_not_there_has_no_stamp(path: str) -> None:
    assert module.stamp_of(path) is None


def test_each_change_of_a_file_gives_it_another_stamp(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("sk-first-0001")
    found = path.stat()
    assert module.stamp_of(path) == module._stamp(found)
    for field in ("st_mtime_ns", "st_ctime_ns", "st_mode", "st_size", "st_ino", "st_dev"):
        other = SimpleNamespace(**{name: getattr(found, name) for name in dir(found) if name.startswith("st_")})
        setattr(other, field, -1)
        assert module._stamp(other) != module._stamp(found), field  # type: ignore[arg-type]


def test_as_many_values_are_known_as_are_documented() -> None:
    keys = Credentials()
    for number in range(4097):
        keys._keep(Secret("literal", str(number)), module._Held(f"sk-{number:06}", 0.0))

    assert (len(keys._known), len(keys._held)) == (4096, 4096)


def test_variables_are_withheld_besides_those_of_secrets() -> None:
    keys = Credentials({"A": "1", "B": "2", "C": "3"})
    keys.withhold([Secret("env", "A")], ["B"])
    assert keys.environment() == {"C": "3"}


def test_a_value_that_is_known_again_is_not_searched_for_anew() -> None:
    keys = knowing("sk-first-0001")
    cover = keys.cover()
    keys._keep(LITERAL, module._Held("", 0.0, failed="no"))  # a failure adds none
    got(keys, Secret("literal", "sk-first-0001"))

    assert keys.cover() is cover
    assert set(keys._known) == {"sk-first-0001"}


def test_those_who_wait_share_one_reading(run: Any) -> None:
    started, keys = run(Process(b"sk-shared-0001")), Credentials({})

    async def both() -> None:
        await asyncio.gather(keys.ready(COMMAND), keys.ready(COMMAND))

    asyncio.run(both())
    assert len(started) == 1


def test_a_reading_that_is_cancelled_is_forgotten(run: Any) -> None:
    run(Process(code=None))
    keys, slow = Credentials({}), replace(COMMAND, timeout=60.0)
    failures: list[dict[str, Any]] = []

    async def story() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(context))
        waits = asyncio.create_task(keys.ready(slow))
        while not keys._flights:
            await asyncio.sleep(0)
        keys._flights[slow].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
        await asyncio.sleep(0)

    asyncio.run(story())
    assert (keys._flights, failures) == ({}, [])


def test_a_reading_that_has_ended_is_forgotten() -> None:
    keys = Credentials({})

    async def story() -> None:
        await keys.ready(LITERAL)
        with contextlib.suppress(KeyUnavailable):
            await keys.ready(Secret("env", "NONE"))
        await asyncio.sleep(0)
        assert keys._flights == {}

    asyncio.run(story())


# -- commands, without a process --------------------------------------------------------------------------------------


class Process:
    """A child process that prints *chunks*, then ends with *code*; None: it does not end until it is killed."""

    pid = 4242

    def __init__(self, *chunks: bytes, code: int | None = 0) -> None:
        self.stdout = self
        self._chunks = chunks
        self._code = code

    def start(self) -> None:
        self._left = [*self._chunks, b""]
        self.killed: list[tuple[int, int]] = []
        self.waits = 0

    async def read(self, size: int) -> bytes:
        assert size == 65536
        return self._left.pop(0)

    async def wait(self) -> int:
        self.waits += 1
        if self._code is None and not self.killed:
            await asyncio.Event().wait()
        return self._code or 0

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Process | OSError], list[tuple[tuple[str, ...], dict[str, Any]]]]:
    """Return a function that puts a process in the place of every command, and returns how commands are started."""

    def put(process: Process | OSError) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
        started: list[tuple[tuple[str, ...], dict[str, Any]]] = []

        async def start(*argv: str, **more: Any) -> Process:
            started.append((argv, more))
            if isinstance(process, OSError):
                raise process
            return process

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
        if isinstance(process, Process):
            process.start()
            monkeypatch.setattr(os, "killpg", process.kill)
        return started

    return put


COMMAND = Secret("cmd", argv=("vault", "read", "sk-argument"), ttl=60.0, timeout=0.001)
KILLED = [(4242, 9)]


def test_a_command_is_started_in_a_session_of_its_own_without_input(run: Any) -> None:
    started = run(Process(b"sk-from-", b"a-vault\n"))

    assert got(Credentials({"A": "b"}), COMMAND) == "sk-from-a-vault"
    [(argv, more)] = started
    assert argv == COMMAND.argv
    nowhere = asyncio.subprocess.DEVNULL
    assert more == {
        "env": {"A": "b"},
        "stdin": nowhere,
        "stdout": asyncio.subprocess.PIPE,
        "stderr": nowhere,
        "start_new_session": True,
    }


@pytest.mark.parametrize(
    ("process", "said", "killed"),
    [
        (Process(b"sk-a", code=3), "exit code 3", []),
        (Process(b"sk-a", code=-9), "exit code -9", []),
        (Process(b"sk-a", code=None), "took longer than 0.001 seconds", KILLED),
        (Process(b"k" * 1_000_000, b"k"), "printed more than 1000000 bytes", KILLED),
        (Process(b"\xff"), "holds no UTF-8 text", []),
        (Process(), "is empty", []),
        (PermissionError(13, "Permission denied"), "Permission denied", []),
        (OSError(), "cannot be started", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_command_does_wrong_is_said_and_it_is_ended(
    run: Any, process: Process | OSError, said: str, killed: list[tuple[int, int]]
) -> None:
    run(process)
    clock = Clock()
    keys = Credentials({}, clock)

    assert refused(keys, COMMAND) == f"cmd vault: {said}"
    if isinstance(process, Process):
        assert process.killed == killed
        assert process.waits >= 1  # none is left as a zombie


def test_a_command_may_print_as_much_as_a_file_may_hold(run: Any) -> None:
    run(Process(b"k" * 1_000_000))

    assert len(got(Credentials({}), COMMAND)) == 1_000_000


@pytest.mark.parametrize("gone", [ProcessLookupError, PermissionError])
def test_a_command_that_cannot_be_killed_is_waited_for_a_moment(
    run: Any, monkeypatch: pytest.MonkeyPatch, gone: type[OSError]
) -> None:
    process = Process(code=None)
    run(process)
    monkeypatch.setattr(module, "KILL_WAIT", 0.0)

    def fails(pid: int, number: int) -> None:
        raise gone

    monkeypatch.setattr(os, "killpg", fails)
    assert refused(Credentials({}), COMMAND) == "cmd vault: took longer than 0.001 seconds"


def test_a_failing_command_keeps_its_last_value_and_is_asked_again_soon(run: Any) -> None:
    clock = Clock()
    keys, started = Credentials({}, clock), run(Process(b"sk-vault-0001"))
    assert got(keys, COMMAND) == "sk-vault-0001"
    asked = len(started)
    started = run(OSError())
    for clock.now, times in ((59.9, 0), (60.0, 1), (64.9, 1), (65.0, 2)):
        assert got(keys, COMMAND) == "sk-vault-0001"
        assert len(started) == times
    assert asked == 1
    assert keys._held[COMMAND].failed == "cmd vault: cannot be started"


# -- logins of tools --------------------------------------------------------------------------------------------------

OVER = 1_800_000_000.0  # seconds since 1970
TOKEN, ACCOUNT = "/tokens/access_token", "/tokens/account_id"


def login(path: Path, token: str, account: str = "acc-1", over: float = OVER) -> tuple[Secret, Secret]:
    """Write a login as a tool does, whole at once; return its secrets."""
    tokens = {"access_token": token, "account_id": account, "expiresAt": over * 1000}
    file = kept(path, json.dumps({"tokens": tokens}))
    return replace(file, pointer=TOKEN, tool="codex"), replace(file, pointer=ACCOUNT, tool="codex")


def test_a_login_that_is_over_is_not_used_and_says_what_renews_it(tmp_path: Path) -> None:
    now = Clock()
    keys, (secret, _) = Credentials(now=now), login(tmp_path / "auth.json", "tok-first")
    now.now = OVER - 1
    assert got(keys, secret) == "tok-first"

    now.now = OVER
    with pytest.raises(KeyUnavailable, match=r"login expired at 2027-01-15 08:00:00 UTC; run `codex` once$"):
        asyncio.run(keys.ready(secret))

    login(tmp_path / "auth.json", "tok-second")
    assert not asyncio.run(keys.refresh(secret))  # another one, and over as well
    login(tmp_path / "auth.json", "tok-third", over=OVER + 3600)
    assert asyncio.run(keys.refresh(secret))
    assert got(keys, secret) == "tok-third"


def test_an_expired_login_is_told_when_the_settings_are_checked(tmp_path: Path) -> None:
    secret, _ = login(tmp_path / "auth.json", "tok-first", over=1_600_000_000)
    wrong = module.unusable(secret, {})

    assert wrong is not None and wrong.absent
    assert str(wrong).endswith("login expired at 2020-09-13 12:26:40 UTC; run `codex` once")
    assert module.unusable(login(tmp_path / "auth.json", "tok-second", over=time.time() + 3600)[0], {}) is None


def test_what_is_wrong_with_a_file_of_several_secrets_is_told_once(tmp_path: Path) -> None:
    both = login(tmp_path / "auth.json", "tok-first", over=1_600_000_000)
    assert [secret for secret, _ in module.faults(both, {})] == [both[0]]
    (tmp_path / "auth.json").unlink()
    assert [secret for secret, _ in module.faults(both, {})] == [both[0]]

    others = Secret("env", "ONE"), Secret("env", "TWO"), Secret("literal", "a-key")
    assert [secret for secret, _ in module.faults(others, {})] == [*others[:2]]


@pytest.mark.parametrize("torn", ["", "{", '{"tokens": {"access_token": "tok-sec'])
def test_a_half_written_login_leaves_the_former_one_in_use(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "auth.json"
    keys, (secret, _) = Credentials(now=lambda: 0.0), login(path, "tok-first")
    assert got(keys, secret) == "tok-first"

    path.write_text(torn)
    assert got(keys, secret) == "tok-first"
    assert not asyncio.run(keys.refresh(secret))

    login(path, "tok-second")
    assert got(keys, secret) == "tok-second"


def test_every_cut_of_a_login_gives_the_former_key_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_REPLACED_WITHIN", 0.0)
    path = tmp_path / "auth.json"
    keys, (secret, _) = Credentials(now=lambda: 0.0), login(path, "tok-first")
    assert got(keys, secret) == "tok-first"
    whole = path.read_text().replace("tok-first", "tok-second")
    for cut in range(len(whole) + 1):
        path.write_text(whole[:cut])
        assert got(keys, secret) == ("tok-second" if cut == len(whole) else "tok-first")


def test_a_tool_that_logs_out_takes_its_login_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPLACED_WITHIN", 0.0)
    path = tmp_path / "auth.json"
    keys, (secret, _) = Credentials(now=lambda: 0.0), login(path, "tok-first")
    assert got(keys, secret) == "tok-first"

    path.write_text("{}")  # whole, without a login
    assert "points at nothing" in refused(keys, secret)
    login(path, "tok-second")
    assert got(keys, secret) == "tok-second"
    path.unlink()
    assert "No such file" in refused(keys, secret)


def test_a_file_that_is_removed_before_it_is_written_anew_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "auth.json"
    keys, (secret, _) = Credentials(now=lambda: 0.0), login(path, "tok-first")
    assert got(keys, secret) == "tok-first"
    path.unlink()

    async def written(seconds: float) -> None:
        login(path, "tok-second")

    monkeypatch.setattr(module.asyncio, "sleep", written)
    assert got(keys, secret) == "tok-second"


def test_a_key_and_its_header_are_of_one_version_of_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "auth.json"
    keys, (key, header) = Credentials(now=lambda: 0.0), login(path, "tok-first", "acc-first")
    read = module._from_file

    def replaced_between(secret: Secret) -> Any:
        found = read(secret)
        if found[0].value == "tok-first":
            login(path, "tok-second", "acc-second")
        return found

    monkeypatch.setattr(module, "_from_file", replaced_between)
    asyncio.run(keys.ready(key, header))

    assert (keys.value(key), keys.value(header)) == ("tok-second", "acc-second")


def test_the_output_of_a_command_is_looked_into(tmp_path: Path) -> None:
    printed = json.dumps({"claudeAiOauth": {"accessToken": "tok-first", "expiresAt": OVER * 1000}})
    secret = replace(shell(f"echo '{printed}'"), pointer="/claudeAiOauth/accessToken", tool="claude")

    assert got(Credentials(now=lambda: 0.0), secret) == "tok-first"
    with pytest.raises(KeyUnavailable, match="run `claude` once"):
        asyncio.run(Credentials(now=lambda: OVER).ready(secret))
    assert "points at nothing" in refused(Credentials(), replace(secret, pointer="/other"))


def test_another_value_is_another_state(tmp_path: Path) -> None:
    keys, secrets = Credentials(now=lambda: 0.0), login(tmp_path / "auth.json", "tok-first")
    asyncio.run(keys.ready(*secrets))
    before = keys.state_of(secrets)
    assert before == keys.state_of(secrets)

    login(tmp_path / "auth.json", "tok-second")
    asyncio.run(keys.ready(*secrets))
    after = keys.state_of(secrets)
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_a_login_whose_file_has_changed_counts_as_replaced_before_it_is_read(tmp_path: Path) -> None:
    keys, secrets = Credentials(now=lambda: 0.0), login(tmp_path / "auth.json", "tok-first")
    asyncio.run(keys.ready(*secrets))
    sent = keys.state_of(secrets)
    assert not keys.is_replaced(secrets, sent)

    login(tmp_path / "auth.json", "tok-second")
    assert keys.is_replaced(secrets, sent)
    asyncio.run(keys.ready(*secrets))
    assert keys.is_replaced(secrets, sent)
    assert not keys.is_replaced(secrets, keys.state_of(secrets))
    asyncio.run(keys.ready(LITERAL))
    assert not keys.is_replaced((LITERAL,), keys.state_of((LITERAL,)))
