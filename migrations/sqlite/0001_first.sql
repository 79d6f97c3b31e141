-- The first schema. Times are milliseconds since 1970-01-01T00:00:00Z.

-- Facts about the store itself. `min_reader` is the oldest program version that can read it: a
-- migration that an older version cannot live with raises it.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES
    ('min_reader', '0.1.0'),
    ('written_by', ''),
    ('schema_version', '0'),
    ('run', '0'),
    ('clean', '1');

-- A mailbox by its key in the configuration, with the account that stands behind it.
-- `deliveries` counts those of events that came without a watch (system events).
CREATE TABLE mailbox (
    id               INTEGER NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    server           TEXT    NOT NULL,
    username         TEXT    NOT NULL,
    known_since      INTEGER NOT NULL,
    paused           INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    deliveries       INTEGER NOT NULL DEFAULT 0,
    pruned_delivered INTEGER NOT NULL DEFAULT 0,
    pruned_discarded INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One folder of a mailbox, with its cursor. `uids` and `deliveries` are counted here, apart from
-- the rows that they count, so that a row that got lost shows. `epoch` is the folder's numbering:
-- a new one begins whenever continuity broke, and within one a UID means one message.
-- `uid_validity` is NULL where the cursor is lost. `gaps` is a JSON array of UIDs, `suspects` one
-- of pairs (UID, tries), `hold` a JSON object, `sieve` the text that core writes.
CREATE TABLE watch (
    id           INTEGER NOT NULL PRIMARY KEY,
    mailbox      INTEGER NOT NULL REFERENCES mailbox (id),
    folder       TEXT    NOT NULL,
    first_sight  INTEGER NOT NULL,
    uid_validity INTEGER,
    epoch        INTEGER,
    last_uid     INTEGER,
    floor_uid    INTEGER,
    gaps         TEXT    NOT NULL DEFAULT '[]',
    anchor_uid   INTEGER,
    anchor_print BLOB,
    sieve        TEXT,
    suspects     TEXT    NOT NULL DEFAULT '[]',
    hold         TEXT,
    last_proven  INTEGER,
    uids         INTEGER NOT NULL DEFAULT 0,
    deliveries   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (mailbox, folder)
) STRICT;

-- One row for each UID taken. It outlives the event.
-- outcome: 1 event, 2 known, 3 skipped, 4 quarantined, 5 vanished; reason: see codec.rs.
CREATE TABLE ledger (
    watch         INTEGER NOT NULL REFERENCES watch (id),
    epoch         INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    outcome       INTEGER NOT NULL CHECK (outcome BETWEEN 1 AND 5),
    reason        INTEGER NOT NULL DEFAULT 0,
    found_by      INTEGER NOT NULL,
    taken_at      INTEGER NOT NULL,
    internal_date INTEGER,
    fingerprint   BLOB,
    PRIMARY KEY (watch, epoch, uid)
) STRICT, WITHOUT ROWID;

-- The first bytes find a fingerprint as well as all of them, and the index is half as large:
-- its pages are written at random, so its size is what it costs.
CREATE INDEX ledger_fingerprint ON ledger (watch, substr(fingerprint, 1, 8)) WHERE fingerprint IS NOT NULL;

-- Raw bytes of what could not be read, in the spool.
CREATE TABLE quarantine (
    watch INTEGER NOT NULL REFERENCES watch (id),
    epoch INTEGER NOT NULL,
    uid   INTEGER NOT NULL,
    spool TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (watch, epoch, uid)
) STRICT, WITHOUT ROWID;

-- `sequence` is the last one given out: the count of all deliveries that the endpoint ever got.
CREATE TABLE endpoint (
    id               INTEGER NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL UNIQUE,
    paused           INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1)),
    sequence         INTEGER NOT NULL DEFAULT 0,
    pruned_delivered INTEGER NOT NULL DEFAULT 0,
    pruned_discarded INTEGER NOT NULL DEFAULT 0
) STRICT;

-- One happening; its facts never change. `data` stays last: what lists events does not read it.
CREATE TABLE event (
    id          INTEGER NOT NULL PRIMARY KEY,
    uuid        BLOB    NOT NULL UNIQUE,
    type        TEXT    NOT NULL,
    mailbox     INTEGER REFERENCES mailbox (id),
    subject     TEXT    NOT NULL,
    time        INTEGER NOT NULL,
    stored_at   INTEGER NOT NULL,
    message_id  TEXT,
    fingerprint BLOB,
    spool       TEXT,
    data        BLOB    NOT NULL
) STRICT;

CREATE INDEX event_mailbox ON event (mailbox, id);
CREATE INDEX event_message_id ON event (substr(message_id, 1, 16)) WHERE message_id IS NOT NULL;

-- One event owed to one endpoint. state: 0 pending, 1 leased, 2 delivered, 3 dead, 4 discarded.
-- `sequence` is gapless per endpoint: the one writer gives it out, in the order of `id`.
CREATE TABLE delivery (
    id               INTEGER NOT NULL PRIMARY KEY,
    event            INTEGER NOT NULL REFERENCES event (id),
    endpoint         INTEGER NOT NULL REFERENCES endpoint (id),
    sequence         INTEGER NOT NULL,
    mailbox          INTEGER REFERENCES mailbox (id),
    state            INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),
    due              INTEGER NOT NULL,
    run              INTEGER NOT NULL,
    attempts         INTEGER NOT NULL DEFAULT 0,
    first_attempt_at INTEGER,
    refusals         INTEGER NOT NULL DEFAULT 0,
    refused_since    INTEGER,
    own_time_ms      INTEGER NOT NULL DEFAULT 0,
    settled_at       INTEGER,
    took_ms          INTEGER,
    last_status      INTEGER,
    last_note        TEXT,
    dead_reason      TEXT,
    replays          INTEGER NOT NULL DEFAULT 0,
    replay           TEXT
) STRICT;

CREATE INDEX delivery_due ON delivery (endpoint, state, due);
CREATE INDEX delivery_event ON delivery (event);

-- Attempts that did not deliver; the one that did is on the delivery itself.
CREATE TABLE attempt (
    id       INTEGER NOT NULL PRIMARY KEY,
    delivery INTEGER NOT NULL REFERENCES delivery (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL,
    took_ms  INTEGER NOT NULL,
    status   INTEGER,
    note     TEXT    NOT NULL
) STRICT;

CREATE INDEX attempt_delivery ON attempt (delivery);
