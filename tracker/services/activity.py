"""Who did what: one line for the team's eyes, written with every act."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy.orm import Session

from tracker.models import Account, Activity
from tracker.vocabulary import N_, Need

#: What each act that a page lists is called there, after the name of whoever did it.
WORDS = {
    "evidence-drafted": N_("logged it"),
    "evidence-edited": N_("edited it"),
    "evidence-submitted": N_("sent it for review"),
    "evidence-accepted": N_("accepted it"),
    "evidence-published": N_("published it on its day"),
    "evidence-returned": N_("returned it"),
    "evidence-withdrawn": N_("withdrew it"),
    "evidence-erased": N_("erased it for good"),
    "erasure-requested": N_("asked to erase it for good"),
    "erasure-asked": N_("asked to erase it for good"),
    "erasure-refused": N_("decided against erasing it"),
    "exhibit-attached": N_("attached a file"),
    "public-copy-made": N_("made a public copy"),
    "public-copy-discarded": N_("discarded a public copy"),
    "public-copy-withdrawn": N_("withdrew a public copy"),
    "capture-requested": N_("asked for a capture"),
    "capture-cancelled": N_("called off a capture"),
    "consent-recorded": N_("recorded a consent"),
    "consent-withdrawn": N_("noted that a consent was taken back"),
    "source-linked": N_("linked a source"),
    "source-unlinked": N_("unlinked a source"),
    "source-made": N_("made this source"),
    "source-erased": N_("erased who this is"),
    "identity-sealed": N_("sealed an identity"),
    "identity-passed-on": N_("passed the identity on to a further custodian"),
    "names-forgotten": N_("had the watched names forgotten"),
    "finding-drafted": N_("drafted it"),
    "finding-edited": N_("edited it"),
    "finding-proposed": N_("proposed it"),
    "finding-approved": N_("approved it"),
    "finding-returned": N_("returned it"),
    "finding-withdrawn": N_("withdrew it"),
    "dissent-attached": N_("attached a dissenting note"),
    "dissent-taken-back": N_("took a dissenting note back"),
    "dissent-returned": N_("returned a dissenting note"),
    "dissent-published": N_("published a dissenting note"),
    "dissent-withdrawn": N_("withdrew a dissenting note"),
    "reply-drafted": N_("recorded it"),
    "reply-edited": N_("edited it"),
    "reply-submitted": N_("sent it for review"),
    "reply-accepted": N_("accepted it"),
    "reply-returned": N_("returned it"),
    "reply-withdrawn": N_("withdrew it"),
    "issue-held": N_("held it"),
    "issue-release-agreed": N_("released it, as the first of two"),
    "issue-released": N_("released it"),
    "issue-discarded": N_("discarded it"),
    "mail-arrived": N_("noted that it arrived"),
    "mail-sent-again": N_("had it sent again"),
    "sending-held": N_("held all sending"),
    "sending-release-agreed": N_("released all sending, as the first of two"),
    "sending-released": N_("released all sending"),
    "sending-kept-held": N_("kept all sending held"),
    **{
        f"{noun}-{act}": words
        for noun in ("evidence", "finding", "reply")
        for act, words in {
            "assigned": N_("assigned it"),
            "unassigned": N_("assigned it to nobody"),
            "comments-read": N_("read the comments"),
            "discarded": N_("discarded it"),
        }.items()
    },
}


def record(
    session: Session,
    account: Account | None,
    action: str,
    subject: str,
    *,
    now: dt.datetime,
    reason: str = "",
) -> None:
    """Note that `account` did `action` to `subject` ("evidence/7h2k…"). None: the operator, from the command line."""
    session.add(
        Activity(
            at=now, account_id=account.id if account else None, action=action, subject=subject, reason=reason
        )
    )


def listed(needs: Sequence[Need]) -> str:
    """What is wanting, as a row keeps it: the values, separated by commas."""
    return ",".join(str(need.value) for need in dict.fromkeys(needs))


def with_needs(reason: str, needs: Sequence[Need]) -> str:
    """Why something was returned, with what is wanting, as the activity keeps it."""
    return f"{reason} [{listed(needs).replace(',', ', ')}]" if needs else reason
