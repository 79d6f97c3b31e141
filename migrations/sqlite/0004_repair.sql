-- Repair by operators, and who did it.

-- What an operator did, written in the transaction that did it. `affected` grows with the steps of
-- an order that takes several.
CREATE TABLE audit (
    id       INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    who      TEXT    NOT NULL,
    through  TEXT    NOT NULL,
    what     TEXT    NOT NULL,
    selector TEXT    NOT NULL,
    affected INTEGER NOT NULL,
    why      TEXT
) STRICT;

CREATE INDEX audit_at ON audit (at);

-- Tokens for the admin API over TCP, as SHA-256 of a random value. A revoked one is kept for the story.
CREATE TABLE admin_token (
    id         INTEGER NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    scope      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT;

CREATE UNIQUE INDEX admin_token_name ON admin_token (name) WHERE revoked_at IS NULL;

-- Ids under which an event was sent as a new one.
CREATE TABLE event_alias (
    uuid  BLOB    NOT NULL PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES event (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_alias_event ON event_alias (event);

-- `replay_order` is the audit row of the replay that a delivery is sent again by, `former` what it
-- was before (JSON; NULL: it was not owed), for taking it back. `as_id` is the id that it goes out
-- under, where that is not the event's own.
ALTER TABLE delivery ADD COLUMN replay_order INTEGER;
ALTER TABLE delivery ADD COLUMN former TEXT;
ALTER TABLE delivery ADD COLUMN as_id BLOB;

CREATE INDEX delivery_replay ON delivery (replay_order) WHERE replay_order IS NOT NULL AND state < 2;
