-- A call whose peer was never found has none; its id is chosen by whoever called, who may choose one that was; and it is known as
-- what it was called then, whether anybody accepted it, and for how long it was active.
CREATE TABLE call_2 (
  key INTEGER PRIMARY KEY AUTOINCREMENT,         -- rises with each call, and is never used again
  id BLOB NOT NULL CHECK (length(id) = 16),
  peer BLOB CHECK (length(peer) = 32),           -- NULL: nobody was found at the target
  peer_name TEXT NOT NULL DEFAULT '',
  target TEXT NOT NULL DEFAULT '',
  direction TEXT NOT NULL,
  kind TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  answered INTEGER NOT NULL DEFAULT 0,
  active_ms INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL,
  failed_stage TEXT NOT NULL,
  detail TEXT NOT NULL,
  quality TEXT NOT NULL                          -- JSON; empty: none was measured
) STRICT;
INSERT INTO call_2 (key, id, peer, direction, kind, started_ms, ended_ms, reason, failed_stage, detail, quality)
  SELECT key, id, peer, direction, kind, started_ms, ended_ms, reason, failed_stage, detail, quality FROM call ORDER BY key;
DROP TABLE call;
ALTER TABLE call_2 RENAME TO call;
CREATE INDEX call_peer ON call (peer);
