"""Each metric and figure for answers of several choices, worked out by hand, and one verdict on an objective everywhere."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import MS, NONE, Request, write_run

from vllmperf import _engine
from vllmperf.metrics import peak
from vllmperf.metrics.definitions import FIGURES, METRICS
from vllmperf.metrics.goodput import is_good, used
from vllmperf.metrics.summary import Summary, summarize
from vllmperf.metrics.view import Rows
from vllmperf.model.slo import Limits, good
from vllmperf.model.slo import used as used_of_search
from vllmperf.record.reader import Recording, read

# Two choices of 3 tokens: a at 50, 60, 70; b at 55, 65, 75 ms after the request was sent at 10 ms, due at 8 ms.
STAMPS = [60, 65, 70, 75, 80, 85]
TWO_CHOICES = Request(
    0,
    sent=10,
    ttft=50,
    gaps=[10, 10, 10, 10],
    tokens=[1, 1, 1, 1],
    stamps=[(at * MS, at * MS) for at in STAMPS],
    fields={
        "scheduled_ns": 8 * MS,
        "slot_wait_ns": 2 * MS,
        "connected_ns": 11 * MS,
        "first_text_ns": 65 * MS,
        "last_token_ns": 85 * MS,
        "last_token_seen_ns": 85 * MS,
        "end_ns": 110 * MS,
        "output_tokens": 6,
        "usage_tokens": 6,
        "chunks": 6,
        "choices": 2,
        "server_queue_ns": 3 * MS,
        "server_prefill_ns": 40 * MS,
        "server_decode_ns": 20 * MS,
        "draft_steps": 2,
        "draft_tokens": 6,
        "accepted_tokens": 3,
    },
)
MEANS = {
    "ttft_ms": 50,  # the first token of any choice
    "ttft_scheduled_ms": 52,
    "ttft_text_ms": 55,
    "tpot_ms": 12.5,  # 25 ms for the 2 later tokens of a choice, not 25 / 5
    "itl_ms": 10,  # within a choice, not the 5 ms between the choices
    "itl_token_ms": 10,
    "e2el_ms": 75,  # the last token of any choice
    "e2el_scheduled_ms": 77,
    "connect_ms": 1,
    "slot_wait_ms": 2,
    "client_wait_ms": 2,
    "network_ms": 7,  # of the 50 to the first token
    "server_queue_ms": 3,
    "server_prefill_ms": 40,
    "server_decode_ms": 20,
    "server_inference_ms": 60,
    "delivery_ms": 5,  # from the first token of any choice to the last of any
}
VALUES = {
    "duration_s": 0.1,
    "requests.completed": 1,
    "requests.not_completed": 0,
    "tokens.prompt": 16,  # once, whatever the number of choices
    "tokens.cached": None,
    "tokens.output": 6,
    "tokens.per_chunk": 1,
    "speculative.draft_tokens": 6,
    "speculative.accepted_tokens": 3,
    "speculative.acceptance": 0.5,
    "speculative.tokens_per_step": 2.5,
    "throughput.requests_per_s": 10,
    "throughput.output_tokens_per_s": 60,
    "throughput.total_tokens_per_s": 220,
    "throughput.peak_output_tokens_per_s": 6,
    "goodput.requests_per_s": 0,
    "goodput.share": 0,
    "throughput.scheduled_per_s": None,
    "throughput.sent_per_s": None,
    "in_flight.max": 1,
    "in_flight.mean": 1,
    "in_flight.mean_sending": None,
}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return read(write_run(tmp_path / "a.run", [TWO_CHOICES], plan={"goodput": {"tpot": 12}}))


@pytest.fixture
def summary(recording: Recording) -> Summary:
    return summarize(recording)


@pytest.mark.parametrize("key", [metric.key for metric in METRICS])
def test_a_metric_of_two_choices(summary: Summary, key: str) -> None:
    row = summary["metrics"][key]
    assert row is not None
    assert row["mean"] == pytest.approx(MEANS[key])


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_a_figure_of_two_choices(summary: Summary, figure: object) -> None:
    assert figure.of(summary) == pytest.approx(VALUES[figure.name])  # type: ignore[attr-defined]


def test_the_peak_of_several_choices_is_unknown_without_the_stamps_of_all_chunks(tmp_path: Path) -> None:
    request = Request(0, gaps=[10, 10], fields={"output_tokens": 6, "choices": 2})
    summary = summarize(read(write_run(tmp_path / "a.run", [request])))
    assert summary["throughput"]["peak_output_tokens_per_s"] is None


@pytest.mark.parametrize("at_a_time", [1, 3, 7, 1_000_000])
def test_the_peak_does_not_depend_on_how_many_chunks_are_taken_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    requests = [Request(i, sent=i * 300.0, gaps=[200.0] * (i % 4)) for i in range(20)]
    requests.insert(3, Request(20, sent=900.0, gaps=[10.0] * 9, outcome="stalled"))
    recording = read(write_run(tmp_path / "a.run", requests))
    seconds = [
        int((request.sent + request.ttft + sum(request.gaps[:place])) // 1000)
        for request in requests
        for place in range(len(request.gaps) + 1)
        if request.outcome == "completed"
    ]
    monkeypatch.setattr(peak, "CHUNKS_AT_A_TIME", at_a_time)
    assert peak.peak_output_tokens_per_s(recording) == np.bincount(seconds).max()


@pytest.mark.parametrize(("itl_ms", "is_kept"), [(12.4, False), (12.5, True), (5.0, False)])
def test_the_search_for_a_capacity_judges_a_request_as_goodput_does(
    recording: Recording, itl_ms: float, is_kept: bool
) -> None:
    rows, limits = Rows(recording.requests), {"ttft_scheduled": 100.0, "tpot": itl_ms}
    assert is_good(rows, limits).tolist() == [is_kept]
    assert good(recording.requests, Limits(100.0, itl_ms)).tolist() == [is_kept]
    assert used_of_search(recording.requests, Limits(100.0, itl_ms)) == pytest.approx(
        max(0.52, 12.5 / itl_ms)
    )
    assert (used(rows, limits) <= 1).tolist() == [is_kept]


def test_an_answer_without_a_first_token_keeps_no_limit_of_it(tmp_path: Path) -> None:
    body = {
        "first_token_ns": NONE,
        "first_text_ns": NONE,
        "first_token_seen_ns": NONE,
        "scheduled_ns": 0,
        "chunks": 0,
    }
    requests = read(write_run(tmp_path / "a.run", [Request(0, gaps=[], fields=body)])).requests
    assert not good(requests, Limits(1e6, None)).any()
    assert not good(requests, Limits(None, 1e6)).any(), "it has no known TPOT"
    assert np.isinf(used_of_search(requests, Limits(1e6, None))).all()


def test_what_did_not_complete_keeps_no_limit(recording: Recording) -> None:
    requests = recording.requests.copy()
    requests["outcome"] = _engine.OUTCOMES.index("stalled")
    assert not good(requests, Limits(1e6, 1e6)).any()
    assert np.isinf(used_of_search(requests, Limits(1e6, 1e6))).all()
