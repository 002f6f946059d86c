"""Whether the answers were what was asked for: facts of the completed requests, for the verdict.

Each fact counts the requests that are unlike what was asked (`requests`) among those that it looked at (`of`). It is
None where the recording cannot tell, as in files of older versions, or where there is nothing to look at.
"""

from typing import Any

import numpy as np

import vllmperf._engine as _engine
from vllmperf import datasets
from vllmperf.errors import VllmperfError
from vllmperf.metrics.percentiles import percentile
from vllmperf.metrics.view import COMPLETED, Block, Completed, Flags, Floats
from vllmperf.plan import BACKENDS

Part = dict[str, Any]

FAR = 0.02
"""A count that is off by more than this share, and by more than one token, is another count."""
ESTIMATED_WORDS, ESTIMATED_TEXT = 0.2, 0.5
"""The same for prompts without a tokenizer: common words are hardly ever more than a token each, other text varies."""

MANY_TOKENS, FEW_BYTES = 1.5, 1.5
"""More tokens a chunk than this with fewer bytes a token than that: tokens that brought no output."""

TOKENIZED = 200
"""So many texts are counted: a tokenizer does some thousand a second."""

NS_PER_MS = 1e6
USAGE = _engine.TOKENS_SOURCES.index("usage")
CHUNKS = _engine.TOKENS_SOURCES.index("chunks")


def answers(done: Completed) -> Part:
    """All facts by name."""
    if len(done.requests) == 0:
        return dict.fromkeys(FACTS)
    return {name: fact(done) for name, fact in FACTS.items()}


# ---- how the tokens came ----


def _chunks(done: Block) -> Floats:
    return done.requests["chunks"].astype(np.float64)


def _single(done: Block) -> Flags:
    """Streams of one choice."""
    single: Flags = (done.requests["choices"] == 1) & _is_stream(done)
    return single


def _is_stream(done: Completed | Block) -> Flags:
    stream: Flags = done.requests["first_token_ns"] != _engine.NONE
    return stream


def _leading_burst(done: Block) -> Floats:
    """Token chunks of each answer that came in its first burst, at least 1."""
    burst = done.gap_facts.burst + 1.0
    in_one_read = done.field("first_read_chunks")
    leading: Floats = np.fmax(burst, np.where(_single(done), in_one_read, np.nan))
    return leading


def _has_several_tokens(done: Block) -> Flags:
    """A last token without text makes two tokens of one chunk."""
    tokens, chunks = np.fmax(done.field("output_tokens"), _chunks(done)), _chunks(done)
    several: Flags = _is_stream(done) & (tokens >= 2) & ((chunks >= 2) | (tokens >= 3))
    return several


def _came_in_one_piece(done: Block) -> Flags:
    at_once = done.requests["first_token_ns"] == done.requests["last_token_ns"]
    burst = _single(done) & (_leading_burst(done) >= _chunks(done))
    came: Flags = _has_several_tokens(done) & (at_once | burst)
    return came


def _one_piece(done: Completed) -> Part | None:
    of = int(done.by_blocks(lambda block: _has_several_tokens(block) & block.has_gaps).sum())
    came = done.by_blocks(lambda block: _came_in_one_piece(block) & block.has_gaps)
    return {"requests": int(came.sum()), "of": of} if of else None


def _held_back(done: Completed) -> Part | None:
    """Answers that began with several chunks at once.

    gap_share: of the gaps, on average, that have no time of their own. ttft_share: of TTFT, that is the time of these gaps.
    Both are lower bounds where is_lower_bound says that the chunks of the first read were not counted.
    """
    rows = done.by_blocks(_may_be_held_back)
    if not rows.any():
        return None
    late_ns = done.by_blocks(_late_ns, rows)
    ttft_ns = done.by_blocks(lambda block: np.maximum(block.between("sent_ns", "first_token_ns"), 1), rows)
    ttft_share = min(float(late_ns.sum() / ttft_ns.sum()), 1.0)
    del ttft_ns
    share = done.by_blocks(_late_share, rows)
    is_late = done.by_blocks(_burst, rows) > 1
    return {
        "requests": int(is_late.sum()),
        "of": len(is_late),
        "gap_share": float(share.mean()),
        "ttft_share": ttft_share,
        "is_lower_bound": bool(
            done.by_blocks(lambda block: np.isnan(block.field("first_read_chunks")), rows).any()
        ),
        "burst_chunks": _median(done.by_blocks(_burst, rows)[is_late]),
        "of_chunks": _median(done.by_blocks(_chunks, rows)[is_late]),
        "ttft_late_ms": _mean_ms(late_ns[is_late]),
    }


def _may_be_held_back(done: Block) -> Flags:
    rows: Flags = _single(done) & (done.requests["chunks"] >= 2) & ~_came_in_one_piece(done) & done.has_gaps
    return rows


def _burst(done: Block) -> Floats:
    burst: Floats = np.minimum(_leading_burst(done), _chunks(done) - 1)
    return burst


def _late_share(done: Block) -> Floats:
    """Of the gaps, those of the first burst."""
    share: Floats = (_burst(done) - 1) / np.maximum(
        _chunks(done) - 1, 1
    )  # 0 of requests that are not looked at
    return share


def _late_ns(done: Block) -> Floats:
    """Time of the gaps of the first burst."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of requests that are not looked at
        gap_ns = done.between("first_token_ns", "last_token_ns") / (_chunks(done) - _burst(done))
    late: Floats = (_burst(done) - 1) * gap_ns
    return late


def _first_chunk(done: Completed) -> Part | None:
    """Tokens in the first chunk beside the one that TPOT leaves out. share: of the tokens that TPOT divides by."""
    rows = done.by_blocks(_has_known_first_chunk)
    if not rows.any():
        return None
    n = done.by_blocks(lambda block: block.field("output_tokens"), rows)
    first = done.by_blocks(_tokens_of_first_chunk, rows)
    np.clip(first, 1, n - 1, out=first)
    share = (first - 1) / (n - 1)
    found: Part = {"requests": int((share > FAR).sum()), "of": len(n), "share": float(share.mean())}
    del share
    time_ns = done.by_blocks(lambda block: block.between("first_token_ns", "last_token_ns"), rows)
    return found | {
        "tokens": _median(first),
        "of_tokens": _median(n),
        "tpot_ms": _mean_ms(time_ns / (n - 1)),
        "tpot_without_ms": _mean_ms(time_ns / (n - first)),
    }


def _has_known_first_chunk(done: Block) -> Flags:
    n, chunks = done.field("output_tokens"), _chunks(done)
    rows = _single(done) & (chunks >= 2) & (n >= 2) & ~np.isnan(_tokens_of_first_chunk(done))
    known: Flags = (
        rows & ~_came_in_one_piece(done) & (done.requests["tokens_source"] != CHUNKS) & done.has_gaps
    )
    return known


def _tokens_of_first_chunk(done: Block) -> Floats:
    """By the tokens of the other chunks where they are known, else by its share of the bytes. A chunk that brings
    output only after tokens without any (a parser that holds them back) counts them too. NaN: not known."""
    n, chunks = done.field("output_tokens"), _chunks(done)
    facts = done.gap_facts
    is_known = facts.known == np.maximum(done.gap_lengths, 1)
    exact = np.where(is_known, n - facts.tokens, np.nan)
    total = done.field("output_bytes")
    with np.errstate(divide="ignore", invalid="ignore"):
        by_bytes = np.where((total > 0) & (n > chunks), n * done.field("first_chunk_bytes") / total, np.nan)
        silent = (n > MANY_TOKENS * chunks) & (total / n < FEW_BYTES)
    estimate = np.where(silent, np.fmax(by_bytes, n - chunks + 1), by_bytes)
    estimate = np.where((n <= chunks) & ~np.isnan(total), 1.0, estimate)
    return np.where(np.isnan(exact), estimate, exact)


def _not_streamed(done: Completed) -> Part | None:
    plan = done.recording.plan
    if plan.get("stream") is not True or plan.get("backend") not in BACKENDS:
        return None  # profiles have backends that never stream
    return {"requests": int((~_is_stream(done)).sum()), "of": len(done.requests)}


def _unknown_output(done: Completed) -> Part | None:
    events = done.field("unknown_output")
    known = ~np.isnan(events)
    if not known.any():
        return None
    return {"requests": int((events > 0).sum()), "of": int(known.sum()), "events": int(events[known].sum())}


# ---- how many there were ----


def _length(done: Completed) -> Part | None:
    """Answers of another length than asked: above the limit, or below it where the server was told to reach it."""
    limit, came = done.asked("asked_output_tokens"), done.tokens_per_choice
    least = _least(done, limit)
    rows = ~np.isnan(limit) & ~np.isnan(came)
    if not rows.any():
        return None
    longer = rows & _is_above(came, limit)
    shorter = rows & _is_above(least, came)
    off = longer | shorter
    return {
        "requests": int(off.sum()),
        "of": int(rows.sum()),
        "shorter": int(shorter.sum()),
        "longer": int(longer.sum()),
        "asked_tokens": _median(np.where(longer, limit, least)[off]),
        "came_tokens": _median(came[off]),
        "counted_by_chunks": int((done.requests["tokens_source"][off] == CHUNKS).sum()),
    }


def _least(done: Completed, limit: Floats) -> Floats:
    """What an answer must have: its limit with ignore_eos, min_tokens, or nothing (NaN)."""
    plan = done.recording.plan
    fields = {
        "ignore_eos": plan.get("ignore_eos"),
        **(plan.get("sampling") or {}),
        **(plan.get("extra_body") or {}),
    }
    if fields["ignore_eos"] is True:
        return limit
    least = fields.get("min_tokens")
    return np.full(len(limit), float(least) if isinstance(least, int) else np.nan)


def _is_above(a: Floats, b: Floats) -> Flags:
    above: Flags = (a - b) > np.maximum(1, FAR * a)  # never for NaN
    return above


def _prompt(done: Completed) -> Part | None:
    """Prompts that the server counts fewer tokens in than were sent. A count of 0 is none."""
    sent, came = done.asked("asked_prompt_tokens"), done.field("prompt_tokens")
    rows = ~np.isnan(sent) & (came > 0)
    if not rows.any():
        return None
    tolerance = _prompt_tolerance(done.recording.plan)
    cut = rows & (sent - came > np.maximum(1, tolerance * sent))
    return {
        "requests": int(cut.sum()),
        "of": int(rows.sum()),
        "sent_tokens": _median(sent[cut]),
        "came_tokens": _median(came[cut]),
        "is_estimate": tolerance > FAR,
    }


def _prompt_tolerance(plan: dict[str, Any]) -> float:
    dataset, is_chat = (
        datasets.table().get(str(plan.get("dataset_name"))),
        plan.get("backend") == "openai-chat",
    )
    if plan.get("tokenizer") and plan.get("dataset_name") != "custom":
        return FAR
    if dataset is not None and dataset.is_made_up:
        is_text = is_chat or plan.get("text_prompts") or dataset.conversations
        return ESTIMATED_WORDS if is_text else FAR
    return ESTIMATED_TEXT


def _cached(done: Completed) -> Part | None:
    """Prompt tokens from the server's cache, beyond the prefix that all prompts share by plan."""
    cached, prompt = done.field("cached_tokens"), done.field("prompt_tokens")
    rows = ~np.isnan(cached) & (prompt > 0)
    if not rows.any():
        return None
    beyond = np.maximum(cached[rows] - (done.recording.plan.get("prefix_len") or 0), 0)
    return {
        "requests": int((beyond > 0).sum()),
        "of": int(rows.sum()),
        "tokens": int(beyond.sum()),
        "of_tokens": int(prompt[rows].sum()),
    }


def _usage(done: Completed) -> Part | None:
    """Answers whose usage counts fewer tokens than came, so that it was not used."""
    said, used = done.field("usage_tokens"), done.field("output_tokens")
    rows = ~np.isnan(said)
    if not rows.any():
        return None
    wrong = rows & (said < used) & (done.requests["tokens_source"] != USAGE)
    return {
        "requests": int(wrong.sum()),
        "of": int(rows.sum()),
        "said_tokens": _median(said[wrong]),
        "used_tokens": _median(used[wrong]),
    }


def _tokenized(done: Completed) -> Part | None:
    """Tokens of a sample of the kept texts by the run's tokenizer, against the counts of the answers. Of all completed requests:
    whether two counts agree does not change with warm-up."""
    recording, folder = done.recording, done.recording.plan.get("tokenizer")
    rows = recording.requests
    known = (rows["outcome"] == COMPLETED) & (rows["choices"] == 1) & (rows["tokens_source"] == USAGE)
    places = [place for place in np.flatnonzero(known).tolist() if recording.texts[place]]
    places = places[:: max(1, len(places) // TOKENIZED)][:TOKENIZED]
    if (
        not places
        or folder is None
        or (counted := _count_of([recording.texts[place] or "" for place in places], folder)) is None
    ):
        return None
    said = int(rows["output_tokens"][places].sum(dtype=np.int64))
    return {"requests": len(places), "said_tokens": said, "counted_tokens": counted}


def _count_of(texts: list[str], folder: str) -> int | None:
    """None where the tokenizer is not on this machine, or the package is not."""
    try:
        from vllmperf.tokenizer.tokens import Tokens

        return sum(Tokens(folder).counts(texts, special=False))
    except VllmperfError:
        return None


# ---- figures ----


def _median(values: Floats) -> float | None:
    return percentile(values, 50) if len(values) else None


def _mean_ms(values_ns: Floats) -> float | None:
    return float(values_ns.mean()) / NS_PER_MS if len(values_ns) else None


FACTS = {
    "one_piece": _one_piece,
    "held_back": _held_back,
    "first_chunk": _first_chunk,
    "not_streamed": _not_streamed,
    "unknown_output": _unknown_output,
    "length": _length,
    "prompt": _prompt,
    "cached": _cached,
    "usage": _usage,
    "tokenized": _tokenized,
}
