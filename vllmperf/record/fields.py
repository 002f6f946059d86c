"""What each field of a finished request means to a reader. Names and order are those of csrc/stats/record.h.

Times are nanoseconds of CLOCK_MONOTONIC counted from the start of the run. "None" in the run file is NULL.
"""

from typing import NamedTuple


class Field(NamedTuple):
    """One column of the table `requests`."""

    name: str
    unit: str
    meaning: str


FIELDS = (
    Field("index", "", "number of the request in the plan, from 0"),
    Field("scheduled_ns", "ns", "when the plan wanted it sent; none in a closed loop"),
    Field("slot_wait_ns", "ns", "how long it was due but waited for a concurrency slot"),
    Field("sent_ns", "ns", "handed to the transport; none when it was never sent"),
    Field("connected_ns", "ns", "its new connection was ready; none when one was reused or none came"),
    Field("first_byte_ns", "ns", "first byte of the response headers reached the kernel"),
    Field("first_token_ns", "ns", "first token chunk reached the kernel; none for a plain JSON body"),
    Field("first_text_ns", "ns", "first token chunk with text or a tool call, reasoning left aside"),
    Field("last_token_ns", "ns", "last token chunk (or the end of the JSON body) reached the kernel"),
    Field("end_ns", "ns", "the transfer was over, as the program saw it"),
    Field("first_token_seen_ns", "ns", "the program saw the first token chunk"),
    Field("last_token_seen_ns", "ns", "the program saw the last token chunk"),
    Field("bytes_received", "bytes", "response body after transfer decoding"),
    Field("bytes_sent", "bytes", "request body"),
    Field("prompt_tokens", "tokens", "prompt length by the server's usage; none when it did not say"),
    Field("cached_tokens", "tokens", "prompt tokens found in the server's cache, by its usage"),
    Field("output_tokens", "tokens", "output of all choices, by the best source there was"),
    Field(
        "usage_tokens", "tokens", "completion_tokens as the server said, right or not; none when it did not"
    ),
    Field(
        "output_bytes",
        "bytes",
        "output of all choices (text, reasoning, tool arguments) as written in the JSON",
    ),
    Field(
        "first_chunk_bytes",
        "bytes",
        "of these in the first token chunk: many in it means many tokens; none without one",
    ),
    Field("unknown_output", "events", "events that brought output only in fields that we do not know"),
    Field("reads", "", "distinct reads that brought token chunks: 1 when the whole answer came in one piece"),
    Field(
        "first_read_chunks",
        "chunks",
        "token chunks in the first of these reads: many when something held them back",
    ),
    Field("body_kind", "name", "what the body was: none, stream, json (one object), error (of HTTP), other"),
    Field(
        "server_queue_ns", "ns", "from queued to scheduled, by the server's answer; none when it did not say"
    ),
    Field("server_prefill_ns", "ns", "from scheduled to the first token, by the server's answer"),
    Field("server_decode_ns", "ns", "from the first token to the last, by the server's answer"),
    Field("draft_steps", "steps", "steps that verified drafts of tokens, by the server's answer"),
    Field("draft_tokens", "tokens", "drafted tokens, by the server's answer"),
    Field("accepted_tokens", "tokens", "drafted tokens that became output, by the server's answer"),
    Field(
        "tokens_source",
        "name",
        "where output_tokens comes from: usage, token ids, counted chunks, or a tokenizer",
    ),
    Field("status", "", "HTTP status, 0 when there was none"),
    Field("outcome", "name", "how the request ended"),
    Field("finish_reason", "name", "why the server stopped, in its own words"),
    Field("events", "events", "SSE events with data, [DONE] included"),
    Field("chunks", "chunks", "token chunks: events that carry output"),
    Field("coalesced", "chunks", "token chunks that shared their read with another one"),
    Field("choices", "", "how many choices brought output"),
    Field("retries", "", "silent retries by libcurl on a fresh connection"),
    Field("redirects", "", "how many redirects the request followed to its answer"),
    Field(
        "clean_end",
        "",
        "1 when the transfer ended by the rules of HTTP, 0 when it broke off, was cut, or ended within an event",
    ),
    Field("thread", "", "engine thread that carried it"),
    Field("n_gaps", "gaps", "length of the request's gap array; 0 also where its gaps were not kept"),
    Field("n_chunk_stamps", "stamps", "length of the request's stamp array, 0 when stamps were not kept"),
    Field("text_len", "bytes", "length of the kept response text"),
    Field("error_len", "bytes", "length of the kept error body or message"),
)
"""Every field of a record, in the order of the record."""

DURATIONS = {"slot_wait_ns", "server_queue_ns", "server_prefill_ns", "server_decode_ns"}
INSTANTS = frozenset(field.name for field in FIELDS if field.unit == "ns") - DURATIONS
"""Fields that count from the start of the run."""

ASKED = (
    Field(
        "asked_prompt_tokens",
        "tokens",
        "prompt as it was made; an estimate of texts without --tokenizer (random: a token a word, else one for 4 bytes)",
    ),
    Field("asked_output_tokens", "tokens", "limit of a choice's answer as it was sent"),
    Field("session", "", "number of the request's session, from 0; none where the data are no conversations"),
    Field("turn", "", "which turn of it, from 0"),
    Field("session_turns", "turns", "how many turns the session would have"),
)
"""What the client knew before it sent: columns behind those of the record. None where the plan does not say."""

BLOBS = (
    Field("gaps", "ns", "float32: time between consecutive token chunks of one choice, choice after choice"),
    Field(
        "gap_tokens",
        "tokens",
        "uint16: tokens of the later chunk, 0 unknown; one value: the same for all gaps; NULL: unknown",
    ),
    Field(
        "gap_shared",
        "",
        "uint8: 1 where the gap is an even share of the time between two reads; NULL: nowhere",
    ),
    Field("stamps", "ns", "int64 pairs (arrived, seen) of every token chunk; NULL when not kept"),
    Field("text", "", "response text, choices separated by NUL; NULL when not kept"),
    Field("error", "", "start of the error body, or the message"),
)
"""What stands beside the fields in a row of `requests`."""
