"""Servers that keep what is posted or mailed to them, for tests of what people are told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import StreamRequestHandler, TCPServer
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


@contextmanager
def open_mailbox() -> Iterator[tuple[int, list[EmailMessage]]]:
    """The port of a mail server on this machine, and the mails that have arrived."""
    mails = []

    class Keeper(StreamRequestHandler):
        def handle(self):
            self._say("220 here")
            for line in self.rfile:
                word = line.split()[0].upper()
                if word == b"DATA":
                    self._say("354 go on")
                    text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                    mails.append(message_from_string(text, policy=policy.default))
                self._say("221 bye" if word == b"QUIT" else "250 ok")

        def _say(self, line: str) -> None:
            self.wfile.write(f"{line}\r\n".encode())

    server = TCPServer(("127.0.0.1", 0), Keeper)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], mails
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
