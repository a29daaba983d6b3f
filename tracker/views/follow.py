"""Pages: following by e-mail. Public, without cookies; whoever holds a link from a mail needs no account."""

from __future__ import annotations

import datetime as dt
from functools import partial

from flask import Blueprint, current_app, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from tracker import clock, db, emails, sessions
from tracker.config import Config
from tracker.errors import Invalid
from tracker.forms import token as form_token
from tracker.forms.subscription import ChoicesForm, SubscriptionForm, values_of
from tracker.keyring import Keyring
from tracker.models import Report, Subscriber
from tracker.queries import board as boards
from tracker.services import attempts, subscriptions
from tracker.services.schedule import Rhythm
from tracker.services.subscriptions import Choices
from tracker.views import access
from tracker.vocabulary import Frequency, Scope

blueprint = Blueprint("follow", __name__)

_DEFAULT = Choices(Rhythm(Frequency.WEEKLY, 0, 1, 7, "UTC"), Scope.EVERYTHING)
# How often the form may be sent from one network and by everybody together, each in an hour.
_PER_NETWORK, _OVERALL = 30, 1000
_HOUR = dt.timedelta(hours=1)


@blueprint.after_request
def keep_to_yourself(response: Response) -> Response:
    """Links that are as good as a password stay out of caches."""
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/follow")
@access.anyone
def page() -> str:
    """The form; `?report=` and `?recommendation=` choose in advance."""
    reports = boards.every_report(db.session())
    values = values_of(_DEFAULT, reports)
    slugs = {report.slug for report in reports}
    numbers = {f"{report.slug}/{one.number}" for report in reports for one in report.recommendations}
    wanted = [value for value in request.args.getlist("recommendation") if value in numbers]
    if wanted:
        values |= {
            "scope": Scope.RECOMMENDATION,
            "recommendations": wanted,
            "report": wanted[0].partition("/")[0],
        }
    elif (slug := request.args.get("report")) in slugs:
        values |= {"scope": Scope.REPORT, "report": slug}
    return render_template("follow/page.html", form=SubscriptionForm(reports=reports, **values))


@blueprint.post("/follow")
@access.anyone
def subscribe() -> Response | tuple[str, int]:
    """The answer is the same whether the address is new, waits, follows already or has left."""
    now, config, keys = clock.now(), _config(), _keys()
    # First, and in a transaction of its own: what is refused counts too.
    with db.writing() as own:
        attempts.hit(own, sessions.client_key("follow", now), limit=_PER_NETWORK, window=_HOUR, now=now)
        attempts.hit(own, keys.keyed_hash("attempt", "follow"), limit=_OVERALL, window=_HOUR, now=now)
    form = SubscriptionForm(request.form, reports=boards.every_report(db.session()))
    if not form.validate():
        return render_template("follow/page.html", form=form), 422
    try:
        subscriptions.subscribe(
            db.session(),
            form.email.data,
            form.choices(),
            keys=keys,
            compose=partial(emails.confirmation, config=config, now=now),
            confirm_for=dt.timedelta(hours=config.confirm_link_hours),
            now=now,
        )
    except Invalid as error:
        form.refuse(error)
        return render_template("follow/page.html", form=form), 422
    db.session().commit()
    return redirect(url_for("follow.asked"), 303)


@blueprint.get("/follow/asked")
@access.anyone
def asked() -> str:
    """Look into your mailbox."""
    return render_template("follow/asked.html")


@blueprint.get("/follow/confirm/<token>")
@access.anyone
def confirm_page(token: str) -> str | tuple[str, int]:
    """What is about to be confirmed, and a button. Opening the page changes nothing: mail scanners open links."""
    subscriber = subscriptions.asking(db.session(), token, now=clock.now())
    choices = subscriptions.asked(subscriber) if subscriber else None
    if choices is None:
        return render_template("follow/gone.html"), 404
    return render_template("follow/confirm.html", **_words(choices))


@blueprint.post("/follow/confirm/<token>")
@access.anyone
def confirm(token: str) -> str | tuple[str, int]:
    """Follow from now on."""
    subscriber = subscriptions.confirm(db.session(), token, now=clock.now())
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    db.session().commit()
    return render_template(
        "follow/confirmed.html",
        subscriber=subscriber,
        manage=subscriptions.manage_token(subscriber, _keys()),
        **_words(subscriptions.current(subscriber)),
    )


@blueprint.get("/follow/manage/<token>")
@access.anyone
def manage(token: str) -> str | tuple[str, int]:
    """Everything that is held about somebody, and all that they can do with it."""
    subscriber = subscriptions.by_manage_token(db.session(), token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    reports = boards.every_report(db.session())
    form = ChoicesForm(reports=reports, **values_of(subscriptions.current(subscriber), reports))
    return _manage_page(subscriber, form)


@blueprint.post("/follow/manage/<token>")
@access.anyone
def change(token: str) -> Response | str | tuple[str, int]:
    """Change, leave or erase: the button says which."""
    session, now = db.session(), clock.now()
    subscriber = subscriptions.by_manage_token(session, token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    act = request.form.get("act")
    if act == "erase":
        subscriptions.erase(session, subscriber)
        session.commit()
        return render_template("follow/erased.html")
    if act == "leave":
        subscriptions.leave(session, subscriber, now=now)
    else:
        form = ChoicesForm(request.form, reports=boards.every_report(db.session()))
        if not form.validate():
            return _manage_page(subscriber, form), 422
        try:
            subscriptions.change(session, subscriber, form.choices(), now=now)
        except Invalid as error:
            form.refuse(error)
            return _manage_page(subscriber, form), 422
    session.commit()
    return redirect(url_for("follow.manage", token=token, done="left" if act == "leave" else "saved"), 303)


@blueprint.get("/unsubscribe/<token>")
@access.anyone
def leave_page(token: str) -> str:
    """A button. The page looks the same for every token, so that nobody can try them out."""
    return render_template("follow/leave.html", token=token)


@blueprint.post("/unsubscribe/<token>")
@access.anyone
@form_token.tokenless
def leave(token: str) -> str:
    """Leave: by the button, or by the mail program's own (RFC 8058). Always the same answer, also the second time."""
    subscriber = subscriptions.by_leave_token(db.session(), token)
    if subscriber is not None:
        subscriptions.leave(db.session(), subscriber, now=clock.now())
        db.session().commit()
    return render_template("follow/left.html")


def _manage_page(subscriber: Subscriber, form: ChoicesForm) -> str:
    return render_template(
        "follow/manage.html",
        subscriber=subscriber,
        form=form,
        done=request.args.get("done"),
        **_words(subscriptions.current(subscriber)),
    )


def _words(choices: Choices) -> dict[str, object]:
    session = db.session()
    return {
        "scope": choices.scope,
        "report": session.get(Report, choices.report_id) if choices.report_id else None,
        "recommendations": subscriptions.recommendations(session, choices),
        "rhythm": emails.rhythm_words(choices.rhythm),
    }


def _config() -> Config:
    found: Config = current_app.extensions["settings"]
    return found


def _keys() -> Keyring:
    found: Keyring = current_app.extensions["keyring"]
    return found
