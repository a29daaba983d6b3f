"""The forms for exhibits: attaching a file, making a public copy, withdrawing one."""

from __future__ import annotations

from flask_babel import lazy_gettext
from wtforms import BooleanField, FileField, StringField, TextAreaField

from tracker.forms.base import BaseForm, CleanText, Required
from tracker.forms.harm import HarmQuestions
from tracker.keyring import Keyring
from tracker.services.harm import Harm


class UploadForm(BaseForm):
    """A file, as it is. Its type is decided by looking into it."""

    file = FileField(lazy_gettext("File"))
    distressing = BooleanField(lazy_gettext("It may distress people who see it"))


class CopyForm(BaseForm):
    """A public copy that the program makes from the original."""

    description = TextAreaField(
        lazy_gettext("What it shows"),
        [
            Required(lazy_gettext("Describe what the copy shows, for people who cannot see it.")),
            CleanText(1000, lines=True),
        ],
    )


class CleanedCopyForm(CopyForm):
    """A public copy that a person has cleaned and uploads."""

    file = FileField(lazy_gettext("Cleaned copy"))


class ReleaseForm(HarmQuestions):
    """Release a copy made after its evidence was accepted. What becomes public needs the questions about harm."""

    remark = TextAreaField(lazy_gettext("Why a Yes is acceptable"), [CleanText(2000, lines=True)])
    # The fingerprint of the warnings beside which the box stood, and the hash of the bytes that were looked at.
    looked = StringField(lazy_gettext("I looked at each warning"), [CleanText(64)])
    seen = StringField("", [CleanText(64)])

    def harm(self, keys: Keyring) -> Harm:
        """What was answered, for the service."""
        return Harm(self.answers(), self.remark.data, self.looked.data, keys)
