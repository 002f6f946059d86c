"""The rules of the verdict that doubt the answers: what they measure in summary["answers"], and how they say it.

Their thresholds stand in verdict.py. Each sentence says how many, what that means for the figures, and what to do.
"""

from typing import Any

from vllmperf.metrics.rules import Summary, _ms, client_lag
from vllmperf.numbers import brief, percent
from vllmperf.place import CLUSTER, LOOPBACK, NETWORK, SIMULATOR, Place, place_of

PROXY = (
    "holds the stream back (turn its buffering off: nginx proxy_buffering off, haproxy option http-no-delay)"
)
AT_ONCE = "the server sends many tokens at once"
HOLDS_BACK: dict[Place, str] = {
    SIMULATOR: AT_ONCE,
    LOOPBACK: f"{AT_ONCE}, or a tunnel or proxy on this machine {PROXY}",
    CLUSTER: f"a sidecar, router or gateway {PROXY}, or {AT_ONCE}",
    NETWORK: f"a proxy {PROXY}, or {AT_ONCE}",
}
OFTEN_STOPPED = 0.2
"""Of a control group's periods: from here on the client's own stops are as likely a cause."""
READ_LATE = "this client came late to read them: give it a core of its own before you look for a proxy"
FRONT_END = "the server's front end, where a request spends {} by its /metrics, sent them late"
OR_CLIENT = ", or this client read them late: give both cores of their own before you look for a proxy"
FRONT_END_SHARE = 0.5
"""Of the time that tokens were held back: from here on the time in the server's front end may be all of it."""


def _fact(summary: Summary, name: str) -> dict[str, Any] | None:
    fact: dict[str, Any] | None = summary["answers"].get(name)
    return fact


def _share(summary: Summary, name: str) -> float | None:
    fact = _fact(summary, name)
    return None if fact is None or not fact["of"] else float(fact["requests"]) / float(fact["of"])


def _answers(summary: Summary, name: str) -> str:
    """30 of 300 answers (10 %)"""
    fact = summary["answers"][name]
    return f"{fact['requests']:,} of {fact['of']:,} answers ({percent(fact['requests'] / fact['of'])})"


def _count(value: float | None) -> str:
    return "?" if value is None else brief(value, 6)


# ---- how the tokens came ----


def one_piece(summary: Summary) -> float | None:
    return _share(summary, "one_piece")


def say_one_piece(summary: Summary, _: float) -> str:
    return (
        f"{_answers(summary, 'one_piece')} came in one piece: their TTFT is the time of the whole answer, and "
        f"nothing is known of their TPOT and ITL; {_who_held_back(summary)}"
    )


def held_back(summary: Summary) -> float | None:
    fact = _fact(summary, "held_back")
    return None if fact is None else max(float(fact["gap_share"]), float(fact["ttft_share"]))


def say_held_back(summary: Summary, _: float) -> str:
    fact = summary["answers"]["held_back"]
    return (
        f"{_answers(summary, 'held_back')} began with several chunks at once ({_count(fact['burst_chunks'])} of "
        f"{_count(fact['of_chunks'])}, medians): their TTFT is too long by at least {_ms(fact['ttft_late_ms'])}, and the means "
        f"of TPOT and ITL are too short by {percent(fact['gap_share'])}; {_who_held_back(summary)}"
    )


def _who_held_back(summary: Summary) -> str:
    front_ms, holds_back = busy_front_end_ms(summary), HOLDS_BACK[place_of(summary["plan"])]
    if front_ms is None:
        return holds_back if _kept_up(summary) else READ_LATE
    return FRONT_END.format(_ms(front_ms)) + (f", or {holds_back}" if _kept_up(summary) else OR_CLIENT)


def busy_front_end_ms(summary: Summary) -> float | None:
    """The mean time in the server's front end, where it may explain that tokens came late. vLLM's front end is a process of
    its own: without a core it takes the engine's tokens late, and sends several at once."""
    means, held = (summary.get("server_times") or {}).get("means"), _fact(summary, "held_back")
    front_ms = None if means is None else means["front_end_ms"]
    if front_ms is None or held is None or not held["requests"]:
        return None
    held_ms = float(held["ttft_late_ms"]) * float(held["requests"]) / float(held["of"])
    return float(front_ms) if front_ms >= FRONT_END_SHARE * held_ms else None


def _kept_up(summary: Summary) -> bool:
    """Whether chunks that were seen together may have arrived apart: then nobody held them back but this client."""
    lag, machine = client_lag(summary), summary.get("machine") or {}
    is_stopped = (machine.get("throttled_periods_share") or 0.0) > OFTEN_STOPPED
    return not is_stopped and (lag is None or lag <= 1)


def first_chunk(summary: Summary) -> float | None:
    fact = _fact(summary, "first_chunk")
    return None if fact is None else float(fact["share"])


def say_first_chunk(summary: Summary, _: float) -> str:
    fact = summary["answers"]["first_chunk"]
    return (
        f"the first chunk of an answer brought about {_count(fact['tokens'])} of its {_count(fact['of_tokens'])} tokens "
        f"(medians): TPOT divides by tokens that took none of its time; without them it is "
        f"{_ms(fact['tpot_without_ms'])}, not {_ms(fact['tpot_ms'])} (means)"
    )


def not_streamed(summary: Summary) -> float | None:
    return _share(summary, "not_streamed")


def say_not_streamed(summary: Summary, _: float) -> str:
    return (
        f"{_answers(summary, 'not_streamed')} came as one JSON object although a stream was asked for: they have no "
        'TTFT, TPOT and ITL; the server does not stream, or something on the way drops "stream": true; --no-stream measures '
        "whole answers"
    )


def unknown_output(summary: Summary) -> float | None:
    return _share(summary, "unknown_output")


def say_unknown_output(summary: Summary, _: float) -> str:
    return (
        f"{_answers(summary, 'unknown_output')} hold output in fields that vllmperf does not know: TTFT, TPOT and ITL "
        "leave it out; please report which field that is"
    )


# ---- how many there were ----


def other_length(summary: Summary) -> float | None:
    return _share(summary, "length")


def say_other_length(summary: Summary, _: float) -> str:
    fact = summary["answers"]["length"]
    shorter, longer = fact["shorter"] > 0, fact["longer"] > 0
    which = "shorter or longer" if shorter and longer else "shorter" if shorter else "longer"
    by_chunks = ", counted by chunks" if fact["counted_by_chunks"] else ""
    return (
        f"{_answers(summary, 'length')} are {which} than asked ({_count(fact['came_tokens'])} tokens where "
        f"{_count(fact['asked_tokens'])} were asked, medians{by_chunks}): latency and throughput are of other work; "
        f"{_length_remedy(summary)}"
    )


def _length_remedy(summary: Summary) -> str:
    plan, fact = summary["plan"], summary["answers"]["length"]
    if plan.get("backend") == "openai-chat" and not plan.get("chat_max_tokens") and fact["longer"]:
        return "the server may not know max_completion_tokens: --chat-max-tokens sends max_tokens"
    if fact["longer"] and fact["counted_by_chunks"]:
        return "the server does not keep max_tokens, or sends more chunks than tokens: take its usage or its log to tell"
    if fact["longer"]:
        return "the server does not keep max_tokens: set its limit, or give the --output-len that it keeps"
    chat = (
        " (or max_completion_tokens: try --chat-max-tokens)" if plan.get("backend") == "openai-chat" else ""
    )
    return f"the server does not keep ignore_eos{chat}: give the --output-len that it reaches"


def prompt_cut(summary: Summary) -> float | None:
    return _share(summary, "prompt")


def say_prompt_cut(summary: Summary, share: float) -> str:
    fact = summary["answers"]["prompt"]
    about = "about " if fact["is_estimate"] else ""
    return (
        f"{percent(share)} of the prompts were shorter at the server than sent ({_count(fact['came_tokens'])} tokens by "
        f"its usage, {about}{_count(fact['sent_tokens'])} sent, medians): TTFT is of less work; the server may cut prompts "
        "to its context length: raise that, or send shorter ones"
    )


def from_cache(summary: Summary) -> float | None:
    """Turns of a conversation are meant to find the earlier ones in the cache."""
    fact = _fact(summary, "cached")
    return (
        None if fact is None or summary.get("sessions") else float(fact["tokens"]) / float(fact["of_tokens"])
    )


def say_from_cache(summary: Summary, share: float) -> str:
    is_random = summary["plan"].get("dataset_name") == "random"
    although = ", although no two of this run are the same" if is_random else ""
    return (
        f"{percent(share)} of the prompt tokens came from the server's prefix cache{although}: TTFT is of the rest alone; "
        "take another --seed for each run, or turn the cache off (vLLM: --no-enable-prefix-caching)"
    )


def usage_below(summary: Summary) -> float | None:
    return _share(summary, "usage")


def say_usage_below(summary: Summary, _: float) -> str:
    fact = summary["answers"]["usage"]
    return (
        f"the usage of {_answers(summary, 'usage')} contradicts the stream ({_count(fact['said_tokens'])} tokens where "
        f"{_count(fact['used_tokens'])} came, medians): it was not used, and the tokens are a count of what came"
    )


def other_tokenizer(summary: Summary) -> float | None:
    """How many times as large the one count is as the other, less one."""
    fact = summary["answers"].get("tokenized")
    if fact is None or not fact["said_tokens"] or not fact["counted_tokens"]:
        return None
    ratio = fact["counted_tokens"] / fact["said_tokens"]
    return float(max(ratio, 1 / ratio) - 1)


def say_other_tokenizer(summary: Summary, _: float) -> str:
    fact = summary["answers"]["tokenized"]
    return (
        f"the texts of {_count(fact['requests'])} answers have {_count(fact['counted_tokens'])} tokens by --tokenizer, and "
        f"{_count(fact['said_tokens'])} by the server's usage: the one is of another model, or the other counts something else"
    )
