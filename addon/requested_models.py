"""
The models that a request may run, by its path, query, headers and body.

`in_usual_place` is cheap. Where a client's rights depend on the models, `anywhere` collects every value that some
server could take for a model's name; unreadable parts make it `hidden`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import field
from fnmatch import fnmatchcase
from unicodedata import normalize
from urllib.parse import unquote

import msgspec

from . import dialects, form_data
from .body import Body, items, members, text_of
from .frozen import dataclass
from .media_types import FORM, media_type
from .values.http import Request

BY_MEMBER = frozenset({"model", "named", "socket", "tuning", "unread"})  # kinds of endpoints whose body names a model
_MAX_DEPTH = 8
_SAFE = ("GET", "HEAD", "OPTIONS")
# Texts run no model; nor, in a nested object, do descriptions of an answer or a tool.
_TEXTS = frozenset(
    {
        "messages", "input", "contents", "content", "system", "instructions", "prompt", "metadata", "response_format",
        "text", "systeminstruction", "system_instruction",
    }
)  # fmt: skip
_DESCRIBES = frozenset(
    {
        "parameters", "input_schema", "inputschema", "schema", "json_schema", "responseschema", "response_schema",
        "responsejsonschema", "parametersjsonschema", "properties", "function", "functiondeclarations",
        "function_declarations", "custom", "examples", "arguments",
    }
)  # fmt: skip
_NAMES = (
    "model", "models", "fallback", "fallbacks", "model_id", "model_ids", "modelid", "modelids", "model_name",
    "model_names", "modelname", "modelnames",
)  # fmt: skip
_SWITCHES = ("fallback", "fallbacks")  # OpenRouter's `allow_fallbacks: false` names nothing
_MAY_BE_NAMES = (b'"', b"[", b"{")
# Headers in which gateways read models: a name, a routing parameter, settings in JSON.
_NAMES_ONE = re.compile(r"(?:^|-)models?(?:-|$)")
_ROUTING = "x-goog-request-params"
_STORED_SETTINGS = "x-portkey-config"
_SETTINGS = ("-config", "-fallbacks", "-targets", "-override", "-overrides", "-params")
# Members that name a preset with a model; the preset's name needs the same right as a model's.
_STANDS_FOR = frozenset({"agent", "agent_id", "assistant_id", "preset", "deployment", "deployment_id", "engine"})
# Letters that hide a name: escaped letters, and the two that some JSON readers take for `s` and `k`.
_ESCAPED = re.compile(rb"\\u(?:00[4-7]|017f|212a)", re.IGNORECASE)
_FOLDED = "\u017f".encode(), "\u212a".encode()
# Members that may name a model, whose object is then read in full.
_MAY_NAME = re.compile(rb'(?:models?|model_?ids?|model_?names?|fallbacks?)[^"]{0,6}"\s*:\s*["\[{]', re.IGNORECASE)
_PIECES = re.compile(r"[\[\].]")  # of the name of a field: `model[0]`, `extra[model]`, `extra.model`
_IN_PATH = frozenset({"models", "model", "tunedmodels", "engines", "engine", "deployments", "deployment", "endpoints"})
_NO_MODELS = frozenset({"openapi", "count-tokens"})  # Vertex has these in the place of a model
_PREFIX = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/[^/]+/)?models/")
_SIZE = re.compile(r"\[(\d+[km])\]", re.IGNORECASE)
_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RequestedModels:
    """
    The models a request may run. *model* picks the account and its lane; *others* are all the rest.

    *hidden* says why there may be more (empty: there are none); *unreadable*: nor is known which accounts serve them.
    """

    model: str = ""
    others: tuple[str, ...] = ()
    hidden: str = ""
    unreadable: bool = False

    @property
    def all(self) -> tuple[str, ...]:
        return (self.model, *self.others) if self.model else self.others


def in_usual_place(request: Request) -> RequestedModels:
    """Return the one model of *request* in the usual place, where its path means one."""
    return RequestedModels(unquote(request.endpoint.model) or in_body(request))


def in_body(request: Request) -> str:
    """Return the member, or the form field, `model` of the body of *request*; empty where its path means none."""
    if request.endpoint.model_source not in BY_MEMBER:
        return ""
    name, raw = request.body.text("model"), request.body.raw
    if name or not raw or request.endpoint.model_source != "model" or request.body.is_object:
        return name
    kind = request.headers.get("content-type")
    return form_data.value(raw, kind, "model") if form_data.is_form(kind) else ""


def anywhere(request: Request) -> RequestedModels:
    """Return every model that *request* may run, wherever it is named."""
    endpoint, found = request.endpoint, _FoundModels()
    upgrades = bool(request.headers.get("upgrade").strip())
    if endpoint.model_source == "nothing" and not upgrades:
        if request.method not in _SAFE:  # the path names the model that is changed or deleted
            found.names |= dict.fromkeys(_named_by_segments(request.path.partition("?")[0]))
        return _named("", found)
    match endpoint.model_source:
        case "batch":
            _batch(request.body, found)
        case "file":
            found.cannot_read("it names its models in a file")
        case "tuning":
            _body(request, found)
            found.hide("training may run models that it does not name")
        case "model":
            _body(request, found)
            if not (found.names or endpoint.model):
                found.hide("it names none")
        case "named" if request.body.raw != b"":
            _body(request, found)
        case "unread" if request.method not in _SAFE:
            inside = _FoundModels()  # a body of any form: nothing in it is hidden or unreadable
            _body(request, inside)
            found.names |= inside.names
            found.hide("the endpoint is unknown")
        case _:
            pass
    if dialects.of(endpoint.dialect).hides_models(endpoint.suffix, request.body.raw or b""):
        found.hide("it may name models in a file")
    found.take_path(request)
    found.take_headers(request)
    if upgrades and endpoint.model_source != "socket":
        (found.hide if found.names else found.cannot_read)("messages of this WebSocket are not read")
    return _named(in_usual_place(request).model, found)


def of_message(body: Body, *, creates: bool) -> RequestedModels:
    """Return every model in a client's WebSocket message; a message that *creates* an answer has to name a model."""
    found = _FoundModels()
    found.take_json(body.raw or b"")
    if creates and not found.names:
        found.hide("it names none")
    return _named(body.text("model"), found)


def matches(patterns: Iterable[str], names: Collection[str]) -> bool:
    """Whether one of the shell-style *patterns* matches one of *names*; the size in `claude-x[1m]` is literal."""
    return any(
        pattern in names or any(fnmatchcase(name, _with_sizes(pattern)) for name in names) for pattern in patterns
    )


def _with_sizes(pattern: str) -> str:
    return _SIZE.sub(r"[[]\1]", pattern) if "[" in pattern else pattern


def bare(model: str) -> str:
    """Return *model* without the resource path that Google may write before it."""
    found = _PREFIX.match(model)
    return model[found.end() :] if found else model


@dataclass(slots=True)
class _FoundModels:
    """Collects models; *names* keep their order."""

    names: dict[str, None] = field(default_factory=dict)
    taken: int = 0  # names so far, repeated ones included
    hidden: str = ""
    unreadable: bool = False

    def hide(self, why: str) -> None:
        self.hidden = self.hidden or why

    def cannot_read(self, why: str) -> None:
        self.hide(why)
        self.unreadable = True

    def take(self, name: str) -> None:
        """Take the model *name*, or several with commas between them, which gateways run together."""
        if name:
            self.names |= dict.fromkeys((name, *filter(None, map(str.strip, name.split(",")))))
            self.taken += 1

    def take_path(self, request: Request) -> None:
        path, _, query = request.path.partition("?")
        self.take(unquote(request.endpoint.model))
        if request.endpoint.model_source != "socket":
            self.names |= dict.fromkeys(_named_by_segments(path))
        if query:
            self.take_fields(form_data.urlencoded(query))

    def take_headers(self, request: Request) -> None:
        for name in request.headers.names():
            if name == _ROUTING:
                self.take_fields(
                    tuple(pair for value in request.headers.all(name) for pair in form_data.urlencoded(value))
                )
            elif _NAMES_ONE.search(name.replace("_", "-")):
                for value in request.headers.all(name):
                    self.take(value.strip())
            elif name == _STORED_SETTINGS:
                self.hide("a header names settings that may name more")
            elif name.endswith(_SETTINGS) and any("model" in value.lower() for value in request.headers.all(name)):
                self.hide("a header may name more")

    def take_fields(self, fields: tuple[form_data.Field, ...]) -> None:
        """Take the models of *fields* of a form or a query; a list in JSON cannot be read."""
        for name, value in fields:
            if _field_names_model(name):
                self.take(value)
                self.take(unquote(value))
                if value.lstrip()[:1] in ("[", "{"):
                    self.cannot_read("a model is named in a way that cannot be read")

    def take_json(self, raw: bytes) -> None:
        try:
            self.walk(members(raw), 0)
        except ValueError as e:
            self.cannot_read(str(e))

    def walk(self, inside: dict[str, bytes], depth: int) -> None:
        """Take the models of the members *inside*. Raises ValueError where a member stands twice."""
        for name, raw in inside.items():
            word = _loosest_word(name)
            if word.endswith(_SWITCHES) and raw[:1] not in _MAY_BE_NAMES:
                continue
            if word.endswith(_NAMES) or (depth == 0 and word in _STANDS_FOR):
                self.take_value(raw, depth)
            elif word in _TEXTS or (depth and word in _DESCRIBES):
                continue
            elif raw[:1] in (b"{", b"[") and (_MAY_NAME.search(raw) or _hides_letters(raw)):
                self.enter(raw, depth)

    def take_value(self, raw: bytes, depth: int) -> None:
        if raw[:1] == b"[":
            for item in items(raw):
                self.take_value(item, depth)
        elif raw[:1] == b"{":
            before = self.taken
            self.enter(raw, depth)
            if self.taken == before:
                self.cannot_read("a model is named in a way that cannot be read")
        elif raw[:1] == b'"':
            self.take(text_of(raw))
        elif raw != b"null":
            self.cannot_read("a model is named in a way that cannot be read")

    def enter(self, raw: bytes, depth: int) -> None:
        if depth >= _MAX_DEPTH:
            self.cannot_read("it is nested too deeply")
        elif raw[:1] == b"[":
            for item in items(raw):
                if item[:1] in (b"{", b"["):
                    self.enter(item, depth + 1)
        else:
            self.walk(members(raw), depth + 1)


def _hides_letters(raw: bytes) -> bool:
    return (b"\\u" in raw and bool(_ESCAPED.search(raw))) or any(letter in raw for letter in _FOLDED)


def _named(first: str, found: _FoundModels) -> RequestedModels:
    first = first or next(iter(found.names), "")
    return RequestedModels(first, tuple(name for name in found.names if name != first), found.hidden, found.unreadable)


def _loosest_word(name: str) -> str:
    return name.strip("\0 \t\r\n\f\v").casefold()


def _field_names_model(name: str) -> bool:
    word = _loosest_word(normalize("NFKC", unquote(unquote(name))))  # it may be encoded twice, or indexed
    pieces = {word, *map(_loosest_word, _PIECES.split(word.replace("-", "_")))}
    return any(piece.endswith(_NAMES) or piece in _STANDS_FOR for piece in pieces if piece)


def _body(request: Request, found: _FoundModels) -> None:
    kinds = request.headers.all("content-type")
    kind = media_type(kinds[0]) if kinds else ""
    raw = request.body.raw
    if raw is None:
        found.cannot_read("its body is not read")
    elif len(kinds) > 1 or "," in kind:
        found.cannot_read("it has two content types")
    elif kind.startswith("multipart/"):
        _form(raw, kinds[0], found)
    else:
        if kinds and any(charset.lower() not in _CHARSETS for charset in _CHARSET.findall(kinds[0])):
            found.cannot_read("its charset is none of JSON's")
        if kind == FORM:
            found.take_fields(form_data.urlencoded(raw.decode("utf-8", "replace")))
        if kind != FORM or not found.names or request.body.is_object:
            found.take_json(raw)


def _form(raw: bytes, content_type: str, found: _FoundModels) -> None:
    try:
        fields = form_data.multipart(raw, content_type)
    except ValueError as e:
        found.cannot_read(str(e))
        return
    found.take_fields(fields)
    if any(not value and _field_names_model(name) for name, value in fields):  # a file, for some servers
        found.cannot_read("a model is named in a way that cannot be read")


def _batch(body: Body, found: _FoundModels) -> None:
    try:
        outer = members(body.raw or b"")
        requests = items(outer.pop("requests", b""))
        if any(name.casefold() == "requests" for name in outer):
            raise ValueError("the body holds a member twice")
        for each in requests:
            if model := _simple_model(each):
                found.take(model)
            else:
                _one_of_batch(members(each), found)
    except ValueError as e:
        found.cannot_read(str(e))
        return
    if not requests:
        found.cannot_read("it names none")


class _Params(msgspec.Struct):
    model: str


class _One(msgspec.Struct):
    params: _Params


_ONE = msgspec.json.Decoder(_One)


def _simple_model(each: bytes) -> str:
    # the fast path, as requests may be many: named once, and nothing escaped
    lower = each.lower()
    is_named_once = lower.count(b"model") == 1 == lower.count(b'"params"') and b"fallback" not in lower
    if not is_named_once or _hides_letters(lower):
        return ""
    try:
        return _ONE.decode(each).params.model
    except msgspec.MsgspecError:
        return ""


def _one_of_batch(each: dict[str, bytes], found: _FoundModels) -> None:
    params = members(each.get("params", b""))
    if not (params.get("model", b"")[:1] == b'"' and text_of(params["model"])):
        raise ValueError("a request of the batch names no model")
    found.walk(params, 1)
    for name, raw in each.items():
        if _loosest_word(name) == "params" and name != "params":
            raise ValueError("the body holds a member twice")
        if name != "params" and _loosest_word(name).endswith(_NAMES):
            found.take_value(raw, 1)


def _named_by_segments(path: str) -> Iterator[str]:
    segments = [unquote(segment) for segment in path.split("/") if segment]
    for place, segment in enumerate(segments[:-1]):
        named = segments[place + 1].partition(":")[0]
        if segment.casefold() in _IN_PATH and named not in _NO_MODELS:
            yield named
