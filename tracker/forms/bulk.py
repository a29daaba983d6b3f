"""The form for accepting many imported pieces with one harm check."""

from __future__ import annotations

from collections.abc import Sequence

from flask_babel import gettext, lazy_gettext
from wtforms import BooleanField, SelectMultipleField
from wtforms.fields import SelectChoice

from tracker.forms.harm import HarmQuestions
from tracker.keyring import Keyring
from tracker.models import Evidence
from tracker.services.harm import Harm


class BulkForm(HarmQuestions):
    """Which pieces, the questions about harm once for all, and that each was looked at."""

    chosen = SelectMultipleField(lazy_gettext("Which pieces"), validate_choice=False)
    looked = BooleanField(lazy_gettext("I looked at each of these, and at where its links lead"))

    def prepare(self, rows: Sequence[Evidence]) -> BulkForm:
        """Hand in what can be chosen. The value of a choice is the key and the version that stands on the page."""
        self.chosen.choices = [SelectChoice(f"{row.key}:{row.version}", row.title) for row in rows]
        return self

    def validate(self, extra_validators: object = None) -> bool:
        """Every answer is given by a person who looked."""
        good = bool(super().validate())
        if not self.looked.data:
            self.looked.errors = [gettext("Look at each piece, and confirm that you did.")]
            good = False
        return good

    def seen(self) -> dict[str, int]:
        """The chosen keys, with the versions that stood on the page; 0, which no row has, where there was none."""
        found = {}
        for value in self.chosen.data or []:
            key, _, version = value.partition(":")
            found[key] = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
        return found

    def harm(self, keys: Keyring) -> Harm:
        """What was answered, for the service."""
        return Harm(self.answers(), keys=keys)
