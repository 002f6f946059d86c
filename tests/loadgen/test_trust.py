"""Which certificates are trusted when nobody says."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllmperf.errors import SettingError
from vllmperf.loadgen.run import engine_config
from vllmperf.loadgen.schedule import schedule
from vllmperf.loadgen.task import Task
from vllmperf.target import Client, trust
from vllmperf.target.trust import Trust


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without certificates, but for those that a test puts into this folder; and without certifi."""
    nowhere = SimpleNamespace(
        openssl_cafile=f"{tmp_path}/built-in.pem", openssl_capath=f"{tmp_path}/built-in"
    )
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nowhere)
    monkeypatch.setattr(trust, "FILES", (f"{tmp_path}/debian.crt", f"{tmp_path}/rhel.pem"))
    monkeypatch.setattr(trust, "FOLDERS", (f"{tmp_path}/certs",))
    monkeypatch.setitem(sys.modules, "certifi", None)
    return tmp_path


def test_the_environment_overrides_the_system():
    assert trust.system({"SSL_CERT_FILE": "/a.pem"}) == Trust(file="/a.pem")
    assert trust.system({"SSL_CERT_DIR": "/a:/b"}) == Trust(folder="/a:/b")


def test_a_file_comes_before_a_folder_because_both_make_libcurl_slow():
    assert trust.system({"SSL_CERT_FILE": "/a.pem", "SSL_CERT_DIR": "/a"}) == Trust(file="/a.pem")


def test_empty_variables_name_nothing(bare: Path):
    assert trust.system({"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}) == Trust()


def test_the_first_usual_file_that_is_there_is_taken_and_only_without_one_that_of_pythons_openssl(bare: Path):
    (bare / "built-in.pem").touch()
    assert trust.system({}) == Trust(file=f"{bare}/built-in.pem")
    (bare / "rhel.pem").touch()
    assert trust.system({}) == Trust(file=f"{bare}/rhel.pem")
    (bare / "debian.crt").touch()
    assert trust.system({}) == Trust(file=f"{bare}/debian.crt")


def test_a_folder_is_taken_when_there_is_no_file_and_it_has_hashes(bare: Path):
    (bare / "certs").mkdir()
    (bare / "certs" / "some.pem").touch()
    assert trust.system({}) == Trust()
    (bare / "certs" / "12ab34cd.0").touch()
    assert trust.system({}) == Trust(folder=f"{bare}/certs")


def test_certifi_is_the_last_resort(bare: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "certifi", SimpleNamespace(where=lambda: "/certifi.pem"))
    assert trust.system({}) == Trust(file="/certifi.pem")
    (bare / "debian.crt").touch()
    assert trust.system({}) == Trust(file=f"{bare}/debian.crt")


def test_the_engine_gets_one_of_file_and_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def trusted(**settings: str) -> tuple[str, str]:
        task = Task.of({"base_url": "https://h", "model": "m", **settings})
        config = engine_config(task, ["127.0.0.1"], schedule(task.plan))
        return config["cacert"], config["capath"]

    own = tmp_path / "own.pem"
    own.touch()
    monkeypatch.setattr(trust, "system", lambda: Trust(folder="/certs"))
    assert trusted() == ("", "/certs")
    assert trusted(cacert=str(own)) == (str(own), "")
    monkeypatch.setattr(trust, "system", lambda: Trust(file="/a.pem"))
    assert trusted() == ("/a.pem", "")


def test_a_variable_that_names_no_file_is_an_error_that_names_the_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(SettingError, match=r"SSL_CERT_FILE: /nowhere\.pem holds no certificates"):
        Client("https://127.0.0.1:9").prepare()


def test_a_look_for_certificates_is_free_until_somebody_looks():
    loaded = "import sys, vllmperf.target.trust; print('ssl' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
