"""Whether a run's numbers may be trusted: each rule once, with its thresholds, on the numbers of
the summary."""

from collections.abc import Callable
from typing import NamedTuple, TypedDict

from vllmperf.metrics import answer_rules, cache_rules, rules
from vllmperf.metrics import surroundings_rules as around
from vllmperf.metrics.rules import Summary

LEVELS = ("trusted", "caution", "untrusted")
NEVER = float("inf")


class Rule(NamedTuple):
    """Above `caution` the run needs a second look, above `untrusted` its numbers mean something else than they say.
    `measure` gives the value, or None where the rule does not apply; `say` tells a person; `what` names the value
    and `why` its thresholds, for docs/verdict.md."""

    name: str
    measure: Callable[[Summary], float | None]
    caution: float
    untrusted: float
    say: Callable[[Summary, float], str]
    what: str
    why: str


# Thresholds are shares of 1; rules that are a yes or no measure 1 or 0.
RULES = (
    Rule("nothing_completed", rules.nothing_completed, 0, 0, rules.say_nothing_completed,
         "no request completed", "there are no figures"),
    Rule("killed", rules.killed, 0, NEVER, rules.say_killed,
         "the process was killed", "what was in flight is lost, the rest was committed"),
    Rule("still_running", rules.still_running, 0, NEVER, rules.say_still_running,
         "the run still goes on", "long requests are not among those that finished"),
    Rule("interrupted", rules.interrupted, 0, NEVER, rules.say_interrupted,
         "the run was interrupted", "fewer requests than asked for"),
    Rule("gave_up", rules.gave_up, 0, NEVER, rules.say_gave_up,
         "the run gave up: --max-errors, --max-error-rate, or its file could not be written",
         "fewer requests than asked for"),
    Rule("not_precise", rules.not_precise, 0, NEVER, rules.say_not_precise,
         "the precision that --until asks for was not reached", "the interval is wider than asked for"),
    Rule("client_sums", rules.broken_client_sums, 0, 0, rules.say_client_sums,
         "sums of our own figures that must agree and do not", "one of the figures is wrong"),
    Rule("lost_results", rules.lost_results, 0, 0.01, rules.say_lost_results,
         "results lost for want of memory, of the requests sent", "they are missing from every figure"),
    Rule("stolen", around.stolen, 0.05, 0.25, around.say_stolen,
         "CPU time that another virtual machine had (steal in /proc/stat)", "below 5 % it hides in the client's lag"),
    Rule("throttled", around.throttled, 0.01, 0.2, around.say_throttled,
         "periods in which a control group (v1, v2) stopped the client, of those in which it ran",
         "each stop is up to 100 ms long, longer than most gaps; at a fifth p80 is the quota's"),
    Rule("clock_steps", around.clock_steps, 0, NEVER, around.say_clock_steps,
         "times that the wall clock was set by 1 ms or more", "kernel stamps are of that clock until the next turn of the loop"),
    Rule("asleep", around.asleep, 0, 1, around.say_asleep,
         "seconds for which the machine was suspended", "nothing was measured meanwhile"),
    Rule("server_sums", rules.broken_server_sums, 0, NEVER, rules.say_server_sums,
         "sums of the server's figures that must agree and do not", "its token counts may be wrong"),
    Rule("failed", rules.failed_share, 0.01, 0.2, rules.say_failed,
         "requests that failed", "1 % moves p99; of a server that fails a fifth, the latencies are those of a lighter load"),
    Rule("incomplete", rules.incomplete_share, 0.05, 0.5, rules.say_incomplete,
         "requests cut off at the end of the run", "the long ones are missing"),
    Rule("one_piece", answer_rules.one_piece, 0.01, 0.5, answer_rules.say_one_piece,
         "answers whose tokens came all at once", "1 % moves p99; above half TTFT is E2EL at the median"),
    Rule("held_back", answer_rules.held_back, 0.05, 0.2, answer_rules.say_held_back,
         "gaps that have no time of their own because the first chunks came at once, mean of the answers; or the part of "
         "TTFT that is their time, if that is more",
         "TPOT and the mean of ITL are too short by the one, TTFT is too long by the other"),
    Rule("not_streamed", answer_rules.not_streamed, 0, NEVER, answer_rules.say_not_streamed,
         "answers that are no stream although one was asked for", "they are missing from TTFT, TPOT and ITL; E2EL holds"),
    Rule("first_chunk", answer_rules.first_chunk, 0.05, NEVER, answer_rules.say_first_chunk,
         "tokens that TPOT counts and that came with the first chunk, mean of the answers",
         "TPOT is too short by that share; TTFT, ITL and E2EL hold"),
    Rule("unknown_output", answer_rules.unknown_output, 0, NEVER, answer_rules.say_unknown_output,
         "answers with output in fields that we do not know", "its times are in no figure"),
    Rule("length", answer_rules.other_length, 0.01, NEVER, answer_rules.say_other_length,
         "answers longer than asked, or shorter with ignore_eos or min_tokens, by more than 2 % and a token",
         "the figures are right, but of another load"),
    Rule("prompt", answer_rules.prompt_cut, 0.01, NEVER, answer_rules.say_prompt_cut,
         "prompts of which the server counts fewer tokens than were sent: by more than 2 % and a token where they are "
         "known, 20 % of words, half of other text without --tokenizer",
         "the figures are right, but of another load"),
    Rule("cached", answer_rules.from_cache, 0.1, NEVER, answer_rules.say_from_cache,
         "prompt tokens from the server's cache beyond the prefix of the plan",
         "TTFT is shorter by about that share; below a tenth it is the chat template"),
    Rule("prefix_hit_rate", cache_rules.off_hit_rate, 0.05, NEVER, cache_rules.say_off_hit_rate,
         "the share of prompt tokens that the server's prefix cache held, against --prefix-hit-rate",
         "TTFT and throughput are those of another hit rate; below 5 points it is blocks that are not full"),
    Rule("usage", answer_rules.usage_below, 0, NEVER, answer_rules.say_usage_below,
         "answers whose usage counts less than came", "the server's figures contradict each other"),
    Rule("tokenizer", answer_rules.other_tokenizer, 1, NEVER, answer_rules.say_other_tokenizer,
         "tokens of kept texts (--keep-text) by --tokenizer against the answers' usage, how many times more, less one",
         "a text tokenized again has a few per cent other tokens, noise a third more; twice as many is another tokenizer"),
    Rule("rate", around.off_rate, 0.02, 0.2, around.say_off_rate,
         "the rate sent against the rate scheduled, in an open loop", "beyond 2 % another load was measured"),
    Rule("growing", around.growing, 0.02, 0.2, around.say_growing,
         "arrivals of an open loop that joined the queue for good, after the ramp",
         "2 % is a queue that grows without end; at a fifth the latencies are those of the run's length"),
    Rule("warming_up", around.still_warming, 0.05, NEVER, around.say_still_warming,
         "how far TTFT or TPOT fell from the third to the last quarter of the requests, where a rank-sum test is sure of it",
         "the means are of a server that was still changing"),
    Rule("connecting", around.connecting, 0.1, NEVER, around.say_connecting,
         "opening connections, of all TTFT, unless --fresh-connections asks for it", "TTFT is too long by that share"),
    Rule("client_cpu", around.client_cpu, 0.8, NEVER, around.say_client_cpu,
         "CPU time of the engine's threads, of the run's time", "above it a burst makes the client late; its lag says how late"),
    Rule("other_clients", around.other_clients, 0.02, NEVER, around.say_other_clients,
         "requests that the server finished beyond those that were sent, by its /metrics", "the load was heavier than planned"),
    Rule("server_tokens", around.server_tokens, 0.02, NEVER, around.say_server_tokens,
         "output tokens a request by the server's counter against the answers'", "one of the two counts is wrong"),
    Rule("server_times", around.server_misfits, 0.05, NEVER, around.say_server_misfits,
         "requests whose times by the server do not fit ours: off by more than 10 % of E2EL and 10 ms",
         "beyond one in twenty something between us and the engine holds tokens back, or the server's clock is wrong"),
    Rule("server_restarted", around.counters_fell, 0, NEVER, around.say_counters_fell,
         "a counter of the server was lower after the run than before it", "the server started again, or is one of several"),
    Rule("client_lag", rules.client_lag, 0.5, 5.0, rules.say_client_lag,
         "p99 of the time from a chunk's arrival to when we saw it, in typical gaps",
         "stamps are the kernel's, so a lag below a gap costs nothing; far above it the client is the bottleneck"),
    Rule("loop", rules.loop_time, 1.0, 10.0, rules.say_loop_time,
         "p99 of a turn of the client's loop, in typical gaps", "as client_lag, seen from the loop"),
    Rule("schedule_lag", rules.schedule_lag, 0.05, 0.5, rules.say_schedule_lag,
         "p99 of how late requests left in an open loop, in typical TTFT", "the load was another than planned"),
    Rule("slot_wait", rules.slot_wait, 0.05, NEVER, rules.say_slot_wait,
         "p99 of the wait for a slot in an open loop, in typical TTFT", "the limit shaped the load, as it was asked to"),
    Rule("in_flight", rules.missing_in_flight, 0.02, 0.2, rules.say_missing_in_flight,
         "requests missing in flight while there was more to send", "the load was lighter than asked"),
    Rule("coalesced", rules.shared_gaps, 0.05, 0.5, rules.say_shared_gaps,
         "gaps that are even shares of one read", "ITL's percentiles rest on them, its mean does not"),
    Rule("kernel_stamps", rules.no_kernel_stamps, 0, NEVER, rules.say_no_kernel_stamps,
         "kernel stamps were off", "our own lag is in every time"),
    Rule("retries", rules.silent_retries, 0, 0.05, rules.say_silent_retries,
         "requests sent twice, of those sent", "their TTFT holds a lost attempt"),
    Rule("token_source", rules.counted_by_chunks, 0, NEVER, rules.say_counted_by_chunks,
         "answers without usage", "a chunk may hold several tokens"),
    Rule("unsteady", rules.unsteady, 0, NEVER, rules.say_unsteady,
         "TTFT, TPOT, E2EL or the requests in flight never settled", "a longer run would give other figures"),
    Rule("few_samples", rules.few_samples, 0, NEVER, rules.say_few_samples,
         "fewer than 100 requests completed", "p99 lies between the two largest"),
)  # fmt: skip


class Finding(TypedDict):
    """A rule that found something. value: above caution_above (or untrusted_above, None: never)."""

    name: str
    level: str
    value: float
    caution_above: float
    untrusted_above: float | None
    reason: str


class Verdict(TypedDict):
    level: str
    reasons: list[str]
    findings: list[Finding]


def verdict(summary: Summary) -> Verdict:
    """The worst level ("trusted", "caution", "untrusted"), the reasons as sentences, worst first, and the same as
    findings with name, level, value and both thresholds (None: never)."""
    found = [finding for rule in RULES if (finding := _apply(rule, summary))]
    found.sort(key=lambda finding: -LEVELS.index(finding["level"]))
    return {
        "level": found[0]["level"] if found else LEVELS[0],
        "reasons": [finding["reason"] for finding in found],
        "findings": found,
    }


def _apply(rule: Rule, summary: Summary) -> Finding | None:
    value = rule.measure(summary)
    if value is None or value <= rule.caution:
        return None
    return {
        "name": rule.name,
        "level": LEVELS[2 if value > rule.untrusted else 1],
        "value": value,
        "caution_above": rule.caution,
        "untrusted_above": None if rule.untrusted == NEVER else rule.untrusted,
        "reason": rule.say(summary, value),
    }
