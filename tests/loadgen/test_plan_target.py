"""What cannot be sent is refused with one line, before anything is."""

import subprocess
import sys

import pytest

from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.loadgen.task import Task

URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"base_url": "http://h/a b"}, "must be plain ASCII"),
        ({"base_url": "http://h/\n"}, "must be plain ASCII"),
        ({"base_url": "http://h/é"}, "must be plain ASCII"),
        ({"base_url": "http://h/?key=1"}, "must be plain ASCII"),
        ({"base_url": "http://h/#x"}, "must be plain ASCII"),
        ({"base_url": "http://h", "endpoint": "/v1/com pletions"}, "must be plain ASCII"),
        ({"base_url": URL, "headers": {"a b": "1"}}, "headers: "),
        ({"base_url": URL, "headers": {"é": "1"}}, "headers: "),
        ({"base_url": URL, "headers": {"X-A": "snow ☃"}}, "headers: "),
        ({"base_url": URL, "headers": {"X-A": "1\r\nX-B: 2"}}, "headers: "),
        ({"base_url": URL, "request_id_prefix": "a\r\nX-B: 2"}, "request_id_prefix"),
        ({"base_url": URL, "api_key": "sk-é"}, "api_key"),
    ],
)
def test_what_no_request_can_carry_is_refused(settings, says):
    with pytest.raises(UsageError, match=says) as caught:
        Task.of({"model": "m", **settings})
    assert "\n" not in str(caught.value)


def test_what_the_system_does_not_give_is_one_line_too():
    words = "--sim --threads 400 --request-rate 100 --num-prompts 4 --no-progress"
    code = (
        "import resource; from vllmperf.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))\n"
        f"raise SystemExit(main(['bench', *{words!r}.split()]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "vllmperf: error: cannot set up the engine: Too many open files; lower --threads"
    )
    assert done.stderr.count("\n") == 1


def test_more_threads_than_any_machine_has_are_one_line(capsys):
    words = "--sim --threads 5000 --num-prompts 4 --no-progress"
    assert main(["bench", *words.split()]) == 2
    assert capsys.readouterr().err.strip() == (
        "vllmperf: error: 'threads' must be at most 1024; lower --threads or --max-concurrency"
    )
