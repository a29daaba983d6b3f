"""Names in texts: what could be one, and how two spellings are compared."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

#: A name has at most so many words.
MOST_WORDS = 4


def compared(words: str) -> str:
    """A name as it is compared: without case, accents, vowel signs and punctuation."""
    return " ".join(filter(None, (_plain(words[start:end]) for start, end in spans(words))))


def candidates(text: str) -> Iterator[tuple[str, str]]:
    """(as compared, as written) of every word and every row of up to four words that could be a name."""
    places = spans(text)
    plain = [_plain(text[start:end]) for start, end in places]
    for first, (start, end) in enumerate(places):
        for last in range(first, min(first + MOST_WORDS, len(places))):
            yield " ".join(filter(None, plain[first : last + 1])), text[start : places[last][1]]
        word = text[start:end]
        if any("\u3040" <= letter <= "\u9fff" for letter in word):
            # Chinese and Japanese put no spaces between words; names have two to four characters there.
            for place in range(len(word)):
                for size in range(2, min(5, len(word) - place + 1)):
                    yield _plain(word[place : place + size]), word[place : place + size]


def spans(text: str) -> list[tuple[int, int]]:
    """Where each word of a text begins and ends. Letters, digits and the marks on them make words."""
    found: list[tuple[int, int]] = []
    for place, letter in enumerate(text):
        if unicodedata.category(letter)[0] in "LNM":
            if found and found[-1][1] == place:
                found[-1] = (found[-1][0], place + 1)
            else:
                found.append((place, place + 1))
    return found


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.casefold())
    bare = "".join(letter for letter in letters if unicodedata.category(letter)[0] != "M")
    return unicodedata.normalize("NFKC", bare).casefold()
