//! The screens. Each owns its messages, turns them into actions that the application carries out, and draws itself.

pub mod call;
pub mod chat;
pub mod devices;
pub mod diagnostics;
pub mod ended;
pub mod files;
pub mod home;
pub mod incoming;
pub mod network;
pub mod recent;
pub mod services;
pub mod sidebar;

use std::path::PathBuf;

use kith_common::call::CallKind;
use kith_common::chat::ConversationId;
use kith_common::ids::PeerId;

use crate::desktop::What;
use crate::link::{Errand, Job};

/// What the screens about the node want done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Start(Job, Errand),
    Cancel(Job),
    Copy(String),
    /// What is on the clipboard becomes the target to connect to.
    Paste,
    Call(PeerId, CallKind),
    /// The same, wherever somebody is to be found.
    Dial(String, CallKind),
    /// Shows what the way to this peer is like.
    Measure(PeerId),
    All(Vec<Wish>),
    /// The field with this name takes the keys.
    Focus(&'static str),
    /// A link, with the system's program for it.
    Open(String),
    /// What was chosen is to be so again next time.
    Remember,
    /// What is on the clipboard becomes the contact to add.
    PasteContact,
    /// What is on the clipboard becomes the file to share or to fetch.
    PasteFile,
    /// The desktop asks which files.
    Choose(What),
    /// The same, for a message of this conversation.
    Attach(ConversationId),
    /// The list with this name to so many pixels from its top.
    Scroll(&'static str, u32),
    /// A folder, with the desktop's program for it.
    Reveal(PathBuf),
    /// The ticket in this picture does.
    ReadPicture(PathBuf),
}
