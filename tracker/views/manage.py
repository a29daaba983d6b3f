"""Pages: the manage link of every mail and feed. Whoever holds it needs no account; opening it changes nothing."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from tracker import db
from tracker.services import subscriptions
from tracker.views import access, following
from tracker.views.following import Door

blueprint = Blueprint("manage", __name__)
blueprint.after_request(following.keep_to_yourself)


@blueprint.get("/follow/manage/<token>")
@access.anyone
def page(token: str) -> ResponseReturnValue:
    """Everything that is held about somebody, and all that they can do with it."""
    subscriber = subscriptions.by_manage_token(db.session(), token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    return following.show(subscriber, _door(token), done=request.args.get("done"))


@blueprint.post("/follow/manage/<token>")
@access.anyone
def act(token: str) -> ResponseReturnValue:
    """Change, pause, leave or erase: the button says which."""
    subscriber = subscriptions.by_manage_token(db.session(), token)
    if subscriber is None:
        return render_template("follow/gone.html"), 404
    return following.act(subscriber, _door(token))


def _door(token: str) -> Door:
    here = url_for("manage.page", token=token)
    return Door(here, {}, here)
