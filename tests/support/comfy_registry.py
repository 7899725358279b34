"""A stand-in for the Comfy Registry, which cannot be had in a test: its install route and its archives, over HTTP."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit


def make_zip(files: Mapping[str, str], link: str = "") -> bytes:
    """A ZIP archive of these texts; ``link``: the name of one that is a symbolic link."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == link else 0o100644) << 16
            archive.writestr(entry, text)
    return content.getvalue()


class ComfyRegistry:
    """Serves its routes on loopback while ``with`` lasts. ``archives``: by name and version, the newest last.

    ``repositories``: the address of a pack's git repository, by its name.
    """

    def __init__(self) -> None:
        self.archives: dict[str, dict[str, bytes]] = {}
        self.repositories: dict[str, str] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = registry.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - as http.server calls it.
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, bytes]:
        """Status and body for a request."""
        parts = urlsplit(path)
        match parts.path.strip("/").split("/"):
            case ["nodes", name, "install"] if name in self.archives:
                version = parse_qs(parts.query).get("version", [[*self.archives[name]][-1]])[0]
                if version in self.archives[name]:
                    address = f"{self.url}/archives/{name}/{version}.zip"
                    return 200, json.dumps({"id": name, "version": version, "downloadUrl": address}).encode()
            case ["nodes", name] if name in self.archives or name in self.repositories:
                versions = [*self.archives.get(name, {})]
                about = {"id": name, "repository": self.repositories.get(name, "")}
                return 200, json.dumps(
                    about | {"latest_version": {"version": versions[-1]} if versions else None}
                ).encode()
            case ["archives", name, file]:
                return 200, self.archives[name][file.removesuffix(".zip")]
            case ["broken", *_]:
                return 503, b""
            case ["page", *_]:
                return 200, b"<html>"
        return 404, b'{"message": "Node not found"}'
