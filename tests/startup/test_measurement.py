"""What `vllmperf.startup` is asked: settings are checked, named and kept secret like those of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

import vllmperf as vp
from vllmperf.errors import SettingError
from vllmperf.starts.live.measurement import Measurement


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "nothing says what to measure: give label, deployment or command"),
        ({"label": "a", "deployment": "b"}, "label and deployment both choose pods"),
        ({"command": "x", "namespace": "y"}, "namespace is for pods of a cluster, command is not"),
        ({"label": "a", "cold": True}, "cold is for command alone"),
        ({"label": "a", "repeat": 3}, "repeat needs scale, restart or command"),
        ({"deployment": "d", "scale": 0}, "scale must be at least 1 (got 0)"),
        ({"label": "a", "timeout": "soon"}, "timeout must be a duration like 500ms, 30s, 10m or 1h30m"),
        ({"label": "a", "containernam": "c"}, "did you mean containername?"),
        ({"label": "a", "api_key_file": "/no/such/file"}, "api_key_file /no/such/file cannot be read"),
    ],
)
def test_python_reads_the_names_of_the_settings_in_what_is_wrong(
    settings: dict[str, object], says: str
) -> None:
    with pytest.raises(SettingError) as refused:
        vp.startup(settings.pop("command", None), **settings)  # type: ignore[arg-type]
    assert says in str(refused.value)
    assert "--" not in str(refused.value)


def test_secrets_are_sent_and_never_shown(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("of-a-file\n")
    asked = Measurement.of({"label": "a", "api_key_file": key, "headers": {"X-Token": "hidden", "X-A": "b"}})
    assert (asked.access.api_key, asked.access.headers) == ("of-a-file", {"X-Token": "hidden", "X-A": "b"})
    assert not any(secret in repr(asked) for secret in ("of-a-file", "hidden"))


def test_pods_get_the_usual_key_and_a_command_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    assert Measurement.of({"label": "a"}).access.api_key == "usual"
    assert Measurement.of({"command": "vllm serve --api-key own"}).access.api_key is None
