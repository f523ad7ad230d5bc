"""URLs of requests upstream: the destination, and the path under an account's base URL."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from urllib.parse import quote, unquote

from . import dialects, form_data, requested_models
from .dialects import spelling
from .values.account import Account
from .values.http import Endpoint, Origin, Request

# The target of `--mode reverse:http://patchbay.invalid`: one port for every provider. Nothing answers there.
ANYWHERE = "patchbay.invalid"
ANY_ORIGIN = Origin("http", ANYWHERE, 80)
_API_VERSION = "api-version"
_VERSIONED = re.compile(r"/v\d+$")
_DOUBLED = re.compile(r"^((?:/openai|/codex)?)(?:(/v\d+(?:alpha|beta)?\d*)(?=\2/)|/v1(?=/v1(?:alpha|beta)\d*/))+")
_ID = re.compile(r".*id|.*session.*|.*cursor|.*upload.*|after|before", re.IGNORECASE)
_OPENS_ITSELF = re.compile(r"[?&]upload_?id=[^&]{16}", re.IGNORECASE)
_SHARING = {  # by path: the dialects that spell it alike
    path: tuple(dialect for dialect in dialects.DIALECTS if path in dialect.shared_paths)
    for path in sorted({path for dialect in dialects.DIALECTS for path in dialect.shared_paths})
}
_SHARED = re.compile(rf"(?:^|/v1)(?P<suffix>(?P<kind>{'|'.join(_SHARING)})(?:/.*)?)$")


def is_anywhere(origin: Origin) -> bool:
    """Whether *origin* stands for every provider, so that dialect and model decide the destination."""
    return origin.host == ANYWHERE


def once(path: str) -> str:
    """Return *path* (without its query) with its version once: base URLs and tools add one each (`/v1/v1/messages`)."""
    return _DOUBLED.sub(r"\1", path, count=1) if path.count("/v") > 1 else path


def takes(account: Account, path: str) -> bool:
    """
    Whether *account*'s key may go with *path*, which is of no dialect (empty: it is of one).

    At a known service an unknown path may administer the account, unlike at a server given by `--mode reverse:`.
    """
    allowed = account.provider.paths
    if not path or account.origin is None or "*" in allowed:
        return True
    return _is_allowed(allowed, path) or _is_allowed(allowed, join(account, path, Endpoint(suffix=path)))


def _is_allowed(patterns: Iterable[str], path: str) -> bool:
    read = spelling.plain(path)
    return any(_is_below(read, pattern) for pattern in patterns)


def _is_below(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or (len(pattern) > 1 and fnmatchcase(path, pattern.rstrip("/") + "/*"))


def readings(endpoint: Endpoint, path: str, headers: Container[str]) -> tuple[Endpoint, ...]:
    """
    Return all that *path* (with its query) may mean where several dialects spell it alike, the likeliest first.

    A header that only one of them knows decides.
    """
    bare, _, query = path.partition("?")
    found = _SHARED.search(bare)
    sharing = _SHARING[found["kind"]] if found else ()
    if found is None or endpoint.dialect != sharing[0].name:  # the first that knows a path has it
        return (endpoint,)
    marked = next((dialect for dialect in sharing if dialect.is_marked(headers, query)), sharing[0])
    at = f"/v1{found['suffix']}"
    meant = {each.name: replace(endpoint, dialect=each.name, family=each.family, suffix=at) for each in sharing[1:]}
    meant = {endpoint.dialect: endpoint, **meant}
    return (meant.pop(marked.name), *meant.values())


def first(accounts: Iterable[Account], family: str, reverse: Origin | None = None) -> Origin | None:
    """Return the origin of the first enabled account that speaks *family*."""
    for account in accounts:
        origin = account.origin or reverse
        if account.enabled and origin and family in account.provider.families:
            return origin
    return None


def mixed(accounts: Iterable[Account]) -> dict[str, tuple[str, ...]]:
    """Return, by family, accounts of different services that serve every model, so that no model tells them apart."""
    found: dict[str, dict[Origin, str]] = {}
    for account in accounts:
        every = "*" in account.models.allow and not account.models.deny
        if account.enabled and account.origin and every:
            for family in sorted(account.provider.families):
                found.setdefault(family, {}).setdefault(account.origin, account.id)
    return {family: tuple(ids.values()) for family, ids in found.items() if len(ids) > 1}


def join(account: Account, path: str, endpoint: Endpoint, model: str = "") -> str:
    """
    Return *path* (with its query) under the account's base URL; *model* is the provider's name for the model.

    A base URL without a path changes nothing but a doubled version (see `once`). Under `…/api/v1` the suffix of a
    dialect's endpoint replaces the client's prefix (`/api/v1/chat/completions`); of any other path, the part that both
    share is written once, and a path without a version (`/api/chat`) stands beside the versioned ones.
    """
    bare, mark, query = path.partition("?")
    if account.provider.layout == "azure" and endpoint.dialect:
        return _azure(account, endpoint, model, query)
    base = account.base_path.rstrip("/")
    if endpoint.dialect:
        bare = once(bare)
    if account.origin is None or not (base or _is_deployment(bare)):
        return bare + mark + query
    if endpoint.suffix and endpoint.dialect and spelling.plain(bare).endswith(endpoint.suffix):
        bare = endpoint.suffix
    base = base or "/v1"  # a path for Azure, under a host that is not
    joined = base + bare[_overlap(base, bare) :]
    if not endpoint.dialect and _is_beside(account.provider.paths, bare, joined):
        base = _VERSIONED.sub("", base)
        joined = base + bare[_overlap(base, bare) :]
    return joined + mark + query


def _is_beside(patterns: tuple[str, ...], bare: str, joined: str) -> bool:
    return "*" not in patterns and _is_allowed(patterns, bare) and not _is_allowed(patterns, joined)


def names_id(name: str) -> bool:
    """Whether the query parameter *name* holds the id of a resource of an account."""
    return _ID.fullmatch(name) is not None


def opens_itself(path: str) -> bool:
    """Whether *path* (with its query) is the URL of an upload, which is itself the credential."""
    return _OPENS_ITSELF.search(path) is not None


def names_model(account: Account, endpoint: Endpoint, query: str) -> bool:
    """Whether the path at *account*'s provider names the model, so that the body need not."""
    if account.provider.layout == "azure":
        return _deploys(account, endpoint, query)
    return bool(endpoint.model) and dialects.of(endpoint.dialect).names_model_in_path


def renamed(request: Request, account: Account, model: str) -> tuple[str, dict[str, object]]:
    """Return the path, and the body members to change, by which *request* names *model* for *account*'s provider."""
    in_path = names_model(account, request.endpoint, request.path.partition("?")[2])
    said = "" if in_path else requested_models.in_body(request)
    if not model or (unquote(model) == unquote(request.endpoint.model) if in_path else model == said):
        return request.path, {}
    if in_path:
        return with_model(request.path, request.endpoint.model, model), {}
    by_member = request.endpoint.model or request.endpoint.model_source in requested_models.BY_MEMBER
    return request.path, {"model": model} if by_member and (said or request.body.is_object) else {}


def changed(request: Request, changes: Mapping[str, object]) -> bytes:
    """Return the body of *request*, JSON or a form, with *changes* and every other byte as it was."""
    kind, raw = request.headers.get("content-type"), request.body.raw
    if raw and form_data.is_form(kind) and not request.body.is_object:
        return form_data.replaced(raw, kind, {name: str(value) for name, value in changes.items()})
    return request.body.splice(changes)


def with_model(path: str, old: str, new: str) -> str:
    """Return *path* with the model in it (Gemini) replaced."""
    bare, mark, query = path.partition("?")
    for read in (bare, spelling.plain(bare)):
        for spelled in (old, quote(old, safe="")):
            if f"/{spelled}:" in read:
                return read.replace(f"/{spelled}:", f"/{quote(new, safe='')}:", 1) + mark + query
    return path


# Azure has two forms. The older one has a version in the query and, for generations, the deployment in the path; other
# paths stand under `/openai`. Under `/openai/v1` paths are OpenAI's, the deployment is the model, and a version is only
# given for a preview.


def _azure(account: Account, endpoint: Endpoint, model: str, query: str) -> str:
    base = account.base_path.rstrip("/")
    version = account.provider.api_version or _version_in(query)
    if _is_deployment(base + "/"):
        path = base
    elif _deploys(account, endpoint, query):
        path = f"{base.removesuffix('/openai')}/openai/deployments/{_deployment(endpoint, model)}"
    elif base.endswith("/v1"):
        path, version = base, account.provider.api_version
    else:
        path = base.removesuffix("/openai") + ("/openai" if version else "/openai/v1")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] != _API_VERSION]
    told = [f"{_API_VERSION}={quote(version, safe='')}"] if version else []
    return path + endpoint.suffix + ("?" if kept or told else "") + "&".join(kept + told)


def _deploys(account: Account, endpoint: Endpoint, query: str) -> bool:
    base = account.base_path.rstrip("/")
    if _is_deployment(base + "/"):
        return True
    asks = endpoint.kind == "generation" and dialects.of(endpoint.dialect).has_deployments
    return asks and not base.endswith("/v1") and bool(account.provider.api_version or _version_in(query))


def _deployment(endpoint: Endpoint, model: str) -> str:
    asis = not model or model == endpoint.model  # from a path, where it is quoted already
    return endpoint.model if asis else quote(model, safe="")


def _version_in(query: str) -> str:
    values = (part.partition("=") for part in query.split("&"))
    return next((unquote(value) for name, _, value in values if name == _API_VERSION), "")


def _is_deployment(path: str) -> bool:
    return "/openai/deployments/" in path


def _overlap(base: str, path: str) -> int:
    for start in range(len(base)):
        if base[start] == "/" and (path + "/").startswith(base[start:] + "/"):
            return len(base) - start
    return 0
