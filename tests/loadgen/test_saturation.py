"""A queue that grows is noticed while the run goes; a ramp and a steady load are not."""

from __future__ import annotations

import io
import socket
import threading

import pytest

from vllmperf.loadgen.progress import Snapshot
from vllmperf.loadgen.saturation import Saturation
from vllmperf.plan import Credentials, Target
from vllmperf.report.live import Live
from vllmperf.scrape.totals import ask, totals


def noticed_at(sent_per_s, answered, until_s=120.0, every_s=0.5):
    """When it is first noticed that requests pile up; answered(t): first tokens by then."""
    watch, at_s = Saturation(), 0.0
    while at_s < until_s:
        at_s += every_s
        sent = int(sent_per_s * at_s)
        watch.take(at_s, {"state": "running", "sent": sent, "waiting": sent - min(int(answered(at_s)), sent)})
        if watch.notice():
            return at_s
    return None


def test_a_server_that_serves_half_of_what_comes_is_noticed_within_seconds():
    assert noticed_at(100, lambda t: 50 * max(t - 0.1, 0)) < 10


def test_long_contexts_are_noticed_before_any_answer_has_ended():
    # a prompt takes 5 s to compute and the next one waits for it: 0.2/s of 1/s
    assert noticed_at(1, lambda t: t // 5) < 60


def test_a_steady_load_with_a_long_first_token_is_not_noticed():
    assert noticed_at(10, lambda t: 10 * max(t - 20, 0)) is None


@pytest.mark.parametrize("per_s", [0.2, 5, 500])
def test_a_steady_load_is_not_noticed(per_s):
    assert noticed_at(per_s, lambda t: per_s * max(t - 0.05, 0)) is None


def test_memory_does_not_grow_with_the_run():
    watch = Saturation()
    for i in range(1, 5000):
        watch.take(i / 2, {"state": "running", "sent": i, "waiting": 0})
    assert len(watch._samples) <= 512


def test_the_notice_is_told_once_on_a_plain_stderr():
    file = io.StringIO()
    with Live(file) as live:
        for at_s in (1.0, 2.0, 3.0):
            live(Snapshot(at_s, None, 5, 5, 0, 0, notice="the queue grows: 5 requests wait"))
    assert file.getvalue() == "vllmperf: notice: the queue grows: 5 requests wait\n"


def test_totals_are_summed_over_labels_and_of_vllm_alone():
    page = (
        "# TYPE vllm:generation_tokens counter\n"
        'vllm:generation_tokens_total{engine="0"} 5.0\nvllm:generation_tokens_total{engine="1"} 7.0\n'
        "# TYPE vllm:num_requests_running gauge\n"
        'vllm:num_requests_running{engine="0"} 3.0\n'
        "# TYPE http_requests counter\nhttp_requests_total 9.0\n"
    )
    assert totals(page) == {"generation_tokens_total": 12.0}


def test_a_page_is_read_to_its_length_from_a_server_that_keeps_the_connection_open():
    page = b"vllm:generation_tokens_total 12.0\n"
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(page)
            for part in (head[:20], head[20:] + page[:9], page[9:]):
                connection.sendall(part)
            connection.recv(1)  # until the client closes

    server = threading.Thread(target=answer, daemon=True)
    server.start()
    target = Target(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert ask(target, Credentials()) == {"generation_tokens_total": 12.0}
    server.join()
    listener.close()
