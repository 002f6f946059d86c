"""What a sizing costs, counted in requests that it simulates and looks at."""

import pytest

pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")

import vllmperf as vp
from vllmperf.sim import replay as virtual


@pytest.fixture
def replays(monkeypatch):
    """Each replay as (requests, output tokens, visits)."""
    seen, real = [], virtual.replay

    def counted(prompts, outputs, **settings):
        done = real(prompts, outputs, **settings)
        seen.append((len(outputs), int(outputs.sum()), done.visits))
        return done

    monkeypatch.setattr(virtual, "replay", counted)
    return seen


def test_a_sizing_looks_at_a_request_when_it_comes_and_when_it_ends_and_not_for_each_token(replays):
    vp.size(
        {"alpha": 6.973, "beta": 0.08, "gamma": 2.0, "delta": 0.01},
        max_num_seqs=16,
        ttft=300,
        tpot=20,
        input_len=64,
        output_len=48,
        output_spread=0.5,
    )
    requests, tokens, visits = (sum(column) for column in zip(*replays, strict=True))
    assert tokens > 40 * requests
    assert visits == 2 * requests
    assert requests < 6e6
