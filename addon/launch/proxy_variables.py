"""The variables by which programs find an HTTP proxy and the certificates to trust."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from ..frozen import dataclass

# curl reads http_proxy in small letters only, other programs the capitals only.
PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
_FOR_ALL = ("ALL_PROXY", "all_proxy")
_EXCEPTIONS = ("NO_PROXY", "no_proxy")
BUNDLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CODEX_CA_CERTIFICATE",
    "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "PIP_CERT", "CARGO_HTTP_CAINFO", "DENO_CERT",
    "NIX_SSL_CERT_FILE", "HTTPLIB2_CA_CERTS",
)  # fmt: skip
_SCHEME, _ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*"), re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXY_MARK = "PATCHBAY_PROXY"  # names the proxy in the environment of a tool behind it


@dataclass(frozen=True, slots=True)
class OuterProxy:
    """
    The proxy through which this machine reaches the internet, as the variable *named* says it.

    *url* holds no login, which is *auth*; it is empty where the variable has no host with a port that can be told.
    """

    url: str
    named: str
    auth: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether mitmproxy can send its requests through it."""
        return urlsplit(self.url).scheme in ("http", "https")


def variables(proxy: str, bundle: str, hosts: Iterable[str], env: Mapping[str, str], *, local: bool) -> dict[str, str]:
    """
    Return the variables that lead a program to *proxy*, with the certificates in the file *bundle*.

    Its own exceptions (NO_PROXY) stay, except those that exclude one of *hosts*. Loopback is one, unless *local*.
    """
    kept = [name for name in _exceptions(env) if not any(_excludes(name, host) for host in hosts)]
    if local:
        kept = [name for name in kept if not any(_excludes(name, host) for host in _LOOPBACK)]
    kept = list(dict.fromkeys([*kept, *(() if local else _LOOPBACK)]))
    return {
        **dict.fromkeys(PROXIES, proxy),
        **dict.fromkeys(_EXCEPTIONS, ",".join(kept)),
        **dict.fromkeys(BUNDLES, bundle),
        "NODE_USE_ENV_PROXY": "1",  # fetch of Node 24 and newer
        PROXY_MARK: proxy,
    }


def direct(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables with which a program that uses the proxy of *env* asks this machine directly."""
    return dict.fromkeys(_EXCEPTIONS, ",".join(dict.fromkeys([*_exceptions(env), *_LOOPBACK])))


REMOVED = _FOR_ALL  # a proxy for everything would be asked in place of ours, by some programs


def outer_proxy(env: Mapping[str, str], hosts: Sequence[str]) -> OuterProxy | None:
    """Return the proxy that *env* names for one of *hosts*, unless it is a Patchbay around this one."""
    for name in ("https_proxy", "HTTPS_PROXY", *_FOR_ALL):
        url = env.get(name, "").strip()
        if url and url != env.get(PROXY_MARK) and _is_asked(env, hosts):
            return _outer(url if "://" in url else f"http://{url}", name)
    return None


def _outer(url: str, name: str) -> OuterProxy:
    # A password may hold any character, written as it is or with a percent sign: it ends at the last @.
    scheme, _, rest = url.partition("://")
    user, _, behind = rest.rpartition("@")
    address = re.split(r"[/?#]", behind, maxsplit=1)[0]
    is_plain = _SCHEME.fullmatch(scheme) and _ADDRESS.fullmatch(address)
    return OuterProxy(f"{scheme.lower()}://{address}" if is_plain else "", name, unquote(user))


def _is_asked(env: Mapping[str, str], hosts: Sequence[str]) -> bool:
    exceptions = (*_exceptions(env), *_LOOPBACK)
    return any(not any(_excludes(name, host) for name in exceptions) for host in hosts)


def _exceptions(env: Mapping[str, str]) -> list[str]:
    return [name for each in _EXCEPTIONS for name in re.split(r"[\s,]+", env.get(each, "")) if name]


def _excludes(exception: str, host: str) -> bool:
    """Whether *exception*, an entry of NO_PROXY, keeps requests to *host* from a proxy."""
    name = exception.rpartition(":")[0] if re.search(r"^[^:]+:\d+$", exception) else exception
    name = name.lower().removeprefix("*").lstrip(".")
    return exception == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))
