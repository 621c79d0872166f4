@0xb7c1f0a2d3e4000b;
# Messages. The daemon stores what is sent before it says so, and sends it when the other side appears; a client may come and go
# and misses nothing: see `Chat.watch`.

using Types = import "types.capnp";
using Direction = import "call.capnp".Direction;

enum MessageState @0xb7c1f0a2d3e40140 {
  unspecified @0;
  queued @1;
  # Stored here, not yet with anybody else.
  sent @2;
  # Handed to the peer's machine, or to a contact that holds it sealed.
  delivered @3;
  # Stored at the peer; in a group: at every member. Incoming messages that are not read.
  read @4;
  failed @5;
  # Given up; `error` says why.
}

struct Attachment @0xb7c1f0a2d3e40141 {
  ticket @0 :Text;
  # As `files add` gives it.
  name @1 :Text;
  sizeBytes @2 :UInt64;
}

struct Reaction @0xb7c1f0a2d3e40142 {
  emoji @0 :Text;
  peers @1 :List(Text);
}

struct Message @0xb7c1f0a2d3e40143 {
  cursor @0 :UInt64;
  # Raised with every change of any message: a new one, a new state, an edit, a reaction.
  id @1 :Text;
  # 32 hexadecimal digits, chosen by the author.
  conversation @2 :Text;
  # The peer id of the other, or the group's id: 32 hexadecimal digits.
  author @3 :Text;
  # Peer id; of outgoing ones this node's.
  direction @4 :Direction;
  text @5 :Text;
  sentUnixMs @6 :Int64;
  # By the author's clock: for showing. The order is that of arrival.
  storedUnixMs @7 :Int64;
  # By this machine's clock.
  state @8 :MessageState;
  error @9 :Text;
  edited @10 :Bool;
  deleted @11 :Bool;
  # Its text is gone, its place stays.
  replyTo @12 :Text;
  # The id of another message; empty: none.
  replyText @13 :Text;
  # The beginning of that message, as far as it is known here.
  reactions @14 :List(Reaction);
  attachments @15 :List(Attachment);
  position @16 :UInt64;
  # Rises by arrival at this node; pages are cut by it.
}

struct Conversation @0xb7c1f0a2d3e40144 {
  id @0 :Text;
  title @1 :Text;
  group @2 :Bool;
  members @3 :List(Text);
  # Peer ids, this node's own among them in a group.
  unread @4 :UInt32;
  last :union { none @5 :Void; message @6 :Message; }
  # To show in a list: of its text the beginning, without attachments and reactions.
  retentionDays @7 :UInt32;
  # Older messages are deleted here; 0: kept.
  left @8 :Bool;
  # A group that this node has left or was removed from.
  cursor @9 :UInt64;
}

struct MessageOutcome @0xb7c1f0a2d3e40145 {
  union {
    unspecified @0 :Void;
    message @1 :Message;
    failed @2 :Types.Failure;
  }
}

struct ConversationOutcome @0xb7c1f0a2d3e40146 {
  union {
    unspecified @0 :Void;
    conversation @1 :Conversation;
    failed @2 :Types.Failure;
  }
}

struct MessagesOutcome @0xb7c1f0a2d3e40147 {
  union {
    unspecified @0 :Void;
    messages @1 :List(Message);
    failed @2 :Types.Failure;
  }
}

struct Draft @0xb7c1f0a2d3e40148 {
  text @0 :Text;
  # At most 16 KiB.
  replyTo @1 :Text;
  attachments @2 :List(Attachment);
  # At most 16.
}

interface Chat @0xb7c1f0a2d3e40149 {
  # `target` everywhere: a conversation's id or title, a contact's name, a peer id, or a ticket.

  conversations @0 () -> (conversations :List(Conversation));
  # The one with the newest message first; 2000 at most.

  watchConversations @1 (observer :ConversationsObserver) -> (handle :Types.Handle);
  # All now and after each change; a slow observer misses states in between, never the newest.

  send @2 (target :Text, draft :Draft) -> (outcome :MessageOutcome);
  # Returns when the message is stored here.

  edit @3 (id :Text, text :Text) -> (outcome :MessageOutcome);
  delete @4 (id :Text) -> (outcome :MessageOutcome);
  # Of one's own, for everybody; a peer that is offline is told later.

  react @5 (id :Text, emoji :Text, on :Bool) -> (outcome :MessageOutcome);

  markRead @6 (target :Text, position :UInt64) -> (outcome :Types.Outcome);
  # Everything of the conversation up to there; its authors are told.

  history @7 (target :Text, before :UInt64, beforeUnixMs :Int64, limit :UInt32) -> (outcome :MessagesOutcome);
  # The newest `limit` messages (at most 500; 0: 500) before that position (0: the end) and time (0: any), oldest first.
  # Fewer when they are long: an answer ends where it would grow too large. Only an empty answer is the beginning.

  search @8 (text :Text, target :Text, before :UInt64, limit :UInt32) -> (outcome :MessagesOutcome);
  # Messages with all these words, the last of which may be a beginning; newest first. An empty target: everywhere.
  # `before` and `limit` as above.

  watch @9 (after :UInt64, observer :MessagesObserver) -> (handle :Types.Handle);
  # Every message that has changed after that cursor, in the order of the changes, then each further change. A call of the observer must return
  # before the next is made: what it has not returned from comes again with the cursor it last saw. Nothing is skipped; of
  # several changes to one message the last is enough. A cursor that is higher than any that was given counts as 0: the
  # database is another.

  newGroup @10 (title :Text, members :List(Text)) -> (outcome :ConversationOutcome);
  # Of at most 32 members, all contacts.

  changeGroup @11 (target :Text, change :GroupChange) -> (outcome :ConversationOutcome);
  setRetention @12 (target :Text, days :UInt32) -> (outcome :ConversationOutcome);

  deleteConversation @13 (target :Text) -> (outcome :Types.Outcome);
  # Here only.

  export @14 (target :Text, sink :ExportSink) -> (outcome :Types.Outcome);
  # The whole conversation, oldest first. An empty target: every one.
}

struct GroupChange @0xb7c1f0a2d3e4014a {
  union {
    unspecified @0 :Void;
    title @1 :Text;
    add @2 :List(Text);
    remove @3 :List(Text);
    leave @4 :Void;
  }
}

interface ConversationsObserver @0xb7c1f0a2d3e4014b {
  changed @0 (conversations :List(Conversation)) -> ();
}

interface MessagesObserver @0xb7c1f0a2d3e4014c {
  messages @0 (messages :List(Message), cursor :UInt64) -> ();
  # At most 200 at once, in the order of their cursors. `cursor` is the one to ask again with.
}

interface ExportSink @0xb7c1f0a2d3e4014d {
  messages @0 (messages :List(Message)) -> stream;
  done @1 () -> ();
  # Not called when the export fails; its outcome says why.
}
