@0xb7c1f0a2d3e4000a;
# The people of a node: contacts with names that its user gave them, requests of strangers, and who is there now.

using Types = import "types.capnp";

enum Trust @0xb7c1f0a2d3e40120 {
  # What a contact may do unasked.
  unspecified @0;
  never @1;
  ask @2;
  always @3;
}

enum Presence @0xb7c1f0a2d3e40121 {
  # Told to contacts only, and known only of contacts who have this node among theirs.
  unspecified @0;
  offline @1;
  online @2;
  away @3;
  inCall @4;
}

enum Right @0xb7c1f0a2d3e40122 {
  unspecified @0;
  calls @1;
  # always: answered without asking when the daemon's auto-answer policy is `contacts`; never: refused.
  files @2;
  relay @3;
  # Relaying for the contact, and holding sealed messages for it. There is no asking: `ask` counts as `never`.
}

struct Contact @0xb7c1f0a2d3e40123 {
  peerId @0 :Text;
  name @1 :Text;
  # Given by the user of this node; unique among its contacts, whatever the case.
  ownName @2 :Text;
  # What the peer calls itself. Not verified.
  note @3 :Text;
  colour @4 :UInt32;
  # 0xRRGGBB
  presence @5 :Presence;
  lastSeenUnixMs @6 :Int64;
  # 0: never.
  calls @7 :Trust;
  files @8 :Trust;
  relay @9 :Trust;
  verified @10 :Bool;
  # Both users have compared the safety number.
  blocked @11 :Bool;
  addedUnixMs @12 :Int64;
  mutual @13 :Bool;
  # The peer has this node among its contacts as well.
}

struct ContactRequest @0xb7c1f0a2d3e40124 {
  # A stranger who wants to be a contact.
  peerId @0 :Text;
  name @1 :Text;
  # What it calls itself, at most 64 characters.
  text @2 :Text;
  # At most 280 characters.
  receivedUnixMs @3 :Int64;
}

struct People @0xb7c1f0a2d3e40125 {
  contacts @0 :List(Contact);
  # By name.
  requests @1 :List(ContactRequest);
  # Newest first.
  own @2 :Presence;
}

struct ContactOutcome @0xb7c1f0a2d3e40126 {
  union {
    unspecified @0 :Void;
    contact @1 :Contact;
    failed @2 :Types.Failure;
  }
}

struct SafetyNumber @0xb7c1f0a2d3e40127 {
  # The same on both machines, made from both public keys. Equal numbers mean that nobody stands between them.
  digits @0 :Text;
  # Sixty digits in twelve groups of five.
  emoji @1 :List(Text);
  # Eight, for reading over a call.
}

struct SafetyOutcome @0xb7c1f0a2d3e40128 {
  union {
    unspecified @0 :Void;
    safety @1 :SafetyNumber;
    failed @2 :Types.Failure;
  }
}

struct ContactChange @0xb7c1f0a2d3e40129 {
  # What is to be another; the rest stays.
  name :union { keep @0 :Void; set @1 :Text; }
  note :union { keep @2 :Void; set @3 :Text; }
  colour :union { keep @4 :Void; set @5 :UInt32; }
  verified :union { keep @6 :Void; set @7 :Bool; }
}

interface Contacts @0xb7c1f0a2d3e4012a {
  # `target` everywhere: a contact's name, a peer id, a ticket, or an address of a connected peer.

  list @0 () -> (people :People);

  watch @1 (observer :PeopleObserver) -> (handle :Types.Handle);
  # Calls the observer with everything now and after each change. A slow observer misses states in between, never the newest.

  add @2 (target :Text, name :Text, text :Text) -> (outcome :ContactOutcome);
  # Adds it at once and asks the peer for the same as soon as it is reachable; `text` goes with the request. An empty
  # name takes what the peer calls itself. One that is there already gets the name, if one is given.

  remove @3 (target :Text) -> (outcome :Types.Outcome);
  # The conversation stays until it is deleted.

  change @4 (target :Text, change :ContactChange) -> (outcome :ContactOutcome);
  setTrust @5 (target :Text, right :Right, trust :Trust) -> (outcome :ContactOutcome);

  accept @6 (target :Text, name :Text) -> (outcome :ContactOutcome);
  # A request: the stranger becomes a contact and is told.

  refuse @7 (target :Text) -> (outcome :Types.Outcome);
  # The request goes; the stranger is told nothing, and a further request within a week is dropped.

  safety @8 (target :Text) -> (outcome :SafetyOutcome);

  setPresence @9 (presence :Presence) -> (outcome :Types.Outcome);
  # `online` or `away`; `inCall` and `offline` come by themselves.
}

interface PeopleObserver @0xb7c1f0a2d3e4012b {
  changed @0 (people :People) -> ();
}
