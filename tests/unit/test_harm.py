"""Before evidence becomes public somebody is asked who could be harmed, and shown what a program can find."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import HARMLESS, NO_HARM, Record
from tracker.config import ROOT
from tracker.errors import Invalid
from tracker.keyring import Keyring
from tracker.models import EvidenceDetail, Exhibit, HarmCheck, PublicCopy, SourceWord
from tracker.services import evidence, giveaways, harm, sources
from tracker.services.harm import Harm
from tracker.vocabulary import CopyMethod, Detail, FileKind, Precision, State, Visibility


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> Record:
    return Record(session, make, now)


def kinds(words: str, *, link: bool = False) -> list[str]:
    return [kind for kind, _ in giveaways.find(words, link=link)]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("card 110105194912310038 was shown", "id-number"),
        ("card 11010519491231002X", "id-number"),
        ("card 110105 19491231 002x", "id-number"),
        ("１１０１０５１９４９１２３１００２Ｘ", "id-number"),
        ("١١٠١٠٥١٩٤٩١٢٣١٠٠٢X", "id-number"),
        ("身份证号码110105194912310038。", "id-number"),
        ("an old card 110105491231002", "id-number"),
        ("holder of E12345678", "passport"),
        ("passport EA1234567", "passport"),
        ("call +86 138 0013 8000", "phone"),
        ("call 0086-13800138000", "phone"),
        ("13800138000", "phone"),
        ("138 0013 8000", "phone"),
        ("(0991) 1234567", "phone"),
        ("0991-1234567", "phone"),
        ("030 123 45 67", "phone"),
        ("(212) 555-0123", "phone"),
        ("+998901234567", "phone"),
        ("at 39.4677, 75.9938", "coordinates"),
        ("39.46771 N 75.99382 E", "coordinates"),
        ("39°28′04″N 75°59′38″E", "coordinates"),
        ("39º28'4\"N", "coordinates"),
        ("39.4677°", "coordinates"),
        ("8J9Q+2V Kashgar", "coordinates"),
        ("8JCVFX9V+3QH", "coordinates"),
        ("case file 4500123456789", "digits"),
    ],
)
def test_what_tells_who_or_where_somebody_is_gets_noticed(words: str, kind: str) -> None:
    assert kind in kinds(words)


@pytest.mark.parametrize(
    "words",
    [
        "In 2017, 2018 and 2019, 1,300,000 people; 12 000 000 in all.",
        "Articles 3, 5 and 9 of Law No. 45 (1994), A/HRC/51/5, CERD/C/CHN/CO/14-17.",
        "From 31.08.2022 to 01.09.2022, and 2022-08-31; at 10:30.",
        "Resolution 217 A (III); ISBN is not asked for; 100-200 persons; 3.14159 times.",
        "§ 2.4.3, paragraph 151(i), 45.5 % against 23.125 %.",
        "110105194912310027",  # The check character is wrong, but it is long all the same.
        "Order 2021-1234-5678 of the Lower Valley court",
    ],
)
def test_years_statutes_and_quantities_are_no_telephone_numbers(words: str) -> None:
    assert set(kinds(words)) <= {"digits"}


def test_addresses_on_the_web_are_full_of_digits_and_only_places_and_cards_are_looked_for() -> None:
    assert kinds("https://news.arvenia.example/2019/03/13800138000/article-202112345678", link=True) == []
    assert kinds("https://maps.example/@39.46771,75.99382,17z", link=True) == ["coordinates"]


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _words(one)


def test_the_bundled_pieces_about_a_real_place_raise_no_false_alarm() -> None:
    pieces = [
        text
        for path in (ROOT / "config" / "reports").rglob("*.toml")
        for text in _words(tomllib.loads(path.read_text(encoding="utf-8")))
    ]
    assert len(pieces) > 500
    assert [(kind, text) for text in pieces for kind in kinds(text, link=text.startswith("http"))] == []


def test_each_question_needs_an_answer_and_not_sure_holds_it_back(record: Record) -> None:
    piece = record.submitted(record.first)
    for answers, field in (
        ({}, "person"),
        (NO_HARM | {"count": ""}, "count"),
        (NO_HARM | {"source": "unsure"}, "source"),
        (NO_HARM | {"detail": "perhaps"}, "detail"),
        (NO_HARM | {"place": "yes"}, "remark"),
    ):
        with pytest.raises(Invalid) as refused:
            evidence.accept(
                record.session, piece, reviewer=record.rafa, harm=Harm(answers), now=record.tick()
            )
        record.session.rollback()
        assert refused.value.field == field
    with pytest.raises(Invalid):
        evidence.accept(record.session, piece, reviewer=record.rafa, now=record.tick())
    record.session.rollback()
    assert piece.state is State.SUBMITTED

    fine = Harm(NO_HARM | {"place": "yes"}, remark="The capital has two million people.")
    assert evidence.accept(record.session, piece, reviewer=record.rafa, harm=fine, now=record.tick())
    record.session.commit()
    kept = record.session.scalars(select(HarmCheck)).one()
    assert json.loads(kept.answers)["place"] == "yes"
    assert json.loads(kept.answers)["remark"] == "The capital has two million people."
    assert kept.checked_by_id == record.rafa.id
    assert "capital" not in str(record.session.execute(text("SELECT * FROM harm_check")).all())


@pytest.mark.parametrize("visibility", [Visibility.TEAM, Visibility.RESTRICTED])
def test_what_stays_with_the_team_needs_no_answers(record: Record, visibility: Visibility) -> None:
    piece = record.submitted(record.first, visibility=visibility, summary="Call 13800138000.")
    evidence.accept(record.session, piece, reviewer=record.rafa, now=record.tick())
    assert piece.state is State.ACCEPTED


def test_each_warning_has_to_be_looked_at_and_a_new_one_again(record: Record) -> None:
    session = record.session
    piece = record.submitted(record.first, summary="Call 13800138000.")
    shown = harm.warnings(session, piece, keys=None)
    assert [(warning.kind, warning.where, warning.excerpt) for warning in shown] == [
        ("phone", "summary", "13800138000")
    ]

    def accept(looked: str) -> None:
        evidence.accept(
            session, piece, reviewer=record.rafa, harm=Harm(NO_HARM, looked=looked), now=record.tick()
        )

    for looked in ("", "1", harm.fingerprint([])):
        with pytest.raises(Invalid, match="each warning"):
            accept(looked)
        session.rollback()
    piece.remark = "Or 13900139000."
    session.commit()
    with pytest.raises(Invalid, match="new ones"):
        accept(harm.fingerprint(shown))
    session.rollback()
    accept(harm.fingerprint(harm.warnings(session, piece, keys=None)))
    session.commit()
    kept = json.loads(session.scalars(select(HarmCheck)).one().warnings)
    assert [warning["where"] for warning in kept] == ["summary", "remark"]


def test_names_of_sources_are_noticed_in_every_public_field(record: Record, keys: Keyring) -> None:
    session = record.session
    source = sources.create(session, author=record.mona, now=record.tick())
    session.flush()
    session.add(SourceWord(source_id=source.id, hash=sources._hash("gulnara", keys)))
    session.commit()
    for field in ("title", "summary", "publisher", "place", "remark"):
        piece = record.submitted(record.first, **{field: "Seen by GULNARA there"})
        found = harm.warnings(session, piece, keys=keys)
        assert [(one.kind, one.where) for one in found] == [("name", field)]


def test_a_hidden_detail_that_stands_in_the_public_words_is_noticed(record: Record) -> None:
    session = record.session
    piece = record.submitted(
        record.first,
        summary="In Upper Mill, near the river, 阿依古丽 was seen.",
        date_precision=Precision.DAY,
    )
    piece.details = [
        EvidenceDetail(detail=detail, visibility=Visibility.RESTRICTED, value=value)
        for detail, value in (
            (Detail.EXACT_PLACE, "upper  mill, house 7"),
            (Detail.NAMES, "Aygul\n阿依古丽"),
            (Detail.EXACT_DATE, "14 May 2025, at six"),
        )
    ]
    session.commit()
    found = {(one.kind, one.excerpt) for one in harm.warnings(session, piece, keys=None)}
    assert found == {("hidden", "upper  mill"), ("hidden", "阿依古丽"), ("date", "2025-05-14")}
    piece.date_precision, piece.summary = Precision.MONTH, "In the Lower Valley; the upper millers came."
    session.commit()
    assert harm.warnings(session, piece, keys=None) == []


def test_what_the_original_of_a_public_copy_tells_is_noticed(record: Record, now: dt.datetime) -> None:
    session = record.session
    piece = record.submitted(record.first)
    found = {"traces": [{"what": "gps", "value": "39.4, 75.9"}, {"what": "thumbnail", "value": "yes"}]}
    exhibit = Exhibit(
        evidence=piece, salt="0" * 64, size=1, kind=FileKind.JPEG, name="camp.jpg",
        examined=json.dumps(found), uploaded_at=now,
    )  # fmt: skip
    session.add(exhibit)
    session.commit()
    assert harm.warnings(session, piece, keys=None) == []  # Nobody outside sees the original.

    session.execute(text("INSERT INTO blob (sha256, size, kept_at) VALUES (:name, 1, :at)"), {"name": "a" * 64, "at": now.replace(tzinfo=None)})  # fmt: skip
    copy = PublicCopy(
        exhibit=exhibit, sha256="a" * 64, size=1, kind=FileKind.PNG, method=CopyMethod.PIXELS,
        description="A road to 39.46771, 75.99382.", made_by_id=record.mona.id, made_at=now,
    )  # fmt: skip
    session.add(copy)
    session.commit()
    assert [(one.kind, one.where) for one in harm.warnings(session, piece, keys=None)] == [
        ("coordinates", "description"),
        ("file", "camp.jpg"),
    ]
    # A copy that a person cleaned may hold all that the original holds.
    copy.method, copy.description = CopyMethod.CLEANED, "A road."
    session.commit()
    assert len([one for one in harm.warnings(session, piece, keys=None) if one.kind == "file"]) == 2


def test_harmless_words_raise_no_warning(record: Record) -> None:
    piece = record.submitted(record.first, place="Lower Valley")
    assert harm.warnings(record.session, piece, keys=None) == []
    assert evidence.accept(record.session, piece, reviewer=record.rafa, harm=HARMLESS, now=record.tick())
