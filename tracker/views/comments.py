"""Writing a comment, and saying that the comments were read."""

from __future__ import annotations

from flask import Blueprint, current_app, redirect, render_template, request
from flask_babel import gettext
from werkzeug.wrappers import Response

from tracker import clock, db
from tracker.forms.comment import CommentForm
from tracker.services import comments as service
from tracker.views import access, attempts, teamwork

blueprint = Blueprint("comments", __name__, url_prefix="/workspace/comments")


@blueprint.post("/<noun>/<key>")
@access.team
def add(noun: str, key: str) -> Response | tuple[str, int]:
    row, form = teamwork.fetch(noun, key), CommentForm(request.form)

    def act() -> bool:
        service.add(db.session(), row, form.body.data, author=access.viewer(), now=clock.now())
        return True

    if form.validate() and attempts.commit(form, act):
        current_app.extensions["notify"](gettext("Your comment stands with the others."))
        return redirect(teamwork.address(row, "comments"), 303)
    row = teamwork.fetch(noun, key)
    page = render_template(
        "workspace/comment.html", form=form, beside=teamwork.beside(row), back=teamwork.address(row)
    )
    return page, 422


@blueprint.post("/<noun>/<key>/read")
@access.team
def read(noun: str, key: str) -> Response:
    service.mark_read(db.session(), teamwork.fetch(noun, key), reader=access.viewer(), now=clock.now())
    db.session().commit()
    return redirect(teamwork.address(teamwork.fetch(noun, key), "comments"), 303)
