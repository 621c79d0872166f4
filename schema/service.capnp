@0xb7c1f0a2d3e40003;
# The listeners of a node.

enum ServiceState @0xb7c1f0a2d3e40030 {
  unspecified @0;
  starting @1;
  listening @2;
  failed @3;
  stopped @4;
  absent @5;
  # This build has no such service yet.
}

struct Service @0xb7c1f0a2d3e40031 {
  name @0 :Text;
  # node video audio chat files broadcast
  state @1 :ServiceState;
  port @2 :UInt16;
  # The port that is really bound; 0 when none is.
  wantedPort @3 :UInt16;
  sinceUnixMs @4 :Int64;
  error @5 :Text;
  nextTrySeconds @6 :UInt32;
  suggestion @7 :Text;
}
