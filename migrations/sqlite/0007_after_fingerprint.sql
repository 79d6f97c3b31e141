-- What lies under a UID by the time something is done with it may be another message, of another account even:
-- the message's fingerprint is kept to know it again. Empty where the event was pruned before this migration;
-- such a message is not touched any more, and that is told.
ALTER TABLE after ADD COLUMN fingerprint BLOB NOT NULL DEFAULT x'';

UPDATE after
SET fingerprint = coalesce((SELECT event.fingerprint FROM event WHERE event.uuid = after.event), x'');
