"""Trying what a form asks for: done and committed, or refused at its field with nothing half-saved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tracker import db
from tracker.errors import Invalid
from tracker.forms.base import BaseForm

Result = TypeVar("Result")


def commit(form: BaseForm, act: Callable[[], Result]) -> Result | None:
    """Do it in one transaction and return what it gave; None, with the sentence in the form, if a rule refuses."""
    session = db.session()
    try:
        result = act()
        session.commit()
    except Invalid as error:
        session.rollback()
        form.refuse(error)
        return None
    return result
