"""Redirects of small questions, as the engine follows those of requests: 307 and 308 with the body."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO
from urllib.parse import urlsplit

KEEPS_METHOD = (307, 308)
PUBLIC = ("content-type", "accept", "user-agent")
"""Headers that say nothing of who asks."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a GET anywhere and a POST with its body where the status says so, up to ten times.

    To another server only what anybody may read goes along: no key, no cookie, no header of the user's own.
    """

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request:
        is_kept = req.get_method() == "GET" or code in KEEPS_METHOD
        if not is_kept or urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        is_there = origin(newurl) == origin(req.full_url)
        kept = {name: text for name, text in req.headers.items() if is_there or name.lower() in PUBLIC}
        return urllib.request.Request(newurl, data=req.data, headers=kept, method=req.get_method())


def origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
