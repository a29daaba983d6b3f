"""Pages: reports, their recommendations, public evidence, and how findings are made."""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, Response, current_app, render_template
from flask.typing import ResponseReturnValue

from tracker import clock, db
from tracker.config import Config
from tracker.models import LedgerEntry
from tracker.queries import board as boards
from tracker.queries import changes, exhibits
from tracker.queries import evidence as pieces
from tracker.queries import recommendation as recommendations
from tracker.queries.changes import About
from tracker.views import access, fresh
from tracker.vocabulary import IMAGES, State

blueprint = Blueprint("reports", __name__)


def _today() -> dt.date:
    return clock.now().date()


def _review_months() -> int:
    config: Config = current_app.extensions["settings"]
    return config.review_months


@blueprint.get("/")
@access.anyone
def home() -> Response:
    """Every report with the marks of its recommendations, and what changed lately."""
    session, today = db.session(), _today()

    def page() -> ResponseReturnValue:
        return render_template(
            "reports/home.html",
            boards=boards.boards(session, today=today, review_months=_review_months()),
            changes=changes.read(session, limit=6),
        )

    return fresh.answer(page, changes.position(session), today)


@blueprint.get("/reports/<report>")
@access.anyone
def board(report: str) -> Response:
    """Where every recommendation of a report stands."""
    session, today = db.session(), _today()
    found = boards.find_report(session, report)
    about = About(found)

    def page() -> ResponseReturnValue:
        return render_template(
            "reports/board.html",
            board=boards.board(session, found, today=today, review_months=_review_months()),
            report=found,
            evidence_count=pieces.count(session, found.id),
            changes=changes.read(session, about, limit=8),
        )

    return fresh.answer(page, changes.last_seq(session, about), today)


@blueprint.get("/reports/<report>/<number>")
@access.anyone
def recommendation(report: str, number: str) -> Response:
    """One recommendation with its findings, replies, evidence and history."""
    session, today = db.session(), _today()
    found = boards.find_recommendation(session, report, number)

    def page() -> ResponseReturnValue:
        return render_template(
            "reports/recommendation.html",
            page=recommendations.page(session, found, today=today, review_months=_review_months()),
            recommendation=found,
            report=found.report,
        )

    return fresh.answer(page, changes.last_seq(session, About(found.report)), today)


@blueprint.get("/evidence/<int:number>")
@access.anyone
def evidence(number: int) -> Response:
    """One piece of public evidence, or what remains of a withdrawn one."""
    session = db.session()
    found = pieces.find(session, number)
    copies = exhibits.public_copies(session, found)

    def page() -> ResponseReturnValue:
        return render_template(
            "reports/evidence.html" if found.state is State.ACCEPTED else "reports/withdrawn.html",
            evidence=found,
            findings=pieces.citing(session, found),
            entry=session.get(LedgerEntry, found.ledger_seq),
            history=changes.about_subject(session, f"evidence/{number}"),
            public_copies=copies,
            images=IMAGES,
        )

    # Damage is no ledger entry, and has to be seen all the same.
    return fresh.answer(page, changes.position(session), [copy.damaged_at for copy in copies])


@blueprint.get("/method")
@access.anyone
def method() -> Response:
    """What findings mean, how they are made, and who makes them."""
    return fresh.answer(lambda: render_template("reports/method.html"))
