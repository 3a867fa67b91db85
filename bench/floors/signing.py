"""CPU seconds to sign 1,000 records of a small cell: the minimum of ten runs.

python signing.py
"""

from __future__ import annotations

import hashlib
import json
import sys
import time

from rlm.sessions.signature import RecordSigner, Signer
from rlm.sessions.signing_key import SigningKey

_LINE = json.dumps({"type": "message", "id": 1, "message": {"role": "tool", "content": "x" * 400}}).encode() + b"\n"


def _signed() -> float:
    signer = RecordSigner(Signer(SigningKey(bytes(32)), "0" * 12), "0" * 16, hashlib.sha256())
    began = time.process_time()
    for _ in range(1_000):
        signer.sign(_LINE)
    return time.process_time() - began


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"signed": min(_signed() for _ in range(10))}))
