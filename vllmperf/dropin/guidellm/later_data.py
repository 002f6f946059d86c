"""Prompts in the spelling of guidellm 0.7: --data, --data-loader, --data-column-mapper, --tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from vllmperf.dropin.guidellm import pairs
from vllmperf.dropin.guidellm.values import is_on, whole
from vllmperf.errors import UsageError

Flags = dict[str, Any]
FILES = ("text_file", "csv_file", "json_file", "parquet_file", "arrow_file")
HUB = ("huggingface", "hf")
KIND = re.compile(r'(^|,)kind=|^{.*"kind"', re.DOTALL)


def data(texts: Sequence[str]) -> Flags:
    """--data: a synthetic shape, a file, or a data set; in the spelling of 0.3 as it stands. Raises UsageError by name."""
    if len(texts) > 1:
        raise UsageError("guidellm: --data is given more than once: one source of prompts is taken here")
    text = texts[0].strip()
    if not KIND.search(text):
        return {"data": texts[0]}
    given = pairs.read("data", text)
    kind = pairs.kind_of("data", given, ("synthetic_text", *FILES, *HUB))
    if kind == "synthetic_text":
        return {"data": json.dumps(given)}
    key = "source" if kind in HUB else "path"
    pairs.only("data", given, (key, "load_kwargs"))
    if not given.get(key):
        raise UsageError(f"guidellm: --data: {key} is missing; write kind={kind},{key}=…")
    arguments = pairs.plain(pairs.mapping("data", given.get("load_kwargs"), "load_kwargs"))
    return {"data": str(given[key]), **({"data_args": arguments} if arguments else {})}


def loader(text: str) -> Flags:
    """--data-loader: how many prompts, and whether they are shuffled."""
    given = pairs.read("data_loader", text)
    pairs.kind_of("data_loader", given, ("pytorch",))
    pairs.only("data_loader", given, ("samples", "shuffle", "num_workers"))
    found: Flags = {"data_sampler": "random"} if is_on(str(given.get("shuffle", False))) else {}
    samples = str(given.get("samples", -1))
    return found if samples == "-1" else {**found, "data_samples": pairs.value("data_loader", whole, samples)}


def columns(text: str) -> Flags:
    """--data-column-mapper: names of columns, as in --data-args."""
    given = pairs.read("data_column_mapper", text)
    if given.pop("kind", "generative_column_mapper") != "generative_column_mapper":
        raise UsageError(
            "guidellm: --data-column-mapper: write kind=generative_column_mapper,column_mappings.text_column=…"
        )
    return {
        "columns": pairs.mapping("data_column_mapper", given.get("column_mappings", given), "column_mappings")
    }


def tokenizer(text: str) -> Flags:
    """--tokenizer: what --processor is."""
    given = pairs.read("tokenizer", text)
    pairs.kind_of("tokenizer", given, ("huggingface_auto", "hf_auto"))
    pairs.only("tokenizer", given, ("model", "load_kwargs"))
    found: Flags = {"processor": str(given["model"])} if given.get("model") else {}
    arguments = pairs.plain(pairs.mapping("tokenizer", given.get("load_kwargs"), "load_kwargs"))
    return {**found, **({"processor_args": arguments} if arguments else {})}
