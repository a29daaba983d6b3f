"""What the web server loads: each worker process makes its own application."""

from __future__ import annotations

from flask import Flask

from tracker import config, create_app, logs


def make() -> Flask:
    """The application with the settings of this process's environment."""
    settings = config.load()
    logs.init(settings.log_level)
    return create_app(settings)
