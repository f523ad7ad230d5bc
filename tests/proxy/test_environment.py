"""What is wrong around the settings is said by its setting and its place, and never with a key."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from patchbay.cli.main import main
from patchbay.proxy import environment
from patchbay.proxy.release import CALLED
from patchbay.settings import reader
from patchbay.store import DEFAULT_FILE

KEY = "sk-0123456789abcdef0123456789"


def settings(folder: Path, key: str, more: str = "", where: str = "accounts: [{id: one, provider: generic,") -> str:
    state = "" if "state:" in more else f"state: {folder / 'state'}\n"
    client = (
        "\naccounts: [{id: one, provider: generic, base_url: reverse, key: example-one}]" if "clients" in where else ""
    )
    tail = f" key: {key}}}]{client}" if "clients" in where else f" base_url: reverse, key: {key}}}]"
    return f"{state}{more}{where}{tail}\n"


def problems(folder: Path, text: str, **env: str) -> list[tuple[str, str]]:
    loaded = reader.load(text, "config.yaml", env=env)
    return [(found.kind, found.text) for found in environment.problems(loaded, env)]


def a_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_text(text)
    path.chmod(mode)
    return path


def a_fifo(folder: Path) -> Path:
    os.mkfifo(folder / "key", 0o600)
    return folder / "key"


def a_folder(folder: Path) -> Path:
    (folder / "key").mkdir(mode=0o700)
    return folder / "key"


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (lambda folder: folder / "nope", "absent", "No such file or directory"),
        (lambda folder: a_file(folder, KEY) / "below", "wrong", "Not a directory"),
        (a_fifo, "wrong", "is no ordinary file"),
        (a_folder, "wrong", "is no ordinary file"),
        (lambda folder: a_file(folder, KEY, 0o644), "wrong", "chmod 600"),
        (lambda folder: a_file(folder, ""), "wrong", "is empty"),
        (lambda folder: a_file(folder, f'"{KEY}"\n'), "wrong", "stands in quotes"),
        (lambda folder: a_file(folder, f"'{KEY}'"), "wrong", "stands in quotes"),
        (lambda folder: a_file(folder, f"{KEY} {KEY}"), "wrong", "one line of visible ASCII"),
        (lambda folder: a_file(folder, f'{{"key": "{KEY}"}}'), "wrong", "holds JSON"),
    ],
)
def test_a_file_with_a_key_is_looked_at(tmp_path: Path, make: Callable[[Path], Path], kind: str, told: str) -> None:
    """T16, R18: a file that is missing is said, and one that cannot be used is a mistake."""
    path = make(tmp_path)
    [(found, text)] = problems(tmp_path, settings(tmp_path, f"'file:{path}'"))

    assert found == kind
    assert text.startswith("config.yaml:2:") and f"accounts[0].key: file:{path}: " in text
    assert told in text
    assert KEY not in text


def test_what_can_be_used_is_no_problem(tmp_path: Path) -> None:
    path = a_file(tmp_path, f"{KEY}\n")

    assert problems(tmp_path, settings(tmp_path, f"file:{path}")) == []
    assert problems(tmp_path, settings(tmp_path, "env:MINE"), MINE=KEY) == []
    assert problems(tmp_path, settings(tmp_path, "{cmd: [sh, -c, 'exit 1']}")) == []


@pytest.mark.parametrize("quote", ["'", '"', "`"])
def test_a_key_in_quotes_in_a_variable_is_a_mistake(tmp_path: Path, quote: str) -> None:
    """T16: as `docker run --env-file` hands it over."""
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "env:MINE"), MINE=f"{quote}{KEY}{quote}")

    assert (kind, KEY in text) == ("wrong", False)
    assert "accounts[0].key: env:MINE: stands in quotes" in text


@pytest.mark.parametrize("written", [f"'\"{KEY}\"'", f"\"'{KEY}'\"", f"'`{KEY}`'"])
def test_a_key_in_quotes_in_the_file_itself_is_a_mistake(tmp_path: Path, written: str) -> None:
    """T16"""
    with pytest.raises(reader.ConfigError, match=r"accounts\[0\]\.key: must be the key alone, .*quotes") as e:
        problems(tmp_path, settings(tmp_path, written))

    assert KEY not in str(e.value)


def test_a_variable_that_is_not_set_is_said_once(tmp_path: Path) -> None:
    loaded = environment.looked_at(reader.load(settings(tmp_path, "env:MINE"), "config.yaml", env={}), {})

    assert ["MINE" in warning for warning in loaded.warnings] == [True]


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    """T16: neither `cmd:` nor `crosstalk.on_incident` is run."""
    text = settings(tmp_path, "{cmd: [no-such-program, word]}", "crosstalk: {on_incident: [no-such-other, word]}\n")

    assert problems(tmp_path, text) == [
        ("absent", "config.yaml:3:65: accounts[0].key: cmd no-such-program: there is no such program"),
        ("absent", "config.yaml:2:26: crosstalk.on_incident: cmd no-such-other: there is no such program"),
    ]


def test_an_account_that_is_not_enabled_is_left_alone(tmp_path: Path) -> None:
    text = settings(tmp_path, "file:/nope").replace("id: one,", "id: one, enabled: false,")

    assert problems(tmp_path, text) == []


def test_a_client_without_its_key_stops_a_start(tmp_path: Path) -> None:
    """T16: for without it nobody would be let in."""
    text = settings(tmp_path, "file:/nope", where="clients: [{name: ann,")

    assert [kind for kind, _ in problems(tmp_path, text)] == ["stops"]
    with pytest.raises(ValueError, match=r"config\.yaml:2:.* clients\[0\]\.key: file:/nope: "):
        environment.looked_at(reader.load(text, "config.yaml"), {})


@pytest.mark.parametrize("setting", ["state: {}", "state: {}/below", "journal: {{path: '{}/journal.jsonl'}}"])
def test_a_file_where_a_folder_should_be_stops_a_start(tmp_path: Path, setting: str) -> None:
    """T16"""
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example", setting.format(a_file(tmp_path, "x")) + "\n"))

    assert kind == "stops"
    assert text.startswith("config.yaml:") and "no folder" in text


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("state: {}/state", "state"),
        ("journal: {{path: '{}/a/journal'}}", "journal.path"),
        ("store: 'sqlite:///{}/s'", "store"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str, name: str
) -> None:
    """T16"""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    access = os.access  # which lets root do everything
    monkeypatch.setattr(os, "access", lambda path, mode: not os.path.samefile(path, closed) and access(path, mode))
    [(_, text)] = problems(tmp_path, settings(tmp_path, "example", setting.format(closed) + "\n"))

    assert f" {name}: " in text and "cannot be written to" in text


def test_a_file_system_that_takes_nothing_stops_a_start(tmp_path: Path) -> None:
    """T16: for root as well."""
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example", "state: /proc/1/patchbay\n"))

    assert (kind, text.startswith("config.yaml:1:8: state: ")) == ("stops", True)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
def test_a_state_folder_that_others_may_change_stops_a_start(tmp_path: Path, mode: int) -> None:
    """R18: the key of all ids is in it."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example"))

    assert kind == "stops"
    assert f"chmod go-w {tmp_path / 'state'}" in text


def test_a_key_of_all_ids_that_others_may_read_stops_a_start(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "master.key").write_bytes(bytes(32))
    (tmp_path / "state" / "master.key").chmod(0o644)

    assert [(kind, "chmod 600" in text) for kind, text in problems(tmp_path, settings(tmp_path, "example"))] == [
        ("stops", True)
    ]


def test_looking_makes_nothing(tmp_path: Path) -> None:
    text = settings(tmp_path, "example", f"store: sqlite\njournal: {{path: {tmp_path / 'a' / 'journal'}}}\n")

    assert problems(tmp_path, text) == []
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_looked_at_through_its_variable(tmp_path: Path) -> None:
    (tmp_path / "state.db").mkdir()
    text = settings(tmp_path, "example", "store: env:STORE\n")

    assert problems(tmp_path, text)[0][0] == "stops"
    [(kind, told)] = problems(tmp_path, text, STORE=f"sqlite:///{tmp_path / 'state.db'}")
    assert (kind, "is no ordinary file" in told) == ("wrong", True)


@pytest.mark.parametrize(("key", "code", "told"), [("file:/nope", 0, "warning: "), ("'file:{}'", 1, "")])
def test_check_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, code: int, told: str) -> None:
    """T16, R18: what is missing here may be there elsewhere; what is there and cannot be used is a mistake."""
    file = tmp_path / "config.yaml"
    file.write_text(settings(tmp_path, key.format(a_folder(tmp_path))))

    assert main(["check", str(file)]) == code
    assert capsys.readouterr().err.startswith(f"{told}{file}:2:")


def test_the_file_is_the_one_named_then_the_variable_then_the_one_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    assert environment.settings_file(None) == Path("config.yaml")

    monkeypatch.setenv("PATCHBAY_CONFIG", "/etc/patchbay.yaml")
    assert environment.settings_file(None) == Path("/etc/patchbay.yaml")
    assert environment.settings_file("mine.yaml") == Path("mine.yaml")


# -- the settings file ------------------------------------------------------------------------------------------------


def test_a_settings_file_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"x" * 10)
    monkeypatch.setattr(environment, "_LARGEST", 10)
    assert environment.text_of(path) == b"x" * 10
    path.write_bytes(b"x" * 11)
    with pytest.raises(OSError, match="is larger than 10 bytes") as e:
        environment.text_of(path)

    assert (e.value.errno, e.value.filename) == (errno.EFBIG, str(path))


def test_a_settings_file_may_have_sixteen_mebibytes() -> None:
    assert environment._LARGEST == 16_777_216


@pytest.mark.parametrize(
    ("make", "failure", "said"),
    [
        (a_folder, errno.EISDIR, "is a folder, and the settings are a file"),
        (a_fifo, errno.EINVAL, "is no ordinary file"),
        (lambda folder: Path("/dev/null"), errno.EINVAL, "is no ordinary file"),
        (lambda folder: folder / "none", errno.ENOENT, "No such file or directory"),
    ],
)
def test_what_is_no_settings_file_is_not_read(
    tmp_path: Path, make: Callable[[Path], Path], failure: int, said: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(OSError, match=said) as e:
        environment.text_of(path)

    assert (e.value.errno, str(e.value.filename)) == (failure, str(path))


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_what_a_shell_hands_over_is_read(folder: str) -> None:
    """As in `--set patchbay_config=<(…)`."""
    reading, writing = os.pipe()
    try:
        os.write(writing, b"accounts: []")
        os.close(writing)
        assert environment.text_of(Path(folder) / str(reading)) == b"accounts: []"
    finally:
        os.close(reading)


# -- what is written --------------------------------------------------------------------------------------------------


def test_all_that_is_absent_warns_and_what_stops_is_said_together(tmp_path: Path) -> None:
    text = settings(tmp_path, "file:/nope", "crosstalk: {on_incident: [no-such-other]}\n")
    loaded = reader.load(text, "config.yaml")
    found = environment.looked_at(loaded, {})
    told = [problem.text for problem in environment.problems(loaded, {})]
    assert len(told) == 2 and list(found.warnings) == [*loaded.warnings, *told]

    text = settings(tmp_path, "file:/nope", "state: /dev/null\njournal: {path: /dev}\n")
    with pytest.raises(ValueError, match=r"state: /dev/null is no folder; .*journal\.path: /dev is no ordinary file$"):
        environment.looked_at(reader.load(text, "config.yaml"), {})


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that cannot be written to, with a file and a folder in it that cannot either."""
    path = tmp_path / "closed"
    path.mkdir()
    (path / "file").touch()
    (path / "folder").mkdir()
    access = os.access  # which lets root do everything

    def refuses(what: Path, mode: int) -> bool:
        return not Path(what).is_relative_to(path) and access(what, mode)

    monkeypatch.setattr(os, "access", refuses)
    return path


SHUT, NONE = "{root}/closed cannot be written to", "{root}/closed/file is no folder"


@pytest.mark.parametrize(
    ("below", "folder", "file"),
    [
        ("closed", "the folder {} cannot be written to", "{} is no ordinary file"),
        ("closed/folder", "the folder {} cannot be written to", "{} is no ordinary file"),
        ("closed/file", "{} is no folder", "{} cannot be written to"),
        ("closed/a/b", "{} cannot be made: " + SHUT, "{root}/closed/a cannot be made: " + SHUT),
        ("closed/a", "{} cannot be made: " + SHUT, "the folder " + SHUT),
        ("closed/file/a/b", "{} cannot be made: " + NONE, "{root}/closed/file/a cannot be made: " + NONE),
        ("open", "", "{} is no ordinary file"),
        ("open/a", "", ""),
        ("open/a/b", "", ""),
        ("link", "{} is no folder", ""),
        ("a-file", "{} is no folder", ""),
        ("x" * 300, "{} cannot be used: File name too long", "{} cannot be used: File name too long"),
    ],
)  # fmt: skip
def test_why_a_folder_or_a_file_cannot_be_used(
    tmp_path: Path, closed: Path, below: str, folder: str, file: str
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "a-file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    path = tmp_path / below

    assert environment.unwritable(path) == folder.format(path, root=tmp_path)
    assert environment._file(path) == file.format(path, root=tmp_path)


@pytest.mark.parametrize("path", ["~no-such-user-here/x"])
def test_a_home_that_is_not_there_is_said(path: str) -> None:
    for found in (environment.unwritable(Path(path)), environment._file(Path(path))):
        assert found.startswith(f"{path} cannot be used: ") and "home" in found


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o711])
def test_a_state_folder_that_others_may_only_read_is_no_problem(tmp_path: Path, mode: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)

    assert problems(tmp_path, settings(tmp_path, "example-key")) == []


def test_a_state_folder_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine").chmod(0o777)

    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example-key", "state: ~/mine\n"))
    assert (kind, f"chmod go-w {tmp_path / 'mine'}" in text) == ("stops", True)
    (tmp_path / "mine").chmod(0o700)
    (tmp_path / "mine" / "master.key").write_bytes(b"short")
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example-key", "state: ~/mine\n"))
    assert (kind, "master.key" in text) == ("stops", True)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (PermissionError(13, "Permission denied", "/a/master.key"), "/a/master.key: Permission denied"),
        (OSError("it is odd"), "it is odd"),
        (ValueError("it is short"), "it is short"),
    ],
)
def test_a_key_of_all_ids_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, said: str
) -> None:
    def fails(_: Path) -> bytes:
        raise failure

    monkeypatch.setattr(environment, "master_key", fails)
    assert environment._key(tmp_path) == ""  # it is made
    (tmp_path / "master.key").touch()
    assert environment._key(tmp_path) == said


STORE, LOCKED = "config.yaml:2:8: store: ", "the folder {} cannot be written to"
UNSET = "the environment variable MINE is not set"


@pytest.mark.parametrize(
    ("setting", "env", "found"),
    [
        ("", {}, []),
        ("store: 'sqlite://{}/a'\n", {}, [("wrong", STORE + LOCKED)]),
        ("", {"PATCHBAY_STORE": "sqlite://{}/a"}, [("wrong", "PATCHBAY_STORE: " + LOCKED)]),
        ("store: 'redis://h'\n", {"PATCHBAY_STORE": "sqlite://{}/a"}, []),  # the settings come first
        ("store: env:MINE\n", {"MINE": "sqlite://{}/a"}, [("wrong", STORE + LOCKED)]),
        ("store: env:MINE\n", {}, [("stops", STORE + UNSET)]),
        ("store: env:MINE\n", {"MINE": "redis://h"}, []),
        ("", {"PATCHBAY_STORE": "env:MINE"}, [("stops", "PATCHBAY_STORE: " + UNSET)]),
        ("store: sqlite\n", {}, []),
    ],
)  # fmt: skip
def test_the_store_that_is_named_is_looked_at(
    tmp_path: Path, closed: Path, setting: str, env: dict[str, str], found: list[tuple[str, str]]
) -> None:
    named = {name: value.format(closed) for name, value in env.items()}
    text = settings(tmp_path, "example-key", setting.format(closed))

    assert problems(tmp_path, text, **named) == [(kind, told.format(closed)) for kind, told in found]


@pytest.mark.parametrize(
    ("url", "lacks"),
    [("redis://h", True), ("rediss://h", True), ("env:MINE", True), ("sqlite", False), ("memory", False)],
)
def test_a_store_whose_package_is_missing_is_said_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, lacks: bool
) -> None:
    text = settings(tmp_path, "example-key", f"store: '{url}'\n")
    said = f"{STORE}a redis:// store needs the package redis: pip install 'redis>=5'"

    assert problems(tmp_path, text, MINE="redis://h") == []
    monkeypatch.setitem(sys.modules, "redis", None)
    assert problems(tmp_path, text, MINE="redis://h") == ([("absent", said)] if lacks else [])


def test_the_store_in_a_state_folder_that_cannot_be_used_is_not_said_as_well(closed: Path) -> None:
    text = settings(closed, "example-key", f"state: {closed}\nstore: sqlite\n")

    [(kind, said)] = problems(closed, text)
    assert kind == "stops"
    assert said == f"config.yaml:1:8: state: the folder {closed} cannot be written to; {environment.OTHER_STATE}"


def test_a_store_in_the_state_folder_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setattr(environment, "_file", lambda path: f"{path} is odd")
    [(kind, text)] = problems(tmp_path, settings(tmp_path, "example-key", "store: sqlite\n"))

    assert (kind, text) == ("wrong", f"config.yaml:2:8: store: {state / DEFAULT_FILE} is odd")


HINT = (
    "; name the settings (in mitmproxy: --set patchbay_config=FILE), or set $PATCHBAY_CONFIG, "
    f"or make them: {CALLED} init"
)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (ValueError("it is odd"), "it is odd"),
        (OSError("no file named"), "no file named"),
        (FileNotFoundError(2, "No such file", "/a/config.yaml"), f"no file /a/config.yaml{HINT}"),
        (PermissionError(13, "Permission denied", "/a/config.yaml"), f"/a/config.yaml: Permission denied{HINT}"),
        (PermissionError(13, "Permission denied", "/a/state"), "/a/state: Permission denied"),
        (OSError(5, "", "/a/state"), "[Errno 5] : '/a/state'"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_file_and_for_the_settings_with_what_to_do(
    failure: Exception, said: str
) -> None:
    assert environment.told(failure, Path("/a/config.yaml")) == said


def test_a_folder_without_settings_has_those_of_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PATCHBAY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    here, home = Path("config.yaml"), tmp_path / "home" / "patchbay" / "config.yaml"
    home.parent.mkdir(parents=True)

    assert environment.settings_file(None) == here
    home.touch()
    assert environment.settings_file(None) == home
    assert environment.settings_file("other.yaml") == Path("other.yaml")
    here.touch()
    assert environment.settings_file(None) == here
    monkeypatch.setenv("PATCHBAY_CONFIG", "named.yaml")
    assert environment.settings_file(None) == Path("named.yaml")
