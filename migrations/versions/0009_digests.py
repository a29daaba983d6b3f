"""Digests shared by those to whom they say the same, issues, channels, themes, reminders."""

import datetime as dt
import hashlib
import json

import sqlalchemy as sa
from alembic import op

revision = "0009_digests"
down_revision = "0008_custody_chain"
branch_labels = None
depends_on = None

FREQUENCY = ("immediate", "daily", "weekly", "monthly")
KIND = ("confirmation", "digest", "renewal", "key-problem", "reminder")
HELD = ("configured", "clock", "restored", "refused", "by-hand")
STATE = (
    "pending",
    "claimed",
    "data-sent",
    "sent",
    "collected",
    "failed",
    "expired",
    "cancelled",
    "uncertain",
)
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MOMENT = sa.DateTime(timezone=True)


def word(name: str, *values: str) -> sa.Enum:
    """A word of the vocabulary, stored by its value."""
    return sa.Enum(*values, name=name, native_enum=False, length=32)


def upgrade() -> None:
    connection = op.get_bind()
    _new_tables()
    _subscribers(connection)
    old = connection.execute(
        sa.text("SELECT id, period, from_seq, to_seq, changes, created_at FROM digest ORDER BY id").columns(
            created_at=MOMENT
        )
    ).all()
    ways = (
        connection.execute(
            sa.text(
                "SELECT id, kind, subscriber_id, digest_id, message_id, message_sealed, state, created_at, due_at,"
                " lease_owner, lease_until, attempts, ambiguous, last_answer, done_at FROM delivery ORDER BY id"
            ).columns(created_at=MOMENT, due_at=MOMENT, lease_until=MOMENT, done_at=MOMENT)
        )
        .mappings()
        .all()
    )
    op.drop_table("delivery")
    op.drop_table("digest")
    _digests()
    _keep(connection, old, ways)


def _new_tables() -> None:
    op.create_table(
        "theme",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_theme")),
        sa.UniqueConstraint("slug", name=op.f("uq_theme_slug")),
    )
    op.create_table(
        "recommendation_theme",
        sa.Column("recommendation_id", sa.Integer(), nullable=False),
        sa.Column("theme_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["recommendation_id"],
            ["recommendation.id"],
            name=op.f("fk_recommendation_theme_recommendation_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["theme_id"], ["theme.id"], name=op.f("fk_recommendation_theme_theme_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("recommendation_id", "theme_id", name=op.f("pk_recommendation_theme")),
    )
    op.create_index(op.f("ix_recommendation_theme_theme_id"), "recommendation_theme", ["theme_id"])
    op.create_table(
        "sign_up",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_up")),
    )
    op.create_table(
        "sending",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("held_because", word("holdreason", *HELD), nullable=True),
        sa.Column("held_at", MOMENT, nullable=True),
        sa.Column("first_releaser_id", sa.Integer(), nullable=True),
        sa.Column("second_releaser_id", sa.Integer(), nullable=True),
        sa.Column("way", word("releaseway", "send", "consider-sent"), nullable=True),
        sa.Column("journal", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_sending_one_row")),
        sa.CheckConstraint(
            "second_releaser_id IS NULL OR second_releaser_id <> first_releaser_id",
            name=op.f("ck_sending_two_people"),
        ),
        sa.ForeignKeyConstraint(
            ["first_releaser_id"],
            ["account.id"],
            name=op.f("fk_sending_first_releaser_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["second_releaser_id"],
            ["account.id"],
            name=op.f("fk_sending_second_releaser_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sending")),
    )
    op.execute("INSERT INTO sending (id, journal) VALUES (1, 0)")
    op.create_table(
        "departure",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subscriber_key", sa.String(length=12), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_departure")),
    )
    op.create_table(
        "mail_rate",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("granted", sa.JSON(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_mail_rate")),
    )
    op.create_index(op.f("ix_mail_rate_asked_at"), "mail_rate", ["asked_at"])
    op.create_table(
        "reminder",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(length=200), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_reminder_account_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminder")),
        sa.UniqueConstraint("account_id", "subject", name=op.f("uq_reminder_account_id_subject")),
    )
    op.create_index(op.f("ix_reminder_account_id"), "reminder", ["account_id"])
    op.create_table(
        "issue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hour", MOMENT, nullable=False),
        sa.Column("state", word("issuestate", "open", "held", "discarded"), nullable=False),
        sa.Column("held_because", word("holdreason", *HELD), nullable=True),
        sa.Column("first_releaser_id", sa.Integer(), nullable=True),
        sa.Column("second_releaser_id", sa.Integer(), nullable=True),
        sa.Column("refused_in_a_row", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "second_releaser_id IS NULL OR second_releaser_id <> first_releaser_id",
            name=op.f("ck_issue_two_people"),
        ),
        sa.ForeignKeyConstraint(
            ["first_releaser_id"],
            ["account.id"],
            name=op.f("fk_issue_first_releaser_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["second_releaser_id"],
            ["account.id"],
            name=op.f("fk_issue_second_releaser_id"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_issue")),
        sa.UniqueConstraint("hour", name=op.f("uq_issue_hour")),
    )
    op.create_index(op.f("ix_issue_state"), "issue", ["state"])
    op.create_table(
        "piece",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("entry_seq", sa.Integer(), nullable=True),
        sa.Column("raw", sa.Boolean(), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("html", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["entry_seq"], ["ledger_entry.seq"], name=op.f("fk_piece_entry_seq"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_piece")),
        sa.UniqueConstraint("sha256", name=op.f("uq_piece_sha256")),
    )


def _subscribers(connection: sa.Connection) -> None:
    with op.batch_alter_table("subscriber") as table:
        table.add_column(
            sa.Column(
                "channel", word("channel", "email", "feed", "mailbox"), nullable=False, server_default="email"
            )
        )
        table.alter_column("address_hash", existing_type=sa.String(length=64), nullable=True)
        table.alter_column("address_sealed", existing_type=sa.LargeBinary(), nullable=True)
        # Those who are here now were found by a key that the web process has too: the mailer changes that.
        table.add_column(sa.Column("address_old", sa.Boolean(), nullable=False, server_default=sa.true()))
        table.add_column(
            sa.Column(
                "disclosure",
                word("disclosure", "full", "titles", "notice"),
                nullable=False,
                server_default="full",
            )
        )
        table.add_column(sa.Column("openpgp_sealed", sa.LargeBinary(), nullable=True))
        table.add_column(sa.Column("follow_key", sa.String(length=64), nullable=False, server_default=""))
        table.add_column(sa.Column("paused_until", sa.Date(), nullable=True))
        table.add_column(sa.Column("left_noted_at", MOMENT, nullable=True))
        table.add_column(sa.Column("renewed_at", MOMENT, nullable=True))
        table.add_column(sa.Column("renewal_asked_at", MOMENT, nullable=True))
        table.add_column(sa.Column("read_token_hash", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("soft_bounces", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("rest_until", MOMENT, nullable=True))
        table.add_column(sa.Column("old_manage_hash", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("old_leave_hash", sa.String(length=64), nullable=True))
        table.add_column(sa.Column("old_links_until", sa.Date(), nullable=True))
        for name in ("read_token_hash", "old_manage_hash", "old_leave_hash"):
            table.create_unique_constraint(op.f(f"uq_subscriber_{name}"), [name])
    with op.batch_alter_table("subscriber") as table:
        for name in ("channel", "disclosure", "follow_key", "address_old", "soft_bounces"):
            table.alter_column(name, server_default=None)
    with op.batch_alter_table("account") as table:
        table.add_column(sa.Column("reminders", sa.Boolean(), nullable=False, server_default=sa.true()))
    with op.batch_alter_table("account") as table:
        table.alter_column("reminders", server_default=None)
    with op.batch_alter_table("follow") as table:
        table.add_column(sa.Column("value", sa.String(length=200), nullable=False, server_default=""))
    with op.batch_alter_table("follow") as table:
        table.alter_column("value", server_default=None)
    follows: dict[int, list[list[object]]] = {}
    for subscriber, scope, report, recommendation in connection.execute(
        sa.text("SELECT subscriber_id, scope, report_id, recommendation_id FROM follow")
    ):
        follows.setdefault(subscriber, []).append([scope, report, recommendation, ""])
    for subscriber, found in follows.items():
        text = json.dumps(sorted(found, key=json.dumps))
        connection.execute(
            sa.text("UPDATE subscriber SET follow_key = :key WHERE id = :id"),
            {"key": hashlib.sha256(text.encode()).hexdigest(), "id": subscriber},
        )


def _digests() -> None:
    op.create_table(
        "digest",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("issue_id", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=9), nullable=False),
        sa.Column("content_key", sa.String(length=64), nullable=False),
        sa.Column("follow_key", sa.String(length=64), nullable=False),
        sa.Column("frequency", word("frequency", *FREQUENCY), nullable=False),
        sa.Column("language", sa.String(length=35), nullable=False),
        sa.Column("disclosure", word("disclosure", "full", "titles", "notice"), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("from_seq", sa.Integer(), nullable=False),
        sa.Column("to_seq", sa.Integer(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("composed_seq", sa.Integer(), nullable=False),
        sa.Column("pieces", sa.JSON(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["issue_id"], ["issue.id"], name=op.f("fk_digest_issue_id"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digest")),
        sa.UniqueConstraint("content_key", name=op.f("uq_digest_content_key")),
    )
    op.create_index("ix_digest_issue_id_code", "digest", ["issue_id", "code"])
    op.create_table(
        "digest_entry",
        sa.Column("digest_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("place_id", sa.Integer(), nullable=True),
        sa.Column("extra", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digest.id"], name=op.f("fk_digest_entry_digest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["place_id"],
            ["recommendation.id"],
            name=op.f("fk_digest_entry_place_id"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["seq"], ["ledger_entry.seq"], name=op.f("fk_digest_entry_seq"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("digest_id", "seq", name=op.f("pk_digest_entry")),
    )
    op.create_index("ix_digest_entry_seq", "digest_entry", ["seq"])
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", word("deliverykind", *KIND), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=True),
        sa.Column("account_id", sa.Integer(), nullable=True),
        sa.Column("period", sa.String(length=40), nullable=True),
        sa.Column("digest_id", sa.Integer(), nullable=True),
        sa.Column("issue_id", sa.Integer(), nullable=True),
        sa.Column("from_seq", sa.Integer(), nullable=True),
        sa.Column("message_id", sa.String(length=120), nullable=False),
        sa.Column("message_sealed", sa.LargeBinary(), nullable=True),
        sa.Column("sent_sha256", sa.String(length=64), nullable=True),
        sa.Column("state", word("deliverystate", *STATE), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ambiguous", sa.Integer(), nullable=False),
        sa.Column("last_answer", sa.String(length=200), nullable=True),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.Column("bounced_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"], ["account.id"], name=op.f("fk_delivery_account_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digest.id"], name=op.f("fk_delivery_digest_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["issue_id"], ["issue.id"], name=op.f("fk_delivery_issue_id"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["subscriber.id"], name=op.f("fk_delivery_subscriber_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("account_id", "period", name=op.f("uq_delivery_account_id_period")),
        sa.UniqueConstraint("message_id", name=op.f("uq_delivery_message_id")),
        sa.UniqueConstraint("subscriber_id", "period", name=op.f("uq_delivery_subscriber_id_period")),
    )
    op.create_index("ix_delivery_waiting", "delivery", ["state", "due_at", "message_id"])
    op.create_index("ix_delivery_digest_id", "delivery", ["digest_id"])
    op.create_index(op.f("ix_delivery_issue_id"), "delivery", ["issue_id"])


def _keep(connection: sa.Connection, old: list, ways: list) -> None:
    """Digests of one day that covered the same are one now; their mails keep their own words, stored whole."""
    meta = sa.MetaData()
    meta.reflect(connection, only=["issue", "digest", "delivery"])
    issue, digest, delivery = (meta.tables[name] for name in ("issue", "digest", "delivery"))
    sent = {way["digest_id"] for way in ways}
    hours: dict[dt.datetime, int] = {}
    kept: dict[tuple, int] = {}
    places: dict[int, tuple[int, int, str, int]] = {}
    for number, period, first, last, changes, created in old:
        if number not in sent:
            continue
        created = created.replace(tzinfo=created.tzinfo or dt.UTC)
        hour = created.replace(minute=0, second=0, microsecond=0)
        if hour not in hours:
            hours[hour] = len(hours) + 1
            connection.execute(
                issue.insert().values(id=hours[hour], hour=hour, state="open", refused_in_a_row=0)
            )
        key = (hour, period, first, last, changes)
        if key not in kept:
            kept[key] = len(kept) + 1
            name = hashlib.sha256(repr(key).encode()).digest()
            code = "".join(LETTERS[byte % 32] for byte in name[:8])
            frequency, _, day = period.partition("/")
            connection.execute(
                digest.insert().values(
                    id=kept[key],
                    issue_id=hours[hour],
                    code=f"{code[:4]}-{code[4:]}",
                    content_key=name.hex(),
                    follow_key="",
                    frequency=frequency,
                    language="en",
                    disclosure="full",
                    day=dt.date.fromisoformat(day),
                    from_seq=first,
                    to_seq=last,
                    changes=changes,
                    composed_seq=last,
                    pieces=[],
                    created_at=created,
                )
            )
        places[number] = (kept[key], hours[hour], period, first)
    for way in ways:
        place = places.get(way["digest_id"])
        values = dict(way) | {"digest_id": None}
        if place is not None and way["state"] in ("pending", "claimed"):
            # Composed by rules that are gone, and not sent: the person's next digest tells it.
            connection.execute(
                sa.text("UPDATE subscriber SET seen_seq = :seq WHERE id = :id AND seen_seq > :seq"),
                {"seq": place[3], "id": way["subscriber_id"]},
            )
            continue
        if place is not None and way["state"] == "data-sent":
            values |= {"state": "uncertain", "lease_owner": None, "lease_until": None}
        if place is not None:
            values |= {"digest_id": place[0], "issue_id": place[1], "period": place[2], "from_seq": place[3]}
        connection.execute(delivery.insert().values(**values))
    if connection.dialect.name == "postgresql":
        for name in ("issue", "digest", "delivery"):
            connection.execute(
                sa.text(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), COALESCE((SELECT max(id) FROM {name}), 0) + 1, false)"
                )
            )


def downgrade() -> None:
    """Digests become personal again. What the older release cannot have goes: those without an address, the pieces
    and with them mails that were not sent yet (they are composed again), themes, reminders, held issues.
    """
    connection = op.get_bind()
    meta = sa.MetaData()
    meta.reflect(connection, only=["digest", "delivery"])
    new = (
        connection.execute(
            sa.text(
                "SELECT delivery.id AS id, delivery.subscriber_id, delivery.period, digest.from_seq, digest.to_seq, digest.changes,"
                " digest.created_at FROM delivery JOIN digest ON digest.id = delivery.digest_id"
                " WHERE delivery.kind = 'digest' AND delivery.period NOT LIKE 'immediate%' AND delivery.subscriber_id IS NOT NULL"
                " AND delivery.state NOT IN ('pending', 'collected') ORDER BY delivery.id"
            ).columns(created_at=MOMENT)
        )
        .mappings()
        .all()
    )
    ways = (
        connection.execute(
            sa.text(
                "SELECT * FROM delivery WHERE kind IN ('confirmation', 'digest') AND subscriber_id IS NOT NULL"
            ).columns(created_at=MOMENT, due_at=MOMENT, lease_until=MOMENT, done_at=MOMENT)
        )
        .mappings()
        .all()
    )
    # Not sent yet: told again from where it began.
    connection.execute(
        sa.text(
            "UPDATE subscriber SET seen_seq = (SELECT min(delivery.from_seq) FROM delivery"
            " WHERE delivery.subscriber_id = subscriber.id AND delivery.kind = 'digest' AND delivery.state = 'pending')"
            " WHERE id IN (SELECT subscriber_id FROM delivery WHERE kind = 'digest' AND state = 'pending')"
        )
    )
    for table in (
        "delivery", "digest_entry", "digest", "issue", "mail_rate", "piece", "reminder", "sending", "sign_up", "departure",
    ):  # fmt: skip
        op.drop_table(table)
    op.drop_table("recommendation_theme")
    op.drop_table("theme")
    connection.execute(
        sa.text(
            "DELETE FROM follow WHERE scope NOT IN ('everything', 'report', 'recommendation')"
            " OR subscriber_id IN (SELECT id FROM subscriber WHERE channel <> 'email' OR frequency = 'immediate')"
        )
    )
    connection.execute(sa.text("DELETE FROM subscriber WHERE channel <> 'email' OR frequency = 'immediate'"))
    with op.batch_alter_table("account") as table:
        table.drop_column("reminders")
    with op.batch_alter_table("follow") as table:
        table.drop_column("value")
    with op.batch_alter_table("subscriber") as table:
        for name in ("read_token_hash", "old_manage_hash", "old_leave_hash"):
            table.drop_constraint(op.f(f"uq_subscriber_{name}"), type_="unique")
        for name in (
            "channel", "address_old", "disclosure", "openpgp_sealed", "follow_key", "paused_until", "renewed_at",
            "renewal_asked_at", "read_token_hash", "soft_bounces", "rest_until", "old_manage_hash",
            "old_leave_hash", "old_links_until", "left_noted_at",
        ):  # fmt: skip
            table.drop_column(name)
        table.alter_column("address_hash", existing_type=sa.String(length=64), nullable=False)
        table.alter_column("address_sealed", existing_type=sa.LargeBinary(), nullable=False)
    _old_tables()
    _put_back(connection, new, ways)


def _old_tables() -> None:
    op.create_table(
        "digest",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=True),
        sa.Column("period", sa.String(length=40), nullable=False),
        sa.Column("from_seq", sa.Integer(), nullable=False),
        sa.Column("to_seq", sa.Integer(), nullable=False),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["subscriber.id"], name=op.f("fk_digest_subscriber_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_digest")),
        sa.UniqueConstraint("subscriber_id", "period", name=op.f("uq_digest_subscriber_id_period")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", word("deliverykind", "confirmation", "digest"), nullable=False),
        sa.Column("subscriber_id", sa.Integer(), nullable=False),
        sa.Column("digest_id", sa.Integer(), nullable=True),
        sa.Column("message_id", sa.String(length=120), nullable=False),
        sa.Column("message_sealed", sa.LargeBinary(), nullable=True),
        sa.Column(
            "state", word("deliverystate", *(one for one in STATE if one != "collected")), nullable=False
        ),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("ambiguous", sa.Integer(), nullable=False),
        sa.Column("last_answer", sa.String(length=200), nullable=True),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["digest_id"], ["digest.id"], name=op.f("fk_delivery_digest_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"], ["subscriber.id"], name=op.f("fk_delivery_subscriber_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("digest_id", name=op.f("uq_delivery_digest_id")),
        sa.UniqueConstraint("message_id", name=op.f("uq_delivery_message_id")),
    )
    op.create_index("ix_delivery_state_due_at", "delivery", ["state", "due_at"])
    op.create_index(op.f("ix_delivery_subscriber_id"), "delivery", ["subscriber_id"])


def _put_back(connection: sa.Connection, new: list, ways: list) -> None:
    meta = sa.MetaData()
    meta.reflect(connection, only=["digest", "delivery", "subscriber"])
    digest, delivery = meta.tables["digest"], meta.tables["delivery"]
    there = set(connection.scalars(sa.text("SELECT id FROM subscriber")))
    places = {}
    for number, one in enumerate((one for one in new if one["subscriber_id"] in there), start=1):
        values = {name: value for name, value in one.items() if name != "id"}
        connection.execute(digest.insert().values(id=number, **values))
        places[one["id"]] = number
    for way in ways:
        if way["subscriber_id"] not in there or (way["kind"] == "digest" and way["id"] not in places):
            continue
        values = {column.name: way[column.name] for column in delivery.columns}
        connection.execute(delivery.insert().values(**values | {"digest_id": places.get(way["id"])}))
    if connection.dialect.name == "postgresql":
        for name in ("digest", "delivery"):
            connection.execute(
                sa.text(
                    f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), COALESCE((SELECT max(id) FROM {name}), 0) + 1, false)"
                )
            )
