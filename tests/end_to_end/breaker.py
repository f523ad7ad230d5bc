"""Loaded beside Patchbay: makes the one method named in the file `$BREAK` raise, whichever it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from patchbay import clients, credential_places, destinations, dialects, guards, router
from patchbay.proxy import (
    credentials,
    exchange_driver,
    exchange_log,
    flow_record,
    flow_view,
    hooks,
    request_head,
    response_head,
    upstream_layer,
    upstream_request,
    upstream_stream,
)

_WHICH = Path(os.environ["BREAK"])

# hooks and steps must turn the failure into an answer; what belongs to the host's own machine must at least let
# nothing out
POINTS: dict[str, tuple[Any, str]] = {
    f"{owner.__name__.rpartition('.')[2]}.{name}": (owner, name)
    for owner, names in (
        (guards.Guards, "refusal"),
        (hooks.Patchbay, "_next_lease _has_keys _close _service _router _take _answer _open _router_request _deliver"),
        (exchange_log.ExchangeLog, "opened closed"),
        (request_head, "read passes client guarded endpoint_shown"),
        (response_head, "for_client streams without_private"),
        (router.Router, "open next answered close"),
        (destinations.Destinations, "serves"),
        (
            exchange_driver.ExchangeDriver,
            "wire_request wire_body answered deliver error_response client_left",
        ),
        (upstream_request.UpstreamRequest, "copy _with_credential"),
        (exchange_driver, "check_destination"),
        (credentials.Credentials, "ready value scrub"),
        (clients, "identify"),
        (credential_places.KeyHeaders, "form"),
        (credential_places, "without_key"),
        (dialects, "endpoint"),
        (flow_view, "show"),
        (flow_record, "write_decision write_attempts write_served"),
        (upstream_layer, "install"),
        (
            upstream_stream.PatchbayStream,
            "state_wait_for_request_headers state_consume_request_body _send_own_answer"
            " handle_event _handle_event _dispatch _on_the_wire _gated make_server_connection handle_protocol_error"
            " state_wait_for_response_headers state_hold _carry_out _release _abandon _send_again",
        ),
        (upstream_layer.PatchbayLayer, "_handle_event make_stream get_connection event_to_child"),
    )
    for name in names.split()
}
HOOKS = ("requestheaders", "request", "responseheaders", "response", "error")


def _breakable(point: str, sound: Callable[..., Any]) -> Callable[..., Any]:
    def maybe(*args: Any, **kwargs: Any) -> Any:
        if _WHICH.read_text() == point:
            raise RuntimeError("broken on purpose")
        return sound(*args, **kwargs)

    return maybe


def _breakable_hook(name: str, sound: Callable[..., Any]) -> Callable[..., Any]:
    # inside the guard, as a mistake in the hook's own lines would be
    if iscoroutinefunction(sound):

        async def asynchronous(self: hooks.Patchbay, flow: Any) -> None:
            if _WHICH.read_text() == f"hook.{name}":
                raise RuntimeError("broken on purpose")
            await sound(self, flow)

        return hooks._closed_on_failure(asynchronous)

    def synchronous(self: hooks.Patchbay, flow: Any) -> None:
        if _WHICH.read_text() == f"hook.{name}":
            raise RuntimeError("broken on purpose")
        sound(self, flow)

    return hooks._closed_on_failure(synchronous)


for _point, (_owner, _name) in POINTS.items():
    setattr(_owner, _name, _breakable(_point, getattr(_owner, _name)))
for _name in HOOKS:
    setattr(hooks.Patchbay, _name, _breakable_hook(_name, getattr(hooks.Patchbay, _name)))


class Breaker:
    """mitmproxy wants an addon in a script."""

    name = "patchbay-breaker"


addons = [Breaker()]
