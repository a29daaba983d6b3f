"""Pages: how somebody begins to follow, confirms, and leaves. Public, without cookies, scripts or accounts."""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import clock, db, pages, sessions
from tracker.errors import Invalid
from tracker.forms import token as form_token
from tracker.forms.subscription import SubscriptionForm, values_of
from tracker.queries import expected
from tracker.services import attempts, readers, schedule, sign_ups, subscriptions
from tracker.services.choices import EVERYTHING, Choices
from tracker.services.schedule import Rhythm
from tracker.views import access, following
from tracker.vocabulary import Channel, Frequency

blueprint = Blueprint("follow", __name__)

_DEFAULT = Choices(Rhythm(Frequency.WEEKLY, 0, 1, 7, "UTC"), EVERYTHING)
# How often the form may be sent from one network and by everybody together, each in an hour; and how often somebody
# may ask how many messages it would be.
_PER_NETWORK, _OVERALL, _LOOKS = 30, 1000, 120
_HOUR = dt.timedelta(hours=1)

blueprint.after_request(following.keep_to_yourself)


@blueprint.get("/follow")
@access.anyone
def page() -> str:
    """The form. `?report=`, `?recommendation=`, `?theme=`, `?country=` and `?channel=` choose in advance."""
    offered = following.offered()
    values = values_of(_DEFAULT, offered) | {"channel": Channel.EMAIL}
    wanted = {
        "reports": ("report", {report.slug for report in offered.reports}),
        "recommendations": (
            "recommendation",
            {f"{report.slug}/{one.number}" for report in offered.reports for one in report.recommendations},
        ),
        "themes": ("theme", {theme.slug for theme in offered.themes}),
        "countries": ("country", set(offered.countries)),
    }
    for field, (parameter, known) in wanted.items():
        if found := [value for value in request.args.getlist(parameter) if value in known]:
            values |= {"what": "chosen", field: found}
    channel = next((one for one in Channel if one.value == request.args.get("channel")), Channel.EMAIL)
    return _page(SubscriptionForm(offered=offered, **values | {"channel": channel}))


@blueprint.post("/follow")
@access.anyone
def subscribe() -> ResponseReturnValue:
    """For an address the answer is the same whether it is new, waits, follows already or has left: nobody looks."""
    now, keys = clock.now(), following.keys()
    looking = request.form.get("act") == "estimate"
    # First, and in a transaction of its own: what is refused counts too.
    with db.writing() as own:
        if looking:
            attempts.hit(own, sessions.client_key("estimate", now), limit=_LOOKS, window=_HOUR, now=now)
        else:
            attempts.hit(own, sessions.client_key("follow", now), limit=_PER_NETWORK, window=_HOUR, now=now)
            attempts.hit(own, keys.keyed_hash("attempt", "follow"), limit=_OVERALL, window=_HOUR, now=now)
    form = SubscriptionForm(request.form, offered=following.offered())
    form.only_looking = looking
    if not form.validate():
        return _page(form), 422
    session, choices = db.session(), form.choices()
    if looking:
        return _page(form, expected=_expected(choices, now))
    try:
        if form.channel.data is Channel.EMAIL:
            sign_ups.ask(
                session, form.email.data, choices, certificate=form.openpgp.data or None, keys=keys, now=now
            )
            opened = None
        elif form.channel.data is Channel.FEED:
            opened = readers.open_feed(session, choices, now=now)
        else:
            opened = readers.open_mailbox(session, choices, now=now)
    except Invalid as error:
        form.refuse(error)
        return _page(form), 422
    session.commit()
    if opened is None:
        return redirect(url_for("follow.asked"), 303)
    # No redirect: what opens it must stand in no address that is not its own, and is shown this once.
    return render_template(
        "follow/opened.html", opened=opened, words=following.words(choices, opened.subscriber.channel)
    )


@blueprint.get("/follow/asked")
@access.anyone
def asked() -> str:
    """Look into your mailbox."""
    return render_template("follow/asked.html")


@blueprint.get("/follow/confirm/<token>")
@access.anyone
def confirm_page(token: str) -> ResponseReturnValue:
    """What is about to be confirmed, and a button. Opening the page changes nothing: mail scanners open links."""
    subscriber = subscriptions.asking(db.session(), token, now=clock.now())
    choices = subscriptions.asked(subscriber) if subscriber else None
    if subscriber is None or choices is None:
        return render_template("follow/gone.html"), 404
    return render_template(
        "follow/confirm.html",
        words=following.words(choices, Channel.EMAIL),
        encrypted=bool((subscriber.asked or {}).get("openpgp")),
    )


@blueprint.post("/follow/confirm/<token>")
@access.anyone
def confirm(token: str) -> ResponseReturnValue:
    """Follow from now on. The page cannot show the link for changes: only the mailer can make it."""
    subscriber = subscriptions.confirm(db.session(), token, now=clock.now())
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    db.session().commit()
    choices = following.current(subscriber)
    return render_template("follow/confirmed.html", words=following.words(choices, Channel.EMAIL))


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


def _page(form: SubscriptionForm, **values: object) -> str:
    shown = {"expected": None, "languages": pages.languages(), **values}
    return render_template("follow/page.html", form=form, **shown)


def _expected(choices: Choices, now: dt.datetime) -> float:
    def period_of(moment: dt.datetime) -> str:
        return schedule.first_slot(choices.rhythm, moment).period

    return expected.per_month(db.session(), choices.follows, period_of, now=now)
