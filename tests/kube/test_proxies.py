"""Proxies between us and the API server: HTTP and SOCKS, that work, refuse, or are not there."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_api import FakeApi

from vllmperf import kube
from vllmperf.cli import main
from vllmperf.errors import UsageError
from vllmperf.kube import ways


class SocksProxy:
    """SOCKS 5 without a password on loopback: `asked` names what it was asked to connect to; it connects to `target`."""

    def __init__(self, target: tuple[str, int], answer: int = 0):
        self.asked: list[tuple[int, str, int]] = []  # type of address, host, port
        self._target, self._answer = target, answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> SocksProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error), client:
            client.recv(2 + 255)
            client.sendall(b"\x05\x00")
            head = client.recv(4)
            kind = head[3]
            host = client.recv(client.recv(1)[0]).decode() if kind == 3 else socket.inet_ntoa(client.recv(4))
            self.asked.append((kind, host, struct.unpack("!H", client.recv(2))[0]))
            client.sendall(bytes((5, self._answer, 0, 1)) + bytes(6))
            if self._answer == 0:
                with socket.create_connection(self._target) as server:
                    threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                    _pump(server, client)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture
def target(api: FakeApi) -> tuple[str, int]:
    host, _, port = api.url.rpartition("/")[2].partition(":")
    return host, int(port)


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_of_the_kubeconfig_is_used_and_resolves_the_name(
    scheme: str, api: FakeApi, target: tuple[str, int], tmp_path: Path
) -> None:
    pytest.importorskip("socks")
    api.add_pod("a")
    with SocksProxy(target) as proxy:
        cluster = {"server": "http://api.invalid:80", "proxy-url": f"{scheme}://127.0.0.1:{proxy.port}"}
        with kube.connect(str(api.kubeconfig(tmp_path, cluster=cluster))) as connected:
            assert [pod["metadata"]["name"] for pod in connected.list_pods("default")] == ["a"]
    assert proxy.asked[0] == (3, "api.invalid", 80)


def test_a_socks_proxy_of_the_environment_is_used(
    no_environment: None,
    api: FakeApi,
    target: tuple[str, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("socks")
    with SocksProxy(target) as proxy:
        monkeypatch.setenv("http_proxy", f"socks5://127.0.0.1:{proxy.port}")
        path = str(api.kubeconfig(tmp_path, cluster={"server": "http://api.invalid:80"}))
        with kube.connect(path) as connected:
            assert connected.list_pods("default") == []
        assert len(proxy.asked) == 1
        monkeypatch.setenv("no_proxy", "api.invalid")
        assert ways.proxy_of("http://api.invalid:80", {}) == (None, None)


def test_what_a_socks_proxy_cannot_reach_is_told_with_both_names(
    api: FakeApi, target: tuple[str, int], tmp_path: Path
) -> None:
    pytest.importorskip("socks")
    with SocksProxy(target, answer=5) as proxy:
        cluster = {"server": "http://api.invalid:80", "proxy-url": f"socks5://127.0.0.1:{proxy.port}"}
        path = str(api.kubeconfig(tmp_path, cluster=cluster))
        with kube.connect(path) as connected, pytest.raises(kube.UnreachableError) as caught:
            connected.list_pods("default")
    said = str(caught.value)
    assert f"http://api.invalid:80 through the proxy socks5://127.0.0.1:{proxy.port}" in said


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("server", ["http://api.invalid:80", "https://api.invalid:443"])
def test_a_proxy_that_is_not_there_is_named(
    scheme: str, server: str, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if scheme == "socks5":
        pytest.importorskip("socks")
    proxy = f"{scheme}://me:secret@127.0.0.1:{closed_port()}"
    path = api.kubeconfig(tmp_path, cluster={"server": server, "proxy-url": proxy})
    assert main(["kube", "check", "--config", str(path)]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"cannot reach the proxy {scheme}://{proxy.rpartition('@')[2]} of the API server {server}" in said
    assert "secret" not in said


def test_without_its_package_a_socks_proxy_is_refused_in_one_line(
    api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "find_spec", lambda _: None)
    path = api.kubeconfig(tmp_path, cluster={"proxy-url": "socks5://me:secret@127.0.0.1:9"})
    assert main(["kube", "check", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "socks5://127.0.0.1:9" in said
    assert "pip install PySocks" in said


@pytest.mark.parametrize(
    "proxy",
    ["socks4://127.0.0.1:9", "127.0.0.1:9", "ftp://x:1", "http://", "http://x:abc", "http://x:99999", "[::"],
)
def test_a_proxy_that_cannot_be_one_is_refused_in_one_line(
    proxy: str, api: FakeApi, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = api.kubeconfig(tmp_path, cluster={"proxy-url": proxy})
    assert main(["kube", "check", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"proxy-url in the kubeconfig is {proxy}" in said


@pytest.mark.parametrize(
    ("status", "says"), [(502, "asked through the proxy"), (407, "asks for a user and a password")]
)
def test_what_a_proxy_answers_itself_is_told_as_its_own(
    status: int, says: str, api: FakeApi, tmp_path: Path
) -> None:
    with FakeApi() as proxy:
        proxy.fail("", times=1000, status=status)
        cluster = {"server": "http://api.invalid:80", "proxy-url": proxy.url}
        with kube.connect(str(api.kubeconfig(tmp_path, cluster=cluster))) as connected:
            with pytest.raises(kube.ApiError, match=says) as caught:
                connected.get("/version")
            assert proxy.url.rpartition("/")[2] in str(caught.value)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://a:b@h:1", "http://h:1"),
        ("socks5://h:1", "socks5://h:1"),
        ("http://a@b:c@h", "http://h"),
        ("h:1", "h:1"),
    ],
)
def test_a_proxy_s_password_is_never_shown(proxy: str, shown: str) -> None:
    assert ways.shown(proxy) == shown


def test_a_byte_order_mark_before_a_kubeconfig_or_a_token_is_no_part_of_it(
    api: FakeApi, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_bytes(b"\xef\xbb\xbfgood\r\n")
    path = api.kubeconfig(tmp_path, user={"tokenFile": str(token)})
    marked = tmp_path / "marked"
    marked.write_bytes(path.read_text().encode("utf-8-sig"))
    with kube.connect(str(marked)) as connected:
        assert connected.list_pods("default") == []


@pytest.mark.parametrize("content", [b"\xff\x00\xfe", "current-context: a\n".encode("utf-16")])
def test_a_kubeconfig_that_is_no_utf_8_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a kubeconfig"):
        kube.connect(str(path))
