"""Prompts that begin otherwise, so that no cache has them: the same salt for all prompts of a run keeps what they share."""

from __future__ import annotations

import hashlib
import json
import re

from vllmperf.datasets import Prompt
from vllmperf.datasets.made_up import SAFE_IDS
from vllmperf.errors import SettingError

IDS = re.compile(r"\d+")
FEW = 3
"""Token ids that are changed: some 10^10 salts do not collide."""


def salted(prompt: Prompt, salt: str) -> Prompt:
    """A text gets the salt in front, a list of token ids other ids at its beginning and the same length.

    Raises SettingError for prompts that are neither.
    """
    if prompt.json.startswith('"'):
        return prompt._replace(json=f'"{json.dumps(f"[{salt}] ")[1:-1]}{prompt.json[1:]}')
    if not re.match(r"\[\s*\d", prompt.json):
        raise SettingError("{prompt_salt} goes before texts and token ids: these prompts are neither")
    digest = hashlib.sha256(salt.encode()).digest()
    shifts = iter([int.from_bytes(digest[2 * i : 2 * i + 2]) for i in range(FEW)])
    return prompt._replace(
        json=IDS.sub(lambda found: _shifted(found[0], next(shifts)), prompt.json, count=FEW)
    )


def _shifted(number: str, by: int) -> str:
    return str(SAFE_IDS[(int(number) + by) % len(SAFE_IDS)])
