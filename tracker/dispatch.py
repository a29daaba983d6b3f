"""Digests composed and mails sent: what the clock does about them.

Both may run at any time, in several processes at once: what is owed stands in tables under unique keys, and is taken by
conditional updates. Composing is grouped by what people follow; sending goes in batches over several connections.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import structlog
from flask import Flask
from flask_babel import force_locale
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tracker import db, emails, journal_rounds, mailer, openpgp
from tracker.config import Config
from tracker.emails.digest import Composer, Links, make, shared_lines
from tracker.errors import Conflict
from tracker.keyring import Keyring
from tracker.mailer import Lines, Outcome, Parcel, Result
from tracker.models import Delivery, Issue, Subscriber
from tracker.services import bounces, deliveries, digests, issues, ledger, rates, sending, subscriptions
from tracker.services.deliveries import Claimed, Ready
from tracker.services.digests import Body, Desk
from tracker.vocabulary import DeliveryKind

_log = structlog.get_logger()

#: So many mails, and what leaves in so many seconds, stand in one transaction and, at worst, in doubt together.
MOST_AT_ONCE, _SECONDS_AT_ONCE = 100, 0.2
#: So many are claimed together, for so many seconds; what was not begun by then is laid back.
_MOST_CLAIMED, _SECONDS_PER_CLAIM = 400, 60
#: So many are composed in one transaction.
_MOST_KEPT = 1000
#: With fewer mails than this waiting for each of them, further connections are not worth opening.
_WORTH_A_CONNECTION = 40
#: So many refused in a row for reasons that are ours: more would only be refused too.
_STOP_AFTER = 5
#: Digests whose joined bytes a sender keeps at hand.
_MOST_BODIES = 200
_MINUTE = dt.timedelta(minutes=1)
#: Seconds between the attempts to note the last answers while the database is gone.
_PAUSES = (0.2, 1, 3, 10, 30)


def compose_due(
    app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False
) -> Counter[str]:
    """Compose every digest that is due: once for everybody to whom it says the same, and a delivery for each."""
    done: Counter[str] = Counter()
    with _ready(app) as (config, keys, engine):
        with db.reading(), _transaction(engine) as session:
            if sending.held(session) is not None:
                return done
            groups = digests.due(session, now=now)
        if not groups:
            return done
        # So that each digest carries a checkpoint that covers what it tells.
        with _transaction(engine) as session:
            sign_checkpoint(session, config, keys, now)
        with db.reading(), _transaction(engine) as session:
            desk = Desk(ledger.position(session))
        for group in groups:
            if stopping():
                break
            try:
                kept = _compose(engine, group, desk, config, keys, now)
            except Exception as error:  # noqa: BLE001 - one group's digest must not stop everybody's.
                _log.error("digest-failed", people=group.count, error=type(error).__name__)
                done["failed"] += 1
            else:
                done["queued" if kept else "nothing new"] += kept or group.count
    if done:
        _log.info("digests-composed", **{name.replace(" ", "_"): count for name, count in done.items()})
    return +done


def _compose(
    engine: Engine, group: digests.Group, desk: Desk, config: Config, keys: Keyring, now: dt.datetime
) -> int:
    with db.reading(), _transaction(engine) as session:
        draft = digests.plan(session, group, desk, now=now)
    kept, more = 0, True
    while more:
        if draft.told and draft.facts is None:
            with _transaction(engine) as session:
                number = issues.open_issue(session, config_hold=config.hold_digests, now=now).id
            # Composed before the writer's place is taken, so that people who save something do not wait.
            with db.reading(), _transaction(engine) as session:
                draft = digests.write(
                    session,
                    draft,
                    desk,
                    Composer(config),
                    issue=number,
                    review_months=config.review_months,
                )
        try:
            with _transaction(engine) as session:
                count, more = digests.keep(
                    session,
                    draft,
                    desk,
                    keys=keys,
                    domain=config.mail_from.rpartition("@")[2],
                    now=now,
                    jitter=dt.timedelta(minutes=config.digest_jitter_minutes),
                    most=_MOST_KEPT,
                )
        except Conflict:
            # Released or discarded in this moment: the rest belongs to the next issue, which `open_issue` finds.
            draft = replace(draft, facts=None)
            continue
        kept += count
    return kept


def send_due(app: Flask, now: dt.datetime, *, stopping: Callable[[], bool] = lambda: False) -> Counter[str]:
    """Send every mail that waits, over as many connections as are worth it."""
    done: Counter[str] = Counter()
    with _ready(app) as (config, _, engine):
        with _transaction(engine) as session:
            if doubtful := deliveries.recover(session, now=now):
                _log.warning("mails-perhaps-sent-twice", count=doubtful)
                done["perhaps sent before"] += doubtful
        with db.reading(), _transaction(engine) as session:
            if sending.held(session) is not None:
                return done
            waiting = session.scalar(
                select(func.count()).select_from(Delivery).where(deliveries.waiting(now))
            )
        if not waiting:
            return done
        number = journal_rounds.begin(app, now)
        with db.reading(), _transaction(engine) as session:
            # Asked after it began, because that may be what notices that an old backup was restored. Confirmations
            # wait too: they may have been sent before.
            if sending.held(session) is not None:
                return done
        several = config.smtp_connections if config.smtp_url.get_secret_value() else 1
        workers = max(1, min(several, waiting // _WORTH_A_CONNECTION))
        rounds = [Round(app, now, stopping) for _ in range(workers)]
        if workers == 1:
            rounds[0].run()
        else:
            with ThreadPoolExecutor(workers) as pool:
                for future in [pool.submit(one.run) for one in rounds]:
                    future.result()
        for one in rounds:
            done += one.done
        journal_rounds.end(app, number, done)
    if done:
        _log.info("mails-handled", **{name.replace(" ", "_"): count for name, count in done.items()})
    return +done


@dataclass
class Round:
    """One sender with one connection, working until nothing waits any more.

    It claims many mails, makes their bytes, and sends them batch by batch. Between two batches stands one transaction:
    it notes the answers to the last one and that the next one is about to leave.
    """

    app: Flask
    now: dt.datetime
    stopping: Callable[[], bool]
    done: Counter[str] = field(default_factory=Counter)
    bodies: dict[int, tuple[Body, tuple[Lines, Lines]]] = field(default_factory=dict)
    denied: Counter[str] = field(default_factory=Counter)
    connection: mailer.Connection | None = None
    served: set[int | None] = field(default_factory=set)  # Issues whose refusals are forgotten already.
    unnoted: list[tuple[Ready, Result]] = field(default_factory=list)
    position: int = 0  # Of the ledger, when the bytes of the claimed mails were made.
    at_once: int = 4  # Small at first, so that a slow relay holds up little.
    in_a_row: int = 0  # Mails that were refused for a reason that is ours, since the last one that was taken.

    def run(self) -> None:
        """Until nothing waits, everything is held, or the relay is gone or refuses us."""
        started, most = time.monotonic(), 4
        with _ready(self.app) as (config, keys, engine):
            try:
                while not self.stopping() and self.in_a_row < _STOP_AFTER:
                    # The time of the call and what has passed since, so that leases are true in a long run too.
                    moment = self.now + dt.timedelta(seconds=time.monotonic() - started)
                    with _transaction(engine) as session:
                        # A long round ends when something is found that holds everything.
                        held = sending.held(session)
                        claimed = [] if held else deliveries.claim(session, most=self._most(most), now=moment)
                    if not claimed:
                        break
                    batch = self._prepare(engine, claimed, config, keys, moment)
                    if not self._send(engine, batch, config, moment):
                        break
                    most = min(most * 2, _MOST_CLAIMED)
                if self.in_a_row >= _STOP_AFTER:
                    _log.error("relay-refuses-our-mails", count=self.in_a_row)
            finally:
                if self.connection is not None:
                    self.connection.close()

    def _most(self, most: int) -> int:
        # Where the relay refuses us, no more is tried than it takes to be sure.
        return min(most, _STOP_AFTER - self.in_a_row) if self.in_a_row else most

    def _send(
        self,
        engine: Engine,
        claimed: Sequence[tuple[Ready, Parcel]],
        config: Config,
        moment: dt.datetime,
    ) -> bool:
        """Send them batch by batch. False: there is no use in going on."""
        began, left, good = time.monotonic(), list(claimed), True
        while left and good and not self.stopping() and time.monotonic() - began < _SECONDS_PER_CLAIM:
            at = moment + dt.timedelta(seconds=time.monotonic() - began)
            if not self._connected(engine, left, config, at):
                left, good = [], False
                break
            assert self.connection is not None
            size = self._most(self.at_once)
            batch, left = left[:size], left[size:]
            try:
                may = self._note(engine, batch, at)
            except DBAPIError as error:
                # The answers to the last batch are known here and nowhere else: `_lay_back` tries again to note them.
                _log.error("answers-not-noted-yet", error=type(error).__name__)
                may, good = None, False
            if may is None:
                # Or something was published, perhaps withdrawn: made again from what the record says now.
                left = batch + left
                break
            sending_since = time.monotonic()
            results = self.connection.send([parcel for _, parcel in batch if parcel.number in may])
            quick = time.monotonic() - sending_since < _SECONDS_AT_ONCE / 2
            self.at_once = min(self.at_once * 2, MOST_AT_ONCE) if quick else max(self.at_once // 2, 4)
            by_number = {ready.claimed.id: ready for ready, _ in batch}
            self.unnoted = [(by_number[one.number], one) for one in results]
            for one in results:
                self.in_a_row = _counted(self.in_a_row, one.outcome)
            good = self.in_a_row < _STOP_AFTER
            if any(
                one.outcome in (Outcome.NOT_TRIED, Outcome.DOUBTFUL) or one.answer.startswith("421")
                for one in results
            ):
                self.connection.close()
                self.connection = None
        self._lay_back(engine, left, moment + dt.timedelta(seconds=time.monotonic() - began))
        return good

    def _lay_back(self, engine: Engine, left: Sequence[tuple[Ready, Parcel]], at: dt.datetime) -> None:
        """Note the last answers, and lay back what was not begun. A database that is gone for a while is waited for:
        an answer that is lost puts its mail in doubt.
        """
        if not self.unnoted and not left:
            return
        for pause in (*_PAUSES, None):
            try:
                with _transaction(engine) as session:
                    self._settle(session, at)
                    if left:
                        owner = left[0][0].claimed.lease_owner
                        numbers = [ready.claimed.id for ready, _ in left]
                        deliveries.put_back(session, owner, numbers, due_at=at, tried=False)
            except DBAPIError:
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                self._noted()
                return

    def _connected(
        self, engine: Engine, left: Sequence[tuple[Ready, Parcel]], config: Config, at: dt.datetime
    ) -> bool:
        if self.connection is not None and not self.connection.alive():
            self.connection.close()
            self.connection = None
        if self.connection is None:
            try:
                self.connection = mailer.connect(config)
            except mailer.Unreachable as error:
                with _transaction(engine) as session:
                    self._settle(session, at)
                    for ready, _ in left:
                        claimed = ready.claimed
                        deliveries.retry(
                            session, claimed.lease_owner, claimed.id, answer=str(error.answer), now=at
                        )
                self._noted()
                self.done["to be tried again"] += len(left)
                _log.warning("relay-unreachable", answer=str(error.answer))
                return False
        return True

    def _note(
        self, engine: Engine, batch: Sequence[tuple[Ready, Parcel]], at: dt.datetime
    ) -> set[int] | None:
        """Note the answers to the last batch, and which mails of this one are about to leave. None: none may, their
        bytes tell what is not to be told any more.
        """
        told = {ready.claimed.digest_id for ready, _ in batch if ready.claimed.digest_id is not None}
        with _transaction(engine) as session:
            self._settle(session, at)
            # Every withdrawal and every erasure is an entry of the ledger: while there is none, nothing is to be asked.
            if ledger.position(session) != self.position:
                standing = digests.standing(session, told)
                if any(self.bodies[number][0].pieces != standing.get(number) for number in told):
                    session.commit()
                    self._noted()
                    return None
            may = deliveries.data_sent(session, [ready for ready, _ in batch], now=at)
        self._noted()
        self.done["not wanted any more"] += len(batch) - len(may)
        return may

    def _settle(self, session: Session, at: dt.datetime) -> None:
        """Note the answers that are not noted yet."""
        taken: dict[tuple[str, str], list[int]] = {}
        issues_served = set()
        for ready, result in self.unnoted:
            one, outcome = ready.claimed, result.outcome
            if outcome is Outcome.SENT:
                taken.setdefault((one.lease_owner, result.answer), []).append(one.id)
                issues_served.add(one.issue_id)
            elif outcome is Outcome.RECIPIENT_REFUSED:
                deliveries.refused(session, one.lease_owner, one.id, answer=result.answer, now=at)
            elif outcome is Outcome.NOT_TRIED:
                deliveries.put_back(session, one.lease_owner, [one.id], due_at=at, tried=False)
            elif outcome in (Outcome.LATER, Outcome.OURS_REFUSED):
                deliveries.retry(session, one.lease_owner, one.id, answer=result.answer, now=at)
                if outcome is Outcome.OURS_REFUSED and one.issue_id is not None:
                    issues.note_refusal(session, session.get_one(Issue, one.issue_id), now=at)
            # Doubtful: left as it is; when the lease ends it is counted as ambiguous and sent once more.
        for (owner, answer), numbers in taken.items():
            deliveries.sent(session, owner, numbers, answer=answer, now=at)
        if self.in_a_row == 0:
            # Asked once in a while: that mails go is the rule.
            for issue_id in issues_served - {None} - self.served:
                issues.note_success(session, session.get_one(Issue, issue_id))
                self.served.add(issue_id)
        else:
            self.served.clear()

    def _noted(self) -> None:
        """The answers are committed."""
        for _, result in self.unnoted:
            self.done[_WORDS[result.outcome]] += 1
        self.unnoted = []

    def _prepare(
        self,
        engine: Engine,
        claimed: Sequence[Claimed],
        config: Config,
        keys: Keyring,
        moment: dt.datetime,
    ) -> list[tuple[Ready, Parcel]]:
        """The bytes of each, fresh from what the record says now. What cannot be sent now is laid back."""
        self._freshen(engine, {one.digest_id for one in claimed if one.digest_id is not None}, config, moment)
        batch = []
        owner = claimed[0].lease_owner
        domains: dict[str, list[int]] = {}
        for one in claimed:
            try:
                made = None
                try:
                    made = self._make(one, config, keys, moment)
                except openpgp.KeyUnfit:
                    self._key_problem(engine, one, config, keys, moment)
                    continue
            except Exception as error:  # noqa: BLE001 - one mail that cannot be made must not stop the others.
                _log.error("mail-failed", delivery=one.id, error=type(error).__name__)
                self.done["failed"] += 1
                with _transaction(engine) as session:
                    deliveries.retry(session, owner, one.id, answer=type(error).__name__, now=moment)
                continue
            if made is None:
                with _transaction(engine) as session:
                    deliveries.cancel(session, owner, one.id, now=moment)
                self.done["not wanted any more"] += 1
                continue
            batch.append(made)
            domains.setdefault(made[1].recipient.rpartition("@")[2].lower(), []).append(one.id)
        return self._within_limits(engine, batch, domains, config, keys, moment)

    def _freshen(self, engine: Engine, numbers: set[int], config: Config, moment: dt.datetime) -> None:
        """Have the joined bytes of these digests at hand, without anything that was withdrawn."""
        with db.reading(), _transaction(engine) as session:
            self.position = ledger.position(session)
            standing = digests.standing(session, numbers)
        old = {
            number
            for number in numbers
            if number not in self.bodies or self.bodies[number][0].pieces != standing.get(number)
        }
        if not old:
            return
        with _transaction(engine) as session:
            for number in sorted(old):
                if number not in standing:
                    digests.refresh(session, number, Composer(config), now=moment)
                body = digests.body(session, number)
                self.bodies[number] = body, shared_lines(body)
        while len(self.bodies) > max(_MOST_BODIES, len(numbers)):
            self.bodies.pop(next(one for one in self.bodies if one not in numbers))

    def _make(
        self, one: Claimed, config: Config, keys: Keyring, moment: dt.datetime
    ) -> tuple[Ready, Parcel] | None:
        recipient = one.account_address
        if recipient is None:
            if one.key is None:
                return None  # Erased meanwhile.
            recipient = subscriptions.address(one, keys)
        sealed = None
        if one.message_sealed is not None:
            content = deliveries.opened(one, keys)
            sha256 = hashlib.sha256(content).hexdigest()
        else:
            content, sha256, sealed = self._digest(one, recipient, config, keys, moment)
        parcel = Parcel(
            number=one.id,
            sender=bounces.sender(one.id, one.message_id, config_address=config.bounce_address, keys=keys)
            or config.mail_from,
            recipient=recipient,
            message_id=one.message_id,
            message=content,
        )
        return Ready(one, sha256, sealed), parcel

    def _digest(
        self, one: Claimed, recipient: str, config: Config, keys: Keyring, moment: dt.datetime
    ) -> tuple[bytes, str, bytes | None]:
        """A digest's bytes, what tells them from others, and (encrypted ones) what to store to have them again."""
        assert one.digest_id is not None
        body, shared = self.bodies[one.digest_id]
        links = Links(
            f"{config.public_url}/follow/manage/{subscriptions.manage_token(one, keys)}",
            f"{config.public_url}/unsubscribe/{subscriptions.leave_token(one, keys)}",
        )
        made = make(body, shared, recipient, one.message_id, links, config=config, composed_at=one.created_at)
        if one.openpgp_sealed is None:
            return made.content(), made.sha256, None
        certificate = subscriptions.certificate(one, keys)
        content = openpgp.encrypted(made.outer, b"".join(made.entity), certificate, now=moment)
        # Encrypted anew it would have other bytes: a second attempt needs these.
        sealed = keys.mailer.lock(content, deliveries.context(one.message_id))
        return content, hashlib.sha256(content).hexdigest(), sealed

    def _key_problem(
        self, engine: Engine, one: Claimed, config: Config, keys: Keyring, moment: dt.datetime
    ) -> None:
        """The key is of no use any more: nothing is sent in clear, the news wait, and the person is told so once."""
        about = hashlib.sha256(one.openpgp_sealed or b"").hexdigest()[:24]
        with _transaction(engine) as session:
            deliveries.cancel(session, one.lease_owner, one.id, now=moment, tell=True)
            subscriber = session.get(Subscriber, one.subscriber_id)
            period = f"key-problem/{about}"
            known = select(Delivery.id).where(
                Delivery.subscriber_id == one.subscriber_id, Delivery.period == period
            )
            if subscriber is not None and session.scalar(known) is None:
                note = emails.mail(
                    "key-problem",
                    subscriptions.address(subscriber, keys),
                    keys.mailer.keyed_hash("message", f"{subscriber.key}/{period}")[:32],
                    config=config,
                    now=moment,
                    manage_url=f"{config.public_url}/follow/manage/{subscriptions.manage_token(one, keys)}",
                    leave_url=f"{config.public_url}/unsubscribe/{subscriptions.leave_token(one, keys)}",
                )
                deliveries.enqueue(
                    session,
                    note,
                    kind=DeliveryKind.KEY_PROBLEM,
                    keys=keys,
                    now=moment,
                    subscriber=subscriber,
                    period=period,
                )
        self.done["key of no use"] += 1

    def _within_limits(
        self,
        engine: Engine,
        batch: list[tuple[Ready, Parcel]],
        domains: dict[str, list[int]],
        config: Config,
        keys: Keyring,
        moment: dt.datetime,
    ) -> list[tuple[Ready, Parcel]]:
        """What may go this minute; the rest waits for a later one."""
        if not batch or not (config.smtp_per_minute or config.smtp_per_domain_minute):
            return batch
        later: dict[int, dt.datetime] = {}
        with _transaction(engine) as session:
            if config.smtp_per_domain_minute:
                for domain, numbers in domains.items():
                    key = keys.mailer.keyed_hash("rate", domain)
                    limit = config.smtp_per_domain_minute
                    granted = rates.grant(session, key, len(numbers), limit_per_minute=limit, now=moment)
                    for number in numbers[granted:]:
                        later[number] = moment + _MINUTE * (1 + self.denied[domain] // limit)
                        self.denied[domain] += 1
            going = [pair for pair in batch if pair[1].number not in later]
            if config.smtp_per_minute and going:
                key, limit = keys.mailer.keyed_hash("rate", "all"), config.smtp_per_minute
                granted = rates.grant(session, key, len(going), limit_per_minute=limit, now=moment)
                for _, parcel in going[granted:]:
                    later[parcel.number] = moment + _MINUTE * (1 + self.denied[""] // limit)
                    self.denied[""] += 1
            owner = batch[0][0].claimed.lease_owner
            for number, due_at in later.items():
                deliveries.put_back(session, owner, [number], due_at=due_at, tried=False)
        self.done["put off by a limit"] += len(later)
        return [pair for pair in batch if pair[1].number not in later]


def _counted(in_a_row: int, outcome: Outcome) -> int:
    if outcome is Outcome.OURS_REFUSED:
        return in_a_row + 1
    return 0 if outcome is Outcome.SENT else in_a_row


_WORDS = {
    Outcome.SENT: "sent",
    Outcome.RECIPIENT_REFUSED: "refused for good",
    Outcome.OURS_REFUSED: "refused by our relay",
    Outcome.LATER: "to be tried again",
    Outcome.DOUBTFUL: "answer lost",
    Outcome.NOT_TRIED: "not tried",
}


def sign_checkpoint(session: Session, config: Config, keys: Keyring, now: dt.datetime) -> None:
    """Sign the ledger as it is, if it has grown since the last checkpoint."""
    newest = ledger.newest_checkpoint(session)
    if ledger.position(session) > (newest.size if newest else 0):
        ledger.take_checkpoint(
            session, origin=config.ledger_origin, public_key=keys.ledger_public_key, sign=keys.sign, now=now
        )


@contextmanager
def _ready(app: Flask) -> Iterator[tuple[Config, Keyring, Engine]]:
    # Mails are rendered outside any request: templates and words come from the app.
    with app.app_context(), force_locale("en"):
        yield app.extensions["settings"], app.extensions["keyring"], db.engine()


@contextmanager
def _transaction(engine: Engine) -> Iterator[Session]:
    with db.new_session(engine) as session, session.begin():
        yield session
