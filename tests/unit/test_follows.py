"""What follows match, how many messages that would be, and readers without an address."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.mail import DAILY, Events, following
from tests.unit.test_subscriptions import theme
from tracker.keyring import Keyring
from tracker.models import Delivery, Digest, Issue, Piece, Report, Subscriber
from tracker.queries import expected, follows, held, mailbox
from tracker.services import readers, schedule, subscriptions
from tracker.services.choices import EVERYTHING, Choices, Followed
from tracker.services.schedule import Rhythm
from tracker.views.held import LABELS
from tracker.vocabulary import (
    Channel,
    DeliveryKind,
    DeliveryState,
    Disclosure,
    Frequency,
    Scope,
    SubscriberState,
)


@pytest.fixture
def report(make: Factory) -> Report:
    found: Report = make.report()
    return found


@pytest.fixture
def events(session: Session, report: Report, now: dt.datetime) -> Events:
    found = Events(session, report, now)
    found.evidence(1)
    found.evidence(2, places=(1,), summary="Dust from the QUARRY\u2028of Lower Hesk.")
    found.evidence(3, places=(0, 1))
    found.finding("k1", place=2, rationale="Ｑuarry owners have paid.")
    return found


def test_each_kind_of_follow_matches_what_it_says(session: Session, report: Report, events: Events) -> None:
    theme(session, report.recommendations[1])
    second = report.recommendations[1].id
    for wanted, seqs in [
        (Followed(Scope.EVERYTHING), [4, 3, 2, 1]),
        (Followed(Scope.REPORT, report.id), [4, 3, 2, 1]),
        (Followed(Scope.REPORT, 99), []),
        (Followed(Scope.RECOMMENDATION, None, second), [3, 2]),
        (Followed(Scope.THEME, value="detention"), [3, 2]),
        (Followed(Scope.THEME, value="nothing"), []),
        (Followed(Scope.COUNTRY, value="Republic of Arvenia"), [4, 3, 2, 1]),
        (Followed(Scope.COUNTRY, value="Atlantis"), []),
        # In any case, any width of letters and any order; the third recommendation is titled "Check quarries".
        (Followed(Scope.SEARCH, value="quarry"), [4, 2]),
        (Followed(Scope.SEARCH, value="HESK quarry"), [2]),
        (Followed(Scope.SEARCH, value="check quarries"), [4]),
        # The names of an entry's fields are not its words.
        (Followed(Scope.SEARCH, value="rationale"), []),
    ]:
        assert [change.seq for change in follows.read(session, [wanted], limit=9)] == seqs, wanted
    both = [Followed(Scope.SEARCH, value="hesk"), Followed(Scope.REPORT, 99)]
    assert [change.seq for change in follows.read(session, both, limit=9)] == [2]
    assert [
        change.seq for change in follows.read(session, [Followed(Scope.EVERYTHING)], before=3, limit=1)
    ] == [2]
    assert follows.read(session, [], limit=9) == []


def test_a_search_never_finds_words_that_were_withdrawn(session: Session, events: Events) -> None:
    from tracker.vocabulary import EntryKind

    events.withdrawal(EntryKind.EVIDENCE_WITHDRAWN, "evidence/2", place=1)

    assert follows.read(session, [Followed(Scope.SEARCH, value="hesk")], limit=9) == []


def test_how_many_messages_is_counted_in_turns_not_in_changes(
    session: Session, events: Events, now: dt.datetime
) -> None:
    events.now = now - dt.timedelta(days=100)
    events.evidence(11)
    events.evidence(12)
    events.now = now - dt.timedelta(days=99)
    events.evidence(13)
    events.now = now - dt.timedelta(days=200)
    events.evidence(14)

    def count(frequency: Frequency, *wanted: Followed) -> float:
        rhythm = Rhythm(frequency, 0, 1, 7, "Asia/Kathmandu")
        found = expected.per_month(
            session,
            wanted or EVERYTHING,
            lambda moment: schedule.first_slot(rhythm, moment).period,
            now=now,
        )
        return round(found * 180 / (365.25 / 12), 6)

    # 200 days ago is too long ago; today's four and that day's two are one message each.
    assert count(Frequency.IMMEDIATE) == 3
    assert count(Frequency.DAILY) == 3
    assert count(Frequency.WEEKLY) == 2
    assert count(Frequency.MONTHLY) == 2
    assert count(Frequency.DAILY, Followed(Scope.SEARCH, value="hesk")) == 1
    assert count(Frequency.DAILY, Followed(Scope.REPORT, 99)) == 0


def test_a_young_ledger_is_not_taken_for_half_a_year(
    session: Session, report: Report, now: dt.datetime
) -> None:
    assert expected.per_month(session, EVERYTHING, str, now=now) == 0
    events = Events(session, report, now - dt.timedelta(days=60))
    events.evidence(1)

    assert round(expected.per_month(session, EVERYTHING, str, now=now) * 60 / (365.25 / 12), 2) == 1


# Without an address


def test_six_words_have_more_than_75_bits_and_open_however_they_are_typed(
    session: Session, now: dt.datetime
) -> None:
    assert readers.bits() > 75
    opened = readers.open_mailbox(session, Choices(DAILY), now=now)
    assert re.fullmatch(r"[a-z]+( [a-z]+){5}", opened.secret)
    assert len({readers.new_passphrase() for _ in range(50)}) == 50

    for typed in (opened.secret.upper(), opened.secret.replace(" ", "-"), f"  {opened.secret}\n"):
        assert readers.find_mailbox(session, typed) is opened.subscriber
    for typed in ("", opened.secret[:-1], opened.secret.rpartition(" ")[0], "x" * 9999):
        assert readers.find_mailbox(session, typed) is None
    assert readers.find_feed(session, opened.secret) is None


def test_a_feed_has_no_rhythm_and_a_mailbox_hides_nothing(session: Session, now: dt.datetime) -> None:
    quiet = Choices(DAILY, disclosure=Disclosure.NOTICE)
    feed, box = readers.open_feed(session, quiet, now=now), readers.open_mailbox(session, quiet, now=now)

    for opened, channel in ((feed, Channel.FEED), (box, Channel.MAILBOX)):
        found = opened.subscriber
        assert (found.channel, found.state) == (channel, SubscriberState.CONFIRMED)
        assert (found.address_hash, found.address_sealed) == (None, None)
        assert found.disclosure is Disclosure.FULL
        # Nothing finer than the hour says when somebody came.
        assert found.created_at == found.confirmed_at == now.replace(minute=0)
        assert opened.secret not in str(vars(found))
        assert subscriptions.by_manage_token(session, opened.manage_token) is found
    assert feed.subscriber.next_due_at is None
    assert box.subscriber.next_due_at == dt.datetime(2026, 11, 23, 7, tzinfo=dt.UTC)
    assert readers.find_feed(session, feed.secret) is feed.subscriber


def test_a_stopped_feed_is_gone_and_a_stopped_mailbox_can_be_opened_again(
    session: Session, now: dt.datetime
) -> None:
    feed = readers.open_feed(session, Choices(DAILY), now=now)
    box = readers.open_mailbox(session, Choices(DAILY), now=now)
    for opened in (feed, box):
        subscriptions.leave(session, opened.subscriber, now=now)

    assert readers.find_feed(session, feed.secret) is None
    assert readers.find_mailbox(session, box.secret) is box.subscriber


def collect(
    session: Session, subscriber: Subscriber, now: dt.datetime, number: int, *texts: bytes
) -> Delivery:
    """A digest laid into a mailbox, as the composer does it."""
    pieces = []
    for place, text in enumerate(texts):
        last = place == len(texts) - 1
        piece = Piece(sha256=f"{number}/{place}", raw=last, text=text, html=b"")
        session.add(piece)
        session.flush()
        pieces.append(piece.id)
    issue = Issue(hour=now + dt.timedelta(hours=number))
    session.add(issue)
    session.flush()
    digest = Digest(
        issue=issue,
        code="K7F2-9QXM",
        content_key=f"{number}",
        follow_key=subscriber.follow_key,
        frequency=Frequency.DAILY,
        language="en",
        disclosure=Disclosure.FULL,
        day=now.date() + dt.timedelta(days=number),
        from_seq=0,
        to_seq=1,
        changes=1,
        composed_seq=1,
        pieces=pieces,
        created_at=now,
    )
    delivery = Delivery(
        kind=DeliveryKind.DIGEST,
        subscriber=subscriber,
        digest=digest,
        issue=issue,
        period=f"daily/{number}",
        message_id=f"<{number}>",
        state=DeliveryState.COLLECTED,
        created_at=now,
        due_at=now,
    )
    session.add(delivery)
    session.commit()
    return delivery


def test_a_mailbox_shows_its_digests_decoded_the_newest_first_for_90_days(
    session: Session, now: dt.datetime
) -> None:
    box = readers.open_mailbox(session, Choices(DAILY), now=now).subscriber
    other = readers.open_mailbox(session, Choices(DAILY), now=now).subscriber
    collect(
        session,
        box,
        now,
        1,
        b"First=C3=A9 line that goes =\r\non\r\n",
        b"88(a) =E2=80=93 text\r\n",
        b"foot {links}",
    )
    collect(session, box, now, 2, b"Second\r\n", b"foot")
    collect(session, other, now, 3, b"Not ours\r\n", b"foot")

    newest, oldest = mailbox.collected(session, box, now=now)

    assert (newest.text, newest.code, newest.day) == ("Second", "K7F2-9QXM", dt.date(2026, 11, 24))
    assert oldest.text == "Firsté line that goes on\n88(a) – text"
    assert newest.number != oldest.number
    assert mailbox.collected(session, box, now=now + dt.timedelta(days=91)) == []
    assert [one.number for one in held.told(session, box)] == [newest.number, oldest.number]


def test_everything_that_is_held_has_a_name_and_can_be_taken_along(
    session: Session, keys: Keyring, now: dt.datetime, report: Report
) -> None:
    wanted = following(Followed(Scope.REPORT, report.id), Followed(Scope.SEARCH, value="quarry"))
    box = readers.open_mailbox(session, wanted, now=now).subscriber
    collect(session, box, now, 1, b"First\r\n", b"foot")

    assert set(LABELS) == {column.key for column in Subscriber.__table__.columns}
    found = held.export(session, box)
    assert set(found["subscriber"]) == set(LABELS)
    assert [one["scope"] for one in found["follows"]] == ["report", "search"]
    assert [one["digest"].partition("/")[2] for one in found["deliveries"]] == ["K7F2-9QXM"]
    assert session.scalars(select(Subscriber)).one() is box
