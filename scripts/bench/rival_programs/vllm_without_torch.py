"""`vllm bench serve` of an installed vLLM without torch: python vllm_without_torch.py ARGUMENTS

Its own modules send and measure. Around them vLLM imports the engine, for pictures, adapters and kinds of models that no run
here has: those modules are empty.
"""

import argparse
import importlib.machinery
import importlib.util
import sys
import types
from pathlib import Path

EMPTY = (
    *(
        "torch",
        "vllm.config",
        "vllm.inputs",
        "vllm.lora",
        "vllm.multimodal",
        "vllm.platforms",
        "vllm.tokenizers",
    ),
    *("vllm.transformers_utils", "vllm.utils.mistral"),
)


class Empty(types.ModuleType):
    """A module in which every name is a class without content."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Finder:
    """Finds empty modules where EMPTY says so."""

    def find_spec(self, name, _path=None, _target=None):
        if any(name == empty or name.startswith(empty + ".") for empty in EMPTY):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return Empty(spec.name)

    def exec_module(self, module):
        pass


def main() -> None:
    folder = Path(importlib.util.find_spec("vllm").origin).parent
    for name, path in (("vllm", folder), ("vllm.utils", folder / "utils")):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(path)]
    sys.meta_path.insert(0, Finder())

    from transformers import AutoTokenizer
    from vllm import tokenizers
    from vllm.utils import mistral

    tokenizers.get_tokenizer = lambda name, **_: AutoTokenizer.from_pretrained(name)
    mistral.is_mistral_tokenizer = lambda _tokenizer: False
    from vllm.benchmarks import serve

    parser = argparse.ArgumentParser()
    serve.add_cli_args(parser)
    serve.main(parser.parse_args())


main()
