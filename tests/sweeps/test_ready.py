"""When a server is taken to be ready, and when it never will be."""

from pathlib import Path

import pytest

from vllmperf.sim import Server
from vllmperf.sweeps.setups import SetupError, read_setup, ready, wait_ready


@pytest.mark.parametrize(
    ("status", "words"), [(400, "refuses a completion: .*400"), (422, "refuses a completion"), (401, "401")]
)
def test_a_server_that_goes_on_refusing_a_completion_is_given_up_with_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, words: str
) -> None:
    monkeypatch.setattr(ready, "REFUSED_S", 0.2)
    with Server(ttft_ms=1, faults=[f"status:code={status}@every=1"]) as server:
        setup = read_setup({"name": "a", "url": server.url})
        with pytest.raises(SetupError, match=words):
            wait_ready(setup.start(tmp_path), setup.task(server.url, {}), 300)


def test_a_server_that_refuses_at_first_is_waited_for(tmp_path: Path) -> None:
    with Server(ttft_ms=1, faults=["status:code=400@at=1,2,3"]) as server:
        setup = read_setup({"name": "a", "url": server.url})
        assert wait_ready(setup.start(tmp_path), setup.task(server.url, {}), 300) == "sim"


def test_a_request_that_a_router_lost_is_asked_again_soon(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ready, "ANSWER_S", 1.0)
    monkeypatch.setattr(ready, "MOST_ANSWER_S", 600.0)
    with Server(ttft_ms=1, faults=["stall:after=0@at=1"]) as server:
        setup = read_setup({"name": "a", "url": server.url})
        assert wait_ready(setup.start(tmp_path), setup.task(server.url, {}), 300) == "sim"
