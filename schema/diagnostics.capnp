@0xb7c1f0a2d3e40009;
# What the network is like: how this node can be reached and why, how the way to a peer does, and what to paste into a
# question. Nobody but connected peers is asked.

using Types = import "types.capnp";
using Path = import "peer.capnp".Path;
using Transport = import "call.capnp".Transport;

enum Reachability @0xb7c1f0a2d3e40100 {
  unspecified @0;
  unknown @1;
  # Too early to tell: no peer has answered yet.
  offline @2;
  # No address but loopback.
  local @3;
  # Reachable from the local network only, as far as is known.
  public @4;
  # Peers outside connect directly.
  relayed @5;
  # Behind a router; peers come through a relay, and from there directly where the routers allow it.
  outgoing @6;
  # Behind a router and without a relay: this node can call, and cannot be called from outside.
}

enum Nat @0xb7c1f0a2d3e40101 {
  unspecified @0;
  unknown @1;
  none @2;
  cone @3;
  # One outside port for every destination: direct connections can be made.
  symmetric @4;
  # Another outside port for every destination: a direct connection needs a peer without such a router.
  udpBlocked @5;
}

struct LocalAddress @0xb7c1f0a2d3e40102 {
  interface @0 :Text;
  ip @1 :Text;
  scope @2 :Text;
  # "global", "private", "link" or "loopback".
}

struct ObservedAddress @0xb7c1f0a2d3e40103 {
  address @0 :Text;
  # "203.0.113.7:9999", as peers see it.
  service @1 :Text;
  # Whose socket: "node", "video" or "audio".
  transport @2 :Transport;
  peers @3 :UInt32;
  # How many connected peers see it so.
}

struct RelayAddress @0xb7c1f0a2d3e40104 {
  relay @0 :Text;
  # Its peer id.
  address @1 :Text;
  # The multiaddr that leads here through it.
}

struct PortMapping @0xb7c1f0a2d3e40105 {
  external @0 :Text;
  internal @1 :Text;
  protocol @2 :Text;
  # How the router was asked: "upnp".
}

struct NetworkState @0xb7c1f0a2d3e40106 {
  local @0 :List(LocalAddress);
  observed @1 :List(ObservedAddress);
  relays @2 :List(RelayAddress);
  mappings @3 :List(PortMapping);
  reachability @4 :Reachability;
  nat @5 :Nat;
  meaning @6 :Text;
  # One or two sentences for people.
  dhtServer @7 :Bool;
}

struct PingReply @0xb7c1f0a2d3e40107 {
  sequence @0 :UInt32;
  way @1 :Text;
  # What was measured: a connection's multiaddr, or "udp 203.0.113.7:9996" for the datagram path of media.
  path @2 :Path;
  transport @3 :Transport;
  rttMicros @4 :UInt32;
  # 0: no answer in time.
}

struct Hop @0xb7c1f0a2d3e40108 {
  ttl @0 :UInt8;
  address @1 :Text;
  # Empty: this hop did not answer.
  rttMicros @2 :UInt32;
}

struct BandwidthResult @0xb7c1f0a2d3e40109 {
  sentBps @0 :UInt64;
  receivedBps @1 :UInt64;
  seconds @2 :Float64;
  path @3 :Path;
  transport @4 :Transport;
}

struct BandwidthOutcome @0xb7c1f0a2d3e4010a {
  union {
    unspecified @0 :Void;
    measured @1 :BandwidthResult;
    failed @2 :Types.Failure;
  }
}

struct LinkSample @0xb7c1f0a2d3e4010b {
  # One second of what one peer, or all together, is like.
  atUnixMs @0 :Int64;
  peerId @1 :Text;
  # Empty: all together.
  sentBps @2 :UInt64;
  receivedBps @3 :UInt64;
  rttMicros @4 :UInt32;
  # 0: not measured.
  lossPartsPerMillion @5 :UInt32;
  lossKnown @6 :Bool;
}

interface Diagnostics @0xb7c1f0a2d3e4010c {
  network @0 () -> (state :NetworkState);

  watchNetwork @1 (observer :NetworkObserver) -> (handle :Types.Handle);
  # Now, and after each change.

  ping @2 (target :Text, count :UInt32, observer :PingObserver) -> (outcome :Types.Outcome);
  # One after the other over each connection, and over the datagram path of media, at most 100. Returns when all are
  # answered or given up. Dropping the promise cancels.

  trace @3 (target :Text, observer :TraceObserver) -> (outcome :Types.Outcome);
  # The routers on the way to a directly connected peer. `unsupported` where the system does not allow it.

  bandwidth @4 (target :Text, seconds :UInt32, observer :BandwidthObserver) -> (outcome :BandwidthOutcome);
  # Both ways one after the other, at most 10 s each, capped. `notPermitted`: the peer does not allow it.

  report @5 () -> (text :Text);
  # For a question to somebody who knows more; addresses and names are masked.

  history @6 () -> (samples :List(LinkSample));
  # The last minutes, oldest first: each second's rows of all peers, then the row of all together.

  watchLinks @7 (observer :LinksObserver) -> (handle :Types.Handle);
  # Each second's rows as they are made.
}

interface NetworkObserver @0xb7c1f0a2d3e4010d {
  changed @0 (state :NetworkState) -> ();
}

interface PingObserver @0xb7c1f0a2d3e4010e {
  reply @0 (reply :PingReply) -> ();
}

interface TraceObserver @0xb7c1f0a2d3e4010f {
  hop @0 (hop :Hop) -> ();
}

interface BandwidthObserver @0xb7c1f0a2d3e40110 {
  progress @0 (doneBytes :UInt64, totalBytes :UInt64, bps :UInt64) -> ();
}

interface LinksObserver @0xb7c1f0a2d3e40111 {
  second @0 (samples :List(LinkSample)) -> ();
}
