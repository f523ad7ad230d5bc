"""
The certificates by which a provider's server is trusted: mitmproxy's, those of this system, and those the user names.

mitmproxy alone knows the CAs of the package certifi. Tools also trust those that a company puts into the system or
into their variables, so without them a tool would work alone and fail behind the proxy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

# Each names a file with CAs that programs of this user trust.
VARIABLES = (
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CODEX_CA_CERTIFICATE",
    "NIX_SSL_CERT_FILE",
)  # fmt: skip
OWN = "mitmproxy-ca-cert.pem"  # in mitmproxy's folder
_SYSTEMS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # macOS, Alpine
    "/opt/homebrew/etc/ca-certificates/cert.pem",
    "/usr/local/etc/openssl/cert.pem",
)
_LARGEST = 16 << 20  # bytes of a file
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def write(folder: Path, env: Mapping[str, str]) -> Path:
    """
    Write what `trusted` returns to a file in *folder*, mitmproxy's own, and return it. Raises OSError.

    Its name follows from its content: another proxy, with other variables, does not change it.
    """
    text = "\n".join([*trusted(folder, env), ""])
    file = folder / f"upstream-ca-{hashlib.sha256(text.encode()).hexdigest()[:12]}.pem"
    folder.mkdir(parents=True, exist_ok=True)
    written = file.with_name(f"{file.name}.{os.getpid()}")
    written.write_text(text, encoding="ascii")
    written.replace(file)
    return file


def trusted(folder: Path, env: Mapping[str, str]) -> list[str]:
    """
    Return the certificates of certifi, of the system and of the files that *env* names, each once.

    A file that is missing counts as empty, and a certificate that cannot be read is left out. So is the CA of
    mitmproxy in *folder*: it makes certificates for any host.
    """
    named = (Path(env[name]).expanduser() for name in VARIABLES if env.get(name))
    files = [file for file in (certifi(), system(), *named) if file]
    own = set(map(_decoded, certificates(folder / OWN)))
    found = {_decoded(each): each for file in files for each in certificates(file)}
    texts = [text for content, text in found.items() if content and content not in own]
    return texts if _are_readable(*texts) else [each for each in texts if _are_readable(each)]


def certifi() -> Path | None:
    """Return the file of the package certifi, which comes with mitmproxy."""
    package = importlib.util.find_spec("certifi")
    return Path(package.origin).with_name("cacert.pem") if package and package.origin else None


def system() -> Path | None:
    """Return the file with the certificates of this system."""
    systems = (ssl.get_default_verify_paths().openssl_cafile, *_SYSTEMS)
    return next((Path(file) for file in systems if Path(file).is_file()), None)


def certificates(file: Path) -> list[str]:
    """Return the certificates in *file*, as they are written there; none where it cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size > _LARGEST:
            return []
        return list(_found(file.read_text(encoding="ascii", errors="ignore")))
    except OSError:
        return []


def _found(text: str) -> Iterator[str]:
    return (match[0].replace("\r\n", "\n") for match in _CERTIFICATE.finditer(text))


def _decoded(certificate: str) -> bytes:
    """Return the content of *certificate*, which is the same however its lines are broken; empty: it has none."""
    try:
        return ssl.PEM_cert_to_DER_cert(certificate)
    except ValueError:
        return b""


def _are_readable(*certificates: str) -> bool:
    """Whether TLS can load them: of a file with one that it cannot, mitmproxy loads nothing."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(certificates))
    except (ssl.SSLError, ValueError):
        return False
    return True
