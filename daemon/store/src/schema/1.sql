-- Peers are the 32 bytes of their public keys, ids 16 bytes, times Unix milliseconds. Every table has a rowid, so that a damaged
-- file can be read piece by piece.

CREATE TABLE counter (
  key INTEGER PRIMARY KEY CHECK (key = 0),
  cursor INTEGER NOT NULL,   -- raised by every change of a message or conversation; a new message's is its position as well
  indexed INTEGER NOT NULL   -- messages up to this position are in the index of words
) STRICT;
INSERT INTO counter VALUES (0, 0, 0);

CREATE TABLE setting (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, value TEXT NOT NULL) STRICT;
CREATE TABLE secret (key INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, value BLOB NOT NULL) STRICT;

CREATE TABLE contact (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL UNIQUE CHECK (length(peer) = 32),
  name TEXT NOT NULL,
  own_name TEXT NOT NULL,
  note TEXT NOT NULL,
  colour INTEGER NOT NULL,
  calls INTEGER NOT NULL,    -- 1 never, 2 ask, 3 always; so the two below
  files INTEGER NOT NULL,
  relay INTEGER NOT NULL,
  verified INTEGER NOT NULL,
  mutual INTEGER NOT NULL,
  addresses TEXT NOT NULL,   -- JSON
  last_seen_ms INTEGER NOT NULL,
  added_ms INTEGER NOT NULL,
  asked INTEGER NOT NULL,
  request_text TEXT NOT NULL
) STRICT;

CREATE TABLE request (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL UNIQUE CHECK (length(peer) = 32),
  name TEXT NOT NULL,
  text TEXT NOT NULL,
  received_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE refused (
  key INTEGER PRIMARY KEY,
  peer BLOB NOT NULL UNIQUE CHECK (length(peer) = 32),
  until_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE conversation (
  key INTEGER PRIMARY KEY,
  peer BLOB UNIQUE CHECK (length(peer) = 32),    -- of a direct one
  grp BLOB UNIQUE CHECK (length(grp) = 16),      -- of a group
  maker BLOB CHECK (length(maker) = 32),         -- of a group: who alone can change it
  title TEXT NOT NULL DEFAULT '',
  cursor INTEGER NOT NULL DEFAULT 0,
  said INTEGER NOT NULL DEFAULT 0,       -- the number of this node's newest entry
  sent_to INTEGER NOT NULL DEFAULT 0,    -- own messages up to these numbers have these states or better
  delivered_to INTEGER NOT NULL DEFAULT 0,
  read_to INTEGER NOT NULL DEFAULT 0,
  seen INTEGER NOT NULL DEFAULT 0,       -- a person here has read up to this position
  unread INTEGER NOT NULL DEFAULT 0,
  retention_days INTEGER NOT NULL DEFAULT 0,
  gone INTEGER NOT NULL DEFAULT 0,       -- of a group: 1 this node was removed, 2 it has left
  hidden INTEGER NOT NULL DEFAULT 0,     -- deleted here; the numbers above must outlive that
  erased_to INTEGER NOT NULL DEFAULT 0,  -- messages up to this position are deleted, and their rows go bit by bit
  CHECK ((peer IS NULL) <> (grp IS NULL))
) STRICT;

-- One peer in one conversation.
CREATE TABLE link (
  key INTEGER PRIMARY KEY,
  conversation INTEGER NOT NULL REFERENCES conversation (key) ON DELETE CASCADE,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  member INTEGER NOT NULL DEFAULT 1,
  first INTEGER NOT NULL DEFAULT 1,      -- of this node's entries it gets those from here
  last INTEGER,                          -- to here; NULL: to the end
  handed INTEGER NOT NULL DEFAULT 0,     -- it was given them up to here
  stored INTEGER NOT NULL DEFAULT 0,     -- has them
  read INTEGER NOT NULL DEFAULT 0,       -- a person there has read them
  given_up INTEGER NOT NULL DEFAULT 0,   -- it will not take them up to here, unless asked again
  heard INTEGER NOT NULL DEFAULT 0,      -- its own entries are stored here up to this number
  seen INTEGER NOT NULL DEFAULT 0,       -- and were read by a person here up to this one
  UNIQUE (conversation, peer)
) STRICT;
CREATE INDEX link_peer ON link (peer);

CREATE TABLE message (
  position INTEGER PRIMARY KEY,
  cursor INTEGER NOT NULL,
  conversation INTEGER NOT NULL REFERENCES conversation (key) ON DELETE CASCADE,
  id BLOB NOT NULL CHECK (length(id) = 16),
  author BLOB CHECK (length(author) = 32),       -- NULL: this node
  sequence INTEGER NOT NULL, -- the author's number of the entry that made it
  sent_ms INTEGER NOT NULL,
  stored_ms INTEGER NOT NULL,
  state INTEGER NOT NULL,    -- 1 queued, 2 sent, 3 failed, 4 delivered, 5 read: it only rises
  error TEXT NOT NULL DEFAULT '',
  edited INTEGER NOT NULL DEFAULT 0,
  deleted INTEGER NOT NULL DEFAULT 0,
  reply_to BLOB,
  text TEXT NOT NULL,
  attachments TEXT           -- JSON; NULL: none
) STRICT;
CREATE UNIQUE INDEX message_cursor ON message (cursor);
CREATE INDEX message_id ON message (id);
CREATE INDEX message_conversation ON message (conversation);
CREATE INDEX message_time ON message (conversation, stored_ms);
CREATE INDEX message_own ON message (conversation, sequence) WHERE author IS NULL;

CREATE TABLE reaction (
  key INTEGER PRIMARY KEY,
  position INTEGER NOT NULL REFERENCES message (position) ON DELETE CASCADE,
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  emoji TEXT NOT NULL,
  UNIQUE (position, peer, emoji)
) STRICT;

-- This node's entries that are no messages, until everybody has them. Those that are messages are made from their rows.
CREATE TABLE entry (
  key INTEGER PRIMARY KEY,
  conversation INTEGER NOT NULL REFERENCES conversation (key) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  id BLOB NOT NULL CHECK (length(id) = 16),
  sent_ms INTEGER NOT NULL,
  body TEXT NOT NULL,        -- JSON
  UNIQUE (conversation, sequence)
) STRICT;

CREATE TABLE held (
  key INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  author BLOB NOT NULL CHECK (length(author) = 32),
  recipient BLOB NOT NULL CHECK (length(recipient) = 32),
  expires_ms INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX held_recipient ON held (recipient);

CREATE TABLE call (
  key INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
  peer BLOB NOT NULL CHECK (length(peer) = 32),
  direction TEXT NOT NULL,
  kind TEXT NOT NULL,
  started_ms INTEGER NOT NULL,
  ended_ms INTEGER NOT NULL,
  reason TEXT NOT NULL,
  failed_stage TEXT NOT NULL,
  detail TEXT NOT NULL,
  quality TEXT NOT NULL
) STRICT;
CREATE INDEX call_started ON call (started_ms);

-- What the index of words knows of a message: its text, the names of its attachments, and its conversation as a word that nobody
-- types (a private-use character and the number), so that a search in one conversation does not walk through all the others.
CREATE VIEW message_words (position, text) AS
  SELECT position, CASE WHEN deleted THEN '' ELSE
    text || coalesce((SELECT ' ' || group_concat(value ->> 'name', ' ') FROM json_each(attachments)), '')
    || ' ' || char(57344) || conversation END
  FROM message;
CREATE VIRTUAL TABLE words USING fts5 (
  text, content = 'message_words', content_rowid = 'position', columnsize = 0,
  tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3 4 5 6'
);
-- Deleted words leave the index at once, not with some later merge.
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
-- Its pieces are merged while nothing else is to be done, not while somebody waits for an answer.
INSERT INTO words (words, rank) VALUES ('automerge', 0);
