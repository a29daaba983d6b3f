"""The forms by which somebody follows, and changes what they follow."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from babel.dates import get_day_names
from email_validator import EmailNotValidError, validate_email
from flask_babel import get_locale, gettext, lazy_gettext
from wtforms import SelectField, SelectMultipleField, StringField, TextAreaField
from wtforms.validators import ValidationError

from tracker import clock, openpgp, pages
from tracker.errors import Invalid
from tracker.forms.base import (
    BaseForm,
    CleanText,
    ComingDayField,
    Required,
    SelectChoice,
    WordField,
    say,
)
from tracker.models import Report, Theme
from tracker.services import choices as chosen
from tracker.services import schedule
from tracker.services.choices import EVERYTHING, Choices, Followed
from tracker.services.schedule import Rhythm
from tracker.vocabulary import Channel, Disclosure, Frequency, Scope


@dataclass(frozen=True)
class Offered:
    """What can be followed."""

    reports: Sequence[Report]
    themes: Sequence[Theme]
    countries: Sequence[str]


class ChoicesForm(BaseForm):
    """What to follow, and when."""

    what = SelectField("", choices=[], validators=[Required()])
    reports = SelectMultipleField("", choices=[])
    recommendations = SelectMultipleField("", choices=[])
    themes = SelectMultipleField("", choices=[])
    countries = SelectMultipleField("", choices=[])
    search = StringField("")
    frequency = WordField("", Frequency, validators=[Required()])
    weekday = SelectField("", coerce=int, choices=[])
    month_day = SelectField(
        "", coerce=int, choices=[SelectChoice(str(day), str(day)) for day in range(1, 32)]
    )
    hour = SelectField(
        "", coerce=int, choices=[SelectChoice(str(hour), f"{hour:02}:00") for hour in range(24)]
    )
    timezone = SelectField("", choices=[])
    language = SelectField("", choices=[])
    disclosure = WordField("", Disclosure, validators=[Required()])

    def __init__(self, formdata: Any = None, *, offered: Offered, **values: Any) -> None:
        self.offered = offered
        super().__init__(formdata, **values)

    def process(
        self,
        formdata: Any = None,
        obj: Any = None,
        data: Any = None,
        extra_filters: Any = None,
        **kwargs: Any,
    ) -> None:
        """Fill the choices before anything is read."""
        self._name()
        reports = self.offered.reports
        self.what.choices = [
            SelectChoice("everything", gettext(Scope.EVERYTHING.label)),
            SelectChoice("chosen", gettext("Only what I choose here")),
        ]
        self.reports.choices = [SelectChoice(report.slug, report.short_title) for report in reports]
        self.recommendations.choices = [
            SelectChoice(f"{report.slug}/{recommendation.number}", recommendation.title)
            for report in reports
            for recommendation in report.recommendations
        ]
        self.themes.choices = [SelectChoice(theme.slug, theme.name) for theme in self.offered.themes]
        self.countries.choices = [SelectChoice(country, country) for country in self.offered.countries]
        names = get_day_names("wide", locale=get_locale())
        self.weekday.choices = [SelectChoice(str(day), names[day]) for day in range(7)]
        self.timezone.choices = [
            SelectChoice(
                name, name.partition("/")[2].replace("_", " ") or name, optgroup=name.partition("/")[0]
            )
            for name in schedule.timezones()
        ]
        self.language.choices = [SelectChoice(code, pages.language_name(code)) for code in pages.languages()]
        super().process(formdata, obj, data, extra_filters, **kwargs)

    def _name(self) -> None:
        wrong = gettext("Choose one of the offered answers.")
        labels = {
            "what": gettext("Scope"),
            "reports": gettext("Whole reports"),
            "recommendations": gettext("Single recommendations"),
            "themes": gettext("Themes"),
            "countries": gettext("Countries"),
            "search": gettext("Whatever holds these words"),
            "frequency": gettext("How often"),
            "weekday": gettext("Day of the week"),
            "month_day": gettext("Day of the month"),
            "hour": gettext("Your local time"),
            "timezone": gettext("Time zone"),
            "language": gettext("Language"),
            "disclosure": gettext("Think of who might see your inbox, or your phone’s lock screen"),
        }
        for name, label in labels.items():
            self[name].label.text = label
            self[name].invalid_value_message = wrong
            self[name].invalid_choice_message = wrong

    def validate_search(self, field: StringField) -> None:
        """Two to 200 characters that can be stored, or nothing."""
        try:
            field.data = chosen.search_words(field.data) if (field.data or "").strip() else ""
        except Invalid as error:
            field.data = (field.data or "").replace("\x00", "")
            raise ValidationError(say(error)) from None

    def validate_what(self, field: SelectField) -> None:
        """Nothing is guessed: who ticks single things and "everything" is asked which of the two."""
        single = any(
            self[name].data for name in ("reports", "recommendations", "themes", "countries", "search")
        )
        if field.data == "everything" and single:
            raise ValidationError(
                gettext("You chose single things too. Choose “Only what I choose here”, or clear them.")
            )
        if field.data == "chosen" and not single:
            raise ValidationError(gettext("Choose at least one thing to follow."))

    def choices(self) -> Choices:
        """What was chosen, as the service takes it."""
        return Choices(
            Rhythm(
                self.frequency.data,
                self.weekday.data,
                self.month_day.data,
                self.hour.data,
                self.timezone.data,
            ),
            EVERYTHING if self.what.data == "everything" else chosen.tidy(self._follows()),
            self.language.data,
            self.disclosure.data,
        )

    def _follows(self) -> list[Followed]:
        reports = self.offered.reports
        found = [
            Followed(Scope.REPORT, report.id)
            for report in reports
            if report.slug in (self.reports.data or [])
        ]
        found += [
            Followed(Scope.RECOMMENDATION, None, one.id)
            for report in reports
            for one in report.recommendations
            if f"{report.slug}/{one.number}" in (self.recommendations.data or [])
        ]
        found += [Followed(Scope.THEME, value=slug) for slug in self.themes.data or []]
        found += [Followed(Scope.COUNTRY, value=country) for country in self.countries.data or []]
        if self.search.data:
            found.append(Followed(Scope.SEARCH, value=self.search.data))
        return found


class KeyForm(BaseForm):
    """An OpenPGP public key."""

    openpgp = TextAreaField(lazy_gettext("OpenPGP public key"))

    def validate_openpgp(self, field: TextAreaField) -> None:
        """A key that mails can be encrypted to now."""
        field.data = checked_key(field)
        if not field.data:
            raise ValidationError(gettext("Paste your public key, from -----BEGIN to END-----."))


class PauseForm(BaseForm):
    """Until when nothing is sent."""

    until = ComingDayField(lazy_gettext("The last day without messages"))

    def validate_until(self, field: ComingDayField) -> None:
        """A day; whether it can be is the service's to say."""
        if not field.data:
            raise ValidationError(gettext("Enter day, month and year."))


class SubscriptionForm(ChoicesForm):
    """The public form: what, when, how much a mail may say, and where to."""

    channel = WordField("", Channel, validators=[Required()])
    email = StringField(lazy_gettext("E-mail address"), validators=[CleanText(254)])
    openpgp = TextAreaField(lazy_gettext("OpenPGP public key (optional)"))
    # While somebody only looks how many messages it would be, no address is needed.
    only_looking = False

    def _name(self) -> None:
        super()._name()
        self.channel.label.text = gettext("How do you want to read?")
        self.channel.invalid_value_message = gettext("Choose one of the offered answers.")

    def validate_email(self, field: StringField) -> None:
        """Any address that mail can be sent to in plain letters."""
        if self.only_looking or self.channel.data is not Channel.EMAIL:
            return
        try:
            # Encoded words in an address would be read as something else by old mail programs.
            if "=?" in (field.data or ""):
                raise EmailNotValidError
            found = validate_email(field.data or "", check_deliverability=False, allow_smtputf8=False)
        except EmailNotValidError:
            raise ValidationError(gettext("Enter an e-mail address, for example name@example.org.")) from None
        field.data = found.ascii_email

    def validate_openpgp(self, field: TextAreaField) -> None:
        """Nothing, or a key that mails can be encrypted to now."""
        if not self.only_looking and self.channel.data is Channel.EMAIL:
            field.data = checked_key(field)


def checked_key(field: TextAreaField) -> str:
    """The key as it is stored, "" for none. Raises ValidationError with a sentence for one that cannot be used."""
    armored = (field.data or "").replace("\x00", "").strip()
    field.data = armored
    if not armored:
        return ""
    try:
        return openpgp.check(armored, now=clock.now())
    except Invalid as error:
        raise ValidationError(say(error)) from None


def values_of(choices: Choices, offered: Offered) -> dict[str, Any]:
    """Choices as the form's values."""
    rhythm = choices.rhythm
    numbers = {
        scope: {one.report_id or one.recommendation_id for one in choices.follows if one.scope is scope}
        for scope in (Scope.REPORT, Scope.RECOMMENDATION)
    }
    words = {
        scope: [one.value for one in choices.follows if one.scope is scope]
        for scope in (Scope.THEME, Scope.COUNTRY, Scope.SEARCH)
    }
    return {
        "what": "everything" if choices.follows == EVERYTHING else "chosen",
        "reports": [report.slug for report in offered.reports if report.id in numbers[Scope.REPORT]],
        "recommendations": [
            f"{report.slug}/{one.number}"
            for report in offered.reports
            for one in report.recommendations
            if one.id in numbers[Scope.RECOMMENDATION]
        ],
        "themes": words[Scope.THEME],
        "countries": words[Scope.COUNTRY],
        "search": next(iter(words[Scope.SEARCH]), ""),
        "frequency": rhythm.frequency,
        "weekday": rhythm.weekday,
        "month_day": rhythm.month_day,
        "hour": rhythm.hour,
        "timezone": rhythm.timezone,
        "language": choices.language if choices.language in pages.languages() else pages.languages()[0],
        "disclosure": choices.disclosure,
    }


def day_of(field: ComingDayField) -> dt.date:
    """The day that was entered."""
    found: dt.date = field.data[0]  # type: ignore[index]
    return found
