"""`patchbay doctor --ask`: one cheap request to the provider of each account, which lists its models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Any

import yaml

from .. import credential_places, dialects, upstream_url
from ..accounts import refusals
from ..frozen import dataclass
from ..proxy import upstream_trust
from ..proxy.credentials import Credentials, KeyUnavailable
from ..values import header_names
from ..values.account import Account, CredentialHeader
from ..values.http import Origin, is_loopback
from .examined import ExaminedMachine, MachineFault

_PATIENCE = 10.0  # seconds
_TRUST = ("ssl_verify_upstream_trusted_ca", "ssl_verify_upstream_trusted_confdir")  # options of mitmproxy
_UNTRUSTED = "export SSL_CERT_FILE=ca.pem, with the CA of your network, and start the proxy again"
_SKEW = 60.0  # seconds between our clock and a provider's that are worth a line


@dataclass(frozen=True, slots=True)
class Asked:
    """A provider's answer: its *status*, and how many seconds its clock is *ahead* of ours (None: it does not tell)."""

    status: int
    ahead: float | None = None


def providers(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Keys that are refused, and providers that cannot be reached."""
    ahead: list[float] = []
    for account in machine.settings.accounts if machine.settings else ():
        if not account.enabled or account.origin is None:
            continue
        asked = ask(account, account.origin, machine)
        if isinstance(asked, MachineFault):
            yield asked
            continue
        if asked.ahead is not None:
            ahead.append(asked.ahead)
        yield from _of_status(account, asked.status)
    if ahead and abs(skew := sorted(ahead)[len(ahead) // 2]) > _SKEW:
        behind = "behind" if skew > 0 else "ahead of"
        yield MachineFault(
            "problem", f"this clock is {abs(skew):.0f} seconds {behind} the providers'", "sudo timedatectl set-ntp true"
        )


def _of_status(account: Account, status: int) -> Iterator[MachineFault]:
    name, host = account.id, account.origin.host if account.origin else ""
    if status in (401, 403):
        yield MachineFault("problem", f"account {name}: {host} refused its key ({status})", f"replace `key:` of {name}")
    elif status == 402:
        yield MachineFault("problem", f"account {name}: out of credit ({status})", f"add credit at {host}")
    elif status == 429:
        yield MachineFault("warning", f"account {name}: rate limited ({status})", "wait, or add an account")
    elif status >= 500:
        yield MachineFault("warning", f"account {name}: {host} fails ({status})", "try again later")
    elif status in (404, 405):
        yield MachineFault("note", f"account {name}: {host} lists no models ({status}), so its key is not tried", "")
    elif status >= 300:
        yield MachineFault("problem", f"account {name}: {host} answers {status}", f"correct `base_url` of {name}")


def ask(account: Account, origin: Origin, machine: ExaminedMachine) -> Asked | MachineFault:
    """Ask the provider of *account*, at *origin*, for its models; return what is wrong where no answer came."""
    if origin.scheme != "https" and not (account.insecure_http or is_loopback(origin.host)):
        told = f"account {account.id}: no key goes over plain http beyond this machine"
        return MachineFault("problem", told, f"https:// in `base_url` of {account.id}")
    try:
        path, headers = _request(account, machine)
    except KeyUnavailable:
        return MachineFault("note", f"account {account.id} was not asked: it has no key", "")
    connection = HTTPConnection(origin.host, origin.port, timeout=_PATIENCE)
    try:
        if origin.scheme == "https":
            connection = HTTPSConnection(origin.host, origin.port, timeout=_PATIENCE, context=trust(machine))
        connection.request("GET", path, headers=headers)  # a redirect is not followed: the key is for this origin
        answer = connection.getresponse()
        return Asked(answer.status, _ahead(answer.getheader("Date") or ""))
    except (OSError, HTTPException, ValueError) as e:
        why = refusals.on_the_way("connect", str(e) or type(e).__name__)
        mend = _UNTRUSTED if "certificate" in why else f"check the network, and `base_url` of {account.id}"
        return MachineFault("problem", f"account {account.id}: {origin.host} is not reachable ({why})", mend)
    finally:
        connection.close()


def trust(machine: ExaminedMachine) -> SSLContext:
    """
    Return the context by which the running proxy trusts providers, or by which the next that starts here will.

    Raises OSError.
    """
    folder = machine.home / ".mitmproxy"
    running = next(((each.trusted_ca, each.trusted_confdir) for each in machine.running), ("", ""))
    ca, confdir = running if any(running) else _trust_options(folder / "config.yaml")
    if ca or confdir:
        return create_default_context(cafile=ca or None, capath=confdir or None)
    return create_default_context(cadata="\n".join(upstream_trust.trusted(folder, machine.env)))


def _trust_options(file: Path) -> tuple[str, str]:
    """Return what the user's settings of mitmproxy, in *file*, say of the CAs to trust."""
    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        ca, confdir = (str(found.get(name) or "") for name in _TRUST)
    except (OSError, ValueError, AttributeError, yaml.YAMLError):  # mitmproxy says what is wrong there
        return "", ""
    return ca, confdir


def _request(account: Account, machine: ExaminedMachine) -> tuple[str, dict[str, str]]:
    """Return path and headers, with the credential. Raises KeyUnavailable."""
    keys = Credentials(machine.env)

    async def ready() -> None:
        for secret in account.secrets:
            await keys.ready(secret)

    asyncio.run(ready())
    # a server that speaks several protocols has the list of the first
    family = next((each for each in dialects.FAMILIES if each in account.provider.families), "")
    protocol = dialects.of_family(family)
    named = dialects.endpoint("GET", protocol.models_path)
    readings = upstream_url.readings(named, protocol.models_path, {})
    endpoint = next((each for each in readings if each.family == family), named)
    path = upstream_url.join(account, protocol.models_path, endpoint)
    headers = {
        "user-agent": "patchbay-doctor",
        "accept": "application/json",
        **protocol.models_headers,
        **account.headers,
    }
    headers |= {each.name: f"{each.scheme}{keys.value(each.secret)}" for each in account.secret_headers}
    value = keys.value(account.secret)
    name, prefix = _place(account, family, value)
    if not name:
        return credential_places.with_key(path, value), headers
    return path, headers | {name: prefix + value}


def _place(account: Account, family: str, value: str) -> tuple[str, str]:
    """Return name and prefix of the header of the key; no name where it goes into the query."""
    form = account.provider.credential
    if isinstance(form, CredentialHeader):
        return form.header, form.prefix
    sent = dialects.of_family(family).credential_form if form == "auto" else form
    if sent == "query":
        return "", ""
    if sent == "bearer" or value.startswith("sk-ant-oat"):
        return "authorization", "Bearer "
    return sent, header_names.CREDENTIALS.get(sent, "")


def _ahead(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError):
        return None
