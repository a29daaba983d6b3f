"""A small published record about Arvenia, made through the services, for the tests of public pages."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker.models import Account, Clause, Evidence, Finding, Recommendation, Reply, Report
from tracker.services import evidence as pieces
from tracker.services import findings, ledger, replies, reports
from tracker.services import harm as harms
from tracker.services.harm import Harm
from tracker.vocabulary import Access, EntryKind, Grade, Position, Role, State, Visibility

#: `Factory.report()` enters no report in the ledger, which the audit rightly notices.
NOT_ENTERED = "report/lower-valley is shown in public and has no ledger entry."
NO_HARM = dict.fromkeys(findings.HARM_QUESTIONS, "no")
#: The same for evidence: nothing in it could harm anybody, and no warning was shown.
HARMLESS = Harm(NO_HARM)


class Record:
    """Publishes things with two people and commits, each a day after the one before."""

    def __init__(self, session: Session, make: Factory, now: dt.datetime) -> None:
        self.session, self.make, self.now = session, make, now - dt.timedelta(days=60)
        self.mona: Account = make.account(Role.MONITOR, "Mona Hidden-Name")
        self.rafa: Account = make.account(Role.REVIEWER, "Rafa Hidden-Name")
        self.report: Report = make.report()
        self.first, self.second, self.third = self.report.recommendations
        ledger.append(
            session, EntryKind.REPORT_LOADED, subject="report/lower-valley", report=self.report,
            facts={"recommendations_count": 3}, content=reports.content(self.report), now=self.tick(),
        )  # fmt: skip
        session.commit()

    def tick(self) -> dt.datetime:
        self.now += dt.timedelta(days=1)
        return self.now

    def submitted(
        self, recommendation: Recommendation, clause: Clause | None = None, **values: Any
    ) -> Evidence:
        values = {"state": State.SUBMITTED, "created_by_id": self.mona.id, **values}
        return self.make.evidence(recommendation, clause, **values)

    def evidence(
        self, recommendation: Recommendation, clause: Clause | None = None, **values: Any
    ) -> Evidence:
        return self.accept(self.submitted(recommendation, clause, **values))

    def accept(self, piece: Evidence) -> Evidence:
        looked = harms.fingerprint(harms.warnings(self.session, piece, keys=None))
        harm = Harm(NO_HARM, looked=looked)
        pieces.accept(self.session, piece, reviewer=self.rafa, harm=harm, now=self.tick())
        self.session.commit()
        return piece

    def withdraw(self, piece: Evidence, reason: str = "The source was wrong.") -> None:
        pieces.withdraw(self.session, piece, reviewer=self.rafa, reason=reason, now=self.tick())
        self.session.commit()

    def finding(
        self,
        recommendation: Recommendation,
        clause: Clause | None,
        grade: Grade,
        *cited: Evidence,
        **values: Any,
    ) -> Finding:
        now = self.tick()
        fields = findings.Fields(
            grade=grade,
            evidence_ids=[piece.id for piece in cited],
            **{"as_of": now.date(), "access": Access.REMOTE, "rationale": "The register shows it.", **values},
        )
        finding = findings.draft(
            self.session, fields, author=self.mona, recommendation=recommendation, clause=clause, now=now
        )
        findings.submit(self.session, finding, author=self.mona, now=now)
        findings.approve(
            self.session,
            finding,
            reviewer=self.rafa,
            harm=NO_HARM,
            reason="Reasons and evidence agree.",
            now=now,
        )
        self.session.commit()
        return finding

    def withdraw_finding(self, finding: Finding, reason: str = "It rested on a mistake.") -> None:
        findings.withdraw(self.session, finding, reviewer=self.rafa, reason=reason, now=self.tick())
        self.session.commit()

    def reply(self, *recommendations: Recommendation, **values: Any) -> Reply:
        now = self.tick()
        fields = replies.Fields(
            **{
                "author": "Mission of Arvenia",
                "position": Position.DISPUTES,
                "replied_on": dt.date(2025, 3, 4),
                "summary": "The mission says that all was examined.",
                "quotations": ["All allegations have been examined."],
                "source_publisher": "Mission of Arvenia",
                "source_title": "Note verbale",
                "source_url": "https://mission.arvenia.example/note",
                "recommendation_ids": [found.id for found in recommendations],
                **values,
            }
        )
        reply = replies.draft(self.session, fields, report=self.report, author=self.mona, now=now)
        replies.submit(self.session, reply, author=self.mona, now=now)
        replies.accept(self.session, reply, reviewer=self.rafa, now=now)
        self.session.commit()
        return reply

    def hide_some(self, recommendation: Recommendation) -> None:
        """Pieces that the public must never meet, in any form."""
        self.make.evidence(recommendation, title="Hidden draft", created_by_id=self.mona.id)
        self.make.evidence(
            recommendation, title="Hidden returned", state=State.RETURNED, created_by_id=self.mona.id
        )
        self.submitted(recommendation, title="Hidden submitted")
        self.evidence(recommendation, title="Hidden team", visibility=Visibility.TEAM)
        self.evidence(recommendation, title="Hidden restricted", visibility=Visibility.RESTRICTED)
