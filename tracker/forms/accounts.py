"""The forms for signing in, setting up an account, and inviting people.

What is secret is never shown again: the macro leaves password fields empty.
"""

from __future__ import annotations

from flask_babel import lazy_gettext
from wtforms import HiddenField, PasswordField
from wtforms.validators import EqualTo

from tracker.forms.base import BaseForm, CleanText, Required, StringField, WordField
from tracker.vocabulary import Role


class SignInForm(BaseForm):
    """Everything on one page, so that no answer tells which part was wrong."""

    email = StringField(
        lazy_gettext("E-mail address"), [Required(lazy_gettext("Enter your e-mail address.")), CleanText(254)]
    )
    password = PasswordField(lazy_gettext("Password"), [Required(lazy_gettext("Enter your password."))])
    code = StringField(
        lazy_gettext("Code"),
        [Required(lazy_gettext("Enter the code from your app, or a recovery code.")), CleanText(100)],
    )
    # Nobody typed it, so what a page cannot hold is dropped without a word.
    next = HiddenField(filters=[lambda path: (path or "").replace("\x00", "")])


class SetUpForm(BaseForm):
    """A new password, typed twice, and the first code of the app."""

    secret = HiddenField()
    password = PasswordField(lazy_gettext("Password"), [Required(lazy_gettext("Choose a password."))])
    again = PasswordField(
        lazy_gettext("Password again"),
        [EqualTo("password", lazy_gettext("The two passwords differ. Type both again."))],
    )
    code = StringField(
        lazy_gettext("Code from the app"),
        [Required(lazy_gettext("Enter the six digits that your app shows.")), CleanText(100)],
    )


class PasswordForm(BaseForm):
    """The present password and a new one."""

    current = PasswordField(
        lazy_gettext("Present password"), [Required(lazy_gettext("Enter your present password."))]
    )
    password = PasswordField(lazy_gettext("New password"), [Required(lazy_gettext("Choose a new password."))])
    again = PasswordField(
        lazy_gettext("New password again"),
        [EqualTo("password", lazy_gettext("The two passwords differ. Type both again."))],
    )


class RecoveryCodesForm(BaseForm):
    """New recovery codes need the password, so that an unlocked screen is not enough."""

    current = PasswordField(
        lazy_gettext("Present password"), [Required(lazy_gettext("Enter your present password."))]
    )


class InvitationForm(BaseForm):
    """Whom to invite."""

    email = StringField(
        lazy_gettext("E-mail address"), [Required(lazy_gettext("Enter an e-mail address.")), CleanText(254)]
    )
    name = StringField(
        lazy_gettext("Working name"), [Required(lazy_gettext("Enter a working name.")), CleanText(80)]
    )
    role = WordField(lazy_gettext("Role"), Role, validators=[Required(lazy_gettext("Choose a role."))])


class RoleForm(BaseForm):
    """Another role for somebody."""

    role = WordField(lazy_gettext("Role"), Role, validators=[Required(lazy_gettext("Choose a role."))])
