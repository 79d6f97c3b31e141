"""Judges signed assertions as a token endpoint does, with PyJWT and nothing of postrider.

Reads a JSON list of cases, writes a JSON list of verdicts: "accepted", or why not.
"""

import base64
import hashlib
import json
import sys
import uuid

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding


def thumbprint(certificate, algorithm):
    digest = hashlib.new(algorithm, certificate.public_bytes(Encoding.DER)).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def check(case):
    certificate = x509.load_pem_x509_certificate(case["certificate"].encode())
    header = jwt.get_unverified_header(case["assertion"])
    if header.get("typ") != "JWT":
        raise jwt.InvalidTokenError("typ is not JWT")
    if case["kind"] == "client":
        if header.get("x5t#S256") != thumbprint(certificate, "sha256"):
            raise jwt.InvalidTokenError("x5t#S256 is not the certificate's")
        if header.get("x5t", thumbprint(certificate, "sha1")) != thumbprint(certificate, "sha1"):
            raise jwt.InvalidTokenError("x5t is not the certificate's")
        required, longest = ["aud", "iss", "sub", "jti", "nbf", "iat", "exp"], 600
    else:
        if header.get("kid") != case["key_id"]:
            raise jwt.InvalidTokenError("kid is not the key's")
        required, longest = ["aud", "iss", "sub", "scope", "iat", "exp"], 3600
    claims = jwt.decode(
        case["assertion"],
        certificate.public_key(),
        algorithms=[case["algorithm"]],
        audience=case["audience"],
        issuer=case["issuer"],
        subject=case["subject"],
        options={"require": required, "strict_aud": True},
    )
    if case["kind"] == "client":
        try:
            uuid.UUID(claims["jti"])
        except ValueError:
            raise jwt.InvalidTokenError("jti is no GUID") from None
    elif claims["scope"] != case["scope"]:
        raise jwt.InvalidTokenError("scope is another")
    if not 300 <= claims["exp"] - claims["iat"] <= longest:
        raise jwt.InvalidTokenError("it lives too long or too short")


def verdict(case):
    try:
        check(case)
    except jwt.InvalidTokenError as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


json.dump([verdict(case) for case in json.load(sys.stdin)], sys.stdout)
