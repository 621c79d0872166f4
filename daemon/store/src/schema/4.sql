-- A member that was out and is in again by the word of the group's maker: that it had left may be heard only now, and is old.
ALTER TABLE link ADD COLUMN again INTEGER NOT NULL DEFAULT 0;

-- The highest number that a transfer has had: somebody may still name it when the transfer is gone.
ALTER TABLE counter ADD COLUMN transfers INTEGER NOT NULL DEFAULT 0;
UPDATE counter SET transfers = (SELECT coalesce(max(key), 0) FROM transfer);
