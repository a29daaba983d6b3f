"""The form for a piece of evidence: shape and wording. The rules are the service's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_babel import gettext, lazy_gettext
from werkzeug.datastructures import MultiDict
from wtforms import Field, SelectMultipleField, TextAreaField
from wtforms.fields import SelectChoice

from tracker.forms.base import BaseForm, CleanText, PartialDateField, StringField, VersionField, WordField
from tracker.models import Account, Evidence, Recommendation
from tracker.services import evidence as service
from tracker.vocabulary import (
    Credibility,
    Direction,
    Precision,
    Reliability,
    SourceType,
    Visibility,
)


class BearingsField(Field):
    """A direction, or none, for every recommendation and clause of a report. `data` is a list of `Bears`."""

    recommendations: Sequence[Recommendation] = ()

    @property
    def first_id(self) -> str:
        return f"{self.id}-r{self.recommendations[0].id}" if self.recommendations else self.id

    def process(
        self, formdata: MultiDict[str, str] | None, data: Any = None, extra_filters: Any = None
    ) -> None:
        self.process_errors: list[str] = []
        self.data = list(data or [])
        self._typed = formdata

    def read(self, recommendations: Sequence[Recommendation]) -> None:
        """Take the answers, now that the report's recommendations are known. Unknown words are no answer."""
        self.recommendations = recommendations
        if self._typed is None or f"{self.name}-shown" not in self._typed:
            return
        self.data = []
        for recommendation in recommendations:
            for clause in (None, *recommendation.clauses):
                value = self._typed.get(self.part(recommendation.id, clause.id if clause else None), "")
                if value in {direction.value for direction in Direction}:
                    self.data.append(
                        service.Bears(recommendation.id, clause.id if clause else None, Direction(value))  # type: ignore[call-arg]
                    )

    def part(self, recommendation_id: int, clause_id: int | None) -> str:
        """The name of one select on the page."""
        return f"{self.name}-r{recommendation_id}" if clause_id is None else f"{self.name}-c{clause_id}"

    def chosen(self, recommendation_id: int, clause_id: int | None) -> Direction | None:
        """What was answered for one of them."""
        for item in self.data:
            if (item.recommendation_id, item.clause_id) == (recommendation_id, clause_id):
                return item.direction  # type: ignore[no-any-return]
        return None

    def any_chosen(self, recommendation: Recommendation) -> bool:
        """Whether anything of this recommendation was answered, so that the page opens it."""
        return any(item.recommendation_id == recommendation.id for item in self.data)


class LinksField(TextAreaField):
    """Web addresses, one a line. `data` is the text."""


class EvidenceForm(BaseForm):
    """One piece of evidence, what it bears on, and who may see which part of it."""

    version = VersionField()
    title = StringField(lazy_gettext("Title"), [CleanText(200)])
    occurred = PartialDateField(lazy_gettext("When it happened"))
    summary = TextAreaField(lazy_gettext("Summary for the public"), [CleanText(4000, lines=True)])
    bearings = BearingsField(lazy_gettext("What it bears on"))
    publisher = StringField(lazy_gettext("Who says so"), [CleanText(300)])
    source_type = WordField(lazy_gettext("Type of source"), SourceType, lazy_gettext("Choose"))
    links = LinksField(lazy_gettext("Where it was published"), [CleanText(8000, lines=True)])
    language = StringField(lazy_gettext("Language of the source"), [CleanText(35)])
    reliability = WordField(lazy_gettext("The source is"), Reliability, lazy_gettext("Choose"))
    credibility = WordField(lazy_gettext("The information is"), Credibility, lazy_gettext("Choose"))
    remark = StringField(lazy_gettext("Remark on the date or the copy"), [CleanText(500)])
    team_note = TextAreaField(lazy_gettext("Note for colleagues"), [CleanText(8000, lines=True)])
    visibility = WordField(lazy_gettext("Who may see this piece"), Visibility, default=Visibility.TEAM)
    readers = SelectMultipleField(lazy_gettext("Who may read it"), coerce=int, validate_choice=True)

    def prepare(self, recommendations: Sequence[Recommendation], people: Sequence[Account]) -> EvidenceForm:
        """Hand in what can be chosen; forms do not query."""
        self.bearings.read(recommendations)
        self.readers.choices = [
            SelectChoice(person.id, f"{person.name} ({gettext(person.role.label)})") for person in people
        ]
        return self

    def fields(self) -> service.Fields:
        """What was entered, for the service."""
        occurred_on, precision = self.occurred.data or (None, Precision.DAY)
        return service.Fields(
            title=self.title.data,
            summary=self.summary.data,
            occurred_on=occurred_on,
            date_precision=precision,
            publisher=self.publisher.data,
            source_type=self.source_type.data,
            language=self.language.data,
            reliability=self.reliability.data,
            credibility=self.credibility.data,
            visibility=self.visibility.data or Visibility.TEAM,
            remark=self.remark.data,
            team_note=self.team_note.data,
            links=[line.strip() for line in self.links.data.splitlines() if line.strip()],
            bearings=self.bearings.data,
            reader_ids=self.readers.data or [],
        )

    @staticmethod
    def values(evidence: Evidence) -> dict[str, Any]:
        """What the form shows for a piece that exists."""
        return {
            "version": evidence.version,
            "title": evidence.title,
            "summary": evidence.summary,
            "occurred": (evidence.occurred_on, evidence.date_precision) if evidence.occurred_on else None,
            "publisher": evidence.publisher,
            "source_type": evidence.source_type,
            "links": "\n".join(link.url for link in evidence.links),
            "language": evidence.language,
            "reliability": evidence.reliability,
            "credibility": evidence.credibility,
            "remark": evidence.remark,
            "team_note": evidence.team_note,
            "visibility": evidence.visibility,
            "readers": [reader.account_id for reader in evidence.readers],
            "bearings": [
                service.Bears(item.recommendation_id, item.clause_id, item.direction)
                for item in evidence.bearings
            ],
        }
