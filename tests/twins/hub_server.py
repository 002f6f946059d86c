"""As much of the Hugging Face hub as huggingface_hub asks: lists of files, and files, on loopback."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """repositories: {"org/name" or "datasets/org/name": {path: bytes}}. A token makes all of them private; gated ones
    are refused whatever the token is. asked: path and token of each request."""

    def __init__(self, repositories, token=None, gated=()):
        self.repositories, self.token, self.gated = repositories, token, gated
        self.asked = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self, has_body=True)

            def do_HEAD(self):
                hub.answer(self, has_body=False)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request, has_body):
        path = unquote(urlsplit(request.path).path).strip("/")
        self.asked.append((path, request.headers.get("Authorization")))
        name, rest = self._found(path)
        if name in self.gated:
            return self._send(request, has_body, 403, b"", {"X-Error-Code": "GatedRepo"})
        is_known = self.token in (None, (request.headers.get("Authorization") or "").removeprefix("Bearer "))
        if name is None or not is_known:
            return self._send(request, has_body, 401, b"", {"X-Error-Code": "RepoNotFound"})
        files = self.repositories[name]
        if path.startswith("api/"):
            return self._send(request, has_body, 200, self._listed(name, files, rest), {})
        file = rest.removeprefix("resolve/").partition("/")[2]
        if file not in files:
            return self._send(request, has_body, 404, b"", {"X-Error-Code": "EntryNotFound"})
        etag = hashlib.sha1(files[file]).hexdigest()
        return self._send(request, has_body, 200, files[file], {"X-Repo-Commit": SHA, "ETag": f'"{etag}"'})

    def _found(self, path):
        path = path.removeprefix("api/").removeprefix("models/")
        name = next((each for each in self.repositories if f"{path}/".startswith(f"{each}/")), None)
        return name, path[len(name or "") :].strip("/")

    @staticmethod
    def _listed(name, files, rest):
        if rest.startswith("tree/"):
            found = [
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in files.items()
            ]
        else:
            own = name.removeprefix("datasets/")
            found = {"id": own, "sha": SHA, "siblings": [{"rfilename": file} for file in files]}
        return json.dumps(found).encode()

    @staticmethod
    def _send(request, has_body, status, data, headers):
        request.send_response(status)
        for header, value in {**headers, "Content-Length": str(len(data))}.items():
            request.send_header(header, value)
        request.end_headers()
        if has_body:
            request.wfile.write(data)
