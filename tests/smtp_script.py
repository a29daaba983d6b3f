"""What the SMTP server of tests/smtp.py is told to do, and when."""

from __future__ import annotations

import enum
import ssl
from dataclasses import dataclass, field


class Do(enum.Enum):
    """What is done instead of answering."""

    HANG = "say nothing more"
    DROP = "close the connection"
    RESET = "close it so that the other side gets an error"
    LOSE = "at the dot: take the mail, then close the connection"
    KEEP = "at the dot: take the mail, then say nothing more"


HANG, DROP, RESET, LOSE, KEEP = Do.HANG, Do.DROP, Do.RESET, Do.LOSE, Do.KEEP


@dataclass(frozen=True)
class Drip:
    """An answer whose bytes come one by one; without end where it has no line break."""

    text: bytes = b"250-" + b"x" * 4000
    pause: float = 0.05


@dataclass(frozen=True)
class Late:
    """An answer that takes its time."""

    seconds: float
    answer: str


Action = str | bytes | Do | Drip | Late


@dataclass
class Rule:
    """What happens at a stage: `times` times (None: always), after it went well `after` times."""

    stage: str
    action: Action
    times: int | None = 1
    after: int = 0
    connection: int | None = None  # Only on the connection of this number; the first is 0.
    recipient: str | None = None  # Only for mails to this address (from RCPT on).


@dataclass
class Script:
    """How the server behaves. `on` adds a rule and returns the script, so that calls can be chained."""

    pipelining: bool = True
    extensions: tuple[str, ...] = ("8BITMIME", "SIZE 20480000")
    tls: ssl.SSLContext | None = None  # Offers STARTTLS with this certificate.
    tls_from_the_start: bool = False
    login: tuple[str, str] | None = None  # Wants AUTH PLAIN with these before MAIL.
    data_after_refusal: bool = False  # Answers 354 to DATA though every RCPT was refused, as RFC 2920 allows.
    keep: bool = True  # False: mails are counted only.
    delay: float = 0.0  # Seconds before each write: a distance.
    rules: list[Rule] = field(default_factory=list)

    def on(self, stage: str, action: Action, **how: object) -> Script:
        """At this stage do that; see Rule."""
        self.rules.append(Rule(stage, action, **how))  # type: ignore[arg-type]
        return self
