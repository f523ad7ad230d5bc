"""
The decision about an exchange as rows of a label and its text, for the top of a content view.

It reads the metadata of a flow, which may come from a dump, so every value may be of any type, or missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..accounts import refusals
from ..values import shown_time
from ..values.decision import in_words, session_name
from . import flow_metadata as names, flow_view, incident_files, terminal_lines

Row = tuple[str, str]

_OTHERS = 6  # other accounts that are named
_NAMES, _LONGEST = 20, 80  # names of headers and members, and their characters


def rows(metadata: Mapping[str, Any], *, under_way: bool = False) -> list[Row]:
    """Return the decision in the *metadata* of a flow, if one was made; *under_way*: its exchange has not ended."""
    line = {
        name.removeprefix(names.PREFIX): value
        for name, value in metadata.items()
        if name.startswith(names.PREFIX) and name not in names.BESIDE_THE_LINE
    }
    if "account" not in line:
        return []
    return [(label, text) for label, text in _rows(line, metadata, under_way=under_way) if text]


def of_line(line: Mapping[str, Any]) -> list[Row]:
    """Return the decision in a *line* of the journal: that of an exchange on a WebSocket."""
    return [(label, text) for label, text in _rows(line, {}, under_way=False) if text]


def _rows(line: Mapping[str, Any], metadata: Mapping[str, Any], *, under_way: bool) -> Iterator[Row]:
    yield "account", _account(line)
    yield "others", _others(line, metadata)
    yield from _moves(line)
    yield "session", _session(line, metadata)
    yield "verdict", _verdict(line, metadata)
    yield "tokens", _tokens(line.get("tokens"))
    yield "time", _time(line, under_way=under_way)
    yield "request", _request(line)
    yield "error", _error(names.text(line, "error"))
    yield from _sent(metadata.get(names.EDITS))
    if isinstance(kept := metadata.get(names.KEPT_BYTES), int):
        yield "kept", f"only the first {kept:,} bytes of the answer"


def _account(line: Mapping[str, Any]) -> str:
    account = names.text(line, "account")
    if not account:
        return "none" if line.get("mode") == "serve" else "the client's own: this proxy only looks on"
    placed = in_words(*(names.text(line, name) for name in ("binding", "moved_from", "moved_because")))
    shadow = "not carried out: mode shadow" if line.get("mode") == "shadow" else ""
    return " · ".join(filter(None, (account, placed, names.text(line, "provider"), shadow)))


def _others(line: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    """Return why the other accounts were not taken, where the conversation moved or none served it."""
    answered = line.get("account") and not names.text(line, "error") and _count(line, "status") < 400
    if answered and not names.text(line, "moved_from"):
        return ""
    found = metadata.get(names.CANDIDATES)
    if not isinstance(found, dict):
        return ""
    passed = [f"{name}: {why}" for name, why in found.items() if why and name != line.get("account")]
    more = f"and {len(passed) - _OTHERS} more" if len(passed) > _OTHERS else ""
    return " · ".join(filter(None, (*passed[:_OTHERS], more)))


def _moves(line: Mapping[str, Any]) -> Iterator[Row]:
    attempts = names.records(line.get("attempts"))
    label = "attempts"
    for each in attempts if len(attempts) > 1 else ():
        status, seconds = each.get("status"), _seconds(each.get("seconds"))
        outcome = refusals.kind_words(names.text(each, "outcome")) or "under way"
        yield label, " · ".join(filter(None, (names.text(each, "account"), outcome, str(status or ""), seconds)))
        label = ""


def _session(line: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    name, tier = session_name(names.text(line, "session")), names.text(line, "tier")
    used = [names.text(each, "where") for each in names.records(metadata.get(names.EVIDENCE)) if each.get("used")]
    how = f"by {tier}" if tier else ""
    return " · ".join(filter(None, (name, how + (f" ({used[0]})" if used and how else "")))) if name else ""


def _verdict(line: Mapping[str, Any], metadata: Mapping[str, Any]) -> str:
    kind, echo = names.text(line, "verdict"), names.text(line, "echo")
    parts = []
    if kind in ("crosstalk", "suspect"):
        parts = [kind.upper() if kind == "crosstalk" else kind]
        found = names.records(line.get("findings"))
        whose = session_name(incident_files.victim_session({"victim": line.get("victim"), "findings": found}))
        parts.append(f"victim {names.text(line, 'victim') or 'unknown'}" + (f" of session {whose}" if whose else ""))
        for each in found[:1]:
            where, expected, received = (names.text(each, name) for name in ("where", "expected", "received"))
            parts.append(f"{where}: expected {expected}, received {received}")
        parts += [f"{len(found) - 1} more findings"] if len(found) > 1 else []
    elif kind == "clean":
        parts = ["clean" + (f": the request id came back ({echo})" if echo else "")]
    parts += [flow_view.leaked(each) for each in names.records(metadata.get(names.LEAKED_TO))]
    return " · ".join(parts)


def _tokens(found: object) -> str:
    if not isinstance(found, dict):
        return ""
    prompt, cached, written, out = (_count(found, name) for name in ("prompt", "cached", "cache_write", "completion"))
    share = f"{cached:,} cached ({min(100 * cached // prompt, 100)}%)" if prompt > 0 else ""
    return " · ".join(
        filter(None, (f"{prompt:,} in", share, f"{written:,} written" if written else "", f"{out:,} out"))
    )


def _time(line: Mapping[str, Any], *, under_way: bool) -> str:
    first, whole = _seconds(line.get("first_byte_seconds")), _seconds(line.get("duration_seconds"))
    in_all = f"under way for {whole}" if under_way else whole and f"{whole} in all"
    return " · ".join(filter(None, (first and f"{first} to the first word", in_all)))


def _error(error: str) -> str:
    told = terminal_lines.error_words(error)
    return f"{told} ({error})" if error in terminal_lines.SAID else told


def _request(line: Mapping[str, Any]) -> str:
    status = line.get("status")
    parts = [names.text(line, name) for name in ("model", "tool", "client", "dialect")]
    return " · ".join(filter(None, (*parts, "streamed" if line.get("stream") is True else "", str(status or ""))))


def _sent(edits: object) -> Iterator[Row]:
    """Yield what of the request was changed, by the user and by Patchbay, and so differs on the wire."""
    if not isinstance(edits, dict):
        return
    yield "edited", " · ".join(_changes(edits.get("edited")))
    yield "sent with", " · ".join(_changes(edits))


def _changes(found: object) -> Iterator[str]:
    if not isinstance(found, dict):
        return
    for name in ("model", "path"):
        match found.get(name):
            case [str() as before, str() as after]:
                yield f"{name} {before} → {after}"
    for name in ("headers", "members", "without"):
        values = found.get(name)
        if isinstance(values, list | tuple) and values:
            yield f"{name} {', '.join(str(each)[:_LONGEST] for each in values[:_NAMES])}"


def _count(of: Mapping[str, Any], name: str) -> int:
    found = of.get(name)
    return found if isinstance(found, int) else 0


def _seconds(found: object) -> str:
    if not isinstance(found, int | float):
        return ""
    return f"{found:.2f} s" if found < 10 else shown_time.length_words(found)
