"""The forms about sources: who they are, what comes from them, and what they agreed to."""

from __future__ import annotations

from flask_babel import lazy_gettext
from wtforms import TextAreaField

from tracker.forms.base import BaseForm, CleanText, ComingDayField, DayField, StringField, WordField
from tracker.sealed_file import Identity
from tracker.services import consents
from tracker.vocabulary import ConsentScope


class IdentityForm(BaseForm):
    """Who a source is. What is typed here is sealed when it is saved, and cannot be shown again."""

    name = StringField(lazy_gettext("Name"), [CleanText(300)])
    contact = TextAreaField(lazy_gettext("Contact"), [CleanText(2000, lines=True)])
    safe_contact = TextAreaField(lazy_gettext("How to reach them safely"), [CleanText(4000, lines=True)])
    notes = TextAreaField(lazy_gettext("Notes"), [CleanText(8000, lines=True)])
    words = TextAreaField(lazy_gettext("Names to warn about"), [CleanText(2000, lines=True)])

    def identity(self) -> Identity:
        """What was entered, for the service."""
        return Identity(self.name.data, self.contact.data, self.safe_contact.data, self.notes.data)

    def names(self) -> list[str]:
        """The names to warn about, one a line."""
        return [line.strip() for line in self.words.data.splitlines() if line.strip()]


class LinkForm(BaseForm):
    """Which source a piece of evidence comes from."""

    pseudonym = StringField(lazy_gettext("Pseudonym of the source"), [CleanText(20)])


class ConsentForm(BaseForm):
    """A line of the consent ledger."""

    scope = WordField(lazy_gettext("What the person agreed to"), ConsentScope)
    given_on = DayField(lazy_gettext("When they agreed"))
    language = StringField(lazy_gettext("Language in which it was explained"), [CleanText(35)])
    expires_on = ComingDayField(lazy_gettext("Last day on which it holds"))
    pseudonym = StringField(lazy_gettext("Pseudonym of the source"), [CleanText(20)])
    note = TextAreaField(lazy_gettext("Note"), [CleanText(2000, lines=True)])

    def fields(self, source_id: int | None) -> consents.Fields:
        """What was entered, for the service. The page has looked the pseudonym up."""
        return consents.Fields(
            scope=self.scope.data,
            given_on=self.given_on.data[0] if self.given_on.data else None,
            language=self.language.data,
            expires_on=self.expires_on.data[0] if self.expires_on.data else None,
            note=self.note.data,
            source_id=source_id,
        )


class ConsentEndForm(BaseForm):
    """The day on which a person took back what they agreed to."""

    withdrawn_on = DayField(lazy_gettext("When they took it back"))
