"""How a receiver knows that a request is ours: HMAC-SHA256 over the time and the body.

Belongs here: the signature and its headers, keys in files. Does not belong here: what is sent and to whom.

The time is signed with the body, so that a receiver can refuse what is old (a replay); five minutes is usual.
"""

import hashlib
import hmac
from datetime import datetime
from pathlib import Path
from typing import Final

from rollout.ports import Outage

TIMESTAMP: Final = "Rollout-Timestamp"
SIGNATURE: Final = "Rollout-Signature"


def read_key(file: Path) -> bytes:
    """The key in a file, without the line end that editors leave. Raises Outage, naming the file, if there is none."""
    try:
        key = file.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        problem = type(error).__name__
    else:
        if key:
            return key
        problem = "it is empty"
    raise Outage(f"the key in {file} cannot be read: {problem}")


def signature(key: bytes, at: str, body: bytes) -> str:
    """`v1=<hex>`: HMAC-SHA256 of `<unix seconds>.<body>`."""
    return "v1=" + hmac.new(key, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def signed(key: bytes, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that prove a body to be ours and new."""
    seconds = str(int(at.timestamp()))
    return {TIMESTAMP: seconds, SIGNATURE: signature(key, seconds, body)}
