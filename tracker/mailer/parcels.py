"""What is handed to a connection, and what it says became of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

# One address as it may stand in MAIL and RCPT: plain letters, no quotes, no spaces, nothing that ends a line.
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+").fullmatch
_MESSAGE_ID = re.compile(r"<[!-;=?-~]+>").fullmatch


@dataclass(frozen=True)
class Parcel:
    """One mail for one mailbox. `message` has CRLF lines and is not dot-stuffed.

    Raises ValueError for what could become a second command or a second mail on its way: a CR or LF that stands
    alone (SMTP smuggling: servers disagree where such lines end), a NUL, an address that is more than an address.
    """

    number: int  # The caller's name for it.
    sender: str  # The envelope's sender; empty for mails that must not bounce.
    recipient: str
    message_id: str  # With its angle brackets.
    message: bytes

    def __post_init__(self) -> None:
        if not _ADDRESS(self.recipient) or (self.sender and not _ADDRESS(self.sender)):
            raise ValueError("This is not an address that an envelope can hold.")
        if not _MESSAGE_ID(self.message_id):
            raise ValueError("This is not a Message-ID.")
        ends = self.message.count(b"\r\n")
        # If each CR and each LF is one of a CRLF, there are as many of each as of these.
        if self.message.count(b"\r") != ends or self.message.count(b"\n") != ends or b"\0" in self.message:
            raise ValueError("A CR or LF stands alone in this message, or a NUL.")

    def __repr__(self) -> str:
        return f"Parcel({self.number})"  # Logs and tracebacks hold no addresses.


class Outcome(enum.Enum):
    """What became of a parcel."""

    SENT = "sent"  # The server answered 2xx to the dot: it is the server's now.
    RECIPIENT_REFUSED = "recipient refused"  # 5xx to RCPT: this person cannot be reached.
    OURS_REFUSED = "ours refused"  # 5xx to anything else: the reason is ours.
    LATER = "later"  # 4xx, or the connection was lost before the dot had left.
    DOUBTFUL = "doubtful"  # The dot had left and no answer came that can be understood.
    NOT_TRIED = "not tried"  # Not begun: the connection was gone earlier, or the time was over.


@dataclass(frozen=True)
class Result:
    """What became of the parcel of this number. `answer` is a code and its stage, never an address."""

    number: int
    outcome: Outcome
    answer: str


class Unreachable(Exception):
    """No conversation came about: nobody answers, or not by the TLS or the password that are required."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        super().__init__(answer)


class Connection(Protocol):
    """A way for mails, used by one thread for batch after batch."""

    def send(self, parcels: Sequence[Parcel], *, seconds: float = 60) -> list[Result]:
        """Deliver them one after another; one result for each, in order. The network never makes it raise.

        No parcel is begun when `seconds` are over. However slow the other side is, it returns at most twelve minutes
        after that: a minute for the envelope, one for the message, ten for the answer to the dot (RFC 5321).
        """

    def alive(self) -> bool:
        """Whether it can be used for another batch, as far as one can know. May ask the server (a minute at most)."""

    def close(self) -> None:
        """Say goodbye, if somebody is there."""
