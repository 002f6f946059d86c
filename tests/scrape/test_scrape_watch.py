"""When a page of metrics is waited for."""

from __future__ import annotations

import pytest

from vllmperf.plan import Credentials, Target
from vllmperf.scrape import watch
from vllmperf.scrape.watch import Watch

NODE = "ray_node_cpu_count 2\n"
COUNTED = NODE + 'ray_vllm_request_success_total{ReplicaId="a"} 1\n'


@pytest.mark.parametrize(
    ("pages", "asked"),
    [
        ([NODE, NODE, COUNTED, COUNTED], 3),
        (['vllm:num_requests_running{engine="0"} 0\n', "", ""], 1),  # vLLM's own page is never old
        (["", "", ""], 1),
    ],
)
def test_a_page_of_ray_is_waited_for_until_it_has_counts(monkeypatch, pages, asked):
    seen = iter(pages)
    left = list(pages)

    def page(*_words: object) -> str:
        left.pop()
        return next(seen)

    monkeypatch.setattr(watch.totals, "page", page)
    Watch(["http://a/metrics"], Target(base_url="http://a"), Credentials(), every_s=0).await_counts()
    assert len(pages) - len(left) == asked


def test_a_page_of_ray_without_counts_is_not_waited_for_forever(monkeypatch):
    monkeypatch.setattr(watch, "SETTLE_S", 0.05)
    monkeypatch.setattr(watch.totals, "page", lambda *_words: NODE)
    Watch(["http://a/metrics"], Target(base_url="http://a"), Credentials(), every_s=0).await_counts()
