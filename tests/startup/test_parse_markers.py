"""The table of markers: each wording is read as what it was written as."""

from pathlib import Path
from string import Formatter

import pytest

from vllmperf.starts.log.marker import Marker, number, version_key
from vllmperf.starts.log.markers import MARKERS, find, wording, wordings
from vllmperf.starts.result import REPORTED

PAGE = Path(__file__).parents[2] / "docs" / "startup_log.md"


def fields_for(marker: Marker) -> dict[str, object]:
    fields: dict[str, object] = {}
    for _, name, spec, _ in Formatter().parse(marker.template):
        if name:
            whole = (spec or "").endswith(("d", ".0f"))
            fields[name] = (1234 if whole else 1234.5) if spec else "word"
    return fields


@pytest.mark.parametrize("marker", MARKERS, ids=lambda m: f"{m.event} {m.since}")
def test_a_marker_reads_what_it_writes(marker: Marker) -> None:
    fields = fields_for(marker)
    text = marker.write(**fields)
    read = marker.read(text)
    assert read is not None
    for name, value in fields.items():
        assert (number(read[name]) if isinstance(value, int | float) else read[name]) == value
    found = find(text, (marker.logger,))
    assert found is not None
    assert found[0].event == marker.event


def test_words_added_at_the_end_do_not_matter() -> None:
    for marker in MARKERS:
        text = marker.write(**fields_for(marker))
        assert marker.read(text + " (new in a later version)") is not None


def test_a_marker_stands_at_the_beginning_only() -> None:
    assert find("he said: Loading weights took 1.00 seconds") is None
    assert find("Loading weights took 1.00 seconds") is not None


def test_every_reported_number_has_a_marker() -> None:
    assert {name for marker in MARKERS for name in marker.keys} == set(REPORTED)


def test_no_release_has_two_wordings_for_lines_that_differ_in_their_end_only() -> None:
    assert wording("model_loaded", "0.7.3") is wordings("model_loaded")[0]
    assert {wording("server_start", v).template for v in ("0.8.5", "0.11.0", "0.32.0")} == {  # type: ignore[union-attr]
        "Starting vLLM API server on {url}",
        "Starting vLLM API server {index:d} on {url}",
        "Starting vLLM server on {url}",
    }
    assert wording("kv_tokens", "0.7.3") is None


@pytest.mark.parametrize("text", ["1,611,664", "0.86", "-0.12", "1e-05", "+3"])
def test_numbers_are_read_as_logs_print_them(text: str) -> None:
    assert number(text) == float(text.replace(",", ""))


def test_versions_are_in_order() -> None:
    found = ["0.9.2", "0.10.0", "0.11.1rc3.dev29+g3fa2c", "v0.32.0"]
    assert sorted(found, key=version_key) == found
    assert version_key("main") == ()
