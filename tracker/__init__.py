"""The recommendation compliance tracker: `create_app(config)` plugs the parts together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from tracker.config import Config


def create_app(config: Config) -> Flask:
    """The web application for these settings. The database must be at head (`tracker init`)."""
    # Imported here, so that commands which need no web application start quickly.
    from flask import Flask
    from flask_babel import Babel
    from jinja2 import StrictUndefined
    from werkzeug.middleware.proxy_fix import ProxyFix
    from whitenoise import WhiteNoise

    from tracker import db, keyring, pages, sessions, storage, uploads, views
    from tracker.config import ROOT
    from tracker.forms import token
    from tracker.views import access, errors

    app = Flask("tracker", template_folder=str(ROOT / "templates"), static_folder=None)
    app.config.update(
        SECRET_KEY=None,
        MAX_CONTENT_LENGTH=2 * 1024 * 1024,
        MAX_FORM_MEMORY_SIZE=2 * 1024 * 1024,
        BABEL_DEFAULT_LOCALE="en",
        BABEL_DEFAULT_TIMEZONE="UTC",
    )
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.extensions["settings"] = config
    app.extensions["keyring"] = keyring.load(
        config.keys_path, config.secret_key.get_secret_value(), config.mailer_keys_path
    )
    app.extensions["store"] = storage.open_store(config)
    Babel(app)
    db.init_app(app, db.make_engine(config.sqlalchemy_url, app.extensions["keyring"]))
    pages.init_app(app)
    errors.init_app(app)
    sessions.init_app(app)
    uploads.init_app(app)
    app.before_request(access.guard)
    app.before_request(uploads.prepare)
    app.before_request(token.check)
    for blueprint in views.BLUEPRINTS:
        app.register_blueprint(blueprint)
    static = WhiteNoise(app.wsgi_app, root=str(ROOT / "tracker" / "static"), prefix="static", max_age=3600)
    app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
        static,
        x_for=config.proxy_hops,
        x_proto=config.proxy_hops,
        x_host=config.proxy_hops,
        x_prefix=0,
    )
    return app
