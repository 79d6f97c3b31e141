-- What is to be done with a message in its mailbox after an endpoint accepted its event. What that
-- is, the configuration says when it is done. `subject` is the event's: folder, UIDVALIDITY, UID.
-- It refers to nothing: an event may be pruned before.
CREATE TABLE after (
    event   BLOB    NOT NULL PRIMARY KEY,
    mailbox TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    due     INTEGER NOT NULL,
    tries   INTEGER NOT NULL DEFAULT 0,
    note    TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX after_mailbox ON after (mailbox, due);
