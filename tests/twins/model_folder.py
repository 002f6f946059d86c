"""A small tokenizer of our own: byte-level BPE with a BOS in front, as the large ones are."""

import json
from pathlib import Path

TEXT = "river lantern carries quietly beyond the narrow bridge while everyone remembers another harbour"
WORDS = TEXT.split()
CHAT = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] | trim }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make(folder: Path) -> None:
    """tokenizer.json and tokenizer_config.json with a chat template. Needs the package tokenizers."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    texts = [" ".join(WORDS[i % 13] for i in range(first, first + 40)) for first in range(0, 400, 7)]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=420, show_progress=False, initial_alphabet=alphabet)
    )
    made.add_special_tokens(["<|begin|>", "<|end|>"])
    begin = made.token_to_id("<|begin|>")
    made.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
    )
    made.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>"}, "chat_template": CHAT}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
