"""The states of a stream, and the events that it may meet in each, as what a Rig does."""

from __future__ import annotations

from patchbay.values.answer import Chunk, End, Head, Overdue
from patchbay.values.decision import Refusal

from .rig import Rig

# -- states ------------------------------------------------------------------------------------------------------------


def connecting(rig: Rig) -> None:
    rig.slow = True
    rig.ask()


def waiting(rig: Rig) -> None:
    rig.ask()


def holding(rig: Rig, status: int = 429) -> None:
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "hold"}
    rig.ask()
    rig.head(status)
    rig.data(b"one")


def holding_a_good_one(rig: Rig) -> None:
    holding(rig, 200)


def settling(rig: Rig) -> None:
    rig.paused = {"patchbay_next"}
    rig.driver.reacts[Head] = "next"
    rig.ask()
    rig.head(429)
    rig.driver.reacts[Head] = "deliver"


def second_attempt(rig: Rig) -> None:
    """With a whole answer kept of the first."""
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "next"}
    rig.ask()
    rig.answers(429, b"kept")
    rig.driver.reacts |= {Head: "deliver", Chunk: "deliver", End: "deliver"}
    rig.hooks.clear()
    rig.driver.told.clear()


def streaming(rig: Rig) -> None:
    rig.ask()
    rig.head()
    rig.data(b"one")


def collecting(rig: Rig) -> None:
    """The client gets an answer in one piece."""
    rig.streams = False
    streaming(rig)


def uploading(rig: Rig) -> None:
    rig.uploads = True
    rig.ask(b"up", ends=False)
    rig.moves = False  # once its head has gone up, a streamed request has no next attempt


def uploaded(rig: Rig) -> None:
    uploading(rig)
    rig.finish()


# -- events ------------------------------------------------------------------------------------------------------------


def answered(rig: Rig) -> None:
    rig.head()
    rig.data(b"two")
    rig.end()


def goes_on(rig: Rig) -> None:
    rig.data(b"two")
    rig.end()


def said_next(rig: Rig) -> None:
    """A whole answer that the driver does not want."""
    rig.driver.reacts |= {Head: "hold", Chunk: "hold", End: "next"}
    rig.answers(503, b"bad")
    rig.driver.reacts |= {Head: "deliver", Chunk: "deliver", End: "deliver"}


def said_next_and_none_is_left(rig: Rig) -> None:
    rig.moves = False
    said_next(rig)


def released(rig: Rig) -> None:
    rig.driver.reacts |= {Chunk: "deliver", End: "deliver"}
    rig.data(b"two")


def dropped(rig: Rig) -> None:
    rig.driver.reacts[Chunk] = "next"
    rig.data(b"two")


def said_cut(rig: Rig) -> None:
    rig.driver.reacts[Chunk] = "cut"
    rig.data(b"two")


def cut_by_its_head(rig: Rig) -> None:
    rig.driver.reacts[Head] = "cut"
    rig.head()


def cut_at_its_end(rig: Rig) -> None:
    rig.driver.reacts[End] = "cut"
    rig.end()


def broken_off(rig: Rig) -> None:
    rig.break_off()


def broken_off_and_none_is_left(rig: Rig) -> None:
    rig.moves = False
    rig.break_off()


def left(rig: Rig) -> None:
    rig.leave()


def time_is_up(rig: Rig) -> None:
    assert rig.timer
    rig.expire(rig.timer[0])


def time_is_up_and_none_is_left(rig: Rig) -> None:
    rig.moves = False
    time_is_up(rig)


def overdue_and_held_on(rig: Rig) -> None:
    rig.driver.reacts[Overdue] = "hold"
    rig.expire("hold")


def overdue_and_next(rig: Rig) -> None:
    rig.driver.reacts[Overdue] = "next"
    rig.expire("hold")


def connected(rig: Rig) -> None:
    rig.connected()


def refused(rig: Rig) -> None:
    rig.slow = False
    rig.refused()


def refused_and_none_is_left(rig: Rig) -> None:
    rig.moves = False
    rig.refused()


def too_late_to_connect(rig: Rig) -> None:
    rig.expire("connect")
    rig.slow = False
    rig.refused()


def left_before_connected(rig: Rig) -> None:
    rig.leave()
    rig.connected()


def found(rig: Rig) -> None:
    rig.go_on()


def none_found(rig: Rig) -> None:
    rig.moves = False
    rig.go_on()


def another_answer(rig: Rig) -> None:
    rig.moves, rig.instead = False, Refusal(503, "none_left", "none is left")
    rig.go_on()


def left_meanwhile(rig: Rig) -> None:
    rig.leave()
    rig.go_on()


def old_answer_goes_on(rig: Rig) -> None:
    goes_on(rig)
    rig.go_on()


def old_answer_goes_on_and_none_is_found(rig: Rig) -> None:
    goes_on(rig)
    none_found(rig)


def upload_goes_on(rig: Rig) -> None:
    rig.send(b"more")


def upload_ends(rig: Rig) -> None:
    rig.finish()
