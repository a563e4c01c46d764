"""A hub on this machine: repositories in memory, behind the HTTP paths that huggingface_hub calls."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse


class FakeHub:
    """Repositories: name to file name to content; `calls` are the requests in their order."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint, self.calls = endpoint, []
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.token = "hf_right"

    def commit_of(self, name: str) -> str:
        content = sorted((file, hashlib.sha1(data).hexdigest()) for file, data in self.repositories[name].items())
        return hashlib.sha1(repr(content).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_GET

    def _answer(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = [part for part in urlparse(self.path).path.split("/") if part]
        self.hub.calls.append((self.command, "/".join(parts)))
        if parts[:2] == ["api", "validate-yaml"]:
            return self._json({"errors": [], "warnings": []})
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            return self._json({"error": "Invalid username or password."}, 401)
        if parts == ["api", "repos", "create"]:
            content = json.loads(self.body)
            name = "/".join(part for part in (content.get("organization"), content["name"]) if part)
            self.hub.repositories.setdefault(name, {})
            return self._json({"url": f"{self.hub.endpoint}/{name}", "id": name})
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        if name not in self.hub.repositories:
            return self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        files = self.hub.repositories[name]
        if parts[:2] == ["api", "models"] and parts[4:5] == ["preupload"]:
            asked = json.loads(self.body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for f in asked]
            return self._json({"files": modes})
        if parts[:2] == ["api", "models"] and parts[4:5] == ["commit"]:
            for line in self.body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            oid = self.hub.commit_of(name)
            return self._json(
                {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}"}
            )
        if parts[:2] == ["api", "models"]:
            if parts[4:5] == ["revision"] and parts[5] not in ("main", self.hub.commit_of(name)):
                return self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": file, "size": len(data)} for file, data in files.items()]
            return self._json({"id": name, "modelId": name, "sha": self.hub.commit_of(name), "siblings": siblings})
        data = files["/".join(parts[4:])]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": self.hub.commit_of(name)}
        return self._send(data, 200, {**headers, "Content-Type": "application/octet-stream"})

    def _json(self, content, status=200, headers=None):
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data, status, headers):
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def fake_hub():
    """A running one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = FakeHub(f"http://127.0.0.1:{server.server_address[1]}")
    server.RequestHandlerClass = type("Handler", (_Handler,), {"hub": hub})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
