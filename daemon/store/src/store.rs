use kith_common::chat::{Before, Conversation, ConversationId, GroupId, Message, MessageId};
use kith_common::contact::ContactRequest;
use kith_common::ids::PeerId;

use crate::*;

/// The database as one thread sees it.
pub struct Store;

#[rustfmt::skip]
impl Store {
    pub fn own(&self) -> PeerId { todo!() }
    pub fn contacts(&self) -> Result<Vec<ContactRow>> { todo!() }
    pub fn contact(&self, peer: PeerId) -> Result<Option<ContactRow>> { todo!() }
    pub fn put_contact(&mut self, row: &ContactRow) -> Result<()> { todo!() }
    pub fn remove_contact(&mut self, peer: PeerId) -> Result<bool> { todo!() }
    pub fn requests(&self) -> Result<Vec<ContactRequest>> { todo!() }
    pub fn put_request(&mut self, request: &ContactRequest, max: usize) -> Result<bool> { todo!() }
    pub fn take_request(&mut self, peer: PeerId) -> Result<Option<ContactRequest>> { todo!() }
    pub fn refuse(&mut self, peer: PeerId, until_unix_ms: i64) -> Result<()> { todo!() }
    pub fn is_refused(&self, peer: PeerId, now_unix_ms: i64) -> Result<bool> { todo!() }
    pub fn setting(&self, key: &str) -> Result<Option<String>> { todo!() }
    pub fn set_setting(&mut self, key: &str, value: &str) -> Result<()> { todo!() }
    pub fn say(&mut self, conversation: ConversationId, id: MessageId, body: Body, now_unix_ms: i64) -> Result<(Entry, Option<Message>)> { todo!() }
    pub fn hear(&mut self, author: PeerId, entries: Vec<Entry>, now_unix_ms: i64) -> Result<Heard> { todo!() }
    pub fn entries_for(&self, peer: PeerId, place: Place, after: u64, limit: usize) -> Result<Vec<Entry>> { todo!() }
    pub fn owed(&self, peer: PeerId) -> Result<Vec<(Place, u64, u64)>> { todo!() }
    pub fn owed_peers(&self) -> Result<Vec<PeerId>> { todo!() }
    pub fn handed(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> { todo!() }
    pub fn peer_stored(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> { todo!() }
    pub fn peer_read(&mut self, peer: PeerId, place: Place, up_to: u64) -> Result<()> { todo!() }
    pub fn give_up(&mut self, peer: PeerId, place: Place, from: u64, error: &str) -> Result<()> { todo!() }
    pub fn heard_marks(&self, peer: PeerId) -> Result<Vec<(Place, u64)>> { todo!() }
    pub fn read_marks(&self, peer: PeerId) -> Result<Vec<(Place, u64)>> { todo!() }
    pub fn mark_read(&mut self, conversation: ConversationId, position: u64) -> Result<Vec<(PeerId, Place, u64)>> { todo!() }
    pub fn new_group(&mut self, id: GroupId, title: &str, members: &[PeerId], now_unix_ms: i64) -> Result<Conversation> { todo!() }
    pub fn change_group(&mut self, id: GroupId, change: StoreGroupChange, now_unix_ms: i64) -> Result<Conversation> { todo!() }
    pub fn conversations(&self) -> Result<Vec<Conversation>> { todo!() }
    pub fn conversation(&self, id: ConversationId) -> Result<Option<Conversation>> { todo!() }
    pub fn message(&self, id: MessageId) -> Result<Option<Message>> { todo!() }
    pub fn history(&self, conversation: ConversationId, before: Before, limit: u32) -> Result<Vec<Message>> { todo!() }
    pub fn search(&self, text: &str, conversation: Option<ConversationId>, before_position: u64, limit: u32) -> Result<Vec<Message>> { todo!() }
    pub fn changed_after(&self, cursor: u64, limit: u32) -> Result<(Vec<Message>, u64)> { todo!() }
    pub fn set_retention(&mut self, conversation: ConversationId, days: u32) -> Result<Conversation> { todo!() }
    pub fn expire(&mut self, now_unix_ms: i64) -> Result<u64> { todo!() }
    pub fn delete_conversation(&mut self, conversation: ConversationId) -> Result<bool> { todo!() }
    pub fn hold(&mut self, sealed: &Sealed, limits: HoldLimits) -> Result<bool> { todo!() }
    pub fn held_for(&self, recipient: PeerId) -> Result<Vec<Sealed>> { todo!() }
    pub fn drop_held(&mut self, id: [u8; 16]) -> Result<()> { todo!() }
    pub fn expire_held(&mut self, now_unix_ms: i64) -> Result<u64> { todo!() }
    pub fn secret(&self, key: &str) -> Result<Option<Vec<u8>>> { todo!() }
    pub fn set_secret(&mut self, key: &str, value: &[u8]) -> Result<()> { todo!() }
    pub fn log_call(&mut self, record: &CallRecord) -> Result<()> { todo!() }
    pub fn call_log(&self, before_unix_ms: i64, limit: u32) -> Result<Vec<CallRecord>> { todo!() }
}
