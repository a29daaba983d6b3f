"""Pages for those who run the place: what will go out, what waits for them, and what went out. Never to whom."""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db, sessions
from tracker.config import Config
from tracker.errors import Invalid, NotFound
from tracker.models import Delivery
from tracker.queries import issues as queries
from tracker.services import issues, sending
from tracker.views import access
from tracker.views.changes import headline
from tracker.views.parameters import ledger_position
from tracker.vocabulary import N_, HoldReason, ReleaseWay

blueprint = Blueprint("issues", __name__)

AHEAD = dt.timedelta(hours=24)


@blueprint.get("/sending")
@access.admins
def page() -> str:
    """The next 24 hours, what is held, what is uncertain, and past issues."""
    session, now = db.session(), clock.now()
    before = ledger_position("before")
    found = queries.runs(session, before=before, limit=queries.PAGE_LENGTH + 1)
    return render_template(
        "issues/page.html",
        sending=sending.row(session),
        restored=HoldReason.RESTORED,
        ways=ReleaseWay,
        coming=queries.coming(session, now=now, until=now + AHEAD),
        held=queries.held(session),
        uncertain=queries.uncertain(session),
        runs=found[: queries.PAGE_LENGTH],
        older=found[queries.PAGE_LENGTH - 1].issue.id if len(found) > queries.PAGE_LENGTH else None,
        decisions=queries.decisions(session),
        needed=_needed(),
        headline=headline,
    )


@blueprint.get("/sending/<int:number>")
@access.admins
def issue(number: int) -> str:
    """One issue: its counts, and each digest of it as its readers will see it."""
    session = db.session()
    found = issues.by_number(session, number)
    return render_template(
        "issues/issue.html",
        run=queries.run(session, found),
        digests=queries.composed(session, found),
        decisions=queries.decisions(session, subject=issues.subject(found)),
        needed=_needed(),
    )


@blueprint.post("/sending/<int:number>/release")
@access.admins
def release(number: int) -> Response:
    """Agree that an issue goes out."""
    session = db.session()
    found = issues.by_number(session, number)
    seen = request.form.get("seen", "")
    done = issues.release(
        session,
        found,
        account=access.viewer(),
        needed=_needed(),
        now=clock.now(),
        seen=int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else -1,
    )
    session.commit()
    if done:
        return _told(gettext("Issue %(number)s goes out.", number=number))
    return _told(gettext("Noted. Issue %(number)s goes out when a second admin releases it.", number=number))


@blueprint.post("/sending/<int:number>/discard")
@access.admins
def discard(number: int) -> Response:
    """Send nothing more of an issue; the next digest tells it."""
    session = db.session()
    count = issues.discard(
        session, issues.by_number(session, number), account=access.viewer(), now=clock.now()
    )
    session.commit()
    return _told(
        gettext(
            "Issue %(number)s is discarded: %(count)s mails are not sent. What they would have told stands in the next "
            "digest.",
            number=number,
            count=count,
        )
    )


@blueprint.post("/sending/<int:number>/hold")
@access.admins
def hold(number: int) -> Response:
    """Hold what has not gone out of an issue yet."""
    session = db.session()
    found = issues.by_number(session, number)
    held = issues.hold(session, found, HoldReason.BY_HAND, account=access.viewer(), now=clock.now())
    session.commit()
    if held:
        return _told(gettext("Issue %(number)s is held.", number=number))
    return _told(gettext("Issue %(number)s was not going out.", number=number))


@blueprint.post("/sending/release")
@access.admins
def release_all() -> Response:
    """Agree that mails go out again after everything was held."""
    way = next((one for one in ReleaseWay if one.value == request.form.get("way")), None)
    if way is None:
        raise Invalid(N_("Choose what becomes of the mails that wait."))
    session = db.session()
    done = sending.release(session, account=access.viewer(), needed=_needed(), way=way, now=clock.now())
    session.commit()
    if done:
        return _told(gettext("Mails go out again."))
    return _told(gettext("Noted. Mails go out again when a second admin agrees."))


@blueprint.post("/sending/keep-holding")
@access.admins
def keep_holding() -> Response:
    """Take back what a first admin agreed to."""
    session = db.session()
    sending.keep_holding(session, account=access.viewer(), now=clock.now())
    session.commit()
    return _told(gettext("All mails stay held. Two people begin anew."))


@blueprint.post("/sending/mails/<int:number>/arrived")
@access.admins
def arrived(number: int) -> Response:
    """An uncertain mail was found in the relay's log."""
    return _decide(number, arrived=True)


@blueprint.post("/sending/mails/<int:number>/again")
@access.admins
def again(number: int) -> Response:
    """An uncertain mail is sent once more."""
    return _decide(number, arrived=False)


def _decide(number: int, *, arrived: bool) -> Response:
    session = db.session()
    delivery = session.get(Delivery, number) if 0 < number < 2**31 else None
    if delivery is None:
        raise NotFound(N_("There is no such mail any more."))
    issues.decide(session, delivery, arrived=arrived, account=access.viewer(), now=clock.now())
    session.commit()
    return _told(gettext("Noted: it arrived.") if arrived else gettext("It is sent once more."))


def _told(sentence: str) -> Response:
    sessions.notify(sentence)
    return redirect(url_for("issues.page"), 303)


def _needed() -> int:
    """How many people it takes to release something: one at least."""
    config: Config = current_app.extensions["settings"]
    return 2 if config.hold_digests == "two" else 1
