"""One file with the certificates of this system and mitmproxy's own: programs take one file, and replace theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..proxy import upstream_trust
from .proxy_variables import BUNDLES


def write_bundle(folder: Path, own: Path, env: Mapping[str, str]) -> Path:
    """
    Write the certificates that programs trust here, and that of *own*, to a file in *folder*. Raises OSError.

    It is replaced as a whole: other programs may be reading it.
    """
    certificates = dict.fromkeys(found for file in (*_trusted(env), own) for found in upstream_trust.certificates(file))
    bundle = folder / "ca-bundle.pem"
    written = bundle.with_name(f"{bundle.name}.{os.getpid()}")
    written.write_text("\n".join([*certificates, ""]), encoding="ascii")
    written.replace(bundle)
    return bundle


def _trusted(env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that programs trust now: those that *env* names, and the system's or mitmproxy's."""
    yield from (Path(env[name]) for name in BUNDLES if env.get(name))
    if found := upstream_trust.system() or upstream_trust.certifi():
        yield found
