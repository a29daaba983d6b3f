"""A table of evidence is taken whole or not at all, each fault has its line and column, and twice adds nothing."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker.errors import InvalidFile, NotAllowed
from tracker.models import Account, Evidence
from tracker.services import evidence_file
from tracker.services.evidence_file import Outcome
from tracker.vocabulary import Direction, Precision, Role, SourceType, State, Visibility

SAMPLE = (Path(__file__).parent / "arvenia-evidence.csv").read_bytes()
HEADER = (
    "id,report,title,date,summary,publisher,source_type,reliability,credibility,bearings,links,visibility"
)
GOOD = "1,lower-valley,Title,2025,Words,Court,law,B,2,88-b: progress,https://a.example/,public"


@pytest.fixture
def mona(make: Factory) -> Account:
    make.report()
    account: Account = make.account(Role.MONITOR)
    return account


def load(session: Session, data: bytes | str, author: Account, now: dt.datetime) -> Outcome:
    lines = evidence_file.read(data.encode() if isinstance(data, str) else data)
    outcome = evidence_file.load(session, lines, author=author, now=now)
    session.commit()
    return outcome


def problems(session: Session, data: bytes | str, author: Account, now: dt.datetime) -> list[str]:
    with pytest.raises(InvalidFile) as refused:
        load(session, data, author, now)
    session.rollback()
    assert session.scalars(select(Evidence)).all() == []
    return refused.value.problems


def test_the_sample_waits_for_another_person(session: Session, mona: Account, now: dt.datetime) -> None:
    assert load(session, SAMPLE, mona, now) == Outcome(3, 0)

    first, second, third = session.scalars(select(Evidence).order_by(Evidence.id)).all()
    assert {row.state for row in (first, second, third)} == {State.SUBMITTED}
    assert {row.created_by_id for row in (first, second, third)} == {mona.id}
    assert first.title == "Court register lists six case files, in part"
    assert (first.occurred_on, first.date_precision) == (dt.date(2025, 5, 1), Precision.MONTH)
    assert second.date_precision is Precision.ABOUT
    assert first.summary.endswith("six files.\nNone of them names a charge.")
    assert [link.url for link in first.links] == [
        "https://court.arvenia.example/register",
        "https://archive.arvenia.example/register",
    ]
    assert {(item.recommendation.number, item.clause and item.clause.label, item.direction) for item in first.bearings} == {
        ("88-a", "a", Direction.PROGRESS), ("88-b", None, Direction.NO_CHANGE),
    }  # fmt: skip
    assert [row.visibility for row in (first, second, third)] == [
        Visibility.PUBLIC, Visibility.PUBLIC, Visibility.TEAM,
    ]  # fmt: skip
    assert "rights-desk" not in str(first.imported_as)


def test_importing_again_adds_only_what_is_new(session: Session, mona: Account, now: dt.datetime) -> None:
    load(session, SAMPLE, mona, now)
    more = SAMPLE + b"new,lower-valley,One more,2024,,Words,Court,law,en,B,2,89: context,,,,\n"
    assert load(session, more, mona, now) == Outcome(1, 3)
    assert load(session, more, mona, now) == Outcome(0, 4)


def test_a_table_made_by_a_spreadsheet_is_read(session: Session, mona: Account, now: dt.datetime) -> None:
    """With a byte order mark, Windows line ends, and empty rows at the end."""
    data = b"\xef\xbb\xbf" + f"{HEADER}\r\n{GOOD}\r\n,,,,,,,,,,,\r\n\r\n".encode()
    assert load(session, data, mona, now) == Outcome(1, 0)


def with_cell(column: str, value: str) -> str:
    names, cells = HEADER.split(","), GOOD.split(",")
    cells[names.index(column)] = f'"{value}"'
    return f"{HEADER}\n{','.join(cells)}\n"


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("id", "", "must not be empty"),
        ("report", "nowhere", "No report of this name"),
        ("title", "", "must not be empty"),
        ("title", "x" * 201, "200 characters"),
        ("title", "two\nlines", "in one line"),
        ("date", "", "Enter when it happened"),
        ("date", "14.5.2025", "Write a date as"),
        ("date", "2025-02-30", "Write a date as"),
        ("date", "2999", "in the future"),
        ("date", "~2025", "needs a day"),
        ("date", "２０２５", "Write a date as"),
        ("summary", "", "Write a summary"),
        ("summary", "left\u202eright", "cannot be stored"),
        ("summary", "nul\x00", "cannot be stored"),
        ("source_type", "gossip", "Use one of"),
        ("source_type", "testimony", "consent"),
        ("source_type", "media", ""),
        ("reliability", "G", "Use one of"),
        ("credibility", "7", "Use one of"),
        ("credibility", "", "how far this information"),
        ("bearings", "", "at least one recommendation"),
        ("bearings", "99: progress", "no recommendation"),
        ("bearings", "88-a/z: progress", "no clause"),
        ("bearings", "88-a", "Write a direction"),
        ("bearings", "88-a: forwards", "Use one of"),
        ("links", "javascript:alert(1)", "not a web address"),
        ("links", "https://user:word@a.example/", "not a web address"),
        ("visibility", "restricted", "public or team"),
    ],
)
def test_a_fault_is_named_with_its_line_and_column(
    column: str, value: str, sentence: str, session: Session, mona: Account, now: dt.datetime
) -> None:
    if not sentence:
        assert load(session, with_cell(column, value), mona, now) == Outcome(1, 0)
        return
    [found] = problems(session, with_cell(column, value), mona, now)
    assert found.startswith(f"Line 2, column {column}: ")
    assert sentence in found


def test_every_fault_is_named_and_nothing_is_imported(
    session: Session, mona: Account, now: dt.datetime
) -> None:
    data = f'{HEADER}\n{GOOD}\n2,lower-valley,"Two\nlines",2025,"W\nW",Court,law,B,2,89: context,,\n3,lower-valley,T\n{GOOD}\n'
    found = problems(session, data, mona, now)
    assert [problem.partition(": ")[0] for problem in found] == [
        "Line 3, column title",
        "Line 6",
        "Line 7, column id",
    ]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", "Line 1"),
        (b"title\nx\n", "Line 1"),
        (HEADER.encode() + b",secret\n", "Line 1"),
        (HEADER.encode() + b",title\n", "Line 1"),
        (HEADER.encode() + b"\n" + GOOD.encode() + b"\n\xff\xfe\n", "Line 3"),
        (HEADER.encode() + b'\n1,"open\n', "Line 2"),
        (HEADER.encode() + b"\n" + b'"' + b"x" * 200_000 + b'"\n', "Line 2"),
        (b"x" * (20 * 1024 * 1024 + 1), "The file"),
        ("id,report\n".encode("utf-16"), "Line 1"),
        (b"PK\x03\x04\xff\xff\n", "Line 1"),
    ],
)
def test_what_is_no_such_table_is_refused(data: bytes, place: str) -> None:
    with pytest.raises(InvalidFile) as refused:
        evidence_file.read(data)
    assert all(problem.startswith(place) for problem in refused.value.problems)


def test_only_somebody_of_the_team_is_an_author(session: Session, make: Factory, now: dt.datetime) -> None:
    make.report()
    for author in (make.account(Role.ADMIN), make.account(Role.MONITOR, active=False)):
        with pytest.raises(NotAllowed):
            load(session, SAMPLE, author, now)
        session.rollback()


def test_the_source_types_of_the_documentation_are_those_that_are_taken() -> None:
    words = (Path(__file__).parents[2] / "docs" / "evidence-import.md").read_text(encoding="utf-8")
    for word in (*SourceType, *Direction):
        assert f"`{word.value}`" in words or word is SourceType.TESTIMONY
    for column in evidence_file.COLUMNS:
        assert f"| `{column}` |" in words
