"""Who may use a route. Closed by default: a route that does not say is answered 403, and a test finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import abort, current_app, g, redirect, request, url_for
from werkzeug.wrappers import Response

from tracker.models import Account
from tracker.vocabulary import Role

View = TypeVar("View", bound=Callable[..., object])

ANYONE: frozenset[Role] | None = None


def anyone(view: View) -> View:
    """This route is public. It never looks at who is signed in."""
    view.access = ANYONE  # type: ignore[attr-defined]
    return view


def only(*roles: Role) -> Callable[[View], View]:
    """This route is for signed-in people with one of these roles."""

    def mark(view: View) -> View:
        view.access = frozenset(roles)  # type: ignore[attr-defined]
        return view

    return mark


#: Those who work on evidence and findings. Admins run the place and see no more evidence than the public.
team = only(Role.MONITOR, Role.REVIEWER)
reviewers = only(Role.REVIEWER)
admins = only(Role.ADMIN)
signed_in = only(*Role)


def viewer() -> Account:
    """The signed-in person of this request. Only views marked with roles may ask."""
    found: Account = g.viewer
    return found


def guard() -> Response | None:
    """Before every request: let it pass, send to the sign-in page, or refuse."""
    view: Any = current_app.view_functions.get(request.endpoint or "")
    if view is None:
        return None  # No such route: Flask answers 404.
    try:
        request.full_path  # noqa: B018 - what is made of it later must not be met by surprise.
    except UnicodeDecodeError:
        abort(400)
    asked = [*(request.view_args or {}).values(), *request.args.values()]
    if any("\x00" in str(value) for value in asked):
        abort(404)  # SQLite would look for it, PostgreSQL would fail: nothing of ours is called so.
    if not hasattr(view, "access"):
        abort(403)
    if view.access is ANYONE:
        return None
    g.viewer = current_app.extensions["find_viewer"]()
    if g.viewer is None:
        if request.method == "GET":
            return redirect(url_for("accounts.sign_in", next=request.full_path.rstrip("?")), 303)
        abort(401)
    if g.viewer.role not in view.access:
        abort(403)
    return None
