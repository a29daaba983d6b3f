"""Pages: signing in and out, setting up an account, one's own account, and the people of the team."""

from __future__ import annotations

import datetime as dt
import re

import segno
from flask import Blueprint, current_app, redirect, render_template, request, url_for
from flask_babel import gettext
from itsdangerous import BadSignature, URLSafeTimedSerializer
from markupsafe import Markup
from werkzeug.wrappers import Response

from tracker import clock, db, security, sessions
from tracker.config import Config
from tracker.errors import Invalid, TooMany
from tracker.forms.accounts import (
    InvitationForm,
    PasswordForm,
    RecoveryCodesForm,
    RoleForm,
    SetUpForm,
    SignInForm,
)
from tracker.forms.base import say
from tracker.keyring import Keyring
from tracker.models import Account
from tracker.services import accounts, attempts, reminders, sign_ins
from tracker.views import access
from tracker.vocabulary import N_, Role

blueprint = Blueprint("accounts", __name__)

_WINDOW = dt.timedelta(minutes=15)
_PER_ACCOUNT, _PER_NETWORK = 10, 50
_SET_UP_SECONDS = 24 * 3600


# Signing in and out


@blueprint.route("/sign-in", methods=["GET", "POST"])
@access.anyone
def sign_in() -> Response:
    """E-mail, password and code, all on one page."""
    if request.method == "GET":
        return _private(
            render_template("accounts/sign_in.html", form=SignInForm(next=request.args.get("next", "")))
        )
    form, status = SignInForm(request.form), 422
    if form.validate():
        try:
            account, token = _check(form.email.data, form.password.data, form.code.data)
        except (Invalid, TooMany) as error:
            form.form_errors.append(say(error))
            status = error.status
        else:
            home = "accounts.people" if account.role is Role.ADMIN else "workspace.page"
            response = redirect(local_path(form.next.data) or url_for(home), 303)
            sessions.set_cookie(response, token)
            return response
    return _private(render_template("accounts/sign_in.html", form=form), status)


def _check(email: str, password: str, code: str) -> tuple[Account, str]:
    """Sign in. The slow check of the password stands between two short transactions."""
    now, credentials = clock.now(), sessions.credentials()
    _count(email, code, now)
    with db.reading(), db.new_session(db.engine()) as own:
        known = accounts.by_email(own, email)
    stored = known.password_hash if known is not None else None
    right = credentials.password_matches(stored, password)
    session = db.session()
    account = accounts.by_email(session, email)
    token = sign_ins.sign_in(
        session,
        account,
        matched=stored if right else None,
        code=code,
        credentials=credentials,
        now=now,
        hours=_config().session_hours,
    )
    session.commit()
    assert account is not None
    return account, token


def _count(email: str, code: str, now: dt.datetime) -> None:
    """Count the attempt, for the account and for the network, whether or not such an account exists."""
    address = email.strip().lower()
    try:
        with db.writing() as own:
            attempts.hit(
                own, sessions.client_key("sign-in", now), limit=_PER_NETWORK, window=_WINDOW, now=now
            )
            attempts.hit(own, _counter(f"sign-in/{address}"), limit=_PER_ACCOUNT, window=_WINDOW, now=now)
    except TooMany:
        # Whoever holds the second factor may go on: otherwise anybody could lock the team out by guessing all day.
        with db.reading(), db.new_session(db.engine()) as own:
            account = accounts.by_email(own, email)
            held = sign_ins.code_is_right(own, account, code, credentials=sessions.credentials(), now=now)
        if not held:
            raise
        with db.writing() as own:
            attempts.hit(
                own, _counter(f"sign-in-held/{address}"), limit=_PER_ACCOUNT, window=_WINDOW, now=now
            )


@blueprint.post("/sign-out")
@access.signed_in
def sign_out() -> Response:
    """End every sign-in of this person."""
    session = db.session()
    sign_ins.end(session, access.viewer())
    session.commit()
    response = redirect(url_for("accounts.sign_in"), 303)
    sessions.clear_cookie(response)
    return response


def local_path(target: str | None) -> str | None:
    """The target if it is a path on this site, else None: a link must not send people elsewhere after signing in."""
    # Browsers read "//host", "/\\host" and "/<tab>/host" as another site.
    if not target or not re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", target):
        return None
    return target


# Setting up


@blueprint.route("/set-up/<token>", methods=["GET", "POST"])
@access.anyone
def set_up(token: str) -> Response:
    """The one-time link: choose a password, load the second factor into an app, get the recovery codes."""
    now = clock.now()
    if request.method == "POST":
        with db.writing() as own:
            attempts.hit(own, sessions.client_key("set-up", now), limit=_PER_NETWORK, window=_WINDOW, now=now)
    session = db.session()
    account = accounts.invited(session, token, now=now)
    form = SetUpForm(request.form if request.method == "POST" else None)
    secret = _offered(form.secret.data, token)
    if request.method == "POST" and form.validate() and secret is not None:
        try:
            _, codes = accounts.set_up(
                session,
                token,
                password=form.password.data,
                totp_secret=secret,
                code=form.code.data,
                credentials=sessions.credentials(),
                now=now,
            )
        except Invalid as error:
            form.refuse(error)
        else:
            session.commit()
            return _private(render_template("accounts/recovery_codes.html", codes=codes))
    if secret is None:
        secret = security.new_totp_secret()
        form.secret.data = _serializer().dumps([security.token_hash(token), secret])
        if request.method == "POST":
            form.form_errors.append(
                gettext("This page was open for too long. Load the new key into your app.")
            )
    uri = security.totp_uri(secret, issuer=_config().site_name, email=account.email)
    page = render_template(
        "accounts/set_up.html",
        form=form,
        account=account,
        secret=" ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
        uri=uri,
        picture=_qr_code(uri),
    )
    return _private(page, 422 if request.method == "POST" else 200)


def _offered(signed: str | None, token: str) -> str | None:
    """The secret that the page offered. It travels signed in the form, so that looking at a page changes nothing."""
    try:
        bound, secret = _serializer().loads(signed or "", max_age=_SET_UP_SECONDS)
    except BadSignature:
        return None
    return str(secret) if bound == security.token_hash(token) else None


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(_keys().derive("set-up-secret"))


def _qr_code(uri: str) -> Markup:
    picture: str = segno.make(uri, error="m", micro=False).svg_inline(
        scale=4,
        border=4,
        light="#fff",
        svgclass=None,
        lineclass=None,
        title=gettext("QR code of the key below"),
    )
    return Markup(picture)  # noqa: S704 - segno writes it, and escapes the title.


# One's own account


@blueprint.get("/account")
@access.signed_in
def page() -> Response:
    """Change the password, get new recovery codes, sign out everywhere."""
    return _page()


def _page(
    password: PasswordForm | None = None, codes: RecoveryCodesForm | None = None, status: int = 200
) -> Response:
    body = render_template(
        "accounts/page.html",
        person=access.viewer(),
        left=accounts.recovery_codes_left(db.session(), access.viewer()),
        password_form=password or PasswordForm(prefix="password"),
        codes_form=codes or RecoveryCodesForm(prefix="codes"),
    )
    return Response(body, status, mimetype="text/html")


@blueprint.post("/account/password")
@access.signed_in
def change_password() -> Response:
    """A new password; every other sign-in ends."""
    form, person, now = PasswordForm(request.form, prefix="password"), access.viewer(), clock.now()
    _count_password(person, now)
    if not form.validate():
        return _page(password=form, status=422)
    session = db.session()
    try:
        accounts.change_password(
            session,
            person,
            current=form.current.data,
            new=form.password.data,
            credentials=sessions.credentials(),
            now=now,
        )
    except Invalid as error:
        form.refuse(error)
        return _page(password=form, status=error.status)
    token = sign_ins.start(session, person, now=now, hours=_config().session_hours)
    session.commit()
    response = redirect(url_for("accounts.page"), 303)
    sessions.set_cookie(response, token)
    sessions.notify(gettext("Your password is changed. Every other sign-in of yours has ended."))
    return response


@blueprint.post("/account/recovery-codes")
@access.signed_in
def new_recovery_codes() -> Response:
    """New recovery codes, shown once; the old ones end."""
    form, person, now = RecoveryCodesForm(request.form, prefix="codes"), access.viewer(), clock.now()
    _count_password(person, now)
    if not form.validate():
        return _page(codes=form, status=422)
    session = db.session()
    try:
        codes = accounts.new_recovery_codes(
            session, person, current=form.current.data, credentials=sessions.credentials(), now=now
        )
    except Invalid as error:
        form.refuse(error)
        return _page(codes=form, status=error.status)
    session.commit()
    return _private(render_template("accounts/recovery_codes.html", codes=codes))


@blueprint.post("/account/reminders")
@access.team
def choose_reminders() -> Response:
    """Get a mail on Mondays with what is due, or none."""
    session, person = db.session(), access.viewer()
    wanted = request.form.get("reminders") == "yes"
    reminders.choose(session, person, wanted=wanted)
    session.commit()
    sessions.notify(gettext("You get reminders.") if wanted else gettext("You get no more reminders."))
    return redirect(url_for("accounts.page"), 303)


def _count_password(person: Account, now: dt.datetime) -> None:
    with db.writing() as own:
        attempts.hit(own, _counter(f"password/{person.key}"), limit=_PER_ACCOUNT, window=_WINDOW, now=now)


# The people of the team


@blueprint.get("/people")
@access.admins
def people() -> Response:
    """Everybody who has an account."""
    return _people()


def _people(
    form: InvitationForm | None = None, *, account: Account | None = None, token: str = "", status: int = 200
) -> Response:
    body = render_template(
        "accounts/people.html",
        people=accounts.everybody(db.session()),
        form=form or InvitationForm(),
        role_form=RoleForm,
        invited=account,
        link=_config().public_url + url_for("accounts.set_up", token=token) if token else "",
        hours=_config().setup_link_hours,
    )
    return Response(body, status, mimetype="text/html")


@blueprint.post("/people")
@access.admins
def invite() -> Response:
    """Make an account and show its one-time link, this once."""
    form = InvitationForm(request.form)
    if not form.validate():
        return _people(form, status=422)
    session = db.session()
    try:
        account, token = accounts.invite(
            session,
            email=form.email.data,
            name=form.name.data,
            role=form.role.data,
            by=access.viewer(),
            now=clock.now(),
            hours=_config().setup_link_hours,
        )
    except Invalid as error:
        form.refuse(error)
        return _people(form, status=error.status)
    session.commit()
    return _people(account=account, token=token)


@blueprint.post("/people/<key>/link")
@access.admins
def renew_link(key: str) -> Response:
    """A new one-time link, for an invitation that ran out or a lost phone."""
    session = db.session()
    account = accounts.by_key(session, key)
    token = accounts.renew_invitation(
        session, account, by=access.viewer(), now=clock.now(), hours=_config().setup_link_hours
    )
    session.commit()
    return _people(account=account, token=token)


@blueprint.post("/people/<key>/deactivate")
@access.admins
def deactivate(key: str) -> Response:
    """Nobody can sign in to this account any more, from this moment."""
    return _set_active(key, False)


@blueprint.post("/people/<key>/reactivate")
@access.admins
def reactivate(key: str) -> Response:
    """The account works again, with the password and second factor it had."""
    return _set_active(key, True)


def _set_active(key: str, active: bool) -> Response:
    session = db.session()
    account = accounts.by_key(session, key)
    accounts.set_active(session, account, active, by=access.viewer(), now=clock.now())
    session.commit()
    sentence = (
        gettext("%(name)s can sign in again.", name=account.name)
        if active
        else gettext("%(name)s is signed out and cannot sign in any more.", name=account.name)
    )
    sessions.notify(sentence)
    return redirect(url_for("accounts.people"), 303)


@blueprint.post("/people/<key>/role")
@access.admins
def change_role(key: str) -> Response:
    """Give somebody another role."""
    form = RoleForm(request.form)
    session = db.session()
    account = accounts.by_key(session, key)
    if not form.validate():
        raise Invalid(N_("Choose a role."))
    accounts.change_role(session, account, form.role.data, by=access.viewer(), now=clock.now())
    session.commit()
    sessions.notify(
        gettext("%(name)s now has the role %(role)s.", name=account.name, role=gettext(account.role.label))
    )
    return redirect(url_for("accounts.people"), 303)


def _private(body: str, status: int = 200) -> Response:
    """An answer that no cache keeps."""
    return Response(body, status, {"Cache-Control": "no-store"}, mimetype="text/html")


def _counter(name: str) -> str:
    return _keys().keyed_hash("attempt", name)


def _config() -> Config:
    config: Config = current_app.extensions["settings"]
    return config


def _keys() -> Keyring:
    keys: Keyring = current_app.extensions["keyring"]
    return keys
