"""A private feed: what somebody follows, for any feed reader, under an address that nobody can guess.

The link reads, keeps and stops the feed. What it follows is changed by another link, so that a feed service, which
has to know this one, cannot learn or change more.
"""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, gettext

from tracker import clock, db, feeds
from tracker.models import Subscriber
from tracker.queries import follows
from tracker.services import readers, subscriptions
from tracker.views import access, changes, following, fresh
from tracker.views.parameters import ledger_position

blueprint = Blueprint("private_feed", __name__)
blueprint.after_request(following.keep_to_yourself)

LENGTH = 50


@blueprint.get("/follow/feed/<token>.atom")
@access.anyone
def atom(token: str) -> ResponseReturnValue:
    """The newest changes that it follows. Older ones are behind its link `next`."""
    session, before = db.session(), ledger_position("before")
    subscriber = readers.find_feed(session, token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    position = follows.position(session, subscriber.follows)
    answer = Response(content_type="application/atom+xml; charset=utf-8")
    seen = repr((fresh.program_version(), position, subscriber.follow_key, before, _question(subscriber)))
    answer.set_etag(hashlib.sha256(seen.encode()).hexdigest()[:32], weak=True)
    answer.make_conditional(request)
    if answer.status_code != 304:
        answer.set_data(_feed(subscriber, token, before))
    return answer


@blueprint.get("/follow/feed/<token>")
@access.anyone
def page(token: str) -> ResponseReturnValue:
    """For people: what this feed follows, whether it is still wanted, and a button that stops it."""
    subscriber = readers.find_feed(db.session(), token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    return render_template(
        "follow/feed.html",
        subscriber=subscriber,
        token=token,
        done=request.args.get("done"),
        words=following.words(following.current(subscriber), subscriber.channel),
    )


@blueprint.post("/follow/feed/<token>")
@access.anyone
def act(token: str) -> ResponseReturnValue:
    """Keep it for another year, or stop it."""
    session, now = db.session(), clock.now()
    subscriber = readers.find_feed(session, token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    if request.form.get("act") == "stop":
        subscriptions.leave(session, subscriber, now=now)
        session.commit()
        return render_template("follow/left.html")
    subscriptions.renew(subscriber, now=now)
    session.commit()
    return redirect(url_for("private_feed.page", token=token, done="renew"), 303)


def _feed(subscriber: Subscriber, token: str, before: int | None) -> bytes:
    found = follows.read(db.session(), subscriber.follows, before=before, limit=LENGTH + 1)
    shown = found[:LENGTH]
    items = [changes.item(change) for change in shown]
    if _question(subscriber) and before is None:
        items.insert(0, _asking(subscriber, token))
    here = following.public_url("private_feed.atom", token=token)
    older = f"{here}?before={shown[-1].seq}" if len(found) > LENGTH else None
    return feeds.atom(
        id=changes.tag(f"follow/{subscriber.key}"),
        title=gettext("What I follow – %(site)s", site=following.config().site_name),
        author=following.config().team_name,
        language=str(get_locale()).replace("_", "-"),
        page_url=following.public_url("private_feed.page", token=token),
        self_url=here if before is None else f"{here}?before={before}",
        next_url=older,
        updated=max((one.updated for one in items), default=subscriber.created_at),
        items=items,
    )


def _question(subscriber: Subscriber) -> str:
    return subscriber.renewal_asked_at.date().isoformat() if subscriber.renewal_asked_at else ""


def _asking(subscriber: Subscriber, token: str) -> feeds.Item:
    asked = subscriber.renewal_asked_at
    assert asked is not None
    return feeds.Item(
        id=changes.tag(f"follow/{subscriber.key}/{asked:%Y-%m-%d}"),
        title=gettext("Do you still want this feed?"),
        url=following.public_url("private_feed.page", token=token),
        published=asked,
        updated=asked,
        text=gettext(
            "We do not note whether anybody reads this feed, so we ask once a year. Open this link and press the button "
            "within %(days)s days. Otherwise the feed ends, and all that is held about it is erased.",
            days=subscriptions.ANSWER_WITHIN[subscriber.channel].days,
        ),
    )
