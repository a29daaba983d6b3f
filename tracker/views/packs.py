"""Evidence packs to download: for everybody what is public, for the team what somebody of it chooses."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import IO

from flask import Blueprint, Response, current_app, render_template, request
from flask.typing import ResponseReturnValue

from tracker import clock, db, packs, sessions
from tracker.config import Config
from tracker.forms.pack import PackForm
from tracker.keyring import Keyring
from tracker.queries import queue
from tracker.services import attempts
from tracker.services import packs as service
from tracker.services.packs import Mark, Wanted
from tracker.views import access, fresh
from tracker.vocabulary import State

blueprint = Blueprint("packs", __name__)

# How many packs may be built for one network, and for everybody together, in an hour. Ready ones are not counted.
_PER_NETWORK, _OVERALL, _PER_PERSON = 20, 200, 60
_HOUR = dt.timedelta(hours=1)
# How long somebody waits for another one's pack to be ready.
_WAIT_SECONDS = 20


@blueprint.get("/reports/<report>/pack.zip")
@access.anyone
def report(report: str) -> Response:
    """What is public about a report, with its proofs."""
    return _public(Wanted(report))


@blueprint.get("/reports/<report>/<number>/pack.zip")
@access.anyone
def recommendation(report: str, number: str) -> Response:
    """What is public about a recommendation, with its proofs."""
    return _public(Wanted(report, number))


@blueprint.route("/workspace/pack", methods=["GET", "POST"])
@access.team
def team() -> ResponseReturnValue:
    """Choose what goes into a pack of the team's; sent, it is the pack."""
    session, slug = db.session(), request.args.get("report", "")
    if not slug:
        return render_template("packs/choose_report.html", reports=queue.reports(session))
    number = request.args.get("recommendation") or None
    wanted = Wanted(slug, number, access.viewer())
    about, chosen = service.find(session, wanted)
    offered = service.candidates(session, wanted, viewer=access.viewer())
    today = clock.now().date()
    form = PackForm(request.form if request.method == "POST" else None).offer(row.key for row in offered)
    if request.method == "POST" and form.validate():
        ticked = frozenset(form.evidence.data or [])
        return _for_team(replace(wanted, chosen=ticked, originals=form.originals.data))
    if request.method == "GET":
        form.evidence.data = [
            row.key for row in offered if row.state is State.ACCEPTED and service.may_leave(row, on=today)
        ]
    page = render_template(
        "packs/choose.html",
        form=form,
        report=about,
        recommendation=chosen,
        offered=offered,
        agreed=lambda row: service.agreed(row, on=today),
        may_leave=lambda row: service.may_leave(row, on=today),
    )
    return page if request.method == "GET" else (page, 422)


# For everybody.


def _public(wanted: Wanted) -> Response:
    session = db.session()
    service.find(session, wanted)
    if not service.covered(session, wanted):
        session.rollback()
        with db.writing() as own:
            packs.cover(own, wanted, config=_config(), keys=_keys(), now=clock.now())
    mark = service.mark(session, wanted)
    # Nobody holds the database open while a pack is built or sent.
    session.rollback()

    def make() -> ResponseReturnValue:
        return _answer(_ready(wanted, mark), wanted)

    return fresh.answer(make, mark)


def _ready(wanted: Wanted, mark: Mark) -> IO[bytes]:
    """The pack with this mark, open: one that was built before, or built now."""
    config, now = _config(), clock.now()
    settings = (config.site_name, config.team_name, config.public_url, config.review_months)
    path = packs.ready_path(config, wanted, mark, fresh.program_version(), settings)
    if found := packs.open_ready(path):
        return found
    with db.writing() as own:
        attempts.hit(own, sessions.client_key("pack", now), limit=_PER_NETWORK, window=_HOUR, now=now)
        attempts.hit(own, _keys().keyed_hash("attempt", "pack"), limit=_OVERALL, window=_HOUR, now=now)
    with packs.alone(config, seconds=_WAIT_SECONDS):
        # Whoever was before us may have built this very one.
        if found := packs.open_ready(path):
            return found
        with db.reading(), db.new_session(db.engine()) as own:
            packs.forget(own, config, now=now)
        write = partial(packs.write, wanted=wanted, engine=db.engine(), config=config, keys=_keys(), now=now)
        packs.write_file(path, write)
        return path.open("rb")


# For the team.


def _for_team(wanted: Wanted) -> Response:
    config, keys, now, account = _config(), _keys(), clock.now(), access.viewer()
    session = db.session()
    session.commit()  # Lets go of the writer's place on SQLite.
    with db.writing() as own:
        counter = keys.keyed_hash("attempt", f"pack/{account.key}")
        attempts.hit(own, counter, limit=_PER_PERSON, window=_HOUR, now=now)
        packs.cover(own, wanted, config=config, keys=keys, now=now)
    with db.new_session(db.engine()) as own:
        # Read on the side, so that nobody who wants to write waits for it.
        with db.reading():
            contents = service.gather(own, wanted, review_months=config.review_months, now=now)
        service.record_export(session, contents, account=account, now=now)
    # That they go out is on record before the first byte does.
    session.commit()
    config.incoming_path.mkdir(mode=0o700, exist_ok=True)
    # A file without a name: it is gone with this process, whatever happens.
    file = tempfile.TemporaryFile(dir=config.incoming_path)  # noqa: SIM115 - the answer closes it.
    try:
        packs.write(
            file, wanted, engine=db.engine(), config=config, keys=keys, logged=contents.files, now=now
        )
    except BaseException:
        file.close()
        raise
    return _answer(file, wanted)


def _answer(file: IO[bytes], wanted: Wanted) -> Response:
    size = file.seek(0, 2)
    file.seek(0)
    response = Response(_pieces(file), content_type="application/zip")
    response.call_on_close(file.close)
    response.content_length = size
    name = f"evidence-pack-{wanted.scope.replace('/', '-')}.zip"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(64 * 1024):
            yield piece


def _config() -> Config:
    config: Config = current_app.extensions["settings"]
    return config


def _keys() -> Keyring:
    keys: Keyring = current_app.extensions["keyring"]
    return keys
