"""What no browser of ours would send: answered with a page and a sentence, alike on both databases, never with 500."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote_plus, urlencode

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import Record
from tracker.models import Account, Evidence, Finding, Reply
from tracker.vocabulary import Grade, Role, State

As = Callable[[Account], Client]

HOSTILE = {
    "NUL": "a\x00b",
    "no UTF-8": "a\udcff\u202eb",
    "huge number": "9" * 40,
    "long": "ü" * 40_000,
    "header lines": "=?utf-8?q?x=0D=0ABcc:_spy=40arvenia.example?=\r\nBcc: spy@arvenia.example",
}


@pytest.fixture
def record(session: Session, make: Factory, now: object) -> Record:
    found = Record(session, make, now)  # type: ignore[arg-type]
    piece = found.evidence(found.first)
    found.finding(found.second, None, Grade.C, piece)
    found.reply(found.second)
    found.submitted(found.first)
    make.evidence(found.first, created_by_id=found.mona.id)
    return found


def forms_of(record: Record, as_somebody: As, client: Client, make: Factory) -> list[tuple[Client, str, int]]:
    """(who, page, which form) of every kind of POST form there is."""
    session = record.session
    mona, rafa = as_somebody(record.mona), as_somebody(record.rafa)
    admin = as_somebody(make.account(Role.ADMIN))
    submitted = session.scalars(select(Evidence.key).where(Evidence.state == State.SUBMITTED)).first()
    accepted = session.scalars(select(Evidence.key).where(Evidence.state == State.ACCEPTED)).first()
    draft = session.scalars(select(Evidence.key).where(Evidence.state == State.DRAFT)).first()
    finding = session.scalars(select(Finding.key)).first()
    reply = session.scalars(select(Reply.key)).first()
    return [
        (client, "/sign-in", -1),
        (client, "/follow", -1),
        (client, "/follow/mailbox", -1),
        (mona, "/workspace/evidence/new", -1),
        (mona, "/workspace/findings/new?recommendation=lower-valley/88-b", -1),
        (mona, "/workspace/findings/new?recommendation=lower-valley/88-a", -1),
        (mona, "/workspace/replies/new", -1),
        (mona, f"/workspace/evidence/{draft}/edit", -1),
        (rafa, f"/workspace/evidence/{submitted}", -1),
        (rafa, f"/workspace/evidence/{accepted}", -1),
        (rafa, f"/workspace/findings/{finding}", -1),
        (rafa, f"/workspace/replies/{reply}", -1),
        (mona, "/account", 1),
        (mona, "/account", 2),
        (admin, "/people", -1),
        (admin, "/people", 1),
    ]


#: What the two databases treat differently is tried on both, what only the forms see on one.
DIFFERENT = ("NUL", "no UTF-8", "huge number")


@pytest.mark.parametrize("kind", DIFFERENT)
def test_every_field_of_every_form_takes_anything_and_answers_with_a_page(
    kind: str, record: Record, as_somebody: As, client: Client, make: Factory
) -> None:
    check_every_field(kind, record, as_somebody, client, make)


@pytest.mark.only("sqlite")
@pytest.mark.parametrize("kind", sorted(HOSTILE.keys() - set(DIFFERENT)))
def test_every_field_of_every_form_takes_what_is_long_or_meant_for_mails(
    kind: str, record: Record, as_somebody: As, client: Client, make: Factory
) -> None:
    check_every_field(kind, record, as_somebody, client, make)


def check_every_field(kind: str, record: Record, as_somebody: As, client: Client, make: Factory) -> None:
    value = HOSTILE[kind].encode("utf-8", "surrogateescape")
    wrong: list[tuple[object, ...]] = []
    for who, address, number in forms_of(record, as_somebody, client, make):
        form = who.get(address).forms[number]
        assert form["method"] == "post", address
        names = [name for name, _ in form["fields"]]
        others = ["decision", "targets", "evidence_ids", "act", "version", "visibility", "role"]
        for name in dict.fromkeys([*names, *others]):
            if name == "form_token":
                continue
            data = {key: old for key, old in form["fields"] if key != name} | {
                "decision": "maybe",
                "reason": "",
            }
            data.pop(name, None)
            body = f"{urlencode(data)}&{name}={quote_plus(value)}"
            response = who.http.post(
                form["action"] or address, data=body, content_type="application/x-www-form-urlencoded"
            )
            if response.status_code not in (200, 303, 400, 401, 404, 409, 422, 429):
                wrong.append((address, name, response.status_code))
            elif "\x00" in response.get_data(as_text=True):
                wrong.append((address, name, "NUL in the page"))
    assert not wrong, wrong[:40]
    session = record.session
    session.rollback()
    for model, column in ((Evidence, Evidence.title), (Reply, Reply.author), (Account, Account.name)):
        for text in session.scalars(select(column).select_from(model)):
            assert not {"\x00", "\u202e", "\r", "\n"} & set(text)


ADDRESSES = (
    "/", "/changes", "/changes.atom", "/changes.json", "/ledger", "/ledger/entries", "/method", "/follow",
    "/reports/lower-valley", "/reports/lower-valley.atom", "/reports/lower-valley/88-a", "/evidence/1", "/sign-in",
    "/digests", "/health", "/workspace", "/workspace/evidence/new", "/workspace/findings/new", "/people",
)  # fmt: skip
QUERIES = (
    "x=%00", "x=\xff\xfe", "before=%ff", "after=99999999999999999999", "before=-1", "report=%ED%A0%80",
    "recommendation=%00/%00", "recommendation=a/b/c", "next=//evil.example", "a=1&" * 3000, "=&=&&&%", "x=%0b%1f",
    "report=%F0%9F%92%A9&correct=%27%22", "clause=%27",
)  # fmt: skip


def test_any_query_is_answered(record: Record, client: Client, as_somebody: As) -> None:
    mona = as_somebody(record.mona)
    wrong: list[tuple[object, ...]] = []
    for address in ADDRESSES:
        for query in QUERIES:
            for who in (client, mona):
                response = who.http.get(address, environ_overrides={"QUERY_STRING": query})
                if response.status_code not in (200, 303, 400, 403, 404) and address != "/health":
                    wrong.append((address, query[:30], response.status_code))
    assert not wrong, wrong[:40]
