"""The value that a dialect's file fills in: all that other modules ask about a wire protocol."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import field
from typing import Any

from ..body import Body
from ..frozen import dataclass
from ..values.account import CredentialForm
from ..values.answer import Fact
from ..values.decision import Refusal
from ..values.http import Endpoint
from . import errors
from .order import StreamOrder
from .outcome_rules import OutcomeRule
from .transcript_form import PLAIN, TranscriptForm

Json = dict[str, Any]
Keeps = Callable[[str], bool]  # whether the account can read this sealed content, or verify this signature


@dataclass(frozen=True, slots=True)
class BoundField:
    """
    A *member* of the request body (dotted: one level down) or a *header* whose value belongs to one account.

    The owner is the account whose answer gave the value; with *accepted*, the account that first served a request with
    it. For another account *instead* (JSON) replaces the value; empty: the member goes.
    """

    member: str = ""
    header: str = ""
    instead: bytes = b""
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """
    One wire protocol; a default means that it has no such thing. Paths come without their query.

    *read* and *read_calls* get one event of a stream (its name is never empty), or a whole body (the name is empty).
    """

    name: str
    family: str  # dialects of one family have a pool in common
    vendor: str = ""  # the family, in messages
    event_type: str = ""  # in the journal; empty: the name

    # paths
    endpoint: Callable[[str, str], Endpoint | None]  # by method and path; None: a path of another dialect
    tool_paths: tuple[str, ...] = ()  # prefixes of the paths by which its vendor's tools do anything else than the API
    models_path: str = "/v1/models"  # of the list of models, which costs nothing
    models_headers: Mapping[str, str] = field(default_factory=dict)  # that a request for it needs besides the key
    path_words: frozenset[str] = frozenset()  # in the case that its servers expect
    shared_paths: frozenset[str] = frozenset()  # `/models` and the like below `/v1`, which other dialects have too
    is_marked: Callable[[Container[str], str], bool] = lambda headers, query: False  # only this dialect's clients do so
    names_model_in_path: bool = False
    has_deployments: bool = False  # Azure serves its generations below `/openai/deployments/<model>`

    # requests
    credential_form: CredentialForm = "bearer"
    history: str = "messages"  # the member that holds the conversation
    owning_marks: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)  # by member: bytes that name a resource
    bound_fields: tuple[BoundField, ...] = ()
    without_sealed: Callable[[Body, Keeps], bytes] = lambda body, keeps: body.raw or b""  # without unreadable reasoning
    settings: Callable[[Body | Mapping[str, Any]], dict[str, str]] = lambda data: {}  # that an answer repeats
    adds: Callable[[Body], bool] = lambda body: False  # the provider has the earlier turns: the body holds new ones
    # the id of the answer whose conversation the provider keeps, and goes on with; empty: it is to keep this one
    continued_id: Callable[[Body], str | None] = lambda body: None
    # the members that, an error says, are not those of that conversation
    differing: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda error: ()
    # the id of the answer whose request its provider compares with this one; empty: it asks for that without one
    compared_id: Callable[[Body], str | None] = lambda body: None
    prompt_parts: tuple[str, ...] = ()  # members beside the history that it compares
    model_mode: str = ""  # the member that makes two requests for one model differ in it
    # what asks for that, by member, where the body does not: with the id of the answer before, empty for a first turn
    comparing: Callable[[Body, str], Mapping[str, object]] = lambda body, previous: {}
    # what asks for the count of tokens at a suffix, by member, where the body does not
    counting: Callable[[str, Body], Mapping[str, object]] = lambda suffix, body: {}
    hides_models: Callable[[str, bytes], bool] = lambda suffix, raw: False  # names models where nothing reads them
    opening_message: str = ""  # the `type` of the WebSocket message that opens an exchange
    other_messages: frozenset[str] = frozenset()  # the types of those that need no answer and are known to be safe

    # answers
    read: Callable[[str, Json], Iterator[Fact]]
    read_calls: Callable[[Json], Iterator[Fact]] = lambda data: iter(())  # `called` and `arguments`
    order: type[StreamOrder] = StreamOrder
    terminal: frozenset[str] = frozenset()  # `end` facts of a whole stream ("[DONE]" is the reader's), or "finish"
    is_text: Callable[[str], bool] = lambda suffix: False  # whether answers at a suffix are always JSON or events
    holds_answer: Callable[[str, Json], bool] = lambda suffix, data: True  # whether a good answer's body answers
    streams_array: bool = False  # a JSON array in an answer is a stream of its elements
    stores_answers: bool = False  # an account keeps its answers, and their ids and signatures are good nowhere else
    splits_answers: bool = False  # text and calls of one answer come back as turns of their own
    has_shape: Callable[[Json], bool] = lambda data: False  # whether an object bears a mark that no other dialect has
    other_shapes: Mapping[str, Callable[[Json], bool]] = field(default_factory=dict)
    answer_shape: Callable[[str], str] = lambda suffix: ""  # the shape of an answer at a suffix; empty: several

    # for readers
    transcript: TranscriptForm = PLAIN

    # errors
    outcome_rules: tuple[OutcomeRule, ...] = ()  # codes and phrases of its servers; the first that fits decides
    error: Callable[[Refusal, str], bytes]  # the body; with the request's id
    error_event: Callable[[Refusal, str], bytes]  # the event or events that end a stream
    error_headers: Callable[[Refusal], list[tuple[str, str]]] = errors.headers
    quota_status: int = 429  # of "every account is out of credit"
