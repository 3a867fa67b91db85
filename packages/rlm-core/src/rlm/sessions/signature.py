"""Signatures of meta.json and of the journal, by which rlm recognises its own files.

meta.json and each record are JSON objects whose last field, `mac`, is a keyed digest:

* in meta.json, of everything before it;
* in a record, of all bytes of the journal before it. So the last record authenticates the whole journal. No prefix, no
  line of another session and no other order has the same digest. What a killed process leaves is signed as well.

Both include the position of the folder in its session, so that a sub-agent's folder is valid in no other place. A
record includes the `run` of meta.json, a random text that is new with each run. So an old meta.json (with other
settings) is invalid with a newer journal. meta.json has the length of the journal at its last sync, so a truncated
journal is detected as well.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from rlm.sessions.signing_key import SigningKey

FIELD = "mac"
_END = re.compile(rb', "%s": "([0-9a-f]{32})"\}\Z' % FIELD.encode())
_LENGTH = len(f', "{FIELD}": "{"0" * 32}"}}')


class Hash(Protocol):
    """The methods of hashlib's objects that this module uses."""

    def update(self, data: bytes, /) -> None: ...
    def copy(self) -> Hash: ...
    def digest(self) -> bytes: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs the files in one agent's folder. `path` is that of the folder below `sessions`."""

    key: SigningKey
    path: str

    def child(self, name: str) -> Signer:
        """Return the signer of the folder `name` inside this one."""
        return Signer(self.key, f"{self.path}/{name}")

    def sign_meta(self, data: bytes) -> bytes:
        """Return meta.json with its signature."""
        return _append_mac(data[:-1], self._meta_mac(data[:-1]))

    def verify_meta(self, data: bytes) -> bool:
        """Whether this is a meta.json that we signed."""
        body, mac = _split_mac(data)
        return mac == self._meta_mac(body)

    def _meta_mac(self, body: bytes) -> str:
        return self.key.mac(b"meta", self.path.encode(), body)

    def record_mac(self, run: str, digest: bytes) -> str:
        """Return the signature of a record; `digest` is that of the journal up to the signature."""
        return self.key.mac(b"journal", self.path.encode(), run.encode(), digest)

    def verify_journal(self, run: str, lines: bytes) -> bool:
        """Whether we signed the last of these whole lines, and so all lines before it, in this run."""
        body, mac = _split_mac(lines[-_LENGTH - 1 : -1])
        if not mac or body:
            return False
        return mac == self.record_mac(run, hashlib.sha256(memoryview(lines)[: -_LENGTH - 1]).digest())


class RecordSigner:
    """Signs the records of one run, one after the other."""

    def __init__(self, signer: Signer, run: str, before: Hash) -> None:
        """`before` is the hash of the existing journal."""
        self._signer = signer
        self._run = run
        self._hash = before

    @property
    def digest(self) -> str:
        """The digest of the journal so far, in hex."""
        return self._hash.hexdigest()

    def sign(self, line: bytes) -> bytes:
        """Return a line with its signature. Lines must be signed once, in the order in which they are written."""
        body = line.removesuffix(b"}\n")
        self._hash.update(body)
        signed = _append_mac(body, self._signer.record_mac(self._run, self._hash.digest())) + b"\n"
        self._hash.update(signed[len(body) :])
        return signed


def _append_mac(body: bytes, mac: str) -> bytes:
    return body + f', "{FIELD}": "{mac}"}}'.encode()


def _split_mac(data: bytes) -> tuple[bytes, str]:
    """Return an object without its signature and its closing brace, and the signature; empty if it has none."""
    found = _END.search(data, max(0, len(data) - _LENGTH))
    return (data[: found.start()], found[1].decode()) if found else (data, "")
