@0xb7c1f0a2d3e40007;
# What two daemons say to each other: structs only, one message after another on a libp2p stream that Noise or TLS has
# authenticated, each preceded by its length (32 bit, big endian, at most 64 KiB). Version 1 of "/kith/call/1" and "/kith/hello/1".
# A message of an unknown kind is ignored; one that does not parse ends the stream.

struct Hello @0xb7c1f0a2d3e40080 {
  # Protocol "/kith/hello/1": each side sends one after connecting, and again when something in it changes.
  version @0 :UInt16;
  name @1 :Text;
  # At most 64 characters.
  agent @2 :Text;
  videoPort @3 :UInt16;
  # UDP ports of the media sockets, which answer STUN Binding requests from connected peers; 0 when closed.
  audioPort @4 :UInt16;
  observedAddress @5 :Text;
  # "ip:port" that the sender sees the receiver at.
  services @6 :List(Text);
  # What the sender offers now: "video audio chat files broadcast", those that listen.
  instance @7 :UInt64;
  # Drawn when the sender started ..
  sequence @8 :UInt64;
  # .. and counted since: of two hellos of one instance that overtake each other the later is true.
}

enum Kind @0xb7c1f0a2d3e40081 { unspecified @0; voice @1; video @2; }
enum Switch @0xb7c1f0a2d3e40082 { unspecified @0; on @1; off @2; }

struct TransportParams @0xb7c1f0a2d3e40083 {
  # One side's end of the media path. The fingerprint is bound to the peer id by the stream that carries it.
  iceUfrag @0 :Text;
  icePwd @1 :Text;
  fingerprintAlgorithm @2 :Text;
  fingerprint @3 :Data;
  candidates @4 :List(Candidate);
  tunnel @5 :Bool;
  # The sender is ready to carry media over a "/kith/tunnel/1" stream.
}

enum CandidateKind @0xb7c1f0a2d3e40084 { unspecified @0; host @1; observed @2; relayed @3; }

struct Candidate @0xb7c1f0a2d3e40085 {
  kind @0 :CandidateKind;
  address @1 :Text;
  # "ip:port"
}

struct Format @0xb7c1f0a2d3e40086 {
  width @0 :UInt16;
  height @1 :UInt16;
  framesPerSecondMilli @2 :UInt32;
}

struct CallMessage @0xb7c1f0a2d3e40087 {
  callId @0 :Data;
  # 16 bytes, chosen by the caller.
  union {
    unspecified @1 :Void;
    offer @2 :Offer;
    ringing @3 :Void;
    accept @4 :Accept;
    decline @5 :Void;
    busy @6 :Void;
    blocked @7 :Void;
    cancel @8 :Void;
    # By the caller before an answer.
    hangUp @9 :HangUp;
    mediaState @10 :MediaState;
    candidate @11 :Candidate;
    clockPing @12 :ClockPing;
    clockPong @13 :ClockPong;
    timedOut @14 :Void;
    # By the callee: nobody answered.
    failed @15 :Text;
    # The sender could not go on; a sentence for the user.
  }
}

struct Offer @0xb7c1f0a2d3e40088 {
  version @0 :UInt16;
  kind @1 :Kind;
  transport @2 :TransportParams;
  media @3 :MediaState;
}

struct Accept @0xb7c1f0a2d3e40089 {
  version @0 :UInt16;
  transport @1 :TransportParams;
  media @2 :MediaState;
}

struct HangUp @0xb7c1f0a2d3e4008a {
  reason @0 :Text;
}

struct MediaState @0xb7c1f0a2d3e4008b {
  # What the sender is sending. Sent with offer and accept, at each change, and every second for the counters.
  microphone @0 :Switch;
  camera @1 :Switch;
  format @2 :Format;
  # Of the source, before any step down.
  videoDue @3 :UInt64;
  # Pictures that the source has captured so far.
}

struct ClockPing @0xb7c1f0a2d3e4008c {
  sentMicros @0 :UInt64;
  # CLOCK_MONOTONIC of the sender.
}

struct ClockPong @0xb7c1f0a2d3e4008d {
  pingSentMicros @0 :UInt64;
  receivedMicros @1 :UInt64;
  sentMicros @2 :UInt64;
}

struct AddressRecord @0xb7c1f0a2d3e40090 {
  # A value of the DHT "/kith/kad/1": where a node is reached, said by itself. The key is the 38 bytes of its peer id.
  # At most 4 KiB. Who stores or uses one checks the signature, and that it is neither expired nor issued in the future.
  body @0 :Data;
  # An AddressRecordBody, as a message of its own.
  signature @1 :Data;
  # Ed25519 by the key that the peer id is, of "kith-address-record-1:" and the body.
}

struct AddressRecordBody @0xb7c1f0a2d3e40091 {
  issuedUnixMs @0 :Int64;
  # Of two records the later stands.
  expiresUnixMs @1 :Int64;
  # At most a day after it was issued.
  instance @2 :UInt64;
  # Chosen by the node at each start: another one's record under the own key means that a second node has the same identity.
  addresses @3 :List(Data);
  # Binary multiaddrs, 16 at most, without the peer id at the end.
}

struct ContactMessage @0xb7c1f0a2d3e400a0 {
  # Protocol "/kith/contact/1": one stream in each direction of interest; whoever has the peer among its contacts, or wants to, opens it.
  union {
    unspecified @0 :Void;
    request @1 :ContactRequest;
    # The sender has the receiver among its contacts, or wants to.
    presence @2 :ContactPresence;
    # To contacts only, and only to those who have the sender among theirs: who have said `request`, or `heard` with true.
    removed @3 :Void;
    # The sender has the receiver among its contacts no longer.
    heard @4 :Bool;
    # The answer to a `request`, on the same stream: it has been read. True: the sender of this has the other among its contacts.
    # False says that it has not, and nothing of what becomes of the request.
  }
}

struct ContactRequest @0xb7c1f0a2d3e400a1 {
  version @0 :UInt16;
  name @1 :Text;
  text @2 :Text;
  # At most 280 characters.
  again @3 :Bool;
  # The sender believes that the receiver has it among its contacts already. If not, nobody is asked: the answer says so.
}

struct ContactPresence @0xb7c1f0a2d3e400a2 {
  presence @0 :UInt16;
  # As in contact.capnp: 2 online, 3 away, 4 in a call.
}

struct ChatFrame @0xb7c1f0a2d3e400a3 {
  # Protocol "/kith/chat/1": one stream between two nodes, opened by the one with the smaller peer id, or by the other when it has something to say
  # and no stream has come within a second; of two streams the newer stands. Both sides say `hello` first.
  union {
    unspecified @0 :Void;
    hello @1 :ChatHello;
    entry @2 :ChatEntry;
    stored @3 :ChatMark;
    # The receiver has every entry of the other in that conversation up to there on its disk.
    read @4 :ChatMark;
    # A person has read them.
    refused @5 :ChatRefusal;
    keys @6 :List(Data);
    # One-time public keys (Olm, Curve25519), for messages that others hold while the sender of this is away.
    hold @7 :SealedMessage;
    # Please keep this for somebody.
    held @8 :Data;
    # The id of a sealed message that the sender of this keeps, or has delivered.
    sealed @9 :SealedMessage;
    # Kept for you; answered by `held`.
  }
}

struct ChatHello @0xb7c1f0a2d3e400a4 {
  version @0 :UInt16;
  stored @1 :List(ChatMark);
  # What the sender has of the receiver's entries, by conversation: the receiver goes on from there.
  identityKey @2 :Data;
  # Olm: Curve25519, 32 bytes.
}

struct ChatMark @0xb7c1f0a2d3e400a5 {
  conversation @0 :Data;
  # Empty: the two of them. 16 bytes: a group.
  sequence @1 :UInt64;
}

struct ChatEntry @0xb7c1f0a2d3e400a6 {
  # What an author says in a conversation: numbered from 1 without gaps, the same for all members of a group. At most 64 KiB.
  conversation @0 :Data;
  sequence @1 :UInt64;
  id @2 :Data;
  # 16 bytes; of the message that this makes or changes.
  sentUnixMs @3 :Int64;
  union {
    unspecified @4 :Void;
    text @5 :ChatText;
    edit @6 :Text;
    delete @7 :Void;
    react @8 :ChatReaction;
    group @9 :ChatGroup;
    leave @10 :Void;
  }
}

struct ChatText @0xb7c1f0a2d3e400a7 {
  text @0 :Text;
  replyTo @1 :Data;
  attachments @2 :List(ChatAttachment);
}

struct ChatAttachment @0xb7c1f0a2d3e400a8 {
  ticket @0 :Text;
  name @1 :Text;
  sizeBytes @2 :UInt64;
}

struct ChatReaction @0xb7c1f0a2d3e400a9 {
  emoji @0 :Text;
  on @1 :Bool;
}

struct ChatGroup @0xb7c1f0a2d3e400aa {
  # The group as its author wants it from here on; the id of the entry is of no message. Sent by the one who made the group only.
  title @0 :Text;
  members @1 :List(ChatMember);
}

struct ChatMember @0xb7c1f0a2d3e400ab {
  peer @0 :Data;
  # The 38 bytes of its peer id.
  from @1 :UInt64;
  # The first number of the author's entries that it gets.
}

struct ChatRefusal @0xb7c1f0a2d3e400ac {
  conversation @0 :Data;
  sequence @1 :UInt64;
  # From there on.
  reason @2 :UInt16;
  # 1 not a contact, 2 blocked, 3 too large, 4 not a member, 5 no room on the disk, 6 the service is stopped,
  # 7 of a kind that this version does not know
}

struct SealedMessage @0xb7c1f0a2d3e400ad {
  id @0 :Data;
  # 16 bytes
  author @1 :Data;
  recipient @2 :Data;
  # 38 bytes each
  expiresUnixMs @3 :Int64;
  # At most a fortnight ahead.
  kind @4 :UInt8;
  # Olm: 0 pre-key message, 1 message.
  body @5 :Data;
  # A ChatEntry, encrypted for the recipient. At most 64 KiB.
}

struct FileFrame @0xb7c1f0a2d3e400b0 {
  # Protocol "/kith/files/1": whoever wants something opens a stream and asks; the other side answers each question once, in their order.
  # A side opens as many streams as it needs, a few. Hashes and ids of copies have 32 bytes.
  union {
    unspecified @0 :Void;
    have @1 :List(FileQuestion);
    # At most 32.
    haveReply @2 :List(FileAnswer);
    # In the order of the questions.
    get @3 :FileGet;
    data @4 :FileData;
    # Followed on the stream by `encodedBytes` bytes that are no frame.
    cancel @5 :UInt32;
    # The id of a `get` that need not be answered with bytes any more. It has no answer of its own.
    offer @6 :FileOffer;
    offerReply @7 :FileVerdict;
    keep @8 :FileKeep;
    keepReply @9 :FileVerdict;
    drop @10 :Data;
    # The id of a copy that the sender of this has asked to be kept, and wants kept no longer. Answered by `dropped`.
    dropped @11 :Void;
    pace @12 :UInt64;
    # Bytes a second that the receiver of this is to send on this stream at the most, from now on; 0: as fast as it can. It has no answer.
  }
}

struct FileQuestion @0xb7c1f0a2d3e400b1 {
  hash @0 :Data;
  # Empty: only copies are asked for.
  copy @1 :Data;
  # The id of its sealed copies: BLAKE3 in key derivation mode, context "kith sealed copy id 1", of the ticket's key and the hash. Who knows it
  # has the ticket. Empty: not known.
}

struct FileAnswer @0xb7c1f0a2d3e400b2 {
  status @0 :UInt16;
  # 1 here is all of it, 2 not found, 3 not allowed, 6 changed since it was shared. Who has no ticket is never told 3 or 6, but 2.
  kind @1 :UInt16;
  # 1 file, 2 folder
  sizeBytes @2 :UInt64;
  # Of a folder: of all its files.
  listBytes @3 :UInt64;
  # Of a folder: of its list of files, which is what the hash is of. Otherwise 0.
  files @4 :UInt32;
  name @5 :Text;
  copyHash @6 :Data;
  # Of the sealed copy that is here. Empty: there is none.
  copyBytes @7 :UInt64;
}

struct FileGet @0xb7c1f0a2d3e400b3 {
  id @0 :UInt32;
  # Chosen by who asks; rises.
  hash @1 :Data;
  # Of a file, of a file in a folder, or of a folder's list.
  copy @2 :Bool;
  # `hash` is the id of a sealed copy, and the bytes are those of the copy.
  sizeBytes @3 :UInt64;
  # Of the whole, as the one who asks knows it.
  start @4 :UInt64;
  # A multiple of 16 KiB.
  lengthBytes @5 :UInt32;
  # At most 4 MiB.
}

struct FileData @0xb7c1f0a2d3e400b4 {
  id @0 :UInt32;
  status @1 :UInt16;
  # 1 ok, 2 not found, 3 not allowed, 4 busy: ask again after `retryMs`, 5 this range is not here, 6 changed since it was shared, 7 cancelled
  encodedBytes @2 :UInt32;
  # The range with its part of the hash tree: pre-order, groups of 16 KiB (bao). With status 1 only.
  retryMs @3 :UInt32;
  calling @4 :Bool;
  # The sender is in a call: please keep little under way.
}

struct FileOffer @0xb7c1f0a2d3e400b5 {
  ticket @0 :Text;
  # "kithfile:…"; its peer is the sender.
  files @1 :UInt32;
}

struct FileVerdict @0xb7c1f0a2d3e400b6 {
  status @0 :UInt16;
  # 1 noted: of an offer, a person will decide; of `keep`, the copies of the list that are named in it are known. 2 agreed: an offered file is
  # being fetched; a copy is kept or being fetched, of `keep`. 3 refused. 4 send the list: of `keep`.
  reason @1 :Text;
  # A sentence, when refused.
  heldBytes @2 :UInt64;
  # Of `keep`: what is here of the copy, all its parts together.
}

struct FileKeep @0xb7c1f0a2d3e400b7 {
  # Please keep a sealed copy. First without parts; when the answer is 4, again with all of them, several a frame; then the receiver fetches them
  # from the sender with `get`. The same again asks how far it is.
  id @0 :Data;
  # That of the first part.
  totalBytes @1 :UInt64;
  count @2 :UInt32;
  # Of all parts: 1 for a file, for a folder its list and each file.
  first @3 :UInt32;
  # The number of the first part in this frame.
  parts @4 :List(FileCopyPart);
}

struct FileCopyPart @0xb7c1f0a2d3e400b8 {
  id @0 :Data;
  hash @1 :Data;
  # Of the encrypted bytes.
  sizeBytes @2 :UInt64;
  # Of the encrypted bytes.
}
