"""Each published change stands in exactly one digest of each follower, and what was taken back in none."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import DAILY, EVERYTHING, Events, follower
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Delivery, Digest, Subscriber
from tracker.services import deliveries, digests, subscriptions
from tracker.services.deliveries import Mail
from tracker.services.digests import Letter, Outcome
from tracker.services.subscriptions import Choices
from tracker.vocabulary import DeliveryState, EntryKind, Scope

DAY = dt.timedelta(days=1)
# The first digest of a daily follower who confirmed at 12:30.
SEVEN = dt.datetime(2026, 11, 23, 7, 0, tzinfo=dt.UTC)


@pytest.fixture
def events(session: Session, make: Factory, now: dt.datetime) -> Events:
    return Events(session, make.report(), now)


@pytest.fixture
def reader(session: Session, keys: Keyring, config: Config, now: dt.datetime, events: Events) -> Subscriber:
    return follower(session, keys, config, now)


class Desk:
    """Makes digests and keeps the letters."""

    def __init__(self, session: Session, keys: Keyring) -> None:
        self.session, self.keys, self.letters = session, keys, []  # type: Session, Keyring, list[Letter]

    def run(self, subscriber: Subscriber, now: dt.datetime) -> Outcome | None:
        outcome = digests.generate(self.session, subscriber.id, keys=self.keys, compose=self.compose, now=now)
        self.session.commit()
        self.session.expire_all()
        return outcome

    def compose(self, letter: Letter) -> Mail:
        self.letters.append(letter)
        return Mail(f"<{letter.name}@localhost>", b"mail")

    def told(self, letter: int = -1) -> list[str]:
        return [
            f"{change.kind.value} {change.subject}"
            for part in self.letters[letter].parts
            for change in part.changes()
        ]


@pytest.fixture
def desk(session: Session, keys: Keyring) -> Desk:
    return Desk(session, keys)


def test_it_is_due_at_the_hour_and_once(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    events.finding()

    assert desk.run(reader, SEVEN - dt.timedelta(seconds=1)) is None
    assert desk.run(reader, SEVEN) is Outcome.QUEUED
    assert desk.run(reader, SEVEN) is None
    assert desk.told() == ["finding-published finding/k1"]
    digest = session.scalars(select(Digest)).one()
    assert (digest.period, digest.from_seq, digest.to_seq, digest.changes) == ("daily/2026-11-23", 0, 1, 1)
    assert (reader.seen_seq, reader.next_due_at) == (1, SEVEN + DAY)


def test_each_change_stands_in_exactly_one_digest(desk: Desk, events: Events, reader: Subscriber) -> None:
    for number in range(3):
        events.evidence(2 * number + 1)
        events.evidence(2 * number + 2)
        desk.run(reader, SEVEN + number * DAY)

    assert [line for letter in range(3) for line in desk.told(letter)] == [
        f"evidence-published evidence/{number}" for number in range(1, 7)
    ]


def test_nothing_new_is_noted_and_not_mailed(desk: Desk, reader: Subscriber, session: Session) -> None:
    assert desk.run(reader, SEVEN) is Outcome.NOTHING_NEW

    assert session.scalars(select(Digest)).one().changes == 0
    assert session.scalars(select(Delivery)).all() == []


def test_what_others_follow_moves_the_place_on_without_a_mail(
    desk: Desk, events: Events, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    other = events.report.recommendations[1].id
    subscriber = follower(
        session, keys, config, now, choices=Choices(DAILY, Scope.RECOMMENDATION, None, (other,))
    )
    events.finding()

    assert desk.run(subscriber, SEVEN) is Outcome.NOTHING_NEW
    assert subscriber.seen_seq == 1


def test_nine_days_of_downtime_make_one_digest_with_nothing_missing(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    for number in range(1, 4):
        events.evidence(number)

    assert desk.run(reader, SEVEN + 9 * DAY + dt.timedelta(hours=3)) is Outcome.QUEUED
    assert desk.run(reader, SEVEN + 9 * DAY + dt.timedelta(hours=3)) is None
    assert len(desk.told()) == 3
    assert session.scalars(select(Digest.period)).all() == ["daily/2026-12-02"]


def test_a_clock_set_back_doubles_nothing(desk: Desk, events: Events, reader: Subscriber) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)

    assert desk.run(reader, SEVEN - dt.timedelta(hours=1)) is None
    assert desk.run(reader, SEVEN + dt.timedelta(hours=1)) is None


def test_moving_the_hour_on_the_same_day_loses_nothing_and_doubles_nothing(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    later = Choices(DAILY.__class__(DAILY.frequency, 0, 1, 20, "UTC"), Scope.EVERYTHING)
    subscriptions.change(session, reader, later, now=SEVEN)
    session.commit()
    events.evidence(2)

    assert desk.run(reader, SEVEN + dt.timedelta(hours=13)) is None
    assert desk.run(reader, SEVEN + dt.timedelta(hours=37)) is Outcome.QUEUED
    assert desk.told() == ["evidence-published evidence/2"]


def test_scope_decides_what_is_told(
    desk: Desk,
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
        return [line.split("/")[1] for line in desk.told()]

    assert told(EVERYTHING, "a@arvenia.example") == ["lower-valley", "k1", "k2", "k3"]
    assert told(Choices(DAILY, Scope.REPORT, report.id), "b@arvenia.example") == ["lower-valley", "k1", "k2"]
    single = Choices(DAILY, Scope.RECOMMENDATION, None, (report.recommendations[1].id,))
    assert told(single, "c@arvenia.example") == ["k2"]


def test_corrections_come_first_then_recommendations_in_their_order(
    desk: Desk, events: Events, reader: Subscriber
) -> None:
    events.evidence(5, places=(1,))
    events.evidence(1)
    events.reply()
    events.finding("k1")
    events.finding("k2", EntryKind.FINDING_CORRECTED, place=2, replaces="k0")

    desk.run(reader, SEVEN)

    assert [line.split()[1] for line in desk.told()] == [
        "finding/k2",
        "finding/k1",
        "reply/r1",
        "evidence/1",
        "evidence/5",
    ]


def test_evidence_for_several_recommendations_is_told_once(
    desk: Desk, events: Events, session: Session, keys: Keyring, config: Config, now: dt.datetime
) -> None:
    second, third = (events.report.recommendations[place].id for place in (1, 2))
    subscriber = follower(
        session, keys, config, now, choices=Choices(DAILY, Scope.RECOMMENDATION, None, (third, second))
    )
    events.evidence(1, places=(0, 1, 2))

    desk.run(subscriber, SEVEN)

    (part,) = desk.letters[0].parts
    assert [section.recommendation.number for section in part.sections if section.recommendation] == ["88-b"]


def test_what_was_withdrawn_in_the_same_time_is_told_as_withdrawn_only(
    desk: Desk, events: Events, reader: Subscriber
) -> None:
    events.evidence(1)
    events.finding("k1")
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    events.withdrawal(EntryKind.FINDING_WITHDRAWN, "finding/k1")

    desk.run(reader, SEVEN)

    assert desk.told() == ["evidence-withdrawn evidence/1", "finding-withdrawn finding/k1"]


def test_what_was_corrected_in_the_same_time_is_told_as_corrected_only(
    desk: Desk, events: Events, reader: Subscriber
) -> None:
    events.evidence(1)
    events.evidence(1, EntryKind.EVIDENCE_CORRECTED, correction="The day was wrong.")
    events.finding("k1")
    events.finding("k2", EntryKind.FINDING_CORRECTED, replaces="k1")
    events.finding("k3", replaces="k2")

    desk.run(reader, SEVEN)

    assert desk.told() == ["evidence-corrected evidence/1", "finding-published finding/k3"]


def test_findings_that_followed_one_another_are_told_as_one_change_from_where_the_reader_stood(
    desk: Desk, events: Events, reader: Subscriber
) -> None:
    events.finding("k1", grade="C", previous_grade=None, roll_up="C", previous_roll_up=None)
    events.finding("k2", grade="B", previous_grade="C", roll_up="B", previous_roll_up="C", replaces="k1")
    events.finding("other", grade="E", previous_grade="D", clause="b")

    desk.run(reader, SEVEN)

    told = [change.facts for part in desk.letters[0].parts for change in part.changes()]
    assert [(facts["key"], facts["previous_grade"], facts["grade"]) for facts in told] == [
        ("k2", None, "B"),
        ("other", "D", "E"),
    ]
    assert (told[0]["previous_roll_up"], told[0]["roll_up"]) == (None, "B")


def test_dissent_is_told_after_its_finding_and_goes_with_it(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    events.finding("k1")
    events.dissent("d1", "k1")
    desk.run(reader, SEVEN)
    assert desk.told() == [
        "finding-published finding/k1",
        "dissent-published dissent/d1",
        "evidence-published evidence/1",
    ]

    events.dissent("d2", "k1")  # On its own, to a finding that was told before.
    desk.run(reader, SEVEN + DAY)
    assert desk.told() == ["dissent-published dissent/d2"]

    events.finding("k2", replaces="k1")
    events.dissent("d3", "k2")
    events.finding("k3", replaces="k2")
    events.dissent("d4", "k3")
    desk.run(reader, SEVEN + 2 * DAY)
    assert desk.told() == ["finding-published finding/k3", "dissent-published dissent/d4"]

    events.finding("k4", replaces="k3")
    events.dissent("d5", "k4")
    events.withdrawal(EntryKind.FINDING_WITHDRAWN, "finding/k4")
    desk.run(reader, SEVEN + 3 * DAY)
    assert desk.told() == ["finding-withdrawn finding/k4"]

    events.dissent("d6", "k5")
    events.withdrawal(EntryKind.DISSENT_WITHDRAWN, "dissent/d6")
    desk.run(reader, SEVEN + 4 * DAY)
    assert desk.told() == ["dissent-withdrawn dissent/d6"]


def test_a_digest_not_yet_sent_forgets_a_note_that_was_withdrawn(
    desk: Desk, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.finding("k1")
    events.dissent("d1", "k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.DISSENT_WITHDRAWN, "dissent/d1")

    delivery = session.scalars(select(Delivery)).one()
    assert digests.refresh(session, delivery, keys=keys, compose=desk.compose, now=SEVEN)
    assert desk.told() == ["finding-published finding/k1"]


def test_a_correction_of_what_was_told_before_is_told_as_a_correction(
    desk: Desk, events: Events, reader: Subscriber
) -> None:
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.finding("k2", EntryKind.FINDING_CORRECTED, replaces="k1", correction="Five files, not six.")

    desk.run(reader, SEVEN + dt.timedelta(days=1))

    assert desk.told() == ["finding-corrected finding/k2"]


def test_erased_words_are_not_told(desk: Desk, events: Events, reader: Subscriber, session: Session) -> None:
    events.evidence(1)
    session.execute(text("DELETE FROM ledger_content"))

    desk.run(reader, SEVEN)

    assert next(iter(desk.letters[0].parts[0].changes())).content is None


def send_side(session: Session, now: dt.datetime) -> Any:
    found = deliveries.claim(session, now=now)
    session.commit()
    return found


def test_a_digest_not_yet_sent_is_composed_again_without_what_was_withdrawn(
    desk: Desk, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = send_side(session, SEVEN)

    assert digests.refresh(session, delivery, keys=keys, compose=desk.compose, now=SEVEN)

    assert desk.told() == ["finding-published finding/k1"]
    assert desk.letters[0].name == desk.letters[1].name


def test_a_digest_with_nothing_left_to_tell_is_not_sent(
    desk: Desk, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = send_side(session, SEVEN)

    assert not digests.refresh(session, delivery, keys=keys, compose=desk.compose, now=SEVEN)
    assert (delivery.state, delivery.message_sealed) == (DeliveryState.CANCELLED, None)


def test_a_digest_of_words_that_were_erased_is_composed_again(
    desk: Desk, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    erased = events.evidence(1, title="A name that nobody may read")
    desk.run(reader, SEVEN)
    session.execute(text("DELETE FROM ledger_content WHERE seq = :seq"), {"seq": erased.seq})
    session.commit()
    session.expire_all()
    delivery = send_side(session, SEVEN)

    assert digests.refresh(session, delivery, keys=keys, compose=desk.compose, now=SEVEN)

    assert [change.content for part in desk.letters[-1].parts for change in part.changes()] == [None]


def test_withdrawn_words_do_not_go_out_again_even_if_a_first_copy_may_have_arrived(
    desk: Desk, events: Events, reader: Subscriber, session: Session, keys: Keyring
) -> None:
    events.evidence(1)
    events.finding("k1")
    desk.run(reader, SEVEN)
    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/1")
    delivery = send_side(session, SEVEN)
    delivery.ambiguous = 1

    assert digests.refresh(session, delivery, keys=keys, compose=desk.compose, now=SEVEN)
    assert desk.told() == ["finding-published finding/k1"]


def test_a_mail_given_up_after_three_days_is_told_by_the_next_digest(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)
    desk.run(reader, SEVEN)
    delivery = send_side(session, SEVEN + 3 * DAY)
    deliveries.retry(session, delivery, answer="451 RCPT", now=SEVEN + 3 * DAY)
    session.commit()

    assert desk.run(reader, SEVEN + 4 * DAY) is Outcome.QUEUED
    assert desk.told() == ["evidence-published evidence/1"]


def test_what_is_owed_is_counted_and_nobody_named(
    desk: Desk, events: Events, reader: Subscriber, session: Session
) -> None:
    events.evidence(1)

    assert digests.owed(session, now=SEVEN) == (1, 0)
    desk.run(reader, SEVEN)
    assert digests.owed(session, now=SEVEN) == (0, 1)
