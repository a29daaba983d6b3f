"""Each published change stands in exactly one digest of each follower, and what was taken back in none."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import DAILY, EVERYTHING, Events, follower
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Digest, Recommendation, Report, Subscriber, Theme
from tracker.services import deliveries, digests, issues, ledger, subscriptions
from tracker.services.choices import Choices, Followed
from tracker.services.digests import Desk, Draft, Facts, Rendered
from tracker.services.news import Told
from tracker.services.schedule import Rhythm
from tracker.vocabulary import DeliveryState, EntryKind, Frequency, Scope

DAY = dt.timedelta(days=1)
# The first digest of a daily follower who confirmed at 12:30.
SEVEN = dt.datetime(2026, 11, 23, 7, 0, tzinfo=dt.UTC)


@pytest.fixture
def events(session: Session, make: Factory, now: dt.datetime) -> Events:
    return Events(session, make.report(), now)


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime, events: Events) -> Subscriber:
    return follower(session, keys, config, now)


class Words:
    """A composer that writes which entries it was given, and keeps nothing else."""

    def head(self, facts: Facts, told: Sequence[Told]) -> Rendered:
        return Rendered(b"head\r\n", b"")

    def report(self, facts: Facts, report: Report, *, corrections: bool) -> Rendered:
        return Rendered(f"report {report.slug}{' corrections' * corrections}\r\n".encode(), b"")

    def place(self, facts: Facts, report: Report, place: Recommendation | None) -> Rendered:
        return Rendered(f"place {place.number if place else '-'}\r\n".encode(), b"")

    def item(self, facts: Facts, told: Told) -> Rendered:
        change = told.change
        words = "" if change.content is not None else " erased"
        return Rendered(f"{change.kind.value} {change.subject}{words}\r\n".encode(), b"")

    def more(self, facts: Facts, left: int) -> Rendered:
        return Rendered(f"more {left}\r\n".encode(), b"")

    def foot(self, facts: Facts, checkpoint: object, overdue: object) -> Rendered:
        return Rendered(b"foot\r\n", b"")

    def own(self, facts: Facts, rhythm: Rhythm, followed: object) -> Rendered:
        return Rendered(b"own", b"")


class Office:
    """Composes what is due, and reads what somebody's newest digest says."""

    def __init__(self, session: Session, keys: Keyring) -> None:
        self.session, self.keys = session, keys
        self.drafts: list[Draft] = []

    def run(self, subscriber: Subscriber, now: dt.datetime) -> str | None:
        """Compose for everybody; what came of it for this person: a digest, nothing new, or (None) not due."""
        before = self.newest(subscriber), subscriber.next_due_at
        desk = Desk(ledger.position(self.session))
        for group in digests.due(self.session, now=now):
            draft = digests.plan(self.session, group, desk, now=now)
            if draft.told:
                issue = issues.open_issue(self.session, config_hold="no", now=now)
                draft = digests.write(self.session, draft, desk, Words(), issue=issue.id, review_months=3)
            digests.keep(self.session, draft, desk, keys=self.keys, domain="localhost", now=now)
            self.drafts.append(draft)
        self.session.commit()
        self.session.expire_all()
        if self.newest(subscriber) is not before[0]:
            return QUEUED
        return NOTHING_NEW if subscriber.next_due_at != before[1] else None

    def newest(self, subscriber: Subscriber) -> Delivery | None:
        return self.session.scalars(
            select(Delivery)
            .where(Delivery.subscriber_id == subscriber.id)
            .order_by(Delivery.id.desc())
            .limit(1)
        ).one_or_none()

    def lines(self, subscriber: Subscriber) -> list[str]:
        """The newest digest as it would be sent now, line by line."""
        delivery = self.newest(subscriber)
        assert delivery is not None
        assert delivery.digest_id is not None
        return digests.body(self.session, delivery.digest_id).text.decode().split("\r\n")[:-1]

    def told(self, subscriber: Subscriber) -> list[str]:
        """The changes in it."""
        return [line for line in self.lines(subscriber) if "/" in line]

    def refresh(self, subscriber: Subscriber, now: dt.datetime) -> bool:
        delivery = self.newest(subscriber)
        assert delivery is not None
        assert delivery.digest_id is not None
        found = digests.refresh(self.session, delivery.digest_id, Words(), now=now)
        self.session.commit()
        self.session.expire_all()
        return found


QUEUED, NOTHING_NEW = "queued", "nothing new"


@pytest.fixture
def desk(session: Session, keys: Keyring) -> Office:
    return Office(session, keys)


def test_it_is_due_at_the_hour_and_once(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.finding()

    assert desk.run(reader, SEVEN - dt.timedelta(seconds=1)) is None
    assert desk.run(reader, SEVEN) == QUEUED
    assert desk.run(reader, SEVEN) is None
    assert desk.told(reader) == ["finding-published finding/k1"]
    delivery = session.scalars(select(Delivery)).one()
    digest = session.scalars(select(Digest)).one()
    assert (delivery.period, delivery.digest_id) == ("daily/2026-11-23", digest.id)
    assert (digest.from_seq, digest.to_seq, digest.changes) == (0, 1, 1)
    assert (reader.seen_seq, reader.next_due_at) == (1, SEVEN + DAY)


def test_each_change_stands_in_exactly_one_digest(desk: Office, events: Events, reader: Subscriber) -> None:
    told = []
    for number in range(3):
        events.evidence(2 * number + 1)
        events.evidence(2 * number + 2)
        desk.run(reader, SEVEN + number * DAY)
        told += desk.told(reader)

    assert told == [f"evidence-published evidence/{number}" for number in range(1, 7)]


def test_nothing_new_is_noted_and_not_mailed(desk: Office, reader: Subscriber, session: Session) -> None:
    assert desk.run(reader, SEVEN) == NOTHING_NEW

    assert session.scalars(select(Digest)).all() == []
    assert session.scalars(select(Delivery)).all() == []
    assert reader.next_due_at == SEVEN + DAY


def test_what_others_follow_moves_the_place_on_without_a_mail(
    desk: Office, events: Events, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    other = events.report.recommendations[1].id
    subscriber = follower(
        session, keys, config, now, choices=Choices(DAILY, (Followed(Scope.RECOMMENDATION, None, other),))
    )
    events.finding()

    assert desk.run(subscriber, SEVEN) == NOTHING_NEW
    assert subscriber.seen_seq == 1


def test_nine_days_of_downtime_make_one_digest_with_nothing_missing(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    for number in range(1, 4):
        events.evidence(number)

    assert desk.run(reader, SEVEN + 9 * DAY + dt.timedelta(hours=3)) == QUEUED
    assert desk.run(reader, SEVEN + 9 * DAY + dt.timedelta(hours=3)) is None
    assert len(desk.told(reader)) == 3
    assert session.scalars(select(Delivery.period)).all() == ["daily/2026-12-02"]


def test_a_clock_set_back_doubles_nothing(desk: Office, events: Events, reader: Subscriber) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)

    assert desk.run(reader, SEVEN - dt.timedelta(hours=1)) is None
    assert desk.run(reader, SEVEN + dt.timedelta(hours=1)) is None


def test_moving_the_hour_on_the_same_day_loses_nothing_and_doubles_nothing(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    later = Choices(DAILY.__class__(DAILY.frequency, 0, 1, 20, "UTC"))
    subscriptions.change(session, reader, later, now=SEVEN)
    session.commit()
    events.evidence(2)

    assert desk.run(reader, SEVEN + dt.timedelta(hours=13)) != QUEUED
    assert desk.run(reader, SEVEN + dt.timedelta(hours=37)) == QUEUED
    assert desk.told(reader) == ["evidence-published evidence/2"]


def test_scope_decides_what_is_told(
    desk: Office,
    events: Events,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
    make: Factory,
) -> None:
    report, other = events.report, make.report("upper-valley")
    events.finding("k1", place=0)
    events.finding("k2", place=1)
    events._append(
        EntryKind.REPORT_CORRECTED,
        "report/lower-valley",
        [],
        {},
        {"title": "T", "changes": [{"what": "title", "was": "S", "now": "T"}]},
    )
    Events(session, other, now).finding("k3")
    session.execute(text("UPDATE subscriber SET seen_seq = 0"))

    def told(choices: Choices, address: str) -> list[str]:
        subscriber = follower(session, keys, config, now, address, choices)
        subscriber.seen_seq = 0
        session.commit()
        desk.run(subscriber, SEVEN)
        return [line.split("/")[1] for line in desk.told(subscriber)]

    assert told(EVERYTHING, "a@arvenia.example") == ["lower-valley", "k1", "k2", "k3"]
    assert told(Choices(DAILY, (Followed(Scope.REPORT, report.id),)), "b@arvenia.example") == [
        "lower-valley",
        "k1",
        "k2",
    ]
    single = Choices(DAILY, (Followed(Scope.RECOMMENDATION, None, report.recommendations[1].id),))
    assert told(single, "c@arvenia.example") == ["k2"]


def test_corrections_come_first_then_recommendations_in_their_order(
    desk: Office, events: Events, reader: Subscriber
) -> None:
    events.evidence(5, places=(1,))
    events.evidence(1)
    events.reply()
    events.finding("k1")
    events.finding("k2", EntryKind.FINDING_CORRECTED, place=2, replaces="k0")

    desk.run(reader, SEVEN)

    assert [line.split()[1] for line in desk.told(reader)] == [
        "finding/k2",
        "finding/k1",
        "reply/r1",
        "evidence/1",
        "evidence/5",
    ]


def test_evidence_for_several_recommendations_is_told_once(
    desk: Office, events: Events, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    second, third = (events.report.recommendations[place].id for place in (1, 2))
    subscriber = follower(
        session,
        keys,
        config,
        now,
        choices=Choices(DAILY, tuple(Followed(Scope.RECOMMENDATION, None, one) for one in (second, third))),
    )
    events.evidence(1, places=(0, 1, 2))

    desk.run(subscriber, SEVEN)

    assert desk.lines(subscriber) == [
        "head",
        "report lower-valley",
        "place 88-b",
        "evidence-published evidence/1",
        "foot",
    ]


def test_what_was_withdrawn_in_the_same_time_is_told_as_withdrawn_only(
    desk: Office, events: Events, reader: Subscriber
) -> None:
    events.evidence(1)
    events.finding("k1")
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    events.withdrawal(EntryKind.FINDING_WITHDRAWN, "finding/k1")

    desk.run(reader, SEVEN)

    assert desk.told(reader) == ["evidence-withdrawn evidence/1", "finding-withdrawn finding/k1"]


def test_what_was_corrected_in_the_same_time_is_told_as_corrected_only(
    desk: Office, events: Events, reader: Subscriber
) -> None:
    events.evidence(1)
    events.evidence(1, EntryKind.EVIDENCE_CORRECTED, correction="The day was wrong.")
    events.finding("k1")
    events.finding("k2", EntryKind.FINDING_CORRECTED, replaces="k1")
    events.finding("k3", replaces="k2")

    desk.run(reader, SEVEN)

    assert desk.told(reader) == ["evidence-corrected evidence/1", "finding-published finding/k3"]


def test_findings_that_followed_one_another_are_told_as_one_change_from_where_the_reader_stood(
    desk: Office, events: Events, reader: Subscriber
) -> None:
    events.finding("k1", grade="C", previous_grade=None, roll_up="C", previous_roll_up=None)
    events.finding("k2", grade="B", previous_grade="C", roll_up="B", previous_roll_up="C", replaces="k1")
    events.finding("other", grade="E", previous_grade="D", clause="b")

    desk.run(reader, SEVEN)

    told = [one.change.facts for one in desk.drafts[-1].told]
    assert [(facts["key"], facts["previous_grade"], facts["grade"]) for facts in told] == [
        ("k2", None, "B"),
        ("other", "D", "E"),
    ]
    assert (told[0]["previous_roll_up"], told[0]["roll_up"]) == (None, "B")


def test_dissent_is_told_after_its_finding_and_goes_with_it(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    events.finding("k1")
    events.dissent("d1", "k1")
    desk.run(reader, SEVEN)
    assert desk.told(reader) == [
        "finding-published finding/k1",
        "dissent-published dissent/d1",
        "evidence-published evidence/1",
    ]

    events.dissent("d2", "k1")  # On its own, to a finding that was told before.
    desk.run(reader, SEVEN + DAY)
    assert desk.told(reader) == ["dissent-published dissent/d2"]

    events.finding("k2", replaces="k1")
    events.dissent("d3", "k2")
    events.finding("k3", replaces="k2")
    events.dissent("d4", "k3")
    desk.run(reader, SEVEN + 2 * DAY)
    assert desk.told(reader) == ["finding-published finding/k3", "dissent-published dissent/d4"]

    events.finding("k4", replaces="k3")
    events.dissent("d5", "k4")
    events.withdrawal(EntryKind.FINDING_WITHDRAWN, "finding/k4")
    desk.run(reader, SEVEN + 3 * DAY)
    assert desk.told(reader) == ["finding-withdrawn finding/k4"]

    events.dissent("d6", "k5")
    events.withdrawal(EntryKind.DISSENT_WITHDRAWN, "dissent/d6")
    desk.run(reader, SEVEN + 4 * DAY)
    assert desk.told(reader) == ["dissent-withdrawn dissent/d6"]


def test_a_digest_not_yet_sent_forgets_a_note_that_was_withdrawn(
    desk: Office, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.finding("k1")
    events.dissent("d1", "k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.DISSENT_WITHDRAWN, "dissent/d1")

    assert desk.refresh(reader, SEVEN)
    assert desk.told(reader) == ["finding-published finding/k1"]


def test_a_correction_of_what_was_told_before_is_told_as_a_correction(
    desk: Office, events: Events, reader: Subscriber
) -> None:
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.finding("k2", EntryKind.FINDING_CORRECTED, replaces="k1", correction="Five files, not six.")

    desk.run(reader, SEVEN + dt.timedelta(days=1))

    assert desk.told(reader) == ["finding-corrected finding/k2"]


def test_erased_words_are_not_told(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    session.execute(text("DELETE FROM ledger_content"))

    desk.run(reader, SEVEN)

    assert desk.told(reader) == ["evidence-published evidence/1 erased"]


def send_side(session: Session, now: dt.datetime) -> Any:
    [found] = deliveries.claim(session, most=9, now=now)
    session.commit()
    session.expire_all()
    return found


def test_a_digest_not_yet_sent_is_composed_again_without_what_was_withdrawn(
    desk: Office, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = send_side(session, SEVEN)

    assert desk.refresh(reader, SEVEN)

    assert desk.told(reader) == ["finding-published finding/k1"]
    assert session.get_one(Delivery, delivery.id).message_id == delivery.message_id


def test_a_digest_with_nothing_left_to_tell_is_not_sent(
    desk: Office, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = send_side(session, SEVEN)

    assert not desk.refresh(reader, SEVEN)
    found = session.get_one(Delivery, delivery.id)
    assert (found.state, found.message_sealed) == (DeliveryState.CANCELLED, None)


def test_a_digest_of_words_that_were_erased_is_composed_again(
    desk: Office, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    erased = events.evidence(1, title="A name that nobody may read")
    desk.run(reader, SEVEN)
    session.execute(text("DELETE FROM ledger_content WHERE seq = :seq"), {"seq": erased.seq})
    session.commit()
    session.expire_all()
    send_side(session, SEVEN)

    assert desk.refresh(reader, SEVEN)

    assert desk.told(reader) == ["evidence-published evidence/1 erased"]


def test_withdrawn_words_do_not_go_out_again_even_if_a_first_copy_may_have_arrived(
    desk: Office, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = session.get_one(Delivery, send_side(session, SEVEN).id)
    delivery.ambiguous, delivery.sent_sha256 = 1, "0" * 64
    session.commit()

    assert desk.refresh(reader, SEVEN)
    assert session.get_one(Delivery, delivery.id).sent_sha256 is None
    assert desk.told(reader) == ["finding-published finding/k1"]


def test_a_mail_given_up_after_three_days_is_told_by_the_next_digest(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    delivery = send_side(session, SEVEN + 3 * DAY)
    deliveries.retry(session, delivery.lease_owner, delivery.id, answer="451 RCPT", now=SEVEN + 3 * DAY)
    session.commit()

    assert desk.run(reader, SEVEN + 4 * DAY) == QUEUED
    assert desk.told(reader) == ["evidence-published evidence/1"]


def test_what_is_owed_is_counted_and_nobody_named(
    desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)

    assert digests.owed(session, now=SEVEN) == (1, 0)
    desk.run(reader, SEVEN)
    assert digests.owed(session, now=SEVEN) == (0, 1)


# Groups, themes, countries, searches, corrections that travel


def test_people_who_follow_the_same_share_one_digest_and_each_has_a_delivery(
    desk: Office,
    events: Events,
    reader: Subscriber,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    others = [follower(session, keys, config, now, f"r{number}@arvenia.example") for number in range(3)]
    other = Choices(DAILY, (Followed(Scope.REPORT, events.report.id),))
    apart = follower(session, keys, config, now, "apart@arvenia.example", other)
    events.finding()

    desk.run(reader, SEVEN)

    everything, report = (desk.newest(one) for one in (reader, apart))
    assert {desk.newest(one).digest_id for one in others} == {everything.digest_id}  # type: ignore[union-attr]
    assert report.digest_id != everything.digest_id  # type: ignore[union-attr]
    # They say the same: the code tells what is said, not what somebody follows.
    assert len(set(session.scalars(select(Digest.code)))) == 1
    assert len(set(session.scalars(select(Delivery.message_id)))) == 5


def test_a_theme_a_country_and_words_can_be_followed(
    desk: Office,
    events: Events,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
    make: Factory,
) -> None:
    report, other = events.report, make.report("upper-valley")
    other.country = "Kingdom of Borduria"
    report.recommendations[1].themes = [Theme(slug="detention", name="Detention")]
    session.commit()
    events.finding("k1", place=0, rationale="The DECREE on quarries is in force.")
    events.finding("k2", place=1, rationale="Nothing changed.")
    Events(session, other, now).finding("k3", rationale="Nothing changed here.")

    def told(address: str, *follows: Followed) -> list[str]:
        subscriber = follower(session, keys, config, now, address, Choices(DAILY, follows))
        subscriber.seen_seq = 0
        session.commit()
        desk.run(subscriber, SEVEN)
        return [line.split("/")[1] for line in desk.told(subscriber)]

    assert told("a@arvenia.example", Followed(Scope.THEME, value="detention")) == ["k2"]
    assert told("b@arvenia.example", Followed(Scope.COUNTRY, value="Kingdom of Borduria")) == ["k3"]
    assert told("c@arvenia.example", Followed(Scope.SEARCH, value="quarries decree")) == ["k1"]
    both = (Followed(Scope.THEME, value="detention"), Followed(Scope.SEARCH, value="decree"))
    assert told("d@arvenia.example", *both) == ["k1", "k2"]


@pytest.mark.parametrize("kind", [EntryKind.FINDING_CORRECTED, EntryKind.FINDING_WITHDRAWN])
def test_a_correction_reaches_whoever_was_told_the_wrong_thing_whatever_they_follow_now(
    kind: EntryKind, desk: Office, events: Events, reader: Subscriber, session: Session
) -> None:
    events.finding("k1")
    desk.run(reader, SEVEN)
    [claimed] = deliveries.claim(session, most=9, now=SEVEN)
    ready = deliveries.Ready(claimed, "0" * 64)
    deliveries.data_sent(session, [ready], now=SEVEN)
    deliveries.sent(session, claimed.lease_owner, [claimed.id], answer="250", now=SEVEN)
    elsewhere = Choices(DAILY, (Followed(Scope.RECOMMENDATION, None, events.report.recommendations[2].id),))
    subscriptions.change(session, reader, elsewhere, now=SEVEN)
    session.commit()
    events.evidence(9)  # Not followed any more, and nothing wrong with it.
    if kind is EntryKind.FINDING_CORRECTED:
        events.finding("k2", kind, replaces="k1", correction="It was another court.")
    else:
        events.withdrawal(kind, "finding/k1")

    assert desk.run(reader, SEVEN + DAY) == QUEUED

    assert desk.told(reader) == [
        "finding-corrected finding/k2"
        if kind is EntryKind.FINDING_CORRECTED
        else "finding-withdrawn finding/k1"
    ]
    assert desk.drafts[-1].told[0].extra
    # Once is enough.
    assert desk.run(reader, SEVEN + 2 * DAY) == NOTHING_NEW


def test_whoever_was_not_told_the_wrong_thing_hears_nothing_of_its_correction(
    desk: Office,
    events: Events,
    reader: Subscriber,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    elsewhere = Choices(DAILY, (Followed(Scope.RECOMMENDATION, None, events.report.recommendations[2].id),))
    apart = follower(session, keys, config, now, "apart@arvenia.example", elsewhere)
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.finding("k2", EntryKind.FINDING_CORRECTED, replaces="k1")

    assert desk.run(apart, SEVEN + DAY) == NOTHING_NEW


def test_as_it_happens_is_bundled_within_the_hour(
    desk: Office,
    events: Events,
    session: Session,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    quick = Choices(Rhythm(Frequency.IMMEDIATE, 0, 1, 7, "UTC"))
    subscriber = follower(session, keys, config, now, choices=quick)  # At 12:30.
    hour = dt.timedelta(hours=1)
    one = now.replace(minute=0) + hour
    events.evidence(1)
    events.evidence(2)

    assert desk.run(subscriber, one - dt.timedelta(seconds=1)) is None
    assert desk.run(subscriber, one) == QUEUED
    assert len(desk.told(subscriber)) == 2
    assert desk.newest(subscriber).period == "immediate/2026-11-22T13"  # type: ignore[union-attr]
    assert desk.run(subscriber, one + hour) == NOTHING_NEW
    events.evidence(3)
    assert desk.run(subscriber, one + 2 * hour) == QUEUED
    assert desk.told(subscriber) == ["evidence-published evidence/3"]


def test_what_does_not_fit_is_counted(
    desk: Office, events: Events, reader: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MOST_BYTES", digests._RESERVE + 200)
    for number in range(1, 21):
        events.evidence(number)

    desk.run(reader, SEVEN)

    lines = desk.lines(reader)
    shown = len(desk.told(reader))
    assert 0 < shown < 20
    assert lines[-2] == f"more {20 - shown}"
