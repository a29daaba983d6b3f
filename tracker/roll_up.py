"""The grade a recommendation shows: computed from its clauses by one published rule, never set by hand."""

from __future__ import annotations

from collections.abc import Sequence

from tracker.vocabulary import Grade


def roll_up(grades: Sequence[Grade | None]) -> Grade | None:
    """One grade for a recommendation. `None` among the grades is a clause that was not yet assessed.

    Any E gives E; all assessed A give A; some A or B give B; else all D give D; else all V give V; else C.
    While nothing is assessed there is no grade. The same words stand on the method page.
    """
    assessed = {grade for grade in grades if grade is not None}
    if not assessed:
        return None
    if Grade.E in assessed:
        return Grade.E
    if assessed == {Grade.A}:
        return Grade.A
    if assessed & {Grade.A, Grade.B}:
        return Grade.B
    if assessed in ({Grade.D}, {Grade.V}):
        return assessed.pop()
    return Grade.C
