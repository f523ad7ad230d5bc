"""What `patchbay doctor` finds on the machine: permissions, folders, ports, packages, certificates, the clock."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from ..launch.taken_ports import is_free, owner
from ..needs import NEEDS
from .examined import DEFAULT_ADDRESS, ExaminedMachine, MachineFault, place

_LEAST_FREE = 64 * 1024 * 1024  # bytes
_AHEAD = 120.0  # seconds by which the newest file may lie ahead of the clock
_BUNDLES = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE")
_REPLACING = frozenset(_BUNDLES) - {"NODE_EXTRA_CA_CERTS"}  # they take the place of the system's certificates
_KEY_LOGS = ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE")
_SYSTEM = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION = re.compile(r"\d+")


def permissions(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Files with keys that others may read."""
    literal = machine.settings and any(
        secret.source == "literal" for account in machine.settings.accounts for secret in account.secrets
    )
    if literal and _others(machine.file):
        yield MachineFault(
            "problem", f"others can read {machine.file}, and it holds keys", f"chmod 600 {_quoted(machine.file)}"
        )
    for file in (machine.state() / "master.key", _ca(machine) / "mitmproxy-ca.pem"):
        if _others(file):
            yield MachineFault("problem", f"others can read {file}, and it is a secret", f"chmod 600 {_quoted(file)}")


def state_folder(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """The folder of the key, the store and incidents: whose it is, who may read it, and whether there is room."""
    folder = machine.state()
    if not folder.is_dir():  # it is made at the first start; whether it can be is a matter of the settings
        return
    found = folder.stat()
    if found.st_uid != os.getuid():
        yield MachineFault("problem", f"{folder} belongs to another user", f"sudo chown -R $(id -un) {_quoted(folder)}")
    if found.st_mode & 0o077:
        yield MachineFault("warning", f"others can look into {folder}", f"chmod 700 {_quoted(folder)}")
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        yield MachineFault(
            "problem", f"the disk of {folder} is full: {free >> 20} MB are left", f"df -h {_quoted(folder)}"
        )


def _quoted(path: Path) -> str:
    """Return *path* for a shell: what mends a fault is pasted there."""
    return shlex.quote(str(path))


def _others(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


# -- the port ----------------------------------------------------------------------------------------------------------


def port(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """A port that something else has."""
    host, number = place(DEFAULT_ADDRESS)
    if machine.running or is_free(host, number):
        return
    who = owner(number)
    told = f"port {number} is in use by {who or 'another program'}, and that is no proxy of these settings"
    yield MachineFault("problem", told, f"end it, or: patchbay run --listen-port {number + 1}")


# -- packages ----------------------------------------------------------------------------------------------------------


def packages(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Packages that are missing or of the wrong version, and another mitmproxy before ours."""
    for need in NEEDS:
        if sys.version_info[:2] >= need.until:
            continue
        version = installed(need.distribution)
        if not version or not _between(version, need.least, need.below):
            told = f"{need.distribution} {version} is installed" if version else f"{need.distribution} is missing"
            wanted = f"{told}, and Patchbay needs {need.requirement}"
            yield MachineFault("problem", wanted, _install(need.requirement, Path(sys.prefix), machine.home))
    first = shutil.which("mitmdump", path=machine.env.get("PATH", ""))
    ours = Path(sys.prefix) / "bin" / "mitmdump"
    if first and ours.exists() and Path(first).resolve().parent != ours.resolve().parent:
        told = f"`mitmdump` is {first}, another one than Patchbay's ({ours})"
        yield MachineFault("warning", told, "patchbay run")


def installed(distribution: str) -> str:
    """Return the version of *distribution*, empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _between(version: str, least: str, below: str) -> bool:
    return _numbers(least) <= _numbers(version) and (not below or _numbers(version) < _numbers(below))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, _VERSION.findall(version)[:3]))


def _install(requirement: str, prefix: Path, home: Path) -> str:
    """Return the command of what this Python was installed by."""
    path = prefix.as_posix()
    if "/pipx/" in path:
        return f"pipx inject {prefix.name} '{requirement}'"
    if "/uv/tools/" in path:
        return f"uv pip install --python {prefix}/bin/python '{requirement}'"
    if prefix == Path("/usr") or "/Cellar/" in path or "/homebrew/" in path:  # which let pip install nothing
        return f"python3 -m venv .venv; .venv/bin/pip install '{requirement}'"
    return f"{sys.executable} -m pip install '{requirement}'"


# -- certificates and the clock ----------------------------------------------------------------------------------------


def _ca(machine: ExaminedMachine) -> Path:
    return machine.home / ".mitmproxy"


def certificates(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """Variables that name certificates, and whether tools behind the proxy would trust ours."""
    own = _ca(machine) / "mitmproxy-ca-cert.pem"
    ours = _certificates(own)
    for name in _BUNDLES:
        if not (value := machine.env.get(name, "")):
            continue
        file = Path(value).expanduser()
        held = _certificates(file)
        if not held:
            yield MachineFault("problem", f"{name} names {file}, which holds no certificate", f"unset {name}")
        elif name in _REPLACING and held <= ours:
            told = f"{name} names mitmproxy's certificate alone, so a tool trusts no other server"
            yield MachineFault(
                "problem", told, f'cat "$(python -m certifi)" {own} > bundle.pem; export {name}=bundle.pem'
            )
    yield from _expired(own, machine.now)
    used = [name for name in ("HTTPS_PROXY", "https_proxy") if machine.is_ours(machine.env.get(name, ""), "proxy")]
    trusted = [name for name in _BUNDLES if ours & _certificates(Path(machine.env.get(name, "") or "/nowhere"))]
    system = set().union(*(_certificates(Path(file)) for file in _SYSTEM))
    if used and ours and not trusted and not ours & system:
        told = f"{used[0]} leads through mitmproxy, and no variable names its certificate"
        yield MachineFault("problem", told, f"export NODE_EXTRA_CA_CERTS={_quoted(own)}")


def _certificates(file: Path) -> set[bytes]:
    try:
        return {b"".join(found.split()) for found in _CERTIFICATE.findall(file.expanduser().read_bytes())}
    except (OSError, ValueError):
        return set()


def _expired(file: Path, now: float) -> Iterator[MachineFault]:
    if not _certificates(file):
        return
    from cryptography import x509  # it comes with mitmproxy, and takes a while

    ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    if ends < datetime.fromtimestamp(now, UTC):
        yield MachineFault(
            "problem",
            f"mitmproxy's certificate {file} has expired ({ends:%Y-%m-%d})",
            f"rm {_quoted(file.parent)}/mitmproxy-ca*",
        )


def clock(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """A clock that was set back: then what was written lies in the future, and cooldowns last longer."""
    folder = machine.state()
    times = []
    for file in folder.glob("*") if folder.is_dir() else ():
        with contextlib.suppress(OSError):
            times.append(file.stat().st_mtime)
    ahead = max(times, default=0.0) - machine.now
    if ahead > _AHEAD:
        told = f"the clock was set back: a file in {folder} is {ahead:.0f} seconds ahead of it"
        yield MachineFault("problem", told, "sudo timedatectl set-ntp true")


def key_log(machine: ExaminedMachine) -> Iterator[MachineFault]:
    """TLS secrets in a file: with them the keys on the wire can be read."""
    for name in _KEY_LOGS:
        if value := machine.env.get(name, ""):
            told = f"{name} is set: the secrets of every TLS connection, and so the keys, go to {value}"
            yield MachineFault("warning", told, f"unset {name}")
