"""Files of models and data sets of the Hugging Face hub: out of its cache, else fetched. Needs huggingface_hub.

That package reads HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE itself.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vllmperf import reach, text_file
from vllmperf.errors import SettingError

Kind = Literal["model", "dataset"]
NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")
PATH_BEGINS = (".", "/", "~")
LINK = re.compile(
    r"(?:https?://[^/]+/|hf://)(?P<datasets>datasets/)?(?P<name>[\w.-]+/[\w.-]+)"
    r"(?:/(?:resolve|blob|tree|raw)/(?P<revision>[^/?#]+))?(?:/(?P<file>[^?#]*[^/?#]))?/?(?:[?#].*)?"
)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
DATA_FILES = (".parquet", ".jsonl", ".json", ".csv")
NO_DATA = ("dataset_info.json", "dataset_infos.json")
CARD = "README.md"
OTHER_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""How the files of a split are called, as the package datasets looks for them."""


@dataclass(frozen=True, slots=True)
class Repository:
    """A model or a data set of the hub. of: what it was given by, for errors: a setting in braces, or a flag."""

    name: str
    kind: Kind
    of: str
    revision: str | None = None
    commit: str | None = None  # that the revision has now

    def folder(self, patterns: Sequence[str], is_enough: Callable[[Path], bool]) -> Path:
        """A folder with the files of these patterns: that of the cache if it is enough. UsageError by name."""
        hub = _package(self.of, self.name)
        asked: dict[str, Any] = {
            "repo_type": self.kind,
            "revision": self.revision,
            "allow_patterns": list(patterns),
        }
        try:
            found = Path(hub.snapshot_download(self.name, **asked, local_files_only=True))
            if is_enough(found):
                return found
        except Exception:  # not in the cache: the package has many ways to say so
            pass
        return Path(self._asked(hub, lambda: hub.snapshot_download(self.name, **asked)))

    def listed(self) -> tuple[Repository, list[str]]:
        """The repository at its present commit, and the paths of all files there: as the hub lists them, else (with
        HF_HUB_OFFLINE) those in the cache."""
        hub = _package(self.of, self.name)
        asked: dict[str, Any] = {"repo_type": self.kind, "revision": self.revision}
        if hub.constants.HF_HUB_OFFLINE:
            folder = Path(self._asked(hub, lambda: hub.snapshot_download(self.name, **asked)))
            return self, [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        info = self._asked(hub, lambda: hub.HfApi().repo_info(self.name, **asked))
        return replace(self, commit=info.sha), [each.rfilename for each in info.siblings or ()]

    def file(self, path: str) -> Path:
        """One file: that of the cache if it is of the present commit."""
        hub = _package(self.of, self.name)
        asked: dict[str, Any] = {"repo_type": self.kind, "revision": self.revision}
        try:
            found = Path(hub.hf_hub_download(self.name, path, **asked, local_files_only=True))
            if self.commit in found.parts:
                return found
        except Exception:  # not in the cache: the package has many ways to say so
            pass
        return Path(self._asked(hub, lambda: hub.hf_hub_download(self.name, path, **asked)))

    def bad(self, what: str) -> SettingError:
        """An error of it."""
        return SettingError(f"{self.of} {{given}}{{what}}", given=self.name, what=what)

    def _asked(self, hub: Any, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except Exception as error:  # of the hub, the network or the disk: the package has many kinds
            cache, endpoint = hub.constants.HF_HUB_CACHE, hub.constants.ENDPOINT
            place = f"no such path, not in the Hugging Face cache {cache}, and "
            raise self.bad(f": {place}{_why(hub, self.kind, endpoint, error)}") from None


def _why(hub: Any, kind: Kind, endpoint: str, error: Exception) -> str:
    """Why the hub did not give it, as the end of a sentence."""
    errors, what = hub.errors, {"model": "model", "dataset": "data set"}[kind]
    if hub.constants.HF_HUB_OFFLINE and reach.is_limited():
        return f"this service must not ask {endpoint}: put it in --data, or start the service with --allow-target hub"
    if hub.constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE keeps {endpoint} from being asked"
    if isinstance(error, errors.GatedRepoError):
        return f"{endpoint} gives it only to those with access: set HF_TOKEN to a token of theirs"
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return f"{endpoint} has no such {what} (or it is private: set HF_TOKEN)"
    is_elsewhere = isinstance(
        error, errors.LocalEntryNotFoundError
    )  # it says that the hub could not be asked
    if not is_elsewhere and isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        return f"{endpoint} has the {what} without that file or revision"
    text = " ".join(str(error.__cause__ or error).split())
    return f"{endpoint} cannot be asked ({text[:200]})"


def _package(of: str, name: str) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise SettingError(
            of + " {given}: no such path, and fetching it from the Hugging Face hub needs huggingface_hub: "
            "pip install 'vllmperf[tokenizers]'",
            given=name,
        ) from None
    return huggingface_hub


# ---- models ----


def model_folder(name: str, of: str = "{tokenizer}") -> Path:
    """The folder (or file) of that name, else that of the hub's model with its tokenizer's files.

    Raises UsageError when there is neither; it says where was looked.
    """
    link = LINK.fullmatch(name)
    if link is None and (Path(name).exists() or name.startswith(PATH_BEGINS) or not NAME.fullmatch(name)):
        return Path(name)
    found = Repository(link["name"], "model", of, link["revision"]) if link else Repository(name, "model", of)
    return found.folder(TOKENIZER_FILES, lambda folder: (folder / TOKENIZER_FILES[0]).is_file())


# ---- data sets ----


def local_file(path: str, of: str = "{dataset_path}") -> str:
    """The path, or that of the file that a link of the hub names; other names stay as they are."""
    link = LINK.fullmatch(path)
    if link is None or not link["file"]:
        return path
    kind: Kind = "dataset" if link["datasets"] else "model"
    return str(Repository(link["name"], kind, of, link["revision"]).file(link["file"]))


def dataset_files(
    name: str, subset: str | None, split: str, revision: str | None = None, of: str = "{dataset_path}"
) -> list[Path]:
    """The files of a data set's split, in order. Raises UsageError when there are none, or several subsets."""
    link = LINK.fullmatch(name)
    found = Repository(
        link["name"] if link else name, "dataset", of, revision or (link["revision"] if link else None)
    )
    found, files = found.listed()
    card = _card(found.file(CARD)) if CARD in files else {}
    return [found.file(path) for path in chosen(found, files, card, subset, split)]


def chosen(
    of: Repository, files: Iterable[str], card: Mapping[str, Any], subset: str | None, split: str
) -> list[str]:
    """Which files a split is: as the data set's card says, else by their names, as the package datasets does it."""
    data = sorted(path for path in files if path.endswith(DATA_FILES) and Path(path).name not in NO_DATA)
    patterns = _patterns(of, card.get("configs") or [], subset, split)
    if patterns is not None:
        found = [path for path in data if any(fnmatch.fnmatch(path, pattern) for pattern in patterns)]
    else:
        found = _by_name(data, subset, split)
    if not found:
        named = f"split {split}" + (f" of subset {subset}" if subset else "")
        raise of.bad(f": the data set has no {' or '.join(DATA_FILES)} file for {named}")
    return found


def _patterns(of: Repository, configs: Sequence[Any], subset: str | None, split: str) -> list[str] | None:
    """Of the split's files in one of the card's configs; None when the card does not say."""
    known = {str(each.get("config_name", "default")): each for each in configs if isinstance(each, Mapping)}
    usual = next((name for name, each in known.items() if each.get("default") or name == "default"), None)
    name = subset or usual or (next(iter(known)) if len(known) == 1 else None)
    if known and name not in known:
        raise of.bad(f": give one of its subsets: {', '.join(known)}")
    files = known[name].get("data_files") if name is not None and known else None
    if files is None:
        return None
    parts = files if isinstance(files, list) else [files]
    named = [part for part in parts if isinstance(part, Mapping)]
    paths = [part.get("path") for part in named if part.get("split", "train") == split]
    paths += [part for part in parts if isinstance(part, str) and split == "train"]
    return [str(path) for each in paths for path in (each if isinstance(each, list) else [each])]


def _by_name(data: Sequence[str], subset: str | None, split: str) -> list[str]:
    words = {path: set(re.split(r"[^a-z0-9]+", path.lower())) for path in data}
    if subset is not None:
        data = [path for path in data if path.startswith(subset + "/") or subset.lower() in words[path]]
    of_split = {
        name: [path for path in data if words[path].intersection(others)]
        for name, others in OTHER_WORDS.items()
    }
    of_split.setdefault(split, [path for path in data if split.lower() in words[path]])
    if split == "train" and not any(of_split.values()):
        return list(data)
    return of_split[split]


def _card(path: Path) -> dict[str, Any]:
    """The front matter of a data set's README."""
    import yaml

    try:
        _, mark, rest = text_file.read(path).partition("---\n")
        found = yaml.safe_load(rest.partition("\n---")[0]) if mark else {}
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
