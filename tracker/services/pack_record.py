"""What an evidence pack writes down for programs: the slice of the ledger, `data.json`, and custody logs.

The names of the fields stand in `docs/packs.md`. Public things are described by the same functions that describe them
to the ledger, so that a pack says what was published and nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload

from tracker import verifier
from tracker.models import (
    CustodyLine,
    Exhibit,
    Finding,
    LedgerEntry,
    LedgerTopic,
    PublicCopy,
    Reply,
)
from tracker.queries.board import Row
from tracker.queries.changes import About
from tracker.queries.withheld import Withheld
from tracker.services import custody_log, dissent, evidence, findings, ledger, packs, replies, reports
from tracker.services.packs import Contents, File, Piece


def ledger_slice(session: Session, contents: Contents) -> Iterator[dict[str, Any]]:
    """Every entry about what is in the pack, in order, each with its proof of inclusion (RFC 6962 section 2.1.1).

    What was withdrawn keeps its entries and its hashes, but its words are given no more.
    """
    wanted, size = contents.wanted, contents.checkpoint.size
    topics = About(
        contents.report, contents.rows[0].recommendation if wanted.recommendation else None
    ).topics()
    assert topics is not None
    subjects = [f"evidence/{piece.evidence.number}" for piece in contents.pieces if piece.evidence.number]
    prove = _prover(list(ledger.leaf_hashes(session, size)))
    entries = session.scalars(
        select(LedgerEntry)
        .where(
            LedgerEntry.seq <= size,
            or_(
                LedgerEntry.seq.in_(select(LedgerTopic.seq).where(topics)),
                LedgerEntry.subject.in_(subjects),
            ),
        )
        .options(joinedload(LedgerEntry.content))
        .order_by(LedgerEntry.seq)
        .execution_options(yield_per=200)
    )
    withheld = Withheld(session)
    for entry in entries:
        line = ledger.plain(entry)
        if entry.content is not None and not withheld.entry(entry.kind, entry.subject, entry.payload):
            line |= {"salt": entry.content.salt, "content": entry.content.content}
        yield line | {"proof": [node.hex() for node in prove(entry.seq - 1)]}


def _prover(leaves: list[bytes]) -> Callable[[int], list[bytes]]:
    """What gives the proof of inclusion of a leaf. The tree is reckoned once, however many proofs are wanted.

    A node without a neighbour moves up as it is, which gives the tree that RFC 6962 splits from above.
    """
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [
            verifier.hash_node(left, right) for left, right in zip(below[::2], below[1::2], strict=False)
        ]
        levels.append(above + ([below[-1]] if len(below) % 2 else []))

    def prove(index: int) -> list[bytes]:
        found = []
        for level in levels[:-1]:
            if index ^ 1 < len(level):
                found.append(level[index ^ 1])
            index //= 2
        return found

    return prove


# Custody.


def public_custody(copy: PublicCopy) -> list[dict[str, Any]]:
    """What everybody may know of how a public copy came about: days, and nobody's name."""
    lines = [{"action": "copied", "how": copy.method.value, "day": _day(copy.made_at)}]
    if copy.released_at:
        lines.append({"action": "released", "how": "by a second person", "day": _day(copy.released_at)})
    if copy.checked_at:
        how = "damaged" if copy.damaged_at else "whole"
        lines.append({"action": "checked", "how": how, "day": _day(copy.checked_at)})
    return lines


def team_custody(session: Session, exhibit: Exhibit) -> dict[str, Any]:
    """The whole custody log of an exhibit, for the team, with what its hashes cover. `by` None: the program itself."""
    lines = session.scalars(
        select(CustodyLine)
        .where(CustodyLine.exhibit_id == exhibit.id)
        .options(joinedload(CustodyLine.account))
        .order_by(CustodyLine.position)
    )
    return {
        "exhibit": exhibit.key,
        "salt": exhibit.salt,
        "lines": [
            {
                **custody_log.plain(line, line.account.key if line.account else None),
                "by": line.account.name if line.account else None,
            }
            for line in lines
        ],
    }


def _day(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).date().isoformat()


# data.json.


def data(contents: Contents, *, lost: set[str], now: dt.datetime) -> dict[str, Any]:
    """Everything that the pages say, for programs. `lost` are the paths of files that were damaged or missing."""
    told = reports.content(contents.report)
    numbers = {row.recommendation.number for row in contents.rows}
    told["recommendations"] = [one for one in told["recommendations"] if one["number"] in numbers]
    return {
        "format": verifier.PACK,
        "scope": contents.wanted.scope,
        "audience": audience(contents),
        "ledger_size": contents.checkpoint.size,
        "report": told,
        "recommendations": [_recommendation(contents, row) for row in contents.rows],
        "replies": [_reply(reply) for reply in contents.replies],
        "evidence": [_piece(contents, piece, lost, now.date()) for piece in contents.pieces],
        "withdrawn_evidence": [
            {"number": piece.number, "reason": piece.withdrawal_reason, "ledger_entry": piece.ledger_seq}
            for piece in contents.withdrawn
        ],
    }


def audience(contents: Contents) -> str:
    """ "public" or "staff", as the manifest says it."""
    return "public" if contents.wanted.viewer is None else "staff"


def _recommendation(contents: Contents, row: Row) -> dict[str, Any]:
    recommendation = row.recommendation
    return {
        "number": recommendation.number,
        "reference": recommendation.reference,
        "grade": row.grade.value if row.grade else None,
        "clauses_assessed": row.assessed,
        "reviewed_on": row.timeliness.reviewed_on.isoformat() if row.timeliness.reviewed_on else None,
        "findings": [_finding(contents, finding) for finding in row.findings.values()],
        "evidence": [piece.name for piece in contents.pieces_on(recommendation)],
    }


def _finding(contents: Contents, finding: Finding) -> dict[str, Any]:
    return {
        **findings.facts(finding),
        **findings.content(finding),
        # What a finding cites and the public may not see has no number.
        "cites": [piece.number for piece in contents.cited.get(finding.id, [])],
        "dissent": [
            {**dissent.content(note), "ledger_entry": note.ledger_seq}
            for note in contents.dissent.get(finding.id, [])
        ],
        "ledger_entry": finding.ledger_seq,
    }


def _reply(reply: Reply) -> dict[str, Any]:
    return {
        **replies.facts(reply),
        **replies.content(reply),
        "recommendations": [target.recommendation.number for target in reply.targets],
        "ledger_entry": reply.ledger_seq,
    }


def _piece(contents: Contents, piece: Piece, lost: set[str], today: dt.date) -> dict[str, Any]:
    row = piece.evidence
    told = {
        "name": piece.name,
        **evidence.facts(row),
        **evidence.content(row),
        "exhibits": [
            {
                **_file(file, lost),
                "name": copy.key,
                "kind": copy.kind.value,
                "method": copy.method.value,
                "description": copy.description,
                "original": verifier.commitment(copy.exhibit.salt, copy.exhibit.sha256 or ""),
                "distressing": copy.exhibit.distressing,
                "custody": public_custody(copy),
            }
            for copy, file in piece.copies
        ],
        "ledger_entry": row.ledger_seq,
    }
    if contents.wanted.viewer is None:
        return told
    return told | {
        "key": row.key,
        "state": row.state.value,
        "visibility": row.visibility.value,
        "consent": [scope.value if scope else None for scope in packs.agreed(row, on=today)],
        "details": {detail.detail.value: detail.value for detail in piece.details},
        "originals": [
            {
                **_file(file, lost),
                "name": exhibit.key,
                "kind": exhibit.kind.value,
                "file_name": exhibit.name,
                # With it the ledger's commitment to this original can be opened.
                "salt": exhibit.salt,
                "uploaded_at": exhibit.uploaded_at.isoformat(),
                "distressing": exhibit.distressing,
            }
            for exhibit, file in piece.originals
        ],
    }


def _file(file: File, lost: set[str]) -> dict[str, Any]:
    path = None if file.path in lost else file.path
    return {"path": path, "sha256": file.sha256, "size": file.size, "damaged": path is None}
