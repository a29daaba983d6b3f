"""An authenticator app: the codes of RFC 6238, reckoned without the program's own code."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import struct


def code(secret: str, at: dt.datetime) -> str:
    """The six digits that the app shows at that moment."""
    key = base64.b32decode(secret.replace(" ", ""))
    digest = hmac.digest(key, struct.pack(">Q", int(at.timestamp()) // 30), "sha1")
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 1_000_000:06d}"
