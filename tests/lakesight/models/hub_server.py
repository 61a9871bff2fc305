"""The simplest real Hugging Face hub: one repository at one commit, over HTTP."""

import hashlib
import http.server
import json
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves a folder; `sent` has the names of the files that were fetched."""

    def __init__(self, repo: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.repo, self.folder = repo, folder
        self.sent: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def info(self) -> dict[str, Any]:
        """Answer what a repository holds."""
        siblings = [
            {"rfilename": path.name, "size": path.stat().st_size, **self.lfs(path, "sha256")}
            for path in sorted(self.folder.iterdir())
        ]
        return {"_id": "0", "id": self.repo, "sha": COMMIT, "siblings": siblings}

    def tree(self) -> list[dict[str, Any]]:
        """Answer the same as a listing of files."""
        return [
            {
                "type": "file",
                "path": path.name,
                "size": path.stat().st_size,
                "oid": hashlib.sha1(path.read_bytes()).hexdigest(),
                **self.lfs(path, "oid"),
            }
            for path in sorted(self.folder.iterdir())
        ]

    def lfs(self, path: Path, key: str) -> dict[str, Any]:
        """Describe what the hub keeps by its SHA-256: large files, not texts."""
        if path.suffix != ".safetensors":
            return {}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return {"lfs": {key: digest, "size": path.stat().st_size, "pointerSize": 134}}


class HubHandler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        resolve = f"/{self.server.repo}/resolve/{COMMIT}/"
        if path == f"/api/models/{self.server.repo}/revision/{COMMIT}":
            self.answer(json.dumps(self.server.info()).encode(), "application/json")
        elif path == f"/api/models/{self.server.repo}/tree/{COMMIT}":
            self.answer(json.dumps(self.server.tree()).encode(), "application/json")
        elif path.startswith(resolve):
            file = self.server.folder / path.removeprefix(resolve)
            if self.command == "GET":
                self.server.sent.append(file.name)
            self.answer(file.read_bytes(), "application/octet-stream")
        else:
            self.send_error(404)

    def answer(self, body: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
