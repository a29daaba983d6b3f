"""Words that the ledger once published and that are given to nobody any more, because they were taken back since."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.models import LedgerEntry
from tracker.vocabulary import WITHDRAWALS, EntryKind


class Withheld:
    """Asked of an entry: may its words still be handed out? What was withdrawn keeps its place and its hash."""

    def __init__(self, session: Session) -> None:
        self._subjects = set(
            session.scalars(select(LedgerEntry.subject).where(LedgerEntry.kind.in_(WITHDRAWALS)))
        )
        self._copies: set[tuple[str, str]] = set()
        corrected = select(LedgerEntry.subject, LedgerEntry.payload).where(
            LedgerEntry.kind == EntryKind.EVIDENCE_CORRECTED, LedgerEntry.payload.contains('"withdrawn_copy"')
        )
        for subject, payload in session.execute(corrected):
            self._copies.add((subject, json.loads(payload)["withdrawn_copy"]))
        self._with_copies = {subject for subject, _name in self._copies}

    def entry(self, kind: EntryKind, subject: str, payload: str) -> bool:
        """Whether the words of this entry are withheld as a whole: a hash over them all can only stand or fall."""
        if subject in self._subjects and kind not in WITHDRAWALS:
            return True
        return subject in self._with_copies and any(self._gone(subject, json.loads(payload)))

    def without_copies(self, subject: str, facts: dict[str, Any], words: dict[str, Any]) -> dict[str, Any]:
        """An entry's words for pages that prove nothing: without what was said about copies withdrawn since."""
        if subject not in self._with_copies:
            return words
        gone = set(self._gone(subject, facts))
        kept = [item for item in words.get("exhibits", []) if item["name"] not in gone]
        rest = {name: value for name, value in words.items() if name != "exhibits"}
        return rest | ({"exhibits": kept} if kept else {})

    def _gone(self, subject: str, facts: dict[str, Any]) -> list[str]:
        names = [item["name"] for item in facts.get("exhibits", [])]
        return [name for name in names if (subject, name) in self._copies]
