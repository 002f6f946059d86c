"""Errors and hints in the words of the tool in whose place we stand: its flags and variables for ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vllmperf import hints
from vllmperf.errors import UsageError

CERTIFICATE = "--cacert FILE trusts one, --insecure trusts any"
"""What our own commands advise where a certificate is not trusted."""
OPENSSL_BUNDLE = ("SSL_CERT_FILE",)
"""Where aiohttp and httpx (by OpenSSL) take trusted certificates from."""
REQUESTS_BUNDLE = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Where requests takes them from."""
PROFILE = {
    hints.KEY: "OPENAI_API_KEY",
    CERTIFICATE: "SSL_CERT_FILE=FILE trusts one",
    ", lower --max-concurrency, or leave out --fresh-connections": ", or lower --max-concurrency",
}
PROFILE_2026 = {**PROFILE, CERTIFICATE: "SSL_CERT_FILE=FILE trusts one, --insecure trusts any"}
GUIDELLM = {
    hints.KEY: 'GUIDELLM__OPENAI__API_KEY, or --backend-args \'{"api_key": "…"}\'',
    hints.GIVE_MODEL: "is --target the address of an OpenAI server?",
    "; give --model": "; is --target the address of an OpenAI server?",
    "--base-url": "--target",
    CERTIFICATE: "SSL_CERT_FILE=FILE trusts one, GUIDELLM__OPENAI__VERIFY=false trusts any",
}
LLM_BENCH = {
    hints.KEY: "-k KEY",
    hints.GIVE_MODEL: "check -H, or give --provider and --model",
    "; give --model": "; give --provider and --model",
    "--base-url": "-H",
    CERTIFICATE: "REQUESTS_CA_BUNDLE=FILE trusts one",
}


def told(text: str, own: Mapping[str, str]) -> str:
    """The text with the tool's own names."""
    for ours, theirs in own.items():
        text = text.replace(ours, theirs)
    return text


def bundle(names: tuple[str, ...], url: str) -> str | None:
    """The file of trusted certificates that the environment names as the original reads it; None for the system's."""
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None or not url.startswith("https:"):
        return None
    if not Path(os.environ[name]).is_file():
        raise UsageError(f"{name} is {os.environ[name]}: there is no such file")
    return os.environ[name]
