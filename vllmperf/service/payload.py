"""The payload of /start-load: flags of vLLM's client as JSON, turned into the words that its command line would have."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllmperf import plan
from vllmperf.dropin.benchmark_serving import flags
from vllmperf.dropin.benchmark_serving.flags import (
    ANY_NUMBER,
    BOOLEAN,
    FLAGS,
    ONE_OR_MORE,
    SWITCH,
    TRISTATE,
    Flag,
)
from vllmperf.dropin.benchmark_serving.prepare import check, host_url
from vllmperf.dropin.benchmark_serving.profiles import PROFILES, Profile
from vllmperf.errors import SettingError, UsageError
from vllmperf.plan.credentials import is_secret
from vllmperf.plan.settings import nearest
from vllmperf.service.errors import FieldError, field_of

FIRST_PROFILE = "vllm-0.6"
STRESS = "stress"
"""`"stress": true` makes the payload a stress run."""
HIDDEN = "***"
OF_THE_RUN = ("result_dir", "record", "both", "save_result", "append_result", "disable_tqdm")
"""Where results go is the service's business: the folder of the run has them all."""
SEE_HELP = re.compile(r"; see [^;]* --help$")
"""Of the command line's errors: who sends a payload has GET /schema."""
FLAG = re.compile(r"--([a-z0-9][a-z0-9-]*)")


@dataclass(frozen=True)
class Load:
    """A payload that was checked. words: for the drop-in's command line, without where results go."""

    profile: Profile
    args: argparse.Namespace
    words: list[str]

    @property
    def base_url(self) -> str:
        url: str | None = self.args.base_url
        return url if url is not None else host_url(self.args)


def checked(payload: Mapping[str, Any]) -> Load:
    """The load that a payload describes. Raises FieldError, which names the key."""
    profile = _profile(payload.get("profile"))
    known = {flag.key: flag for flag in FLAGS[profile.name]}
    words, keys = ["--profile", profile.name], Counter(name.replace("-", "_") for name in payload)
    if (twice := next((name for name in keys if keys[name] > 1), None)) is not None:
        raise FieldError(f"{twice} is given twice, with - and with _", twice)
    for name, value in payload.items():
        words += _words(name, value, known, profile)
    try:
        named, rest = flags.choose(words)
        args = flags.parse(named, rest)
        check(named, args)
        _check_load(args)
    except SettingError as error:
        raise FieldError(str(error), field_of(error)) from None
    except UsageError as error:
        raise _of_field(str(error)) from None
    _check_name(args.result_filename)
    return Load(profile, args, words)


def _check_load(args: argparse.Namespace) -> None:
    """What the client would find when it begins, perhaps an hour later. Raises SettingError."""
    plan.Load(
        request_rate=args.request_rate if math.isfinite(args.request_rate) else 1.0,  # which has no gaps
        burstiness=args.burstiness,
    )
    plan.Workload(seed=args.seed, logprobs=getattr(args, "logprobs", None))


def redacted(payload: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The payload as it may be written, and the keys of it that may not be."""
    headers = payload.get("header")
    if not isinstance(headers, list) or not any(is_secret(str(one).partition("=")[0]) for one in headers):
        return dict(payload), {}
    names = [str(one).partition("=")[0] for one in headers]
    shown = [f"{name}={HIDDEN}" if is_secret(name) else one for name, one in zip(names, headers, strict=True)]
    return {**payload, "header": shown}, {"header": headers}


def _profile(given: object) -> Profile:
    """That which is named; `true` and `false` are the client's own switch."""
    if given is None or str(given).lower() in ("true", "false"):
        return PROFILES[FIRST_PROFILE]
    if given not in FLAGS:
        raise FieldError(f"profile {json.dumps(given)}: choose one of {', '.join(FLAGS)}", "profile")
    return PROFILES[str(given)]


def _check_name(name: str | None) -> None:
    if name is not None and ("/" in name or name in ("", ".", "..")):
        raise FieldError(
            "result_filename must be a plain name: the run has a folder of its own", "result_filename"
        )


# ---- from a key to words ----


def _words(name: str, value: Any, known: Mapping[str, Flag], profile: Profile) -> Iterator[str]:
    key = name.replace("-", "_")
    if key == STRESS or key in OF_THE_RUN or value is None or (key == "profile" and str(value) in FLAGS):
        return
    if key not in known:
        close = nearest(key, known)
        hint = f": did you mean {close}?" if close else f"; profile {profile.name} has no such flag"
        raise FieldError(f"no such key {name}{hint}", name)
    flag = known[key]
    if flag.kind in (SWITCH, TRISTATE):
        is_on = truth(key, value)
        if is_on or flag.kind == TRISTATE:
            yield f"--{'' if is_on else 'no-'}{flag.name}"
    elif flag.kind in (ONE_OR_MORE, ANY_NUMBER):
        yield from _several(flag, value)
    else:
        yield f"--{flag.name}={_text(flag, value)}"


def truth(key: str, value: object) -> bool:
    """true and false, also as texts: `helm --set-string` and Python's str() make such. Raises FieldError."""
    known = {"true": True, "false": False}.get(str(value).lower()) if isinstance(value, str | bool) else None
    if known is None:
        raise FieldError(f"{key} must be true or false (got {_shown(value)})", key)
    return known


def _several(flag: Flag, value: Any) -> Iterator[str]:
    if isinstance(
        value, Mapping
    ):  # {"ttft": 200} for --goodput ttft:200, {"key": "value"} for --metadata key=value
        mark = ":" if flag.key == "goodput" else "="
        value = [f"{name}{mark}{each}" for name, each in value.items()]
    texts = [_text(flag, one) for one in (value if isinstance(value, list) else [value])]
    if any(text.startswith("-") for text in texts):
        raise FieldError(f"{flag.key}: a value must not begin with - (got {_shown(value)})", flag.key)
    if texts:
        yield from (f"--{flag.name}", *texts)


def _text(flag: Flag, value: Any) -> str:
    """The value as somebody would type it."""
    if isinstance(value, bool):
        if flag.kind != BOOLEAN:
            raise FieldError(f"{flag.key} must not be {str(value).lower()}: give its value", flag.key)
        return str(value).lower()
    if isinstance(value, Mapping | list):
        if flag.kind is not json.loads and flag.key != "random_range_ratio":
            raise FieldError(f"{flag.key} must be a single value (got {_shown(value)})", flag.key)
        return json.dumps(value)
    if isinstance(value, float) and value.is_integer() and math.isfinite(value):
        return str(int(value))
    return str(value)


def _of_field(message: str) -> FieldError:
    """The error of the drop-in's parser, with the key that it is about."""
    message = SEE_HELP.sub("", message)
    needed = message.removeprefix("the following arguments are required: ")
    if needed != message:
        first = _key(needed.split(",")[0].split("/")[0])
        return FieldError(f"{first} is missing", first)
    found = FLAG.search(message)
    bare = re.sub(r"^argument (--[a-z0-9-]+)(/--[a-z0-9-]+)*:", r"\1:", message)
    return FieldError(in_keys(bare), _key(found[0]) if found else None)


def in_keys(message: str) -> str:
    """The drop-in's words with keys in the place of flags."""
    return FLAG.sub(lambda match: _key(match[0]), message)


def _key(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
