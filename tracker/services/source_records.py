"""Sealed records on their way between this server, which cannot open them, and the custodians' machines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import sealed_file
from tracker.errors import Conflict, NotFound
from tracker.models import Source, SourceRecord
from tracker.queries.sources import spelled
from tracker.sealed_file import Line, Place
from tracker.services import activity, custodians, sources
from tracker.vocabulary import N_


def sealed_lines(session: Session, pseudonyms: Sequence[str] | None) -> Iterator[Line]:
    """The sealed records of some sources, or (None) of all, to be carried to a custodian. Raises NotFound."""
    query = select(Source).order_by(Source.id)
    if pseudonyms is not None:
        wanted = {spelled(name) for name in pseudonyms}
        query = query.where(Source.pseudonym.in_(wanted))
        known = set(session.scalars(query.with_only_columns(Source.pseudonym)))
        if missing := sorted(wanted - known):
            raise NotFound(N_("There is no source %(names)s."), names=", ".join(missing))
    for source in session.scalars(query):
        for record in source.records:
            place = Place(source.key, record.version, custodians.fingerprint(record.custodian))
            yield Line(source.pseudonym, place, record.recorded_at.date().isoformat(), record.sealed)


def take_in(session: Session, lines: Sequence[Line], *, now: dt.datetime) -> int:
    """Keep records that a custodian sealed to another one. Returns how many are new. Nothing is written over.

    The server cannot look inside; it takes only what belongs to a source, a version and a custodian of its own.
    """
    people = {custodians.fingerprint(custodian): custodian for custodian in custodians.active(session)}
    added = 0
    for line in lines:
        custodian = people.get(line.place.custodian)
        if custodian is None:
            raise NotFound(
                N_(
                    "No custodian here has the key %(key)s. Add them first: tracker custody add NAME PUBLIC-KEY."
                ),
                key=sealed_file.spoken(line.place.custodian),
            )
        source = session.scalars(select(Source).where(Source.key == line.place.source)).one_or_none()
        if source is None or source.pseudonym != line.pseudonym:
            raise NotFound(N_("There is no source %(names)s."), names=line.pseudonym)
        records = {(record.version, record.custodian_id): record for record in source.records}
        example = next((record for record in source.records if record.version == line.place.version), None)
        if source.erased_at is not None or example is None:
            raise Conflict(N_("%(name)s was erased, or has no such version."), name=line.pseudonym)
        if (line.place.version, custodian.id) in records:
            continue
        source.records.append(
            SourceRecord(
                version=line.place.version,
                custodian_id=custodian.id,
                sealed=line.sealed,
                recorded_by_id=example.recorded_by_id,
                recorded_at=example.recorded_at,
            )
        )
        activity.record(session, None, "identity-passed-on", sources.subject(source), now=now)
        added += 1
    session.flush()
    return added
