"""The words of `patchbay run`."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, strategies as st
from mitmproxy.options import Options
from mitmproxy.tools import cmdline
from mitmproxy.tools.dump import DumpMaster

from patchbay.launch import command_line
from patchbay.launch.command_line import CommandLine, LaunchError, parse


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", CommandLine()),
        ("dump -w x.flows", CommandLine(options=("-w", "x.flows"))),
        ("web --no-web-open-browser", CommandLine("web", ("--no-web-open-browser",))),
        ("console", CommandLine("console")),
        ("--set a=b ~u foo", CommandLine(options=("--set", "a=b", "~u", "foo"))),
        ("-- claude -p hi", CommandLine(command=("claude", "-p", "hi"))),
        ("-- env -- x --help", CommandLine(command=("env", "--", "x", "--help"))),
        ("web -- codex --quiet", CommandLine("web", command=("codex", "--quiet"))),
        ("--look --quiet -- x", CommandLine(command=("x",), look=True, quiet=True)),
        ("-q", CommandLine(quiet=True)),
        ("--config a.yaml --log-format json", CommandLine(config="a.yaml", log_format="json")),
        ("--config=a.yaml --log-format=text", CommandLine(config="a.yaml", log_format="text")),
        ("-w --look", CommandLine(options=("-w", "--look"))),
        ("-h -- x", CommandLine(command=("x",), help=True)),
        ("help", CommandLine(options=())),
    ],
)
def test_words_are_ours_mitmproxys_or_the_commands(words: str, expected: CommandLine) -> None:
    assert parse(words.split()) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("webb", "'webb' is none of dump, web, console; did you mean web?"),
        ("zzz", "'zzz' is none of dump, web, console"),
        ("sh -c x", "'sh' is none of dump, web, console; to run it behind Patchbay:  patchbay run -- sh -c x"),
        ("--", "there is no command behind --: write it there, or leave -- out to run the proxy alone"),
        ("console -- x", "console needs the terminal, and so does the command: use `run web -- …` or `run -- …`"),
        ("--config", "--config needs a value"),
        ("--log-format xml", "--log-format: 'xml' is none of text, json"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(words: str, message: str) -> None:
    with pytest.raises(LaunchError) as failed:
        parse(words.split())

    assert (str(failed.value), failed.value.code) == (message, 2)


@pytest.mark.parametrize(
    ("options", "name", "values"),
    [
        ("--mode regular", "mode", ("regular",)),
        ("--mode=regular", "mode", ("regular",)),
        ("-m regular -m socks5", "mode", ("regular", "socks5")),
        ("-mregular", "mode", ("regular",)),
        ("--set mode=regular", "mode", ("regular",)),
        ("--set=mode=regular", "mode", ("regular",)),
        ("-p 9 --listen-port=8 --set listen_port=7", "listen_port", ("9", "8", "7")),
        ("-p9", "listen_port", ("9",)),
        ("--listen-host ::1", "listen_host", ("::1",)),
        ("--set patchbay_config=a=b", "patchbay_config", ("a=b",)),
        ("--mode", "mode", ("",)),
        ("--anticache -p", "listen_port", ("",)),
        ("-w mode", "mode", ()),
    ],
)
def test_an_option_of_mitmproxy_is_found_in_each_of_its_forms(options: str, name: str, values: tuple[str, ...]) -> None:
    assert CommandLine(options=tuple(options.split())).values(name) == values


WORDS = st.lists(
    st.sampled_from(["--", "-q", "--look", "--config", "--set", "a=b", "web", "-w", "x", "--mode=", "-m", "é ü"])
)


@given(WORDS)
def test_any_words_are_read_or_refused_and_those_of_the_command_stay_as_they_are(words: list[str]) -> None:
    try:
        line = command_line.parse(words)
    except LaunchError:
        return
    assert "--" not in line.options
    if "--" in words and not line.help:
        assert list(line.command) == words[words.index("--") + 1 :]
    line.values("mode")


@pytest.mark.parametrize(
    ("word", "near"), [("--lok", "--look"), ("--queit", "--quiet"), ("--log-fromat", "--log-format")]
)
def test_a_slip_in_an_option_of_ours_is_told(word: str, near: str) -> None:
    with pytest.raises(LaunchError, match=f"{word} is no option of patchbay run; did you mean {near}\\?") as failed:
        parse([word, "--", "claude"])
    assert failed.value.code == 2


def test_no_option_of_mitmproxys_is_taken_for_a_slip() -> None:
    options = Options()

    async def master() -> None:
        DumpMaster(options)  # whose addons add their options

    asyncio.run(master())
    flags = {flag for each in cmdline.mitmdump(options)._actions for flag in each.option_strings}
    assert len(flags) > 50
    for flag in flags - {"-q", "--quiet", "-h", "--help"}:
        assert parse([flag]).options == (flag,)
    assert not [name for name, _ in options.items() if command_line._slip(f"--{name.replace('_', '-')}")]
