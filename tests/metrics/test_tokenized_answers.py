"""Tokens of the kept texts by the run's tokenizer, against what the server counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vllmperf as vp


def found_of(model: Path, **settings: Any) -> tuple[Any, list[str]]:
    with vp.sim.Server(ttft_ms=1, itl_ms=0.1) as server:
        run = vp.bench(
            server, num_prompts=10, max_concurrency=2, output_len=16, tokenizer=str(model), **settings
        )
    names = [finding["name"] for finding in run.summary["verdict"]["findings"]]
    return run.summary["answers"]["tokenized"], names


def test_texts_of_another_vocabulary_than_the_tokenizers_are_a_doubt_with_both_counts(model):
    fact, findings = found_of(model, keep_text=True)
    assert fact["requests"] == 10
    assert fact["said_tokens"] == 160
    assert fact["counted_tokens"] > 2 * 160  # the words of the simulator are one token each to itself
    assert "tokenizer" in findings


def test_without_texts_nothing_is_counted(model):
    fact, findings = found_of(model)
    assert fact is None
    assert "tokenizer" not in findings


def test_texts_that_the_tokenizer_counts_as_the_server_does_are_no_doubt(
    model, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        "vllmperf.tokenizer.tokens.Tokens.counts", lambda _self, texts, *_special, **_more: [17] * len(texts)
    )
    fact, findings = found_of(model, keep_text=True)
    assert fact["counted_tokens"] == 170
    assert "tokenizer" not in findings


def test_a_tokenizer_that_is_not_there_any_more_counts_nothing(model, tmp_path):
    with vp.sim.Server(ttft_ms=1, itl_ms=0.1) as server:
        kept = tmp_path / "model"
        kept.symlink_to(model)
        run = vp.bench(
            server,
            num_prompts=4,
            max_concurrency=2,
            output_len=4,
            tokenizer=str(kept),
            keep_text=True,
            record=tmp_path / "a.vllmperf",
        )
        kept.unlink()
    assert vp.open_run(run.path).summary["answers"]["tokenized"] is None
