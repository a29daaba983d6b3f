"""Whatever goes wrong between composing and the last answer: nobody is left out, and what came twice was counted.

`python -m tests.faults.digest_table` does the same with 500 people and prints what was seen.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from tests.faults.digest_scenarios import SCENARIOS, Scenario, play
from tests.faults.digest_world import Children, World, taken, world
from tests.smtp import smtp_server

PEOPLE = 40


@pytest.fixture(scope="module")
def worlds() -> Iterator[Callable[[str], World]]:
    """A place on each database for all of these tests: one day of it for each."""
    made: dict[str, World] = {}
    with ExitStack() as stack:
        children = stack.enter_context(closing(Children()))

        def find(database: str) -> World:
            if database not in made:
                made[database] = stack.enter_context(world(database, PEOPLE, children))
            return made[database]

        yield find


def on(database: str | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    found = [one for one in SCENARIOS if one.only == database]
    return pytest.mark.parametrize("scenario", found, ids=[one.name for one in found])  # type: ignore[return-value]


def check(place: World, scenario: Scenario) -> None:
    row = play(place, scenario)
    assert row.wrong == []
    assert row.accepted
    # Over all days so far, each change stood in exactly one digest of each follower.
    assert place.never_told() == []


@on(None)
def test_nobody_is_left_out_and_what_came_twice_was_counted(
    scenario: Scenario, database: str, worlds: Callable[[str], World]
) -> None:
    check(worlds(database), scenario)


@pytest.mark.only("sqlite")
@on("sqlite")
def test_the_same_while_somebody_else_writes(
    scenario: Scenario, database: str, worlds: Callable[[str], World]
) -> None:
    check(worlds(database), scenario)


@pytest.mark.only("postgresql")
@on("postgresql")
def test_the_same_when_the_database_goes_away_or_is_held(
    scenario: Scenario, database: str, worlds: Callable[[str], World]
) -> None:
    check(worlds(database), scenario)


@pytest.mark.only("sqlite")
def test_the_look_sees_what_was_lost_doubled_or_changed(
    database: str, worlds: Callable[[str], World]
) -> None:
    place = worlds(database)
    place.next_day()
    due = place.members()
    with smtp_server() as server:
        place.use(server.url)
        place.tick()
        place.drain()
    mails = taken([server])
    first = mails[0]
    assert place.row("", place.day, due, mails, time.monotonic()).wrong == []
    before = {person: list(told) for person, told in place.told.items()}

    def seen(*others: object) -> list[str]:
        place.told.clear()
        return place.row("", place.day, due, [*others, *mails[1:]], time.monotonic()).wrong  # type: ignore[list-item]

    assert any("nothing was accepted" in one for one in seen())
    assert any("lost" in one for one in seen())
    assert "1 doubled, 0 ambiguous" in seen(first, first)
    other = dataclasses.replace(first, message=first.message + b"x\r\n")
    assert any("copies differ" in one for one in seen(first, other))
    more = dataclasses.replace(
        first, message=first.message.replace(b"text/html", b"/evidence/1 text/html", 1)
    )
    assert any("told" in one for one in seen(more))
    stranger = dataclasses.replace(
        first, message=first.message.replace(b"Message-ID: <", b"Message-ID: <0", 1)
    )
    assert any("of no delivery" in one for one in seen(first, stranger))
    place.told.clear()
    place.told.update(before)
