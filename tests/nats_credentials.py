"""Credentials for NATS servers: keys of users, signed users of an account, and certificates of an own authority."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import nkeys


class Key(NamedTuple):
    """A new key of NATS: its seed, and the public key by which the server knows it."""

    seed: str
    public: str


def new_key(kind: int = nkeys.PREFIX_BYTE_USER) -> Key:
    """Return a new key of a kind: a user, an account, an operator."""
    seed = nkeys.encode_seed(secrets.token_bytes(32), kind)
    return Key(seed.decode(), nkeys.from_seed(bytearray(seed)).public_key.decode())


def _signed(signer: Key, subject: Key, name: str, claims: dict[str, Any], expires_s: float = 0) -> str:
    """Return a JWT as NATS wants it: signed by another key, with the hash of its content as its id."""
    content: dict[str, Any] = {"iat": int(time.time()), "iss": signer.public, "name": name, "sub": subject.public}
    if expires_s:
        content["exp"] = int(time.time() + expires_s)
    content["nats"] = {"version": 2, **claims}
    content["jti"] = base64.b32encode(hashlib.sha256(json.dumps(content).encode()).digest()).decode().rstrip("=")
    parts = [_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, content)]
    signature = nkeys.from_seed(bytearray(signer.seed.encode())).sign(".".join(parts).encode())
    return ".".join([*parts, _encoded(signature)])


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Operator:
    """An operator with one account that has JetStream, and its users."""

    def __init__(self) -> None:
        self._account = new_key(nkeys.PREFIX_BYTE_ACCOUNT)
        operator, system = new_key(nkeys.PREFIX_BYTE_OPERATOR), new_key(nkeys.PREFIX_BYTE_ACCOUNT)
        unlimited = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"),
            -1,
        )
        limits = {"limits": {**unlimited, "consumer": -1, "wildcards": True}, "type": "account"}
        accounts = {
            key.public: _signed(operator, key, name, limits if key is self._account else {"type": "account"})
            for name, key in {"SYS": system, "LAB": self._account}.items()
        }
        said = _signed(operator, operator, "raven", {"type": "operator", "system_account": system.public})
        self.config = (
            f'operator: "{said}"\nsystem_account: "{system.public}"\nresolver: MEMORY\n'
            f"resolver_preload: {json.dumps(accounts)}"
        )

    def creds(self, publish: list[str], subscribe: list[str], expires_s: float = 0) -> str:
        """Return the content of a .creds file of a new user with these permissions, possibly for a time only."""
        user = new_key()
        permissions = {"pub": {"allow": publish}, "sub": {"allow": subscribe}}
        claims = {"type": "user", "subs": -1, "data": -1, "payload": -1, **permissions}
        said = _signed(self._account, user, "host", claims, expires_s)
        return "".join(
            f"-----BEGIN {name}-----\n{text}\n------END {name}------\n\n"
            for name, text in (("NATS USER JWT", said), ("USER NKEY SEED", user.seed))
        )


class Certificates:
    """A certificate authority in a folder, and the certificates that it has signed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=authority", "-days", "2",
                      "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip

    def make(self, name: str, address: str = "127.0.0.1") -> tuple[Path, Path]:
        """Return the files of a certificate for an IP address, and of its key."""
        (self._folder / "names").write_text(f"subjectAltName=IP:{address}")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                      "-out", f"{name}.csr")  # fmt: skip
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", "names", "-out", f"{name}.pem")  # fmt: skip
        return self._folder / f"{name}.pem", self._folder / f"{name}.key"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)
