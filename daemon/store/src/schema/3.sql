-- Files. Content is named by the 32 bytes of its BLAKE3 hash; paths are the bytes of the file system.

CREATE TABLE share (
  key INTEGER PRIMARY KEY,   -- its position: rises with each
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  name TEXT NOT NULL,
  kind INTEGER NOT NULL,     -- 1 file, 2 folder
  size INTEGER NOT NULL,
  list_size INTEGER NOT NULL,-- of a folder's list of files
  files INTEGER NOT NULL,
  scope INTEGER NOT NULL,    -- 1 anyone, 2 contacts, 3 peers
  state INTEGER NOT NULL,    -- 1 available, 2 changed, 3 missing
  path BLOB NOT NULL,
  own INTEGER NOT NULL,      -- 1: an own copy, which goes with the share
  copy_key BLOB NOT NULL CHECK (length(copy_key) = 32),
  added_ms INTEGER NOT NULL,
  sent INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What a share consists of: the file; or the list of a folder and its files.
CREATE TABLE piece (
  key INTEGER PRIMARY KEY,
  share INTEGER NOT NULL REFERENCES share (key) ON DELETE CASCADE,
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  path BLOB NOT NULL,        -- from the share's; empty: that one
  size INTEGER NOT NULL,
  dev INTEGER NOT NULL,
  ino INTEGER NOT NULL,
  mtime_ns INTEGER NOT NULL,
  copy_id BLOB,              -- of its sealed copy, once one is wanted
  copy_hash BLOB
) STRICT;
CREATE INDEX piece_hash ON piece (hash);
CREATE INDEX piece_share ON piece (share);
CREATE INDEX piece_copy ON piece (copy_id) WHERE copy_id IS NOT NULL;
CREATE INDEX piece_copy_hash ON piece (copy_hash) WHERE copy_hash IS NOT NULL;

-- One peer of one share.
CREATE TABLE share_peer (
  key INTEGER PRIMARY KEY,
  share INTEGER NOT NULL REFERENCES share (key) ON DELETE CASCADE,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  offer INTEGER NOT NULL,    -- 1 not told yet, 2 told, 3 refused
  UNIQUE (share, peer)
) STRICT;
CREATE INDEX share_peer_untold ON share_peer (peer) WHERE offer = 1;

-- A sealed copy of a share at a contact.
CREATE TABLE sealed_copy (
  key INTEGER PRIMARY KEY,
  share INTEGER NOT NULL REFERENCES share (key) ON DELETE CASCADE,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  state INTEGER NOT NULL,    -- 1 asked, 2 sending, 3 kept, 4 refused
  held INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '',
  UNIQUE (share, peer)
) STRICT;

-- A copy that is wanted no longer, until its keeper has heard it.
CREATE TABLE unwanted_copy (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  id BLOB NOT NULL CHECK (length(id) = 32),
  UNIQUE (peer, id)
) STRICT;

CREATE TABLE transfer (
  key INTEGER PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
  place INTEGER NOT NULL,    -- the lower goes first
  name TEXT NOT NULL,
  kind INTEGER NOT NULL,
  size INTEGER NOT NULL,     -- 0: not known, unless `proven`
  list_size INTEGER NOT NULL,
  files INTEGER NOT NULL,
  folder BLOB NOT NULL,
  wanted TEXT NOT NULL,      -- JSON: where to ask, and how
  state INTEGER NOT NULL,    -- 1 goes on, 2 paused, 3 done, 4 failed
  sealed INTEGER NOT NULL,   -- 1: what is fetched is a sealed copy
  done INTEGER NOT NULL,
  twice INTEGER NOT NULL,
  spent_ms INTEGER NOT NULL,
  trouble TEXT,              -- JSON; NULL: none
  saved BLOB NOT NULL,
  started_ms INTEGER NOT NULL,
  finished_ms INTEGER NOT NULL,
  boot TEXT NOT NULL,        -- the start of this machine that `synced` is of
  synced BLOB NOT NULL,      -- units that are on the disk for certain
  sources TEXT NOT NULL      -- JSON: who has sent what
) STRICT;

-- A peer that has sent what is not the content.
CREATE TABLE liar (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  until_ms INTEGER NOT NULL,
  UNIQUE (peer, hash)
) STRICT;

CREATE TABLE file_offer (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  ticket TEXT NOT NULL,
  files INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  UNIQUE (peer, hash)
) STRICT;

-- A sealed copy that is kept here for a contact, and its parts.
CREATE TABLE kept (
  key INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 32),
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  size INTEGER NOT NULL,
  count INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  since_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_peer ON kept (peer);

CREATE TABLE kept_part (
  key INTEGER PRIMARY KEY,
  kept INTEGER NOT NULL REFERENCES kept (key) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  id BLOB NOT NULL CHECK (length(id) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32),
  size INTEGER NOT NULL,
  UNIQUE (kept, number)
) STRICT;
CREATE INDEX kept_part_id ON kept_part (id);
CREATE INDEX kept_part_hash ON kept_part (hash);
