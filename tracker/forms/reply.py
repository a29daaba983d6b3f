"""The form for a reply of the State."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask_babel import lazy_gettext
from wtforms import SelectField, SelectMultipleField, TextAreaField
from wtforms.fields import SelectChoice

from tracker.forms.base import BaseForm, CleanText, PartialDateField, StringField, VersionField, WordField
from tracker.models import Evidence, Recommendation, Reply
from tracker.services import replies as service
from tracker.vocabulary import Position, Precision


class ReplyForm(BaseForm):
    """What the State itself says, with its words and where they were published."""

    version = VersionField()
    author = StringField(lazy_gettext("Who replied"), [CleanText(200)])
    position = WordField(lazy_gettext("Position"), Position, lazy_gettext("Choose"))
    replied = PartialDateField(lazy_gettext("When"))
    recommendation_ids = SelectMultipleField(lazy_gettext("Recommendations it speaks to"), coerce=int)
    summary = TextAreaField(lazy_gettext("Summary, in our own words"), [CleanText(4000, lines=True)])
    quotations = TextAreaField(
        lazy_gettext("Quotations, in the State's words"), [CleanText(8000, lines=True)]
    )
    source_publisher = StringField(lazy_gettext("Where the reply was published"), [CleanText(300)])
    source_title = StringField(lazy_gettext("Title of the document or page"), [CleanText(300)])
    source_url = StringField(lazy_gettext("Web address"), [CleanText(2000)])
    evidence_id = SelectField(
        lazy_gettext("Or: the evidence that shows it"), coerce=lambda value: int(value or 0)
    )

    def prepare(self, recommendations: Sequence[Recommendation], evidence: Sequence[Evidence]) -> ReplyForm:
        """Hand in what can be chosen; forms do not query."""
        self.recommendation_ids.choices = [SelectChoice(one.id, one.title) for one in recommendations]
        self.evidence_id.choices = [
            SelectChoice(0, "–"),
            *(SelectChoice(piece.id, f"[{piece.number}] {piece.title}") for piece in evidence),
        ]
        return self

    def fields(self) -> service.Fields:
        """What was entered, for the service. Quotations are parted by empty lines."""
        replied_on, precision = self.replied.data or (None, Precision.DAY)
        return service.Fields(
            author=self.author.data,
            position=self.position.data,
            replied_on=replied_on,
            date_precision=precision,
            summary=self.summary.data,
            quotations=[part.strip() for part in self.quotations.data.split("\n\n") if part.strip()],
            source_publisher=self.source_publisher.data,
            source_title=self.source_title.data,
            source_url=self.source_url.data,
            evidence_id=self.evidence_id.data or None,
            recommendation_ids=self.recommendation_ids.data or [],
        )

    @staticmethod
    def values(reply: Reply) -> dict[str, Any]:
        """What the form shows for a reply that exists."""
        return {
            "version": reply.version,
            "author": reply.author,
            "position": reply.position,
            "replied": (reply.replied_on, reply.date_precision) if reply.replied_on else None,
            "recommendation_ids": [target.recommendation_id for target in reply.targets],
            "summary": reply.summary,
            "quotations": "\n\n".join(quotation.text for quotation in reply.quotations),
            "source_publisher": reply.source_publisher,
            "source_title": reply.source_title,
            "source_url": reply.source_url,
            "evidence_id": reply.evidence_id or 0,
        }
