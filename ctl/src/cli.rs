//! What can be typed: nouns, verbs and flags. The names are a promise; wrong usage ends with exit code 2 (clap's own).

mod calls;
mod chat;
mod contacts;
mod files;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use kith_common::call::{EncoderChoice, Switch};
use kith_common::clip::FrameRate;
use kith_common::media::Size;

use crate::session::source::{AudioSource, VideoSource};

pub use calls::{CallsArguments, CallsVerb, LogArguments};
pub use chat::{ChatArguments, ChatVerb, GroupVerb};
pub use contacts::{Backup, ContactsArguments, ContactsVerb, IdArguments, IdVerb};
pub use files::{AddArguments, FilesArguments, FilesVerb, GetArguments, Saving, Scope, SettingsArguments};

/// Private calls between people's own machines: the command line of Kith.
#[derive(Debug, Parser)]
#[command(name = "kithctl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// The daemon's socket [default: your own daemon's]
    #[arg(long, global = true, env = "KITH_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Print one JSON object a line instead of text
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 4 peer unreachable or timed out, \
                          5 declined, busy or blocked, 6 verification failed, 7 refused by policy or permission";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Who this node is: peer id, name, ticket, addresses
    Id(IdArguments),
    /// One screen: services, peers, calls, transfers
    Status,
    /// This node's addresses, how it can be reached, and what is in the way
    Ip(IpArguments),
    /// Connected peers first, then the others that are known
    Peers(PeersArguments),
    /// Every listener: state, port, error, next try; start, stop and move each
    Services(ServicesArguments),
    /// The people you know: who is there, and what each may do
    Contacts(ContactsArguments),
    /// Messages: your conversations, what is in them, and what comes
    Chat(ChatArguments),
    /// Files: share them by content, fetch them from all who have them
    Files(FilesArguments),
    /// Place a call and print its timeline
    Call(CallArguments),
    /// Take the next incoming call
    Answer(AnswerArguments),
    /// The calls that go on, and the last few that ended; `log`: all that are over
    Calls(CallsArguments),
    /// End a call for both sides
    Hangup(Which),
    /// Refuse an incoming call
    Decline(Which),
    /// Send no sound (on) or send it again (off)
    Mute(MuteArguments),
    /// Send pictures (on) or none (off)
    Camera(CameraArguments),
    /// Measure the ways to a peer, or report on this node
    #[command(subcommand)]
    Diag(DiagVerb),
    /// Have kithd started by systemd, for your user
    Service(ServiceArguments),
    /// Call a throw-away echo node of your own, through an emulated bad network if you like
    TestCall(TestCallArguments),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PeersArguments {
    /// Go on, and print each change
    #[arg(long)]
    pub watch: bool,
    #[command(subcommand)]
    pub verb: Option<PeersVerb>,
}

#[derive(Debug, Subcommand)]
pub enum PeersVerb {
    /// Connect to a peer
    Connect(Peer),
    /// Close the connection to a peer
    Disconnect(Peer),
    /// End its connections and calls, and refuse new ones, also after a restart
    Block(Peer),
    /// Allow a blocked peer again
    Unblock(Peer),
    /// One peer in full
    Show(Peer),
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ServicesArguments {
    /// Go on, and print each change
    #[arg(long)]
    pub watch: bool,
    #[command(subcommand)]
    pub verb: Option<ServicesVerb>,
}

#[derive(Debug, Subcommand)]
pub enum ServicesVerb {
    /// Start a service that is stopped, or try one that failed at once
    Start(ServiceName),
    /// Stop a service: its calls end, new ones are refused, the others go on
    Stop(ServiceName),
    /// Move a service to another port; calls that go on are not cut
    Port {
        #[command(flatten)]
        which: ServiceName,
        /// 0: any free port
        #[arg(value_name = "N")]
        port: u16,
    },
}

#[derive(Debug, Args)]
pub struct ServiceName {
    #[arg(value_name = "NAME", value_parser = ["node", "video", "audio", "chat", "files", "broadcast"])]
    pub name: String,
}

#[derive(Debug, Args)]
pub struct IpArguments {
    /// Go on, and print each change
    #[arg(long)]
    pub watch: bool,
}

#[derive(Debug, Subcommand)]
pub enum DiagVerb {
    /// One text to paste into a question; addresses, names and ids are masked
    Report,
    /// Ping a peer over each connection, and over the datagram path of calls
    Ping(PingArguments),
    /// The routers on the way to a peer
    Trace(Peer),
    /// How much passes to a peer and back, if it takes part
    Bandwidth(BandwidthArguments),
    /// The last ten minutes, a row a second for each peer and for all together
    History,
    /// The same as it happens
    Links,
}

#[derive(Debug, Args)]
pub struct PingArguments {
    #[command(flatten)]
    pub peer: Peer,
    /// Times, one a second
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub count: u32,
}

#[derive(Debug, Args)]
pub struct BandwidthArguments {
    #[command(flatten)]
    pub peer: Peer,
    /// Seconds each way
    #[arg(long = "for", value_name = "S", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub seconds: u32,
}

#[derive(Debug, Args)]
pub struct ServiceArguments {
    #[command(subcommand)]
    pub verb: ServiceVerb,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ServiceVerb {
    /// Start kithd now and at every login
    Install,
    /// Undo that; identity and settings stay
    Remove,
    /// Is it installed, running, and started at login?
    Status,
}

#[derive(Debug, Args)]
pub struct Peer {
    /// A name, peer id, ticket (kith:…), multiaddr, or IP address with or without a port
    #[arg(value_name = "PEER")]
    pub peer: String,
}

#[derive(Debug, Args)]
pub struct Media {
    /// Pictures: camera[:N], test, none, or a .y4m file [default: the camera, or test where there is none]
    #[arg(long, value_name = "SRC")]
    pub video: Option<VideoSource>,
    /// Sound: mic[:NAME], test, none, or a .wav file [default: the microphone, or test where there is none]
    #[arg(long, value_name = "SRC")]
    pub audio: Option<AudioSource>,
    /// Record what the other side sends into DIR: video.y4m and audio.wav
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Hang up after S seconds, counted from when the call is active
    #[arg(long = "for", value_name = "S", value_parser = seconds)]
    pub limit: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct CallArguments {
    #[command(flatten)]
    pub peer: Peer,
    /// Sound only
    #[arg(long)]
    pub voice: bool,
    #[command(flatten)]
    pub media: Media,
}

#[derive(Debug, Args)]
pub struct AnswerArguments {
    /// Only a call from this peer
    #[arg(long, value_name = "PEER")]
    pub from: Option<String>,
    #[command(flatten)]
    pub media: Media,
    /// Give up after S seconds without a call [default: wait on]
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Which {
    /// The call's id, or the first digits of it [default: the only one there is]
    #[arg(value_name = "CALL")]
    pub call: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum OnOff {
    On,
    Off,
}

impl OnOff {
    pub fn switch(self) -> Switch {
        match self {
            Self::On => Switch::On,
            Self::Off => Switch::Off,
        }
    }
}

#[derive(Debug, Args)]
pub struct MuteArguments {
    #[arg(value_enum, default_value = "on")]
    pub state: OnOff,
    /// The call's id, or the first digits of it [default: the only one there is]
    #[arg(long, value_name = "CALL")]
    pub call: Option<String>,
}

#[derive(Debug, Args)]
pub struct CameraArguments {
    #[arg(value_enum, default_value = "on")]
    pub state: OnOff,
    /// The call's id, or the first digits of it [default: the only one there is]
    #[arg(long, value_name = "CALL")]
    pub call: Option<String>,
}

#[derive(Debug, Args)]
pub struct TestCallArguments {
    /// Packets lost, in per cent, each direction
    #[arg(long, value_name = "PCT", default_value_t = 0.0, value_parser = per_cent)]
    pub loss: f64,
    /// Delay one way in milliseconds, each direction
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub delay: u32,
    /// Rate of the link in kb/s, each direction [default: no limit]
    #[arg(long, value_name = "KBPS", value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub rate: Option<u32>,
    /// The rate from S seconds after the call is active, to see how the call follows
    #[arg(long, value_name = "S:KBPS", value_parser = rate_after)]
    pub rate_after: Option<RateAfter>,
    /// Size of the test picture
    #[arg(long, value_name = "WxH", default_value = "640x360")]
    pub size: Size,
    /// Pictures a second
    #[arg(long, value_name = "N", default_value = "30", value_parser = frame_rate)]
    pub fps: FrameRate,
    /// auto, aom or rav1e
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub encoder: EncoderChoice,
    /// Sound only
    #[arg(long)]
    pub voice: bool,
    /// Length of the call in seconds, counted from when it is active
    #[arg(long = "for", value_name = "S", default_value = "10", value_parser = seconds)]
    pub limit: Duration,
    /// Record what comes back into DIR: video.y4m and audio.wav
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
}

/// A change of the link in the middle of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RateAfter {
    pub after: Duration,
    pub kbps: u32,
}

fn rate_after(text: &str) -> Result<RateAfter, String> {
    let (after, kbps) = text.split_once(':').ok_or("expected seconds:kbps, like 15:500")?;
    let kbps = kbps.parse().ok().filter(|kbps| (10..=1_000_000).contains(kbps));
    Ok(RateAfter { after: seconds(after)?, kbps: kbps.ok_or("the rate must be 10 to 1000000 kb/s")? })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=31_536_000.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds".to_owned())
}

fn per_cent(text: &str) -> Result<f64, String> {
    let number = text.trim_end_matches('%').parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected a number from 0 to 100".to_owned())
}

fn frame_rate(text: &str) -> Result<FrameRate, String> {
    let milli = text.parse::<f64>().ok().filter(|fps| (0.1..=240.0).contains(fps)).map(|fps| (fps * 1000.0).round());
    milli
        .and_then(|milli| FrameRate::from_milli(milli as u32))
        .ok_or_else(|| "expected a number of pictures a second, at most 240".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let hash = "ab".repeat(32);
        let words = line.split_whitespace().map(|word| if word == "HASH" { hash.as_str() } else { word });
        Cli::try_parse_from(std::iter::once("kithctl").chain(words)).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_form_of_the_interface_is_understood() {
        for line in [
            "id",
            "--json status",
            "status --json --socket /tmp/x",
            "ip",
            "ip --watch",
            "diag report",
            "diag ping ada",
            "diag ping ada --count 10",
            "diag trace 192.0.2.7",
            "diag bandwidth ada --for 3",
            "diag history",
            "diag links",
            "peers",
            "peers --watch",
            "peers connect 192.0.2.7",
            "peers disconnect 12D3KooW",
            "peers show ada",
            "services",
            "services --watch",
            "services start audio",
            "services stop node",
            "services port video 9997",
            "services port video 0",
            "id qr",
            "id qr --to me.png",
            "id export me.kith",
            "id import me.kith --data-dir new --config new.toml",
            "contacts",
            "contacts list",
            "contacts --watch",
            "contacts add kith:abc --name ada --message hello",
            "contacts add ada.png --name ada",
            "contacts add --qr ada --name ada",
            "contacts remove ada",
            "contacts rename ada Ada",
            "contacts note ada met-in-Oslo",
            "contacts trust ada never",
            "contacts trust ada always --for relay",
            "contacts requests",
            "contacts accept 12D3KooW --name ben",
            "contacts refuse 12D3KooW",
            "contacts verify ada",
            "contacts verify ada --yes",
            "contacts away",
            "contacts online",
            "chat",
            "chat list",
            "chat send ada hello",
            "chat send ada - --reply 000102030405060708090a0b0c0d0eff --attach abc=cat.png --attach def",
            "chat history ada --limit 10 --before 2026-03-01T12:00:00Z",
            "chat history ada --before 4711",
            "chat search hello --in ada --limit 5",
            "chat watch --after 0",
            "chat edit 000102030405060708090a0b0c0d0eff hi",
            "chat delete 000102030405060708090a0b0c0d0eff",
            "chat react 000102030405060708090a0b0c0d0eff 👍 --off",
            "chat read ada",
            "chat group new friends ada ben",
            "chat group add friends cem",
            "chat group remove friends cem",
            "chat group leave friends",
            "chat group rename friends family",
            "chat retention ada 30",
            "chat export ada --to ada.jsonl",
            "chat export --all",
            "chat forget ada",
            "files",
            "files add a.bin folder --to ada --to ben",
            "files add - --name a.bin --scope contacts",
            "files add a.bin --copy --scope anyone --to ada",
            "files get HASH",
            "files get HASH --to out --from ada --from ben --only-from --name b.bin --wait 5",
            "files list --search holiday --limit 10",
            "files show HASH",
            "files remove HASH",
            "files transfers",
            "files pause 3",
            "files resume 3",
            "files first 3",
            "files cancel 3",
            "files offers",
            "files accept 3 --to out --name b.bin",
            "files refuse 3",
            "files keep HASH ada ben",
            "files keep HASH --nobody",
            "files kept",
            "files kept --drop HASH",
            "files settings",
            "files settings --folder out --download 10M --upload 0 --unasked 100M --unasked-kinds image,audio",
            "files settings --copies 1GB --store 10GiB --at-once 3",
            "--json files watch",
            "files cat HASH --offset 10 --length 20",
            "call ada --voice",
            "call kith:abc --video a.y4m --audio a.wav --record out --for 2.5",
            "call ada --video camera:1 --audio mic:USB",
            "answer",
            "answer --from ada --video test --audio none --wait 20",
            "calls",
            "calls log",
            "calls log --peer ada --search love --missed --limit 500 --before 2026-03-01",
            "calls log --clear",
            "calls log --clear --peer ada --yes",
            "calls log --forget 00ff",
            "hangup",
            "hangup 00ff",
            "decline",
            "mute",
            "mute off",
            "camera off --call 00ff",
            "service install",
            "service remove",
            "--json service status",
            "test-call",
            "test-call --loss 5 --delay 25 --rate 1000 --size 1280x720 --fps 25 --encoder rav1e --for 30",
            "test-call --rate 2000 --rate-after 15:500 --voice --record out",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn wrong_usage_is_refused_with_exit_code_2() {
        for line in [
            "no-such-noun",
            "call",
            "call ada --video song.mp3",
            "call ada --audio test.y4m",
            "call ada --for soon",
            "call ada --for -1",
            "mute maybe",
            "service",
            "service restart",
            "test-call --size 641x360",
            "test-call --loss 101",
            "test-call --encoder x264",
            "test-call --fps 0",
            "test-call --rate-after 500",
            "peers --watch connect ada",
            "services stop",
            "services stop telegraph",
            "services port video",
            "services port video 70000",
            "services --watch stop audio",
            "contacts trust ada sometimes",
            "contacts trust ada always --for everything",
            "contacts --watch requests",
            "contacts add",
            "contacts add ada --qr ada.png",
            "chat send ada",
            "chat edit nonsense hi",
            "calls log --limit 0",
            "calls log --before yesterday",
            "calls log --yes",
            "calls log --clear --search ada",
            "calls log --clear --forget 00ff",
            "chat history ada --limit 0",
            "chat history ada --before yesterday",
            "chat search hello --limit many",
            "chat export ada --all",
            "chat group new friends",
            "files add",
            "files add a.bin --scope everybody",
            "files get",
            "files get me.jpg",
            "files get HASH --only-from",
            "files get HASH --wait soon",
            "files list --limit 0",
            "files remove nonsense",
            "files pause",
            "files pause first",
            "files keep HASH",
            "files keep HASH ada --nobody",
            "files settings --download fast",
            "files settings --unasked-kinds program",
            "files settings --at-once 0",
            "files cat HASH --length 0",
            "diag",
            "diag ping",
            "diag ping ada --count 0",
            "diag bandwidth ada --for 60",
        ] {
            let error = parse(line).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn what_does_not_exist_yet_is_not_in_the_help() {
        let help = Cli::command().render_long_help().to_string();
        for noun in ["broadcast", "tor"] {
            assert!(!help.contains(noun), "{noun}");
        }
    }
}
