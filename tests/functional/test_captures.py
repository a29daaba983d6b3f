"""A link becomes a capture: asked for on a page, fetched through a real proxy by the clock, shown on the evidence."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.functional.conftest import Client
from tests.published import NO_HARM
from tests.web import Internet, Site, Socks, answer, internet
from tracker import create_app, jobs
from tracker.config import Config
from tracker.models import Account, Capture, Evidence, Exhibit
from tracker.models.sealing import reseal
from tracker.services import captures
from tracker.vocabulary import CaptureState, CustodyAction, FileKind, Role, State, Visibility

ROOT = Path(__file__).resolve().parents[2]
As = Callable[[Account], Client]
HOST = "court.arvenia.example"
URL = f"http://{HOST}/register?id=7&utm_source=letter"
PAGE = '<title>Register</title><img src="/seal.png"><img src="/gone.png">'
DAY = dt.timedelta(days=1)


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Internet]:
    folder = tmp_path / "internet"
    folder.mkdir()
    with internet(folder) as found:
        yield found


@pytest.fixture
def site(net: Internet) -> Site:
    pages = {"/register?id=7&utm_source=letter": answer(PAGE), "/seal.png": answer(b"seal", "image/png")}
    return net.site(pages, HOST)


@pytest.fixture
def proxy(net: Internet, site: Site) -> Socks:
    return net.proxy({HOST: site})


@pytest.fixture
def config(make_config: Callable[..., Config], database_url: str, proxy: Socks) -> Config:
    return make_config(
        database_url=database_url, capture="proxy", capture_proxy=proxy.url, capture_delay_minutes=30
    )


@pytest.fixture
def evidence(make: Factory, mona: Account, session: Session) -> Evidence:
    """Submitted by Mona, for the team."""
    report = make.report()
    found = make.evidence(
        report.recommendations[0],
        created_by_id=mona.id,
        state=State.SUBMITTED,
        visibility=Visibility.TEAM,
        submitted_at=make.now,
    )
    found.links[0].url = URL
    session.commit()
    return found


@pytest.fixture
def place(evidence: Evidence) -> str:
    return f"/workspace/evidence/{evidence.key}"


@pytest.fixture
def ask(as_somebody: As, mona: Account, evidence: Evidence, place: str) -> Callable[[], Client]:
    """Mona asks for the capture by the pages."""

    def ask() -> Client:
        client = as_somebody(mona)
        [link] = [link for link in client.get(place).links if "/captures/" in link]
        client.send(link, {})
        return client

    return ask


Ask = Callable[[], Client]


def only(session: Session) -> Capture:
    session.rollback()
    session.expire_all()
    return session.query(Capture).one()


def run_due(app: Flask, session: Session) -> str:
    """Let the clock pass the capture's moment, and capture it."""
    found = only(session)
    moment = found.run_after
    session.rollback()
    return " ".join(jobs.capture_due(app, moment))


# Before anything is asked for


def test_saving_looking_at_and_deciding_about_a_link_contacts_nobody(
    app: Flask, as_somebody: As, make: Factory, mona: Account, rafa: Account, net: Internet, proxy: Socks, session: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    contacted: list[str] = []
    look_up, connect = socket.getaddrinfo, socket.create_connection
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *what, **how: contacted.append(str(what)) or look_up(*what, **how)
    )
    monkeypatch.setattr(
        socket, "create_connection", lambda *what, **how: contacted.append(str(what)) or connect(*what, **how)
    )
    report = make.report()
    client = as_somebody(mona)
    client.send(
        f"/workspace/evidence/new?report={report.slug}",
        {
            "title": "Register", "summary": "It lists files.", "occurred-year": "2025", "publisher": "Court",
            "source_type": "media", "reliability": "B", "credibility": "2", "visibility": "public", "links": URL,
            f"bearings-c{report.recommendations[0].clauses[0].id}": "progress", "review": "1",
        },
    )  # fmt: skip
    session.rollback()
    found = session.query(Evidence).one()
    place = f"/workspace/evidence/{found.key}"
    session.rollback()
    client.get(place)
    client.get(f"{place}/captures/{found.links[0].id}")
    session.rollback()
    as_somebody(rafa).send(place, {"decision": "accept", **NO_HARM})
    session.rollback()
    number = session.query(Evidence).one().number
    session.rollback()
    assert URL in Client(app).http.get(f"/evidence/{number}").get_data(as_text=True).replace("&amp;", "&")
    jobs.tick(app, make.now + DAY)
    assert proxy.connections == net.canary.connections == 0
    assert [place for place in contacted if HOST in place] == []


def test_where_it_is_off_nothing_of_it_shows_and_nothing_can_be_asked(
    make_config: Callable[..., Config], database_url: str, mona: Account, evidence: Evidence, place: str, session: Session
) -> None:  # fmt: skip
    app = create_app(make_config(database_url=database_url))
    client = Client(app).sign_in(mona)
    link_id = evidence.links[0].id
    session.rollback()
    assert "apture" not in client.get(place).text
    assert "switched off" in client.get(f"{place}/captures/{link_id}", 403).text
    fields = dict(client.get("/account").forms[0]["fields"])
    client.post(f"{place}/captures/{link_id}", {"form_token": fields["form_token"]}, 403)
    assert session.query(Capture).count() == 0
    app.extensions["engine"].dispose()


def test_the_page_before_says_what_a_capture_shows_to_others(
    as_somebody: As, mona: Account, place: str, proxy: Socks
) -> None:
    client = as_somebody(mona)
    [link] = [link for link in client.get(place).links if "/captures/" in link]
    said = client.get(link).text
    assert f"Whoever runs {HOST} can see that somebody fetches this page." in said
    assert "random moment within the next 30 minutes" in said
    assert "through the proxy" in said
    assert "utm_source often follows people" in said
    assert "id often follows people" not in said
    assert proxy.connections == 0


def test_an_address_that_is_never_fetched_is_refused_with_a_sentence(
    as_somebody: As, mona: Account, evidence: Evidence, place: str, session: Session
) -> None:
    evidence.links[0].url = "http://192.168.1.1/admin"
    session.commit()
    client = as_somebody(mona)
    [link] = [link for link in client.get(place).links if "/captures/" in link]
    answered = client.send(link, {}, status=422)
    assert "private or special network" in answered.get_data(as_text=True)
    assert session.query(Capture).count() == 0


def test_nobody_asks_for_what_they_may_not_see(
    app: Flask, as_somebody: As, make: Factory, evidence: Evidence, place: str, session: Session
) -> None:
    evidence.visibility = Visibility.RESTRICTED
    session.commit()
    link_id = evidence.links[0].id
    session.rollback()
    for role, status in ((Role.MONITOR, 404), (Role.REVIEWER, 404), (Role.ADMIN, 403)):
        as_somebody(make.account(role)).get(f"{place}/captures/{link_id}", status)


def test_a_link_of_another_piece_is_not_found(
    as_somebody: As, mona: Account, make: Factory, evidence: Evidence, place: str
) -> None:
    other = make.evidence(evidence.bearings[0].recommendation, created_by_id=mona.id)
    link_id = other.links[0].id
    make.session.rollback()
    as_somebody(mona).get(f"{place}/captures/{link_id}", 404)


# What becomes of it


def test_a_capture_becomes_an_exhibit_whose_records_are_listed_with_their_digests_checked(
    app: Flask, ask: Ask, place: str, session: Session, site: Site, proxy: Socks
) -> None:
    client = ask()
    assert "Capture: Waiting" in client.get(place).text
    assert proxy.connections == 0
    assert run_due(app, session) == "captured"
    found = only(session)
    assert found.state is CaptureState.DONE
    exhibit = found.exhibit
    assert exhibit is not None
    assert exhibit.kind is FileKind.WARC
    assert exhibit.captured_from == URL
    assert exhibit.name.startswith(HOST)
    assert exhibit.uploaded_by_id is None
    examined = json.loads(exhibit.examined)
    assert examined["records_total"] == 8
    assert examined["records_bad"] == 0
    kept = {(one["type"], one["url"], one["digest_ok"]) for one in examined["records"]}
    assert {("response", URL, True), ("response", f"http://{HOST}/seal.png", True)} <= kept
    assert [line.action for line in exhibit.custody] == [CustodyAction.CAPTURED]
    assert exhibit.custody[0].sha256 == exhibit.sha256
    assert site.paths == ["/register?id=7&utm_source=letter", "/seal.png", "/gone.png"]
    session.rollback()
    said = client.get(place).text
    assert "Capture: Captured" in said
    assert "Not everything could be fetched: The other side answered 404" in said


def test_a_failure_is_visible_on_the_evidence_and_can_be_tried_again(
    app: Flask, ask: Ask, place: str, session: Session, site: Site, config: Config
) -> None:
    site.pages["/register?id=7&utm_source=letter"] = answer(status="410 Gone")
    client = ask()
    assert run_due(app, session) == "failed"
    page = client.get(place)
    assert "Capture: Failed" in page.text
    assert "The other side answered 410 instead of the page." in page.text
    [form] = [form for form in page.forms if (form["action"] or "").endswith("/again")]
    site.pages["/register?id=7&utm_source=letter"] = answer(PAGE)
    client.post(form["action"], dict(form["fields"]))
    assert "Capture: Waiting" in client.get(place).text
    assert run_due(app, session) == "captured"
    assert list(config.incoming_path.iterdir()) == []


def test_a_failure_that_may_pass_is_tried_again_by_itself_and_says_so(
    app: Flask, ask: Ask, place: str, session: Session, site: Site, config: Config
) -> None:
    site.pages["/register?id=7&utm_source=letter"] = answer(status="503 Busy")
    client = ask()
    for attempt in range(3):
        assert only(session).attempts == attempt
        assert run_due(app, session) == "failed"
        if attempt < 2:
            assert "It did not work and is tried again: The other side answered 503" in client.get(place).text
    assert "Capture: Failed" in client.get(place).text
    assert list(config.incoming_path.iterdir()) == []
    assert session.query(Exhibit).count() == 0


def test_one_that_waits_can_be_taken_back_and_nothing_is_fetched(
    app: Flask, ask: Ask, place: str, session: Session, proxy: Socks, now: dt.datetime
) -> None:
    client = ask()
    [form] = [form for form in client.get(place).forms if (form["action"] or "").endswith("/cancel")]
    client.post(form["action"], dict(form["fields"]))
    jobs.capture_due(app, dt.datetime.now(dt.UTC) + DAY)
    assert proxy.connections == 0
    assert "Capture this page" in client.get(place).text


def test_nothing_waits_in_a_transaction_while_the_other_side_takes_its_time(
    app: Flask, ask: Ask, session: Session, site: Site, make: Factory
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def slowly(connection: socket.socket) -> None:
        reached.set()
        go_on.wait(10)
        connection.sendall(answer("slow"))

    site.pages["/register?id=7&utm_source=letter"] = slowly
    ask()
    worker = threading.Thread(target=run_due, args=(app, session))
    worker.start()
    assert reached.wait(10)
    began = time.monotonic()
    make.account(Role.MONITOR)
    assert time.monotonic() - began < 5
    go_on.set()
    worker.join()
    assert only(session).state is CaptureState.DONE


def test_two_workers_at_once_fetch_once(app: Flask, ask: Ask, session: Session, site: Site) -> None:
    ask()
    moment = only(session).run_after
    session.rollback()
    outcomes: list[str] = []
    workers = [
        threading.Thread(target=lambda: outcomes.extend(jobs.capture_due(app, moment))) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert outcomes == ["captured"]
    assert site.paths.count("/register?id=7&utm_source=letter") == 1
    assert session.query(Exhibit).count() == 1


def test_evidence_withdrawn_while_the_page_was_fetched_gets_no_exhibit(
    app: Flask, ask: Ask, session: Session, site: Site, evidence: Evidence, config: Config
) -> None:
    evidence_id = evidence.id

    def withdraw(connection: socket.socket) -> None:
        from tracker import db

        with db.new_session(app.extensions["engine"]) as other, other.begin():
            other.get_one(Evidence, evidence_id).state = State.WITHDRAWN
        connection.sendall(answer("late"))

    site.pages["/register?id=7&utm_source=letter"] = withdraw
    ask()
    assert run_due(app, session) == "failed"
    assert "withdrawn" in only(session).error
    assert session.query(Exhibit).count() == 0
    assert list(config.incoming_path.iterdir()) == []


def test_a_draft_discarded_while_it_waits_takes_its_captures_with_it(
    app: Flask, ask: Ask, session: Session, evidence: Evidence, proxy: Socks
) -> None:
    ask()
    session.rollback()
    session.delete(session.get_one(Evidence, evidence.id))
    session.commit()
    assert not jobs.capture_due(app, dt.datetime.now(dt.UTC) + DAY)
    assert proxy.connections == 0


def test_a_worker_killed_in_the_middle_leaves_a_capture_that_is_tried_again(
    app: Flask, ask: Ask, session: Session, site: Site, config: Config, tmp_path: Path
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def never(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + b"x" * 1000)
        reached.set()
        go_on.wait(30)

    whole = site.pages["/register?id=7&utm_source=letter"]
    site.pages["/register?id=7&utm_source=letter"] = never
    ask()
    moment = only(session).run_after
    session.rollback()
    script = (
        "import datetime as dt, sys\n"
        "from tracker import config, create_app, jobs\n"
        "jobs.capture_due(create_app(config.load()), dt.datetime.fromisoformat(sys.argv[1]))\n"
    )
    environ = {
        **os.environ,
        "TRACKER_DATA_DIR": str(config.data_dir),
        "TRACKER_BASE_URL": config.base_url,
        "TRACKER_DATABASE_URL": config.database_url.get_secret_value(),
        "TRACKER_CAPTURE": "proxy",
        "TRACKER_CAPTURE_PROXY": config.capture_proxy.get_secret_value(),
    }
    worker = subprocess.Popen([sys.executable, "-c", script, moment.isoformat()], cwd=ROOT, env=environ)
    assert reached.wait(30)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    go_on.set()
    assert only(session).state is CaptureState.RUNNING
    session.rollback()
    site.pages["/register?id=7&utm_source=letter"] = whole
    # Not before the lease is over: the worker could still be alive.
    assert not jobs.capture_due(app, moment + captures.LEASE)
    assert (
        " ".join(jobs.capture_due(app, moment + captures.LEASE + dt.timedelta(minutes=1)))
        == "ended in the middle"
    )
    assert run_due(app, session) == "captured"
    assert session.query(Exhibit).count() == 1


def test_restricted_evidence_keeps_its_address_sealed_through_the_whole_way(
    app: Flask, ask: Ask, place: str, session: Session, evidence: Evidence, mona: Account
) -> None:
    evidence.visibility = Visibility.RESTRICTED
    reseal([evidence, *evidence.links])
    session.commit()
    client = ask()
    assert run_due(app, session) == "captured"
    rows: list[Any] = []
    session.rollback()
    with app.extensions["engine"].connect() as connection:
        for table in ("capture", "exhibit", "custody_line", "activity", "evidence_link"):
            rows += connection.exec_driver_sql(f"SELECT * FROM {table}").all()
    assert HOST not in str(rows)
    assert HOST in client.get(place).text


def test_the_doctor_says_that_the_proxy_is_gone(
    run: Callable[..., Any], config: Config, proxy: Socks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKER_CAPTURE", "proxy")
    monkeypatch.setenv("TRACKER_CAPTURE_PROXY", proxy.url)
    assert "proxy for captures" not in run("doctor", code=1).output
    proxy.close()
    assert "The proxy for captures cannot be reached" in run("doctor", code=1).output
