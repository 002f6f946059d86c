"""Output of other kinds, counts that are none, streams written and ended in odd ways, errors."""

from __future__ import annotations

import json

from answers.case import COUNTED, DONE, PLAIN, ROLE, STOP, USAGE, WORDS, Case, chunk, each, event, said, usage

TOOL = [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"a":'}},
    {"index": 0, "function": {"arguments": "1}"}},
]
LOGPROBS = {"content": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}]}

SHAPES = {
    # output of other kinds
    "tool calls": Case(
        chunk({"role": "assistant", "content": None})
        + b"".join(chunk({"tool_calls": [call]}) for call in TOOL)
        + chunk({}, "tool_calls")
        + usage()
        + DONE,
        text="",
        first=3,
    ),
    "logprobs": Case(
        b"".join(
            event({"choices": [{"index": 0, "delta": {"content": w}, "logprobs": LOGPROBS}]}) for w in WORDS
        )
        + STOP
        + usage()
        + DONE
    ),
    "refusal": Case(
        chunk({"role": "assistant", "content": None, "refusal": ""})
        + b"".join(chunk({"refusal": w}) for w in WORDS)
        + STOP
        + usage()
        + DONE
    ),
    "audio": Case(
        chunk({"role": "assistant", "audio": {"id": "audio_1", "transcript": "Hi"}})
        + chunk({"audio": {"transcript": " there!"}})
        + chunk({"audio": {"data": "UklG"}})
        + chunk({"audio": {"expires_at": 1700000000}})
        + STOP
        + usage()
        + DONE,
        text="",
        chunks=3,
    ),
    # usage
    "usage with the last content": Case(
        each(WORDS[:2]) + chunk({"content": "!"}, "stop", usage=USAGE) + DONE
    ),
    "usage as floats": Case(said(*WORDS) + STOP + usage(prompt_tokens=9.0, completion_tokens=3.0) + DONE),
    "usage below zero": Case(
        said(*WORDS) + STOP + usage(prompt_tokens=-1, completion_tokens=-1, total_tokens=-1) + DONE, **COUNTED
    ),
    "usage as strings": Case(
        said(*WORDS) + STOP + usage(prompt_tokens="9", completion_tokens="3", total_tokens="12") + DONE,
        **COUNTED,
    ),
    "usage beyond all numbers": Case(
        said(*WORDS)
        + STOP
        + event(
            b'{"choices":[],"usage":{"prompt_tokens":1e400,"completion_tokens":99999999999999999999999999}}'
        )
        + DONE,
        **COUNTED,
    ),
    "usage with broken parts": Case(
        said(*WORDS) + STOP + usage(completion_tokens=3.5) + DONE, source="chunks"
    ),
    "usage twice, the later one whole": Case(
        chunk({"role": "assistant"}, usage={"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9})
        + said(*WORDS)
        + STOP
        + usage()
        + DONE
    ),
    "usage then an empty one": Case(
        said(*WORDS) + STOP + usage() + event({"choices": [], "usage": {}}) + DONE
    ),
    "usage then zeros": Case(
        said(*WORDS)
        + STOP
        + usage()
        + event({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}})
        + DONE
    ),
    # the wire
    "null as data": Case(
        ROLE + b"data: null\n\n" + said(*WORDS) + b"data: null\n\n" + STOP + usage() + b"data:null\n\n" + DONE
    ),
    "null after each with one line feed": Case(PLAIN.replace(b"\n\n", b"\ndata: null\n")),
    "words for nothing": Case(
        ROLE
        + b'data: ""\n\ndata: []\n\n'
        + said(*WORDS)
        + b"data: undefined\n\ndata: None\n\n"
        + STOP
        + usage()
        + DONE
    ),
    "heartbeats of words": Case(PLAIN.replace(b"\n\n", b"\n\nevent: heartbeat\ndata: ping\n\n")),
    "null alone": Case(
        b"data: null\n\n" * 3, text="", chunks=0, tokens=None, first=None, outcome="no_tokens", **COUNTED
    ),
    "null and DONE": Case(
        b"data: null\n\n" + DONE, text="", chunks=0, tokens=None, first=None, outcome="no_tokens", **COUNTED
    ),
    "CR LF": Case(PLAIN.replace(b"\n", b"\r\n")),
    "CR": Case(PLAIN.replace(b"\n", b"\r")),
    "a mark first": Case(b"\xef\xbb\xbf" + PLAIN),
    "no blank after data:": Case(PLAIN.replace(b"data: ", b"data:")),
    "two blanks after data:": Case(PLAIN.replace(b"data: ", b"data:  ")),
    "a tab after data:": Case(PLAIN.replace(b"data: ", b"data:\t")),
    "blank lines in plenty": Case(PLAIN.replace(b"\n\n", b"\n\n\n\n\n")),
    "event, id and retry lines": Case(
        b"retry: 3000\n\n" + PLAIN.replace(b"data: {", b"event: completion\nid: 7\ndata: {")
    ),
    "fields behind the data": Case(PLAIN.replace(b"}\n\n", b"}\nid: 7\nevent: message\n\n")),
    "an event done without data": Case(PLAIN + b"event: done\n\n"),
    "an event end with empty data": Case(PLAIN + b"event: end\ndata: \n\n"),
    "data in capitals": Case(
        PLAIN.replace(b"data: ", b"Data: "),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="malformed",
        **COUNTED,
    ),
    "several data lines": Case(PLAIN.replace(b', "choices"', b',\ndata: "choices"')),
    "escaped keys": Case(
        PLAIN.replace(b'"choices"', b'"\\u0063hoices"')
        .replace(b'"content"', b'"con\\u0074ent"')
        .replace(b'"usage"', b'"u\\u0073age"')
    ),
    "keys twice": Case(
        PLAIN.replace(b'{"content"', b'{"content": "no", "content"').replace(
            b'"choices"', b'"choices": [{"text": "no"}], "choices"'
        )
    ),
    "raw control characters": Case(
        said("Hi", " there")
        + b'data: {"choices":[{"index":0,"delta":{"content":"a\tb"}}]}\n\n'
        + STOP
        + DONE,
        text="Hi there",
        chunks=2,
        tokens=2,
        outcome="malformed",
        **COUNTED,
    ),
    "half a surrogate": Case(
        said("Hi", " there")
        + b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n'
        + STOP
        + DONE,
        text="Hi there\N{REPLACEMENT CHARACTER}",
        **COUNTED,
    ),
    "NaN as a logprob": Case(
        PLAIN.replace(
            b'"finish_reason"', b'"logprobs": {"token_logprobs": [NaN, -Infinity]}, "finish_reason"'
        )
    ),
    # the end
    "DONE missing": Case(ROLE + said(*WORDS) + STOP + usage()),
    "DONE twice": Case(PLAIN + DONE),
    "DONE with blanks": Case(PLAIN.replace(b"[DONE]", b"  [DONE] \t")),
    "DONE without its blank line": Case(PLAIN.removesuffix(b"\n\n")),
    "DONE quoted": Case(PLAIN.replace(b"[DONE]", b'"[DONE]"')),
    "DONE in small letters": Case(PLAIN.replace(b"[DONE]", b"[done]")),
    "DONE with words behind": Case(PLAIN.replace(b"[DONE]", b"[DONE] req_1")),
    "DONE as an object": Case(PLAIN.replace(b"[DONE]", b'{"done": true}')),
    "DONE as a bare line": Case(PLAIN.replace(b"data: [DONE]", b"[DONE]")),
    "usage behind DONE": Case(ROLE + said(*WORDS) + STOP + DONE + usage()),
    "words behind DONE": Case(PLAIN + b"data: bye\n\n"),
    "JSON behind DONE": Case(PLAIN + event({"trace": "abc"})),
    "finish reason repeated": Case(said(*WORDS) + STOP * 3 + usage() + DONE),
    "finish reason length, then empty content": Case(
        said(*WORDS) + chunk({"content": ""}, "length") + chunk({"content": ""}) + usage() + DONE
    ),
    "a plain body although a stream was asked for": Case(
        json.dumps(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi there!"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": USAGE,
            }
        ).encode(),
        chunks=0,
        first=None,
        kind="application/json",
    ),
    "null as the whole body": Case(
        b"null",
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="malformed",
        kind="application/json",
        **COUNTED,
    ),
    # errors
    "error as a string": Case(
        said("Hi") + event({"error": "out of tokens"}),
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="out of tokens",
        **COUNTED,
    ),
    "error in detail": Case(
        event({"detail": "Not authenticated"}),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="stream_error",
        words="Not authenticated",
        **COUNTED,
    ),
    "error by a code and a message after tokens": Case(
        said("Hi") + event({"code": 1301, "message": "content risk"}),
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="content risk",
        **COUNTED,
    ),
    "a message beside a whole answer": Case(
        said("Hi") + event({"message": "half way"}) + said(*WORDS[1:]) + STOP + usage() + DONE
    ),
    "an error event of words": Case(
        said("Hi") + b"event: error\ndata: upstream timeout\n\n",
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="stream_error",
        words="upstream timeout",
        **COUNTED,
    ),
    "errors as a list": Case(
        event({"errors": [{"message": "bad model"}]}),
        text="",
        chunks=0,
        tokens=None,
        first=None,
        outcome="stream_error",
        words="bad model",
        **COUNTED,
    ),
    "an error within data, as words": Case(
        said("Hi") + b"data: Error: worker died\n\n",
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="malformed",
        words="worker died",
        **COUNTED,
    ),
    "an error as a string of JSON": Case(
        said("Hi") + b'data: "worker died"\n\n',
        text="Hi",
        chunks=1,
        tokens=1,
        outcome="malformed",
        words="worker died",
        **COUNTED,
    ),
    "error null in each": Case(PLAIN.replace(b'{"object"', b'{"error": null, "object"')),
}
