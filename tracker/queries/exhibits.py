"""Exhibits and their public copies, as far as somebody may see them; and where the same thing stands already."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import permissions
from tracker.models import Account, CustodyLine, Evidence, EvidenceLink, Exhibit, LedgerEntry, PublicCopy
from tracker.vocabulary import Visibility


def by_key(session: Session, key: str, viewer: Account) -> Exhibit | None:
    """An exhibit of evidence that this person may see, with its copies and its custody log."""
    return session.scalars(
        select(Exhibit)
        .join(Exhibit.evidence)
        .where(Exhibit.key == key, Exhibit.erased_at.is_(None), permissions.visible_evidence(viewer))
        .options(
            joinedload(Exhibit.evidence),
            joinedload(Exhibit.uploaded_by),
            selectinload(Exhibit.copies).options(
                joinedload(PublicCopy.made_by), joinedload(PublicCopy.released_by)
            ),
            selectinload(Exhibit.custody).joinedload(CustodyLine.account),
        )
    ).one_or_none()


def copy_by_key(session: Session, key: str, viewer: Account) -> PublicCopy | None:
    """A public copy, released or not, of evidence that this person may see."""
    return session.scalars(
        select(PublicCopy)
        .join(PublicCopy.exhibit)
        .join(Exhibit.evidence)
        .where(PublicCopy.key == key, PublicCopy.sha256.is_not(None), permissions.visible_evidence(viewer))
        .options(joinedload(PublicCopy.exhibit).joinedload(Exhibit.evidence))
    ).one_or_none()


def public_copy(session: Session, number: int, key: str) -> PublicCopy | None:
    """A released copy of public evidence."""
    copy = session.scalars(_public().where(Evidence.number == number, PublicCopy.key == key)).one_or_none()
    return next(iter(_as_told(session, [copy] if copy else [])), None)


def public_copies(session: Session, evidence: Evidence) -> Sequence[PublicCopy]:
    """The released copies of a piece of public evidence, in the order of its exhibits."""
    found = session.scalars(
        _public().where(Evidence.id == evidence.id).order_by(Exhibit.id, PublicCopy.id)
    ).all()
    return _as_told(session, found)


def told_copies(session: Session, pieces: Iterable[Evidence]) -> set[tuple[str, str | None]]:
    """(key, SHA-256) of every copy that the newest ledger entry of these public pieces names."""
    seqs = [piece.ledger_seq for piece in pieces]
    payloads = session.scalars(select(LedgerEntry.payload).where(LedgerEntry.seq.in_(seqs)))
    return {
        (item["name"], item["copy"])
        for payload in payloads
        for item in json.loads(payload).get("exhibits", [])
    }


def _as_told(session: Session, copies: Sequence[PublicCopy]) -> list[PublicCopy]:
    """Without what only the database says: somebody who can write to it could have any bytes shown."""
    told = told_copies(session, {copy.exhibit.evidence for copy in copies})
    return [copy for copy in copies if (copy.key, copy.sha256) in told]


def same_file(session: Session, exhibit: Exhibit, viewer: Account) -> Sequence[Exhibit]:
    """Other exhibits with the same bytes, where this person may see them: who may not must not learn of them."""
    return session.scalars(
        select(Exhibit)
        .join(Exhibit.evidence)
        .where(
            Exhibit.sha256 == exhibit.sha256,
            Exhibit.id != exhibit.id,
            permissions.visible_evidence(viewer),
        )
        .options(joinedload(Exhibit.evidence))
        .order_by(Exhibit.id)
    ).all()


def same_link(session: Session, evidence: Evidence, viewer: Account) -> Sequence[Evidence]:
    """Other pieces that this person may see and that name one of the same addresses."""
    urls = {link.url for link in evidence.links if link.url}
    if not urls:
        return []
    visible = (
        select(EvidenceLink)
        .join(EvidenceLink.evidence)
        .where(Evidence.id != evidence.id, permissions.visible_evidence(viewer))
        .options(joinedload(EvidenceLink.evidence))
    )
    open_ones = visible.where(Evidence.visibility != Visibility.RESTRICTED, EvidenceLink.url.in_(urls))
    # The addresses of restricted pieces are sealed in the database, so they are compared here.
    closed = visible.where(Evidence.visibility == Visibility.RESTRICTED)
    found = {
        link.evidence.id: link.evidence
        for link in [*session.scalars(open_ones), *session.scalars(closed)]
        if link.url in urls
    }
    return [found[key] for key in sorted(found)]


def _public() -> Select[PublicCopy]:
    return (
        select(PublicCopy)
        .join(PublicCopy.exhibit)
        .join(Exhibit.evidence)
        .where(
            permissions.visible_evidence(None),
            PublicCopy.released_at.is_not(None),
            PublicCopy.withdrawn_at.is_(None),
            PublicCopy.sha256.is_not(None),
        )
        .options(joinedload(PublicCopy.exhibit).joinedload(Exhibit.evidence))
    )
