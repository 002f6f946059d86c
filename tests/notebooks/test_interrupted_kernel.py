"""Interrupting the kernel of a notebook ends a run and keeps what came."""

import time

import pytest

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
manager = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")

LIMIT_S = 120
LONG_RUN = """
import vllmperf as vp

said = []


def progress(snapshot):
    if snapshot.completed and not said:
        said.append(True)
        print("under way", flush=True)


run = vp.bench(
    sim={"ttft_ms": 2, "itl_ms": 1},
    num_prompts=None, duration=600, max_concurrency=2, output_len=4, progress=progress,
)
"""


def printed(client, code, until=None):
    """What a cell prints, until it ends or has printed something."""
    asked, text = client.execute(code), ""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=LIMIT_S)
        if message["parent_header"].get("msg_id") != asked:
            continue
        content = message["content"]
        if message["msg_type"] == "error":
            pytest.fail("\n".join(content["traceback"]))
        text += content.get("text", "") if message["msg_type"] == "stream" else ""
        is_over = message["msg_type"] == "status" and content["execution_state"] == "idle"
        if is_over or (until and until in text):
            return text
    raise TimeoutError(code)


def test_an_interrupt_of_the_kernel_ends_the_run_and_the_next_cell_has_what_came():
    kernel, client = manager.start_new_kernel(startup_timeout=LIMIT_S)
    try:
        assert "under way" in printed(client, LONG_RUN, until="under way")
        kernel.interrupt_kernel()
        state, completed, taken_s = printed(
            client, "print(run.recording.state, run.ttft.n, run.summary['duration_s'])"
        ).split()
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
    assert state == "interrupted"
    assert int(completed) > 0
    assert float(taken_s) < 600
