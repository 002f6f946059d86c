"""x-request-id: what the server sees."""

from __future__ import annotations

import json
import re
import uuid

import pytest
from raw_server import RawServer
from runs import SHORT, bench, config, run_engine

import vllmperf
from vllmperf.loadgen.request_id import is_uuid_prefix, number_of, request_id, uuid_prefix
from vllmperf.sim import Server

PREFIX = "0f5e2a11-77aa-4bcd-8123-"


def ids(server: RawServer) -> list[str]:
    """All x-request-id lines of the completions that the server got."""
    posts = [request for request in server.requests if request.startswith(b"POST")]
    lines = [re.findall(rb"(?i)\r\nx-request-id: *([^\r]*)", request) for request in posts]
    assert len(lines) == len(posts)
    return [line.decode() for found in lines for line in found]


def test_ids_are_uuids_that_end_in_the_number_of_the_request():
    with RawServer() as server:
        bench(server.url, n=20, num_warmups=3, warm_connections=2)
    found = ids(server)
    for text in found:
        made = uuid.UUID(text)
        assert (str(made), made.version, made.variant) == (text, 4, uuid.RFC_4122)
    prefixes = {text[:-12] for text in found}
    numbers = [
        sorted(int(text[-12:], 16) for text in found if text.startswith(prefix)) for prefix in prefixes
    ]
    assert sorted(numbers, key=len) == [[0, 1, 2], list(range(20))]  # the warm-up is a run of its own


def test_two_runs_share_no_request_id(tmp_path):
    path = tmp_path / "truth"
    with Server(ttft_ms=1, itl_ms=1, truth=str(path)) as server:
        for _ in range(2):
            vllmperf.bench(server.url, model="sim", num_prompts=5, num_warmups=1, output_len=2)
    found = [json.loads(line)["request_id"] for line in path.read_text().splitlines()]
    assert len(found) == len(set(found)) == 12


def test_the_run_file_holds_the_prefix_of_the_ids_that_were_sent():
    with RawServer() as server:
        run = bench(server.url, n=3)
    prefix = run.recording.plan["request_id_prefix"]
    assert sorted(ids(server)) == [request_id(prefix, number) for number in range(3)]


@pytest.mark.parametrize("name", ["x-request-id", "X-Request-ID"])
def test_a_header_of_ones_own_replaces_the_id(name):
    with RawServer() as server:
        bench(server.url, n=3, headers={name: "mine"}, num_warmups=1)
    assert ids(server) == ["mine"] * 4


def test_a_prefix_of_ones_own_is_followed_by_a_plain_number():
    with RawServer() as server:
        bench(server.url, n=3, request_id_prefix="mine-", num_warmups=1)
    assert sorted(ids(server)) == ["mine-0", "mine-1", "mine-2", "mine-warmup-0"]


def test_a_prefix_that_is_the_beginning_of_a_uuid_is_completed_to_one():
    with RawServer() as server:
        bench(server.url, n=2, request_id_prefix=PREFIX)
    assert sorted(ids(server)) == [PREFIX + "000000000000", PREFIX + "000000000001"]


def test_numbers_beyond_nine_are_hex_digits():
    settings = {"url": None, "request_id_prefix": PREFIX, "uuid_request_ids": True}
    with RawServer() as server:
        run_engine(config(server.url, **{**settings, "url": server.url + "/v1/completions"}), 27)
    assert sorted(ids(server))[-1] == PREFIX + "00000000001a"


@pytest.mark.parametrize("text", ["", "mine-", PREFIX[:-1], PREFIX + "0", PREFIX.upper(), "x" + PREFIX[1:]])
def test_only_the_first_24_characters_of_a_uuid_are_completed(text):
    assert not is_uuid_prefix(text)
    assert request_id(text, 10) == text + "10"


@pytest.mark.parametrize("prefix", [PREFIX, "mine-", ""])
def test_the_number_can_be_read_back_from_the_id(prefix):
    assert [number_of(request_id(prefix, number), prefix) for number in (0, 9, 10, 31)] == [0, 9, 10, 31]


def test_prefixes_are_not_alike():
    made = {uuid_prefix() for _ in range(100)}
    assert len(made) == 100
    assert all(is_uuid_prefix(prefix) for prefix in made)


def test_a_server_that_demands_uuids_answers(tmp_path):
    def strict(connection, request, number):
        from raw_server import good

        text = re.search(rb"(?i)\r\nx-request-id: *([^\r]*)", request)
        try:
            uuid.UUID(text[1].decode())
        except (TypeError, ValueError):
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        else:
            good(connection, request, number)

    with RawServer(strict) as server:
        run = bench(server.url, n=3, **{"num_warmups": 1, **SHORT})
    assert run.summary["requests"]["outcomes"] == {"completed": 3}
