"""The policy for text that people type, the same for forms, files and both databases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker import text
from tracker.errors import Invalid


@pytest.mark.parametrize(
    "words",
    ["ئۇيغۇر تىلى", "می‌خواهم", "👩‍👧‍👦", "汉字", "Қазақша", "Tür kçe", "a\nb\tc", "é", "“q” – …"],
)
def test_the_words_of_people_come_through_unchanged(words: str) -> None:
    assert text.clean(words) == words


@pytest.mark.parametrize(
    "character",
    ["\x00", "\x08", "\x1b", "\x7f", "\x85", "\u202e", "\u202a", "\u2066", "\u2069", "\ud800", "\ufffe", "\ufdd0",
     "\U000e0041", "\u200b", "\ufeff"],
)  # fmt: skip
def test_what_is_invisible_or_turns_other_text_around_is_refused_with_its_place(character: str) -> None:
    with pytest.raises(Invalid, match=r"Character 3 \(U\+"):
        text.clean(f"ab{character}c")


def test_text_is_composed_and_its_ends_are_stripped() -> None:
    assert text.clean("  e\u0301t\u0065\u0301 \r\nx\r ") == "été \nx"


def test_stacks_of_accents_are_refused() -> None:
    with pytest.raises(Invalid, match="too many accents"):
        text.clean("a" + "\u0316" * 9)


def test_a_line_break_where_one_line_is_asked_for_is_refused() -> None:
    with pytest.raises(Invalid, match="one line"):
        text.clean("a\nb", lines=False)


@given(st.text())
def test_what_was_cleaned_once_stays_as_it_is(words: str) -> None:
    try:
        cleaned = text.clean(words)
    except Invalid:
        return
    assert text.clean(cleaned) == cleaned
    cleaned.encode("utf-8")
