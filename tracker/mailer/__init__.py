"""How mails leave: to an SMTP relay, or into an outbox folder.

`connect` opens a way, `Connection.send` hands over a batch of parcels and tells what became of each. Whoever calls it
notes in the database that the batch may have left before calling it, and the results afterwards: whatever dies
earlier has delivered nothing, and whatever dies later is known to be doubtful.
"""

from __future__ import annotations

from tracker.config import Config
from tracker.mailer import opening
from tracker.mailer.opening import Patience
from tracker.mailer.outbox import Outbox, outbox_name
from tracker.mailer.parcels import Connection, Outcome, Parcel, Result, Unreachable
from tracker.mailer.relay import Relay

__all__ = [
    "Connection",
    "Outcome",
    "Parcel",
    "Patience",
    "Result",
    "Unreachable",
    "check",
    "connect",
    "outbox_name",
]

_PATIENCE = Patience()


def connect(config: Config, *, patience: Patience = _PATIENCE) -> Connection:
    """Open the way that these settings name. Raises Unreachable."""
    url = config.smtp_url.get_secret_value()
    if not url:
        return Outbox(config.outbox_path)
    smtp, reader = opening.open_relay(opening.checked(url), config.mail_from, patience)
    return Relay(smtp, reader, patience)


def check(config: Config) -> None:
    """Raise ConfigError if the relay's address cannot be used."""
    if url := config.smtp_url.get_secret_value():
        opening.checked(url)
