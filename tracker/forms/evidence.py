"""The form for a piece of evidence: shape and wording. The rules are the service's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from flask_babel import gettext, lazy_gettext
from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, Field, RadioField, SelectMultipleField, TextAreaField
from wtforms.fields import SelectChoice

from tracker.forms.base import (
    BaseForm,
    CleanText,
    ComingDayField,
    PartialDateField,
    StringField,
    VersionField,
    WordField,
    choices,
    word_or_none,
)
from tracker.forms.finding import DecisionForm
from tracker.forms.harm import HarmQuestions
from tracker.keyring import Keyring
from tracker.models import Account, Evidence, Recommendation
from tracker.services import evidence as service
from tracker.services.harm import Harm
from tracker.vocabulary import (
    Credibility,
    Detail,
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


class DetailReadersField(RadioField):
    """Who may read a detail: the team, or the author and the people named."""

    def __init__(self, label: str, **kwargs: Any) -> None:
        super().__init__(
            label,
            coerce=word_or_none(Visibility),
            choices=lambda: choices([Visibility.RESTRICTED, Visibility.TEAM]),
            default=Visibility.RESTRICTED,
            **kwargs,
        )


#: The fields of each detail: its words, and who may read them.
DETAILS = {
    Detail.EXACT_DATE: ("exact_date", "exact_date_readers"),
    Detail.EXACT_PLACE: ("exact_place", "exact_place_readers"),
    Detail.NAMES: ("names", "names_readers"),
}


class EvidenceForm(BaseForm):
    """One piece of evidence, what it bears on, and who may see which part of it."""

    version = VersionField()
    title = StringField(lazy_gettext("Title"), [CleanText(200)])
    occurred = PartialDateField(lazy_gettext("When it happened"))
    place = StringField(lazy_gettext("Where it happened"), [CleanText(200)])
    summary = TextAreaField(lazy_gettext("Summary for the public"), [CleanText(4000, lines=True)])
    bearings = BearingsField(lazy_gettext("What it bears on"))
    publisher = StringField(lazy_gettext("Who says so"), [CleanText(300)])
    source_type = WordField(lazy_gettext("Type of source"), SourceType, lazy_gettext("Choose"))
    links = LinksField(lazy_gettext("Where it was published"), [CleanText(8000, lines=True)])
    language = StringField(lazy_gettext("Language of the source"), [CleanText(35)])
    reliability = WordField(lazy_gettext("The source is"), Reliability, lazy_gettext("Choose"))
    credibility = WordField(lazy_gettext("The information is"), Credibility, lazy_gettext("Choose"))
    remark = StringField(lazy_gettext("Remark on the date or the copy"), [CleanText(500)])
    exact_date = StringField(lazy_gettext("Exact date and time"), [CleanText(200)])
    exact_date_readers = DetailReadersField(lazy_gettext("Who may read the exact date"))
    exact_place = TextAreaField(lazy_gettext("Exact place"), [CleanText(1000, lines=True)])
    exact_place_readers = DetailReadersField(lazy_gettext("Who may read the exact place"))
    names = TextAreaField(lazy_gettext("Names"), [CleanText(4000, lines=True)])
    names_readers = DetailReadersField(lazy_gettext("Who may read the names"))
    team_note = TextAreaField(lazy_gettext("Note for colleagues"), [CleanText(8000, lines=True)])
    visibility = WordField(lazy_gettext("Who may see this piece"), Visibility, default=Visibility.TEAM)
    readers = SelectMultipleField(lazy_gettext("Who may read it"), coerce=int, validate_choice=True)
    not_before = ComingDayField(lazy_gettext("Publish not before"))
    from_person = BooleanField(
        lazy_gettext("A person gave us this, in an interview, a message or a document")
    )

    def prepare(
        self,
        recommendations: Sequence[Recommendation],
        people: Sequence[Account],
        hidden: Collection[Detail] = (),
    ) -> EvidenceForm:
        """Hand in what can be chosen; forms do not query. Details in `hidden` are not asked for, and stay as they are."""
        for detail in hidden:
            for name in DETAILS[detail]:
                del self[name]
        self.bearings.read(recommendations)
        self.readers.choices = [
            SelectChoice(person.id, f"{person.name} ({gettext(person.role.label)})") for person in people
        ]
        return self

    @property
    def asked_details(self) -> list[tuple[Field, Field]]:
        """The fields of each detail that this person may read: its words, and who may read them."""
        return [(self[words], self[readers]) for words, readers in DETAILS.values() if words in self]

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
            place=self.place.data,
            not_before=self.not_before.data[0] if self.not_before.data else None,
            from_person=self.from_person.data,
            details={
                detail: (self[words].data, self[readers].data)
                for detail, (words, readers) in DETAILS.items()
                if words in self
            },
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
            "place": evidence.place,
            "not_before": (evidence.not_before, Precision.DAY) if evidence.not_before else None,
            "from_person": evidence.from_person,
            **{DETAILS[row.detail][0]: row.value for row in evidence.details},
            **{DETAILS[row.detail][1]: row.visibility for row in evidence.details},
            "bearings": [
                service.Bears(item.recommendation_id, item.clause_id, item.direction)
                for item in evidence.bearings
            ],
        }


class EvidenceDecisionForm(HarmQuestions, DecisionForm):
    """Accept or return evidence. What is to be public needs the questions about harm, and a look at each warning."""

    remark = TextAreaField(lazy_gettext("Why a Yes is acceptable"), [CleanText(2000, lines=True)])
    # The fingerprint of the warnings beside which the box stood.
    looked = StringField(lazy_gettext("I looked at each warning"), [CleanText(64)])

    def harm(self, keys: Keyring) -> Harm:
        """What was answered, for the service."""
        return Harm(self.answers(), self.remark.data, self.looked.data, keys)


class ErasureForm(BaseForm):
    """Why something must be erased for good."""

    # An id of its own: the page that holds this form also asks for the reasons of a decision.
    reason = TextAreaField(
        lazy_gettext("Why it must be erased"), [CleanText(1000, lines=True)], id="erasure-reason"
    )
