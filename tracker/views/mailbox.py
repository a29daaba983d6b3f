"""Pages: a mailbox on this site, opened by six words. They are sent with every form and stand in no address.

No cookie: closing the page closes the mailbox.
"""

from __future__ import annotations

import datetime as dt

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext

from tracker import clock, db, sessions
from tracker.models import Subscriber
from tracker.queries import mailbox
from tracker.services import attempts, readers
from tracker.views import access, following
from tracker.views.following import Door

blueprint = Blueprint("mailbox", __name__)
blueprint.after_request(following.keep_to_yourself)

# Guesses from one network and from everybody, each in an hour. There are 77 bits to guess; this is for peace.
_PER_NETWORK, _OVERALL = 60, 3000
_HOUR = dt.timedelta(hours=1)


@blueprint.get("/follow/mailbox")
@access.anyone
def page() -> str:
    """Where the six words are entered."""
    return render_template("follow/mailbox_door.html", error="")


@blueprint.post("/follow/mailbox")
@access.anyone
def act() -> ResponseReturnValue:
    """Open it, or do what the button on its pages says."""
    now = clock.now()
    # First, and in a transaction of its own: what is refused counts too.
    with db.writing() as own:
        attempts.hit(own, sessions.client_key("mailbox", now), limit=_PER_NETWORK, window=_HOUR, now=now)
        whole = following.keys().keyed_hash("attempt", "mailbox")
        attempts.hit(own, whole, limit=_OVERALL, window=_HOUR, now=now)
    words = request.form.get("passphrase", "")
    subscriber = readers.find_mailbox(db.session(), words)
    if subscriber is None:
        error = gettext(
            "No mailbox opens with these words. Check each of the six; a mailbox that was erased is gone."
        )
        return render_template("follow/mailbox_door.html", error=error), 422
    door = Door(url_for("mailbox.act"), {"passphrase": readers.normal(words)})
    wanted = request.form.get("act", "open")
    if wanted == "open":
        return _messages(subscriber, door, now)
    if wanted == "manage":
        return following.show(subscriber, door)
    return following.act(subscriber, door)


def _messages(subscriber: Subscriber, door: Door, now: dt.datetime) -> str:
    return render_template(
        "follow/mailbox.html",
        subscriber=subscriber,
        door=door,
        messages=mailbox.collected(db.session(), subscriber, now=now),
        words=following.words(following.current(subscriber), subscriber.channel),
        kept=mailbox.KEPT.days,
    )
