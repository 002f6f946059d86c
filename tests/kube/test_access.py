"""Who we are: tokens, files, plugins, certificates, impersonation, TLS."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from importlib.metadata import version as release
from pathlib import Path
from typing import Any

import pytest
from fake_api import FakeApi
from kubernetes.config import incluster_config

from vllmperf import kube
from vllmperf.cli import main
from vllmperf.errors import TargetError
from vllmperf.kube import kubeconfig
from vllmperf.kube.login import Login

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


def plugin(folder: Path, *tokens: str, version: str = V1, **more: Any) -> dict[str, Any]:
    """A user entry whose exec plugin gives these tokens, one a call (the last for ever), and notes what it was told."""
    script = folder / "plugin"
    body = f"""#!{sys.executable}
import json, os, pathlib
calls = pathlib.Path({str(folder / "calls")!r})
told = calls.read_text().splitlines() if calls.exists() else []
calls.write_text("\\n".join([*told, os.environ["KUBERNETES_EXEC_INFO"]]) + "\\n")
tokens = {list(tokens)!r}
token = {{"token": tokens[min(len(told), len(tokens) - 1)]}} if tokens else {{}}
status = {{**token, **{more.pop("status", {})!r}}}
print(json.dumps({{"apiVersion": {version!r}, "kind": "ExecCredential", "status": status}}))
"""
    script.write_text(body)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": version, "command": "./plugin", "interactiveMode": "Never", **more}}


def calls(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def connect(api: FakeApi, folder: Path, **how: Any) -> kube.Cluster:
    return kube.connect(str(api.kubeconfig(folder, **how)))


def test_a_token_is_sent_as_bearer(api: FakeApi, tmp_path: Path) -> None:
    api.tokens = {"good"}
    with connect(api, tmp_path) as cluster:
        assert cluster.list_pods("default") == []


def test_a_wrong_token_is_one_clear_error(api: FakeApi, tmp_path: Path) -> None:
    api.tokens = {"another"}
    with (
        connect(api, tmp_path) as cluster,
        pytest.raises(kube.UnauthorizedError, match="does not accept the credentials"),
    ):
        cluster.list_pods("default")
    assert len(api.requests) == 1


@pytest.mark.parametrize("version", [V1, V1BETA1])
def test_a_plugin_is_asked_again_once_after_a_401(version: str, api: FakeApi, tmp_path: Path) -> None:
    api.tokens = {"first"}
    with connect(api, tmp_path, user=plugin(tmp_path, "first", "second", version=version)) as cluster:
        cluster.list_pods("default")
        cluster.list_pods("default")
        assert len(calls(tmp_path)) == 1
        api.tokens = {"second"}
        cluster.list_pods("default")
        assert len(calls(tmp_path)) == 2
        api.tokens = set()
        with pytest.raises(kube.UnauthorizedError):
            cluster.list_pods("default")
    assert len(calls(tmp_path)) == 3


def test_a_plugins_token_is_kept_until_it_expires(api: FakeApi, tmp_path: Path) -> None:
    user = plugin(tmp_path, "a", "b", status={"expirationTimestamp": "2020-01-01T00:00:00Z"})
    with connect(api, tmp_path, user=user) as cluster:
        cluster.list_pods("default")
        cluster.list_pods("default")
    sent = [request.headers["Authorization"] for request in api.requests]
    assert sent == ["Bearer b", "Bearer b"]  # each request asks for the header and for a certificate
    assert len(calls(tmp_path)) > 2


def test_a_plugin_is_told_the_cluster_when_it_wants_to_know(api: FakeApi, tmp_path: Path) -> None:
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    user = plugin(tmp_path, "t", provideClusterInfo=True, env=[{"name": "SOME", "value": "thing"}])
    with connect(api, tmp_path, user=user, cluster={"extensions": [extension]}) as cluster:
        cluster.list_pods("default")
    told = calls(tmp_path)[0]
    assert told["apiVersion"] == V1
    if release("kubernetes") < "31":
        pytest.skip("the package passes the cluster on from release 31")
    found = told["spec"]["cluster"]
    assert (found["server"], found["config"]) == (api.url, {"audience": "x"})


BAD_PLUGINS: dict[str, tuple[str, str]] = {
    "it fails": ("#!/bin/sh\necho no luck >&2; exit 3\n", "returned 3. no luck"),
    "it prints no JSON": ("#!/bin/sh\necho hello\n", "failed to decode"),
    "it prints another version": (
        """#!/bin/sh\necho '{"apiVersion": "v9", "kind": "ExecCredential", "status": {"token": "x"}}'\n""",
        "version v9 does not match",
    ),
    "it gives nothing": (
        f"""#!/bin/sh\necho '{{"apiVersion": "{V1}", "kind": "ExecCredential", "status": {{}}}}'\n""",
        "missing token",
    ),
}


@pytest.mark.parametrize("case", BAD_PLUGINS)
def test_a_plugin_that_does_not_work_is_said_not_to(case: str, api: FakeApi, tmp_path: Path) -> None:
    text, message = BAD_PLUGINS[case]
    user = plugin(tmp_path, "t")
    (tmp_path / "plugin").write_text(text)
    with connect(api, tmp_path, user=user) as cluster, pytest.raises(TargetError, match=message):
        cluster.list_pods("default")


def test_a_plugin_that_is_not_installed_gives_its_hint(api: FakeApi, tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": V1, "command": "no-such-plugin", "installHint": "apt install it"}}
    with (
        connect(api, tmp_path, user=user) as cluster,
        pytest.raises(TargetError, match=r"no-such-plugin.*apt install it"),
    ):
        cluster.list_pods("default")


def test_a_byte_order_mark_before_a_plugins_answer_is_one_clear_error(api: FakeApi, tmp_path: Path) -> None:
    user = plugin(tmp_path, "t")
    answer = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "t"}})
    (tmp_path / "answer").write_bytes(b"\xef\xbb\xbf" + answer.encode())
    (tmp_path / "plugin").write_text("#!/bin/sh\ncat answer\n")
    with connect(api, tmp_path, user=user) as cluster, pytest.raises(TargetError, match="BOM") as caught:
        cluster.list_pods("default")
    assert "\n" not in str(caught.value)


def test_a_plugin_that_fails_is_told_once_and_nothing_is_logged(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = api.kubeconfig(tmp_path, user={"exec": {"apiVersion": V1, "command": "no-such-plugin"}})
    assert main(["kube", "check", "--config", str(path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1


def test_a_token_file_is_read_again_when_its_token_is_refused(api: FakeApi, tmp_path: Path) -> None:
    api.tokens = {"old"}
    (tmp_path / "token").write_text("old\n")
    with connect(api, tmp_path, user={"tokenFile": "token"}) as cluster:
        cluster.list_pods("default")
        (tmp_path / "token").write_text("new\n")
        api.tokens = {"new"}
        cluster.list_pods("default")


def test_the_token_of_the_pod_we_run_in_is_read_again_after_a_minute(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {"token": "old", "namespace": "team-a", "ca.crt": "x"}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    login = Login(kubeconfig.load(None, None, environ))
    assert str(login.authorization()).lower() == "bearer old"
    (tmp_path / "token").write_text("new\n")
    assert str(login.authorization()).lower() == "bearer old"
    later = datetime.now() + timedelta(seconds=61)
    monkeypatch.setattr(incluster_config.datetime, "datetime", type("Later", (), {"now": lambda: later}))
    assert str(login.authorization()).lower() == "bearer new"


def test_a_user_and_password_are_sent_as_basic(api: FakeApi, tmp_path: Path) -> None:
    with connect(api, tmp_path, user={"username": "u", "password": "p:w"}) as cluster:
        cluster.list_pods("default")
    assert api.requests[0].headers["Authorization"] == "Basic " + base64.b64encode(b"u:p:w").decode()


def test_an_old_auth_provider_is_asked_through_the_package(api: FakeApi, tmp_path: Path) -> None:
    part = (
        base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000, "xx": "y" * 3}).encode())
        .decode()
        .rstrip("=")
    )
    token = f"head.{part}.tail"
    user = {"auth-provider": {"name": "oidc", "config": {"id-token": token}}}
    with connect(api, tmp_path, user=user) as cluster:
        cluster.list_pods("default")
    assert api.requests[0].headers["Authorization"] == f"Bearer {token}"


def test_impersonation_is_passed_on(api: FakeApi, tmp_path: Path) -> None:
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "7",
        "as-groups": ["dev"],
        "as-user-extra": {"scope": ["x"]},
    }
    with connect(api, tmp_path, user=user) as cluster:
        cluster.list_pods("default")
    headers = api.requests[0].headers
    names = ("Impersonate-User", "Impersonate-Uid", "Impersonate-Group", "Impersonate-Extra-scope")
    assert [headers[name] for name in names] == ["jane", "7", "dev", "x"]


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for the name kube.test with its key, its own authority, which also serves as a client's."""
    folder = tmp_path_factory.mktemp("keys")
    wish = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=kube.test"
    where = ["-addext", "subjectAltName=DNS:kube.test", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(["openssl", *wish.split(), *where], cwd=folder, check=True, capture_output=True)
    return folder


Secure = Callable[..., FakeApi]


@pytest.fixture
def secure(keys: Path, request: pytest.FixtureRequest) -> Secure:
    def start(client_certificate: bool = False) -> FakeApi:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(keys / "cert.pem", keys / "key.pem")
        if client_certificate:
            tls.verify_mode = ssl.CERT_REQUIRED
            tls.load_verify_locations(keys / "cert.pem")
        server = FakeApi(tls)
        request.addfinalizer(lambda: server.__exit__())
        return server

    return start


def data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_an_authority_given_as_data_and_another_server_name_are_used(
    secure: Secure, keys: Path, tmp_path: Path
) -> None:
    trust = {"certificate-authority-data": data(keys / "cert.pem"), "tls-server-name": "kube.test"}
    with connect(secure(), tmp_path, cluster=trust) as cluster:
        assert cluster.list_pods("default") == []


def test_an_unknown_authority_is_refused_at_once(secure: Secure, tmp_path: Path) -> None:
    with (
        connect(secure(), tmp_path) as cluster,
        pytest.raises(kube.UnreachableError, match="cannot be trusted"),
    ):
        cluster.list_pods("default")


def test_a_kubeconfig_that_skips_verification_gets_no_warning(secure: Secure, tmp_path: Path) -> None:
    with connect(secure(), tmp_path, cluster={"insecure-skip-tls-verify": True}) as cluster:
        assert cluster.list_pods("default") == []


def test_a_client_certificate_is_shown(secure: Secure, keys: Path, tmp_path: Path) -> None:
    trust = {"certificate-authority": str(keys / "cert.pem"), "tls-server-name": "kube.test"}
    user = {"client-certificate-data": data(keys / "cert.pem"), "client-key": str(keys / "key.pem")}
    with connect(secure(client_certificate=True), tmp_path, cluster=trust, user=user) as cluster:
        assert cluster.list_pods("default") == []


def test_a_client_certificate_from_a_plugin_is_shown(secure: Secure, keys: Path, tmp_path: Path) -> None:
    trust = {"certificate-authority": str(keys / "cert.pem"), "tls-server-name": "kube.test"}
    shown = {
        "clientCertificateData": (keys / "cert.pem").read_text(),
        "clientKeyData": (keys / "key.pem").read_text(),
    }
    user = plugin(tmp_path, status=shown)
    with connect(secure(client_certificate=True), tmp_path, cluster=trust, user=user) as cluster:
        assert cluster.list_pods("default") == []


def test_keys_that_came_as_data_are_private_files_until_the_process_ends(
    secure: Secure, keys: Path, tmp_path: Path
) -> None:
    trust = {"certificate-authority-data": data(keys / "cert.pem"), "tls-server-name": "kube.test"}
    user = {"client-certificate-data": data(keys / "cert.pem"), "client-key-data": data(keys / "key.pem")}
    path = secure(client_certificate=True).kubeconfig(tmp_path, cluster=trust, user=user)
    script = (
        "import sys; from pathlib import Path; from vllmperf import kube\n"
        "with kube.connect(sys.argv[1]) as cluster:\n"
        "    cluster.list_pods('default')\n"
        "    key = Path(cluster.transport.login.settings.key_file)\n"
        "    print(key, key.stat().st_mode & 0o077)"
    )
    words = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    key, others = done.stdout.split()
    assert others == "0"
    assert not Path(key).exists()


def test_a_certificate_that_is_not_there_is_one_clear_error(api: FakeApi, tmp_path: Path) -> None:
    user = {"client-certificate": "absent.pem"}
    with (
        connect(api, tmp_path, user=user, cluster={"server": "https://127.0.0.1:9"}) as cluster,
        pytest.raises(TargetError, match=r"File does not exist: .*absent\.pem"),
    ):
        cluster.list_pods("default")
