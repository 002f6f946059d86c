"""The time of an answer's head, also when libcurl reads it while it handles another connection or a timer."""

import time

from raw_server import EVENT_STREAM, RawServer, events
from runs import bench

REQUESTS, TOKENS, GAP_S = 300, 20, 0.0005


def token_by_token(connection, _request, _number):
    """The head at once, then the tokens one by one, so that the connections are read all the time."""
    body = events(TOKENS)
    connection.sendall(EVENT_STREAM + b"Content-Length: %d\r\n\r\n" % len(body))
    for event in body.removesuffix(b"\n\n").split(b"\n\n"):
        time.sleep(GAP_S)
        connection.sendall(event + b"\n\n")


def test_no_head_is_stamped_with_the_time_of_sending():
    with RawServer(token_by_token) as server:
        requests = bench(server.url, n=REQUESTS, concurrency=4).recording.requests
    assert (requests["first_byte_ns"] > requests["sent_ns"]).all()
