"""Themes: what recommendations of several reports are about, in our words, so that people can follow it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.models import Theme


def of_names(session: Session, names: Iterable[str]) -> list[Theme]:
    """The themes of these names, made where they are new, by name and each once."""
    wanted: dict[str, str] = {}
    for name in names:
        wanted.setdefault(slug(name), name)
    found = {theme.slug: theme for theme in session.scalars(select(Theme).where(Theme.slug.in_(wanted)))}
    for key, name in wanted.items():
        if key not in found:
            found[key] = Theme(slug=key, name=name)
            session.add(found[key])
    session.flush()
    return sorted(found.values(), key=lambda theme: theme.name)


def slug(name: str) -> str:
    """A theme's name in addresses: "arbitrary-detention". Spelling and letter case do not make another theme."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = "-".join(re.findall("[a-z0-9]+", plain))[:64].strip("-")
    # Names in other scripts have no plain letters.
    return words or hashlib.sha256(name.casefold().encode()).hexdigest()[:16]
