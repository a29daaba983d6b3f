"""Public pages and feeds through the whole WSGI stack, in process, beside a bare Flask view."""

from __future__ import annotations

from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app

from tests.benchmarks.measure import Case
from tests.benchmarks.world import NOW, World
from tracker.services import demo, ledger

SIZE = 200
SEED = 1
REPORT = f"/reports/{demo.slug(SIZE, SEED)}"
OHCHR = "/reports/ohchr-xuar-2022"


def prepare(world: World) -> None:
    """Tell the Republic of Arvenia beside the OHCHR assessment."""
    with world.session() as session:
        for _ in demo.make(session, recommendations=SIZE, seed=SEED, now=NOW):
            session.commit()


def cases(world: World) -> list[Case]:
    """Each page afresh, then the answers to a reader who holds it already."""
    with world.session() as session:
        size = ledger.position(session)
    bare = Flask("bare")
    bare.add_url_rule("/", view_func=lambda: "x" * 30_000)
    pages = [
        ("board, OHCHR assessment", OHCHR, "16 recommendations"),
        ("board, Arvenia", REPORT, f"{SIZE} recommendations"),
        ("recommendation, OHCHR 151(i)", f"{OHCHR}/151-i", ""),
        ("recommendation, Arvenia 88(d)", f"{REPORT}/88-d", "4 clauses"),
        ("home", "/", "3 reports"),
        ("changes page", "/changes", "50 changes"),
        ("changes.json", "/changes.json", "100 changes"),
        ("changes.atom", "/changes.atom", "100 changes"),
        ("ledger page", "/ledger", "20 changes"),
        ("evidence page", "/evidence/1", ""),
        ("ledger download", "/ledger/entries", f"{size:,} entries"),
        ("ledger download, ?after=", f"/ledger/entries?after={size - 10}", "10 entries"),
    ]
    return [
        _get(bare, "bare Flask view", "/"),
        *(_get(world.app, what, path, size) for what, path, size in pages),
        *(_held(world.app, f"304, {what}", path) for what, path, _ in (pages[1], pages[3], pages[6])),
    ]


def _get(app: Flask, what: str, path: str, size: str = "") -> Case:
    status, _, body = _ask(app, path)
    assert status == "200 OK", f"{path}: {status}"
    return Case(what, ", ".join(filter(None, [size, f"{body / 1000:,.0f} kB"])), lambda: _ask(app, path))


def _held(app: Flask, what: str, path: str) -> Case:
    tag = _ask(app, path)[1]
    status, _, _ = _ask(app, path, tag)
    assert status == "304 NOT MODIFIED", f"{path}: {status}"
    return Case(what, "", lambda: _ask(app, path, tag))


def _ask(app: Flask, path: str, tag: str = "") -> tuple[str, str, int]:
    """The status, the ETag and the length of an answer."""
    headers = {"If-None-Match": tag} if tag else {}
    path, _, query = path.partition("?")
    environ = EnvironBuilder(path, "http://localhost", query_string=query, headers=headers).get_environ()
    body, status, answered = run_wsgi_app(app, environ, buffered=True)
    return status, answered.get("ETag", ""), sum(len(piece) for piece in body)
