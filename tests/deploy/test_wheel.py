"""What is built for others: the wheel (VLLMPERF_WHEEL names one), the image's Dockerfile, the text that the image brings."""

from __future__ import annotations

import email
import os
import re
import zipfile
from pathlib import Path

import pytest

from vllmperf.datasets.chance import Chance

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
POEM = ROOT / "deploy" / "app" / "sonnet.txt"


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    path = os.environ.get("VLLMPERF_WHEEL")
    if not path:
        pytest.skip("no wheel was built here (VLLMPERF_WHEEL)")
    return zipfile.ZipFile(path)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, each with its words on one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def of(name: str) -> list[str]:
    return [words for instruction, words in instructions() if instruction == name]


# ---- the wheel ----


def test_the_wheel_is_one_for_all_pythons_and_carries_the_licences_of_what_is_inside(wheel: zipfile.ZipFile):
    assert wheel.filename
    assert wheel.filename.endswith("-cp311-abi3-manylinux_2_28_x86_64.whl")
    names = wheel.namelist()
    read = next(name for name in names if name.endswith(".dist-info/METADATA"))
    told = email.message_from_bytes(wheel.read(read))
    assert told["License-Expression"] == "Apache-2.0 AND curl AND Zlib"
    for licence in (
        "LICENSE",
        "licenses/curl-COPYING",
        "licenses/openssl-LICENSE.txt",
        "licenses/zlib-LICENSE",
    ):
        assert licence in told.get_all("License-File", [])
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)


def test_the_wheel_brings_the_service_its_page_and_no_library_beside_the_extensions(wheel: zipfile.ZipFile):
    names = set(wheel.namelist())
    assert {"vllmperf/service/page/index.html", "vllmperf/py.typed", "vllmperf/_engine.pyi"} <= names
    assert {name for name in names if ".so" in name} == {"vllmperf/_engine.abi3.so", "vllmperf/_sim.abi3.so"}
    assert not [name for name in names if name.endswith((".c", ".h", ".pyc"))]


def test_the_wheel_keeps_openssl_to_itself_and_names_no_path_of_the_machine_that_built_it(
    wheel: zipfile.ZipFile,
):
    engine = wheel.read("vllmperf/_engine.abi3.so")
    assert b"OpenSSL 3." in engine
    assert b"libcurl.so" not in engine
    assert b"libssl.so" not in engine
    assert not re.search(rb"/root/|/home/", engine)


# ---- the image ----


def test_the_image_runs_as_a_user_without_rights_and_begins_with_vllmperf():
    assert of("USER") == ["10001:10001"]
    assert of("ENTRYPOINT") == ['["vllmperf"]']
    assert of("VOLUME") == ["/data"]


def test_the_base_of_the_image_is_an_argument_with_a_version():
    assert of("ARG") == ["BASE=python:3.12-slim"]
    assert [words.split()[0] for words in of("FROM")] == ["${BASE}", "${BASE}"]
    assert "latest" not in DOCKERFILE.read_text(encoding="utf-8")


def test_the_image_knows_no_secret_and_no_registry():
    text = DOCKERFILE.read_text(encoding="utf-8").lower()
    for word in (
        "token=",
        "password",
        "secret",
        "index-url",
        "index_url",
        "https://",
        "http://",
        "trusted-host",
    ):
        assert word not in text


def test_only_what_the_image_needs_is_sent_to_its_build():
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert rules[0] == "*"
    assert set(rules[1:]) == {"!deploy/Dockerfile", "!deploy/app", "!dist/*.whl"}
    for words in of("COPY"):
        place = words.split()[0]
        assert place in ("dist/*.whl", "deploy/app", "--from=installed")


# ---- its text ----


def test_the_poem_has_a_verse_a_line_and_no_others():
    lines = POEM.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2155
    assert lines[:1] == ["FROM fairest creatures we desire increase,"]
    assert all(line == line.strip() and 20 < len(line) < 70 for line in lines)


@pytest.mark.parametrize("version", ["0.6", "0.8"])
def test_the_payload_of_the_chart_finds_prompts_of_its_lengths_in_the_poem(tokens, version: str):
    from twins.dropin_samples import samples

    lengths = {"sonnet_input_len": 512, "sonnet_prefix_len": 128, "sonnet_output_len": 2}
    drawn = samples(tokens, Chance(0), version, 20, "sonnet", str(POEM), **lengths)
    assert len(drawn) == 20
    assert {one.output_len for one in drawn} == {2}
    longest = 512 if version == "0.8" else 600  # 0.6 takes what comes
    assert all(400 < one.prompt_len <= longest for one in drawn)
    assert len({str(one.prompt)[:100] for one in drawn}) == 1
    assert len({str(one.prompt) for one in drawn}) == 20
