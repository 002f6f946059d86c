"""Means out of the reports that guidellm 0.2 to 0.8 wrote, and `fit` of them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from guidellm_golden import FOLDER

from vllmperf import data_file
from vllmperf.cli import main
from vllmperf.model import guidellm_means

REPORTS = Path(__file__).parents[1] / "data" / "guidellm_reports"
RELEASES = ("0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0")


def text(release: str) -> str:
    return gzip.decompress((REPORTS / f"{release}.json.gz").read_bytes()).decode()


def written(folder: Path, name: str, content: str | bytes | Any) -> Path:
    path = folder / name
    if not isinstance(content, bytes):
        content = (content if isinstance(content, str) else json.dumps(content)).encode()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("release", RELEASES)
def test_a_report_gives_the_means_of_its_successful_requests(release: str) -> None:
    report = json.loads(text(release))
    found = guidellm_means.means(data_file.parse(text(release)))
    assert len(found) == 2
    for one, benchmark in zip(found, report["benchmarks"], strict=True):
        metrics = benchmark["metrics"]
        assert one.itl_ms == metrics["inter_token_latency_ms"]["successful"]["mean"]
        assert one.ttft_ms == metrics["time_to_first_token_ms"]["successful"]["mean"]
        assert one.concurrency == metrics["request_concurrency"]["successful"]["mean"]
        assert one.input_tokens == metrics["prompt_token_count"]["successful"]["mean"]
        assert (one.output_tokens, one.successful) == (16.0, 12)


@pytest.mark.parametrize("release", RELEASES)
def test_fit_reads_the_reports_of_every_release(
    release: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
    path = written(tmp_path, "report.json", text(release))
    assert main(["fit", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    means = guidellm_means.means(json.loads(text(release)))
    assert found["valid"]["batch"] == sorted(mean.concurrency for mean in means)


def test_fit_reads_reports_of_different_releases_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
    paths = []
    for place, release in enumerate(RELEASES):
        report = json.loads(text(release))
        report["benchmarks"] = report["benchmarks"][place % 2 :][:1]
        paths.append(str(written(tmp_path, f"{release}.json", report)))
    assert main(["fit", *paths, "--batch", "1,8,1,8,1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"]["batch"] == [1, 8]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_a_report_with_a_byte_order_mark_is_the_same_report(
    encoding: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
    mark = b"\xff\xfe" if encoding == "utf-16-le" else b""
    path = written(tmp_path, "report.json", mark + text("0.6.0").encode(encoding))
    assert main(["fit", str(path), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["points"]) == 2


def test_yaml_with_python_s_tags_is_read() -> None:
    raw = gzip.decompress((REPORTS / "0.6.0.yaml.gz").read_bytes()).decode()
    assert "!!python/tuple" in raw
    report = data_file.parse(raw)
    assert report["args"]["outputs"] == ["throughput.yaml"]
    assert guidellm_means.means(report)[0].output_tokens == 16.0


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.PosixPath [a, b]", "!!python/name:os.system", "!x 1"]
)
def test_yaml_s_tags_make_no_objects(tag: str) -> None:
    assert data_file.parse(f"benchmarks: []\nargs: {tag}\n")["args"] in (["a", "b"], "", "1")


@pytest.mark.parametrize("release", RELEASES)
def test_yaml_of_any_release_gives_what_its_json_gives(release: str) -> None:
    yaml = pytest.importorskip("yaml")
    as_yaml = yaml.dump(json.loads(text(release)), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))
    assert guidellm_means.means(data_file.parse(as_yaml)) == guidellm_means.means(json.loads(text(release)))


@pytest.mark.parametrize(
    "path", sorted(FOLDER.parent.glob("*/*.json")), ids=lambda p: f"{p.parent.name} {p.name}"
)
def test_reports_of_02_and_03_are_read_as_before(path: Path) -> None:
    report = json.loads(path.read_text(encoding="utf-8"))
    for one, benchmark in zip(guidellm_means.means(report), report["benchmarks"], strict=True):
        assert one.itl_ms == benchmark["metrics"]["inter_token_latency_ms"]["successful"]["mean"]
        assert one.concurrency == benchmark["metrics"]["request_concurrency"]["successful"]["mean"]


def without(name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text("0.6.0"))
    del report["benchmarks"][1]["metrics"][name]
    return report


def unanswered() -> dict[str, Any]:
    report: dict[str, Any] = json.loads(text("0.6.0"))
    metrics = report["benchmarks"][1]["metrics"]
    metrics["request_totals"]["successful"] = 0
    metrics["inter_token_latency_ms"]["successful"] = None
    return report


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"benchmarks": []}, "holds no benchmark"),
        ('{"benchmarks": []}\n', "holds no benchmark"),
        ("benchmarks: []\n", "holds no benchmark"),
        ({"benchmarks": [{}]}, "benchmark 1 has no metrics"),
        ({"benchmarks": [5]}, "benchmark 1 has no metrics"),
        ({"benchmarks": [{"metrics": {"request_totals": 5}}]}, "benchmark 1 has no inter_token_latency_ms"),
        ({"benchmarks": [{"metrics": {"inter_token_latency_ms": 5}}]}, "benchmark 1 has no mean ITL"),
        (without("request_concurrency"), "benchmark 2 does not say its concurrency: give --batch"),
        (unanswered(), "benchmark 2 has no mean ITL"),
        ({"benchmarks": 5}, "neither a vLLM result nor a report of guidellm 0.2 to 0.8"),
        ("[]", "neither a vLLM result nor a report"),
        ("just words\n", "neither a vLLM result nor a report"),
        ("{", "is no run file and no JSON"),
        ("[" * 100_000, "is no run file and no JSON"),
        ("a: [b\n", "is no run file and no JSON"),
        ("", "is no run file and no JSON"),
    ],
)
def test_what_is_no_report_is_one_line_with_the_file_s_name(
    content: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
    good = json.loads(text("0.5.0"))
    del good["benchmarks"][1]
    bad, other = written(tmp_path, "bad.json", content), written(tmp_path, "good.json", good)
    assert main(["fit", str(bad), str(other)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bad.json" in said
    assert says in said


def test_a_report_without_its_concurrency_is_read_with_a_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scipy", reason="scipy (the extra `model`) is not installed")
    report = without("request_concurrency")
    files = []
    for place, benchmark in enumerate(report["benchmarks"]):
        files.append(str(written(tmp_path, f"{place}.json", {**report, "benchmarks": [benchmark]})))
    assert main(["fit", *files, "--batch", "1,8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["valid"]["batch"] == [1, 8]
