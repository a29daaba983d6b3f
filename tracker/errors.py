"""What can go wrong, in sentences fit to show to the person who met it.

Services raise these; `views/errors.py` turns them into pages and the command line into one line on stderr.
The sentence is an English msgid with `%(name)s` places; the entry point translates and fills it.
"""

from __future__ import annotations

from collections.abc import Sequence


class TrackerError(Exception):
    """Parent of all. `message` is the untranslated sentence, `values` fill its places, `status` is for HTTP."""

    status = 400

    def __init__(self, message: str, **values: object) -> None:
        self.message = message
        self.values = values
        super().__init__(message % values if values else message)


class ConfigError(TrackerError):
    """A setting is missing, unknown or of the wrong type."""

    status = 500


class NotAllowed(TrackerError):
    """This person may not do this."""

    status = 403


class NotFound(TrackerError):
    """It does not exist, or this person may not know that it does: the two look the same."""

    status = 404


class Conflict(TrackerError):
    """Somebody else was quicker, or the thing is no longer in a state that allows this."""

    status = 409


class Stale(Conflict):
    """A save on top of a version that somebody has changed meanwhile. `current` is the row as it is now."""

    def __init__(self, message: str, current: object, **values: object) -> None:
        self.current = current
        super().__init__(message, **values)


class Invalid(TrackerError):
    """What was entered breaks a rule. `field` names the form field, if there is one.

    `others` are the further mistakes of the same form, so that nobody has to find them one by one.
    """

    status = 422

    def __init__(self, message: str, field: str | None = None, **values: object) -> None:
        self.field = field
        self.others: list[Invalid] = []
        super().__init__(message, **values)


def raise_all(mistakes: Sequence[Invalid]) -> None:
    """Raise the first mistake with the others in its train; nothing if there is none."""
    if mistakes:
        first, *first.others = mistakes
        raise first


class InvalidFile(Invalid):
    """A whole file was refused. `problems` holds one sentence each, with its place in the file."""

    def __init__(self, message: str, problems: list[str], **values: object) -> None:
        self.problems = problems
        super().__init__(message, None, **values)


class CaptureFailed(TrackerError):
    """A web page could not be captured. `lasting`: trying again would give the same."""

    status = 502

    def __init__(self, message: str, *, lasting: bool = False, **values: object) -> None:
        self.lasting = lasting
        super().__init__(message, **values)


class TooMany(TrackerError):
    """Too many attempts in too short a time."""

    status = 429


class TooLarge(TrackerError):
    """A file or a form is larger than this site takes."""

    status = 413


class StorageMissing(NotFound):
    """The store of exhibits holds no bytes under this SHA-256."""


class StorageFailed(TrackerError):
    """The disk or the object store of exhibits does not do what it should. What was stored before stays."""

    status = 503


class NoRoom(StorageFailed):
    """Too little space is free to take another file."""

    status = 507
