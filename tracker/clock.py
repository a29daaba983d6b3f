"""What time it is. Only entry points ask; below them `now` is an argument.

And whether to believe it: the time since the machine started cannot be set, so the two must move on together.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

#: A clock that runs so much ahead of the time since the start has been set wrongly, not corrected.
LEAP = dt.timedelta(hours=24)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PROCESS = secrets.token_hex(16)


@dataclass(frozen=True)
class Boot:
    """One start of the machine, and how long ago it was, sleep included."""

    id: str
    seconds: float


def now() -> dt.datetime:
    """The present moment, aware, in UTC."""
    return dt.datetime.now(dt.UTC)


def boot() -> Boot:
    """This start of the machine. Where the system does not say which it is, this process stands for it."""
    try:
        name = _BOOT_ID.read_text(encoding="ascii").strip().replace("-", "")[:32]
    except OSError:
        name = _PROCESS
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return Boot(name or _PROCESS, time.monotonic() if which is None else time.clock_gettime(which))


def compare(before: float | None, at: dt.datetime, boot: Boot) -> tuple[dt.timedelta, float]:
    """(how far the clock jumped forward since `before` was noted, what to note now); both of the same start.

    What is noted is the clock less the time since the start. The least of all counts: so a clock that is set ahead in
    small steps is noticed too, and one that was set back may not be set ahead again by more than the leap.
    """
    offset = at.timestamp() - boot.seconds
    if before is None or offset <= before:
        return dt.timedelta(0), offset
    ahead = dt.timedelta(seconds=offset - before)
    return ahead, offset if ahead > LEAP else before
