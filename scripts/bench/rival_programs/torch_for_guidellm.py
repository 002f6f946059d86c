"""Stands for torch in the environment of guidellm, which takes only a loader of data from it: one row after the other.

The real torch needs gigabytes and seconds of each start.
"""

import sys
import types
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class IterableDataset(Generic[T]):
    pass


class DataLoader(Generic[T]):
    def __init__(self, dataset: Any, collate_fn: Any, **_more: Any) -> None:
        self.dataset = dataset
        self.collate_fn = collate_fn

    def __iter__(self) -> Iterator[Any]:
        return (self.collate_fn([row]) for row in self.dataset)


class Generator:
    def manual_seed(self, seed: int) -> None:
        pass


class Tensor:
    pass


def _module(name: str, **content: Any) -> types.ModuleType:
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__.update(content)
    return module


_loader = _module("torch.utils.data.dataloader", DataLoader=DataLoader)
_dataset = _module("torch.utils.data.dataset", IterableDataset=IterableDataset)
_data = _module("torch.utils.data", dataloader=_loader, dataset=_dataset, IterableDataset=IterableDataset)
_data.get_worker_info = lambda: None
utils = _module("torch.utils", data=_data)
