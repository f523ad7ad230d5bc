"""One file with the certificates of this system and mitmproxy's own: programs take one file, and replace theirs."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from .proxy_variables import BUNDLES

_SYSTEMS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine
    "/opt/homebrew/etc/ca-certificates/cert.pem",
    "/usr/local/etc/openssl/cert.pem",
)
_CERTIFICATE = re.compile(r"-----BEGIN (?:TRUSTED )?CERTIFICATE-----.+?-----END (?:TRUSTED )?CERTIFICATE-----", re.S)


def write_bundle(folder: Path, own: Path, env: Mapping[str, str]) -> Path:
    """
    Write the certificates that programs trust here, and that of *own*, to a file in *folder*. Raises OSError.

    It is replaced as a whole: other programs may be reading it.
    """
    certificates = dict.fromkeys(found for file in (*_trusted(env), own) for found in _certificates(file))
    bundle = folder / "ca-bundle.pem"
    written = bundle.with_name(f"{bundle.name}.{os.getpid()}")
    written.write_text("\n".join([*certificates, ""]), encoding="ascii")
    written.replace(bundle)
    return bundle


def _trusted(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that programs trust now: those that *env* names, and the system's or mitmproxy's."""
    yield from (Path(env[name]) for name in BUNDLES if env.get(name))
    if found := _system():
        yield found


def _system() -> Path | None:
    systems = (ssl.get_default_verify_paths().openssl_cafile, *_SYSTEMS)
    if found := next((Path(file) for file in systems if Path(file).is_file()), None):
        return found
    package = importlib.util.find_spec("certifi")  # of mitmproxy
    return Path(package.origin).with_name("cacert.pem") if package and package.origin else None


def _certificates(file: Path) -> list[str]:
    try:
        return _CERTIFICATE.findall(file.read_text(encoding="ascii", errors="ignore"))
    except OSError:
        return []
