@0xb7c1f0a2d3e40002;
# What a client meets first. The daemon's bootstrap capability on its Unix socket is a `Kith`, one for each
# connection: it carries the uid of the connecting process, which must be the daemon's own or root's.

using Types = import "types.capnp";
using Peers = import "peer.capnp".Peers;
using Calls = import "call.capnp".Calls;
using Service = import "service.capnp".Service;
using Services = import "service.capnp".Services;
using Diagnostics = import "diagnostics.capnp".Diagnostics;
using Contacts = import "contact.capnp".Contacts;
using Chat = import "chat.capnp".Chat;
using Files = import "file.capnp".Files;

interface Kith @0xb7c1f0a2d3e40020 {
  hello @0 (client :ClientInfo) -> (server :ServerInfo);
  # A client says who it is and learns what the daemon can do. Optional; a log line is all it changes.

  node @1 () -> (node :Node);
  # The daemon itself. Can be pipelined. (A later `login` does the same for remote clients that show a token.)
}

struct ClientInfo @0xb7c1f0a2d3e40021 {
  name @0 :Text;
  version @1 :Text;
}

struct ServerInfo @0xb7c1f0a2d3e40022 {
  version @0 :Text;
  protocol @1 :UInt32;
  # Raised only when a meaning changes; new methods do not raise it.
  features @2 :List(Text);
  maxMessageBytes @3 :UInt64;
  # A larger message ends the connection.
}

interface Node @0xb7c1f0a2d3e40023 {
  identity @0 () -> (identity :Identity);
  status @1 () -> (status :Status);
  peers @2 () -> (peers :Peers);
  calls @3 () -> (calls :Calls);
  services @4 () -> (services :Services);
  diagnostics @5 () -> (diagnostics :Diagnostics);
  contacts @6 () -> (contacts :Contacts);
  chat @7 () -> (chat :Chat);
  files @8 () -> (files :Files);
}

struct Identity @0xb7c1f0a2d3e40024 {
  peerId @0 :Text;
  # Base58 of the libp2p peer id, "12D3Koo…".
  name @1 :Text;
  ticket @2 :Text;
  # "kith:…": the peer id and the addresses below, to hand to somebody who wants to call.
  addresses @3 :List(Text);
  # Multiaddrs that others may reach this node at.
}

struct Status @0xb7c1f0a2d3e40025 {
  version @0 :Text;
  uptimeSeconds @1 :UInt64;
  peersConnected @2 :UInt32;
  services @3 :List(Service);
  processId @4 :UInt32;
}
