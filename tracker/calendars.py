"""iCalendar (RFC 5545) for calendars that people subscribe to: plain data in, bytes out.

The same data give the same bytes: every time in it comes from the record, none from the moment of asking.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from icalendar import Calendar, Event

MEDIA_TYPE = "text/calendar; charset=utf-8"


@dataclass(frozen=True)
class Day:
    """Something that falls on a day. `uid` stays the same when the day moves; `stamp` moves with what is told."""

    uid: str
    day: dt.date
    title: str
    text: str
    url: str
    stamp: dt.datetime


def write(days: Iterable[Day], *, name: str, program: str) -> bytes:
    """A whole calendar of all-day events."""
    calendar = Calendar()
    calendar.add("prodid", f"-//{program}//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("name", name)
    calendar.add("x-wr-calname", name)
    # Once a day is enough: dates of reviews move when findings are published.
    calendar.add("refresh-interval", dt.timedelta(days=1), parameters={"VALUE": "DURATION"})
    for one in days:
        event = Event()
        event.add("uid", one.uid)
        event.add("dtstamp", one.stamp)
        event.add("last-modified", one.stamp)
        event.add("dtstart", one.day)
        event.add("dtend", one.day + dt.timedelta(days=1))
        event.add("summary", one.title)
        event.add("description", one.text)
        event.add("url", one.url)
        # Nobody is busy because of it.
        event.add("transp", "TRANSPARENT")
        event.add("class", "PUBLIC")
        calendar.add_component(event)
    return bytes(calendar.to_ical())
