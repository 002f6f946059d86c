"""Texts and token ids as transformers' fast tokenizers turn them into one another, in batches.

Reads tokenizer.json, and tokenizer_config.json and special_tokens_map.json beside it for what transformers adds:
special tokens, the clean-up after decoding, the chat template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from vllmperf import hub, text_file
from vllmperf.errors import SettingError
from vllmperf.tokenizer import renewed, tail
from vllmperf.tokenizer.files import load
from vllmperf.tokenizer.template import ChatTemplate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
"""transformers' clean_up_tokenization, in its order."""
EVEN_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


class Encoded(Protocol):
    """One encoded text: its ids, and for each the number of the word that it is part of."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def word_ids(self) -> list[int | None]: ...


class Tokens:
    """The tokenizer of a model folder. Raises UsageError when there is none or its package is missing.

    cleans_bpe: do the clean-up that a model's configuration asks for even for BPE, as transformers did before 5.
    is_renewed: change what transformers 5 changes, see renewed.py.
    """

    def __init__(self, folder: str, cleans_bpe: bool = False, *, is_renewed: bool = False) -> None:
        self._cleans_bpe = cleans_bpe
        self._loaded: Any = load(folder)
        self._loaded.no_truncation()
        self._loaded.no_padding()
        found = hub.model_folder(folder)
        self._folder = found if found.is_dir() else found.parent
        self._config = {**self._read("special_tokens_map.json"), **self._read("tokenizer_config.json")}
        if is_renewed:
            renewed.renew(self._loaded, self._config)
        self.vocab_size: int = self._loaded.get_vocab_size(with_added_tokens=False)
        self.special_count = int(self._loaded.num_special_tokens_to_add(False))

    def _read(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            found = json.loads(text_file.read(path)) if path.is_file() else {}
        except (OSError, ValueError) as error:
            raise SettingError("{tokenizer}: cannot read {path} ({error})", path=path, error=error) from None
        return found if isinstance(found, dict) else {}

    # ---- counting and encoding ----

    def counts(self, texts: Sequence[str], special: bool = True) -> list[int]:
        """Tokens of each text; special: with those that the model puts around it."""
        encode = getattr(self._loaded, "encode_batch_fast", self._loaded.encode_batch)
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        return [len(found) for found in encode(clean, add_special_tokens=special)]

    def count(self, text: str, special: bool = True) -> int:
        return self.counts([text], special)[0]

    def encode(self, texts: Sequence[str], special: bool = False) -> list[list[int]]:
        """Ids of each text; special: with those that the model puts around it."""
        encode = getattr(self._loaded, "encode_batch_fast", self._loaded.encode_batch)
        return [found.ids for found in encode(list(texts), add_special_tokens=special)]

    def encode_with_words(self, texts: Sequence[str]) -> list[Encoded]:
        """The same with the words that the ids belong to."""
        if len(texts) == 1:  # a batch begins with waking threads
            return [self._loaded.encode(texts[0], add_special_tokens=False)]
        found: list[Encoded] = self._loaded.encode_batch(list(texts), add_special_tokens=False)
        return found

    def encode_one(self, text: str) -> list[int]:
        ids: list[int] = self._loaded.encode(text, add_special_tokens=False).ids
        return ids

    def decode_one(self, ids: list[int]) -> str:
        text: str = self._loaded.decode(ids, skip_special_tokens=False)
        return _cleaned(text) if self._cleans_up else text

    def decode(self, sequences: Sequence[list[int]]) -> list[str]:
        if len(sequences) == 1:
            return [self.decode_one(sequences[0])]
        texts: list[str] = self._loaded.decode_batch(list(sequences), skip_special_tokens=False)
        return [_cleaned(text) for text in texts] if self._cleans_up else texts

    @cached_property
    def _cleans_up(self) -> bool:
        is_spared = type(self._loaded.model).__name__ == "BPE" and not self._cleans_bpe
        return bool(self._config.get("clean_up_tokenization_spaces", False)) and (
            not is_spared or bool(self._config.get(EVEN_BPE, False))
        )

    @cached_property
    def is_local(self) -> bool:
        """Whether the end of a text can be encoded without what stands before it, see tail.py."""
        return not self._cleans_up and tail.is_local(self._loaded)

    # ---- what is special ----

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """bos_token and its like, as far as the model names them."""
        found = {name: _content(self._config.get(name)) for name in NAMED}
        return {name: text for name, text in found.items() if text}

    @cached_property
    def special_ids(self) -> set[int]:
        """Ids of the named special tokens and of the additional ones."""
        more = self._config.get("additional_special_tokens") or self._config.get("extra_special_tokens") or []
        texts = [
            *self.special_tokens.values(),
            *map(_content, more.values() if isinstance(more, dict) else more),
        ]
        ids = (self._loaded.token_to_id(text) for text in texts if text)
        return {number for number in ids if number is not None}

    @cached_property
    def usual_ids(self) -> NDArray[np.int64]:
        """All ids of the vocabulary proper but those of special tokens, rising."""
        import numpy as np

        return np.setdiff1d(np.arange(self.vocab_size), np.asarray(sorted(self.special_ids), dtype=np.int64))

    @cached_property
    def plain_ids(self) -> NDArray[np.int64]:
        """The usual ids without those that any added token marks as special, named or not."""
        import numpy as np

        added = self._loaded.get_added_tokens_decoder()
        special = [number for number, token in added.items() if token.special]
        return np.setdiff1d(self.usual_ids, np.asarray(special, dtype=np.int64))

    @cached_property
    def all_ids(self) -> list[int]:
        """The same with added tokens, rising."""
        return sorted(set(self._loaded.get_vocab().values()) - self.special_ids)

    @cached_property
    def every_id(self) -> list[int]:
        """All ids there are, added and special ones too, rising."""
        return sorted(self._loaded.get_vocab().values())

    @cached_property
    def class_name(self) -> str:
        """The class that transformers takes for this tokenizer."""
        name = str(self._config.get("tokenizer_class") or "PreTrainedTokenizerFast")
        return name if name.endswith("Fast") else name + "Fast"

    @cached_property
    def has_template(self) -> bool:
        """Whether tokenizer_config.json brings a chat template."""
        return "chat_template" in self._config

    # ---- chat ----

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate.of(self._folder, self._config, self.special_tokens)

    def chat(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> str:
        """The messages in the model's chat template, with the beginning of an answer. UsageError without one."""
        return self._template.render(messages, **more)


def _content(token: Any) -> str:
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _cleaned(text: str) -> str:
    for before, after in CLEAN_UP:
        text = text.replace(before, after)
    return text
