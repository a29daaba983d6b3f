"""Rows to start from, for tests. Everything is about the fictional Republic of Arvenia."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

from sqlalchemy.orm import Session

from tracker.models import Account, Addressee, Bearing, Clause, Evidence, EvidenceLink, Recommendation, Report
from tracker.vocabulary import (
    AddresseeKind,
    Credibility,
    Direction,
    Precision,
    Reliability,
    Role,
    SourceType,
    State,
    Visibility,
)


class Factory:
    """Makes rows and commits them, so that the app, which has sessions of its own, sees them."""

    def __init__(self, session: Session, now: dt.datetime) -> None:
        self.session, self.now = session, now
        self._numbers = itertools.count(1)

    def account(self, role: Role = Role.MONITOR, name: str | None = None, **values: Any) -> Account:
        """Somebody of the team; `mona` monitors, `rafa` reviews."""
        number = next(self._numbers)
        return self._add(
            Account(
                **{
                    "email": f"{role.value}{number}@arvenia.example",
                    "name": name or f"{role.value.title()} {number}",
                    "role": role,
                    "created_at": self.now,
                    **values,
                }
            )
        )

    def report(self, slug: str = "lower-valley") -> Report:
        """A report with 88(a), which has clauses a and b, 88(b) without clauses, and 89 to business."""
        report = Report(
            slug=slug,
            title="Assessment of the situation in the Lower Valley",
            short_title="Lower Valley, 2023",
            issuer="Office of Assessments",
            country="Republic of Arvenia",
            published_on=dt.date(2023, 3, 14),
            language="en",
            demonstration=True,
            created_at=self.now,
        )
        government = Addressee(
            report=report,
            slug="government",
            name="Government of Arvenia",
            kind=AddresseeKind.GOVERNMENT,
            chapeau="It is recommended that the Government:",
            position=1,
        )
        business = Addressee(
            report=report,
            slug="business",
            name="Business",
            kind=AddresseeKind.BUSINESS,
            chapeau="",
            position=2,
        )
        first = Recommendation(
            report=report,
            addressee=government,
            number="88-a",
            reference="88(a)",
            position=1,
            page=41,
            title="Release people held without charge",
            text="Release all persons held without charge, and publish the number of persons released;",
        )
        first.clauses = [
            Clause(label="a", title="Release", text="Release all persons held without charge", position=1),
            Clause(label="b", title="Publish", text="publish the number of persons released", position=2),
        ]
        Recommendation(
            report=report,
            addressee=government,
            number="88-b",
            reference="88(b)",
            position=2,
            page=41,
            title="Tell families",
            text="Inform families of the whereabouts of relatives;",
        )
        Recommendation(
            report=report,
            addressee=business,
            number="89",
            reference="89",
            position=3,
            page=42,
            title="Check quarries",
            text="Check quarries and mills.",
        )
        return self._add(report)

    def evidence(
        self, recommendation: Recommendation, clause: Clause | None = None, **values: Any
    ) -> Evidence:
        """A complete draft that bears on one recommendation; not published (the service does that)."""
        number = next(self._numbers)
        evidence = Evidence(
            **{
                "title": f"Court register lists {number} case files",
                "summary": "The register of the district court shows case files.",
                "occurred_on": dt.date(2025, 5, 14),
                "date_precision": Precision.DAY,
                "publisher": "Lower Valley District Court",
                "source_type": SourceType.OFFICIAL_RECORD,
                "language": "en",
                "reliability": Reliability.B,
                "credibility": Credibility.TWO,
                "visibility": Visibility.PUBLIC,
                "state": State.DRAFT,
                "created_at": self.now,
                **values,
            }
        )
        evidence.links = [EvidenceLink(position=1, url=f"https://court.arvenia.example/{number}")]
        evidence.bearings = [
            Bearing(recommendation=recommendation, clause=clause, direction=Direction.PROGRESS)
        ]
        return self._add(evidence)

    def _add(self, row: Any) -> Any:
        if not self.session.new and not self.session.dirty:
            # Ends what was only read, or SQLite refuses to write on top of an older picture.
            self.session.rollback()
        self.session.add(row)
        self.session.commit()
        return row
