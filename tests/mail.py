"""What tests about mail share: something to tell, somebody to tell it to, and an SMTP server on loopback."""

from __future__ import annotations

import datetime as dt
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.config import Config
from tracker.emails.digest import Composer, Links, message
from tracker.keyring import Keyring
from tracker.models import Delivery, LedgerEntry, Recommendation, Report, Subscriber
from tracker.services import choices as chosen
from tracker.services import digests, issues, ledger, sign_ups, subscriptions
from tracker.services.choices import Choices, Followed
from tracker.services.digests import Desk
from tracker.services.schedule import Rhythm
from tracker.vocabulary import DeliveryKind, DeliveryState, EntryKind, Frequency

DAILY = Rhythm(Frequency.DAILY, 0, 1, 7, "UTC")
EVERYTHING = Choices(DAILY)


def following(*follows: Followed, rhythm: Rhythm = DAILY, **values: Any) -> Choices:
    """Choices of these things: `following(Followed(Scope.REPORT, report.id))`."""
    return Choices(rhythm, chosen.tidy(follows), **values)


class Events:
    """Ledger entries as the services write them."""

    def __init__(self, session: Session, report: Report, now: dt.datetime) -> None:
        self.session, self.report, self.now = session, report, now

    def finding(
        self, key: str = "k1", kind: EntryKind = EntryKind.FINDING_PUBLISHED, place: int = 0, **facts: Any
    ) -> LedgerEntry:
        content = {
            "rationale": facts.pop(
                "rationale",
                "The decree is still in force. The court applied it in May. A third sentence stays on the site.",
            ),
            "would_change": "",
            "reason": facts.pop("reason", "The register shows it."),
            "search": None,
            "correction": facts.pop("correction", ""),
        }
        given = {
            "key": key,
            "clause": "a",
            "grade": "E",
            "previous_grade": "C",
            "as_of": "2026-11-01",
            "access": "remote",
            "cites": [1],
            "replaces": None,
            "roll_up": "E",
            "previous_roll_up": "C",
            **facts,
        }
        return self._append(kind, f"finding/{key}", [self.report.recommendations[place]], given, content)

    def evidence(
        self,
        number: int = 1,
        kind: EntryKind = EntryKind.EVIDENCE_PUBLISHED,
        places: tuple[int, ...] = (0,),
        **content: Any,
    ) -> LedgerEntry:
        about = [self.report.recommendations[place] for place in places]
        facts = {
            "number": number,
            "date": "2025-05-14",
            "precision": "day",
            "reliability": "B",
            "credibility": "2",
            "source_type": "official-record",
            "directions": [
                {"recommendation": one.number, "clause": None, "direction": "progress"} for one in about
            ],
        }
        words = {
            "title": f"Court register {number}",
            "summary": "It shows case files.",
            "publisher": "Lower Valley District Court",
            "links": ["https://court.arvenia.example/1"],
            "language": "en",
            "remark": "",
            **content,
        }
        return self._append(kind, f"evidence/{number}", about, facts, words)

    def reply(self, key: str = "r1", places: tuple[int, ...] = (0,), **content: Any) -> LedgerEntry:
        words = {
            "author": "Government of Arvenia",
            "summary": "The Government rejects this.",
            "quotations": ["No."],
            "source": {"publisher": "Gazette", "title": "Note", "url": "https://arvenia.example/note"},
            **content,
        }
        return self._append(
            EntryKind.REPLY_PUBLISHED,
            f"reply/{key}",
            [self.report.recommendations[place] for place in places],
            {"key": key, "position": "rejects", "date": "2026-01-01", "precision": "month"},
            words,
        )

    def dissent(self, key: str = "d1", finding: str = "k1", **content: Any) -> LedgerEntry:
        words = {"text": "The decree binds nobody. No court has applied it. A third sentence.", **content}
        facts = {"finding": finding, "clause": "a"}
        about = [self.report.recommendations[0]]
        return self._append(EntryKind.DISSENT_PUBLISHED, f"dissent/{key}", about, facts, words)

    def withdrawal(self, kind: EntryKind, subject: str, place: int = 0, **facts: Any) -> LedgerEntry:
        return self._append(
            kind,
            subject,
            [self.report.recommendations[place]],
            {"grade": "E", "clause": "a", "number": 1, **facts},
            {"reason": "The source asked for it."},
        )

    def _append(
        self,
        kind: EntryKind,
        subject: str,
        about: list[Recommendation],
        facts: dict[str, Any],
        content: dict[str, Any],
    ) -> LedgerEntry:
        entry = ledger.append(
            self.session,
            kind,
            subject=subject,
            report=self.report,
            recommendations=about,
            facts=facts,
            content=content,
            now=self.now,
        )
        self.session.commit()
        return entry


def follower(
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
    address: str = "reader@arvenia.example",
    choices: Choices = EVERYTHING,
) -> Subscriber:
    """Somebody who has asked and confirmed, whose confirmation mail is not in the way."""
    subscriber = sign_ups.find_or_add(session, address, choices, keys=keys, now=now)
    subscriptions.change(session, subscriber, choices, now=now)
    session.commit()
    return subscriber


def read(content: bytes) -> EmailMessage:
    """A mail as its reader's program sees it."""
    return message_from_bytes(content, policy=policy.default)  # type: ignore[return-value]


def parts(content: bytes) -> tuple[str, str]:
    """Its text and its HTML."""
    mail = read(content)
    return mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()  # type: ignore[union-attr]


def compose(session: Session, keys: Keyring, config: Config, now: dt.datetime) -> None:
    """Make every digest that is due, as the clock does. Call it inside an app context."""
    desk = Desk(ledger.position(session))
    for group in digests.due(session, now=now):
        draft = digests.plan(session, group, desk, now=now)
        if draft.told:
            issue = issues.open_issue(session, config_hold="no", now=now)
            draft = digests.write(
                session, draft, desk, Composer(config), issue=issue.id, review_months=config.review_months
            )
        digests.keep(session, draft, desk, keys=keys, domain="localhost", now=now)
    session.commit()


def unsent(session: Session, config: Config, now: dt.datetime) -> list[bytes]:
    """The digests that wait, as they would leave now: what was withdrawn is gone from them."""
    found = []
    for delivery in session.scalars(
        select(Delivery).where(Delivery.kind == DeliveryKind.DIGEST, Delivery.state == DeliveryState.PENDING)
    ).all():
        assert delivery.digest_id is not None
        if not digests.refresh(session, delivery.digest_id, Composer(config), now=now):
            continue
        found.append(
            message(
                digests.body(session, delivery.digest_id),
                "reader@arvenia.example",
                delivery.message_id,
                Links(
                    f"{config.public_url}/follow/manage/{'a' * 32}",
                    f"{config.public_url}/unsubscribe/{'b' * 32}",
                ),
                config=config,
                composed_at=delivery.created_at,
            )
        )
    session.commit()
    return found


class Inbox:
    """What an SMTP server was told, and what it answers: `answers["RCPT"] = ["451 later"]` answers once."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, bytes]] = []
        self.answers: dict[str, list[str]] = {}
        self.lock = threading.Lock()

    def _answer(self, stage: str) -> str | None:
        with self.lock:
            waiting = self.answers.get(stage, [])
            return (
                (waiting.pop(0) if len(waiting) > 1 or not waiting[0].endswith("always") else waiting[0])
                if waiting
                else None
            )

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if answer := self._answer("MAIL"):
            return answer
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if answer := self._answer("RCPT"):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if answer := self._answer("DATA"):
            return answer
        with self.lock:
            self.mails.append((envelope.rcpt_tos[0], envelope.original_content))
        if self._answer("after DATA"):
            # Taken, but the answer is lost on the way.
            server.transport.close()
        return "250 OK"


@contextmanager
def smtp_server(inbox: Inbox) -> Iterator[str]:
    """A server on a free port of loopback; yields its address."""
    # Controller(port=0) does not work: it connects to port 0 to see whether it is up.
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield f"smtp://127.0.0.1:{port}"
    finally:
        controller.stop()
