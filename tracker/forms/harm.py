"""The questions of the harm check, as every form that publishes something asks them."""

from __future__ import annotations

from flask_babel import gettext, lazy_gettext
from wtforms import RadioField
from wtforms.fields import SelectChoice

from tracker.forms.base import BaseForm
from tracker.services import harm as service


def _answers() -> list[SelectChoice]:
    return [SelectChoice(value, gettext(label)) for value, label in service.ANSWERS.items()]


def _question(name: str) -> RadioField:
    # A missing answer is asked for by a sentence of ours, and only if something is to be published.
    return RadioField(lazy_gettext(service.QUESTIONS[name]), choices=_answers, validate_choice=False)


class HarmQuestions(BaseForm):
    """Part of a form: the questions about harm."""

    person = _question("person")
    relative = _question("relative")
    place = _question("place")
    source = _question("source")
    count = _question("count")
    detail = _question("detail")

    @property
    def questions(self) -> list[RadioField]:
        """The questions' fields, in their order."""
        return [self[name] for name in service.QUESTIONS]

    def answers(self) -> dict[str, str]:
        """What was answered, by question."""
        return {name: self[name].data or "" for name in service.QUESTIONS}
