"""Where the proxy listens for a command."""

from __future__ import annotations

import pytest

from patchbay.launch.command_line import CommandLine, LaunchError
from patchbay.launch.listeners import MODE, Listeners, beside_command, defaults
from patchbay.launch.proxy_variables import OuterProxy

HERE = ("--listen-host", "127.0.0.1")


def line(options: str = "", *, look: bool = False) -> CommandLine:
    return CommandLine(options=tuple(options.split()), look=look)


def beside(options: str, *modes: str, outer: OuterProxy | None = None) -> Listeners:
    return beside_command(line(options), modes, lambda count: list(range(7001, 7001 + count)), outer)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ("--mode", MODE, *HERE)),
        ("-w x", ("--mode", MODE, *HERE)),
        ("--mode regular", HERE),
        ("--mode=regular", HERE),
        ("-m regular", HERE),
        ("--set mode=regular", HERE),
        ("--listen-host 0.0.0.0", ("--mode", MODE)),
        ("--set listen_host=0.0.0.0", ("--mode", MODE)),
    ],
)
def test_alone_it_listens_for_every_provider_on_this_machine_unless_the_user_says_otherwise(
    options: str, expected: tuple[str, ...]
) -> None:
    assert defaults(line(options)) == expected


def test_who_only_looks_has_a_proxy() -> None:
    assert defaults(line(look=True)) == ("--mode", "regular", *HERE)


@pytest.mark.parametrize(
    ("options", "modes", "expected"),
    [
        ("", (MODE,), Listeners(("--listen-port", "7001", "--mode", MODE, *HERE), base="http://127.0.0.1:7001")),
        ("", ("regular",), Listeners(("--listen-port", "7001", "--mode", "regular", *HERE), proxy="http://127.0.0.1:7001")),
        ("", (MODE, "regular"),
         Listeners(("--listen-port", "7001", "--mode", MODE, "--mode", "regular@7002", *HERE),
                   "http://127.0.0.1:7001", "http://127.0.0.1:7002")),
        ("-p 9", (MODE,), Listeners(("--mode", MODE, *HERE), base="http://127.0.0.1:9")),
        ("--mode reverse:http://127.0.0.1:5", ("regular",),
         Listeners(("--listen-port", "7001", *HERE), base="http://127.0.0.1:7001")),
        ("--mode regular@8 --mode reverse:https://x@[::1]:9", (MODE,),
         Listeners(("--listen-port", "7001", *HERE), "http://[::1]:9", "http://127.0.0.1:8")),
        ("--listen-host 0.0.0.0", (MODE,), Listeners(("--listen-port", "7001", "--mode", MODE), "http://127.0.0.1:7001")),
        ("--listen-host ::1", (MODE,), Listeners(("--listen-port", "7001", "--mode", MODE), "http://[::1]:7001")),
    ],
)  # fmt: skip
def test_a_command_is_told_where_it_listens(options: str, modes: tuple[str, ...], expected: Listeners) -> None:
    assert beside(options, *modes) == expected


def test_requests_leave_through_the_proxy_of_the_network() -> None:
    found = beside("", "regular", outer=OuterProxy("http://corp:3128", "HTTPS_PROXY"))

    assert found.options[:4] == ("--listen-port", "7001", "--mode", "upstream:http://corp:3128")
    assert found.proxy == "http://127.0.0.1:7001"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--mode socks5", "a command reaches no proxy in the mode socks5"),
        ("-p x", "the port 'x' is none of 1 to 65535"),
    ],
)
def test_what_no_command_can_use_is_refused(options: str, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        beside(options, MODE)
