@0xb7c1f0a2d3e4000c;
# Files, by content: what this node shares, what it fetches, what others offer it, and the sealed copies that contacts keep.
# A file is named by its hash, a folder by the hash of its list of files; every byte is verified against it as it arrives.

using Types = import "types.capnp";
using Path = import "peer.capnp".Path;

enum FileKind @0xb7c1f0a2d3e40160 { unspecified @0; file @1; folder @2; }

enum ShareScope @0xb7c1f0a2d3e40161 {
  # Who gets the content on asking.
  unspecified @0;
  anyone @1;
  # Whoever has the hash.
  contacts @2;
  peers @3;
  # Those named in the share.
}

enum ShareState @0xb7c1f0a2d3e40162 {
  unspecified @0;
  available @1;
  changed @2;
  # The file on the disk is not what was shared any more: nothing of it is sent. Adding it again shares the new content.
  missing @3;
}

struct SealedCopy @0xb7c1f0a2d3e40163 {
  # Of a share, at a contact that has been asked to keep it. Encrypted by the owner; who keeps it cannot read it.
  peer @0 :Text;
  name @1 :Text;
  heldBytes @2 :UInt64;
  # Of the share's size: equal when all of it is there.
  state @3 :CopyState;
  reason @4 :Text;
  # Why it was refused, a sentence.
}

enum CopyState @0xb7c1f0a2d3e40164 {
  unspecified @0;
  asked @1;
  # Not answered yet: the contact is away.
  sending @2;
  kept @3;
  refused @4;
}

struct Share @0xb7c1f0a2d3e40165 {
  hash @0 :Text;
  # BLAKE3, 64 hexadecimal digits.
  ticket @1 :Text;
  # "kithfile:…": hash, name, size, this node's addresses, and the key of the sealed copies.
  name @2 :Text;
  kind @3 :FileKind;
  sizeBytes @4 :UInt64;
  files @5 :UInt32;
  # In a folder; 1 otherwise.
  scope @6 :ShareScope;
  peers @7 :List(Text);
  # Peer ids; of scope `peers` only.
  state @8 :ShareState;
  path @9 :Text;
  # Where it is on the daemon's machine.
  addedUnixMs @10 :Int64;
  sentBytes @11 :UInt64;
  # To others, since it was added.
  copies @12 :List(SealedCopy);
  position @13 :UInt64;
  # Rises with each share; pages are cut by it.
}

enum TransferState @0xb7c1f0a2d3e40166 {
  unspecified @0;
  queued @1;
  # Others are before it.
  searching @2;
  # Asking contacts and the network who has it.
  fetching @3;
  waiting @4;
  # Nobody who has it is there now. It is tried again by itself, `nextTrySeconds` from now at the latest.
  paused @5;
  # By the user, or because of this machine (a full disk): `error` says so.
  finishing @6;
  # All is there: decrypting, or writing to the disk.
  done @7;
  failed @8;
}

enum SourceState @0xb7c1f0a2d3e40167 {
  unspecified @0;
  connecting @1;
  active @2;
  stalled @3;
  # Nothing has come from it for a while; it is tried again later.
  busy @4;
  dropped @5;
  # Does not have it any more, or lets this node have it no longer.
  lied @6;
  # Sent what is not the content. Nothing of that was kept, and it is not asked for this content again today.
}

struct Source @0xb7c1f0a2d3e40168 {
  # One who has the content, or says so.
  peer @0 :Text;
  name @1 :Text;
  state @2 :SourceState;
  path @3 :Path;
  receivedBytes @4 :UInt64;
  # Verified ones.
  bytesPerSecond @5 :UInt64;
  reason @6 :Text;
  # Why it is not active, a sentence.
  sealed @7 :Bool;
  # Has a sealed copy.
}

struct Transfer @0xb7c1f0a2d3e40169 {
  id @0 :UInt32;
  hash @1 :Text;
  name @2 :Text;
  kind @3 :FileKind;
  sizeBytes @4 :UInt64;
  # 0: not known yet.
  doneBytes @5 :UInt64;
  state @6 :TransferState;
  bytesPerSecond @7 :UInt64;
  remainingSeconds @8 :UInt32;
  # 0: not known.
  sources @9 :List(Source);
  folder @10 :Text;
  # The full path of the folder that it is saved into.
  savedPath @11 :Text;
  # The full path of the file or folder, when it is done.
  error @12 :Text;
  advice @13 :Text;
  startedUnixMs @14 :Int64;
  finishedUnixMs @15 :Int64;
  # 0: not yet.
  seconds @16 :Float64;
  # Spent fetching, without pauses.
  fetchedTwiceBytes @17 :UInt64;
  nextTrySeconds @18 :UInt32;
  files @19 :UInt32;
  filesDone @20 :UInt32;
  errorKind @21 :Types.FailureKind;
  # Of `error`, to branch on: `unreachable` when nobody who has it is there, `notPermitted` when those who have it do not
  # let this node have it, `verificationFailed` when all of them sent something else.
}

struct Upload @0xb7c1f0a2d3e4016a {
  # What a peer is fetching from this node now.
  peer @0 :Text;
  name @1 :Text;
  hash @2 :Text;
  fileName @3 :Text;
  sentBytes @4 :UInt64;
  bytesPerSecond @5 :UInt64;
  path @6 :Path;
  sealed @7 :Bool;
}

struct Offer @0xb7c1f0a2d3e4016b {
  # A file that a peer would like this node to have.
  id @0 :UInt32;
  peer @1 :Text;
  name @2 :Text;
  hash @3 :Text;
  fileName @4 :Text;
  kind @5 :FileKind;
  sizeBytes @6 :UInt64;
  files @7 :UInt32;
  receivedUnixMs @8 :Int64;
}

struct Kept @0xb7c1f0a2d3e4016c {
  # A sealed copy that this node keeps for a contact.
  peer @0 :Text;
  name @1 :Text;
  hash @2 :Text;
  # Of the encrypted content.
  sizeBytes @3 :UInt64;
  heldBytes @4 :UInt64;
  sinceUnixMs @5 :Int64;
}

struct FileSettings @0xb7c1f0a2d3e4016d {
  folder @0 :Text;
  # Full path; empty in `setSettings`: the user's Downloads folder.
  downloadBytesPerSecond @1 :UInt64;
  uploadBytesPerSecond @2 :UInt64;
  # 0: without limit.
  unaskedBytes @3 :UInt64;
  # The largest file that a contact with `files` trust `always` may send unasked.
  unaskedKinds @4 :List(Text);
  # Of "image video audio document archive other folder"; programs are `other`.
  copyBytesPerContact @5 :UInt64;
  # What a contact whose `relay` trust is `always` may keep here, sealed.
  storeBytes @6 :UInt64;
  # The quota of all that the daemon keeps itself: sealed copies and content that clients sent to it.
  atOnce @7 :UInt32;
  # Transfers that fetch at the same time; the others are queued.
}

struct FilesState @0xb7c1f0a2d3e4016e {
  transfers @0 :List(Transfer);
  # Those that are not done in their order, then the finished ones, the newest first; 500 at most.
  offers @1 :List(Offer);
  uploads @2 :List(Upload);
  sharesRevision @3 :UInt64;
  # Raised with each change of the list of shares.
  shares @4 :UInt32;
  # How many there are.
  keptBytes @5 :UInt64;
  # Sealed copies of others on this machine.
}

struct ShareOutcome @0xb7c1f0a2d3e4016f {
  union { unspecified @0 :Void; share @1 :Share; failed @2 :Types.Failure; }
}

struct TransferOutcome @0xb7c1f0a2d3e40170 {
  union { unspecified @0 :Void; transfer @1 :Transfer; failed @2 :Types.Failure; }
}

struct AddOptions @0xb7c1f0a2d3e40171 {
  scope @0 :ShareScope;
  # `unspecified`: anyone who has the hash.
  peers @1 :List(Text);
  # Contacts' names, peer ids or tickets. They are offered the file, now or when they appear; with scope `peers` only they get it.
  name @2 :Text;
  # Empty: as on the disk.
  copy @3 :Bool;
  # Keep an own copy in the daemon's store, so that the file may be changed or moved. Otherwise it is shared where it is.
}

struct GetOptions @0xb7c1f0a2d3e40172 {
  folder @0 :Text;
  # Full path; empty: the one of the settings.
  from @1 :List(Text);
  # Asked first and, with `onlyFrom`, alone.
  onlyFrom @2 :Bool;
  name @3 :Text;
  # Empty: that of the ticket, or of who has it.
}

interface Files @0xb7c1f0a2d3e40173 {
  # `target` of a transfer is its id; of a share its hash; of a peer what `Contacts` says. Paths are the daemon's, absolute.

  add @0 (path :Text, options :AddOptions, observer :AddObserver) -> (handle :Types.Handle);
  # Hashes a file or folder and shares it. Dropping the handle before `finished` gives up.

  receive @1 (name :Text, options :AddOptions) -> (sink :ContentSink);
  # For clients that have no disk in common with the daemon: shares what is written to the sink; it stands in the daemon's store.

  read @2 (hash :Text, offset :UInt64, lengthBytes :UInt64, sink :ByteSink) -> (outcome :Types.Outcome);
  # Of a file that is shared from here or has been fetched: verified bytes, in order. A length of 0: to the end.

  shares @3 (search :Text, before :UInt64, limit :UInt32) -> (shares :List(Share));
  # The newest first, at most 200, before that position (0: the newest), with the text in name or path, or that hash.

  remove @4 (hash :Text) -> (outcome :Types.Outcome);
  # Withdraws a share: nobody gets it from here any more, sealed copies are dropped, the file itself stays.

  get @5 (target :Text, options :GetOptions) -> (outcome :TransferOutcome);
  # A hash or a "kithfile:…" ticket. Begins a transfer, or goes on with the one that there is of this content.

  watch @6 (observer :FilesObserver) -> (handle :Types.Handle);
  # All now and after each change, four times a second at most; what a method here has changed is there when it returns.
  # A slow observer misses states in between, never the newest.

  pause @7 (id :UInt32) -> (outcome :TransferOutcome);
  resume @8 (id :UInt32) -> (outcome :TransferOutcome);
  cancel @9 (id :UInt32) -> (outcome :Types.Outcome);
  # Also of what is done: it leaves the list. What is saved stays; what is not whole is deleted.

  first @10 (id :UInt32) -> (outcome :TransferOutcome);
  # Before all others.

  acceptOffer @11 (id :UInt32, options :GetOptions) -> (outcome :TransferOutcome);
  refuseOffer @12 (id :UInt32) -> (outcome :Types.Outcome);

  keep @13 (hash :Text, contacts :List(Text)) -> (outcome :ShareOutcome);
  # Asks contacts to keep a sealed copy. An empty list: none any more.

  kept @14 () -> (kept :List(Kept));
  # What this node keeps for others; 2000 at most.

  dropKept @15 (hash :Text) -> (outcome :Types.Outcome);

  settings @16 () -> (settings :FileSettings);
  setSettings @17 (settings :FileSettings) -> (outcome :Types.Outcome);
}

interface AddObserver @0xb7c1f0a2d3e40174 {
  progress @0 (doneBytes :UInt64, totalBytes :UInt64, files :UInt32) -> ();
  # One call in flight, the newest state.
  finished @1 (outcome :ShareOutcome) -> ();
}

interface FilesObserver @0xb7c1f0a2d3e40175 {
  changed @0 (state :FilesState) -> ();
}

interface ContentSink @0xb7c1f0a2d3e40176 {
  write @0 (bytes :Data) -> stream;
  # At most 1 MiB at once.
  done @1 () -> (outcome :ShareOutcome);
  # Dropping the sink before gives up: nothing of it stays.
}

interface ByteSink @0xb7c1f0a2d3e40177 {
  write @0 (bytes :Data) -> stream;
}
