"""What a dialect's file says about transcripts: how its requests and answers are read, and its streams put together."""

from __future__ import annotations

from collections.abc import Callable

from ..frozen import dataclass
from ..values.transcript import Transcript
from .members import Json, JsonMembers, error
from .stream_join import StreamJoin


def _request(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    return Transcript(members.text("model"), settings=members.rest())


def _answer(suffix: str, body: Json) -> Transcript:
    members = JsonMembers(body)
    return Transcript(error=error(members), model=members.text("model"), settings=members.rest())


@dataclass(frozen=True, slots=True)
class TranscriptForm:
    """
    *request* and *answer* read one JSON object; they get the endpoint's suffix too.

    *join* puts the events of a stream together into an object that *answer* reads. Unset: members stay as they are.
    """

    request: Callable[[str, Json], Transcript] = _request
    answer: Callable[[str, Json], Transcript] = _answer
    join: type[StreamJoin] = StreamJoin


PLAIN = TranscriptForm()  # of no dialect
