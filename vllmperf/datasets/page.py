"""docs/datasets.md, printed from the table of data sets: `python -m vllmperf.datasets.page > docs/datasets.md`."""

from __future__ import annotations

from collections.abc import Iterator

from vllmperf.datasets import DataSet, table

HEAD = """# Data sets

`--dataset-name` says where the prompts of `vllmperf bench` and `vllmperf capacity` come from. From Python, the settings have the
names of the flags: `vp.bench(url, dataset="spec_bench", dataset_path="question.jsonl", spec_bench_category="coding")`.

- The same `--seed` gives the same prompts. Where `vllm bench serve` has the data set, they are its prompts for that seed,
  as long as the tokenizer is the same. `custom` keeps the order of the file, and no data set puts a prompt into the chat
  template: a chat server does that. [Profiles](profiles.md) has the exact rules of vLLM 0.6, 0.8 and 2026.
- If the run needs more prompts than the data set has, vllmperf draws some of them again.
- `--tokenizer` is a folder with a tokenizer.json, or the name of a model on the Hugging Face hub. Without one, made-up prompts
  are token ids (for chats common words, about a token each), and 4 bytes of other texts count as one token.
- Parquet and Arrow files need `pip install 'vllmperf[datasets]'`. Text is UTF-8, or UTF-16 or UTF-32 with a byte order mark.
  A row that cannot be sent ends the command before the run, with its file and line.
- `--dataset-path` may also be a link to a file on the hub, such as `https://huggingface.co/datasets/NAME/resolve/main/FILE`.

| data set | prompts | `--dataset-path` | input, output, prefix tokens | its own flags |
|---|---|---|---|---|
"""
TAIL = """
## The Hugging Face hub

vllmperf looks for a tokenizer on this machine first: as a path, then in the cache of the hub. If it is in neither, the package
`huggingface_hub` fetches the tokenizer's files. Of a data set, it asks for the present commit, and
fetches those files of the split that the cache does not hold.

| variable | effect |
|---|---|
| `HF_HOME`, `HF_HUB_CACHE` | the folder of the cache |
| `HF_TOKEN` | access to private and gated repositories |
| `HF_ENDPOINT` | another server than https://huggingface.co |
| `HF_HUB_OFFLINE=1` | nothing is fetched; the error names what was looked for and where |

`hf` takes the files of a split from the data set's card (`configs` in its README.md), else by their names, as the package
`datasets` does.

## Add a data set

Write one file in `vllmperf/datasets/` with a function `prompts(spec, tokens)` and a `DATASET` that describes it, and a test in
`tests/datasets/`. `--dataset-name`, the help, Python and this page find it there. To print the page:
`python -m vllmperf.datasets.page > docs/datasets.md`. `spec_bench.py` is a short example.
"""


def text() -> str:
    """The whole page."""
    return HEAD + "".join(f"| {' | '.join(_cells(each))} |\n" for each in table().values()) + TAIL


def _cells(dataset: DataSet) -> Iterator[str]:
    lengths = dataset.lengths
    own = (
        "the data's" if each is None else str(each)
        for each in (lengths.input, lengths.output, lengths.prefix)
    )
    flags = [f"{dataset.name}_{kind}_len" for kind in dataset.own_lengths]
    flags += [option.name for option in dataset.options]
    yield f"`{dataset.name}`"
    yield dataset.about
    yield dataset.path or "–"
    yield ", ".join(own)
    yield " ".join(f"`--{name.replace('_', '-')}`" for name in flags) or "–"


if __name__ == "__main__":
    print(text(), end="")
