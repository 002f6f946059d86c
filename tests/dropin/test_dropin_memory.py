"""A drop-in keeps figures of its requests, not their answers: its memory does not grow with texts and events."""

from __future__ import annotations

import gc
import tracemalloc
import weakref

import numpy as np
import pytest

from vllmperf import _engine
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving.answers import FLAG, Book, Version
from vllmperf.dropin.benchmark_serving.backends import TABLE
from vllmperf.dropin.benchmark_serving.engine import Reply
from vllmperf.dropin.benchmark_serving.profiles import PROFILES
from vllmperf.dropin.benchmark_serving.texts import Texts
from vllmperf.dropin.llm_bench import book as llm_book
from vllmperf.dropin.llm_bench import one_run
from vllmperf.dropin.llm_bench.main import main as llm_bench
from vllmperf.sim import Server

MS = 1_000_000
TOKENS = 20
N = 100


def reply(number, text):
    events = np.zeros(TOKENS, dtype=np.dtype(_engine.EVENT_DTYPE))
    events["flags"] = FLAG["choices"] | FLAG["text"]
    events["arrived_ns"] = np.arange(1, TOKENS + 1) * MS
    record = {name: _engine.NONE for name, _ in _engine.RECORD_DTYPE}
    record |= {"index": number, "status": 200, "outcome": 0, "sent_ns": 0, "clean_end": 1}
    return Reply(record, events, text, "")


def kept_bytes(text_len, keeps_all):
    """What a book has in memory after N answers with texts of this length."""
    found = PROFILES["vllm-2026"]
    texts = Texts(N)
    samples = [Sample("p", 3, TOKENS)] * N
    reader = Version(found, TABLE[found.version]["vllm"], ignore_eos=False)
    book = Book(reader, samples, texts=texts, keeps_all=keeps_all)
    tracemalloc.start()
    try:
        for number in range(N):
            book.take(reply(number, chr(97 + number % 26) * text_len))
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(answer.success for answer in book.answers(0.0))
    assert texts[N - 1] == chr(97 + (N - 1) % 26) * text_len
    return kept


@pytest.mark.parametrize("keeps_all", [False, True])
def test_benchmark_serving_keeps_no_texts_in_memory(keeps_all):
    short, long = (kept_bytes(length, keeps_all) for length in (10, 20_000))
    assert long - short < 100_000  # of 2,000,000
    assert short < N * (1000 + 8 * TOKENS)


def test_texts_come_back_as_they_were_put():
    texts = Texts(4)
    for number, text in ((2, "zwei\ud800"), (0, ""), (3, "\N{GRINNING FACE} three")):
        texts.put(number, text)
    assert list(texts) == ["", "", "zwei\ud800", "\N{GRINNING FACE} three"]
    assert texts[1:3] == ["", "zwei\ud800"]


def test_llm_bench_forgets_each_answer_with_the_turn_that_brought_it(monkeypatch, capsys):
    turn, seen, left = [0], [], []

    def more(self, given, real=one_run.LoadTest.more):
        turn[0] += 1
        return real(self, given)

    def take(self, answer, asked, real=llm_book.Book.take):
        left.append(sum(ref() is not None for number, ref in seen if number < turn[0]))
        seen.append((turn[0], weakref.ref(answer)))
        real(self, answer, asked)

    monkeypatch.setattr(one_run.LoadTest, "more", more)
    monkeypatch.setattr(llm_book.Book, "take", take)
    with Server(ttft_ms=2, itl_ms=0.5) as server:
        words = f"-H {server.url} --provider vllm -m sim --headless --only-summary -u 2 -r 2 -t 2s -p 40 -o 8"
        assert llm_bench(words.split()) == 0
    capsys.readouterr()
    assert len({number for number, _ in seen}) > 1
    assert set(left) == {0}
