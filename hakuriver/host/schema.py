"""What is on the host's disk: an append-only list of migrations.

A migration that has been released is never changed; each is committed with its number in
PRAGMA user_version. Times are Unix seconds; JSON columns hold ASCII with escapes, since
arguments may be bytes that are no text.
"""

from __future__ import annotations

import sqlite3

from hakuriver.model.errors import HakuRiverError, UsageError

LIVE = "('assigning', 'running', 'paused', 'lost')"
"""Statuses that hold resources of a node; partial indexes below name them as written here."""

MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
    CREATE TABLE nodes (
        name TEXT PRIMARY KEY,
        info TEXT NOT NULL,
        order_n INTEGER NOT NULL DEFAULT 0,
        drained TEXT,
        registered_at REAL NOT NULL
    );
    CREATE TABLE tasks (
        task_id INTEGER PRIMARY KEY AUTOINCREMENT,
        batch_id INTEGER NOT NULL,
        argv TEXT NOT NULL,
        env TEXT NOT NULL,
        cores REAL NOT NULL,
        memory INTEGER,
        container TEXT,
        privileged INTEGER NOT NULL,
        mounts TEXT NOT NULL,
        target_node TEXT,
        target_numa INTEGER,
        user TEXT NOT NULL,
        status TEXT NOT NULL,
        submitted_at REAL NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 1,
        node TEXT REFERENCES nodes (name),
        order_epoch INTEGER NOT NULL DEFAULT 0,
        order_n INTEGER NOT NULL DEFAULT 0,
        message TEXT NOT NULL DEFAULT '',
        exit_code INTEGER,
        assigned_at REAL,
        started_at REAL,
        completed_at REAL,
        wish TEXT,
        wish_n INTEGER NOT NULL DEFAULT 0,
        report_n INTEGER NOT NULL DEFAULT 0,
        incarnation INTEGER NOT NULL DEFAULT 0,
        driver TEXT,
        unit_name TEXT,
        image TEXT,
        peak_memory INTEGER,
        cpu_seconds REAL,
        revision INTEGER NOT NULL
    );
    CREATE INDEX tasks_by_status ON tasks (status, task_id);
    CREATE INDEX tasks_by_node ON tasks (node, task_id);
    CREATE INDEX tasks_by_batch ON tasks (batch_id, task_id);
    CREATE INDEX tasks_by_user ON tasks (user, task_id);
    CREATE INDEX tasks_by_end ON tasks (completed_at) WHERE completed_at IS NOT NULL;
    CREATE INDEX tasks_live ON tasks (node, task_id) WHERE status IN {LIVE};
    CREATE TABLE orders (
        node TEXT NOT NULL REFERENCES nodes (name),
        epoch INTEGER NOT NULL,
        n INTEGER NOT NULL,
        task_id INTEGER NOT NULL REFERENCES tasks (task_id) ON DELETE CASCADE,
        attempt INTEGER NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        refusals INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (node, epoch, n)
    ) WITHOUT ROWID;
    CREATE INDEX orders_by_task ON orders (task_id);
    CREATE TABLE submissions (
        key TEXT PRIMARY KEY,
        body_hash TEXT NOT NULL,
        answer TEXT NOT NULL,
        submitted_at REAL NOT NULL
    );
    CREATE INDEX submissions_by_time ON submissions (submitted_at);
    """,
    """
    ALTER TABLE tasks ADD COLUMN image_version INTEGER;
    """,
    """
    CREATE INDEX tasks_by_batch_status ON tasks (batch_id, status, task_id);
    """,
    """
    ALTER TABLE nodes ADD COLUMN removed_at REAL;
    ALTER TABLE tasks ADD COLUMN logs_pruned INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX tasks_with_logs ON tasks (completed_at)
        WHERE completed_at IS NOT NULL AND logs_pruned = 0;
    """,
    """
    CREATE INDEX tasks_by_start ON tasks (started_at, task_id);
    CREATE INDEX tasks_by_last_end ON tasks (completed_at, task_id);
    CREATE INDEX tasks_by_container ON tasks (container, task_id);
    CREATE INDEX tasks_by_batch_end ON tasks (batch_id, completed_at);
    CREATE INDEX tasks_failed ON tasks (completed_at) WHERE status IN ('failed', 'killed_oom');
    """,
)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring an empty or older database up to date; each step is committed with its number.

    Raises UsageError if the database is newer than this program.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise UsageError(
            f"{path} was written by a newer HakuRiver (schema {version}, this one knows {len(MIGRATIONS)})",
            "Run the newer version, or point database.db_file at another file.",
        )
    for number in range(version, len(MIGRATIONS)):
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
            )
        except sqlite3.Error as error:
            raise HakuRiverError(f"cannot bring {path} up to date: {error}") from error
