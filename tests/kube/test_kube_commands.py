from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fake_api import FakeApi

from vllmperf.cli import main


def run(api: FakeApi, folder: Path, *words: str, namespace: str = "default") -> int:
    return main(["kube", words[0], "-cfg", str(api.kubeconfig(folder, namespace=namespace)), *words[1:]])


def names(api: FakeApi) -> list[str]:
    return [name for plural, _, name in api.objects if plural == "pods"]


def test_check_says_yes_to_each_right_that_is_there(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(api, tmp_path, "check", namespace="team-a") == 0
    text = capsys.readouterr().out
    assert f"{api.url} (context fake), namespace team-a, as {api.user}" in text
    assert "  yes  get pods/log\n" in text
    assert "NO" not in text
    assert text.endswith("nothing is missing\n")


def test_check_prints_the_rbac_of_what_is_missing_and_fails(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.deny("get", "pods/log")
    assert run(api, tmp_path, "check", "-n", "team-b") == 1
    text = capsys.readouterr().out
    assert "  NO   get pods/log\n" in text
    role, binding = yaml.safe_load_all(text[text.index("apiVersion") :])
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}]
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "team-b"


def test_check_prints_the_rbac_alone_when_asked(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.deny("delete", "pods")
    assert run(api, tmp_path, "check", "--rbac") == 1
    assert [one["kind"] for one in yaml.safe_load_all(capsys.readouterr().out)] == ["Role", "RoleBinding"]


def test_check_can_be_limited_to_what_is_wanted(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.deny("delete", "pods")
    assert run(api, tmp_path, "check", "--for", "startup,probe") == 0
    assert run(api, tmp_path, "check", "--for", "clean") == 1
    assert run(api, tmp_path, "check", "--for", "cleaning") == 2
    assert "known are startup, deployment" in capsys.readouterr().err


def test_clean_deletes_the_pods_of_the_label_and_names_them(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
        api.add_pod(name, labels={"app": app})
    assert run(api, tmp_path, "clean", "-l", "app=x", "--yes") == 0
    assert capsys.readouterr().out == 'pod "a" deleted\npod "b" deleted\n'
    assert names(api) == ["c"]


def test_clean_only_lists_with_dry_run(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add_pod("a", labels={"app": "x"})
    assert run(api, tmp_path, "clean", "-l", "app=x", "--dry-run") == 0
    assert "would delete 1 pods with app=x in namespace default" in capsys.readouterr().out
    assert names(api) == ["a"]
    assert not api.seen("^DELETE")


def test_clean_without_a_terminal_wants_yes(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add_pod("a", labels={"app": "x"})
    assert run(api, tmp_path, "clean", "-l", "app=x") == 2
    assert "deleting them needs --yes" in capsys.readouterr().err
    assert names(api) == ["a"]


@pytest.mark.parametrize(("answer", "left", "code"), [("y\n", [], 0), ("\n", ["a"], 1), ("\x04", ["a"], 1)])
def test_clean_asks_on_a_terminal(
    answer: str, left: list[str], code: int, api: FakeApi, tmp_path: Path
) -> None:
    api.add_pod("a", labels={"app": "x"})
    command = [
        sys.executable,
        "-m",
        "vllmperf",
        "kube",
        "clean",
        "-cfg",
        str(api.kubeconfig(tmp_path)),
        "-l",
        "app=x",
    ]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        said = b""
        while b"[y/N]" not in said:
            said += os.read(ours, 4096)
        os.write(ours, answer.encode())
        assert child.wait(60) == code
    os.close(ours)
    assert b"delete these 1 pods of namespace default (context fake)? [y/N]" in said
    assert names(api) == left


@pytest.mark.parametrize("selector", ["", "  "])
def test_clean_refuses_an_empty_selector(
    selector: str, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api.add_pod("a")
    assert run(api, tmp_path, "clean", "-l", selector, "--yes") == 2
    assert "every pod of the namespace" in capsys.readouterr().err
    assert names(api) == ["a"]


def test_clean_with_nothing_to_delete_is_fine(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(api, tmp_path, "clean", "-l", "app=x") == 0
    assert capsys.readouterr().out == "no pods with app=x in namespace default\n"


def test_a_cluster_that_cannot_be_reached_is_one_line_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeApi() as api:
        path = api.kubeconfig(tmp_path)
    assert main(["kube", "clean", "-cfg", str(path), "-l", "app=x"]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_command_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kube"]) == 2
    assert "check|clean" in capsys.readouterr().err
