"""A receiver written from docs/WEBHOOKS.md alone, with the Standard Webhooks library: verifies,
deduplicates, and rebuilds conversations. `GET /threads` tells what it made of it."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(sys.argv[1])
lock = Lock()
events = {}
repeats = 0
refused = 0


def threads():
    """Conversations by thread key; within one, who answers whom."""
    found = {}
    for event in events.values():
        message = event["data"]["message"]
        answers = message["in_reply_to"]
        if answers is None and message["references"]:
            answers = message["references"][-1]
        thread = found.setdefault(message["thread_key"], {})
        thread[message["message_id"]] = answers
    return found


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global repeats, refused
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers.items()))
        except WebhookVerificationError:
            refused += 1
            return self.answer(401)
        with lock:
            known = event["id"] in events
            events.setdefault(event["id"], event)
            repeats += known
            count = len(events)
        if not known and count % 7 == 0:
            # Stored, and then the answer is lost.
            self.close_connection = True
            return None
        return self.answer(204)

    def do_GET(self):
        with lock:
            state = {"threads": threads(), "repeats": repeats, "refused": refused, "events": len(events)}
        return self.answer(200, json.dumps(state).encode())

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
