"""What all forms share: clean text, sentences as errors, and the attributes that screen readers need."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from typing import Any

from flask_babel import gettext
from werkzeug.datastructures import MultiDict
from wtforms import Field, Form, IntegerField, SelectField, StringField
from wtforms.fields import SelectChoice
from wtforms.fields.choices import Choice
from wtforms.validators import InputRequired, ValidationError

from tracker import clock, text
from tracker.errors import Invalid, TrackerError
from tracker.vocabulary import N_, Precision, Word


def say(error: TrackerError) -> str:
    """An error's sentence in the reader's language."""
    return str(gettext(error.message, **error.values) if error.values else gettext(error.message))


class CleanText:
    """Validator: the text policy of `tracker.text`, and a greatest length. Stores the cleaned text."""

    def __init__(self, most: int, *, lines: bool = False) -> None:
        self.most, self.lines = most, lines

    def __call__(self, form: Form, field: Field) -> None:
        try:
            field.data = text.clean(field.data or "", lines=self.lines)
        except Invalid as error:
            # A page cannot hold this one, so what was typed is shown again without it.
            field.data = (field.data or "").replace("\x00", "")
            raise ValidationError(say(error)) from None
        if len(field.data) > self.most:
            raise ValidationError(
                gettext(
                    "Shorten this to %(most)s characters; it has %(length)s.",
                    most=self.most,
                    length=len(field.data),
                )
            )


class Required(InputRequired):
    """Validator: something must be entered; `message` says what, as a sentence."""

    field_flags: dict[str, bool] = {}  # noqa: RUF012 - The browser's own bubble would hide our sentence.


class BaseForm(Form):
    """Parent of every form. `error_list` is what the summary at the top of the page shows."""

    def error_list(self) -> list[tuple[str, str]]:
        """(id of the field to go to, sentence) of every error, in the order of the page."""
        found: list[tuple[str, str]] = []
        for field in self:
            for message in field.errors:
                # A message may be a lazy string; the errors of fields within fields are lists and dicts.
                if not isinstance(message, list | tuple | dict):
                    found.append((getattr(field, "first_id", field.id), str(message)))
        return found

    def refuse(self, error: Invalid) -> None:
        """Show a service's refusals at the fields they name, or above the form."""
        for one in (error, *error.others):
            if one.field and one.field in self._fields:
                field = self._fields[one.field]
                field.errors = [*field.errors, say(one)]
            else:
                self.form_errors.append(say(one))


def choices(words: Iterable[Word], empty: str | None = None) -> list[SelectChoice]:
    """An enum as choices, with an optional empty first one."""
    first = [] if empty is None else [SelectChoice("", empty)]
    return [*first, *(SelectChoice(word.value, gettext(word.label)) for word in words)]


def word_or_none(kind: type[Word]) -> Callable[[Any], Word | None]:
    """Coercion of a choice field to an enum; the empty choice is None."""

    def coerce(value: Any) -> Word | None:
        if value in ("", None):
            return None
        # The members take their value and label at definition; looking one up takes the value only.
        return value if isinstance(value, kind) else kind(value)  # type: ignore[call-arg]

    return coerce


class WordField(SelectField):
    """A select whose data is an enum member or None."""

    def __init__(self, label: str, kind: type[Word], empty: str | None = None, **kwargs: Any) -> None:
        self.kind, self.empty = kind, empty
        super().__init__(label, coerce=word_or_none(kind), choices=lambda: choices(kind, empty), **kwargs)

    def _value(self) -> str:
        return self.data.value if self.data else ""

    def iter_choices(self) -> Any:
        chosen = self._value()
        for choice in choices(self.kind, self.empty):
            yield Choice(choice.value, choice.label, choice.value == chosen, {})

    def pre_validate(self, form: Form) -> None:
        """Coercion has already refused anything that is not a word."""


class PartialDateField(Field):
    """Day, month, year and "about": a date in its true precision. `data` is (date, Precision) or None.

    A month or year alone is stored as its first day, with the precision that says so.
    """

    may_lie_ahead = False

    def __init__(self, label: str, validators: Any = (), **kwargs: Any) -> None:
        super().__init__(label, validators, **kwargs)
        self.typed: dict[str, str] = {"day": "", "month": "", "year": "", "about": ""}

    @property
    def first_id(self) -> str:
        return f"{self.id}-day"

    def process(
        self, formdata: MultiDict[str, str] | None, data: Any = None, extra_filters: Any = None
    ) -> None:
        self.process_errors, self.data = [], None
        if formdata is not None and any(f"{self.name}-{part}" in formdata for part in self.typed):
            # Shown again as it was typed, but for what a page cannot hold.
            self.typed = {
                part: formdata.get(f"{self.name}-{part}", "")
                .replace("\x00", "\N{REPLACEMENT CHARACTER}")
                .strip()
                for part in self.typed
            }
            try:
                self.data = self._read()
            except ValueError as error:
                self.process_errors.append(str(error))
        elif isinstance(data, tuple) and data[0] is not None:
            day, precision = data
            self.data = data
            self.typed = {
                "day": str(day.day) if precision in (Precision.DAY, Precision.ABOUT) else "",
                "month": str(day.month) if precision is not Precision.YEAR else "",
                "year": str(day.year),
                "about": "1" if precision is Precision.ABOUT else "",
            }

    def _read(self) -> tuple[dt.date, Precision] | None:
        day, month, year = (self.typed[part] for part in ("day", "month", "year"))
        if not (day or month or year):
            if self.typed["about"]:
                raise ValueError(gettext("Enter the year at least."))
            return None
        if not year:
            raise ValueError(gettext("Enter the year at least."))
        if not all(re.fullmatch(r"[0-9]{0,9}", part) for part in (day, month, year)):
            raise ValueError(gettext("Write day, month and year as numbers, for example 27 8 2024."))
        if len(year) != 4:
            raise ValueError(gettext("Write the year with four digits."))
        if day and not month:
            raise ValueError(gettext("Enter the month too, or leave the day empty."))
        if month and not 1 <= int(month) <= 12:
            raise ValueError(gettext("There is no month %(month)s. Use 1 to 12.", month=month))
        try:
            found = dt.date(int(year), int(month or 1), int(day or 1))
        except ValueError:
            raise ValueError(
                gettext(
                    "%(day)s.%(month)s.%(year)s does not exist. Check the day, or leave it empty.",
                    day=day,
                    month=month,
                    year=year,
                )
            ) from None
        # People east of here may have the next day already.
        if not self.may_lie_ahead and found > clock.now().date() + dt.timedelta(days=1):
            raise ValueError(gettext("This date lies in the future. Check the year."))
        if self.typed["about"] and not day:
            raise ValueError(
                gettext(
                    "An approximate date needs a day. If only the month or the year is known, clear the box: the date "
                    "is shown as exactly as you know it."
                )
            )
        if self.typed["about"]:
            return found, Precision.ABOUT
        return found, Precision.DAY if day else Precision.MONTH if month else Precision.YEAR


class DayField(PartialDateField):
    """An exact day. `data` is (date, Precision.DAY) or None; month or year alone is refused."""

    def _read(self) -> tuple[dt.date, Precision] | None:
        found = super()._read()
        if found is not None and found[1] is not Precision.DAY:
            raise ValueError(gettext("Enter day, month and year."))
        return found


class ComingDayField(DayField):
    """An exact day that may lie in the future."""

    may_lie_ahead = True


class VersionField(IntegerField):
    """The hidden version of the row that was opened, so that a stale save or decision is noticed."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        """What is no version at all is a stale one: 0."""
        super().process_formdata(valuelist)
        version = getattr(self, "data", None)
        self.data: int | None = version if version is not None and 0 <= version < 2**31 else 0


__all__ = [
    "N_",
    "BaseForm",
    "CleanText",
    "ComingDayField",
    "DayField",
    "PartialDateField",
    "Required",
    "SelectChoice",
    "StringField",
    "VersionField",
    "WordField",
    "choices",
    "say",
]
