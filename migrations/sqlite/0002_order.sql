-- Deliveries in order. `order_key` names what comes one after the other (a hash of the mailbox or of
-- the thread; NULL: in no order). Of those that wait under one key only the first may be sent, the
-- others are `blocked`. One that failed for too long steps `aside`: it blocks nobody any more.
ALTER TABLE delivery ADD COLUMN order_key INTEGER;
ALTER TABLE delivery ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1));
ALTER TABLE delivery ADD COLUMN aside INTEGER NOT NULL DEFAULT 0 CHECK (aside IN (0, 1));

DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery (endpoint, state, blocked, due);
CREATE INDEX delivery_order ON delivery (endpoint, order_key, id)
    WHERE order_key IS NOT NULL AND state < 2 AND aside = 0;

UPDATE meta SET value = '0.2.0' WHERE name = 'min_reader';
