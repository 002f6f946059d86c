"""Where this machine keeps the certificates that it trusts: the same for the engine's libcurl and for Python's client.

A libcurl that came with a wheel knows no place of its own, and neither does every build of Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL, Fedora
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine without its package of certificates
)
FOLDERS = ("/etc/ssl/certs", "/etc/pki/tls/certs")


class Trust(NamedTuple):
    """A PEM file of certificates, or a folder of them under their hashes, or neither. Never both: libcurl would read all of
    the file for each connection."""

    file: str | None = None
    folder: str | None = None


def system(environ: Mapping[str, str] = os.environ) -> Trust:
    """What SSL_CERT_FILE names, else SSL_CERT_DIR, else the system's own, else those that Python's OpenSSL knows or the package
    certifi has. Most systems are done before Python's ssl, which takes a tenth of a run's start to import."""
    if environ.get("SSL_CERT_FILE"):
        return Trust(file=environ["SSL_CERT_FILE"])
    if environ.get("SSL_CERT_DIR"):
        return Trust(folder=environ["SSL_CERT_DIR"])
    if file := _first(Path.is_file, FILES):
        return Trust(file=file)
    if folder := _first(_has_hashes, FOLDERS):
        return Trust(folder=folder)
    return _of_python() or Trust(file=_of_certifi())


def _first(is_good: Callable[[Path], bool], places: Iterable[str]) -> str | None:
    return next((place for place in places if is_good(Path(place))), None)


def _has_hashes(folder: Path) -> bool:
    return next(folder.glob("????????.[0-9]"), None) is not None


def _of_python() -> Trust | None:
    import ssl

    known = ssl.get_default_verify_paths()
    if Path(known.openssl_cafile).is_file():
        return Trust(file=known.openssl_cafile)
    return Trust(folder=known.openssl_capath) if _has_hashes(Path(known.openssl_capath)) else None


def _of_certifi() -> str | None:
    try:
        import certifi
    except ImportError:
        return None
    return str(certifi.where())
