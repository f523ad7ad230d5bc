"""Everything a provider answers that is no generation: counts, lists, embeddings, stored things, and the rest."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from . import errors, render, things
from .asking import Asked, Mistake, flatten, objects
from .play import Play
from .reply import prompt_tokens, tokens
from .routes import Route
from .steps import Data, End, Head, Script

if TYPE_CHECKING:
    from .provider import Provider

DIMENSIONS = 8


def answer(provider: Provider, play: Play, way: Route) -> Script:
    """Return the answer to a request for a resource."""
    try:
        if way.action == "results":
            return _results(provider, play, way)
        if play.incoming.header("x-goog-upload-protocol") or play.incoming.header("x-goog-upload-command"):
            return _upload(provider, play, way)
        value = _value(provider, play, way)
    except Mistake as mistake:
        return refuse(play, mistake)
    echoed = play.echoed()
    if kept := value.get("request_id"):  # of the request that made what is stored
        echoed = replace(echoed, body=kept)
    return render.document(value, echo=echoed)


def refuse(play: Play, mistake: Mistake) -> Script:
    """Return the error a *mistake* deserves, in the words of its dialect."""
    echoed = play.echoed()
    number = mistake.status or errors.status_of(mistake.kind, play.dialect)
    error = errors.error(play.dialect, mistake.kind, mistake.message, number, mistake.code, echoed.error)
    return render.document(error, number, echoed)


def count(play: Play, asked: Asked) -> Script:
    """Return how many tokens a prompt has, as its dialect says that."""
    total = sum(prompt_tokens(asked.turns))
    value: dict[str, Any] = {"input_tokens": total}
    if asked.dialect == "responses":
        value = {"object": "response.input_tokens", **value}
    if asked.dialect == "gemini":
        value = {"totalTokens": total, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": total}]}
    return render.document(value, echo=play.echoed())


def _value(provider: Provider, play: Play, way: Route) -> dict[str, Any]:
    match way.purpose:
        case "models":
            return _models(provider.setup.models, way)
        case "embed":
            return _embeddings(play, way)
        case "response":
            return _stored(provider, play, way)
        case "thing":
            return things.answer(provider.things, play, way)
        case _:
            return {"ok": True, "path": play.record.path, "method": play.record.method}


def _results(provider: Provider, play: Play, way: Route) -> Script:
    """Return the results of a batch, a line each; the model says an address in one of them."""
    provider.things.find(way.item, play.record.account)
    said = f"{things.base_of(play)}/v1/messages/batches/{way.item}/results"
    content = [{"type": "text", "text": said}]
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content}
    message |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    lines = [json.dumps({"custom_id": f"{n}", "result": {"type": "succeeded", "message": message}}) for n in range(3)]
    data = [Data(line.encode() + b"\n") for line in lines]
    return Head(200, (("Content-Type", "application/x-jsonl"),), sized=False), *data, End()


def _upload(provider: Provider, play: Play, way: Route) -> Script:
    """Begin an upload that goes on at an address of its own, or take what comes there."""
    record, base = play.record, things.base_of(play)
    if play.incoming.header("x-goog-upload-command") == "start":
        name = provider.things.upload(record.account, f"upload {record.seq}")
        url = f"{base}{record.path}?key={record.credential}&upload_id={name}&upload_protocol=resumable"
        return render.document({}, fields=(("X-Goog-Upload-URL", url), ("X-Goog-Upload-Status", "active")))
    if "finalize" not in play.incoming.header("x-goog-upload-command"):
        return render.document({}, fields=(("X-Goog-Upload-Status", "active"),))
    provider.things.uploaded(parse_qs(record.query).get("upload_id", [""])[0], record.account)
    made = provider.things.make(record.account, "files", "gemini", f"thing {record.seq}", {}, base)
    return render.document(made, fields=(("X-Goog-Upload-Status", "final"),))


def _models(models: Sequence[str], way: Route) -> dict[str, Any]:
    if way.item and way.item not in models:
        raise Mistake(f"The model '{way.item}' does not exist", "model")
    if way.item:
        return _model(way.item, way.dialect)
    listed = [_model(name, way.dialect) for name in models]
    if way.dialect == "gemini":
        return {"models": listed}
    if way.dialect == "anthropic":
        return {"data": listed, "has_more": False, "first_id": models[0], "last_id": models[-1]}
    return {"object": "list", "data": listed}


def _model(name: str, dialect: str) -> dict[str, Any]:
    if dialect == "gemini":
        methods = ["generateContent", "countTokens"]
        limits = {"inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}
        return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods, **limits}
    if dialect == "anthropic":
        return {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 1_767_225_600, "owned_by": "simulator"}


def _embeddings(play: Play, way: Route) -> dict[str, Any]:
    document = play.document
    if way.action == "batchEmbedContents":
        contents = [flatten(item.get("content", {}).get("parts")) for item in objects(document.get("requests"))]
        return {"embeddings": [{"values": _vector(text)} for text in contents]}
    if way.action == "embedContent":
        content = document.get("content")
        return {"embedding": {"values": _vector(flatten(content.get("parts") if isinstance(content, dict) else ""))}}
    texts = document.get("input")
    texts = texts if isinstance(texts, list) else [texts]
    packed = document.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": at, "embedding": _packed(flatten(text)) if packed else _vector(flatten(text))}
        for at, text in enumerate(texts)
    ]
    total = sum(tokens(flatten(text)) for text in texts)
    usage = {"prompt_tokens": total, "total_tokens": total}
    return {"object": "list", "data": data, "model": document.get("model"), "usage": usage}


def _vector(text: str) -> list[float]:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=DIMENSIONS).digest()
    return [byte / 128 - 1 for byte in digest]


def _packed(text: str) -> str:
    return base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *_vector(text))).decode()


def _stored(provider: Provider, play: Play, way: Route) -> dict[str, Any]:
    stored = provider.stored.find(way.item, play.record.account)
    if stored is None:
        raise Mistake(f"Response with id '{way.item}' not found.", "request", status=404)
    match way.action:
        case "delete":
            provider.stored.drop(way.item)
            if way.dialect == "interactions":
                return {}
            return {"id": way.item, "object": "response", "deleted": True}
        case "cancel":
            return {**stored.document, "status": "cancelled"}
        case "input_items":
            items = [
                {
                    "id": f"msg_{at}",
                    "type": "message",
                    "role": turn.role,
                    "content": [{"type": "input_text", "text": turn.text}],
                }
                for at, turn in enumerate(stored.turns[:-1])
            ]
            return {"object": "list", "data": items, "has_more": False, "first_id": None, "last_id": None}
        case _:
            return dict(stored.document)
