-- The endpoint's condition could not be evaluated for this event: it is sent all the same, and says so.
ALTER TABLE delivery ADD COLUMN when_failed INTEGER NOT NULL DEFAULT 0 CHECK (when_failed IN (0, 1));
