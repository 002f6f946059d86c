"""An image of this checkout for the real Kubernetes, without docker: its Python image, the packages that are installed here, and
the checkout's own. The simulated server of its pods is in it, too."""

from __future__ import annotations

import importlib.metadata
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
OF_EXTRAS = ("fastapi", "uvicorn", "boto3", "tokenizers", "jinja2")
PYTHON = (3, 11)
"""Of the image: what is compiled here for another one does not run there."""
PACKAGES = "usr/local/lib/python3.11/dist-packages"
PROGRAM = "#!/usr/bin/python3\nimport sys\nfrom vllmperf.cli import main\nsys.exit(main())\n"


def name_in(archive: Path) -> str:
    """The name of the image in an archive that scripts/image wrote."""
    with tarfile.open(archive) as file:
        manifest = file.extractfile("manifest.json")
        assert manifest is not None, archive
        name: str = json.load(manifest)[0]["RepoTags"][0]
    return name


def make(scripts: Path, prefix: Path, name: str, folder: Path) -> Path:
    """The archive of the image, for `load`."""
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"the pods have Python {PYTHON[0]}.{PYTHON[1]}: packages of this one do not run there")
    layer, out = folder / "layer.tar", folder / "image.tar"
    with tarfile.open(layer, "w") as archive:
        files = list(_files())
        for folder_name in _folders([place for _, place in files]):
            _add_folder(archive, folder_name)
        for path, place in files:
            archive.add(path, place, recursive=False, filter=_owned)
        _add(archive, "usr/local/bin/vllmperf", PROGRAM, 0o755)
        _add(
            archive,
            "app/sonnet.txt",
            "".join(f"line {n} of a poem that nobody has written\n" for n in range(200)),
        )
    base = prefix / "images/python.tar"
    subprocess.run([scripts / "image", "--from", base, name, layer, out], check=True, timeout=120)
    return out


def _files() -> Iterator[tuple[Path, str]]:
    for path in sorted((CHECKOUT / "vllmperf").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, f"{PACKAGES}/{path.relative_to(CHECKOUT)}"
    for distribution in _closure():
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                yield path, f"{PACKAGES}/{file}"


def _closure() -> list[importlib.metadata.Distribution]:
    """What vllmperf with the extras service, s3 and tokenizers needs, as it is installed here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for name in OF_EXTRAS:
        found[name] = importlib.metadata.distribution(name)
    wanted: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in ("vllmperf", *OF_EXTRAS)]
    while wanted:
        name, extras = wanted.pop()
        distribution = importlib.metadata.distribution(name)
        for line in distribution.requires or ():
            needs = Requirement(line)
            is_meant = any(
                needs.marker is None or needs.marker.evaluate({"extra": one}) for one in ("", *extras)
            )
            if is_meant and needs.name not in found:
                found[needs.name] = importlib.metadata.distribution(needs.name)
                wanted.append((needs.name, tuple(needs.extras)))
    return list(found.values())


def _folders(places: list[str]) -> list[str]:
    """All that hold a file, the outer ones first, the root itself too: others than root may not enter that of the base."""
    own = ("usr/local/bin/vllmperf", "app/sonnet.txt")
    parents = {str(parent) for place in (*places, *own) for parent in Path(place).parents}
    return sorted(parents)


def _add_folder(archive: tarfile.TarFile, place: str) -> None:
    member = tarfile.TarInfo(place)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(member)


def _add(archive: tarfile.TarFile, place: str, text: str, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(place)
    member.size, member.mode = len(text.encode()), mode
    archive.addfile(member, io.BytesIO(text.encode()))


def _owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """By root, and readable by all."""
    member.uid = member.gid = 0
    member.mode |= 0o444
    return member
