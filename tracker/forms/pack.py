"""The form for a pack of the team's: which evidence goes in, and whether its originals do."""

from __future__ import annotations

from collections.abc import Iterable

from flask_babel import gettext, lazy_gettext
from wtforms import BooleanField, SelectMultipleField
from wtforms.fields import SelectChoice
from wtforms.validators import ValidationError

from tracker.forms.base import BaseForm


class PackForm(BaseForm):
    """What is ticked goes in."""

    evidence = SelectMultipleField(lazy_gettext("Evidence"), validate_choice=False)
    originals = BooleanField(
        lazy_gettext("The original files too, with their names and their whole custody logs")
    )

    def offer(self, keys: Iterable[str]) -> PackForm:
        """Hand in what can be chosen; forms do not query."""
        self.evidence.choices = [SelectChoice(key, key) for key in keys]
        return self

    def validate_evidence(self, field: SelectMultipleField) -> None:
        """Nobody gets a pack in which something that they ticked is missing."""
        offered = {choice.value for choice in field.choices or []}
        if not offered.issuperset(field.data or []):
            field.data = [key for key in field.data or [] if key in offered]
            raise ValidationError(
                gettext(
                    "Something you ticked was withdrawn, or you may see it no more. Look at the list again."
                )
            )
