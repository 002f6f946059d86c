from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.kube import kubeconfig
from vllmperf.kube.kubeconfig import load
from vllmperf.kube.login import Login


def write(path: Path, current: str = "", **clusters: str) -> Path:
    """A kubeconfig with one context, cluster and user of the same name for each server."""
    data: dict[str, Any] = {
        "contexts": [
            {"name": n, "context": {"cluster": n, "user": n, "namespace": f"ns-{n}"}} for n in clusters
        ],
        "clusters": [{"name": n, "cluster": {"server": server}} for n, server in clusters.items()],
        "users": [{"name": n, "user": {"token": f"token-{n}"}} for n in clusters],
    }
    data["current-context"] = current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def test_a_context_can_be_chosen_by_name_and_the_current_one_is_the_default(tmp_path: Path) -> None:
    path = write(tmp_path / "c", "b", a="https://a", b="https://b")
    assert load(str(path)).cluster["server"] == "https://b"
    chosen = load(str(path), "a")
    assert (chosen.name, chosen.namespace, chosen.user["token"]) == ("a", "ns-a", "token-a")


def test_an_unknown_context_is_refused_with_the_known_ones_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "c", "b", b="https://b", a="https://a")
    with pytest.raises(UsageError, match=r"no context 'x'; it has: a, b"):
        load(str(path), "x")


def test_without_a_current_context_the_known_ones_are_listed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no current context; choose one with --context: a"):
        load(str(write(tmp_path / "c", a="https://a")))


def test_files_of_kubeconfig_are_merged_and_the_first_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "1", "", a="https://first")
    second = write(tmp_path / "2", "b", a="https://second", b="https://b")
    environ = {"KUBECONFIG": f"{first}:{tmp_path / 'absent'}::{second}"}
    assert load(None, None, environ).name == "b"
    assert load("None", "a", environ).cluster["server"] == "https://first"


@pytest.mark.parametrize("nothing", [None, "", "None"])
def test_without_a_kubeconfig_variable_the_file_in_the_home_folder_is_used(
    nothing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".kube/config", "h", h="https://home")
    assert load(nothing, None, {}).cluster["server"] == "https://home"


def test_a_tilde_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "mine", "m", m="https://m")
    assert load("~/mine").name == "m"


def test_paths_start_from_the_folder_of_the_file_that_names_them(tmp_path: Path) -> None:
    first = write(tmp_path / "one/c", "a", a="https://a")
    second = write(tmp_path / "two/c", "", b="https://b")
    data = json.loads(second.read_text())
    data["users"][0]["user"] = {"tokenFile": "token"}
    data["clusters"][0]["cluster"]["certificate-authority"] = "ca.crt"
    second.write_text(json.dumps(data))
    for name in ("token", "ca.crt"):
        (tmp_path / "two" / name).write_text(name)
    login = Login(load(None, "b", {"KUBECONFIG": f"{first}:{second}"}))
    assert login.authorization() == "Bearer token"
    assert login.settings.ssl_ca_cert == str(tmp_path / "two" / "ca.crt")


def test_the_first_file_with_a_current_context_says_which_as_for_kubectl(tmp_path: Path) -> None:
    """The package itself takes the last one."""
    first = write(tmp_path / "1", "a", a="https://a")
    second = write(tmp_path / "2", "b", b="https://b")
    assert load(None, None, {"KUBECONFIG": f"{first}:{second}"}).name == "a"


def test_a_file_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no kubeconfig /absent/config"):
        load("/absent/config")


def test_nothing_at_all_says_what_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="KUBECONFIG is not set"):
        load(None, None, {})
    with pytest.raises(UsageError, match="none of KUBECONFIG=/absent/x is there"):
        load(None, None, {"KUBECONFIG": "/absent/x"})


@pytest.mark.parametrize("text", ["just words", "[1, 2]", "a: [b", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_said_to_be_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not a kubeconfig"):
        load(str(path))


def test_a_context_whose_cluster_is_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("current-context: a\ncontexts: [{name: a, context: {cluster: gone}}]\n")
    with pytest.raises(UsageError, match="names the cluster 'gone', which is not there"):
        load(str(path))


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_in_a_pod_its_service_account_is_used(
    host: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"token": "t", "namespace": "team-a\n", "ca.crt": "x"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    context = load(None, None, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"})
    assert (context.cluster["server"], context.namespace) == (server, "team-a")
    assert context.user["tokenFile"] == str(tmp_path / "token")


@pytest.mark.parametrize("server", ["", "http://[half", "localhost:6443", "ftp://x", "https://"])
def test_a_server_that_is_no_address_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="context 'a'"):
        load(str(write(tmp_path / "c", "a", a=server)))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("contexts", "none"),
        ("contexts", [{"context": {}}]),
        ("contexts", [{"name": "a", "context": "b"}]),
        ("contexts", [{"name": "a"}, 7]),
        ("clusters", {"a": "b"}),
        ("clusters", [{"name": "a", "cluster": ["https://127.0.0.1:9"]}]),
        ("users", [{"name": "a", "user": "token"}]),
        ("users", [{"name": "a", "user": {"exec": "plugin"}}]),
        ("users", [{"name": "a", "user": {"exec": {"command": "x"}}}]),
        ("users", [{"name": "a", "user": {"auth-provider": "oidc"}}]),
        ("users", [{"name": "a", "user": {"client-certificate-data": "%%%"}}]),
        ("current-context", 7),
    ],
)
def test_a_file_that_is_not_well_formed_is_one_line(
    part: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "c", "a", a="https://127.0.0.1:9")
    path.write_text(json.dumps({**json.loads(path.read_text()), part: value}))
    assert main(["kube", "check", "--config", str(path)]) in (2, 3)
    assert capsys.readouterr().err.count("\n") == 1
