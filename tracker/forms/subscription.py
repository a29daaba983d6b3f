"""The forms by which somebody follows, and changes what they follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from babel.dates import get_day_names
from email_validator import EmailNotValidError, validate_email
from flask_babel import get_locale, gettext, lazy_gettext
from wtforms import SelectField, SelectMultipleField, StringField
from wtforms.validators import ValidationError

from tracker.forms.base import BaseForm, CleanText, Required, SelectChoice, WordField
from tracker.models import Report
from tracker.services import schedule
from tracker.services.schedule import Rhythm
from tracker.services.subscriptions import Choices
from tracker.vocabulary import Frequency, Scope


class ChoicesForm(BaseForm):
    """What to follow, and when."""

    scope = WordField("", Scope, validators=[Required()])
    report = SelectField("", choices=[])
    recommendations = SelectMultipleField("", choices=[])
    frequency = WordField("", Frequency, validators=[Required()])
    weekday = SelectField("", coerce=int, choices=[])
    month_day = SelectField(
        "", coerce=int, choices=[SelectChoice(str(day), str(day)) for day in range(1, 32)]
    )
    hour = SelectField(
        "", coerce=int, choices=[SelectChoice(str(hour), f"{hour:02}:00") for hour in range(24)]
    )
    timezone = SelectField("", choices=[])

    def __init__(self, formdata: Any = None, *, reports: Iterable[Report], **values: Any) -> None:
        self.reports = list(reports)
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
        wrong = gettext("Choose one of the offered answers.")
        labels = {
            "scope": gettext("Scope"),
            "report": gettext("Report"),
            "recommendations": gettext("Single recommendations"),
            "frequency": gettext("How often"),
            "weekday": gettext("Day of the week"),
            "month_day": gettext("Day of the month"),
            "hour": gettext("Your local time"),
            "timezone": gettext("Time zone"),
        }
        for name, label in labels.items():
            self[name].label.text = label
            self[name].invalid_value_message = wrong
            self[name].invalid_choice_message = wrong
        names = get_day_names("wide", locale=get_locale())
        self.weekday.choices = [SelectChoice(str(day), names[day]) for day in range(7)]
        self.report.choices = [SelectChoice(report.slug, report.short_title) for report in self.reports]
        self.recommendations.choices = [
            SelectChoice(f"{report.slug}/{recommendation.number}", recommendation.title)
            for report in self.reports
            for recommendation in report.recommendations
        ]
        self.timezone.choices = [
            SelectChoice(
                name, name.partition("/")[2].replace("_", " ") or name, optgroup=name.partition("/")[0]
            )
            for name in schedule.timezones()
        ]
        super().process(formdata, obj, data, extra_filters, **kwargs)

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
            self.scope.data,
            next((report.id for report in self.reports if report.slug == self.report.data), None)
            if self.scope.data is Scope.REPORT
            else None,
            tuple(
                recommendation.id
                for report in self.reports
                for recommendation in report.recommendations
                if f"{report.slug}/{recommendation.number}" in (self.recommendations.data or [])
            )
            if self.scope.data is Scope.RECOMMENDATION
            else (),
        )


class SubscriptionForm(ChoicesForm):
    """The public form: what, when, and where to."""

    email = StringField(lazy_gettext("E-mail address"), validators=[CleanText(254)])

    def validate_email(self, field: StringField) -> None:
        """Any address that mail can be sent to in plain letters."""
        try:
            # Encoded words in an address would be read as something else by old mail programs.
            if "=?" in (field.data or ""):
                raise EmailNotValidError
            found = validate_email(field.data or "", check_deliverability=False, allow_smtputf8=False)
        except EmailNotValidError:
            raise ValidationError(gettext("Enter an e-mail address, for example name@example.org.")) from None
        field.data = found.ascii_email


def values_of(choices: Choices, reports: Iterable[Report]) -> dict[str, Any]:
    """Choices as the form's values."""
    reports = list(reports)
    rhythm = choices.rhythm
    return {
        "scope": choices.scope,
        "report": next((report.slug for report in reports if report.id == choices.report_id), None),
        "recommendations": [
            f"{report.slug}/{recommendation.number}"
            for report in reports
            for recommendation in report.recommendations
            if recommendation.id in choices.recommendation_ids
        ],
        "frequency": rhythm.frequency,
        "weekday": rhythm.weekday,
        "month_day": rhythm.month_day,
        "hour": rhythm.hour,
        "timezone": rhythm.timezone,
    }
