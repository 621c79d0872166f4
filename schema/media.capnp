@0xb7c1f0a2d3e40005;
# Pictures and sound between the daemon and its clients, uncompressed, in both directions.
#
# Pictures are I420 (8 bit, BT.601 limited range): a full plane of Y, then U, then V at half width and half height,
# rows without padding, width and height even, (width x height x 3 / 2) bytes. Sound is signed 16 bit little-endian
# PCM, 48 kHz, one channel.
#
# Neither is a Cap'n Proto stream: the answer to a call says that the picture or chunk has been taken, and the sender
# keeps at most a few calls unanswered. A picture that finds the window full replaces the one that waits, so a slow
# receiver sees the newest picture and costs no memory.

struct VideoFormat @0xb7c1f0a2d3e40054 {
  width @0 :UInt16;
  height @1 :UInt16;
  framesPerSecondMilli @2 :UInt32;
  # 30000 is 30 pictures a second.
}

struct Picture @0xb7c1f0a2d3e40050 {
  width @0 :UInt16;
  height @1 :UInt16;
  captureMonotonicMicros @2 :UInt64;
  # CLOCK_MONOTONIC of this machine at the moment of capture. For a picture from the peer: the peer's time converted to
  # this machine's clock, so that (now - captureMonotonicMicros) is the delay from capture to here.
  sequence @3 :UInt64;
  i420 @4 :Data;
}

struct Sound @0xb7c1f0a2d3e40051 {
  captureMonotonicMicros @0 :UInt64;
  # Of the first sample.
  sequence @1 :UInt64;
  pcm @2 :Data;
  # 10 ms to 60 ms: 480 to 2880 samples, two bytes each. The daemon always delivers 20 ms.
}

interface VideoSink @0xb7c1f0a2d3e40052 {
  picture @0 (picture :Picture) -> ();
  # Throws `failed` for a picture that does not fit its own description (the sink stays usable),
  # `disconnected` once another client has taken the source over or the call has ended.
}

interface AudioSink @0xb7c1f0a2d3e40053 {
  sound @0 (sound :Sound) -> ();
}
