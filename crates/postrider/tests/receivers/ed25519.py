"""A receiver that holds a public key and verifies with the `cryptography` package, by the words of
the Standard Webhooks specification; the shared secret beside it is verified by their library."""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook

public = Ed25519PublicKey.from_public_bytes(base64.b64decode(sys.argv[1].removeprefix("whpk_")))
shared = Webhook(sys.argv[2])
lock = Lock()
events = set()
refused = []


def check(headers, body):
    """The id of an event that both verify."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mine = [one[4:] for one in headers["webhook-signature"].split() if one.startswith("v1a,")]
    if len(mine) != 1:
        raise ValueError(f"{len(mine)} signatures with Ed25519")
    public.verify(base64.b64decode(mine[0], validate=True), signed)
    for forged in (signed + b" ", b"x" + signed):
        try:
            public.verify(base64.b64decode(mine[0]), forged)
        except InvalidSignature:
            continue
        raise ValueError("another text is verified as well")
    event = shared.verify(body, dict(headers.items()))
    if event["id"] != headers["webhook-id"]:
        raise ValueError("the id in the body is another one")
    return event["id"]


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = check(self.headers, body)
        except Exception as error:
            with lock:
                refused.append(repr(error))
            return self.answer(401)
        with lock:
            events.add(event)
        return self.answer(204)

    def do_GET(self):
        with lock:
            state = {"events": len(events), "refused": refused}
        return self.answer(200, json.dumps(state).encode())

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
