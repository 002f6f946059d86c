"""What is asked: prompts, the length of answers, and the fields of each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllmperf import datasets
from vllmperf.datasets import DataSet, Lengths
from vllmperf.errors import SettingError
from vllmperf.plan import checks
from vllmperf.plan.checks import setting, whole
from vllmperf.plan.json_object import JsonObject
from vllmperf.plan.part import Part

NO_TOKENIZER = "none"
"""Asks for none, not even the model's."""
SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)
"""Settings that stand in the request under their own name when they are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload(Part):
    """Lengths in tokens; None: the data set's own. seed: of prompts, lengths and arrivals.

    prompt_salt: all prompts begin with it, so that no prefix cache has them; of token ids it changes the first ones.
    """

    dataset_name: str = setting("random", checks.one_of(*datasets.table()))
    dataset_path: str | None = setting(None, checks.path)
    tokenizer: str | None = setting(None, checks.path)
    input_len: int | None = setting(None, whole())
    output_len: int | None = setting(None, whole())
    prefix_len: int | None = setting(None, whole(0))
    dataset_options: Mapping[str, object] = setting(JsonObject(), checks.json_object)
    random_range_ratio: float = setting(0.0, checks.number(least=0.0))
    seed: int = setting(0, whole(0, 2**32 - 1))
    stream: bool = setting(True, checks.flag)
    ignore_eos: bool = setting(False, checks.flag)
    n: int = setting(1, whole())
    logprobs: int | None = setting(None, whole(0))
    temperature: float | None = setting(None, checks.number())
    top_p: float | None = setting(None, checks.number())
    top_k: int | None = setting(None, whole(-1))
    min_p: float | None = setting(None, checks.number())
    frequency_penalty: float | None = setting(None, checks.number())
    presence_penalty: float | None = setting(None, checks.number())
    repetition_penalty: float | None = setting(None, checks.number())
    extra_body: Mapping[str, object] = setting(JsonObject(), checks.json_object)
    text_prompts: bool = setting(False, checks.flag)
    string_content: bool = setting(False, checks.flag)
    chat_max_tokens: bool = setting(False, checks.flag)
    prompt_salt: str | None = setting(None, checks.plain_text)
    request_id_prefix: str | None = setting(None, checks.plain_text)

    def check(self) -> None:
        wanted = self.dataset.path
        if wanted is None and self.dataset_path:
            raise SettingError(
                "{dataset_path} does not go with {dataset_name} {name}: remove one of them",
                name=self.dataset_name,
            )
        if wanted is not None and not self.dataset_path:
            raise SettingError(
                "{dataset_name} {name} needs {dataset_path} {wanted}", name=self.dataset_name, wanted=wanted
            )
        if self.text_prompts and not (self.dataset.is_made_up and self.tokenizer in (None, NO_TOKENIZER)):
            raise SettingError("{text_prompts} is of random prompts without {tokenizer}: leave it out")
        checked = datasets.checked(self.dataset_name, self.dataset_options)
        object.__setattr__(self, "dataset_options", JsonObject(checked))
        if self.random_range_ratio >= 1:
            raise checks.refused("random_range_ratio", "below 1", self.random_range_ratio)

    @property
    def dataset(self) -> DataSet:
        return datasets.table()[self.dataset_name]

    @property
    def lengths(self) -> Lengths:
        """What is asked for, else the data set's defaults."""
        usual = self.dataset.lengths
        return Lengths(
            self.input_len or usual.input,
            self.output_len or usual.output,
            usual.prefix if self.prefix_len is None else self.prefix_len,
        )

    @property
    def sampling(self) -> dict[str, float]:
        """The sampling parameters that are given."""
        return {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
