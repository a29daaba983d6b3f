"""Two versions of one form, side by side: what stands there now, and what somebody typed over an older version."""

from __future__ import annotations

from dataclasses import dataclass

from flask_babel import gettext
from wtforms import BooleanField, Field, HiddenField, SelectField, SelectMultipleField
from wtforms.utils import unset_value

from tracker.forms.base import BaseForm, PartialDateField, VersionField
from tracker.forms.evidence import BearingsField


@dataclass(frozen=True)
class Difference:
    """One field that is not the same: its label, its text as it stands there now, and as it was typed."""

    name: str
    label: str
    theirs: str
    mine: str


def differences(mine: BaseForm, theirs: BaseForm) -> list[Difference]:
    """Every field that differs, in the order of the page. Both forms have been told their choices."""
    found = []
    for field in mine:
        if isinstance(field, VersionField | HiddenField):
            continue
        typed, standing = shown(field), shown(theirs[field.name])
        if typed != standing:
            found.append(Difference(field.name, str(field.label.text), standing, typed))
    return found


def shown(field: Field) -> str:
    """What is entered in a field, as a reader would say it."""
    if isinstance(field, BearingsField):
        return "\n".join(_bearings(field))
    if isinstance(field, PartialDateField):
        day = " ".join(field.typed[part] for part in ("day", "month", "year") if field.typed[part])
        return str(gettext("about %(date)s", date=day)) if field.typed["about"] else day
    if isinstance(field, BooleanField):
        return str(gettext("Yes") if field.data else gettext("No"))
    if isinstance(field, SelectField | SelectMultipleField):
        return "\n".join(str(choice.label) for choice in field.iter_choices() if choice.selected)
    data = field.data
    return "" if data is None or data is unset_value else "\n".join(str(data).split("\r\n"))


def _bearings(field: BearingsField) -> list[str]:
    lines = []
    for recommendation in field.recommendations:
        for clause in (None, *recommendation.clauses):
            direction = field.chosen(recommendation.id, clause.id if clause else None)
            if direction is not None:
                place = f"{recommendation.reference} {clause.label}" if clause else recommendation.reference
                lines.append(f"{place}: {gettext(direction.label)}")
    return lines
