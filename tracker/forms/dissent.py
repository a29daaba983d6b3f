"""The forms for writing a dissenting note, and for deciding about one on a finding that stands already."""

from __future__ import annotations

from flask_babel import gettext, lazy_gettext
from wtforms import RadioField, TextAreaField
from wtforms.fields import SelectChoice

from tracker.forms.base import BaseForm, CleanText, Required, VersionField
from tracker.forms.finding import HarmDecisionForm
from tracker.services import dissent as service


class DissentForm(BaseForm):
    """Why another reviewer sees a finding differently."""

    version = VersionField()
    body = TextAreaField(lazy_gettext("How you see it differently"), [CleanText(service.LONGEST, lines=True)])


class NoteDecisionForm(HarmDecisionForm):
    """Release or return a note, after the questions about harm."""

    asks_needs = False
    decision = RadioField(
        lazy_gettext("Your decision"),
        [Required(lazy_gettext("Choose whether you publish or return it."))],
        choices=lambda: [
            SelectChoice("approve", gettext("Publish it with the finding now")),
            SelectChoice("return", gettext("Return it to its author")),
        ],
    )
