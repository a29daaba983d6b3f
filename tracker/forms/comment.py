"""The form for a comment of the team."""

from __future__ import annotations

from flask_babel import lazy_gettext
from wtforms import TextAreaField

from tracker.forms.base import BaseForm, CleanText
from tracker.services import comments as service


class CommentForm(BaseForm):
    """What somebody remarks about a thing that waits, or stands."""

    body = TextAreaField(lazy_gettext("Your comment"), [CleanText(service.LONGEST, lines=True)])
