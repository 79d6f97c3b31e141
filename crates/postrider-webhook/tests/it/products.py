"""Receivers that take mail over HTTP as the products do, their refusals too. Nothing here is
postrider's: forms are read by Python's mail parser, XML-RPC by its XML-RPC library, tokens by PyJWT.

One product per process: products.py NAME. Prints its port. GET /taken tells what was taken. What
a receiver makes of a message depends on its subject, so that a test can choose.
"""

import base64
import binascii
import email
import email.feedparser
import json
import sys
import time
import xmlrpc.client
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

KEY = "the key of this product"
SECRET = bytes(range(32))

taken = []
tickets = {}


def subject(message):
    return email.message_from_bytes(message).get("Subject", "")


def form(headers, body):
    """The fields of a form: name to (value, file name or None, type or None)."""
    parser = email.feedparser.BytesFeedParser()
    parser.feed(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    parsed = parser.close()
    if parsed.get_content_type() != "multipart/form-data" or parsed.defects:
        raise ValueError(f"no form: {parsed.defects}")
    fields = {}
    for part in parsed.get_payload():
        if part.defects:
            raise ValueError(str(part.defects))
        name = part.get_param("name", header="content-disposition")
        kind = part["Content-Type"]
        value = part.get_payload(decode=True)
        fields[name] = (value, part.get_filename(), kind)
    return fields


def take(message, **more):
    taken.append({"message": base64.b64encode(message).decode(), **more})


def osticket(path, headers, body):
    if path != "/support/api/tickets.email":
        return 404, "", "<html>"
    if headers.get("X-API-Key") != KEY:
        return 401, "", "Valid API key required"
    said = subject(body)
    if said == "banned":
        return 403, "", "Ticket denied"
    if said == "broken":
        return 500, "", "Unable to create new ticket: unknown error"
    parsed = email.message_from_bytes(body)
    if "From" not in parsed:
        return 400, "", "Unable to create new ticket: validation errors"
    known = parsed["Message-ID"] in tickets
    number = tickets.setdefault(parsed["Message-ID"], str(100 + len(tickets)))
    if not known:
        take(body, number=number)
    return 201, "", number


def rt(path, headers, body):
    if path != "/REST/1.0/NoAuth/mail-gateway":
        return 200, "text/html", "<html>look here for your tickets: not ok"
    fields = form(headers, body)
    message, name, kind = fields["message"]
    if name is not None or kind != "application/octet-stream":
        # CGI.pm hands out an uploaded file as its name.
        return 200, "text/plain", f"not ok - Could not parse {name!r}"
    said = subject(message)
    if said == "loop":
        return 200, "text/plain", "not ok - Message already recorded"
    if said == "later":
        return 200, "text/plain", "temporary failure - RT couldn't find the queue: not ok"
    texts = {key: value[0].decode() for key, value in fields.items() if key != "message"}
    take(message, **texts)
    return 200, "text/plain", "ok\nTicket: 7\nQueue: General\nSubject: not ok"


def redmine(path, headers, body):
    if path != "/mail_handler":
        return 404, "text/html", "<html>"
    fields = form(headers, body)
    if any(name is not None for _, name, _ in fields.values()):
        return 500, "", "an uploaded file is no text"
    for value, _, kind in fields.values():
        # Rack takes text for UTF-8 unless its type names a charset, and Rails refuses what is not valid in it.
        charset = email.message_from_string(f"Content-Type: {kind}").get_param("charset", "utf-8")
        try:
            value.decode(charset)
        except UnicodeDecodeError:
            return 400, "text/html", "Invalid encoding for parameter"
    if fields["key"][0].decode() != KEY:
        return 403, "", "Access denied. Incoming emails WS is disabled or key is invalid."
    message = fields["email"][0]
    if subject(message) == "unknown user":
        return 422, "", ""
    texts = {k: v[0].decode() for k, v in fields.items() if k not in ("email", "key")}
    take(message, **texts)
    return 201, "", ""


def action_mailbox(path, headers, body):
    if path != "/rails/action_mailbox/relay/inbound_emails":
        return 404, "", ""
    login = base64.b64encode(f"actionmailbox:{KEY}".encode()).decode()
    if headers.get("Authorization") != f"Basic {login}":
        return 401, "", "HTTP Basic: Access denied."
    if headers.get("Content-Type") != "message/rfc822":
        return 415, "", ""
    if not body:
        return 422, "", ""
    if subject(body) == "broken":
        return 500, "", ""
    take(body)
    return 204, "", ""


def gitlab(path, headers, body):
    prefix = "/api/v4/internal/mail_room/"
    if path not in (prefix + "incoming_email", prefix + "service_desk_email"):
        return 404, "application/json", '{"error":"404 Not Found"}'
    try:
        token = headers["Gitlab-Mailroom-Api-Request"]
        claims = jwt.decode(
            token,
            SECRET,
            algorithms=["HS256"],
            issuer="gitlab-mailroom",
            options={"require": ["iss", "iat", "nonce"]},
        )
        if claims["iat"] < time.time() - 300:
            raise jwt.InvalidTokenError("too old")
    except (jwt.InvalidTokenError, KeyError) as error:
        return 401, "application/json", json.dumps({"message": f"401 Unauthorized {error}"})
    if subject(body) == "huge":
        return 400, "application/json", '{"success":false,"message":"too large"}'
    take(body, nonce=claims["nonce"], type=path.removeprefix(prefix))
    return 200, "application/json", '{"success":true}'


def discourse(path, headers, body):
    if path != "/admin/email/handle_mail":
        return 404, "application/json", '{"errors":["not found"]}'
    if headers.get("Api-Key") != KEY or headers.get("Api-Username") != "system":
        return 403, "application/json", '{"error_type":"invalid_access"}'
    try:
        message = base64.b64decode(form(headers, body)["email_encoded"][0], validate=True)
    except (KeyError, binascii.Error):
        return 400, "application/json", '{"errors":["param is missing"]}'
    if subject(message) == "busy":
        return 429, "application/json", '{"errors":["slow down"]}'
    take(message)
    return 200, "text/plain", "email has been received and is queued for processing"


def odoo(path, headers, body):
    if path != "/xmlrpc/2/object":
        return 200, "text/html", "<html>Odoo: log in with your email, params and <methodResponse>"
    arguments, method = xmlrpc.client.loads(body)
    database, user, password, model, function, (fallback, message) = arguments

    def fault(code, text):
        answer = xmlrpc.client.dumps(xmlrpc.client.Fault(code, text), methodresponse=True)
        return 200, "text/xml", answer

    if method != "execute_kw" or (model, function) != ("mail.thread", "message_process"):
        return fault(1, f"{method} {model} {function}")
    if (database, user, password) != ("production", 2, KEY):
        return fault(3, "Access Denied")
    said = subject(message.data)
    if said == "forbidden":
        return fault(4, "you may not")
    if said == "no alias":
        return fault(1, "Traceback\nValueError: No possible route found for <int>3</int> <params>")
    if said == "broken":
        return fault(1, "Traceback\npsycopg2.OperationalError")
    if said == "answer to a bounce":
        # It is done with it, and has nothing to say: its XML-RPC cannot write that.
        try:
            xmlrpc.client.dumps((None,), methodresponse=True)
        except TypeError as error:
            return fault(1, f"Traceback (most recent call last):\nTypeError: {error}")
    take(message.data, model=fallback)
    # The number of the record: 3 is no fault.
    return 200, "text/xml", xmlrpc.client.dumps((3,), methodresponse=True)


POSTMARK = {
    "FromName": str, "From": str, "FromFull": dict, "To": str, "ToFull": list, "Cc": str,
    "CcFull": list, "Bcc": str, "BccFull": list, "OriginalRecipient": str, "Subject": str,
    "MessageID": str, "ReplyTo": str, "MailboxHash": str, "Date": str, "TextBody": str,
    "HtmlBody": str, "StrippedTextReply": str, "Tag": str, "MessageStream": str, "Headers": list,
    "Attachments": list, "RawEmail": str,
}


def postmark(path, headers, body):
    """A consumer of Postmark's inbound JSON, which believes it only as far as RawEmail agrees."""
    if headers.get("Content-Type") != "application/json":
        return 415, "", ""
    told = json.loads(body)
    wrong = [key for key, kind in POSTMARK.items() if not isinstance(told.get(key), kind)]
    for person in [told["FromFull"], *told["ToFull"], *told["CcFull"]]:
        wrong += [key for key in ("Email", "Name", "MailboxHash") if not isinstance(person[key], str)]
    raw = email.message_from_string(told["RawEmail"])
    parts = {
        part.get_filename(): part.get_payload(decode=True)
        for part in raw.walk()
        if part.get_filename() is not None
    }
    for file in told["Attachments"]:
        content = base64.b64decode(file["Content"], validate=True)
        if content != parts[file["Name"]] or len(content) != file["ContentLength"]:
            wrong.append(file["Name"])
    if {"Name": "Message-ID", "Value": raw["Message-ID"]} not in told["Headers"]:
        wrong.append("Headers")
    if wrong:
        return 422, "", str(wrong)
    taken.append(told)
    return 200, "", ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, "application/json", json.dumps(taken))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.answer(*PRODUCT(self.path, self.headers, body))
        except Exception as error:  # A test sees it as what it is.
            self.answer(500, "text/plain", f"the receiver fell over: {error!r}")

    def answer(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind or "text/plain")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


PRODUCT = {
    f.__name__: f for f in (osticket, rt, redmine, action_mailbox, gitlab, discourse, odoo, postmark)
}[sys.argv[1]]
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
