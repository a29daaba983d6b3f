"""The story of the demonstration: the Republic of Arvenia, which does not exist, and everything in it is invented.

The first thirteen recommendations are told in full; any number of others is put together from parts.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tracker.vocabulary import Access, Grade, Position

COUNTRY = "Republic of Arvenia"
PUBLISHED_ON = dt.date(2023, 3, 14)


@dataclass(frozen=True)
class Step:
    """What was found on one day: a grade for each clause ("–" for none), and why."""

    day: dt.date
    grades: str
    reason: str


@dataclass(frozen=True)
class Story:
    """One recommendation and what became of it."""

    number: str
    reference: str
    addressee: str
    title: str
    text: str
    clauses: Sequence[tuple[str, str]]  # (title, words of the text)
    access: Access
    position: Position | None
    replied_on: dt.date | None
    steps: Sequence[Step]


def stories(count: int, seed: int) -> list[Story]:
    """The first `count` recommendations. The same count and seed give the same stories."""
    return [
        TOLD[index] if index < len(TOLD) else _invent(index, random.Random(f"{seed}/{index}"))  # noqa: S311 - No secret.
        for index in range(count)
    ]


# What a finding of each grade rests on, and what it says.
PIECES: dict[Grade, tuple[str, str, str]] = {
    Grade.A: ("The {subject} is done and checked", "Arvenian Gazette", "The Gazette prints the order, and visitors saw it carried out."),
    Grade.B: ("First steps on the {subject}", "Lower Valley District Court", "The register shows steps in six of eleven places."),
    Grade.C: ("No step on the {subject}", "Valley Legal Aid", "A review of all places finds that nothing has begun."),
    Grade.D: ("No answer about the {subject}", "Valley Legal Aid", "Two letters with questions stay without an answer."),
    Grade.E: ("An order against the {subject}", "Ministry of the Interior of Arvenia", "An order forbids what the recommendation asks for."),
    Grade.V: ("Nobody may look at the {subject}", "Orlen Observer", "Visitors are turned away, and those who know cannot be reached safely."),
}  # fmt: skip

_PLACES = (
    "Orlen",
    "Kestrel Street",
    "Upper Mill",
    "Saltmarsh",
    "Ferry Landing",
    "Three Bridges",
    "Hollow Hill",
    "Old Quay",
)
_THINGS = (
    "school",
    "court",
    "library",
    "clinic",
    "mill",
    "quarry",
    "market",
    "station",
    "archive",
    "harbour",
)
_ACTS = (
    ("Publish the register of the {thing} at {place}", "publish the register of the {thing} at {place}", "explain to those concerned how it is kept"),
    ("Reopen the {thing} at {place}", "reopen the {thing} at {place}", "consult the people who used it"),
    ("Let visitors into the {thing} at {place}", "let independent visitors into the {thing} at {place}", "answer what they ask in writing"),
    ("Pay what is owed at the {thing} of {place}", "pay the wages owed at the {thing} of {place}", "compensate those who were dismissed"),
    ("Investigate the closing of the {thing} at {place}", "investigate the closing of the {thing} at {place}", "inform the families of the result"),
)  # fmt: skip
# How things go in Arvenia, from the first finding to the newest; the common courses stand more than once.
_COURSES = ("C", "C", "C", "D", "DC", "DC", "CB", "DCB", "CBA", "V", "CV", "CE", "CBE", "B", "–")


def _invent(index: int, chance: random.Random) -> Story:
    paragraph, letter = 91 + (index - len(TOLD)) // 26, "abcdefghijklmnopqrstuvwxyz"[(index - len(TOLD)) % 26]
    title, first, second = chance.choice(_ACTS)
    names = {"thing": chance.choice(_THINGS), "place": chance.choice(_PLACES)}
    first = first.format(**names)
    addressee = chance.choice(["government"] * 8 + ["business", "international"])
    halves = chance.random() < 0.4
    text = f"{first[0].upper()}{first[1:]}, and {second};" if halves else f"{first[0].upper()}{first[1:]};"
    clauses = (
        [(title.format(**names), text[: len(first)]), (second[0].upper() + second[1:], second)]
        if halves
        else []
    )
    day, steps = PUBLISHED_ON, []
    for grade in chance.choice(_COURSES):
        day += dt.timedelta(days=chance.randint(60, 400))
        steps.append(
            Step(day, grade * max(len(clauses), 1), "What was asked was looked at in every place named.")
        )
    replied = chance.random() < 0.5
    return Story(
        number=f"{paragraph}-{letter}",
        reference=f"{paragraph}({letter})",
        addressee=addressee,
        title=title.format(**names),
        text=text,
        clauses=clauses,
        access=chance.choice(list(Access)),
        position=chance.choice(list(Position)) if replied else None,
        replied_on=PUBLISHED_ON + dt.timedelta(days=chance.randint(30, 700)) if replied else None,
        steps=steps,
    )


def _day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def _told(
    reference: str,
    addressee: str,
    title: str,
    text: str,
    clauses: Sequence[tuple[str, str]],
    access: Access,
    reply: tuple[Position, str] | None,
    *steps: tuple[str, str, str],
) -> Story:
    return Story(
        number=reference.replace("(", "-").replace(")", ""),
        reference=reference,
        addressee=addressee,
        title=title,
        text=text,
        clauses=clauses,
        access=access,
        position=reply[0] if reply else None,
        replied_on=_day(reply[1]) if reply else None,
        steps=[Step(_day(day), grades, reason) for day, grades, reason in steps],
    )


TOLD = [
    _told(
        "88(a)", "government", "Release people held without charge",
        "Release without delay all persons held in the Lower Valley without charge or judicial order, and publish the number of persons released;",
        [("Release", "Release without delay all persons held in the Lower Valley without charge or judicial order"),
         ("Publish the number", "publish the number of persons released")],
        Access.GUIDED, (Position.ACCEPTS, "2026-02-09"),
        ("2023-07-03", "DD", "No reply came after two reminders."),
        ("2024-02-12", "CC", "The State replied. Nobody is known to have been released."),
        ("2024-09-30", "BC", "Forty persons came home; no number has been published."),
        ("2026-10-12", "BC", "Reviewed: eleven more came home, and there is still no number."),
    ),
    _told(
        "88(b)", "government", "Tell families where relatives are held",
        "Inform families of the whereabouts of relatives held in the Lower Valley, and allow regular visits, letters and telephone calls;",
        [("Tell families", "Inform families of the whereabouts of relatives held in the Lower Valley"),
         ("Visits and letters", "allow regular visits, letters and telephone calls")],
        Access.REMOTE, (Position.PARTLY_ACCEPTS, "2024-06-18"),
        ("2023-07-03", "DD", "No reply came after two reminders."),
        ("2024-03-26", "CC", "The State replied. The families we could reach had no notice."),
        ("2025-08-04", "CB", "Visits are allowed at two sites. Families are still not told where relatives are."),
        ("2026-09-28", "CB", "Reviewed, no change."),
    ),
    _told(
        "88(c)", "government", "Repeal Decree 41",
        "Repeal Decree 41 on public order, and bring the law on assembly into line with international human rights law;",
        [("Repeal", "Repeal Decree 41 on public order"),
         ("Law on assembly", "bring the law on assembly into line with international human rights law")],
        Access.OPEN, (Position.REJECTS, "2023-05-02"),
        ("2023-11-06", "CC", "The decree is in force, and no bill has been tabled."),
        ("2026-11-03", "CC", "Reviewed: the decree was renewed twice and no bill has been tabled."),
    ),
    _told(
        "88(d)", "government", "Investigate deaths in custody",
        "Open prompt, independent and effective investigations into the deaths in custody reported at Orlen and Kestrel Street, inform the families of the results, and bring those responsible to justice;",
        [("Prompt", "Open prompt, independent and effective investigations into the deaths in custody reported at Orlen and Kestrel Street"),
         ("Independent and effective", "independent and effective"),
         ("Inform the families", "inform the families of the results"),
         ("Justice", "bring those responsible to justice")],
        Access.GUIDED, (Position.DISPUTES, "2025-03-04"),
        ("2023-07-03", "DDDD", "No reply came after two reminders."),
        ("2024-03-26", "CCVC", "The State replied and rejected the recommendation. No step has been taken."),
        ("2025-05-20", "BCVC", "Files were opened on six of eleven deaths, by the service that ran both sites."),
        ("2026-09-02", "BCVC", "Reviewed, no change."),
    ),
    _told(
        "88(e)", "government", "Allow independent visits to places of detention",
        "Establish an independent body with the power to visit every place of detention without notice;",
        [], Access.REMOTE, (Position.NOTES, "2024-06-18"),
        ("2023-07-03", "D", "No reply came after two reminders."),
        ("2025-01-20", "C", "The State took note. No body has been established."),
        ("2026-06-30", "C", "Reviewed: a bill was announced and not tabled."),
    ),
    _told(
        "88(f)", "government", "Restore mobile internet",
        "Restore access to the mobile internet in the Lower Valley, and refrain from further shutdowns;",
        [("Restore", "Restore access to the mobile internet in the Lower Valley"),
         ("No shutdowns", "refrain from further shutdowns")],
        Access.OPEN, (Position.ACCEPTS, "2026-01-11"),
        ("2023-08-21", "CC", "There is no mobile internet in the Lower Valley."),
        ("2024-05-06", "BB", "Mobile internet is back in the towns; villages have none."),
        ("2026-09-03", "BE", "Mobile data was cut for nine days by written order of the ministry."),
    ),
    _told(
        "88(g)", "government", "Reopen Valley-language schools",
        "Reopen the three schools teaching in the Valley language, and consult parents on the curriculum;",
        [("Reopen", "Reopen the three schools teaching in the Valley language"),
         ("Consult parents", "consult parents on the curriculum")],
        Access.GUIDED, (Position.ACCEPTS, "2024-06-18"),
        ("2023-08-21", "CC", "The three schools are closed."),
        ("2024-11-12", "BC", "Two of the three schools teach again."),
        ("2025-11-10", "AA", "All three schools teach, and parents sat on the board that wrote the curriculum."),
        ("2026-07-06", "AA", "Reviewed, no change."),
    ),
    _told(
        "88(h)", "government", "Provide reparation",
        "Provide reparation, including compensation and medical care, to persons found to have been unlawfully detained;",
        [], Access.REMOTE, (Position.SILENT, "2024-01-15"),
        ("2024-01-29", "D", "Four questions since the assessment stayed without an answer."),
        ("2026-09-21", "D", "Reviewed: a fifth question stayed without an answer."),
    ),
    _told(
        "88(i)", "government", "End reprisals",
        "End all reprisals against persons who spoke with the assessment team, and against their families;",
        [], Access.REMOTE, (Position.REJECTS, "2023-05-02"),
        ("2023-06-12", "V", "Nobody who spoke with the team could be reached safely."),
        ("2024-10-07", "E", "A court convicted a witness for speaking with the team."),
        ("2026-01-19", "V", "The conviction was quashed. Those who spoke cannot be reached safely."),
        ("2026-10-19", "V", "Reviewed, no change. Two people we had spoken to can no longer be reached safely."),
    ),
    _told(
        "88(j)", "government", "Ratify the torture-prevention protocol",
        "Ratify the Optional Protocol to the Convention against Torture, and designate a national preventive mechanism.",
        [("Ratify", "Ratify the Optional Protocol to the Convention against Torture"),
         ("Preventive mechanism", "designate a national preventive mechanism")],
        Access.OPEN, (Position.ACCEPTS, "2024-06-18"),
        ("2023-08-21", "CC", "The protocol is not signed."),
        ("2025-02-03", "BC", "Parliament approved the protocol; the instrument is not deposited."),
        ("2026-09-15", "AA", "The instrument was deposited and a preventive mechanism named by law."),
    ),
    _told(
        "89(a)", "business", "Buyers check quarries and mills",
        "Carry out human rights due diligence on purchases from quarries and mills in the Lower Valley, and report on it publicly;",
        [("Due diligence", "Carry out human rights due diligence on purchases from quarries and mills in the Lower Valley"),
         ("Report", "report on it publicly")],
        Access.GUIDED, None,
        ("2024-02-12", "CC", "None of nineteen buyers has published a report."),
        ("2024-12-09", "BB", "Nine of nineteen buyers have published a report."),
        ("2026-08-24", "BB", "Reviewed: eleven of nineteen buyers have published a report."),
    ),
    _told(
        "89(b)", "business", "Stop sales of crowd-surveillance equipment",
        "Refrain from selling crowd-surveillance equipment to authorities in the Lower Valley while the risk of misuse persists.",
        [], Access.REMOTE, None,
    ),
    _told(
        "90", "international", "No forced returns",
        "Refrain from returning persons from the Lower Valley to Arvenia where they would risk torture or arbitrary detention.",
        [], Access.GUIDED, None,
        ("2024-07-08", "V", "No host State published numbers."),
        ("2025-02-03", "B", "Seven of twelve host States stopped returns."),
        ("2026-10-05", "B", "Reviewed, no change."),
    ),
]  # fmt: skip
