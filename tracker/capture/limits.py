"""How much one capture may take, and what is left of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tracker.errors import CaptureFailed
from tracker.vocabulary import N_


@dataclass(frozen=True)
class Limits:
    """How much one capture may take. Seconds and bytes; bytes are counted as they come and once more unpacked."""

    request_seconds: float = 30
    total_seconds: float = 60
    total_bytes: int = 20 * 2**20
    unpacked_bytes: int = 40 * 2**20
    redirects: int = 3
    parts: int = 100


class Budget:
    """What is left of the limits. `over` is the refusal once something of the whole capture is used up."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.over: CaptureFailed | None = None
        self._bytes, self._unpacked = limits.total_bytes, limits.unpacked_bytes
        self._end = self._request_end = time.monotonic() + limits.total_seconds

    def begin(self) -> None:
        """A new request begins."""
        self._request_end = min(self._end, time.monotonic() + self.limits.request_seconds)

    def seconds(self) -> float:
        """How long the current request may still take. Raises CaptureFailed if no more."""
        left = self._request_end - time.monotonic()
        if left <= 0:
            raise self.too_slow()
        return left

    def going(self) -> bool:
        """Whether there is time left for the capture as a whole."""
        return time.monotonic() < self._end

    def too_slow(self) -> CaptureFailed:
        """The refusal of what takes too long."""
        if not self.going():
            self.over = CaptureFailed(N_("The time for one capture was over."))
            return self.over
        return CaptureFailed(N_("The other side did not answer in time."))

    def take(self, count: int) -> None:
        """So many bytes came in."""
        self._bytes -= count
        if self._bytes < 0:
            self._used_up()

    def unpack(self, count: int) -> None:
        """So many bytes came out of a packed answer."""
        self._unpacked -= count
        if self._unpacked < 0:
            self._used_up()

    def _used_up(self) -> None:
        self.over = CaptureFailed(
            N_("It is larger than the %(limit)s MB that one capture may hold."),
            lasting=True,
            limit=self.limits.total_bytes // 2**20,
        )
        raise self.over

    @property
    def unpacked_left(self) -> int:
        """So many more bytes may come out of packed answers."""
        return self._unpacked
