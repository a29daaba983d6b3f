"""A report file is checked whole: every mistake is told with its place, and good files read as they are meant."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracker.config import ROOT
from tracker.errors import InvalidFile
from tracker.services import report_file
from tracker.vocabulary import Direction, Precision

TODAY = dt.date(2026, 11, 22)
GUIDE = (ROOT / "docs" / "report-format.md").read_text(encoding="utf-8")
EXAMPLE = GUIDE.split("```toml\n")[1].split("```")[0]
SOURCE = EXAMPLE[EXAMPLE.index('source_type = "org') : EXAMPLE.index("bears_on.progress")]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., report_file.ReportFile]:
    """Read the guide's example, changed by (old, new) pairs."""

    def read(*changes: tuple[str, str]) -> report_file.ReportFile:
        text = EXAMPLE
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        (tmp_path / "report.toml").write_text(text, encoding="utf-8")
        return report_file.read(tmp_path / "report.toml", today=TODAY)

    return read


@pytest.fixture
def problems(read: Any) -> Callable[..., list[str]]:
    """What is told about the changed example."""

    def problems(*changes: tuple[str, str]) -> list[str]:
        with pytest.raises(InvalidFile) as refused:
            read(*changes)
        assert str(len(refused.value.problems)) in str(refused.value)
        return refused.value.problems

    return problems


def test_the_example_of_the_guide_is_read(read: Any) -> None:
    found = read()

    assert (found.report.slug, found.report.demonstration) == ("harbour-2024", True)
    assert found.recommendations[0].text == (
        "Release all dock workers held without charge, and publish the number of persons released;"
    )
    assert [clause.label for clause in found.recommendations[0].clauses] == ["a", "b"]
    assert found.evidence[0].bearings == [("7-a/a", Direction.PROGRESS)]
    assert (found.replies[0].date, found.replies[0].known_as) == (
        (dt.date(2025, 3, 1), Precision.MONTH),
        Precision.MONTH,
    )
    assert list(found.drafts) == [("7-a", "a")]


def test_the_guide_names_every_key_and_every_word_of_the_format() -> None:
    from tracker.services import report_format
    from tracker.vocabulary import AddresseeKind, Position, SourceType

    tables = [
        kind
        for kind in vars(report_format).values()
        if isinstance(kind, type) and issubclass(kind, report_format.Table)
    ]
    keys = {key for table in tables for key in table.model_fields}
    words = {word.value for kind in (SourceType, Direction, Position, AddresseeKind) for word in kind}
    missing = {key for key in keys | words if not re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", GUIDE)}
    assert missing == set()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        # Shapes.
        ('title = "Free the dock workers"\n', "", "report.toml, line 17, recommendations 7-a: title is missing."),
        ('title = "Free', 'tilte = "x"\ntitle = "Free', "report.toml, line 17, recommendations 7-a: tilte is not a key of this table. See docs/report-format.md."),
        ("page = 12", 'page = "12"', "report.toml, line 17, recommendations 7-a: page must be a whole number without quotes."),
        ("page = 12", "page = 0", "report.toml, line 17, recommendations 7-a: page must be 1 or more."),
        ("demonstration = true", 'demonstration = "yes"', "report.toml, report: demonstration must be true or false, without quotes."),
        ("demonstration = true", "demonstration = 1", "report.toml, report: demonstration must be true or false, without quotes."),
        ('issuer = "Office of Assessments"', "issuer = 5", "report.toml, report: issuer must be text in quotes."),
        ('issuer = "Office of Assessments"', 'issuer = "  "', "report.toml, report: issuer is empty."),
        ('links = ["https://aid.arvenia.example/four"]', 'links = "https://aid.arvenia.example/four"', "report.toml, line 37, evidence E1: links must be a list in square brackets."),
        ('bears_on.progress = ["7-a/a"]', 'bears_on = "7-a/a"', "report.toml, line 37, evidence E1: bears_on must be a table."),
        ('bears_on.progress = ["7-a/a"]', "bears_on = {}", "report.toml, line 37, evidence E1: bears_on is empty."),
        ('bears_on.progress = ["7-a/a"]', "bears_on.progress = []", "report.toml, line 37, evidence E1: bears_on names no recommendation."),
        ('bears_on.progress = ["7-a/a"]', "bears_on.progress = [7]", "report.toml, line 37, evidence E1: bears_on, progress, no. 1 must be text in quotes."),
        ('source = { publisher = "Ministry of the Interior", title = "Note 12 of 2025" }', 'source = "a note"', "report.toml, line 47, replies R1: source must be a table."),
        ("[[evidence]]", "[evidence]", "report.toml: write [[evidence]] in double brackets, once for each."),
        ("[report]", "[raport]", "report.toml: the table [report] is missing."),
        ("[report]", "shape = 2\n[report]", "report.toml: “shape” is not known here. Known: include, report, addressees, recommendations, evidence, replies, findings."),
        # Words.
        ('kind = "government"', 'kind = "company"', "report.toml, line 11, addressees government: kind is “company”; it must be one of: government, business, international, other."),
        ("bears_on.progress", "bears_on.better", "report.toml, line 37, evidence E1: bears_on, better is “better”; it must be one of: progress, no-change, regress, refusal, mixed, context."),
        ('grade = "B"', 'grade = "F"', "report.toml, line 57, findings 7-a: grade is “F”; it must be one of: A, B, C, D, E, V."),
        ('slug = "harbour-2024"', 'slug = "Harbour 2024"', "report.toml, report: slug is “Harbour 2024”; it must be small letters, digits and single hyphens, 64 characters at most."),
        ('label = "b"', 'label = "all"', "report.toml, line 17, recommendations 7-a: clause all, label is “all”; it must be a letter or number, such as a or 2, and not the word all."),
        ('language = "en"', 'language = "English!"', "report.toml, report: language is “English!”; it must be a language code, such as en or zh-Hans."),
        # Dates.
        ("date = 2025-02-03", 'date = "2025-02-30"', "report.toml, line 37, evidence E1: date is 2025-02-30, which does not exist."),
        ("date = 2025-02-03", "date = 2027-02-03", "report.toml, line 37, evidence E1: date is 2027-02-03, which is in the future."),
        ("date = 2025-02-03", 'date = "3 February"', 'report.toml, line 37, evidence E1: date must be a date: 2024-08-27 for a day, "2024-08" for a month, "2024" for a year.'),
        ("date = 2025-02-03", "date = 2025-02-03T10:00:00Z", 'report.toml, line 37, evidence E1: date must be a date: 2024-08-27 for a day, "2024-08" for a month, "2024" for a year.'),
        ('date = "2025-03"', 'date = "2025-03"\nprecision = "about"', "report.toml, line 47, replies R1: precision does not fit the date, which names a month. Leave precision out."),
        ("as_of = 2025-03-31", 'as_of = "2025-03"', "report.toml, line 57, findings 7-a: as_of must be a day, for example 2024-08-27."),
        # Texts.
        ("Four dock", "Four \u202edock", "report.toml, line 37, evidence E1: title cannot be stored. Character 6 (U+202E) cannot be stored: it is invisible or changes the direction of other text. Delete it and type the place again."),
        ('title = "Release"', f'title = "{"x" * 201}"', "report.toml, line 17, recommendations 7-a: clause a, title has 201 characters; 200 fit."),
        ("https://aid", "javascript://aid", "report.toml, line 37, evidence E1: links, no. 1 is refused. “javascript://aid.arvenia.example/four” is not a web address. It must start with http:// or https:// and hold no password."),
        # What must hold between the tables.
        ("Release all dock workers held without charge\"", "Release all dock workers\u00a0held\"", "report.toml, line 17, recommendations 7-a: clause a, text is not a part of the recommendation's text. It must be, letter by letter."),
        ('label = "b"', 'label = "a"', "report.toml, line 17, recommendations 7-a: clause a stands twice."),
        ('addressee = "government"', 'addressee = "business"', "report.toml, line 17, recommendations 7-a: addressee “business” is none of the [[addressees]]."),
        ('["7-a/a"]', '["7-a/c"]', "report.toml, line 37, evidence E1: bears_on: there is no recommendation or clause “7-a/c”."),
        ('["7-a/a"]', '["7-a/"]', "report.toml, line 37, evidence E1: bears_on: there is no recommendation or clause “7-a/”."),
        ('["7-a/a"]', '["7-a/a"]\nbears_on.mixed = ["7-a/a"]', "report.toml, line 37, evidence E1: bears_on: “7-a/a” stands twice."),
        ('source_type = "org', 'visibility = "restricted"\nsource_type = "org', "report.toml, line 37, evidence E1: visibility “restricted” needs named readers: log such evidence in the browser."),
        (SOURCE, 'source_type = "media"\nsummary = "They met four men."\n', "report.toml, line 37, evidence E1: links is missing: enter the address where it was published."),
        ('recommendations = ["7-a"]', 'recommendations = ["8"]', "report.toml, line 47, replies R1: recommendations: there is no recommendation “8”."),
        ('source = { publisher = "Ministry of the Interior", title = "Note 12 of 2025" }', "", "report.toml, line 47, replies R1: name either evidence or source: where the reply was published."),
        ('source = { publisher = "Ministry of the Interior", title = "Note 12 of 2025" }', 'evidence = "E9"', "report.toml, line 47, replies R1: evidence: there is no evidence “E9”."),
        ('cites = ["E1"]', 'cites = ["E2"]', "report.toml, line 57, findings 7-a: cites: there is no evidence “E2”."),
        ('source_type = "org', 'visibility = "team"\nsource_type = "org', "report.toml, line 58, findings 7-a: cites: evidence E1 is not public, so this cannot rest on it."),
        ('cites = ["E1"]', "", "report.toml, line 57, findings 7-a: cites is empty: grade B needs at least one piece of evidence."),
        ('clause = "a"\n', "", "report.toml, line 57, findings 7-a: clause is missing: this recommendation has clauses. Name one, or all."),
        ('clause = "a"\n', 'clause = "c"\n', "report.toml, line 57, findings 7-a: there is no clause “c” in recommendation 7-a."),
        ('[[findings]]\nrecommendation = "7-a"', '[[findings]]\nrecommendation = "9"', "report.toml, line 57, findings 9: there is no recommendation “9”."),
    ],
)  # fmt: skip
def test_every_kind_of_mistake_is_told_with_its_place(
    old: str, new: str, problem: str, problems: Any
) -> None:
    assert problem in problems((old, new))


@pytest.mark.parametrize("grade", ["D", "V"])
def test_no_cooperation_and_cannot_be_verified_need_evidence_or_a_search_log(
    grade: str, read: Any, problems: Any
) -> None:
    bare = [('grade = "B"', f'grade = "{grade}"'), ('cites = ["E1"]', "")]
    assert problems(*bare) == [
        "report.toml, line 57, findings 7-a: needs evidence in cites, or a search log in [findings.search]."
    ]

    log = '[findings.search]\nwhat = "orders"\nwhere = "Gazette"\nlanguages = ["en"]\nuntil = 2025-03-31'
    assert read(bare[0], ('cites = ["E1"]', log)).findings[0].search.languages == ["en"]
    assert problems(bare[0], ('cites = ["E1"]', log.replace('where = "Gazette"\n', ""))) == [
        "report.toml, line 57, findings 7-a: search, where is missing."
    ]


@pytest.mark.parametrize(
    ("table", "key"),
    [("addressees", 'slug = "government"'), ("recommendations", 'number = "7-a"'), ("evidence", 'id = "E1"'), ("replies", 'id = "R1"')],
)  # fmt: skip
def test_nothing_stands_twice(table: str, key: str, problems: Any) -> None:
    start = EXAMPLE.index(f"[[{table}]]")
    copy = EXAMPLE[start : EXAMPLE.index("\n\n", start)]

    found = problems((copy, f"{copy}\n\n{copy}"))

    name, value = key.split(" = ")
    assert any(f"{name} “{value[1:-1]}” stands already at report.toml" in problem for problem in found)


def test_a_reference_and_a_draft_stand_once_too(problems: Any) -> None:
    recommendation = '[[recommendations]]\nnumber = "7-b"\nreference = "7(a)"\naddressee = "government"\ntitle = "x"\ntext = "y"\n\n[[evidence]]'
    draft = EXAMPLE[EXAMPLE.index("[[findings]]") :]

    assert problems(("[[evidence]]", recommendation)) == [
        "report.toml, line 37, recommendations 7-b: reference “7(a)” stands already at report.toml, line 17, recommendations 7-a."
    ]
    assert problems((draft, draft + "\n" + draft.replace('clause = "a"', 'clause = "all"'))) == [
        "report.toml, line 66, findings 7-a: a draft for clause a stands already at report.toml, line 57, findings 7-a."
    ]


def test_all_mistakes_are_told_at_once(problems: Any) -> None:
    found = problems(
        ("page = 12", 'page = "12"'),
        ("2025-02-03", "2035-02-03"),
        ('grade = "B"', 'grade = "b"'),
        ("partly-accepts", "maybe"),
    )

    assert [problem.split(":")[0] for problem in found] == [
        "report.toml, line 17, recommendations 7-a", "report.toml, line 37, evidence E1",
        "report.toml, line 47, replies R1", "report.toml, line 57, findings 7-a",
    ]  # fmt: skip


def test_a_mistake_in_a_recommendation_is_not_told_again_where_it_is_named(problems: Any) -> None:
    assert len(problems(("page = 12", 'page = "12"'))) == 1


def test_dates_keep_the_precision_they_are_written_with(read: Any) -> None:
    def known(written: str) -> tuple[str, Precision]:
        found = read(("date = 2025-02-03", written)).evidence[0]
        return found.date.day.isoformat(), found.known_as

    assert known("date = 2025-02-03") == ("2025-02-03", Precision.DAY)
    assert known('date = "2025-02-03"') == ("2025-02-03", Precision.DAY)
    assert known('date = "2025-02"') == ("2025-02-01", Precision.MONTH)
    assert known('date = "2025"') == ("2025-01-01", Precision.YEAR)
    assert known("date = 2025") == ("2025-01-01", Precision.YEAR)
    assert known('date = 2025-02-03\nprecision = "about"') == ("2025-02-03", Precision.ABOUT)


def test_lines_may_be_broken_by_a_mail_program_and_paragraphs_stay(read: Any) -> None:
    rationale = (
        'rationale = "Four of eleven men were released. The charges against the others are not known."'
    )

    found = read((rationale, 'rationale = """\nFour of\n  eleven.\r\n\r\nSecond\nparagraph."""')).findings[0]

    assert found.rationale == "Four of eleven.\n\nSecond paragraph."


def test_uyghur_persian_and_emoji_texts_stay_as_they_are(read: Any) -> None:
    words = "ئۇيغۇرچە می‌خواهم 👩‍🏫"
    assert read(("Four dock workers come home", words)).evidence[0].title == words


def test_a_file_saved_with_a_byte_order_mark_is_read(read: Any, tmp_path: Path) -> None:
    (tmp_path / "bom.toml").write_text(EXAMPLE, encoding="utf-8-sig")
    assert report_file.read(tmp_path / "bom.toml", today=TODAY) == read()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[report]\ntitle = \"caf\xe9\"", "report.toml, line 2: is not UTF-8 text. Save the file as UTF-8."),
        (b"[report]\ntitle = ", "report.toml: is not TOML: Invalid value (at end of document)."),
        (b"[report]\npublished_on = 2022-02-30", "report.toml: is not TOML: Invalid date or datetime (at line 2, column 16)."),
        (b"a = 1\na = 2", "report.toml: is not TOML: Cannot overwrite a value (at end of document)."),
        (b"a = " + b"[" * 100_000, "report.toml: is not TOML: too many brackets inside each other."),
        (b"x = " + b"9" * 5000, "report.toml: is not TOML: Exceeds the limit (4300 digits)"),
        (b"\x00", "report.toml: is not TOML: Invalid statement (at line 1, column 1)."),
    ],
)  # fmt: skip
def test_what_is_not_toml_is_told_with_its_line(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_bytes(content)

    with pytest.raises(InvalidFile) as refused:
        report_file.read(tmp_path / "report.toml", today=TODAY)

    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith(problem)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"report = 1", b"[report]", b"recommendations = [1]", b"[[recommendations]]\nclauses = 3",
        b"[[recommendations]]\nclauses = [3]\nnumber = [1]", b"[[addressees]]\nslug = []", b"[[evidence]]\nid = {}\nbears_on = [1]",
        b"[[evidence]]\nbears_on.progress = {}", b"[[findings]]\nrecommendation = 3\nclause = 1", b"[[replies]]\nrecommendations = [[]]",
        b"include = 3", b"[include]\nevidence = 3", b"[include]\nother = 'x'", b"[[report]]\n[[report]]",
        b"[report]\ntitle = '''a\n\nb'''\nslug = inf\npublished_on = nan\nreview_months = true",
    ],
)  # fmt: skip
def test_no_shape_of_file_breaks_the_reader(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.toml").write_bytes(content)

    with pytest.raises(InvalidFile) as refused:
        report_file.read(tmp_path / "report.toml", today=TODAY)

    assert refused.value.problems


def split(tmp_path: Path, include: str = '[include]\nevidence = "evidence.toml"\n\n') -> Path:
    """The example with its evidence in a file of its own."""
    folder = tmp_path / "report"
    folder.mkdir()
    start, end = EXAMPLE.index("[[evidence]]"), EXAMPLE.index("[[replies]]")
    (folder / "report.toml").write_text(include + EXAMPLE[:start] + EXAMPLE[end:], encoding="utf-8")
    (folder / "evidence.toml").write_text(EXAMPLE[start:end], encoding="utf-8")
    return folder / "report.toml"


def test_included_files_are_read_and_their_mistakes_carry_their_name(read: Any, tmp_path: Path) -> None:
    path = split(tmp_path)
    assert report_file.read(path, today=TODAY) == read()

    evidence = path.with_name("evidence.toml")
    evidence.write_text(
        evidence.read_text().replace("2025-02-03", "2035-02-03") + "\n[[replies]]\n", encoding="utf-8"
    )
    with pytest.raises(InvalidFile) as refused:
        report_file.read(path, today=TODAY)

    assert (
        "evidence.toml, line 1, evidence E1: date is 2035-02-03, which is in the future."
        in refused.value.problems
    )
    assert "evidence.toml: “replies” is not known here. Known: evidence." in refused.value.problems


def test_an_unreadable_include_is_told_once(tmp_path: Path) -> None:
    path = split(tmp_path)
    path.with_name("evidence.toml").write_text("[[evidence", encoding="utf-8")

    with pytest.raises(InvalidFile) as refused:
        report_file.read(path, today=TODAY)

    assert len(refused.value.problems) == 1
    assert refused.value.problems[0].startswith("evidence.toml: is not TOML")


@pytest.mark.parametrize(
    "name", ["../evidence.toml", "/etc/hostname", "a/../../evidence.toml", "link.toml", "..", "\\u0000"]
)
def test_an_include_never_leaves_the_folder(name: str, tmp_path: Path) -> None:
    path = split(tmp_path, f'[include]\nevidence = "{name}"\n\n')
    path.with_name("evidence.toml").rename(tmp_path / "evidence.toml")
    path.with_name("link.toml").symlink_to(tmp_path / "evidence.toml")

    with pytest.raises(InvalidFile) as refused:
        report_file.read(path, today=TODAY)

    assert refused.value.problems == [
        "report.toml, include: evidence must name a file in the folder of the report file."
    ]


def test_a_file_is_not_included_twice_and_not_by_itself(tmp_path: Path) -> None:
    path = split(
        tmp_path,
        '[include]\nevidence = "report.toml"\nreplies = "evidence.toml"\nfindings = "evidence.toml"\n\n',
    )

    with pytest.raises(InvalidFile) as refused:
        report_file.read(path, today=TODAY)

    assert "report.toml, include: evidence names report.toml a second time." in refused.value.problems
    assert "report.toml, include: findings names evidence.toml a second time." in refused.value.problems


def test_only_files_are_read_and_only_of_a_sensible_size(tmp_path: Path) -> None:
    (tmp_path / "big.toml").write_bytes(b"#" * (report_file.MOST_BYTES + 1))

    for path, problem in [
        (tmp_path / "none.toml", "none.toml: there is no such file."),
        (tmp_path, f"{tmp_path.name}: is a folder. Name the report file in it, such as report.toml."),
        (Path("/dev/zero"), "zero: there is no such file."),
        (tmp_path / "big.toml", "big.toml: has more than 20 MB."),
    ]:
        with pytest.raises(InvalidFile) as refused:
            report_file.read(path, today=TODAY)
        assert refused.value.problems == [problem]


def test_problems_carry_nothing_that_a_terminal_would_obey(problems: Any) -> None:
    found = problems(('grade = "B"', 'grade = "\\u001b[2J"'))

    assert not any("\x1b" in problem for problem in found)
    assert any("[2J" in problem for problem in found)
