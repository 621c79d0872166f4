@0xb7c1f0a2d3e40006;
# Calls. A client places one with `Calls.dial` or takes an incoming one that `Calls.watch` reported. Any number of
# clients may watch and drive the same call, and none of them owns it: a client that goes away ends nothing but its own
# sinks and subscriptions. A call ends by `hangUp`, by the peer, or by a failure, and always with a reason.

using Types = import "types.capnp";
using Peer = import "peer.capnp";
using Media = import "media.capnp";

enum CallKind @0xb7c1f0a2d3e40060 {
  unspecified @0;
  voice @1;
  video @2;
}

enum Direction @0xb7c1f0a2d3e40061 {
  unspecified @0;
  outgoing @1;
  incoming @2;
}

enum CallState @0xb7c1f0a2d3e40062 {
  unspecified @0;
  dialing @1;
  # Outgoing: the peer is being looked up and connected to.
  ringing @2;
  # Outgoing: the peer's machine rings. Incoming: this machine rings; answer or decline.
  connecting @3;
  # Accepted; the media path is being set up.
  active @4;
  ended @5;
}

enum Stage @0xb7c1f0a2d3e40063 {
  unspecified @0;
  resolve @1;
  dial @2;
  signal @3;
  ring @4;
  accept @5;
  path @6;
  firstPacket @7;
  firstFrame @8;
  active @9;
}

enum EndReason @0xb7c1f0a2d3e40064 {
  unspecified @0;
  local @1;
  remote @2;
  declined @3;
  busy @4;
  blocked @5;
  unreachable @6;
  timeout @7;
  failed @8;
}

enum Medium @0xb7c1f0a2d3e40065 {
  unspecified @0;
  audio @1;
  video @2;
}

enum Transport @0xb7c1f0a2d3e40066 {
  unspecified @0;
  udp @1;
  tcp @2;
}

enum Encoder @0xb7c1f0a2d3e40067 {
  unspecified @0;
  # The daemon's configured choice.
  auto @1;
  aom @2;
  rav1e @3;
}

enum Switch @0xb7c1f0a2d3e40068 {
  unspecified @0;
  on @1;
  off @2;
}

struct CallInfo @0xb7c1f0a2d3e40069 {
  id @0 :Text;
  # 32 hex digits, the same on both machines.
  peerId @1 :Text;
  # Empty until the target of an outgoing call is resolved.
  peerName @2 :Text;
  direction @3 :Direction;
  kind @4 :CallKind;
  state @5 :CallState;
  sinceUnixMs @6 :Int64;
  # When the present state began.
  path @7 :Peer.Path;
  transport @8 :Transport;
  microphone @9 :Switch;
  # `on` when this side's sound is sent.
  camera @10 :Switch;
  peerMicrophone @11 :Switch;
  peerCamera @12 :Switch;
  endReason @13 :EndReason;
  failedStage @14 :Stage;
  detail @15 :Text;
  # What happened, in a sentence, for a call that ended otherwise than by a person.
  advice @16 :Text;
  peerFormat @17 :Media.VideoFormat;
  # Of the peer's source, as it signalled it; zeros when it sends no video.
}

struct StageReport @0xb7c1f0a2d3e4006a {
  stage @0 :Stage;
  atMicros @1 :UInt64;
  # Since the call was placed or first rang here.
  detail @2 :Text;
}

struct SizeSeconds @0xb7c1f0a2d3e4006b {
  width @0 :UInt16;
  height @1 :UInt16;
  seconds @2 :Float64;
}

struct CallStats @0xb7c1f0a2d3e4006c {
  # Counted since the call became active. Shares are fractions from 0 to 1. Delays are one way, from capture at the
  # peer to delivery at the first client to take the picture here; negative when not known.
  durationSeconds @0 :Float64;
  path @1 :Peer.Path;
  transport @2 :Transport;
  rttMs @3 :Float64;
  loss @4 :Float64;
  videoDue @5 :UInt64;
  # Pictures that the peer's source captured, as the peer signals them; received + dropped on the way.
  videoSent @6 :UInt64;
  videoReceived @7 :UInt64;
  videoDropped @8 :UInt64;
  # Captured here and not sent, because of the rate, the CPU or a newer picture.
  late400ms @9 :Float64;
  audioSent @10 :UInt64;
  audioReceived @11 :UInt64;
  audioConcealedMs @12 :UInt64;
  frozenMs @13 :UInt64;
  # Time without a new picture beyond 200 ms while pictures were due.
  skewMsP95 @14 :Float64;
  delayMsP50 @15 :Float64;
  delayMsP95 @16 :Float64;
  delayUncertaintyMs @17 :Float64;
  videoKbpsOut @18 :Float64;
  videoKbpsIn @19 :Float64;
  audioKbpsOut @20 :Float64;
  audioKbpsIn @21 :Float64;
  width @22 :UInt16;
  # Of the newest picture received.
  height @23 :UInt16;
  widthOut @24 :UInt16;
  heightOut @25 :UInt16;
  encoder @26 :Text;
  sizes @27 :List(SizeSeconds);
  # Received picture sizes.
  estimateKbps @28 :Float64;
  audioDelayMsP50 @29 :Float64;
  audioDelayMsP95 @30 :Float64;
  jitterBufferMs @31 :Float64;
  encodeMsP95 @32 :Float64;
  videoFps @33 :Float64;
  # Pictures delivered in the last second.
}

struct DialOptions @0xb7c1f0a2d3e4006d {
  kind @0 :CallKind;
  encoder @1 :Encoder;
  microphone @2 :Switch;
  # `off` starts muted; unspecified is on.
  camera @3 :Switch;
  log @4 :Switch;
  # `off`: the call is not written into the log, as a trial with an echo node is not. Read by `dial` only.
}

struct CallRecord @0xb7c1f0a2d3e40074 {
  # A call that is over, as the log keeps it. A missed one is `incoming`, not `answered`, and ended otherwise than by `local`
  # (that is one that was declined here).
  position @0 :UInt64;
  # Rises with each call that ends; pages are cut by it.
  id @1 :Text;
  # Chosen by whoever called: not unique for certain.
  peerId @2 :Text;
  # Empty: nobody was found at `target`.
  peerName @3 :Text;
  # The contact's name as it is now, or else what the peer called itself. Empty: not known.
  target @4 :Text;
  # The address that was dialed, where there is no `peerId`.
  direction @5 :Direction;
  kind @6 :CallKind;
  startedUnixMs @7 :Int64;
  # When it was placed or first rang.
  endedUnixMs @8 :Int64;
  answered @9 :Bool;
  # By a person or by the policy.
  durationSeconds @10 :Float64;
  # Of being active; 0: it never was.
  reason @11 :EndReason;
  failedStage @12 :Stage;
  detail @13 :Text;
  # What happened, in a sentence; empty when a person ended it.
  quality :union {
    none @14 :Void;
    # Media was never connected.
    stats @15 :CallStats;
    # The last figures.
  }
}

struct CallRecordsOutcome @0xb7c1f0a2d3e40075 {
  union {
    unspecified @0 :Void;
    records @1 :List(CallRecord);
    failed @2 :Types.Failure;
  }
}

struct ClearedOutcome @0xb7c1f0a2d3e40076 {
  union {
    unspecified @0 :Void;
    removed @1 :UInt64;
    # So many rows.
    failed @2 :Types.Failure;
  }
}

interface Calls @0xb7c1f0a2d3e4006e {
  list @0 () -> (calls :List(CallInfo));
  # Calls that are going on and the last few that ended, newest first.

  watch @1 (observer :CallsObserver) -> (handle :Types.Handle);
  # Reports each call that is going on now, then each new one and each change. One client's slowness delays nobody.

  dial @2 (target :Text, options :DialOptions) -> (call :Call);
  # Returns at once; the outcome comes through `Call.watch`. `target` as in Peers.connect.

  get @3 (id :Text) -> (call :Call);
  # Throws `failed` when there is no such call.

  log @4 (target :Text, text :Text, before :UInt64, beforeUnixMs :Int64, limit :UInt32) -> (outcome :CallRecordsOutcome);
  # Calls that are over, also those of earlier runs of the daemon, the newest first: at most `limit` (at most 500; 0: 500) of
  # those before that position (0: from the newest) that began before that time (0: any). With a `target`, as in Peers.connect,
  # only those with that peer; with a `text` only those in whose peer's name, id or address all its words are. Fewer where an
  # answer would grow too large: only an empty answer is the end. The log keeps the newest 10,000, and of a peer with whom
  # messages are kept for some days only (Chat.setRetention) no older calls than that.

  watchLog @5 (observer :CallLogObserver) -> (handle :Types.Handle);
  # The newest of the log now and each time that rows have come or gone; a slow observer misses states in between, never the newest.

  forgetCall @6 (id :Text) -> (outcome :Types.Outcome);
  # Takes it out of the log, here only. Failure `notFound`: it is not there.

  clearLog @7 (target :Text) -> (outcome :ClearedOutcome);
  # Takes all calls with that peer out of the log, here only. An empty target: all there are.
}

interface CallLogObserver @0xb7c1f0a2d3e40077 {
  changed @0 (newest :List(CallRecord)) -> ();
  # 100 at most. Whoever shows more asks for it again: rows may have gone anywhere.
}

interface CallsObserver @0xb7c1f0a2d3e4006f {
  call @0 (info :CallInfo, call :Call) -> ();
}

interface Call @0xb7c1f0a2d3e40070 {
  info @0 () -> (info :CallInfo);

  watch @1 (observer :CallObserver) -> (handle :Types.Handle);
  # Every stage so far, in order, then the present state, then what follows.

  answer @2 (options :DialOptions) -> (outcome :Types.Outcome);
  # `kind` voice answers a video call without a camera; unspecified accepts what was offered.

  decline @3 () -> (outcome :Types.Outcome);
  hangUp @4 () -> (outcome :Types.Outcome);
  # Ends the call for both sides whatever its state. Ok also when it has ended already.

  sendVideo @5 (format :Media.VideoFormat) -> (sink :VideoSource);
  # `format` is what the source delivers; the peer is told, for its recordings and its layout.
  # The newest client that asks becomes the source; the one before is told by CallObserver.sourceTaken.
  # In a voice call this is how a camera is switched on. Dropping the sink stops sending.
  sendAudio @6 () -> (sink :AudioSource);

  receiveVideo @7 (sink :Media.VideoSink) -> (handle :Types.Handle);
  receiveAudio @8 (sink :Media.AudioSink) -> (handle :Types.Handle);

  setMicrophone @9 (state :Switch) -> (outcome :Types.Outcome);
  setCamera @10 (state :Switch) -> (outcome :Types.Outcome);
  # Off: the daemon sends nothing of that medium, whatever the source delivers, and the peer is told.
}

interface VideoSource @0xb7c1f0a2d3e40071 extends(Media.VideoSink) {
  wanted @0 () -> (size :SizeSeconds, framesPerSecond :Float64);
  # The picture size and rate that the call can use now. A source may send larger pictures: the daemon scales them.
}

interface AudioSource @0xb7c1f0a2d3e40072 extends(Media.AudioSink) {}

interface CallObserver @0xb7c1f0a2d3e40073 {
  changed @0 (info :CallInfo) -> ();
  stage @1 (report :StageReport) -> ();
  stats @2 (stats :CallStats) -> ();
  # Every second while the call is active, and once more, final, before `changed` says that it ended.
  sourceTaken @3 (medium :Medium) -> ();
}
