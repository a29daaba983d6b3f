"""What the pages about following share: what can be chosen, choices in words, and the page behind a manage link.

The manage page has two doors: the link in every mail, and the passphrase of a mailbox on this site, which every form
of the page then carries, because it must stand in no address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from flask import Response, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext
from werkzeug.wrappers import Response as AnyResponse

from tracker import clock, db, emails, pages
from tracker.config import Config
from tracker.errors import Invalid
from tracker.forms.subscription import (
    ChoicesForm,
    KeyForm,
    Offered,
    PauseForm,
    day_of,
    values_of,
)
from tracker.keyring import Keyring
from tracker.models import Recommendation, Report, Subscriber
from tracker.queries import board as boards
from tracker.queries import held as holding
from tracker.services import choices as chosen
from tracker.services import departures, pauses, subscriptions
from tracker.services.choices import Choices, Followed
from tracker.views import held
from tracker.vocabulary import Channel, Scope


@dataclass(frozen=True)
class Door:
    """How somebody came in: where the forms of the page go, what they carry, and where to go after an act."""

    action: str
    carried: dict[str, str] = field(default_factory=dict)
    again: str | None = None  # None: shown at once, because no address leads back.


@dataclass(frozen=True)
class Words:
    """Choices as a page tells them: (kind, name) of each follow, and the rest."""

    follows: list[tuple[str, str]]
    rhythm: str
    language: str
    disclosure: str


def keep_to_yourself(response: AnyResponse) -> AnyResponse:
    """Links and words that are as good as a password stay out of caches and search engines."""
    response.headers["Cache-Control"] = "no-store, private"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


def offered() -> Offered:
    """What can be followed."""
    session = db.session()
    return Offered(boards.every_report(session), chosen.themes(session), chosen.countries(session))


def current(subscriber: Subscriber) -> Choices:
    """What somebody has chosen."""
    return chosen.current(subscriber)


def words(choices: Choices, channel: Channel) -> Words:
    """Choices in words, for the page on which somebody checks them. A feed has no rhythm, a mailbox nothing to hide."""
    return Words(
        [_follow(one) for one in choices.follows],
        "" if channel is Channel.FEED else emails.rhythm_words(choices.rhythm),
        pages.language_name(choices.language) if len(pages.languages()) > 1 else "",
        gettext(choices.disclosure.label) if channel is Channel.EMAIL else "",
    )


def show(subscriber: Subscriber, door: Door, *, done: str | None = None, **forms: object) -> str:
    """The manage page, with the forms that were refused instead of fresh ones."""
    session, now = db.session(), clock.now()
    choices = current(subscriber)
    given = {
        "form": ChoicesForm(offered=offered(), **values_of(choices, offered())),
        "pause_form": PauseForm(),
        "key_form": KeyForm(),
        **forms,
    }
    paused = subscriber.paused_until
    return render_template(
        "follow/manage.html",
        subscriber=subscriber,
        door=door,
        done=done,
        words=words(choices, subscriber.channel),
        paused=paused if paused and paused >= now.date() else None,
        held=held.rows(subscriber),
        told=holding.told(session, subscriber),
        languages=pages.languages(),
        **given,
    )


def act(subscriber: Subscriber, door: Door) -> ResponseReturnValue:
    """What the button says: save, pause, resume, key, no-key, renew, leave, erase, erase-now, take-along."""
    session, now = db.session(), clock.now()
    wanted = request.form.get("act", "save")
    if wanted == "take-along":
        return take_along(subscriber)
    if wanted == "erase":
        return render_template("follow/erase.html", door=door, subscriber=subscriber)
    if wanted == "erase-now":
        departures.note(session, subscriber, now=now)
        subscriptions.erase(session, subscriber)
        session.commit()
        return render_template("follow/erased.html")
    if wanted == "leave":
        subscriptions.leave(session, subscriber, now=now)
    elif wanted == "resume":
        pauses.resume(session, subscriber, now=now)
    elif wanted == "renew":
        subscriptions.renew(subscriber, now=now)
    elif wanted == "no-key":
        subscriptions.set_certificate(subscriber, None, keys())
    elif wanted == "key":
        key_form = KeyForm(request.form)
        if not key_form.validate():
            return show(subscriber, door, key_form=key_form), 422
        subscriptions.set_certificate(subscriber, key_form.openpgp.data, keys())
    elif wanted == "pause":
        pause_form = PauseForm(request.form)
        if not pause_form.validate():
            return show(subscriber, door, pause_form=pause_form), 422
        try:
            pauses.pause(session, subscriber, day_of(pause_form.until), now=now)
        except Invalid as error:
            pause_form.refuse(error)
            return show(subscriber, door, pause_form=pause_form), 422
    elif wanted == "save":
        form = ChoicesForm(request.form, offered=offered())
        if not form.validate():
            return show(subscriber, door, form=form), 422
        try:
            subscriptions.change(session, subscriber, form.choices(), now=now)
        except Invalid as error:
            form.refuse(error)
            return show(subscriber, door, form=form), 422
    else:
        return show(subscriber, door), 422
    session.commit()
    if door.again is not None:
        return redirect(f"{door.again}?done={wanted}", 303)
    return show(subscriber, door, done=wanted)


def take_along(subscriber: Subscriber) -> Response:
    """Everything that is held, as a file."""
    body = json.dumps(holding.export(db.session(), subscriber), indent=2, ensure_ascii=False) + "\n"
    answer = Response(body, content_type="application/json; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="what-we-hold.json"'
    return answer


def config() -> Config:
    """The settings."""
    found: Config = current_app.extensions["settings"]
    return found


def public_url(endpoint: str, **values: Any) -> str:
    """The address of a page as others reach it."""
    return config().public_url + url_for(endpoint, **values)


def keys() -> Keyring:
    """The keys of this process. It may have none of the mailer's."""
    found: Keyring = current_app.extensions["keyring"]
    return found


def _follow(one: Followed) -> tuple[str, str]:
    session = db.session()
    if one.scope is Scope.REPORT:
        report = session.get(Report, one.report_id)
        return gettext("Report"), report.short_title if report else ""
    if one.scope is Scope.RECOMMENDATION:
        found = session.get(Recommendation, one.recommendation_id)
        return gettext("Recommendation"), f"{found.reference} {found.title}" if found else ""
    if one.scope is Scope.THEME:
        names = {theme.slug: theme.name for theme in chosen.themes(session)}
        return gettext("Theme"), names.get(one.value, one.value)
    if one.scope is Scope.COUNTRY:
        return gettext("Country"), one.value
    if one.scope is Scope.SEARCH:
        return gettext("Whatever holds these words"), one.value
    return "", gettext(one.scope.label)
