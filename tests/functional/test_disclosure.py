"""That restricted evidence was held on a day is proven to somebody outside, when the team decides to."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from sqlalchemy.orm import Session

from tests.factories import Factory
from tests.published import Record
from tracker import verifier
from tracker.services import private_roots
from tracker.vocabulary import State, Visibility

Run = Callable[..., Result]


def check(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", verifier.__file__, *words], capture_output=True, text=True, check=False
    )


def test_sealed_evidence_is_disclosed_with_its_words_and_proven_without_us(
    session: Session, make: Factory, now: dt.datetime, run: Run, tmp_path: Path
) -> None:
    record = Record(session, make, now)
    piece = record.submitted(
        record.first, title="A gate of the quarry", visibility=Visibility.RESTRICTED, state=State.SUBMITTED
    )
    record.accept(piece)
    private_roots.publish_day(session, day=record.now.date(), now=record.tick())
    session.commit()
    run("ledger", "checkpoint")
    proof, words = tmp_path / "proof.json", tmp_path / "words.json"
    subject = f"evidence/{piece.key}"

    run("ledger", "disclose", subject, str(proof), "--content", str(words))

    assert "A gate of the quarry" in words.read_text()
    good = check("--disclosed", str(proof), "--content", str(words))
    assert good.returncode == 0, good.stdout + good.stderr
    words.write_text(words.read_text().replace("gate", "wall"))
    assert check("--disclosed", str(proof), "--content", str(words)).returncode == 1

    session.rollback()
    session.expire_all()
    piece.title = "Another title"
    session.commit()
    told = run("ledger", "disclose", subject, str(proof), "--content", str(words), code=1).output
    assert "not what was sealed" in told
    told = run("ledger", "disclose", "evidence/nothing", str(proof), code=1).output
    assert "Nothing sealed is called" in told
