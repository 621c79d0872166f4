@0xb7c1f0a2d3e40003;
# The listeners of a node, and how a client stops, starts and moves them.

using Types = import "types.capnp";

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

struct ServiceOutcome @0xb7c1f0a2d3e40032 {
  union {
    unspecified @0 :Void;
    service @1 :Service;
    # As it is now: a port that is taken is a service in state `failed`, not a failure of the request.
    failed @2 :Types.Failure;
  }
}

interface Services @0xb7c1f0a2d3e40033 {
  # Stopping, starting and moving one service leaves the others alone, and is remembered over restarts.

  list @0 () -> (services :List(Service));

  watch @1 (observer :ServicesObserver) -> (handle :Types.Handle);
  # Calls the observer with all rows now and after each change. A slow observer misses rows in between, never the newest.

  start @2 (name :Text) -> (outcome :ServiceOutcome);
  stop @3 (name :Text) -> (outcome :ServiceOutcome);
  setPort @4 (name :Text, port :UInt16) -> (outcome :ServiceOutcome);
  # 0: any free port. Fails with `invalidArgument` for a service without a port of its own.
}

interface ServicesObserver @0xb7c1f0a2d3e40034 {
  changed @0 (services :List(Service)) -> ();
}
