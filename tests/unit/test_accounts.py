"""Accounts begin by invitation, need two factors, and end at once."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from tests import authenticator
from tests.factories import Factory
from tracker import db, security
from tracker.errors import Invalid, NotAllowed, NotFound, TrackerError
from tracker.models import Account, Activity, Invitation, RecoveryCode, SignIn
from tracker.security import Credentials
from tracker.services import accounts, sign_ins
from tracker.vocabulary import Role

PASSWORD = "four quarries and a mill"
MINUTE = dt.timedelta(minutes=1)
CREDENTIALS = Credentials(b"t" * 32, b"r" * 32, memory_kib=64)


@dataclass
class Person:
    """An account that is set up, with everything its owner has."""

    account: Account
    secret: str
    codes: list[str] = field(default_factory=list)


@pytest.fixture
def person(session: Session, now: dt.datetime) -> Person:
    """Mona, a monitor, set up an hour ago."""
    return set_up(session, "mona@arvenia.example", Role.MONITOR, now - 60 * MINUTE)


def set_up(session: Session, email: str, role: Role, now: dt.datetime) -> Person:
    _, token = accounts.invite(session, email=email, name="Mona", role=role, now=now, hours=72)
    secret = security.new_totp_secret()
    account, codes = use_link(session, token, secret, now)
    session.commit()
    return Person(account, secret, codes)


def use_link(
    session: Session, token: str, secret: str, now: dt.datetime, password: str = PASSWORD
) -> tuple[Account, list[str]]:
    return accounts.set_up(
        session,
        token,
        password=password,
        totp_secret=secret,
        code=authenticator.code(secret, now),
        credentials=CREDENTIALS,
        now=now,
    )


def enter(session: Session, email: str, password: str, code: str, now: dt.datetime) -> str:
    """Sign in as the view does, and commit."""
    account = accounts.by_email(session, email)
    stored = account.password_hash if account else None
    matched = stored if CREDENTIALS.password_matches(stored, password) else None
    token = sign_ins.sign_in(
        session, account, matched=matched, code=code, credentials=CREDENTIALS, now=now, hours=12
    )
    session.commit()
    return token


def signed_in(session: Session, token: str, now: dt.datetime, idle_minutes: int = 60) -> bool:
    return sign_ins.find(session, token, idle_minutes=idle_minutes, now=now) is not None


# Invitations


def test_an_address_is_stored_in_lower_case_and_invited_once(session: Session, now: dt.datetime) -> None:
    account, _ = accounts.invite(
        session, email=" Mona@Arvenia.Example ", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    assert account.email == "mona@arvenia.example"
    with pytest.raises(Invalid, match="already") as refusal:
        accounts.invite(session, email="MONA@arvenia.example", name="M", role=Role.ADMIN, now=now, hours=72)
    assert refusal.value.field == "email"


@pytest.mark.parametrize(
    "email",
    [
        "",
        "mona",
        "mona@",
        "a@b@c.example",
        "mona@arvenia.example\r\nBcc: x@y.example",
        "мона@arvenia.example",
        "a" * 300 + "@arvenia.example",
    ],
)
def test_what_is_no_address_is_refused(session: Session, now: dt.datetime, email: str) -> None:
    with pytest.raises(Invalid):
        accounts.invite(session, email=email, name="Mona", role=Role.MONITOR, now=now, hours=72)


def test_a_link_works_once_and_only_its_hash_is_stored(session: Session, now: dt.datetime) -> None:
    _, token = accounts.invite(
        session, email="mona@arvenia.example", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    session.commit()
    stored = session.scalars(select(Invitation.token_hash)).one()
    assert token not in stored
    use_link(session, token, security.new_totp_secret(), now)
    session.commit()
    with pytest.raises(NotFound):
        use_link(session, token, security.new_totp_secret(), now)


def test_a_link_ends_with_its_time_and_with_a_newer_one(session: Session, now: dt.datetime) -> None:
    account, first = accounts.invite(
        session, email="mona@arvenia.example", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    second = accounts.renew_invitation(session, account, now=now, hours=2)
    with pytest.raises(NotFound):
        accounts.invited(session, first, now=now)
    assert accounts.invited(session, second, now=now + 119 * MINUTE) is account
    with pytest.raises(NotFound):
        accounts.invited(session, second, now=now + 120 * MINUTE)


def test_of_two_who_use_a_link_at_once_one_gets_the_account(
    engine: Engine, session: Session, now: dt.datetime
) -> None:
    _, token = accounts.invite(
        session, email="mona@arvenia.example", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    session.commit()

    def use(own: Session) -> None:
        use_link(own, token, security.new_totp_secret(), now)

    assert at_once(engine, use, 4) == 1
    assert session.scalar(select(func.count()).select_from(RecoveryCode)) == 10


def test_setting_up_needs_the_code_that_the_app_shows(session: Session, now: dt.datetime) -> None:
    _, token = accounts.invite(
        session, email="mona@arvenia.example", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    secret = security.new_totp_secret()
    with pytest.raises(Invalid) as refusal:
        accounts.set_up(
            session,
            token,
            password=PASSWORD,
            totp_secret=secret,
            code="000 000",
            credentials=CREDENTIALS,
            now=now,
        )
    assert refusal.value.field == "code"
    assert accounts.invited(session, token, now=now).password_hash is None


def test_a_new_link_leaves_what_works_until_it_is_used_and_then_replaces_all(
    session: Session, person: Person, now: dt.datetime
) -> None:
    token = accounts.renew_invitation(session, person.account, now=now, hours=72)
    session.commit()
    cookie = enter(session, person.account.email, PASSWORD, authenticator.code(person.secret, now), now)
    secret = security.new_totp_secret()
    use_link(session, token, secret, now, password="another mill by the river")
    session.commit()
    assert not signed_in(session, cookie, now)
    later = now + 5 * MINUTE
    for password, code in [
        (PASSWORD, authenticator.code(secret, later)),
        ("another mill by the river", authenticator.code(person.secret, later)),
        ("another mill by the river", person.codes[0]),
    ]:
        with pytest.raises(Invalid):
            enter(session, person.account.email, password, code, later)
        session.rollback()
    enter(
        session, person.account.email, "another mill by the river", authenticator.code(secret, later), later
    )


def test_the_first_link_is_given_only_while_there_is_no_other_account(
    session: Session, now: dt.datetime
) -> None:
    first = accounts.first_link(session, now=now, hours=72)
    second = accounts.first_link(session, now=now, hours=72)
    assert first
    assert second
    with pytest.raises(NotFound):
        accounts.invited(session, first, now=now)
    account, _ = use_link(session, second, security.new_totp_secret(), now)
    assert (account.email, account.role) == (accounts.FIRST_ADMIN, Role.ADMIN)
    assert accounts.first_link(session, now=now, hours=72) is None


def test_no_first_link_beside_an_account_that_somebody_added(
    session: Session, make: Factory, now: dt.datetime
) -> None:
    make.account(Role.ADMIN)
    assert accounts.first_link(session, now=now, hours=72) is None


# Signing in


def test_password_and_code_together_sign_in(session: Session, person: Person, now: dt.datetime) -> None:
    code = authenticator.code(person.secret, now)
    token = enter(session, " MONA@arvenia.example", PASSWORD, f" {code[:3]} {code[3:]} ", now)
    assert signed_in(session, token, now)
    assert session.scalars(select(SignIn)).one().token_hash != token


@pytest.mark.parametrize(
    ("email", "password", "code"),
    [
        ("nobody@arvenia.example", PASSWORD, "right"),
        ("mona@arvenia.example", "four quarries and a hill", "right"),
        ("mona@arvenia.example", PASSWORD, "000000"),
        ("mona@arvenia.example", PASSWORD, ""),
        ("mona@arvenia.example", PASSWORD, "７７７７７７"),
        ("mona@arvenia.example", PASSWORD, "\udcff\x00"),
        ("mona@arvenia.example", PASSWORD, "0000-0000-0000"),
    ],
)
def test_every_wrong_part_gets_the_same_answer(
    session: Session, person: Person, now: dt.datetime, email: str, password: str, code: str
) -> None:
    code = authenticator.code(person.secret, now) if code == "right" else code
    with pytest.raises(Invalid) as refusal:
        enter(session, email, password, code, now)
    assert (refusal.value.message, refusal.value.field) == (sign_ins.WRONG, None)


def test_an_inactive_account_gets_the_same_answer(session: Session, person: Person, now: dt.datetime) -> None:
    accounts.set_active(session, person.account, False, by=None, now=now)
    with pytest.raises(Invalid, match="is not right"):
        enter(session, person.account.email, PASSWORD, authenticator.code(person.secret, now), now)


def test_an_account_that_is_not_set_up_gets_the_same_answer(
    session: Session, make: Factory, now: dt.datetime
) -> None:
    account = make.account()
    with pytest.raises(Invalid, match="is not right"):
        enter(session, account.email, "", "000000", now)


def test_a_code_is_good_once_also_written_differently_and_no_older_one_after_it(
    session: Session, person: Person, now: dt.datetime
) -> None:
    code = authenticator.code(person.secret, now)
    before = authenticator.code(person.secret, now - MINUTE / 2)
    enter(session, person.account.email, PASSWORD, code, now)
    for used in (code, f" {code[:3]} {code[3:]}", before):
        with pytest.raises(Invalid):
            enter(session, person.account.email, PASSWORD, used, now + MINUTE / 6)
        session.rollback()
    enter(
        session, person.account.email, PASSWORD, authenticator.code(person.secret, now + MINUTE), now + MINUTE
    )


def test_the_code_of_the_set_up_does_not_sign_in(session: Session, now: dt.datetime) -> None:
    person = set_up(session, "mona@arvenia.example", Role.MONITOR, now)
    with pytest.raises(Invalid):
        enter(session, person.account.email, PASSWORD, authenticator.code(person.secret, now), now)


def test_a_wrong_password_does_not_use_the_code_up(
    session: Session, person: Person, now: dt.datetime
) -> None:
    code = authenticator.code(person.secret, now)
    with pytest.raises(Invalid):
        enter(session, person.account.email, "four quarries and a hill", code, now)
    session.rollback()
    enter(session, person.account.email, PASSWORD, code, now)


def test_codes_count_one_step_early_or_late_and_no_more(person: Person, now: dt.datetime) -> None:
    step = now.timestamp() // 30
    code = authenticator.code(person.secret, now)
    assert security.totp_step(person.secret, code, now) == step
    assert security.totp_step(person.secret, code, now + MINUTE / 2) == step
    assert security.totp_step(person.secret, code, now - MINUTE / 2) == step
    assert security.totp_step(person.secret, code, now + MINUTE) is None
    assert security.totp_step(person.secret, code, now - MINUTE) is None


def test_the_codes_are_those_of_the_standard() -> None:
    # RFC 6238, appendix B, the last six of its eight digits.
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
    for seconds, code in [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")]:
        assert authenticator.code(secret, dt.datetime.fromtimestamp(seconds, dt.UTC)) == code


def test_of_many_who_send_a_code_at_once_one_is_let_in(
    engine: Engine, session: Session, person: Person, now: dt.datetime
) -> None:
    code = authenticator.code(person.secret, now)
    assert at_once(engine, lambda own: enter(own, person.account.email, PASSWORD, code, now), 5) == 1
    assert session.scalar(select(func.count()).select_from(SignIn)) == 1


def test_a_recovery_code_is_good_once_also_for_many_at_once(
    engine: Engine, session: Session, person: Person, now: dt.datetime
) -> None:
    code = person.codes[3].upper().replace("-", " ")
    assert at_once(engine, lambda own: enter(own, person.account.email, PASSWORD, code, now), 5) == 1
    assert accounts.recovery_codes_left(session, person.account) == 9
    assert session.scalar(select(func.count()).where(Activity.action == "recovery-code-used")) == 1


def test_recovery_codes_are_stored_as_keyed_hashes_of_their_account(
    session: Session, person: Person, now: dt.datetime
) -> None:
    stored = set(session.scalars(select(RecoveryCode.code_hash)))
    assert len(set(person.codes)) == 10
    assert stored == {CREDENTIALS.recovery_hash(code, person.account.id) for code in person.codes}
    other = set_up(session, "rafa@arvenia.example", Role.REVIEWER, now - 60 * MINUTE)
    with pytest.raises(Invalid):
        enter(session, other.account.email, PASSWORD, person.codes[0], now)


def test_the_second_factor_is_sealed_to_its_account(
    session: Session, person: Person, now: dt.datetime
) -> None:
    other = set_up(session, "rafa@arvenia.example", Role.REVIEWER, now - 60 * MINUTE)
    assert person.account.totp_sealed is not None
    assert person.secret.encode() not in person.account.totp_sealed
    other.account.totp_sealed = person.account.totp_sealed
    session.commit()
    with pytest.raises(Invalid):
        enter(session, other.account.email, PASSWORD, authenticator.code(person.secret, now), now)


def test_who_holds_the_second_factor_is_told_from_who_guesses(
    session: Session, person: Person, now: dt.datetime
) -> None:
    def held(account: Account | None, code: str) -> bool:
        return sign_ins.code_is_right(session, account, code, credentials=CREDENTIALS, now=now)

    assert held(person.account, authenticator.code(person.secret, now))
    assert held(person.account, person.codes[0])
    assert not held(person.account, "000000")
    assert not held(None, authenticator.code("A" * 32, now))


# Sessions


def test_a_sign_in_ends_when_idle_and_when_its_hours_are_over(
    session: Session, person: Person, now: dt.datetime
) -> None:
    token = sign_ins.start(session, person.account, now=now, hours=2)
    assert signed_in(session, token, now + 60 * MINUTE)
    assert not signed_in(session, token, now + 65 * MINUTE)
    row = session.scalars(select(SignIn)).one()
    sign_ins.touch(session, row.id, now=now + 60 * MINUTE)
    assert signed_in(session, token, now + 119 * MINUTE)
    sign_ins.touch(session, row.id, now=now + 119 * MINUTE)
    assert not signed_in(session, token, now + 120 * MINUTE)


def test_times_of_sign_ins_are_rounded(session: Session, person: Person, now: dt.datetime) -> None:
    sign_ins.start(session, person.account, now=now + dt.timedelta(minutes=3, seconds=17), hours=12)
    row = session.scalars(select(SignIn)).one()
    assert row.created_at == row.last_seen_at == now
    assert not sign_ins.is_seen_anew(row, now=now + dt.timedelta(minutes=4, seconds=59))
    assert sign_ins.is_seen_anew(row, now=now + 5 * MINUTE)


def test_a_request_in_flight_does_not_bring_back_a_sign_in_that_was_ended(
    engine: Engine, session: Session, person: Person, now: dt.datetime
) -> None:
    token = sign_ins.start(session, person.account, now=now, hours=12)
    session.commit()
    with db.new_session(engine) as in_flight:
        row = sign_ins.find(in_flight, token, idle_minutes=60, now=now)
    assert row is not None
    sign_ins.end(session, person.account)
    session.commit()
    with db.new_session(engine) as in_flight, in_flight.begin():
        sign_ins.touch(in_flight, row.id, now=now + 10 * MINUTE)
        sign_ins.leave_notice(in_flight, row.token_hash, "Saved.")
    assert session.scalar(select(func.count()).select_from(SignIn)) == 0


@pytest.mark.parametrize(
    "ending",
    [
        lambda session, person, now: sign_ins.end(session, person.account),
        lambda session, person, now: accounts.set_active(session, person.account, False, by=None, now=now),
        lambda session, person, now: accounts.change_role(
            session, person.account, Role.REVIEWER, by=None, now=now
        ),
        lambda session, person, now: accounts.change_password(
            session,
            person.account,
            current=PASSWORD,
            new="another mill by the river",
            credentials=CREDENTIALS,
            now=now,
        ),
    ],
    ids=["signing out", "deactivation", "another role", "another password"],
)
def test_these_end_every_sign_in_of_the_person_and_nobody_elses(
    session: Session, person: Person, make: Factory, now: dt.datetime, ending: Callable[..., None]
) -> None:
    tokens = [sign_ins.start(session, person.account, now=now, hours=12) for _ in range(2)]
    other = sign_ins.start(session, make.account(), now=now, hours=12)
    ending(session, person, now)
    session.commit()
    assert [signed_in(session, token, now) for token in tokens] == [False, False]
    assert signed_in(session, other, now)


def test_a_change_of_password_at_the_same_moment_leaves_no_sign_in_with_the_old_one(
    engine: Engine, session: Session, person: Person, now: dt.datetime
) -> None:
    with db.new_session(engine) as own:
        known = accounts.by_email(own, person.account.email)
        assert known is not None
        matched = known.password_hash
    accounts.change_password(
        session,
        person.account,
        current=PASSWORD,
        new="another mill by the river",
        credentials=CREDENTIALS,
        now=now,
    )
    session.commit()
    with db.new_session(engine) as own, pytest.raises(Invalid):
        sign_ins.sign_in(
            own,
            accounts.by_email(own, person.account.email),
            matched=matched,
            code=authenticator.code(person.secret, now),
            credentials=CREDENTIALS,
            now=now,
            hours=12,
        )


def test_what_is_over_is_forgotten(session: Session, person: Person, now: dt.datetime) -> None:
    sign_ins.start(session, person.account, now=now, hours=1)
    sign_ins.start(session, person.account, now=now, hours=12)
    accounts.renew_invitation(session, person.account, now=now, hours=1)
    sign_ins.forget_expired(session, now=now + 90 * MINUTE)
    accounts.forget_expired(session, now=now + 90 * MINUTE)
    assert session.scalar(select(func.count()).select_from(SignIn)) == 1
    # The invitation that Mona used runs for three days; the new one is gone.
    assert session.scalars(select(Invitation)).one().used_at is not None


# Passwords


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "15 characters"),
        ("a mill by river", ""),
        ("a" * 40, "first that would be guessed"),
        ("abababababababab", "first that would be guessed"),
        ("12345678901234567890", "first that would be guessed"),
        ("nopqrstuvwxyzabcdef", "first that would be guessed"),
        ("lkjhgfdsapoiuytrewq", "first that would be guessed"),
        ("password12345!!!", "first that would be guessed"),
        ("Password-Password-1", "first that would be guessed"),
        ("my mona.lindt password", "e-mail address"),
        ("MonaLindt 2026 mill", "e-mail address"),
        ("ئۇيغۇرچە ئۇزۇن پارول", ""),
        ("x7" * 512 + "é", "1024 bytes"),
        ("passport of the miller", ""),
    ],
)
def test_passwords_that_would_be_guessed_are_refused(password: str, reason: str) -> None:
    if not reason:
        security.check_password(password, "mona.lindt@arvenia.example")
        return
    with pytest.raises(Invalid, match=reason):
        security.check_password(password, "mona.lindt@arvenia.example")


def test_a_huge_password_is_refused_without_hashing() -> None:
    costly = Credentials(b"t" * 32, b"r" * 32, memory_kib=4 * 1024 * 1024)
    assert not costly.password_matches(None, "x" * 1025)


def test_without_a_hash_a_check_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = CREDENTIALS.hash_password(PASSWORD)
    assert CREDENTIALS.password_matches(stored, PASSWORD)
    assert stored.rsplit("$", 2)[0] == CREDENTIALS._nobody().rsplit("$", 2)[0]
    assert not CREDENTIALS.password_matches(None, "")


def test_a_password_typed_on_another_system_is_the_same() -> None:
    composed, decomposed = "caf\u00e9 quarry mill", "cafe\u0301 quarry mill"
    assert CREDENTIALS.password_matches(CREDENTIALS.hash_password(composed), decomposed)


def test_changing_needs_the_present_password_and_another_one(
    session: Session, person: Person, now: dt.datetime
) -> None:
    def change(current: str, new: str) -> None:
        accounts.change_password(
            session, person.account, current=current, new=new, credentials=CREDENTIALS, now=now
        )

    with pytest.raises(Invalid) as refusal:
        change("four quarries and a hill", "another mill by the river")
    assert refusal.value.field == "current"
    with pytest.raises(Invalid, match="Choose another"):
        change(PASSWORD, PASSWORD)
    with pytest.raises(Invalid, match="15 characters"):
        change(PASSWORD, "short")


def test_new_recovery_codes_need_the_password_and_end_the_old_ones(
    session: Session, person: Person, now: dt.datetime
) -> None:
    def renew(current: str) -> list[str]:
        return accounts.new_recovery_codes(
            session, person.account, current=current, credentials=CREDENTIALS, now=now
        )

    with pytest.raises(Invalid):
        renew("four quarries and a hill")
    codes = renew(PASSWORD)
    session.commit()
    with pytest.raises(Invalid):
        enter(session, person.account.email, PASSWORD, person.codes[0], now)
    session.rollback()
    enter(session, person.account.email, PASSWORD, codes[0], now)


# Other people


def test_nobody_deactivates_or_demotes_themselves(session: Session, now: dt.datetime) -> None:
    one = set_up(session, "ada@arvenia.example", Role.ADMIN, now).account
    set_up(session, "ben@arvenia.example", Role.ADMIN, now)
    with pytest.raises(NotAllowed):
        accounts.set_active(session, one, False, by=one, now=now)
    with pytest.raises(NotAllowed):
        accounts.change_role(session, one, Role.MONITOR, by=one, now=now)


def test_the_last_working_admin_stays(session: Session, make: Factory, now: dt.datetime) -> None:
    one = set_up(session, "ada@arvenia.example", Role.ADMIN, now).account
    make.account(Role.ADMIN)  # Invited, and cannot sign in yet.
    set_up(session, "ben@arvenia.example", Role.ADMIN, now).account.active = False
    with pytest.raises(NotAllowed):
        accounts.set_active(session, one, False, by=None, now=now)
    with pytest.raises(NotAllowed):
        accounts.change_role(session, one, Role.REVIEWER, by=None, now=now)


def test_two_admins_who_demote_each_other_at_once_leave_one(
    engine: Engine, session: Session, now: dt.datetime
) -> None:
    ada = set_up(session, "ada@arvenia.example", Role.ADMIN, now).account
    ben = set_up(session, "ben@arvenia.example", Role.ADMIN, now).account
    pairs = [(ada.id, ben.id), (ben.id, ada.id)]

    def demote(own: Session) -> None:
        by, other = (own.get_one(Account, id_) for id_ in pairs.pop())
        accounts.change_role(own, other, Role.MONITOR, by=by, now=now)

    assert at_once(engine, demote, 2) == 1
    session.expire_all()
    assert [account.role for account in (ada, ben)].count(Role.ADMIN) == 1


def test_what_is_done_to_an_account_is_written_down(
    session: Session, person: Person, now: dt.datetime
) -> None:
    admin = set_up(session, "ada@arvenia.example", Role.ADMIN, now).account
    accounts.change_role(session, person.account, Role.REVIEWER, by=admin, now=now)
    accounts.set_active(session, person.account, False, by=admin, now=now)
    accounts.set_active(session, person.account, False, by=admin, now=now)
    accounts.set_active(session, person.account, True, by=None, now=now)
    session.commit()
    done = session.execute(
        select(Activity.action, Activity.account_id, Activity.reason)
        .where(Activity.subject == f"account/{person.account.key}")
        .order_by(Activity.id)
    ).all()
    assert [tuple(row) for row in done] == [
        ("account-invited", None, "monitor"),
        ("account-set-up", person.account.id, ""),
        ("role-changed", admin.id, "monitor → reviewer"),
        ("account-deactivated", admin.id, ""),
        ("account-reactivated", None, ""),
    ]


def test_a_deactivated_account_gets_no_link_and_its_open_link_ends(
    session: Session, make: Factory, now: dt.datetime
) -> None:
    account, token = accounts.invite(
        session, email="mona@arvenia.example", name="Mona", role=Role.MONITOR, now=now, hours=72
    )
    accounts.set_active(session, account, False, by=None, now=now)
    with pytest.raises(NotFound):
        accounts.invited(session, token, now=now)
    with pytest.raises(Invalid):
        accounts.renew_invitation(session, account, now=now, hours=72)


@pytest.mark.parametrize("key", ["", "\x00", "0" * 12, "é", "' OR 1=1 --"])
def test_a_key_that_is_nobodys_is_not_found(session: Session, person: Person, key: str) -> None:
    with pytest.raises(NotFound):
        accounts.by_key(session, key)


def at_once(engine: Engine, act: Callable[[Session], object], how_many: int) -> int:
    """Do it in so many threads, each in its own transaction; how many succeeded."""
    start, succeeded = threading.Barrier(how_many), []

    def work() -> None:
        start.wait()
        try:
            with db.new_session(engine) as own:
                act(own)
                own.commit()
        except TrackerError:
            return
        succeeded.append(True)

    threads = [threading.Thread(target=work) for _ in range(how_many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(succeeded)
