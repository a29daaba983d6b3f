"""Attaching a file, making its public copy, releasing it, looking at it, withdrawing it: over HTTP."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests import files
from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM, Record
from tracker.config import Config
from tracker.models import Account, Blob, CustodyLine, Evidence, Exhibit, LedgerEntry, PublicCopy
from tracker.services import audit
from tracker.storage import open_store
from tracker.vocabulary import CustodyAction, EntryKind, Role, Visibility

As = Callable[[Account], Client]


@pytest.fixture
def record(session: Session, make: Factory, now: Any) -> Record:
    return Record(session, make, now)


def attach(
    client: Client, piece: Evidence, content: bytes, name: str = "photo.jpg", status: int = 303, **more: Any
) -> Any:
    address = f"/workspace/evidence/{piece.key}/exhibits/new"
    form = client.get(address).forms[-1]
    fields = {field: value for field, value in form["fields"] if field != "file"} | more
    return send_file(client, form["action"], fields, content, name, status)


def send_file(
    client: Client, address: str, fields: dict[str, Any], content: bytes, name: str, status: int
) -> Any:
    """As a browser sends it."""
    boundary, body = encode_multipart({**fields, "file": FileStorage(io.BytesIO(content), name)})
    return client.post(address, body, status, content_type=f"multipart/form-data; boundary={boundary}")


def publish(record: Record, piece: Evidence) -> int:
    """Accept it as a reviewer does, and give its number."""
    record.session.rollback()
    record.session.expire_all()
    number = record.accept(piece).number
    assert number is not None
    return number


def make_copy(client: Client, exhibit: Exhibit, description: str = "A gate of a quarry.") -> None:
    client.send(
        f"/workspace/exhibits/{exhibit.key}",
        {"description": description},
        form=form_of(client, exhibit, "/copies"),
    )


def form_of(client: Client, exhibit: Exhibit, ending: str) -> int:
    forms = client.get(f"/workspace/exhibits/{exhibit.key}").forms
    client_index = [place for place, form in enumerate(forms) if (form["action"] or "").endswith(ending)]
    return client_index[0]


def only(session: Session, model: Any) -> Any:
    session.rollback()
    session.expire_all()
    return session.scalars(select(model)).one()


def test_a_file_goes_from_the_monitor_to_the_public_as_another_file(
    record: Record, as_somebody: As, client: Client, session: Session, config: Config
) -> None:
    mona = as_somebody(record.mona)
    photo = files.telling_jpeg()
    piece = record.submitted(record.first)
    attach(mona, piece, photo)
    exhibit: Exhibit = only(session, Exhibit)
    assert exhibit.sha256 == hashlib.sha256(photo).hexdigest()
    page = mona.get(f"/workspace/exhibits/{exhibit.key}")
    assert "photo.jpg" in page.text
    assert "Place (GPS)" in page.text
    assert "Device" in page.text
    make_copy(mona, exhibit)
    copy: PublicCopy = only(session, PublicCopy)
    assert copy.sha256 != exhibit.sha256
    number = publish(record, piece)

    shown = client.http.get(f"/evidence/{number}")
    assert "A gate of a quarry." in shown.get_data(as_text=True)
    address = f"/evidence/{number}/files/{copy.key}"
    assert address in shown.get_data(as_text=True)
    served = client.http.get(address)
    assert served.status_code == 200
    assert served.mimetype == "image/jpeg"
    assert hashlib.sha256(served.data).hexdigest() == copy.sha256
    assert files.CANARY.encode() not in served.data
    assert "Set-Cookie" not in served.headers
    assert client.http.get(address, headers={"If-None-Match": served.headers["ETag"]}).status_code == 304
    session.rollback()
    entry = session.scalars(select(LedgerEntry).where(LedgerEntry.kind == EntryKind.EVIDENCE_PUBLISHED)).one()
    assert copy.sha256 in entry.payload
    assert (exhibit.sha256 or "") not in entry.payload
    actions = [line.action for line in session.scalars(select(CustodyLine).order_by(CustodyLine.id))]
    assert actions == [CustodyAction.UPLOADED, CustodyAction.COPIED, CustodyAction.RELEASED]


def test_what_is_not_released_cannot_be_reached_by_the_public(
    record: Record, as_somebody: As, client: Client, session: Session
) -> None:
    mona = as_somebody(record.mona)
    piece = record.evidence(record.first)
    attach(mona, piece, files.jpeg())
    exhibit: Exhibit = only(session, Exhibit)
    make_copy(mona, exhibit)
    copy: PublicCopy = only(session, PublicCopy)
    address = f"/evidence/{piece.number}/files/{copy.key}"
    client.get(address, 404)
    for path in (
        f"exhibits/{exhibit.key}/original",
        f"exhibits/{exhibit.key}/preview.jpg",
        f"copies/{copy.key}/file",
    ):
        assert client.http.get(f"/workspace/{path}").status_code == 303
    rafa = as_somebody(record.rafa)
    rafa.send(f"/workspace/copies/{copy.key}/release", {}, status=422)
    client.get(address, 404)
    rafa.send(f"/workspace/copies/{copy.key}/release", NO_HARM)
    assert client.http.get(address).status_code == 200
    rafa.send(
        f"/workspace/exhibits/{exhibit.key}",
        {"reason": "A face can be seen."},
        form=form_of(rafa, exhibit, "/withdrawal"),
    )
    client.get(address, 404)
    assert "A face can be seen." in client.get(f"/evidence/{piece.number}").text
    # What it showed is told to nobody any more, and the chain still verifies.
    for address in (
        f"/evidence/{piece.number}",
        "/changes",
        "/changes.json",
        "/changes.atom",
        "/ledger/entries",
    ):
        assert "A gate of a quarry." not in client.http.get(address, buffered=True).get_data(as_text=True)
    session.rollback()
    kinds = [entry.kind for entry in session.scalars(select(LedgerEntry).order_by(LedgerEntry.seq))]
    assert kinds[-2:] == [EntryKind.EXHIBIT_PUBLISHED, EntryKind.EVIDENCE_CORRECTED]
    assert list(audit.problems(session)) == []


def test_who_made_a_copy_cannot_release_it(record: Record, as_somebody: As, session: Session) -> None:
    rafa = as_somebody(record.rafa)
    piece = record.evidence(record.first)
    attach(rafa, piece, files.jpeg())
    exhibit: Exhibit = only(session, Exhibit)
    make_copy(rafa, exhibit)
    copy: PublicCopy = only(session, PublicCopy)
    token = dict(rafa.get(f"/workspace/exhibits/{exhibit.key}").forms[-1]["fields"])["form_token"]
    rafa.post(f"/workspace/copies/{copy.key}/release", {"form_token": token, "seen": copy.sha256}, 403)
    assert only(session, PublicCopy).released_at is None


def test_colleagues_who_may_not_see_the_evidence_may_not_know_of_its_exhibits(
    record: Record, as_somebody: As, make: Factory, session: Session
) -> None:
    piece = record.submitted(record.first, visibility=Visibility.RESTRICTED)
    attach(as_somebody(record.mona), piece, files.jpeg())
    attach(as_somebody(record.mona), record.submitted(record.first), files.jpeg(), "other.jpg")
    session.rollback()
    hidden, other = session.scalars(select(Exhibit).order_by(Exhibit.id))
    session.rollback()
    stranger = as_somebody(make.account(Role.MONITOR))
    for path in ("", "/original", "/preview.jpg"):
        stranger.get(f"/workspace/exhibits/{hidden.key}{path}", 404)
    stranger.get(f"/workspace/evidence/{piece.key}/exhibits/new", 404)
    # The same file is no oracle either: only who may see the other one is told.
    assert "The same file" not in stranger.get(f"/workspace/exhibits/{other.key}").text
    assert "The same file" in as_somebody(record.mona).get(f"/workspace/exhibits/{other.key}").text


def test_the_same_file_twice_is_one_blob_and_is_said(
    record: Record, as_somebody: As, session: Session
) -> None:
    mona = as_somebody(record.mona)
    first, second = record.submitted(record.first), record.submitted(record.second)
    content = files.pdf()
    attach(mona, first, content, "a.pdf")
    attach(mona, second, content, "b.pdf")
    assert only(session, Blob).size == len(content)
    keys = session.scalars(select(Exhibit.key).order_by(Exhibit.id)).all()
    session.rollback()
    assert first.title in mona.get(f"/workspace/exhibits/{keys[1]}").text


def test_the_same_address_in_two_pieces_is_said(record: Record, as_somebody: As, session: Session) -> None:
    mona = as_somebody(record.mona)
    first, second = record.submitted(record.first), record.submitted(record.second)
    second.links[0].url = first.links[0].url
    session.commit()
    assert first.title in mona.get(f"/workspace/evidence/{second.key}").text
    first.visibility = Visibility.RESTRICTED
    first.created_by_id = record.rafa.id
    session.commit()
    assert "same address" not in mona.get(f"/workspace/evidence/{second.key}").text


def test_originals_are_downloaded_as_attachments_in_a_sandbox_and_that_is_noted(
    record: Record, as_somebody: As, session: Session
) -> None:
    mona = as_somebody(record.mona)
    piece = record.submitted(record.first)
    attach(mona, piece, files.jpeg(), "a'b\u202egpj.exe;.jpg")
    exhibit: Exhibit = only(session, Exhibit)
    assert not set(exhibit.name) & set("\u202e")
    session.rollback()
    response = mona.http.get(f"/workspace/exhibits/{exhibit.key}/original")
    assert response.data == files.jpeg()
    assert response.mimetype == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert response.headers["Cache-Control"] == "no-store"
    assert mona.http.get(f"/workspace/exhibits/{exhibit.key}/preview.jpg?shown=1").mimetype == "image/jpeg"
    session.rollback()
    lines = session.scalars(select(CustodyLine).order_by(CustodyLine.id)).all()
    assert [line.action for line in lines] == [
        CustodyAction.UPLOADED, CustodyAction.DOWNLOADED, CustodyAction.VIEWED,
    ]  # fmt: skip
    assert {line.account_id for line in lines} == {record.mona.id}
    assert {line.sha256 for line in lines} == {exhibit.sha256}


def test_distressing_pictures_stay_grey_and_blurred_until_somebody_asks(
    record: Record, as_somebody: As, session: Session
) -> None:
    mona = as_somebody(record.mona)
    attach(mona, record.submitted(record.first), files.jpeg(), distressing="y")
    exhibit: Exhibit = only(session, Exhibit)
    page = mona.http.get(f"/workspace/exhibits/{exhibit.key}").get_data(as_text=True)
    assert f'/workspace/exhibits/{exhibit.key}/preview.jpg"' in page
    assert "preview.jpg?shown=1" not in page
    blurred = mona.http.get(f"/workspace/exhibits/{exhibit.key}/preview.jpg").data
    clear = mona.http.get(f"/workspace/exhibits/{exhibit.key}/preview.jpg?shown=1").data
    assert blurred != clear
    session.rollback()
    actions = [line.action for line in session.scalars(select(CustodyLine))]
    assert actions == [CustodyAction.UPLOADED, CustodyAction.VIEWED]


def test_what_is_refused_leaves_nothing_behind_and_is_said_at_the_field(
    record: Record, as_somebody: As, session: Session, config: Config
) -> None:
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    for content, name in (
        (b"", "empty.jpg"), (b"<svg/>", "x.svg"), (b"MZ\x90", "x.exe"), (files.png(), "x.jpg"),
        (b"not a picture", "x.jpg"), (files.flood_png(), "flood.png"), (files.bomb(), "bomb.zip"),
    ):  # fmt: skip
        response = attach(mona, piece, content, name, 422)
        page = mona.inspect(response)
        assert "Error:" in page.text, name
        assert 'href="#file"' in response.get_data(as_text=True)
    session.rollback()
    assert session.scalars(select(Exhibit)).all() == []
    assert session.scalars(select(Blob)).all() == []
    assert not list(open_store(config).names())
    assert not list(config.incoming_path.iterdir())


def test_a_file_over_the_limit_is_refused_before_and_while_it_is_read(
    record: Record, as_somebody: As, session: Session, app: Flask, config: Config
) -> None:
    app.extensions["settings"] = config.model_copy(update={"exhibit_max_mb": 1})
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    for size in (1024 * 1024 + 1, 3 * 1024 * 1024):
        response = attach(mona, piece, b"x" * size, "long.txt", 413)
        assert "larger than 1 MB" in mona.inspect(response).text
    assert not list(config.incoming_path.iterdir())
    assert attach(mona, piece, b"Arvenia\n" * 1000, "short.txt")


def test_one_person_may_not_upload_more_than_their_share_in_a_day(
    record: Record, as_somebody: As, session: Session, app: Flask, config: Config
) -> None:
    app.extensions["settings"] = config.model_copy(update={"exhibit_max_mb": 1, "exhibit_daily_mb": 1})
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    attach(mona, piece, b"Arvenia\n" * 90_000, "one.txt")
    assert (
        "more than the 1 MB" in mona.inspect(attach(mona, piece, b"Arvenya\n" * 90_000, "two.txt", 422)).text
    )
    attach(as_somebody(record.rafa), piece, b"Arvenya\n" * 90_000, "two.txt")


def test_a_public_copy_that_is_made_here_counts_for_the_same_share_and_needs_the_same_room(
    record: Record, as_somebody: As, session: Session, app: Flask, config: Config
) -> None:
    settings = config.model_copy(update={"exhibit_max_mb": 1, "exhibit_daily_mb": 1})
    app.extensions["settings"] = settings
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    # Noise does not pack, so that the copy is as large as the original.
    noise = io.BytesIO()
    Image.frombytes("RGB", (350, 350), os.urandom(350 * 350 * 3)).save(noise, "PNG", pnginfo=files.text())
    attach(mona, piece, noise.getvalue(), "noise.png")
    exhibit = only(session, Exhibit)
    make_copy(mona, exhibit)

    page = f"/workspace/exhibits/{exhibit.key}"
    again = {"description": "Noise."}
    refused = mona.send(page, again, form=form_of(mona, exhibit, "/copies"), status=422)
    assert "with this file it would be more than the 1 MB" in mona.inspect(refused).text
    assert "Noise." in mona.inspect(refused).text
    assert only(session, PublicCopy).exhibit_id == exhibit.id
    assert list(config.incoming_path.iterdir()) == []

    rafa = as_somebody(record.rafa)
    app.extensions["settings"] = settings.model_copy(update={"exhibit_free_percent": 100})
    full = rafa.send(page, again, form=form_of(rafa, exhibit, "/copies"), status=507)
    assert "disk is nearly full" in rafa.inspect(full).text
    app.extensions["settings"] = settings
    make_copy(rafa, exhibit)


def test_a_reviewer_who_looked_before_a_file_was_attached_must_look_again(
    record: Record, as_somebody: As, session: Session
) -> None:
    piece = record.submitted(record.first)
    seen = piece.version
    attach(as_somebody(record.mona), piece, files.jpeg())
    session.rollback()
    session.expire_all()
    assert piece.version > seen


def test_a_damaged_public_copy_is_shown_as_damaged_and_not_served(
    record: Record, as_somebody: As, client: Client, session: Session, config: Config
) -> None:
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    attach(mona, piece, files.jpeg())
    make_copy(mona, only(session, Exhibit))
    number = publish(record, piece)
    copy: PublicCopy = only(session, PublicCopy)
    address = f"/evidence/{number}/files/{copy.key}"
    assert client.http.get(address).status_code == 200
    etag = client.http.get(f"/evidence/{number}").headers["ETag"]
    assert copy.sha256 is not None
    stored = config.exhibits_path / copy.sha256[:2] / copy.sha256
    stored.chmod(0o600)
    stored.write_bytes(b"\x00" + stored.read_bytes()[1:])
    session.rollback()
    assert "damaged" in client.get(address, 410).text
    page = client.http.get(f"/evidence/{number}", headers={"If-None-Match": etag})
    assert page.status_code == 200
    assert "Damaged" in page.get_data(as_text=True)
    session.rollback()
    assert [line.action for line in session.scalars(select(CustodyLine))][-1] is CustodyAction.DAMAGED


def test_a_cleaned_copy_is_rebuilt_and_may_not_be_the_original(
    record: Record, as_somebody: As, session: Session, config: Config
) -> None:
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    attach(mona, piece, files.telling_docx(), "note.docx")
    exhibit: Exhibit = only(session, Exhibit)
    address = f"/workspace/exhibits/{exhibit.key}"
    session.rollback()

    def send(content: bytes, name: str, status: int) -> Any:
        fields = dict(mona.get(address).forms[form_of(mona, exhibit, "/cleaned")]["fields"])
        data = {"form_token": fields["form_token"], "description": "A note."}
        return send_file(mona, f"{address}/cleaned", data, content, name, status)

    told = mona.inspect(send(files.telling_docx(), "note.docx", 422)).text
    assert "still holds what a public copy must not" in told
    send(files.telling_jpeg(), "covered.jpg", 303)
    copy: PublicCopy = only(session, PublicCopy)
    assert copy.sha256 is not None
    assert files.CANARY.encode() not in b"".join(open_store(config).open(copy.sha256))
    assert not list(config.incoming_path.iterdir())


def test_a_withdrawn_piece_takes_its_files_from_the_public_at_once(
    record: Record, as_somebody: As, client: Client, session: Session
) -> None:
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    attach(mona, piece, files.jpeg())
    make_copy(mona, only(session, Exhibit))
    number = publish(record, piece)
    copy: PublicCopy = only(session, PublicCopy)
    assert client.http.get(f"/evidence/{number}/files/{copy.key}").status_code == 200
    session.rollback()
    session.expire_all()
    record.withdraw(piece)
    client.get(f"/evidence/{number}/files/{copy.key}", 404)
    assert "A gate of a quarry." not in client.get(f"/evidence/{number}").text


def test_the_progress_of_an_upload_is_a_page_that_asks_again_by_itself(
    record: Record, as_somebody: As, config: Config
) -> None:
    mona, piece = as_somebody(record.mona), record.submitted(record.first)
    address = f"/workspace/evidence/{piece.key}/exhibits/progress/{'ab' * 8}"
    record.session.rollback()
    assert "Nothing is arriving" in mona.get(address).text
    config.incoming_path.mkdir(exist_ok=True)
    (config.incoming_path / f"{'ab' * 8}000004194304").write_bytes(b"x" * 2 * 1024 * 1024)
    response = mona.http.get(address)
    assert "2.0 MB of 4.0 MB" in mona.inspect(response).text
    assert 'http-equiv="refresh"' in response.get_data(as_text=True)
    mona.get(address.replace("abab", "..%2F"), 404)


def test_a_damaged_original_is_not_handed_out(record: Record, as_somebody: As, session: Session) -> None:
    mona = as_somebody(record.mona)
    attach(mona, record.submitted(record.first), files.jpeg())
    exhibit: Exhibit = only(session, Exhibit)
    exhibit.damaged_at = record.now
    session.commit()
    assert "no longer those" in mona.get(f"/workspace/exhibits/{exhibit.key}/original", 503).text
