"""A source is a random pseudonym; who it is can be entered here and never read here."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.factories import Factory
from tracker import names, sealed_file
from tracker.errors import Conflict, Invalid, NotAllowed, NotFound
from tracker.keyring import Keyring
from tracker.models import Account, Custodian, Evidence, Source, SourceRecord, SourceWord
from tracker.queries import sources as query
from tracker.sealed_file import Damaged, Identity, Line, Place
from tracker.services import custodians, source_records, sources
from tracker.vocabulary import Role, State, Visibility

WHO = Identity("Ayla Sarik", "+000 555 0101", "Only through her cousin, on market days", "Speaks Arvenian")


class Team:
    """People, custodians with their private keys, and the words that every call needs."""

    def __init__(self, session: Session, make: Factory, keys: Keyring, now: dt.datetime) -> None:
        self.session, self.make, self.keys, self.now = session, make, keys, now
        self.mona: Account = make.account(Role.MONITOR, "Mona")
        self.rafa: Account = make.account(Role.REVIEWER, "Rafa")
        self.private: dict[str, X25519PrivateKey] = {}

    def custodian(self, name: str) -> Custodian:
        key = X25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        made = custodians.add(self.session, name=name, public_key=public, now=self.now)
        self.private[name] = key
        return made

    def source(self) -> Source:
        made = sources.create(self.session, author=self.mona, now=self.now)
        self.session.commit()
        return made

    def record(self, source: Source, identity: Identity = WHO, **values: Any) -> int:
        wanted = {"keys": self.keys, "custodians_needed": 2, "author": self.mona, "now": self.now, **values}
        version = sources.record_identity(self.session, source, identity, **wanted)
        self.session.commit()
        return version

    def lines(self, *pseudonyms: str) -> list[Line]:
        return list(source_records.sealed_lines(self.session, pseudonyms or None))

    def mine(self, name: str, lines: list[Line]) -> list[Line]:
        own = sealed_file.fingerprint(self.private[name].public_key().public_bytes_raw())
        return [line for line in lines if line.place.custodian == own]


@pytest.fixture
def team(session: Session, make: Factory, keys: Keyring, now: dt.datetime) -> Team:
    found = Team(session, make, keys, now)
    found.custodian("North")
    found.custodian("South")
    session.commit()
    return found


def everything(session: Session) -> bytes:
    told = b""
    for table in ("source", "source_record", "source_word", "activity", "custodian"):
        for row in session.execute(text(f"SELECT * FROM {table}")):
            told += b"".join(
                bytes(one) if isinstance(one, bytes | memoryview) else str(one).encode() for one in row
            )
    return told


def test_pseudonyms_are_random_and_easy_to_read_out(team: Team) -> None:
    found = {team.source().pseudonym for _ in range(12)}
    assert len(found) == 12
    assert all(re.fullmatch("S-[0-9A-HJKMNP-TV-Z]{4}", name) for name in found)


def test_a_pseudonym_grows_when_the_short_ones_are_taken(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_LETTERS", "7")
    assert [team.source().pseudonym for _ in range(2)] == ["S-7777", "S-77777"]


@pytest.mark.parametrize("typed", ["S-7F30", "s7f3o", " s-7f3O ", "7F30", "S 7F3 0"])
def test_a_pseudonym_is_found_however_it_is_typed(typed: str) -> None:
    assert query.spelled(typed) == "S-7F30"


def test_an_identity_is_opened_by_each_custodian_and_by_nobody_else(team: Team) -> None:
    source = team.source()
    assert team.record(source) == 1
    lines = team.lines(source.pseudonym)
    assert len(lines) == 2
    for name, key in team.private.items():
        [line] = team.mine(name, lines)
        assert sealed_file.open_line(line, key) == sealed_file.Opened(
            source.pseudonym, 1, team.now.date().isoformat(), WHO
        )
        for other in lines:
            if other is not line:
                with pytest.raises(Damaged, match="does not open"):
                    sealed_file.open_line(other, key)
    assert b"Ayla" not in everything(team.session)
    assert b"555 0101" not in everything(team.session)


def test_each_save_is_a_new_version_and_the_old_ones_stay(team: Team) -> None:
    source = team.source()
    team.record(source)
    team.record(source, Identity("Ayla Sarik-Onal"))
    opened = [sealed_file.open_line(line, team.private["North"]) for line in team.mine("North", team.lines())]
    assert [(one.version, one.identity.name) for one in opened] == [(1, "Ayla Sarik"), (2, "Ayla Sarik-Onal")]


def test_the_length_of_sealed_text_tells_nothing_about_a_usual_identity(team: Team) -> None:
    short, long = team.source(), team.source()
    team.record(short, Identity("A"))
    team.record(long, Identity("Ayla Sarik" * 20, notes="n" * 300))
    assert len({len(line.sealed) for line in team.lines()}) == 1


@pytest.mark.parametrize("swap", ["source", "version", "custodian"])
def test_a_record_that_was_moved_in_the_database_does_not_open(team: Team, swap: str) -> None:
    one, two = team.source(), team.source()
    team.record(one)
    team.record(one, Identity("Second version"))
    team.record(two, Identity("Somebody else"))
    records = team.session.scalars(select(SourceRecord).order_by(SourceRecord.id)).all()
    pairs = {"source": (0, 4), "version": (0, 2), "custodian": (0, 1)}
    first, second = (records[place] for place in pairs[swap])
    first.sealed, second.sealed = second.sealed, first.sealed
    team.session.commit()
    moved = {(record.source.key, record.version, record.custodian_id) for record in (first, second)}
    for name, key in team.private.items():
        for line in team.mine(name, team.lines()):
            custodian = team.session.scalars(select(Custodian).where(Custodian.name == name)).one()
            place = (line.place.source, line.place.version, custodian.id)
            if place in moved:
                with pytest.raises(Damaged, match="altered, or moved"):
                    sealed_file.open_line(line, key)
            else:
                assert sealed_file.open_line(line, key)


def test_a_record_carried_under_another_pseudonym_is_noticed(team: Team) -> None:
    team.record(team.source())
    [line] = team.mine("North", team.lines())
    wrong = Line("S-0000", line.place, line.recorded_on, line.sealed)
    with pytest.raises(Damaged, match="was altered"):
        sealed_file.open_line(wrong, team.private["North"])


def test_every_altered_byte_is_noticed(team: Team) -> None:
    team.record(team.source())
    [line] = team.mine("North", team.lines())
    for place in (0, 31, 32, 500, len(line.sealed) - 1):
        altered = bytearray(line.sealed)
        altered[place] ^= 1
        with pytest.raises(Damaged):
            sealed_file.open_line(Line(line.pseudonym, line.place, "", bytes(altered)), team.private["North"])
    for cut in (b"", line.sealed[:10], line.sealed[:-1]):
        with pytest.raises(Damaged):
            sealed_file.open_line(Line(line.pseudonym, line.place, "", cut), team.private["North"])


def test_nothing_is_entered_while_there_are_too_few_custodians(team: Team) -> None:
    source = team.source()
    custodians.retire(team.session, name="South", now=team.now)
    with pytest.raises(Invalid, match="tracker custody add"):
        team.record(source)
    assert source.version == 0
    assert team.record(source, custodians_needed=1) == 1
    assert [line.place.custodian for line in team.lines()] == [
        sealed_file.fingerprint(team.private["North"].public_key().public_bytes_raw())
    ]


def test_an_empty_identity_is_refused(team: Team) -> None:
    with pytest.raises(Invalid, match="Enter something"):
        team.record(team.source(), Identity(""))


def test_only_the_team_keeps_sources(team: Team, make: Factory) -> None:
    admin, source = make.account(Role.ADMIN), team.source()
    with pytest.raises(NotAllowed):
        sources.create(team.session, author=admin, now=team.now)
    with pytest.raises(NotAllowed):
        team.record(source, author=admin)
    for act in (sources.ask_erasure, sources.refuse_erasure):
        with pytest.raises(NotAllowed):
            act(team.session, source, account=admin, now=team.now)
    with pytest.raises(NotAllowed):
        sources.forget_words(team.session, source, author=admin, now=team.now)
    assert query.everything(team.session, admin) == []


def test_a_key_and_a_name_stand_for_one_custodian_only(team: Team) -> None:
    public = team.private["North"].public_key().public_bytes_raw()
    with pytest.raises(Conflict, match="as North"):
        custodians.add(team.session, name="West", public_key=public, now=team.now)
    with pytest.raises(Conflict, match="another name"):
        custodians.add(team.session, name="North", public_key=b"1" * 32, now=team.now)
    with pytest.raises(Invalid):
        custodians.add(team.session, name="  ", public_key=b"1" * 32, now=team.now)
    with pytest.raises(NotFound):
        custodians.retire(team.session, name="West", now=team.now)
    custodians.retire(team.session, name="North", now=team.now)
    with pytest.raises(Conflict, match="already"):
        custodians.retire(team.session, name="North", now=team.now)


def test_a_public_key_survives_being_copied_and_one_wrong_letter_is_noticed() -> None:
    public = X25519PrivateKey.generate().public_key().public_bytes_raw()
    written = sealed_file.key_text(public)
    assert sealed_file.read_key_text(f"  {written.upper().replace('TRACKER-CUSTODIAN:', '')} \n") == public
    assert sealed_file.read_key_text(written) == public
    for place in range(len("tracker-custodian:"), len(written) - 1):
        wrong = "a" if written[place] != "a" else "b"
        with pytest.raises(Damaged):
            sealed_file.read_key_text(written[:place] + wrong + written[place + 1 :])
    for wrong in ("", "tracker-custodian:", "ledger:abc", "тracker", written[:-2]):
        with pytest.raises(Damaged):
            sealed_file.read_key_text(wrong)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_key_that_anybody_could_open_is_refused(point: bytes) -> None:
    with pytest.raises(Damaged, match="not safe"):
        sealed_file.read_key_text(sealed_file.key_text(point))


def test_later_custodians_get_what_an_earlier_one_hands_over(team: Team) -> None:
    source = team.source()
    team.record(source)
    west = team.custodian("West")
    assert team.mine("West", team.lines()) == []
    passed = [
        sealed_file.pass_on(line, team.private["North"], west.public_key)
        for line in team.mine("North", team.lines())
    ]
    assert source_records.take_in(team.session, passed, now=team.now) == 1
    assert source_records.take_in(team.session, passed, now=team.now) == 0
    team.session.commit()
    [line] = team.mine("West", team.lines())
    assert sealed_file.open_line(line, team.private["West"]).identity == WHO


def test_only_records_that_fit_are_taken_in_and_nothing_is_written_over(team: Team) -> None:
    source = team.source()
    team.record(source)
    [line] = team.mine("North", team.lines())
    forged = Line(line.pseudonym, line.place, line.recorded_on, b"forged")
    assert source_records.take_in(team.session, [forged], now=team.now) == 0
    assert team.mine("North", team.lines()) == [line]
    places = [
        (line.pseudonym, Place(line.place.source, 9, line.place.custodian)),
        (line.pseudonym, Place("unknown", 1, line.place.custodian)),
        (line.pseudonym, Place(line.place.source, 1, "0" * 20)),
        ("S-0000", line.place),
    ]
    for pseudonym, place in places:
        with pytest.raises((NotFound, Conflict)):
            source_records.take_in(team.session, [Line(pseudonym, place, "", b"x")], now=team.now)
    kept = team.lines()
    sources.erase(team.session, source, now=team.now)
    with pytest.raises(Conflict, match="erased"):
        source_records.take_in(team.session, kept, now=team.now)


def test_a_name_that_is_watched_is_found_in_a_text_however_it_is_written(team: Team) -> None:
    source = team.source()
    team.record(source, words=["Ayla Sarik", "Öztürk", "Al-Rashid bin Omar", "ئايگۈل", "王小明", ""])
    text = (
        "Yesterday AYLA  SARIK spoke. Mr Ozturk did not; al rashid bin omar did. Then ئايگۈل came, "
        "and 昨天王小明说了。 Sarik alone, and Ayla alone, are nobody."
    )
    found = sources.suspicious_words(team.session, text, keys=team.keys)
    assert found == ["AYLA  SARIK", "Ozturk", "al rashid bin omar", "ئايگۈل", "王小明"]
    assert sources.suspicious_words(team.session, "Nobody of them.", keys=team.keys) == []


def test_watched_names_are_kept_as_short_hashes_that_a_stranger_cannot_compute(
    team: Team, tmp_path: Path
) -> None:
    from tracker import keyring

    team.record(team.source(), words=["Ayla Sarik"])
    [hash_] = team.session.scalars(select(SourceWord.hash))
    assert re.fullmatch("[0-9a-f]{5}", hash_)
    keyring.create(tmp_path / "other")
    assert sources.suspicious_words(team.session, "Ayla Sarik", keys=keyring.load(tmp_path / "other")) == []


def test_names_add_up_and_can_be_forgotten(team: Team) -> None:
    source = team.source()
    team.record(source, words=["Ayla", "ayla", "Sarik"])
    team.record(source, words=["Sarik", "Onal"])
    assert len(source.words) == 3
    sources.forget_words(team.session, source, author=team.mona, now=team.now)
    team.session.commit()
    assert team.session.scalars(select(SourceWord)).all() == []
    with pytest.raises(Invalid, match="more than four words"):
        team.record(source, words=["one two three four five"])


def test_candidates_are_words_and_rows_of_up_to_four() -> None:
    assert [plain for plain, _ in names.candidates("A bb; c-d e")] == [
        "a", "a bb", "a bb c", "a bb c d", "bb", "bb c", "bb c d", "bb c d e", "c", "c d", "c d e", "d", "d e", "e",
    ]  # fmt: skip
    assert list(names.candidates("")) == []
    assert names.compared("  ÉLÉONORE-d’Arc ") == "eleonore d arc"


def test_erasing_deletes_records_and_names_and_leaves_the_pseudonym(team: Team) -> None:
    source = team.source()
    team.record(source, words=["Ayla"])
    sources.erase(team.session, source, now=team.now)
    team.session.commit()
    assert (source.records, source.words) == ([], [])
    assert team.lines() == []
    assert source.erased_at == team.now
    with pytest.raises(Conflict):
        team.record(source)
    with pytest.raises(Conflict):
        sources.erase(team.session, source, now=team.now)


def test_two_people_erase_a_source(team: Team, make: Factory) -> None:
    source, other = team.source(), make.account(Role.REVIEWER)
    team.record(source)
    with pytest.raises(Conflict):
        sources.confirm_erasure(team.session, source, reviewer=team.rafa, now=team.now)
    sources.ask_erasure(team.session, source, account=team.rafa, now=team.now)
    with pytest.raises(NotAllowed, match="Another reviewer"):
        sources.confirm_erasure(team.session, source, reviewer=team.rafa, now=team.now)
    with pytest.raises(NotAllowed, match="Only reviewers"):
        sources.confirm_erasure(team.session, source, reviewer=team.mona, now=team.now)
    with pytest.raises(Conflict):
        sources.ask_erasure(team.session, source, account=other, now=team.now)
    sources.refuse_erasure(team.session, source, account=other, now=team.now)
    with pytest.raises(Conflict):
        sources.confirm_erasure(team.session, source, reviewer=other, now=team.now)
    sources.ask_erasure(team.session, source, account=team.rafa, now=team.now)
    sources.confirm_erasure(team.session, source, reviewer=other, now=team.now)
    team.session.commit()
    assert team.lines() == []


def test_the_database_too_wants_two_people(team: Team) -> None:
    source = team.source()
    source.erasure_asked_by_id = source.erased_by_id = team.rafa.id
    with pytest.raises(IntegrityError):
        team.session.flush()
    team.session.rollback()


def test_a_pseudonym_is_seen_with_the_evidence_that_comes_from_it(team: Team, make: Factory) -> None:
    report, source = make.report(), team.source()
    someone = make.account(Role.MONITOR)
    hidden: Evidence = make.evidence(
        report.recommendations[0], visibility=Visibility.RESTRICTED, state=State.SUBMITTED,
        created_by_id=team.mona.id,
    )  # fmt: skip
    sources.link(team.session, hidden, source, account=team.mona, now=team.now)
    team.session.commit()
    assert hidden.from_person
    assert [one.id for one in query.everything(team.session, team.mona)] == [source.id]
    for person in (someone, team.rafa):
        assert query.by_pseudonym(team.session, source.pseudonym, person) is None
        assert query.evidence_of(team.session, source, person) == []
    shared: Evidence = make.evidence(
        report.recommendations[0],
        visibility=Visibility.TEAM,
        state=State.SUBMITTED,
        created_by_id=team.mona.id,
    )
    sources.link(team.session, shared, source, account=team.mona, now=team.now)
    team.session.commit()
    found = query.by_pseudonym(team.session, source.pseudonym, someone)
    assert found is not None
    assert [piece.id for piece in query.evidence_of(team.session, found, someone)] == [shared.id]


def test_a_reviewer_sees_a_source_that_waits_to_be_erased(team: Team) -> None:
    source = team.source()
    assert query.by_pseudonym(team.session, source.pseudonym, team.rafa) is None
    sources.ask_erasure(team.session, source, account=team.mona, now=team.now)
    assert query.by_pseudonym(team.session, source.pseudonym, team.rafa) is not None


def test_a_link_stands_once_and_can_be_taken_back(team: Team, make: Factory) -> None:
    piece: Evidence = make.evidence(make.report().recommendations[0], created_by_id=team.mona.id)
    source = team.source()
    sources.link(team.session, piece, source, account=team.mona, now=team.now)
    with pytest.raises(Invalid, match="linked already"):
        sources.link(team.session, piece, source, account=team.mona, now=team.now)
    sources.unlink(team.session, piece, source, account=team.mona, now=team.now)
    with pytest.raises(Conflict):
        sources.unlink(team.session, piece, source, account=team.mona, now=team.now)
    team.session.commit()
    assert piece.sources == []
    assert piece.from_person  # That a person gave it stays true.


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "custodian.key"
    public = sealed_file.make_key(file, "correct horse battery")
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Damaged, match="exists already"):
        sealed_file.make_key(file, None)
    private = sealed_file.read_key(file, lambda: "correct horse battery")
    assert private.public_key().public_bytes_raw() == public
    assert private.private_bytes_raw().hex() not in file.read_text()
    with pytest.raises(Damaged, match="passphrase is wrong"):
        sealed_file.read_key(file, lambda: "wrong")
    words = json.loads(file.read_text())
    other = X25519PrivateKey.generate().public_key().public_bytes_raw()
    damages: list[dict[str, Any]] = [
        {"public_key": sealed_file.key_text(other)},
        {"scrypt": {}},
        {"scrypt": {"salt": "00", "n": 3, "r": 8, "p": 1}},
        {"sealed_private_key": "zz"},
        {"sealed_private_key": ""},
        {"format": "else"},
    ]
    for damage in damages:
        file.write_text(json.dumps(words | damage))
        with pytest.raises(Damaged):
            sealed_file.read_key(file, lambda: "correct horse battery")
    for content in ("", "[]", "null", '"x"'):
        file.write_text(content)
        with pytest.raises(Damaged):
            sealed_file.read_key(file, lambda: "")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(Damaged):
        sealed_file.read_key(file, lambda: "")


def test_a_file_of_sealed_records_is_read_as_it_was_written(tmp_path: Path) -> None:
    lines = [Line("S-7F3K", Place("abc", 1, "0" * 20), "2026-11-22", b"\x00sealed\xff")]
    file = tmp_path / "sealed.jsonl"
    assert sealed_file.write_lines(file, lines) == 1
    assert sealed_file.read_lines(file) == lines
    good = file.read_text()
    for bad in (
        "{}",
        "[]",
        "7",
        "x",
        good.replace('"version": 1', '"version": "1"'),
        good.replace("=", "*"),
        "",
    ):
        file.write_text(good + bad + "\n")
        with pytest.raises(Damaged, match="line 2"):
            sealed_file.read_lines(file)
    with pytest.raises(Damaged, match="cannot be read"):
        sealed_file.read_lines(tmp_path / "nothing")
