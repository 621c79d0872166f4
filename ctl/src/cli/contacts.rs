//! What can be typed after `contacts` and `id`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kith_common::contact::{Right, Trust};

use super::Peer;

#[derive(Debug, Args)]
pub struct IdArguments {
    #[command(subcommand)]
    pub verb: Option<IdVerb>,
}

#[derive(Debug, Subcommand)]
pub enum IdVerb {
    /// The ticket as a picture for another's camera
    Qr {
        /// Write it into a new PNG instead, to be sent; `contacts add` reads it
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Seal identity, contacts, groups and settings into a new file, with a passphrase
    Export(Backup),
    /// Make this machine the home of the identity in such a file; only where none is
    Import(Backup),
}

#[derive(Debug, Args)]
pub struct Backup {
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the daemon keeps its data [default: as for kithd]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The daemon's settings [default: as for kithd]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ContactsArguments {
    /// Go on, and print each change
    #[arg(long)]
    pub watch: bool,
    #[command(subcommand)]
    pub verb: Option<ContactsVerb>,
}

#[derive(Debug, Subcommand)]
pub enum ContactsVerb {
    /// The same as `contacts` alone
    List,
    /// Add a peer, and ask it for the same as soon as it is reachable
    Add {
        /// A name, peer id, ticket (kith:…), multiaddr or IP address, or a picture of a ticket (.png, .jpg)
        #[arg(value_name = "PEER", required_unless_present = "qr", conflicts_with = "qr")]
        peer: Option<String>,
        /// A picture with the QR code of the ticket: a screenshot or a photo, whatever its name ends with
        #[arg(long, value_name = "PICTURE")]
        qr: Option<PathBuf>,
        /// What you call it [default: what it calls itself]
        #[arg(long, value_name = "N")]
        name: Option<String>,
        /// Goes with the request
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
    },
    /// Take a contact off the list; its messages stay
    Remove(Peer),
    /// Call a contact something else
    Rename {
        #[command(flatten)]
        peer: Peer,
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Write a note on a contact, which nobody else sees; an empty one is none
    Note {
        #[command(flatten)]
        peer: Peer,
        #[arg(value_name = "TEXT")]
        text: String,
    },
    /// What a contact may do: never, only after asking you, or always
    Trust {
        #[command(flatten)]
        peer: Peer,
        #[arg(value_enum, value_name = "never|ask|always")]
        trust: TrustWord,
        /// calls: ring here; files: be given files; relay: be relayed, and have sealed messages held for it
        #[arg(long = "for", value_enum, value_name = "WHAT", default_value = "calls")]
        right: RightWord,
    },
    /// Strangers who want to be contacts
    Requests,
    /// Let a stranger who asked be a contact
    Accept {
        #[command(flatten)]
        peer: Peer,
        /// What you call it [default: what it calls itself]
        #[arg(long, value_name = "N")]
        name: Option<String>,
    },
    /// Drop a request; the stranger is told nothing
    Refuse(Peer),
    /// The number that must be the same on both machines
    Verify {
        #[command(flatten)]
        peer: Peer,
        /// You have compared it, and it is the same
        #[arg(long)]
        yes: bool,
    },
    /// Tell contacts that you are away
    Away,
    /// Tell contacts that you are there
    Online,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TrustWord {
    Never,
    Ask,
    Always,
}

impl TrustWord {
    pub fn trust(self) -> Trust {
        match self {
            Self::Never => Trust::Never,
            Self::Ask => Trust::Ask,
            Self::Always => Trust::Always,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RightWord {
    Calls,
    Files,
    Relay,
}

impl RightWord {
    pub fn right(self) -> Right {
        match self {
            Self::Calls => Right::Calls,
            Self::Files => Right::Files,
            Self::Relay => Right::Relay,
        }
    }
}
