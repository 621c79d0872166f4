//! What can be typed after `files`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args, Subcommand, ValueEnum};
use kith_common::file::{ContentKind, FileHash, FileTarget, ShareScope};

use super::seconds;

#[derive(Debug, Args)]
pub struct FilesArguments {
    #[command(subcommand)]
    pub verb: Option<FilesVerb>,
}

#[derive(Debug, Args)]
pub struct Content {
    /// Its hash (64 hexadecimal digits) or ticket (kithfile:…)
    #[arg(value_name = "HASH|TICKET", value_parser = hash)]
    pub hash: FileHash,
}

#[derive(Debug, Args)]
pub struct TransferId {
    /// As `files transfers` shows it
    #[arg(value_name = "ID")]
    pub id: u32,
}

#[derive(Debug, Args)]
pub struct OfferId {
    /// As `files offers` shows it
    #[arg(value_name = "ID")]
    pub id: u32,
}

/// Where what is fetched goes.
#[derive(Debug, Args)]
pub struct Saving {
    /// Into this folder [default: the one of `files settings`]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Under this name [default: its own]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum FilesVerb {
    /// Share files and folders where they are; prints the hash and the ticket of each
    Add(AddArguments),
    /// Fetch by hash or ticket, verify, and save; the last line is the full path
    Get(GetArguments),
    /// The same as `files` alone: what you share, the newest first
    List {
        /// Only those with this text in name or path
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// One share in full: path, ticket, and who keeps copies
    Show(Content),
    /// Share it no longer; the file itself stays
    Remove(Content),
    /// What is being fetched, and what has been
    Transfers,
    /// Stop fetching for now; what is there stays
    Pause(TransferId),
    /// Go on with it
    Resume(TransferId),
    /// Fetch it before all others
    First(TransferId),
    /// Give it up and delete what is not whole; of one that is done, only the entry
    Cancel(TransferId),
    /// What others would like you to have
    Offers,
    /// Fetch what was offered
    Accept {
        #[command(flatten)]
        offer: OfferId,
        #[command(flatten)]
        saving: Saving,
    },
    /// Turn down what was offered
    Refuse(OfferId),
    /// Ask contacts to keep a sealed copy, which they cannot read, for when you are away
    #[command(arg_required_else_help = true)]
    Keep {
        #[command(flatten)]
        content: Content,
        #[arg(value_name = "CONTACT", required_unless_present = "nobody", conflicts_with = "nobody")]
        contacts: Vec<String>,
        /// Have all copies deleted
        #[arg(long)]
        nobody: bool,
    },
    /// The sealed copies that you keep for others
    Kept {
        /// Delete this one
        #[arg(long, value_name = "HASH", value_parser = hash)]
        drop: Option<FileHash>,
    },
    /// Folder, limits, and what contacts may do; with flags: change them
    Settings(SettingsArguments),
    /// Transfers, offers and uploads as they change
    Watch,
    /// Write what you share or have fetched to standard output
    Cat {
        #[command(flatten)]
        content: Content,
        /// From this byte on
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u64,
        /// So many bytes at most [default: to the end]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        length: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub struct AddArguments {
    /// `-`: what standard input says, which is then kept in the daemon's store
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Offer it to this contact, and share it with nobody else (what was shared with more before still is); may be repeated
    #[arg(long, value_name = "PEER")]
    pub to: Vec<String>,
    /// Who gets it on asking [default: peers with --to, otherwise anyone who has the hash]
    #[arg(long, value_enum, value_name = "SCOPE")]
    pub scope: Option<Scope>,
    /// What others see it called [default: as on the disk]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Keep a copy in the daemon's store, so that the file may be changed or moved
    #[arg(long)]
    pub copy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Whoever has the hash
    Anyone,
    /// Your contacts
    Contacts,
    /// Those named with --to
    Peers,
}

impl Scope {
    pub fn shared(self) -> ShareScope {
        match self {
            Self::Anyone => ShareScope::Anyone,
            Self::Contacts => ShareScope::Contacts,
            Self::Peers => ShareScope::Peers,
        }
    }
}

#[derive(Debug, Args)]
pub struct GetArguments {
    /// Its hash (64 hexadecimal digits) or ticket (kithfile:…)
    #[arg(value_name = "HASH|TICKET", value_parser = target)]
    pub target: String,
    #[command(flatten)]
    pub saving: Saving,
    /// Ask this peer first; may be repeated
    #[arg(long, value_name = "PEER")]
    pub from: Vec<String>,
    /// Ask nobody else
    #[arg(long, requires = "from")]
    pub only_from: bool,
    /// Stop waiting after S seconds in which nobody who has it is there; the transfer stays and goes on by itself
    #[arg(long, value_name = "S", default_value = "30", value_parser = seconds)]
    pub wait: Duration,
}

#[derive(Debug, Args)]
pub struct SettingsArguments {
    /// Where fetched files are saved; an empty text: your Downloads folder
    // The parser of paths takes no empty one.
    #[arg(long, value_name = "DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub folder: Option<PathBuf>,
    /// The most bytes a second that are fetched, like 500k or 10M; 0: without limit
    #[arg(long, value_name = "RATE", value_parser = bytes)]
    pub download: Option<u64>,
    /// The most bytes a second that are sent; 0: without limit
    #[arg(long, value_name = "RATE", value_parser = bytes)]
    pub upload: Option<u64>,
    /// The largest file that contacts with `files` trust `always` may send unasked, like 100M
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub unasked: Option<u64>,
    /// Of what kinds: image,video,audio,document,archive,other,folder
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = kind)]
    pub unasked_kinds: Option<Vec<ContentKind>>,
    /// How much each contact with `relay` trust `always` may keep here, sealed
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub copies: Option<u64>,
    /// How much the daemon keeps itself at most: copies of others and what clients sent to it
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub store: Option<u64>,
    /// Transfers at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub at_once: Option<u32>,
}

fn hash(text: &str) -> Result<FileHash, String> {
    match text.parse() {
        Ok(FileTarget::Hash(hash)) => Ok(hash),
        Ok(FileTarget::Ticket(ticket)) => Ok(ticket.hash),
        Err(error) => Err(error.to_string()),
    }
}

/// The daemon gets it as it was typed.
fn target(text: &str) -> Result<String, String> {
    hash(text).map(|_| text.trim().to_owned())
}

fn kind(text: &str) -> Result<ContentKind, String> {
    text.parse().map_err(|error| format!("{error}"))
}

/// `2000`, `500k`, `1.5M`, `10GB`, `4GiB`.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = "expected a number of bytes, like 2000, 500k, 1.5M or 10G";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1.0,
        "k" | "K" | "kB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        "T" | "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        _ => return Err(wrong.to_owned()),
    };
    let bytes = digits.parse::<f64>().ok().map(|number| (number * unit).round());
    // More than any disk has is a mistake.
    bytes.filter(|bytes| (0.0..=1e15).contains(bytes)).map(|bytes| bytes as u64).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn an_empty_text_is_a_folder_too_the_downloads_folder() {
        for arguments in [&["--folder", ""][..], &["--folder="]] {
            let typed = [&["kithctl", "files", "settings"], arguments].concat();
            let folder = match Cli::try_parse_from(typed).map(|cli| cli.command) {
                Ok(Command::Files(FilesArguments { verb: Some(FilesVerb::Settings(settings)) })) => settings.folder,
                _ => None,
            };
            assert_eq!(folder, Some(PathBuf::new()), "{arguments:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, size) in [
            ("0", 0),
            ("2000", 2000),
            ("500k", 500_000),
            ("500K", 500_000),
            ("1.5M", 1_500_000),
            ("10GB", 10_000_000_000),
            ("4GiB", 4 << 30),
            ("2T", 2_000_000_000_000),
            ("7B", 7),
        ] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "k", "-1", "1e99", "nan", "inf", "5X", "5iB", "5kk", "5 M", "é", "5é", "9999999999T"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ticket_names_its_content_as_well_as_a_hash_does() {
        assert_eq!(hash(&"AB".repeat(32)), Ok(FileHash::from_bytes([0xab; 32])));
        assert!(hash("kithfile:damaged").is_err_and(|error| error.contains("ticket")));
        assert!(target("me.jpg").is_err());
    }
}
