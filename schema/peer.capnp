@0xb7c1f0a2d3e40004;
# The other nodes: which are connected, how, and how well.

using Types = import "types.capnp";

enum Path @0xb7c1f0a2d3e40040 {
  # How packets reach the other machine.
  unspecified @0;
  lan @1;
  direct @2;
  relayed @3;
  tor @4;
}

enum PeerStatus @0xb7c1f0a2d3e40041 {
  unspecified @0;
  connected @1;
  known @2;
  # In the routing table or address book, not connected.
  dialing @3;
  blocked @4;
}

struct PeerInfo @0xb7c1f0a2d3e40042 {
  peerId @0 :Text;
  name @1 :Text;
  # What the peer calls itself; empty when it has not said yet. Not verified.
  connected @2 :Bool;
  status @3 :PeerStatus;
  path @4 :Path;
  addresses @5 :List(Text);
  rttMicros @6 :UInt32;
  # 0: not measured yet.
  jitterMicros @7 :UInt32;
  lossPartsPerMillion @8 :UInt32;
  lossKnown @9 :Bool;
  # Loss is only known where datagrams have been exchanged.
  agent @10 :Text;
  connectedSinceUnixMs @11 :Int64;
  services @12 :List(Text);
  # What the peer offers now: "video audio chat files broadcast", those that listen. Empty until it has said.
  lastSeenUnixMs @13 :Int64;
  # When a connection to it was last known to be alive; 0: never.
}

struct ConnectOutcome @0xb7c1f0a2d3e40043 {
  union {
    unspecified @0 :Void;
    connected @1 :PeerInfo;
    failed @2 :Types.Failure;
  }
}

interface Peers @0xb7c1f0a2d3e40044 {
  list @0 () -> (peers :List(PeerInfo));
  # Connected peers first, then the others that are known.

  watch @1 (observer :PeersObserver) -> (handle :Types.Handle);
  # Calls the observer with the whole list now and after each change. A slow observer misses
  # intermediate lists, never the newest.

  connect @2 (target :Text) -> (outcome :ConnectOutcome);
  # `target` is a contact's name, a ticket, a peer id, a multiaddr or an IP address with or without a port.
  # Ends within 30 s. Dropping the promise cancels.

  disconnect @3 (target :Text) -> (outcome :Types.Outcome);

  block @4 (target :Text) -> (outcome :Types.Outcome);
  # Ends its connections and calls, and refuses new ones, also after a restart.

  unblock @5 (target :Text) -> (outcome :Types.Outcome);
}

interface PeersObserver @0xb7c1f0a2d3e40045 {
  changed @0 (peers :List(PeerInfo)) -> ();
}
