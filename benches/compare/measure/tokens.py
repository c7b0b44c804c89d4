"""Tokens signed with Ed25519, made with the openssl command: Python's library has no signatures."""
from __future__ import annotations

import base64
import json
import subprocess
import time
from pathlib import Path

ISSUER = "https://id.example"
AUDIENCE = "plangate"
_HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": "compare"}


class Issuer:
    """One key pair."""

    def __init__(self, openssl: Path, folder: Path):
        self._openssl = str(openssl)
        self._folder = folder
        self._key = folder / "issuer.pem"
        self._run("genpkey", "-algorithm", "ed25519", "-out", str(self._key))

    def key_set(self) -> Path:
        """Writes the public key as a JWK set; returns the file."""
        # The DER of an Ed25519 public key ends with its 32 bytes.
        der = self._run("pkey", "-in", str(self._key), "-pubout", "-outform", "DER")
        key = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "compare", "x": _encoded(der[-32:])}
        path = self._folder / "jwks.json"
        path.write_text(json.dumps({"keys": [key]}))
        return path

    def token(self, tenant: str) -> str:
        """A token that is good for a day."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"user-of-{tenant}", "tenant": tenant, "iat": now,
                  "exp": now + 86_400}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (_HEADER, claims))
        message = self._folder / "token.signed"
        message.write_text(signed)
        signature = self._run("pkeyutl", "-sign", "-rawin", "-inkey", str(self._key), "-in", str(message))
        return f"{signed}.{_encoded(signature)}"

    def _run(self, *arguments: str) -> bytes:
        return subprocess.run([self._openssl, *arguments], check=True, capture_output=True, timeout=20).stdout


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
