"""Sources and consent in the browser: who sees what, and that taking back a consent reaches every public page."""

from __future__ import annotations

import datetime as dt
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.functional.test_leaks import public_addresses
from tests.mail import compose, follower, parts, unsent
from tests.published import Record
from tracker import jobs
from tracker.config import Config
from tracker.keyring import Keyring
from tracker.models import Account, Consent, Custodian, Evidence, Source, SourceRecord
from tracker.services import consents, ledger, sources
from tracker.vocabulary import ConsentScope, Role, State, Visibility

As = Callable[[Account], Client]
MARK = "Ayla-of-Lower-Hesk"


class People(Record):
    """A record with one public testimony about which everything carries a mark."""

    def testimony(self, **values: Any) -> Evidence:
        words = {"title": MARK, "summary": f"{MARK} told us.", "from_person": True}
        return self.submitted(self.first, self.first.clauses[0], **(words | values))

    def agree(self, piece: Evidence, **values: Any) -> Consent:
        given: dict[str, Any] = {
            "scope": ConsentScope.ANONYMOUS,
            "given_on": self.now.date(),
            "language": "Arvenian",
        } | values
        line = consents.record(self.session, piece, consents.Fields(**given), author=self.mona, now=self.now)
        self.session.commit()
        return line

    def published(self, **values: Any) -> Evidence:
        piece = self.testimony(**values)
        self.agree(piece)
        return self.accept(piece)


@pytest.fixture
def record(session: Session, make: Factory, now: dt.datetime) -> People:
    return People(session, make, now)


def told(client: Client, app: Flask, record: Record) -> list[str]:
    """The public addresses that tell the mark."""
    found = []
    for address in public_addresses(app, record):
        for query in ("", "?as_of=2030-01-01") if "<" not in address else ("",):
            if MARK in answer(client, address + query):
                found.append(address)
    return found


def answer(client: Client, address: str) -> str:
    """What an address gives: its headers and its words, also those inside a downloaded archive."""
    response = client.http.get(address, buffered=True)
    content = response.get_data()
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            content = b"".join(name.encode() + archive.read(name) for name in archive.namelist())
    return content.decode(errors="replace") + str(response.headers)


def of(browser: Client, address: str, end: str) -> int:
    """The place of the form that is sent to an address with this end."""
    forms = browser.get(address).forms
    return next(place for place, form in enumerate(forms) if str(form["action"] or address).endswith(end))


def custodian(session: Session, now: dt.datetime, count: int = 2) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    for number in range(count):
        key = X25519PrivateKey.generate().public_key().public_bytes_raw()
        session.add(Custodian(name=f"Custodian {number}", public_key=key, added_at=now))
    session.commit()


def test_withdrawing_a_consent_takes_the_evidence_from_everything_public(
    record: People,
    app: Flask,
    client: Client,
    as_somebody: As,
    keys: Keyring,
    config: Config,
    now: dt.datetime,
) -> None:
    piece = record.published()
    session = record.session
    reader = follower(session, keys, config, now)
    reader.seen_seq = 0
    session.commit()
    moment = reader.next_due_at
    assert moment is not None
    with app.app_context():
        compose(session, keys, config, moment)

    def mail() -> str:
        with app.app_context():
            return "".join(part for message in unsent(session, config, moment) for part in parts(message))

    assert MARK in mail()
    before = told(client, app, record)
    assert len(before) > 4
    assert {"/changes.json", "/changes.atom", "/evidence/1"} <= set(before)
    session.rollback()

    mona, page = as_somebody(record.mona), f"/workspace/evidence/{piece.key}"
    link = next(link for link in mona.get(page).links if link.endswith("/withdrawal"))
    assert "The evidence is public." in mona.get(link).text
    with time_machine.travel(record.tick(), tick=False):
        mona = as_somebody(record.mona)
        mona.send(link, {})
        assert "taken back everywhere" in mona.get(page).text

    assert told(client, app, record) == []
    public = client.get("/evidence/1").text
    assert "Withdrawn to protect people." in public
    assert "onsent" not in public
    session.rollback()
    session.expire_all()
    for line in ledger.public_lines(session, origin="test", public_key=keys.ledger_public_key):
        assert MARK not in json.dumps(line)
    assert MARK not in mail()


def test_the_clock_takes_back_what_ran_out(record: People, app: Flask, client: Client, keys: Keyring) -> None:
    piece = record.testimony()
    last = record.now.date() + dt.timedelta(days=10)
    record.agree(piece, expires_on=last)
    record.accept(piece)
    noon = dt.datetime.combine(last, dt.time(12), dt.UTC)
    assert jobs.tick(app, noon)["consents expired"] == 0
    assert told(client, app, record)
    assert jobs.tick(app, noon + dt.timedelta(days=1))["consents expired"] == 1
    assert told(client, app, record) == []
    assert jobs.tick(app, noon + dt.timedelta(days=2))["consents expired"] == 0


def test_a_reviewer_cannot_accept_without_consent_and_is_told_so(record: People, as_somebody: As) -> None:
    piece = record.testimony()
    rafa, page = as_somebody(record.rafa), f"/workspace/evidence/{piece.key}"
    assert "This cannot be public:" in rafa.get(page).text
    fields = dict(rafa.get(page).forms[of(rafa, page, "/decision")]["fields"])
    answers = dict.fromkeys(("person", "relative", "place", "source", "count", "detail"), "no")
    data = fields | answers | {f"harm-{name}": "no" for name in answers} | {"decision": "accept"}
    response = rafa.post(f"{page}/decision", data, 422)
    assert "A person gave this." in response.get_data(as_text=True)
    record.session.rollback()
    record.session.expire_all()
    assert piece.state is State.SUBMITTED


def test_a_consent_is_recorded_and_shown_to_the_team_only(
    record: People, as_somebody: As, client: Client
) -> None:
    piece = record.testimony()
    mona, page = as_somebody(record.mona), f"/workspace/evidence/{piece.key}"
    wrong = mona.send(f"{page}/consents/new", {"scope": "anonymous", "note": "By telephone"}, status=422)
    html = wrong.get_data(as_text=True)
    assert "Enter the day on which they agreed." in html
    assert "Enter the language in which it was explained" in html
    assert "By telephone" in html  # Nothing typed is lost.
    given = {
        "scope": "anonymous", "given_on-day": "2", "given_on-month": "3", "given_on-year": "2025",
        "expires_on-day": "1", "expires_on-month": "1", "expires_on-year": "2031", "language": "Arvenian",
        "note": "By telephone",
    }  # fmt: skip
    mona.send(f"{page}/consents/new", given)
    told = mona.get(page).text
    for words in (
        "May be published without a name",
        "2 Mar 2025",
        "holds until",
        "Arvenian",
        "By telephone",
        "Mona Hidden-Name",
    ):
        assert words in told, words
    assert "agreed that it may be public" in told
    assert "no such source" in mona.send(
        f"{page}/consents/new", given | {"pseudonym": "S-0000"}, status=422
    ).get_data(as_text=True)
    [line] = record.session.scalars(select(Consent))
    assert line.expires_on == dt.date(2031, 1, 1)


@pytest.mark.parametrize(
    "fill",
    [
        {"withdrawn_on-year": "1999"},
        {"withdrawn_on-day": "", "withdrawn_on-month": "", "withdrawn_on-year": ""},
    ],
)
def test_a_withdrawal_with_an_impossible_day_changes_nothing(
    record: People, as_somebody: As, fill: dict[str, str]
) -> None:
    piece = record.published()
    line = piece.consents[0]
    mona = as_somebody(record.mona)
    mona.send(f"/workspace/evidence/{piece.key}/consents/{line.key}/withdrawal", fill, status=422)
    record.session.rollback()
    record.session.expire_all()
    assert (line.withdrawn_on, piece.state) == (None, State.ACCEPTED)


def test_who_does_not_see_the_evidence_reaches_neither_consents_nor_sources(
    record: People, as_somebody: As, make: Factory, client: Client
) -> None:
    piece = record.testimony(visibility=Visibility.RESTRICTED)
    other = record.testimony(visibility=Visibility.TEAM)
    line = record.agree(piece)
    source = sources.create(record.session, author=record.mona, now=record.now)
    sources.link(record.session, piece, source, account=record.mona, now=record.now)
    record.session.commit()
    base, name = f"/workspace/evidence/{piece.key}", source.pseudonym
    gets = [
        f"{base}/consents/new",
        f"{base}/consents/{line.key}/withdrawal",
        f"{base}/sources",
        f"/workspace/sources/{name}",
    ]
    posts = [
        f"{base}/sources/new", f"{base}/sources/{name}/unlink", f"/workspace/sources/{name}/identity",
        f"/workspace/sources/{name}/names", f"/workspace/sources/{name}/erasure",
        f"/workspace/sources/{name}/erasure/refusal", f"/workspace/sources/{name}/erasure/confirmation",
    ]  # fmt: skip
    stranger, admin = as_somebody(record.rafa), as_somebody(make.account(Role.ADMIN))
    token = dict(stranger.get(f"/workspace/evidence/{other.key}/sources").forms[-1]["fields"])
    assert name not in stranger.get("/workspace/sources").text
    for address in gets:
        stranger.get(address, 404)
        admin.get(address, 403)
        assert client.http.get(address).status_code == 303
    for address in [*gets[:3], *posts]:
        stranger.post(address, token, 404)
        assert client.http.post(address).status_code in (400, 401)
    # One evidence's consent is not reached through another's address; an unseen pseudonym cannot be linked.
    stranger.get(f"/workspace/evidence/{other.key}/consents/{line.key}/withdrawal", 404)
    refused = stranger.post(f"/workspace/evidence/{other.key}/sources", token | {"pseudonym": name}, 422)
    assert "no such source, or you do not see it" in refused.get_data(as_text=True)
    record.session.rollback()
    record.session.expire_all()
    assert (line.withdrawn_on, source.erased_at, other.sources) == (None, None, [])


def test_an_identity_is_sealed_and_no_page_shows_it_again(
    record: People, as_somebody: As, session: Session
) -> None:
    custodian(session, record.now)
    mona = as_somebody(record.mona)
    page = mona.send("/workspace/sources", {}).headers["Location"]
    told = mona.get(page)
    assert "Custodian 0" in told.text
    assert "These custodians will be able to open it" in told.text
    form = of(mona, page, "/identity")
    assert "Enter something" in mona.send(page, {"contact": " "}, form=form, status=422).get_data(
        as_text=True
    )
    fill = {"name": MARK, "contact": MARK, "safe_contact": MARK, "notes": MARK, "words": MARK}
    mona.send(page, fill, form=form)
    for address in (page, "/workspace/sources"):
        assert MARK not in mona.http.get(address).get_data(as_text=True)
    assert "Version 1" in mona.get(page).text
    assert len(session.scalars(select(SourceRecord)).all()) == 2


def test_with_too_few_custodians_the_page_says_what_to_ask_for(
    record: People, as_somebody: As, session: Session
) -> None:
    custodian(session, record.now, 1)
    mona = as_somebody(record.mona)
    page = mona.send("/workspace/sources", {}).headers["Location"]
    assert "Nothing can be entered yet:" in mona.get(page).text
    response = mona.send(page, {"name": MARK}, form=of(mona, page, "/identity"), status=422)
    html = response.get_data(as_text=True)
    assert "tracker custody add" in html
    assert MARK in html  # Nothing typed is lost.
    assert session.scalars(select(SourceRecord)).all() == []


def test_sources_are_linked_and_unlinked_in_the_browser(
    record: People, as_somebody: As, session: Session
) -> None:
    piece = record.testimony(visibility=Visibility.TEAM)
    mona, page = as_somebody(record.mona), f"/workspace/evidence/{piece.key}/sources"
    made = mona.send(page, {}, form=of(mona, page, "/sources/new")).headers["Location"]
    pseudonym = made.rpartition("/")[2]
    assert MARK in mona.get(made).text  # The evidence that comes from it.
    assert "linked already" in mona.send(page, {"pseudonym": pseudonym.lower()}, status=422).get_data(
        as_text=True
    )
    assert "no such source" in mona.send(page, {"pseudonym": "S-0000"}, status=422).get_data(as_text=True)
    assert pseudonym in as_somebody(record.rafa).get(f"/workspace/evidence/{piece.key}").text
    mona.send(page, {}, form=of(mona, page, "/unlink"))
    links = mona.get(f"/workspace/evidence/{piece.key}").links
    assert not [link for link in links if link.endswith(pseudonym)]
    mona.send(page, {"pseudonym": pseudonym})
    session.rollback()
    session.expire_all()
    assert [source.pseudonym for source in piece.sources] == [pseudonym]


def test_two_people_erase_a_source_in_the_browser(
    record: People, as_somebody: As, session: Session, make: Factory
) -> None:
    custodian(session, record.now)
    mona, rafa = as_somebody(record.mona), as_somebody(record.rafa)
    page = mona.send("/workspace/sources", {}).headers["Location"]
    mona.send(page, {"name": MARK, "words": "Ayla"}, form=of(mona, page, "/identity"))
    rafa.get(page, 404)
    mona.send(page, {}, form=of(mona, page, "/erasure"))
    assert not [form for form in mona.get(page).forms if str(form["action"]).endswith("/confirmation")]
    assert "To be erased" in rafa.get("/workspace/sources").text
    rafa.send(page, {}, form=of(rafa, page, "/refusal"))
    mona.send(page, {}, form=of(mona, page, "/erasure"))
    rafa.send(page, {}, form=of(rafa, page, "/confirmation"))
    told = mona.get(page).text
    assert "Erased on" in told
    assert "Seal it" not in told
    assert session.scalars(select(SourceRecord)).all() == []
    assert session.scalars(select(Source)).one().erased_at is not None


def test_watched_names_can_be_forgotten_in_the_browser(
    record: People, as_somebody: As, session: Session
) -> None:
    custodian(session, record.now)
    mona = as_somebody(record.mona)
    page = mona.send("/workspace/sources", {}).headers["Location"]
    mona.send(page, {"name": "x", "words": "Ayla\nSarik"}, form=of(mona, page, "/identity"))
    mona.send(page, {}, form=of(mona, page, "/names"))
    assert "No name of this source is watched any more." in mona.get(page).text


def test_no_public_page_knows_a_pseudonym_or_a_consent(
    record: People, app: Flask, client: Client, session: Session
) -> None:
    piece = record.testimony()
    source = sources.create(session, author=record.mona, now=record.now)
    sources.link(session, piece, source, account=record.mona, now=record.now)
    record.agree(piece, note="SECRET-NOTE", language="SECRET-LANGUAGE", source_id=source.id)
    record.accept(piece)
    for address in public_addresses(app, record):
        html = answer(client, address)
        for hidden in (source.pseudonym, source.key, "SECRET-"):
            assert hidden not in html, address
