"""
What clients store with a provider: files, batches, containers, conversations, caches. Each belongs to the account that
made it, and nobody else can read, use, cancel or delete it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import echo
from .asking import Mistake
from .reply import mint

if TYPE_CHECKING:
    from .play import Play
    from .routes import Route

# Collection → what its things are called, and how their ids begin.
_OPENAI = {
    "files": ("file", "file-"),
    "batches": ("batch", "batch_"),
    "containers": ("container", "cntr_"),
    "conversations": ("conversation", "conv_"),
    "vector_stores": ("vector_store", "vs_"),
}
_ANTHROPIC = {"files": ("file", "file_"), "batches": ("message_batch", "msgbatch_")}
_REFERENCES = ("file_id", "input_file_id", "container", "cachedContent", "conversation", "fileUri", "file_uri")


class Things:
    """At most *limit* things by id, each with its account; the oldest leave first."""

    def __init__(self, limit: int = 10_000) -> None:
        self._things: OrderedDict[str, tuple[str, dict[str, Any]]] = OrderedDict()
        self._uploads: dict[str, str] = {}
        self._limit = limit

    def make(
        self, account: str, collection: str, dialect: str, seed: str, document: Mapping[str, Any], base: str,
        sent: str = "", echoed: str = "",
    ) -> Any:  # fmt: skip
        """
        Store a new thing for *account* and return what the provider, at *base*, says of it.

        Its id is made from the request's id *sent*, if there is one; it keeps *echoed*.
        """
        thing = dict(_thing(collection, dialect, seed, document, base, sent))
        if echoed:
            thing["request_id"] = echoed
        self._things[str(thing.get("id") or thing["name"])] = (account, thing)
        while len(self._things) > self._limit:
            self._things.popitem(last=False)
        return {"file": thing} if dialect == "gemini" and collection == "files" else thing

    def find(self, name: str, account: str) -> dict[str, Any]:
        """Return the thing *name*. Raises Mistake when *account* has none of that name."""
        owner, thing = self._things.get(name, ("", {}))
        if not thing or owner != account:
            raise Mistake(f"No such thing: '{name}'", "request", status=404)
        return thing

    def drop(self, name: str) -> None:
        """Forget the thing *name*."""
        self._things.pop(name, None)

    def check(self, document: Mapping[str, Any], account: str) -> None:
        """Raise Mistake when *document* refers to a thing of another account than *account*."""
        for name in _references(document):
            if (short := _short(name)) in self._things:
                thing = self.find(short, account)
                if name != short and thing.get("uri") != name:
                    raise Mistake(f"Unsupported file uri: {name}")

    def upload(self, account: str, seed: str) -> str:
        """Begin an upload of *account*; return its id."""
        name = mint("ADPycd", seed, 40)
        self._uploads[name] = account
        return name

    def uploaded(self, name: str, account: str) -> None:
        """End the upload *name*. Raises Mistake when *account* has none of that name."""
        if self._uploads.get(name) != account:
            raise Mistake("Upload session not found", "request", status=404)
        del self._uploads[name]

    def clear(self) -> None:
        """Forget everything."""
        self._things.clear()
        self._uploads.clear()


def answer(things: Things, play: Play, way: Route) -> dict[str, Any]:
    """Return the answer to a request for the collection or the thing that *way* names."""
    account = play.record.account
    if not way.item:
        things.check(play.document, account)
        seed, sent = f"thing {play.record.seq}", echo.made_of(play.echo, play.incoming, play.document)
        echoed, base = play.echoed().body, base_of(play)
        return dict(things.make(account, way.collection, way.dialect, seed, play.document, base, sent, echoed))
    name = f"{way.collection}/{way.item}" if way.dialect == "gemini" else way.item
    thing = things.find(name, account)
    if way.action == "delete":
        things.drop(name)
        return {} if way.dialect == "gemini" else {"id": name, "object": thing.get("object"), "deleted": True}
    if way.action == "cancel":
        return {**thing, "status": "cancelling"}
    return thing


def base_of(play: Play) -> str:
    """Return the address by which the provider was asked."""
    return f"http://{play.incoming.header('host')}"


def _thing(
    collection: str, dialect: str, seed: str, document: Mapping[str, Any], base: str, sent: str
) -> Iterator[tuple[str, Any]]:
    if dialect == "gemini":
        name = f"{collection}/{sent or mint('', seed, 12).lower()}"
        yield "name", name
        if collection == "files":
            yield "uri", f"{base}/v1beta/{name}"
            yield "mimeType", "text/plain"
        yield "model", document.get("model")
        return
    kind, prefix = (_ANTHROPIC if dialect == "anthropic" else _OPENAI)[collection]
    name = f"{prefix}{sent}" if sent else mint(prefix, seed)
    yield "id", name
    yield ("type" if dialect == "anthropic" else "object"), kind
    if collection == "batches" and dialect == "anthropic":
        yield "processing_status", "ended"
        yield "results_url", f"{base}/v1/messages/batches/{name}/results"
    yield "status", "in_progress" if collection == "batches" else "processed"
    yield "input_file_id", document.get("input_file_id")
    if collection == "batches" and dialect != "anthropic":
        yield "output_file_id", mint("file-", seed + " output")


def _references(value: object) -> Iterator[str]:
    """Yield every id in *value* that stands where a thing is referred to."""
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name in _REFERENCES and (found := _name(inner)):
                yield found
            else:
                yield from _references(inner)


def _name(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("id")
    if not isinstance(value, str):
        return ""
    return value


def _short(name: str) -> str:
    return "/".join(name.rsplit("/", 2)[1:]) if "://" in name else name
