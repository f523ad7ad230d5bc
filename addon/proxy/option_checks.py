"""Options of mitmproxy that would expose keys: refused at the start and at a change, or warned about."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping

from mitmproxy import ctx
from mitmproxy.options import Options
from mitmproxy.proxy import mode_specs
from mitmproxy.utils import human

from ..settings.settings import Config
from ..values.http import is_loopback

logger = logging.getLogger(__name__)

WATCHED = frozenset(
    {"ssl_insecure", "proxy_debug", "stream_large_bodies", "listen_host", "mode", "keep_host_header",
     "validate_inbound_headers", "emudhra", "emudhra_old"}
)  # fmt: skip
_KEY_LOGS = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")


def check(settings: Config) -> None:
    """Raise ValueError, saying what to do, when mitmproxy's options and *settings* together expose keys."""
    for mistake in refused(ctx.options, settings):
        raise ValueError(mistake)


def warn(env: Mapping[str, str] = os.environ) -> None:
    """Log what exposes keys but may be intended."""
    for warning in (*_logged_sessions(env), *_open_doors(ctx.options), *_as_root(os.geteuid())):
        logger.warning("patchbay: %s", warning)


def refused(options: Options, settings: Config) -> Iterator[str]:
    """Yield what is refused, each with what to do instead."""
    if options.ssl_insecure:
        yield (
            "ssl_insecure would send keys to any server that answers; turn it off, and for a CA "
            "of your own set ssl_verify_upstream_trusted_ca"
        )
    if options.proxy_debug:
        yield "proxy_debug writes the bytes on the wire to the log, and the keys are among them; turn it off"
    large = human.parse_size(options.stream_large_bodies)
    if large is not None and large < settings.limits.body:
        yield (
            f"stream_large_bodies={options.stream_large_bodies} would let bodies pass unread; leave it out, or set "
            f"limits.body to {large} or less"
        )
    if not settings.clients and not settings.looks:
        for host in _reachable(options):
            yield (
                f"it would listen on {host or 'every interface'}, and every machine that reaches it could use "
                "the accounts; give every client a key (clients: in the settings), or listen on 127.0.0.1"
            )


def _reachable(options: Options) -> Iterator[str]:
    """Yield the addresses beyond this machine on which a listener was asked for."""
    for text in options.mode:
        mode = mode_specs.ProxyMode.parse(text)
        if isinstance(mode, mode_specs.LocalMode | mode_specs.WireGuardMode | mode_specs.TunMode):
            continue  # programs of this machine, or peers with a key
        host = mode.listen_host(options.listen_host)
        if not is_loopback(host):
            yield host
            return


def _logged_sessions(env: Mapping[str, str]) -> Iterator[str]:
    for name in _KEY_LOGS:
        if env.get(name):
            yield f"{name} is set: with that file every key in a recording of the traffic can be read"


def _open_doors(options: Options) -> Iterator[str]:
    behind = any(isinstance(mode_specs.ProxyMode.parse(text), mode_specs.ReverseMode) for text in options.mode)
    if behind and not options.keep_host_header:
        yield "keep_host_header is off: a page in your browser may reach the proxy under any name (DNS rebinding)"
    if not options.validate_inbound_headers:
        yield "validate_inbound_headers is off: ambiguous requests are accepted"
    for name in ("emudhra", "emudhra_old"):  # from mitmproxy 12.3 on
        if getattr(options, name, False):
            yield (
                f"{name} is on: certificates are signed with a CA key that is public, so any machine on "
                "the way can pose as this proxy to your tools; turn it off, and let the tools trust mitmproxy's own CA"
            )


def _as_root(user: int) -> Iterator[str]:
    if user == 0:
        yield "it runs as root and does not need to: run it as a user of its own"
