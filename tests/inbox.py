"""A web server that keeps what is posted to it, for tests of what people are told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread


@dataclass(frozen=True)
class Inbox:
    """``connection`` is the Airflow connection that leads here, ``bodies`` what has arrived."""

    port: int = 0
    bodies: list[dict] = field(default_factory=list)

    @property
    def connection(self) -> str:
        """The value of ``AIRFLOW_CONN_APPRISE_DEFAULT``."""
        channel = {"path": f"json://127.0.0.1:{self.port}/", "tag": "all"}
        return json.dumps({"conn_type": "apprise", "extra": {"config": [channel]}})


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """A server on a free port of this machine."""
    bodies = []

    class Keeper(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Keeper)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Inbox(server.server_port, bodies)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
