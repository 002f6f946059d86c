"""The middleware of the service: who may ask, what, how much; and what holds when it starts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra service is not installed")

from vllmperf.errors import UsageError
from vllmperf.service.errors import RefusedError
from vllmperf.service.guard.body import check_combinations, parsed
from vllmperf.service.guard.middleware import HEADERS, AccessMiddleware
from vllmperf.service.guard.settings import Guard, Limits, guard_of, listens_on_loopback

TOKEN = "0123456789abcdef"
JSON = {"Content-Type": "application/json"}


# ---- the start ----


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("no.such.name.invalid", False),
    ],
)
def test_which_hosts_only_this_machine_can_reach(host, is_loopback):
    assert listens_on_loopback(host) is is_loopback


def test_a_service_for_others_does_not_start_without_a_token():
    with pytest.raises(UsageError, match=r"^--host 0\.0\.0\.0 is open to others: set VLLMPERF_TOKEN"):
        guard_of("0.0.0.0", [], Path(), None)
    assert guard_of("0.0.0.0", [], Path(), TOKEN).reach is not None
    assert guard_of("127.0.0.1", [], Path(), None).reach is None


@pytest.mark.parametrize("token", ["short", "with\nbreak0", "pässwörter"])
def test_a_token_that_no_header_carries_or_anybody_guesses_is_refused(token):
    with pytest.raises(UsageError, match="VLLMPERF_TOKEN must have at least 8"):
        guard_of("0.0.0.0", [], Path(), token)


def test_a_token_is_in_no_representation():
    assert TOKEN not in repr(guard_of("0.0.0.0", [], Path(), TOKEN))


# ---- requests ----


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Says back the body."""
    body = b""
    if scope["method"] == "POST":
        body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"OWN")]})
    await send({"type": "http.response.body", "body": body})


def asked(
    method: str = "GET",
    path: str = "/runs",
    pieces: tuple[bytes, ...] = (b"",),
    guard: Guard | None = None,
    app: Any = echo,
    **headers: str,
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of an answer. headers: with _ for -."""
    fields = {"host": "127.0.0.1:8081", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if method == "POST":
        fields.setdefault("content-type", "application/json")
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in fields.items()],
    }
    left = list(pieces)
    sent: list[Any] = []

    async def receive() -> Any:
        if not left:
            await asyncio.sleep(3600)
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or piece == b"..."}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(AccessMiddleware(app, guard or Guard(Path()), public=["/app.js"])(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(one.get("body", b"") for one in sent[1:])


def error(answer: tuple[int, Any, bytes]) -> str:
    status, _, body = answer
    found = json.loads(body)
    assert set(found) == {"error", "field"}
    assert "\n" not in found["error"]
    return f"{status} {found['error']}"


WITH_TOKEN = Guard(Path(), is_loopback=False, token=TOKEN)


def test_who_has_the_token_is_let_in():
    assert asked(guard=WITH_TOKEN, Authorization=f"Bearer {TOKEN}")[0] == 200
    assert asked(guard=WITH_TOKEN, Authorization=f"bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    "given",
    ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "Bearer \xff"],
)
def test_who_has_not_the_token_is_not_let_in(given):
    answer = asked(guard=WITH_TOKEN, **({"Authorization": given} if given else {}))
    assert error(answer).startswith(f"401 the token is {'wrong' if given else 'missing'}: send Authorization")
    assert answer[1][b"www-authenticate"] == b"Bearer"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/app.js"])
def test_probes_and_the_page_itself_need_no_token(path):
    assert asked(path=path, guard=WITH_TOKEN)[0] == 200


@pytest.mark.parametrize(
    "path", ["/metrics", "/healthz/", "//healthz", "/healthz/../runs", "/runs", "/schema"]
)
def test_everything_else_needs_it(path):
    assert asked(path=path, guard=WITH_TOKEN)[0] == 401


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8081", "127.0.0.1", "127.0.0.2:1", "[::1]:8081", "LOCALHOST:9", ""]
)
def test_a_service_of_this_machine_answers_to_its_names(host):
    assert asked(host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8081",
        "10.0.0.1",
        "a b",
        "[::1",
        "x:y",
    ],
)
def test_a_name_that_somebody_elses_dns_leads_here_is_refused(host):
    assert "is not this machine" in error(asked(host=host))
    assert asked(host=host, guard=WITH_TOKEN, Authorization=f"Bearer {TOKEN}")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:8081"}, 200),
        ({"Origin": "http://127.0.0.1:8081", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://127.0.0.1:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"content_type": "text/plain"}, 400),
        ({"content_type": "application/x-www-form-urlencoded"}, 400),
        ({"content_type": ""}, 400),
        ({"content_type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_a_page_of_somebody_else_starts_no_run_through_a_browser_here(headers, status):
    assert asked("POST", pieces=(b"{}",), **headers)[0] == status
    if "Origin" in headers and status == 403:
        assert asked("DELETE", **headers)[0] == 403
        assert asked("GET", **headers)[0] == 200  # it gets no leave to read the answer


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),
        ("cross-site", "no-cors", 403),
        ("cross-site", "cors", 403),
        ("same-site", "no-cors", 403),
    ],
)
def test_a_page_of_somebody_else_may_link_here_and_make_us_do_nothing(site, mode, status):
    assert asked(Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)[0] == status
    assert asked("HEAD", Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)[0] == status


def test_who_asks_for_the_head_alone_is_answered_as_for_the_whole_but_of_endless_streams():
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["method"])
        await echo(scope, receive, send)

    asked("HEAD", "/healthz", app=app)
    asked("HEAD", "/runs/a/events", app=app)
    assert seen == ["GET", "HEAD"]


def test_each_answer_has_headers_that_keep_pages_harmless_and_an_own_one_counts():
    _, headers, _ = asked()
    assert headers[b"content-security-policy"] == HEADERS[b"content-security-policy"]
    assert headers[b"x-frame-options"] == b"OWN"
    assert asked(host="evil.example")[1][b"x-content-type-options"] == b"nosniff"
    assert b"access-control-allow-origin" not in headers


# ---- bodies ----

SMALL = Guard(Path(), limits=Limits(body_bytes=10, body_s=0.05, streams=1))


def test_a_body_comes_through_as_it_is():
    assert asked("POST", pieces=(b"01234", b"56789"), guard=SMALL)[2] == b"0123456789"


@pytest.mark.parametrize("declared", [None, "11", "999999999999999999999999"])
def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(declared):
    headers = {"content_length": declared} if declared else {}
    answer = asked("POST", pieces=(b"01234", b"56789", b"x"), guard=SMALL, **headers)
    assert error(answer) == "413 the body is longer than 10 bytes"
    assert answer[1][b"connection"] == b"close"


def test_a_body_that_does_not_end_is_given_up():
    assert error(asked("POST", pieces=(b"0", b"..."), guard=SMALL)) == "408 the body took longer than 0.05 s"


def test_so_many_listen_to_events_and_no_more():
    async def nested(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("is_second"):
            await echo(scope, receive, send)
            return
        told: list[Any] = []

        async def take(message: Any) -> None:
            told.append(message)

        second = {**scope, "is_second": True}
        await middleware(second, receive, take)
        statuses.append(told[0]["status"])
        await echo(scope, receive, send)

    statuses: list[int] = []
    middleware = AccessMiddleware(nested, SMALL)
    scope = {"type": "http", "method": "GET", "path": "/events", "headers": []}
    sent: list[Any] = []

    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        await middleware(scope, lambda: asyncio.sleep(0), send)
        await middleware({**scope, "is_second": True}, lambda: asyncio.sleep(0), send)

    asyncio.run(run())
    assert statuses == [503]
    assert [one["status"] for one in sent if "status" in one] == [200, 200]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff{}", "byte 0 is no UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is no UTF-8"),
        (b"[" * 100_000, "nested more than 32 levels"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested more than 32 levels"),
        (b'{"rate": NaN}', "NaN is no number of JSON"),
        (b'{"rate": Infinity}', '"inf" in quotes is endless'),
        (b'{"rate": 1e999}', "the body is no JSON"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'{"label": "\\ud800"}', "half of a surrogate pair"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the body is no JSON"),
        (b'{"a": 1} x', "the body is no JSON"),
    ],
)
def test_what_is_no_plain_json_is_refused_in_one_line(raw, told):
    with pytest.raises(RefusedError, match=r"^the body .*$") as caught:
        parsed(raw, Limits())
    assert caught.value.status == 400
    assert told in str(caught.value)


def test_brackets_in_texts_nest_nothing():
    assert parsed(b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\"[[["}', Limits())["a"].startswith(
        "[["
    )


def test_a_short_sweep_that_stands_for_many_runs_is_refused():
    axes = {f"a{i}": list(range(100)) for i in range(10)}
    with pytest.raises(RefusedError, match="the sweep has 100000000000000000000 runs"):
        check_combinations({"sweep": {"setups": [{"url": "http://a"}], "axes": axes}}, Limits())
    with pytest.raises(RefusedError, match="the sweep has 3000 runs"):
        check_combinations({"sweep": {"setups": [{"axes": {"x": [1, 2, 3]}}], "repeat": 1000}}, Limits())
    check_combinations({"sweep": {"setups": [{"url": "http://a"}], "axes": {"rate": [1, 2]}}}, Limits())
    together = {"a": list(range(100)), "b": list(range(100)), "c": list(range(100))}
    check_combinations({"sweep": {"setups": [{}], "axes": together, "combine": "zip"}}, Limits())
