"""The mail to somebody whose key cannot be used any more says that, where to change it, and nothing else."""

from __future__ import annotations

import textwrap

import pytest
from flask import Flask, render_template
from flask_babel import force_locale
from justhtml import JustHTML

LINKS = {
    "manage_url": "https://tracker.arvenia.example/follow/manage/m",
    "leave_url": "https://tracker.arvenia.example/unsubscribe/l",
}


@pytest.mark.only("sqlite")
def test_the_mail_about_a_key_names_no_topic_and_both_parts_say_the_same(app: Flask) -> None:
    with app.app_context(), force_locale("en"):
        subject, text, html = (
            render_template(f"emails/key-problem.{part}", wrap=textwrap.fill, start="left", **LINKS)
            for part in ("subject.txt", "txt", "html")
        )

    assert subject.strip() == "Please look at your settings"
    page = JustHTML(html, strict=True)
    shown = " ".join(page.to_text().split()).lower()
    for paragraph in text.split("\n\n"):
        assert " ".join(paragraph.split()).lower() in shown
    for link in LINKS.values():
        assert link in text
        assert f'href="{link}"' in html
    for word in ("recommendation 8", "arvenia ", "finding", "report"):
        assert word not in text.lower()
