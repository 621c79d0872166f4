@0xb7c1f0a2d3e40001;
# Kith's shared values. Every file of this folder is part of one contract between the daemon and its clients:
# see README.md in this folder for how to write a client.
#
# Rules: append only, never renumber or re-type; an explicit id on every type; ordinal 0 of an enum is
# `unspecified`; units in names; what is expected to go wrong is a typed result, what is broken is an exception.

enum FailureKind @0xb7c1f0a2d3e40010 {
  # Why an action did not happen. Clients branch on this and show `Failure.message` and `Failure.advice`.
  unspecified @0;
  invalidArgument @1;
  notFound @2;
  unreachable @3;
  timedOut @4;
  declined @5;
  busy @6;
  blocked @7;
  notPermitted @8;
  unsupported @9;
  internal @10;
  verificationFailed @11;
  # What arrived is not what was asked for.
}

struct Failure @0xb7c1f0a2d3e40011 {
  kind @0 :FailureKind;
  message @1 :Text;
  # One sentence: what was being done and why it failed.
  advice @2 :Text;
  # One sentence: what the user can try. Empty when there is nothing to do.
}

struct Outcome @0xb7c1f0a2d3e40012 {
  # The result of an action that has nothing to return but may be refused.
  union {
    unspecified @0 :Void;
    ok @1 :Void;
    failed @2 :Failure;
  }
}

interface Handle @0xb7c1f0a2d3e40013 {}
# Stands for something that goes on (a subscription, a sink that is attached). Dropping it ends that, nothing else.
