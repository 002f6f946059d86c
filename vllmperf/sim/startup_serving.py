"""What a simulated vLLM writes after its start: requests, sleeping, waking up, its end."""

from __future__ import annotations

from vllmperf.sim.startup_plan import Course
from vllmperf.sim.startup_script import NS_PER_S
from vllmperf.sim.startup_style import place

PROMPT = "It took 9.000000 seconds to fall asleep. INFO: Application startup complete. Loading weights took 7.77 seconds"
"""Served text that reads like vLLM's own words."""


def serve(course: Course) -> None:
    """The requests and cycles of a script, one after the other from its ready on."""
    for number in range(course.script.requests):
        course.now += NS_PER_S // 10
        request(course, number)
    for cycle in course.script.cycles:
        course.now += round(cycle.after * NS_PER_S)
        course.now += round(cycle.takes * NS_PER_S)
        (fall_asleep if cycle.kind == "sleep" else wake_up)(course, cycle.takes)


def request(course: Course, number: int) -> None:
    """A request that is logged with its prompt, then its line of access."""
    front, text = (
        course.front[0],
        f"Received request cmpl-{number}: prompt: '{PROMPT}', params: SamplingParams(n=1)",
    )
    if not course.style.at_least("0.11.0"):
        course.line(front, text, source=place("logger.py"))
    access(course, "POST", "/v1/completions")


def access(course: Course, method: str, path: str, status: str = "200 OK") -> None:
    text = f'127.0.0.1:{40000 + len(course.plan.lines) % 20000} - "{method} {path} HTTP/1.1" {status}'
    course.line(course.front[0], text, logger="uvicorn")


def fall_asleep(course: Course, seconds: float) -> None:
    """What the end of a /sleep writes."""
    script, engine = course.script, course.engines[0]
    for rank in course.speakers:
        course.say("sleep_freed", rank.process, gib=script.weights_gib + script.kv_cache_gib, in_use=1.25)
    course.say("asleep", engine, file=_executor(course), seconds=seconds)
    access(course, "POST", "/sleep")


def wake_up(course: Course, seconds: float) -> None:
    """What the end of a /wake_up writes."""
    course.say(
        "awake", course.engines[0], file=_executor(course), seconds=seconds, tags="{'weights', 'kv_cache'}"
    )
    access(course, "POST", "/wake_up")


def end(course: Course) -> None:
    """What a server that is told to end writes."""
    for text in ("Shutting down", "Waiting for application shutdown."):
        course.line(course.front[0], text, logger="uvicorn")
    course.say("shutdown", course.front[0])


def _executor(course: Course) -> str:
    return "abstract.py" if course.style.at_least("0.11.0") else "executor_base.py"
