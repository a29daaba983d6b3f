"""The history of evidence: every field as it was and as it became, by whom and when, for staff."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.models import Account, Activity, Capture, Comment, Evidence, FieldChange
from tracker.models.base import new_key
from tracker.models.sealing import reseal as write_again
from tracker.vocabulary import Visibility, Word

_RESTRICTED = Visibility.RESTRICTED.value


def snapshot(evidence: Evidence) -> dict[str, str]:
    """Every field that people edit, as text. Words of a list (a grade, a direction) stand as their stored value."""
    day = evidence.occurred_on
    fields = {
        "title": evidence.title,
        "summary": evidence.summary,
        "occurred": f"{day.isoformat()} ({evidence.date_precision.value})" if day else "",
        "place": evidence.place,
        "publisher": evidence.publisher,
        "source_type": _value(evidence.source_type),
        "links": "\n".join(link.url for link in evidence.links),
        "language": evidence.language,
        "reliability": _value(evidence.reliability),
        "credibility": _value(evidence.credibility),
        "bearings": "\n".join(
            sorted(
                f"{item.recommendation.reference} {item.clause.label if item.clause else ''}".strip()
                + f": {item.direction.value}"
                for item in evidence.bearings
            )
        ),
        "visibility": evidence.visibility.value,
        "readers": ", ".join(sorted(reader.account.name for reader in evidence.readers)),
        "not_before": evidence.not_before.isoformat() if evidence.not_before else "",
        "from_person": "yes" if evidence.from_person else "",
        "remark": evidence.remark,
        "team_note": evidence.team_note,
    }
    for item in evidence.details:
        fields[f"detail-{item.detail.value}"] = item.value
        fields[f"detail-{item.detail.value}-visibility"] = item.visibility.value
    return fields


def record(
    session: Session, evidence: Evidence, before: Mapping[str, str], *, account: Account, now: dt.datetime
) -> list[FieldChange]:
    """Write one line for each field that is another than in `before`, a snapshot taken before the edit.

    What only the named readers see, or saw, a detail or the whole piece, is theirs alone for good: also what stood
    there before it was restricted, because that is mostly why it was.
    """
    after = snapshot(evidence)
    closed = _RESTRICTED in (before["visibility"], after["visibility"])
    if closed and before["visibility"] != _RESTRICTED:
        _close(session, evidence)
    changes = []
    for field in dict.fromkeys(itertools.chain(after, before)):
        was, now_is = before.get(field, ""), after.get(field, "")
        if was == now_is:
            continue
        shown = f"{field.removesuffix('-visibility')}-visibility"
        hidden = field.startswith("detail-") and _RESTRICTED in (before.get(shown), after.get(shown))
        if field == shown and now_is == _RESTRICTED:
            _close(session, evidence, field.removesuffix("-visibility"))
        changes.append(
            FieldChange(
                key=new_key(),
                evidence_id=evidence.id,
                version=evidence.version,
                field=field,
                was=was,
                now=now_is,
                restricted=closed or hidden,
                account_id=account.id,
                changed_at=now,
            )
        )
    session.add_all(changes)
    session.flush()
    return changes


def reseal(session: Session, evidence: Evidence) -> None:
    """Have all that hangs on it written again, because it is now restricted, or is so no longer.

    Comments, history, reasons that were given, captures: what stood in the open is sealed with the rest.
    """
    write_again(session.scalars(select(Comment).where(Comment.evidence_id == evidence.id)))
    write_again(session.scalars(select(FieldChange).where(FieldChange.evidence_id == evidence.id)))
    write_again(session.scalars(select(Capture).where(Capture.evidence_id == evidence.id)))
    given = select(Activity).where(Activity.subject == f"evidence/{evidence.key}")
    write_again(session.scalars(given))
    session.flush()


def _close(session: Session, evidence: Evidence, field: str | None = None) -> None:
    """Keep the earlier lines, of one detail or of the whole piece, for the named readers."""
    lines = select(FieldChange).where(FieldChange.evidence_id == evidence.id)
    if field is not None:
        lines = lines.where(FieldChange.field == field)
    for line in session.scalars(lines):  # Through the rows, because from here on they are sealed.
        line.restricted = True


def _value(word: Word | None) -> str:
    return str(word.value) if word else ""
