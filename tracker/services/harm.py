"""The harm check: before something is published a second person asks who could be recognised from it.

A short list of questions, and warnings by the program for what a tired eye passes over: numbers of identity cards,
telephone numbers, exact coordinates, names from the sealed records, words that stand in a hidden detail, and what
files tell unseen. A warning decides nothing; somebody has to look at each.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from tracker.errors import Invalid, raise_all
from tracker.examiner.traces import TRACES
from tracker.models import Account, Evidence, HarmCheck
from tracker.services import exhibits, giveaways
from tracker.vocabulary import N_, CopyMethod, Detail, Precision

if TYPE_CHECKING:
    from tracker.keyring import Keyring

QUESTIONS = {
    "person": N_("Could a person be recognised from anything in this?"),
    "relative": N_("Could somebody’s relative, friend or colleague be recognised?"),
    "place": N_("Could a home, a workplace or a small place be recognised?"),
    "source": N_("Does anything show where we got it from?"),
    "count": N_("Is a number so small that it points to people?"),
    "detail": N_("Is there a detail that only few people know, or that fits one case only?"),
}
ANSWERS = {"no": N_("No"), "yes": N_("Yes"), "unsure": N_("Not sure")}

#: What a warning is about.
KINDS = {
    **giveaways.KINDS,
    "name": N_("A name that stands in a sealed record"),
    "hidden": N_("Words of a hidden detail"),
    "date": N_("The exact day is public, and it stands among the hidden details too"),
    "file": N_("Data in a file that does not show"),
}


#: Where a warning can point, but for exhibits, which it names.
FIELDS = {
    "title": N_("Title"),
    "summary": N_("Summary for the public"),
    "occurred": N_("When it happened"),
    "place": N_("Where it happened"),
    "publisher": N_("Who says so"),
    "language": N_("Language of the source"),
    "remark": N_("Remark on the date or the copy"),
    "links": N_("Where it was published"),
    "description": N_("What the public copy shows"),
}


@dataclass(frozen=True)
class Warning:  # noqa: A001 - the word of the page; nothing here warns in Python's sense.
    """Something to look at. `where`: a key of FIELDS, or the name of an exhibit; `excerpt`: what stands there."""

    kind: str
    where: str
    excerpt: str


@dataclass(frozen=True)
class Harm:
    """What a second person answered: "no", "yes" or "unsure" to each question.

    `remark` says why a yes is acceptable. `looked` is the `fingerprint` of the warnings that they looked at. `keys`
    find names of sources; without, none are looked for (where there are no sources, as in the demonstration).
    """

    answers: Mapping[str, str]
    remark: str = ""
    looked: str = ""
    keys: Keyring | None = field(default=None, repr=False)


def check(session: Session, evidence: Evidence, harm: Harm | None) -> list[Warning]:
    """The warnings there are. Raises Invalid unless each question is answered well and each warning was looked at."""
    answers = harm.answers if harm else {}
    mistakes = [
        Invalid(N_("Answer this question before you accept it for the public."), question)
        for question in QUESTIONS
        if answers.get(question) not in ANSWERS
    ]
    mistakes += [
        Invalid(N_("It is not published while somebody is not sure. Return it with a reason."), question)
        for question in QUESTIONS
        if answers.get(question) == "unsure"
    ]
    if "yes" in answers.values() and not (harm and harm.remark):
        mistakes.append(
            Invalid(N_("Say why a question answered with Yes is acceptable, or return it."), "remark")
        )
    found = warnings(session, evidence, keys=harm.keys if harm else None)
    if found and (harm is None or harm.looked != fingerprint(found)):
        mistakes.append(
            Invalid(N_("Look at each warning, and confirm that you did. There may be new ones."), "looked")
        )
    raise_all(mistakes)
    return found


def record(
    session: Session,
    evidence: Evidence,
    harm: Harm,
    found: list[Warning],
    *,
    checked_by: Account,
    now: dt.datetime,
) -> HarmCheck:
    """Keep what was asked, answered and warned of."""
    kept = HarmCheck(
        evidence=evidence,
        answers=json.dumps({**harm.answers, "remark": harm.remark}, ensure_ascii=False),
        warnings=json.dumps([vars(warning) for warning in found], ensure_ascii=False),
        checked_by_id=checked_by.id,
        checked_at=now,
    )
    session.add(kept)
    return kept


def fingerprint(found: list[Warning]) -> str:
    """What the box “I looked at each warning” stands for: exactly these and no others."""
    words = json.dumps([vars(warning) for warning in found], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def grouped(found: list[Warning]) -> dict[tuple[str, str], list[str]]:
    """The excerpts by kind and place, for reading: a file can tell twenty things, and is one thing to look at."""
    groups: dict[tuple[str, str], list[str]] = {}
    for warning in found:
        groups.setdefault((warning.kind, warning.where), []).append(warning.excerpt)
    return groups


def warnings(session: Session, evidence: Evidence, *, keys: Keyring | None) -> list[Warning]:
    """Everything that the program can point at in what would be public, each once."""
    # Imported late, because it knows evidence, and accepting evidence knows the harm check.
    from tracker.services import sources

    found: dict[Warning, None] = {}
    for where, words in public_texts(evidence):
        for kind, excerpt in giveaways.find(words, link=where == "links"):
            found[Warning(kind, where, excerpt)] = None
        for excerpt in _hidden(evidence, words):
            found[Warning("hidden", where, excerpt)] = None
        for excerpt in sources.suspicious_words(session, words, keys=keys) if keys else ():
            found[Warning("name", where, excerpt)] = None
    found |= dict.fromkeys(_dates(evidence))
    found |= dict.fromkeys(_files(evidence))
    return list(found)


def public_texts(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """(field, text) of everything that people wrote in it for the public."""
    for name in ("title", "summary", "place", "publisher", "language", "remark"):
        if words := getattr(evidence, name):
            yield name, words
    for link in evidence.links:
        yield "links", link.url
    for exhibit in evidence.exhibits:
        for copy in exhibit.copies:
            if copy.withdrawn_at is None and copy.description:
                yield "description", copy.description


def _hidden(evidence: Evidence, words: str) -> Iterator[str]:
    """What of the hidden place and names stands in a public text."""
    for detail in evidence.details:
        if detail.detail is not Detail.EXACT_DATE:
            yield from giveaways.shared(detail.value, words)


def _dates(evidence: Evidence) -> Iterator[Warning]:
    hidden = any(detail.detail is Detail.EXACT_DATE and detail.value for detail in evidence.details)
    if hidden and evidence.occurred_on and evidence.date_precision in (Precision.DAY, Precision.ABOUT):
        yield Warning("date", "occurred", evidence.occurred_on.isoformat())


def _files(evidence: Evidence) -> Iterator[Warning]:
    """What the originals of public copies tell unseen. Copies made here lose it; cleaned ones a person has to vouch for."""
    for exhibit in evidence.exhibits:
        shown = [copy for copy in exhibit.copies if copy.withdrawn_at is None and copy.sha256]
        if not shown:
            continue
        cleaned = any(copy.method is CopyMethod.CLEANED for copy in shown)
        for trace in exhibits.findings(exhibit)["traces"]:
            if cleaned or trace["what"] in ("gps", "device", "author"):
                excerpt = f"{TRACES.get(trace['what'], trace['what'])}: {trace['value']}"
                yield Warning("file", exhibit.name, excerpt[:200])
