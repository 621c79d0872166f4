//! What can be typed after `chat`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kith_common::chat::{Before, MessageId};

use crate::when::parse;

#[derive(Debug, Args)]
pub struct ChatArguments {
    #[command(subcommand)]
    pub verb: Option<ChatVerb>,
}

/// Where messages belong.
#[derive(Debug, Args)]
pub struct Place {
    /// A contact's name, a peer id, a ticket, or a group's name or id
    #[arg(value_name = "PEER")]
    pub place: String,
}

#[derive(Debug, Args)]
pub struct Group {
    /// The group's name or id
    #[arg(value_name = "GROUP")]
    pub group: String,
}

#[derive(Debug, Subcommand)]
pub enum ChatVerb {
    /// The same as `chat` alone: conversations, with what is unread in each
    List,
    /// Store a message; it goes out as soon as the other side is there
    Send {
        #[command(flatten)]
        place: Place,
        /// `-`: what standard input says
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
        /// The message that this one answers
        #[arg(long, value_name = "ID")]
        reply: Option<MessageId>,
        /// A file, by its ticket, and what to call it
        #[arg(long, value_name = "TICKET[=NAME]")]
        attach: Vec<String>,
    },
    /// The newest messages of a conversation, the newest last
    History {
        #[command(flatten)]
        place: Place,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Only those before: a time like 2026-03-01T12:00:00Z, or a `position` as JSON shows it
        #[arg(long, value_name = "T", value_parser = before)]
        before: Option<Before>,
    },
    /// Messages with all these words, the last of which may be a beginning; the newest first
    Search {
        #[arg(value_name = "TEXT")]
        text: String,
        /// Only in this conversation
        #[arg(long = "in", value_name = "PEER")]
        place: Option<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Each message that comes or changes, across restarts of the daemon
    Watch {
        /// Everything that has changed since that `cursor` first [default: from now on]
        #[arg(long, value_name = "CURSOR")]
        after: Option<u64>,
    },
    /// Give a message of yours another text, for everybody
    Edit {
        #[arg(value_name = "ID")]
        id: MessageId,
        /// `-`: what standard input says
        #[arg(value_name = "TEXT", allow_hyphen_values = true)]
        text: String,
    },
    /// Delete a message of yours, for everybody
    Delete {
        #[arg(value_name = "ID")]
        id: MessageId,
    },
    /// Put an emoji to a message
    React {
        #[arg(value_name = "ID")]
        id: MessageId,
        #[arg(value_name = "EMOJI")]
        emoji: String,
        /// Take it away again
        #[arg(long)]
        off: bool,
    },
    /// Everything in a conversation has been read; its authors are told
    Read(Place),
    /// Conversations of several
    #[command(subcommand)]
    Group(GroupVerb),
    /// Delete messages, and calls with that person from the log, here once they are so old
    Retention {
        #[command(flatten)]
        place: Place,
        /// 0: keep them
        #[arg(value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=36_500))]
        days: u32,
    },
    /// A whole conversation as JSON lines, the oldest message first
    #[command(arg_required_else_help = true)]
    Export {
        #[arg(value_name = "PEER", required_unless_present = "all", conflicts_with = "all")]
        place: Option<String>,
        /// Every conversation
        #[arg(long)]
        all: bool,
        /// Into a new file [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Delete a conversation, here only
    Forget(Place),
}

#[derive(Debug, Subcommand)]
pub enum GroupVerb {
    /// Of contacts; 32 with yourself at most
    New {
        #[arg(value_name = "NAME")]
        name: String,
        #[arg(value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Take contacts in; they see what is said from then on
    Add {
        #[command(flatten)]
        group: Group,
        #[arg(value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Put members out
    Remove {
        #[command(flatten)]
        group: Group,
        #[arg(value_name = "PEER", required = true)]
        peers: Vec<String>,
    },
    /// Get no more of it; what is there stays
    Leave(Group),
    /// Give it another name, for everybody
    Rename {
        #[command(flatten)]
        group: Group,
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) fn before(text: &str) -> Result<Before, String> {
    if let Ok(position) = text.parse() {
        return Ok(Before { position, unix_ms: 0 });
    }
    let unix_ms =
        parse(text).ok_or("expected a time like 2026-03-01T12:00:00Z, a day like 2026-03-01, or a position")?;
    Ok(Before { position: 0, unix_ms })
}
