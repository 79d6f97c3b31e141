-- Messages (RFC 5322) that an endpoint gets as they are, where they are small; a large one is a file
-- in the spool. A row goes when nothing is owed of its event any more.
CREATE TABLE raw (
    event INTEGER NOT NULL PRIMARY KEY REFERENCES event (id),
    data  BLOB    NOT NULL
) STRICT;

CREATE INDEX event_spool ON event (id) WHERE spool IS NOT NULL;
