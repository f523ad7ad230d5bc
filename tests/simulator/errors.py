"""How each dialect says no: one table of what goes wrong, four shapes in which it is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of error: its status and, per dialect, what names it."""

    status: int
    message: str
    openai: tuple[str, str | None]  # type, code
    anthropic: tuple[int, str]
    gemini: tuple[int, str]


TROUBLES: Mapping[str, Trouble] = {
    "rate": Trouble(
        429,
        "Rate limit reached. Please try again later.",
        ("requests", "rate_limit_exceeded"),
        (429, "rate_limit_error"),
        (429, "RESOURCE_EXHAUSTED"),
    ),
    "quota": Trouble(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        ("insufficient_quota", "insufficient_quota"),
        (402, "billing_error"),
        (402, "RESOURCE_EXHAUSTED"),
    ),
    "overload": Trouble(
        503,
        "The servers are currently overloaded. Please try again later.",
        ("service_unavailable_error", "server_is_overloaded"),
        (529, "overloaded_error"),
        (503, "UNAVAILABLE"),
    ),
    "auth": Trouble(
        401,
        "Incorrect API key provided.",
        ("invalid_request_error", "invalid_api_key"),
        (401, "authentication_error"),
        (400, "INVALID_ARGUMENT"),
    ),
    "permission": Trouble(
        403,
        "You are not allowed to do this.",
        ("invalid_request_error", None),
        (403, "permission_error"),
        (403, "PERMISSION_DENIED"),
    ),
    "model": Trouble(
        404,
        "The model does not exist or you do not have access to it.",
        ("invalid_request_error", "model_not_found"),
        (404, "not_found_error"),
        (404, "NOT_FOUND"),
    ),
    "request": Trouble(
        400,
        "The request is not valid.",
        ("invalid_request_error", None),
        (400, "invalid_request_error"),
        (400, "INVALID_ARGUMENT"),
    ),
    "server": Trouble(
        500,
        "The server had an error while processing your request.",
        ("server_error", None),
        (500, "api_error"),
        (500, "INTERNAL"),
    ),
}
_BY_STATUS = {400: "request", 401: "auth", 402: "quota", 403: "permission", 404: "model", 429: "rate"}
_BY_STATUS |= {503: "overload", 529: "overload", 498: "overload"}


def kind_of(status: int) -> str:
    """Return the kind of error a bare *status* stands for."""
    return _BY_STATUS.get(status, "server" if status >= 500 else "request")


def status_of(kind: str, dialect: str) -> int:
    """Return the status with which *dialect* says *kind*."""
    trouble = TROUBLES[kind]
    return {"anthropic": trouble.anthropic[0], "gemini": trouble.gemini[0]}.get(dialect, trouble.status)


def error(
    dialect: str, kind: str, message: str = "", status: int | None = None, code: str | None = None, own: str = ""
) -> dict[str, Any]:
    """Return the error document of *dialect*; *code* replaces the usual one, *own* is the provider's request id."""
    trouble = TROUBLES[kind]
    text = message or trouble.message
    if dialect == "anthropic":
        inner: dict[str, Any] = {"type": trouble.anthropic[1], "message": text}
        if code:
            inner["details"] = {"error_code": code}
        return {"type": "error", "error": inner, **({"request_id": own} if own else {})}
    if dialect == "gemini":
        return {"error": _google(kind, text, status or trouble.gemini[0], trouble.gemini[1])}
    kind_name, usual = trouble.openai
    return {"error": {"message": text, "type": kind_name, "param": None, "code": code or usual}}


def _google(kind: str, message: str, code: int, status: str) -> dict[str, Any]:
    inner: dict[str, Any] = {"code": code, "message": message, "status": status}
    if kind == "auth":
        inner["details"] = [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
            }
        ]
    if kind == "rate":
        inner["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    return inner
