"""Captures of web pages: asked for by a person, done later by the clock, kept as exhibits.

A capture is claimed by a conditional UPDATE that changes exactly one row. The number of the attempt is the lease's
name: whoever was taken for dead and comes back finds another number and changes nothing.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from tracker import permissions
from tracker.config import Config
from tracker.errors import Conflict, Invalid, NotAllowed
from tracker.models import Account, Capture, Evidence, Exhibit
from tracker.services import activity, states
from tracker.vocabulary import N_, CaptureState, State

ATTEMPTS = 3
# Longer than fetching, examining and storing may take together.
LEASE = dt.timedelta(minutes=15)
_PAUSES = (dt.timedelta(minutes=10), dt.timedelta(hours=1))
_OPEN = (CaptureState.QUEUED, CaptureState.RUNNING)

# Parts of addresses that follow people from place to place.
_TRACKING = (
    "utm_", "fbclid", "gclid", "gbraid", "wbraid", "dclid", "yclid", "ysclid", "msclkid", "twclid", "ttclid", "igsh", "igshid",
    "li_fat_id", "mc_cid", "mc_eid", "mkt_tok", "_hsenc", "_hsmi", "vero_id", "oly_", "wickedid", "rb_clickid", "s_cid",
    "_openstat", "from_id", "spm", "share_", "si", "ref", "token", "sid", "session", "uid", "user", "email",
)  # fmt: skip


def check_possible(session: Session, evidence: Evidence, *, author: Account, settings: Config) -> None:
    """Raise NotAllowed unless capturing is on and this person may ask for it here."""
    if settings.capture == "off":
        raise NotAllowed(N_("Capturing web pages is switched off here. The operator can switch it on."))
    _check_allowed(session, evidence, author)


def queue(
    session: Session,
    evidence: Evidence,
    url: str,
    *,
    author: Account,
    settings: Config,
    check: Callable[[str], None],
    now: dt.datetime,
) -> Capture:
    """Have a link of this evidence captured, at a random moment within the delay that the settings name.

    `check` raises Invalid for addresses that are never fetched, so that one learns it now and not in half an hour.
    """
    check_possible(session, evidence, author=author, settings=settings)
    check(url)
    # Two people may ask at once, and the addresses of restricted evidence cannot be compared by the database.
    states.hold(session, evidence, account=author)
    _check_allowed(session, evidence, author)
    if url not in [link.url for link in evidence.links]:
        raise Invalid(N_("This address is not a link of the evidence any more. Open the evidence again."))
    if any(capture.url == url and capture.state in _OPEN for capture in _all(session, evidence)):
        raise Conflict(N_("This page waits to be captured already."))
    capture = Capture(
        evidence=evidence,
        url=url,
        requested_by=author,
        requested_at=now,
        run_after=now + _within(dt.timedelta(minutes=settings.capture_delay_minutes)),
    )
    session.add(capture)
    session.flush()
    activity.record(session, author, "capture-requested", f"evidence/{evidence.key}", now=now)
    return capture


def again(session: Session, capture: Capture, *, author: Account, settings: Config, now: dt.datetime) -> None:
    """Try a failed one once more from the beginning, after another random delay."""
    check_possible(session, capture.evidence, author=author, settings=settings)
    states.hold(session, capture.evidence, account=author)
    _check_allowed(session, capture.evidence, author)
    others = [one for one in _all(session, capture.evidence) if one.id != capture.id]
    if any(one.url == capture.url and one.state in _OPEN for one in others):
        raise Conflict(N_("This page waits to be captured already."))
    changed = _rows(
        session,
        Capture.id == capture.id,
        Capture.state == CaptureState.FAILED,
        state=CaptureState.QUEUED,
        attempts=0,
        requested_by_id=author.id,
        requested_at=now,
        run_after=now + _within(dt.timedelta(minutes=settings.capture_delay_minutes)),
        started_at=None,
        finished_at=None,
    )
    if changed != 1:
        raise Conflict(N_("This capture has not failed, or somebody tries it again already."))
    session.refresh(capture)
    capture.error = ""
    activity.record(session, author, "capture-requested", f"evidence/{capture.evidence.key}", now=now)


def cancel(session: Session, capture: Capture, *, author: Account, now: dt.datetime) -> None:
    """Take back one that has not begun. Nothing was fetched then, and the row goes."""
    _check_allowed(session, capture.evidence, author)
    # Claimed first, so that the clock cannot take it up between the look and the deletion.
    if _rows(session, Capture.id == capture.id, Capture.state == CaptureState.QUEUED, run_after=now) != 1:
        raise Conflict(N_("It has begun already, or is over."))
    activity.record(session, author, "capture-cancelled", f"evidence/{capture.evidence.key}", now=now)
    session.delete(capture)
    session.flush()


def recover(session: Session, *, now: dt.datetime) -> int:
    """Free what workers left behind when they died. Returns how many."""
    lost = session.scalars(
        select(Capture)
        .where(Capture.state == CaptureState.RUNNING, Capture.started_at < now - LEASE)
        .with_for_update(skip_locked=True)
    ).all()
    for capture in lost:
        sentence = N_("The program ended in the middle of the capture.")
        failed(session, capture.id, attempt=capture.attempts, sentence=sentence, now=now)
    return len(lost)


def claim(session: Session, *, now: dt.datetime) -> Capture | None:
    """Take the one that has waited longest, or None. Commit before fetching."""
    found = session.scalar(
        select(Capture.id)
        .where(Capture.state == CaptureState.QUEUED, Capture.run_after <= now)
        .order_by(Capture.run_after, Capture.id)
        .limit(1)
        # PostgreSQL passes over what another worker is taking. SQLite has one writer at a time anyway.
        .with_for_update(skip_locked=True)
    )
    if found is None:
        return None
    changed = _rows(
        session,
        Capture.id == found,
        Capture.state == CaptureState.QUEUED,
        state=CaptureState.RUNNING,
        started_at=now,
        attempts=Capture.attempts + 1,
    )
    return session.get(Capture, found, populate_existing=True) if changed == 1 else None


def still_wanted(session: Session, capture_id: int) -> Capture:
    """The capture, to be asked before fetching and before keeping. Raises Conflict if its evidence was discarded.

    Raises Invalid if the evidence does not stand, or whoever asked is no longer of the team or may not see it.
    """
    capture = _row(session, capture_id)
    evidence, author = capture.evidence, capture.requested_by
    if not (permissions.can_attach(author, evidence) and _may_see(session, evidence, author)):
        raise Invalid(N_("The evidence was withdrawn, or whoever asked for this may not see it any more."))
    return capture


def done(
    session: Session,
    capture: Capture,
    exhibit: Exhibit,
    *,
    attempt: int,
    skipped: Sequence[str],
    now: dt.datetime,
) -> None:
    """It is an exhibit now. Raises Conflict if `attempt` is not the one that runs: somebody took this worker for dead."""
    _finish(session, capture, attempt, CaptureState.DONE, now, exhibit_id=exhibit.id)
    capture.error = "\n".join(skipped)


def failed(
    session: Session,
    capture_id: int,
    *,
    attempt: int,
    sentence: str,
    lasting: bool = False,
    now: dt.datetime,
) -> None:
    """It did not work: try again later, three times at most, or never if it would be the same again. Else as `done`."""
    capture = _row(session, capture_id)
    if lasting or attempt >= ATTEMPTS:
        _finish(session, capture, attempt, CaptureState.FAILED, now)
    else:
        pause = _PAUSES[min(attempt, len(_PAUSES)) - 1]
        _finish(session, capture, attempt, CaptureState.QUEUED, None, run_after=now + pause + _within(pause))
    if capture.evidence.state is not State.ERASED:  # There is no key left to seal a word of it.
        capture.error = sentence


def parameters(url: str) -> list[tuple[str, str, bool]]:
    """(name, value, whether it is known for following people) of what stands behind the question mark."""
    try:
        found = parse_qsl(urlsplit(url).query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []
    return [(name, value, name.lower().startswith(_TRACKING)) for name, value in found]


def _check_allowed(session: Session, evidence: Evidence, author: Account) -> None:
    if not (permissions.can_attach(author, evidence) and _may_see(session, evidence, author)):
        raise NotAllowed(
            N_("Pages are captured by monitors and reviewers, for evidence that is not withdrawn or erased.")
        )


def _may_see(session: Session, evidence: Evidence, author: Account) -> bool:
    visible = select(Evidence.id).where(Evidence.id == evidence.id, permissions.visible_evidence(author))
    return session.scalar(visible) is not None


def _row(session: Session, capture_id: int) -> Capture:
    found = session.get(Capture, capture_id, populate_existing=True)
    if found is None:
        raise Conflict(N_("The evidence was discarded."))
    return found


def _all(session: Session, evidence: Evidence) -> Sequence[Capture]:
    return session.scalars(
        select(Capture).where(Capture.evidence_id == evidence.id).execution_options(populate_existing=True)
    ).all()


def _finish(
    session: Session,
    capture: Capture,
    attempt: int,
    state: CaptureState,
    finished_at: dt.datetime | None,
    **values: Any,
) -> None:
    changed = _rows(
        session,
        Capture.id == capture.id,
        Capture.state == CaptureState.RUNNING,
        Capture.attempts == attempt,
        state=state,
        finished_at=finished_at,
        **values,
    )
    if changed != 1:
        raise Conflict(N_("Another worker has taken this capture over."))
    session.refresh(capture)


def _rows(session: Session, *conditions: ColumnElement[bool], **values: Any) -> int:
    """Change the rows that meet the conditions; how many did."""
    done = session.execute(
        update(Capture).where(*conditions).values(**values).execution_options(synchronize_session=False)
    )
    return int(done.rowcount)  # type: ignore[attr-defined]


def _within(longest: dt.timedelta) -> dt.timedelta:
    return dt.timedelta(seconds=secrets.SystemRandom().uniform(0, longest.total_seconds()))
