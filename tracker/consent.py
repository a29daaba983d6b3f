"""Whether what a person gave may be published. Pure: services and pages ask the same.

Somebody's newest line in the consent ledger that was not withdrawn is what they agree to now. Whoever is linked as a
source must have agreed; lines without a pseudonym speak for the only source, or for all where none is linked.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from tracker.errors import Invalid
from tracker.models import Consent, Evidence, Source
from tracker.vocabulary import N_, PUBLISHING, SourceType


def needed(evidence: Evidence) -> bool:
    """Whether a person gave it. Evidence of a report file, which nobody of the team logged, is somebody else's
    publication, whatever its type."""
    logged = evidence.imported_as is None or evidence.created_by_id is not None
    told = evidence.source_type is SourceType.TESTIMONY and logged
    return evidence.from_person or told or bool(evidence.sources) or bool(evidence.consents)


def people(evidence: Evidence) -> list[list[Consent]]:
    """The lines of its consent ledger, a list for each person who must agree. It may be empty."""
    linked = {source.id for source in evidence.sources}
    if len(linked) < 2:
        # With one source or none there is one person, whether or not the line names them.
        return [
            [line for line in evidence.consents if not linked or line.source_id in (None, *linked)],
        ]
    unnamed = [line for line in evidence.consents if line.source_id is None]
    named = [[line for line in evidence.consents if line.source_id == number] for number in sorted(linked)]
    return [*named, unnamed] if unnamed else named


def standing(lines: Sequence[Consent]) -> Consent | None:
    """What one person agrees to now: their newest line that was not withdrawn."""
    return max(
        (line for line in lines if line.withdrawn_on is None), key=lambda line: line.order, default=None
    )


def allows_publishing(evidence: Evidence, *, on: dt.date) -> bool:
    """Whether everybody who must agree lets it be public on this day."""
    return all(_agrees(standing(lines), on) for lines in people(evidence))


def agrees_or_never_spoke(evidence: Evidence, source: Source, *, on: dt.date) -> bool:
    """Whether a source lets this be public on this day, or no line of theirs says anything about it."""
    lines = [line for line in evidence.consents if line.source_id == source.id]
    return not lines or _agrees(standing(lines), on)


def may_be_public(evidence: Evidence, *, on: dt.date) -> bool:
    """Whether no consent is needed, or those that are needed hold."""
    return not needed(evidence) or allows_publishing(evidence, on=on)


def check_publishable(evidence: Evidence, *, on: dt.date) -> None:
    """Raise Invalid if a person gave it and no consent to publish it holds."""
    if not may_be_public(evidence, on=on):
        raise Invalid(
            N_(
                "A person gave this. It can be public only while everybody who gave it agrees to that: record their "
                "consent first, or keep it for the team."
            ),
            "consent",
        )


def _agrees(line: Consent | None, on: dt.date) -> bool:
    return line is not None and line.scope in PUBLISHING and not has_run_out(line, on)


def has_run_out(line: Consent, on: dt.date) -> bool:
    """Whether the last day on which it holds lies before `on`."""
    return line.expires_on is not None and line.expires_on < on
