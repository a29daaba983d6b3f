"""The forms for exhibits: attaching a file, making a public copy, withdrawing one."""

from __future__ import annotations

from flask_babel import lazy_gettext
from wtforms import BooleanField, FileField, TextAreaField

from tracker.forms.base import BaseForm, CleanText, Required


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
