//! What a node remembers: contacts, messages, calls, in SQLite.
