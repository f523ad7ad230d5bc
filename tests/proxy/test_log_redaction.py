"""No key in the log, whoever writes it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from patchbay.proxy.log_redaction import LogRedaction, discreet
from patchbay.proxy.redaction import Redactor

KEY = "sk-live-0123456789abcdef"


def scrub(text: str) -> str:
    return Redactor((KEY,)).scrub(text.encode()).decode()


@pytest.fixture(autouse=True)
def installed() -> Iterator[LogRedaction]:
    before = logging.getLogRecordFactory()
    cover = LogRedaction(scrub)
    cover.install()
    yield cover
    cover.remove()
    assert logging.getLogRecordFactory() is before


def test_a_message_is_covered(caplog: pytest.LogCaptureFixture) -> None:
    """R4: what mitmproxy logs of an upstream's words passes the cover."""
    logger = logging.getLogger("mitmproxy.somewhere")
    logger.warning("Received %s from %r", f"a bad line: {KEY!r}", KEY.encode())
    logger.warning(f"payload: {KEY.encode()!r}")

    assert "0123456789" not in caplog.text
    assert caplog.text.count("removed-by-patchbay") == 3


def test_a_traceback_is_covered(caplog: pytest.LogCaptureFixture) -> None:
    """R4: and so does what an exception says."""
    try:
        raise ValueError(f"cannot parse {KEY}")
    except ValueError:
        logging.getLogger("mitmproxy.somewhere").exception("has crashed")

    assert "0123456789" not in caplog.text
    assert "has crashed" in caplog.text
    assert "ValueError" in caplog.text


def test_other_messages_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("%s of %d", "one", 2)

    assert caplog.records[0].args == ("one", 2)
    assert caplog.messages == ["one of 2"]


def test_a_message_that_does_not_fit_its_arguments_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("%d", KEY)

    assert "0123456789" not in caplog.text


def test_one_that_came_later_is_not_thrown_out(installed: LogRedaction) -> None:
    class Later(logging.LogRecord):
        pass

    before, ours = installed._before, logging.getLogRecordFactory()
    logging.setLogRecordFactory(Later)
    installed.remove()

    assert logging.getLogRecordFactory() is Later
    assert before is not None
    assert ours != before
    logging.setLogRecordFactory(ours)
    installed.remove()
    assert logging.getLogRecordFactory() == ours, "there is nothing to restore any more"
    logging.setLogRecordFactory(before)


def test_a_traceback_without_a_key_is_left_to_its_handler(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("nothing secret")
    except ValueError:
        logging.getLogger("x").exception("has crashed")
    logging.getLogger("x").warning("no exception", exc_info=True)

    assert caplog.records[0].exc_info and caplog.records[0].exc_info[0] is ValueError
    assert caplog.messages == ["has crashed", "no exception"]


def test_records_are_made_by_the_factory_from_before(installed: LogRedaction) -> None:
    """Another program's factory goes on, also behind a second `install`; the present one is restored once."""
    installed.remove()
    plain = logging.getLogRecordFactory()

    class Marked(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Marked)
    try:
        installed.install()
        installed.install()
        made = logging.getLogRecordFactory()("x", logging.INFO, "f", 1, f"key {KEY}", (), None)
        assert isinstance(made, Marked) and KEY not in made.getMessage()
        installed.remove()
        assert logging.getLogRecordFactory() is Marked
    finally:
        logging.setLogRecordFactory(plain)


def test_a_record_that_is_made_after_the_removal_is_still_covered(installed: LogRedaction) -> None:
    """Another factory may have kept ours."""
    kept = logging.getLogRecordFactory()
    installed.remove()

    assert KEY not in kept("x", logging.INFO, "f", 1, KEY, (), None).getMessage()
    installed.remove()


def test_the_bytes_that_mitmproxy_quotes_are_not_shown() -> None:
    quoted = "Received b'a \\'key\\'\nof' and b\"more\""

    assert discreet(f"{quoted} at the end") == "Received (not shown) and (not shown) at the end"
    assert "abcdef" not in discreet("of sk-proj-0123456789abcdefghijklmnop")
    assert discreet("Invalid header") == "Invalid header"
