"""The forms for proposing a finding and for deciding about one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_babel import gettext, lazy_gettext
from wtforms import RadioField, SelectMultipleField, TextAreaField
from wtforms.fields import SelectChoice

from tracker.forms.base import (
    BaseForm,
    CleanText,
    DayField,
    Required,
    StringField,
    VersionField,
    WordField,
    word_or_none,
)
from tracker.forms.harm import HarmQuestions
from tracker.models import Clause, Evidence, Finding
from tracker.services import findings as service
from tracker.services.harm import ANSWERS
from tracker.vocabulary import Access, Grade, Need, Precision


class FindingForm(BaseForm):
    """A grade with its reasons, for one clause or for several at once."""

    version = VersionField()
    targets = SelectMultipleField(lazy_gettext("Clauses"), coerce=int)
    grade = WordField(lazy_gettext("Grade"), Grade, lazy_gettext("Choose"))
    as_of = DayField(lazy_gettext("As of"))
    access = WordField(lazy_gettext("What could be observed"), Access, lazy_gettext("Choose"))
    rationale = TextAreaField(lazy_gettext("Reasons"), [CleanText(8000, lines=True)])
    evidence_ids = SelectMultipleField(lazy_gettext("Evidence cited"), coerce=int)
    would_change = TextAreaField(
        lazy_gettext("What would change this finding"), [CleanText(4000, lines=True)]
    )
    search_what = StringField(lazy_gettext("What was looked for"), [CleanText(500)])
    search_where = StringField(lazy_gettext("Where"), [CleanText(500)])
    search_languages = StringField(lazy_gettext("In which languages"), [CleanText(200)])
    search_until = DayField(lazy_gettext("Until when"))
    correction = TextAreaField(
        lazy_gettext("What was wrong with the finding that stands"), [CleanText(2000, lines=True)]
    )

    def prepare(self, clauses: Sequence[Clause], evidence: Sequence[Evidence]) -> FindingForm:
        """Hand in what can be chosen; forms do not query."""
        self.targets.choices = [SelectChoice(clause.id, clause.title) for clause in clauses]
        self.evidence_ids.choices = [SelectChoice(piece.id, piece.title) for piece in evidence]
        return self

    def fields(self) -> service.Fields:
        """What was entered, for the service."""
        return service.Fields(
            grade=self.grade.data,
            as_of=self.as_of.data[0] if self.as_of.data else None,
            access=self.access.data,
            rationale=self.rationale.data,
            would_change=self.would_change.data,
            search_what=self.search_what.data,
            search_where=self.search_where.data,
            search_languages=self.search_languages.data,
            search_until=self.search_until.data[0] if self.search_until.data else None,
            correction=self.correction.data,
            evidence_ids=self.evidence_ids.data or [],
        )

    @staticmethod
    def values(finding: Finding) -> dict[str, Any]:
        """What the form shows for a proposal that exists."""
        return {
            "version": finding.version,
            "grade": finding.grade,
            "as_of": (finding.as_of, Precision.DAY) if finding.as_of else None,
            "access": finding.access,
            "rationale": finding.rationale,
            "would_change": finding.would_change,
            "search_what": finding.search_what,
            "search_where": finding.search_where,
            "search_languages": finding.search_languages,
            "search_until": (finding.search_until, Precision.DAY) if finding.search_until else None,
            "correction": finding.correction,
            "evidence_ids": [citation.evidence_id for citation in finding.citations],
        }


class DecisionForm(BaseForm):
    """Accept or return, with a reason. For evidence and replies.

    Whoever returns something says what is wanting, so that its author knows where to begin.
    """

    asks_needs = True

    version = VersionField()
    decision = RadioField(
        lazy_gettext("Your decision"),
        [Required(lazy_gettext("Choose whether you accept or return it."))],
        choices=lambda: [
            SelectChoice("accept", gettext("Accept")),
            SelectChoice("return", gettext("Return")),
        ],
    )
    needs = SelectMultipleField(
        lazy_gettext("What is wanting?"),
        coerce=word_or_none(Need),
        choices=lambda: [SelectChoice(need, gettext(need.label)) for need in Need],
    )
    reason = TextAreaField(lazy_gettext("Reasons"), [CleanText(2000, lines=True)])

    def validate(self, extra_validators: Any = None) -> bool:
        """To return something is to say what is wanting."""
        good = bool(super().validate(extra_validators))
        if self.asks_needs and self.decision.data == "return" and not self.needs.data:
            self.needs.errors = [gettext("Tick what is wanting, so that its author knows where to begin.")]
            good = False
        return good

    @property
    def seen(self) -> int:
        """The version that stood on the page with the form; 0, which no row ever has, where none came with it."""
        return self.version.data or 0


class HarmDecisionForm(HarmQuestions, DecisionForm):
    """Approve or return a finding, after a short list of questions about harm."""

    decision = RadioField(
        lazy_gettext("Your decision"),
        [Required(lazy_gettext("Choose whether you approve or return it."))],
        choices=lambda: [
            SelectChoice("approve", gettext("Approve and publish now")),
            SelectChoice("return", gettext("Return to the proposer")),
        ],
    )

    def validate(self, extra_validators: Any = None) -> bool:
        """The questions must be answered to approve; a return needs none of them."""
        good = bool(super().validate(extra_validators))
        if self.decision.data == "approve":
            for question in self.questions:
                if question.data not in ANSWERS:
                    question.errors = [gettext("Answer this question before you approve.")]
                    good = False
        return good


class WithdrawalForm(BaseForm):
    """Why something public is taken away."""

    reason = TextAreaField(lazy_gettext("Why it is withdrawn"), [CleanText(2000, lines=True)])
