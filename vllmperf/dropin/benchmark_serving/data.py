"""From the flags to the samples: which data set, with which lengths."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from vllmperf import hub
from vllmperf.datasets import burstgpt, hf, prefix_repetition, random_text, sharegpt, timed_trace
from vllmperf.datasets.chance import Chance
from vllmperf.datasets.dataset import Sample
from vllmperf.dropin.benchmark_serving import older_data, random_rerank, templated_data
from vllmperf.dropin.benchmark_serving.backends import Backend
from vllmperf.dropin.benchmark_serving.profiles import Profile
from vllmperf.dropin.benchmark_serving.versions import filled_up
from vllmperf.errors import UsageError
from vllmperf.tokenizer.tokens import Tokens

MADE_UP = ("random", "random-rerank", "prefix_repetition")
"""Data sets without a file."""


def settle(args: argparse.Namespace, profile: Profile, backend: Backend) -> None:
    """Flags that stand for others, after they were said back: --input-len, --dataset, what a data set forces.

    Raises UsageError for what does not go together.
    """
    if profile.version == "0.6" and args.dataset is not None:
        warnings.warn("--dataset is deprecated: give --dataset-name and --dataset-path", stacklevel=2)
        args.dataset_name, args.dataset_path = "sharegpt", args.dataset
    if profile.version == "2026":
        _settle_2026(args, backend)


def _settle_2026(args: argparse.Namespace, backend: Backend) -> None:
    if args.dataset_name in MADE_UP and args.dataset_path is not None:
        raise UsageError(f"--dataset-name {args.dataset_name} has no --dataset-path: leave one of them out")
    if args.input_len is not None:
        args.random_input_len = args.input_len
    if args.output_len is not None:
        for name in ("random", "sharegpt", "custom", "hf", "spec_bench", "prefix_repetition"):
            setattr(args, f"{name}_output_len", args.output_len)
    args.random_range_ratio = _parsed_ratio(args.random_range_ratio)
    if args.dataset_name == "timed_trace":
        if args.backend not in ("vllm", "openai"):
            raise UsageError("--dataset-name timed_trace sends token ids: give --backend vllm or openai")
        args.ignore_eos = True
        args.self_timed = True if args.self_timed is None else args.self_timed
    elif args.self_timed is not None:
        raise UsageError("--self-timed and --no-self-timed go with --dataset-name timed_trace only")
    else:
        args.self_timed = False
    if args.dataset_name == "random" and backend.is_openai:
        args.ignore_eos = True


def samples(
    args: argparse.Namespace, profile: Profile, tokens: Tokens | None, chance: Chance
) -> list[Sample]:
    """The samples of the asked data set. Raises UsageError."""
    if tokens is None and args.dataset_name != "custom":
        raise UsageError(
            f"--dataset-name {args.dataset_name} needs a tokenizer: leave out --skip-tokenizer-init"
        )
    if tokens is None:
        return _custom(args, None, chance)
    made: Mapping[str, Callable[[], list[Sample]]] = {
        "random": lambda: _random(args, profile, tokens, chance),
        "random-rerank": lambda: _random_rerank(args, tokens),
        "sharegpt": lambda: _sharegpt(args, profile, tokens, chance),
        "sonnet": lambda: _sonnet(args, profile, tokens, chance),
        "burstgpt": lambda: burstgpt.samples(tokens, args.num_prompts, path=_path(args), seed=args.seed),
        "custom": lambda: _custom(args, tokens, chance),
        "spec_bench": lambda: _spec_bench(args, tokens, chance),
        "prefix_repetition": lambda: _prefix_repetition(args, tokens, chance),
        "timed_trace": lambda: _timed_trace(args, tokens, chance),
        "hf": lambda: _hf(args, profile, tokens, chance),
    }
    found = made[args.dataset_name]()
    if not found:
        raise UsageError("the data set gives no request: check --num-prompts and --dataset-path")
    return found


def _path(args: argparse.Namespace) -> str:
    return hub.local_file(args.dataset_path or "")


def _shuffles(args: argparse.Namespace) -> bool:
    return not getattr(args, "disable_shuffle", False)


def _oversamples(args: argparse.Namespace) -> bool:
    return not getattr(args, "no_oversample", False)


def _ratios(args: argparse.Namespace) -> tuple[float, float]:
    """Of input and output: a number for both, or since 2026 an object with one each."""
    given = args.random_range_ratio
    try:
        both = (given["input"], given["output"]) if isinstance(given, dict) else (given, given)
        return float(both[0]), float(both[1])
    except (ValueError, TypeError, KeyError):
        raise UsageError(
            f'--random-range-ratio {given}: give a number or {{"input": number, "output": number}}'
        ) from None


def _open_ratios(args: argparse.Namespace) -> tuple[float, float]:
    """The same within the bounds of 2026."""
    found = _ratios(args)
    if not all(0 <= ratio < 1 for ratio in found):
        raise UsageError(f"--random-range-ratio {args.random_range_ratio}: give numbers from 0 to below 1")
    return found


def _parsed_ratio(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return float(text)
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return text


def _random(args: argparse.Namespace, profile: Profile, tokens: Tokens, chance: Chance) -> list[Sample]:
    lengths = {
        "input_len": args.random_input_len,
        "output_len": args.random_output_len,
        "prefix_len": args.random_prefix_len,
    }
    n = args.num_prompts
    if profile.version != "2026":
        ratio, _ = _ratios(args)
        return older_data.random(tokens, chance.numpy, profile.version, n, ratio=ratio, **lengths)
    input_ratio, output_ratio = _open_ratios(args)
    batch = args.random_batch_size
    return random_text.samples(
        tokens, n, seed=args.seed, input_ratio=input_ratio, output_ratio=output_ratio, batch=batch, **lengths
    )


def _random_rerank(args: argparse.Namespace, tokens: Tokens) -> list[Sample]:
    return random_rerank.samples(
        tokens,
        args.num_prompts,
        seed=args.seed,
        input_len=args.random_input_len,
        ratio=_open_ratios(args)[0],
        batch=args.random_batch_size,
        is_reranker=not args.no_reranker,
    )


def _sharegpt(args: argparse.Namespace, profile: Profile, tokens: Tokens, chance: Chance) -> list[Sample]:
    """0.6 shuffles pairs with the generator as it stands, later versions seed it anew and shuffle whole rows: that is
    the same order for the same seed."""
    pairs = sharegpt.pairs(_path(args))
    if profile.version != "0.6":
        chance.python.seed(args.seed)
    if _shuffles(args):
        chance.python.shuffle(pairs)
    usable = sharegpt.usable(tokens, pairs, args.sharegpt_output_len)
    found = list(itertools.islice(usable, args.num_prompts))
    if getattr(args, "enable_multimodal_chat", False):
        found = [sample._replace(prompt=_message(str(sample.prompt))) for sample in found]
    return _filled_up(args, profile, chance, found)


def _message(text: str) -> list[dict[str, Any]]:
    """In the original's order of keys, which is not that of its chat backend."""
    return [{"role": "user", "content": [{"text": text, "type": "text"}]}]


def _filled_up(
    args: argparse.Namespace, profile: Profile, chance: Chance, found: list[Sample]
) -> list[Sample]:
    if not _oversamples(args):
        return found
    return filled_up(found, args.num_prompts, chance, args.seed, profile.version)


def _sonnet(args: argparse.Namespace, profile: Profile, tokens: Tokens, chance: Chance) -> list[Sample]:
    return older_data.sonnet(
        tokens,
        chance,
        profile.version,
        args.num_prompts,
        path=_path(args),
        input_len=args.sonnet_input_len,
        output_len=args.sonnet_output_len,
        prefix_len=args.sonnet_prefix_len,
        is_chat=args.backend == "openai-chat",
    )


def _custom(args: argparse.Namespace, tokens: Tokens | None, chance: Chance) -> list[Sample]:
    ways = templated_data.Ways(
        seed=args.seed,
        output_len=args.custom_output_len,
        skip_template=args.skip_chat_template,
        template_fields=args.chat_template_kwargs,
        shuffle=_shuffles(args),
        oversample=_oversamples(args),
    )
    return templated_data.custom(tokens, chance, args.num_prompts, _path(args), ways)


def _spec_bench(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    ways = templated_data.Ways(
        seed=templated_data.SPEC_BENCH_SEED,
        output_len=args.spec_bench_output_len,
        shuffle=_shuffles(args),
        oversample=_oversamples(args),
    )
    category = args.spec_bench_category
    return templated_data.spec_bench(tokens, chance, args.num_prompts, _path(args), category, ways)


def _prefix_repetition(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    return prefix_repetition.samples(
        tokens,
        chance,
        seed=args.seed,
        prefix_len=args.prefix_repetition_prefix_len,
        suffix_len=args.prefix_repetition_suffix_len,
        groups=prefix_repetition.groups(args.num_prompts, args.prefix_repetition_num_prefixes),
        output_len=args.prefix_repetition_output_len,
        shuffle=_shuffles(args),
    )


def _timed_trace(args: argparse.Namespace, tokens: Tokens, chance: Chance) -> list[Sample]:
    labels = timed_trace.Labels(
        time=args.timed_trace_label_timestamp,
        input_len=args.timed_trace_label_input_length,
        output_len=args.timed_trace_label_output_length,
        hashes=args.timed_trace_label_hash_ids,
    )
    block, seconds = args.timed_trace_chunk_hash_size, args.timed_trace_sec_multiplier
    print(
        f"timed-trace: chunk_size: {block}, sec_multiplier: {float(seconds)}, "
        f'label_ts: "{labels.time}", label_input_length: "{labels.input_len}", '
        f'label_output_length: "{labels.output_len}", label_hash_ids: "{labels.hashes}"',
        flush=True,
    )
    chance.seed(args.seed)
    path, n = _path(args), args.num_prompts
    return timed_trace.samples(tokens.all_ids, n, path=path, block=block, seconds=seconds, labels=labels)


def _hf(args: argparse.Namespace, profile: Profile, tokens: Tokens, chance: Chance) -> list[Sample]:
    skips_template = getattr(args, "skip_chat_template", False)
    found = hf.samples(
        tokens,
        path=_path(args),
        name=getattr(args, "hf_name", None),
        subset=args.hf_subset,
        split=args.hf_split,
        seed=args.seed,
        output_len=args.hf_output_len,
        template=None if skips_template else lambda text: templated_data.templated(tokens, text),
        shuffle=_shuffles(args),
    )
    return _filled_up(args, profile, chance, list(itertools.islice(found, args.num_prompts)))


def note(text: str) -> None:
    """A line for people that is none of the original's output."""
    print(text, file=sys.stderr, flush=True)
