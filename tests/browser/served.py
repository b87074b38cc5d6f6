"""The built book behind a static server that compresses, as GitHub Pages does."""

import gzip
import threading
from contextlib import contextmanager
from functools import cache
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
COMPRESSED = {".html", ".css", ".js", ".json", ".svg", ".map", ".txt", ".xml"}


@cache
def compressed(path: Path, modified: float) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


class Handler(SimpleHTTPRequestHandler):
    """GET with gzip for text, and an age for what a page shares with others."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        if (
            path.name == "favicon.ico"
        ):  # what a browser asks for before the first page has sent it on
            return self.send_error(204)
        if not path.is_file():
            return self.send_error(404)
        encoded = path.suffix in COMPRESSED and "gzip" in self.headers.get("Accept-Encoding", "")
        body = compressed(path, path.stat().st_mtime) if encoded else path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")
        if encoded:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        return self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@contextmanager
def served(directory: Path = HTML, port: int = 0):
    """The address of ``directory``, served while the context lasts."""

    def handler(*arguments):
        return Handler(*arguments, directory=str(directory))

    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
