"""Calendars say when reviews are due: public, stable, and read back by another program."""

from __future__ import annotations

import datetime as dt

import time_machine
from icalendar import Calendar
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.vocabulary import Grade


def events(client: Client, address: str) -> list[dict[str, object]]:
    response = client.http.get(address)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/calendar; charset=utf-8"
    calendar = Calendar.from_ical(response.data)
    return [
        {
            name.lower(): event[name] if name in ("UID", "SUMMARY", "URL") else event.decoded(name)
            for name in ("UID", "DTSTART", "DTEND", "DTSTAMP", "SUMMARY", "URL")
        }
        for event in calendar.walk("VEVENT")
    ]


def test_every_assessed_recommendation_is_a_day_of_its_own(
    client: Client, session: Session, make: Factory, now: dt.datetime
) -> None:
    record = Record(session, make, now)
    finding = record.finding(record.second, None, Grade.C, record.evidence(record.second))

    for address in ("/reviews.ics", "/reports/lower-valley/reviews.ics"):
        (event,) = events(client, address)
        approved = finding.approved_at
        assert approved is not None
        assert str(event["uid"]) == "review/lower-valley/88-b@localhost"
        assert event["dtstart"] > approved.date() + dt.timedelta(days=80)  # type: ignore[operator]
        assert event["dtend"] == event["dtstart"] + dt.timedelta(days=1)  # type: ignore[operator]
        assert event["dtstamp"] == approved.replace(minute=0, second=0, microsecond=0)
        assert str(event["summary"]) == "[Demonstration] Review due: 88(b) Tell families"
        assert str(event["url"]) == "http://localhost/reports/lower-valley/88-b"
    assert b"Hidden-Name" not in client.http.get("/reviews.ics").data


def test_a_calendar_without_any_day_is_a_calendar(client: Client, make: Factory) -> None:
    make.report()

    assert events(client, "/reviews.ics") == []
    assert events(client, "/reports/lower-valley/reviews.ics") == []
    client.get("/reports/nowhere/reviews.ics", 404)


def test_the_same_record_gives_the_same_bytes_on_every_day_and_304(
    client: Client, session: Session, make: Factory, now: dt.datetime
) -> None:
    record = Record(session, make, now)
    record.finding(record.second, None, Grade.C, record.evidence(record.second))
    with time_machine.travel(now, tick=False):
        first = client.http.get("/reviews.ics")
    with time_machine.travel(now + dt.timedelta(days=400), tick=False):
        later = client.http.get("/reviews.ics")
        again = client.http.get("/reviews.ics", headers={"If-None-Match": first.headers["ETag"]})

    assert first.data == later.data
    assert again.status_code == 304


def test_a_new_finding_moves_the_day_and_keeps_the_event(
    client: Client, session: Session, make: Factory, now: dt.datetime
) -> None:
    record = Record(session, make, now)
    record.finding(record.second, None, Grade.C, record.evidence(record.second))
    (before,) = events(client, "/reviews.ics")
    record.now += dt.timedelta(days=30)
    record.finding(record.second, None, Grade.C, record.evidence(record.second))

    (after,) = events(client, "/reviews.ics")

    assert after["uid"] == before["uid"]
    assert after["dtstart"] > before["dtstart"]  # type: ignore[operator]
    assert after["dtstamp"] > before["dtstamp"]  # type: ignore[operator]
