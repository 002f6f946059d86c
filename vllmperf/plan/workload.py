"""What is asked: prompts, the length of answers, and the fields of each request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vllmperf import datasets
from vllmperf.datasets import DataSet, Lengths, Spec
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
    session_header: carries the session's id in each request of a conversation.
    prefix_hit_rate: share of the prompt tokens that the server's prefix cache should find. It settles the length of the
    common prefix; prompts stay as long as asked for.
    """

    dataset_name: str = setting("random", checks.one_of(*datasets.table()))
    dataset_path: str | None = setting(None, checks.path)
    tokenizer: str | None = setting(None, checks.path)
    input_len: int | None = setting(None, whole())
    output_len: int | None = setting(None, whole())
    prefix_len: int | None = setting(None, whole(0))
    dataset_options: Mapping[str, object] = setting(JsonObject(), checks.json_object)
    prefix_hit_rate: float | None = setting(None, checks.number(least=0.0))
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
    session_header: str | None = setting(None, checks.header_name)
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
        if self.text_prompts and not self.makes_ids:
            raise SettingError("{text_prompts} is of random prompts without {tokenizer}: leave it out")
        checked = datasets.checked(self.dataset_name, self.dataset_options)
        object.__setattr__(self, "dataset_options", JsonObject(checked))
        self._check_prefix_hit_rate()
        if self.random_range_ratio >= 1:
            raise checks.refused("random_range_ratio", "below 1", self.random_range_ratio)

    def _check_prefix_hit_rate(self) -> None:
        if self.prefix_hit_rate is None:
            return
        if self.prefix_hit_rate >= 1:
            raise checks.refused("prefix_hit_rate", "below 1", self.prefix_hit_rate)
        if self.dataset.shaped is None:
            raise SettingError(
                "{prefix_hit_rate} needs a data set whose common prefix can be chosen: {names}",
                names=", ".join(each.name for each in datasets.table().values() if each.shaped),
            )
        if self.prefix_len is not None:
            raise SettingError("{prefix_hit_rate} settles the length of the prefix: leave {prefix_len} out")

    @property
    def dataset(self) -> DataSet:
        return datasets.table()[self.dataset_name]

    @property
    def makes_ids(self) -> bool:
        """The prompts are made up without a tokenizer: token ids, unless the server takes texts only."""
        return self.dataset.is_made_up and self.tokenizer in (None, NO_TOKENIZER)

    @property
    def lengths(self) -> Lengths:
        """What is asked for, else the data set's defaults."""
        return self.spec.lengths(self.dataset.lengths)

    @property
    def spec(self) -> Spec:
        """What is asked of the data set."""
        spec = Spec(
            dataset_name=self.dataset_name,
            dataset_path=self.dataset_path,
            tokenizer=self.tokenizer,
            input_len=self.input_len,
            output_len=self.output_len,
            prefix_len=self.prefix_len,
            random_range_ratio=self.random_range_ratio,
            options=datasets.checked(self.dataset_name, self.dataset_options),
            seed=self.seed,
        )
        shaped = self.dataset.shaped
        return spec if self.prefix_hit_rate is None or shaped is None else shaped(spec, self.prefix_hit_rate)

    @property
    def sampling(self) -> dict[str, float]:
        """The sampling parameters that are given."""
        return {name: value for name in SAMPLING if (value := getattr(self, name)) is not None}
