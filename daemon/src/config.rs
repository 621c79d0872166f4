//! The daemon's settings: flag beats environment beats `kithd.toml` beats default.
//!
//! Everything has a default. A key that does not exist, or a value that makes no sense, is an error that names it: a
//! setting that is silently not in force is worse than a daemon that does not start.

mod reload;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use clap::builder::BoolishValueParser;
use kith_common::call::EncoderChoice;
use kith_common::paths;
use kith_common::target::NODE_PORT;
use kith_core::listener::TakenPort;
use serde::Deserialize;

use crate::backup::Errand;
use crate::calls::{AutoAnswer, Strangers};
use crate::diagnostics::BandwidthTest;
use crate::media::{AUDIO_PORT, Impairment, VIDEO_PORT};
use crate::net::{DhtMode, Limits, Multiaddr, Toggle};

/// What peers see of a name at most (wire.capnp).
const MAX_NAME_CHARS: usize = 64;
/// A settings file is a page of text; a larger one is something else.
const MAX_FILE_BYTES: u64 = 64 * 1024;
// The DHT warns of every node that knows nobody yet.
const DEFAULT_LOG: &str = "warn,kithd=info,kith_core=info,kith_common=info,libp2p_kad=error";

/// Kith's daemon: your node for private calls. Runs without a window; `kith` and `kithctl` talk to it.
#[derive(Debug, Parser)]
#[command(name = "kithd", version, args_override_self = true, max_term_width = 100)]
struct Flags {
    /// Where the identity is kept [default: $XDG_DATA_HOME/kith]
    #[arg(long, env = "KITH_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The settings file [default: $XDG_CONFIG_HOME/kith/kithd.toml]
    #[arg(long, env = "KITH_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The Unix socket for clients [default: $XDG_RUNTIME_DIR/kith/kithd.sock]
    #[arg(long, env = "KITH_SOCKET", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Listen on this address only [default: all]
    #[arg(long, env = "KITH_BIND", value_name = "IP")]
    bind: Option<IpAddr>,
    /// TCP and UDP port of the node; 0: any [default: 9999]
    #[arg(long, env = "KITH_NODE_PORT", value_name = "N")]
    node_port: Option<u16>,
    /// UDP port for video calls; 0: any [default: 9996]
    #[arg(long, env = "KITH_VIDEO_PORT", value_name = "N")]
    video_port: Option<u16>,
    /// UDP port for voice calls; 0: any [default: 9998]
    #[arg(long, env = "KITH_AUDIO_PORT", value_name = "N")]
    audio_port: Option<u16>,
    /// When another program has a port: wait until it is free, or take the next free one (auto) [default: wait]
    #[arg(long, env = "KITH_TAKEN_PORT", value_name = "wait|auto")]
    taken_port: Option<TakenPort>,
    /// A node to join the network through; may be given several times
    #[arg(long, env = "KITH_BOOTSTRAP", value_name = "MULTIADDR", value_delimiter = ',')]
    bootstrap: Vec<Multiaddr>,
    /// Do not look for nodes on the local network
    #[arg(long, env = "KITH_NO_MDNS", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    no_mdns: Option<bool>,
    /// Do not ask the router for a port
    #[arg(long, env = "KITH_NO_UPNP", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    no_upnp: Option<bool>,
    /// Part in the DHT: auto, server or client [default: auto]
    #[arg(long, env = "KITH_DHT", value_name = "MODE")]
    dht: Option<DhtMode>,
    /// Serve as relay and bootstrap node for others
    #[arg(long, env = "KITH_RELAY", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    relay: Option<bool>,
    /// What others see you called [default: user@host]
    #[arg(long, env = "KITH_NAME", value_name = "TEXT")]
    name: Option<String>,
    /// Whose calls are accepted without asking: never, contacts or always [default: never]
    #[arg(long, env = "KITH_AUTO_ANSWER", value_name = "WHOSE")]
    auto_answer: Option<AutoAnswer>,
    /// What becomes of calls of those who are no contacts: ring, a few times an hour, or request [default: ring]
    #[arg(long, env = "KITH_CALLS_FROM_STRANGERS", value_name = "WHAT")]
    calls_from_strangers: Option<Strangers>,
    /// Answer every call and send back what arrives
    #[arg(long, env = "KITH_ECHO", value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    echo: Option<bool>,
    /// With whom this node measures the bandwidth: never, lan or connected [default: lan]
    #[arg(long, env = "KITH_BANDWIDTH_TEST", value_name = "WHOM")]
    bandwidth_test: Option<BandwidthTest>,
    /// The video encoder: auto, aom or rav1e [default: auto]
    #[arg(long, env = "KITH_ENCODER", value_name = "ENCODER")]
    encoder: Option<EncoderChoice>,
    /// Where fetched files are saved [default: what was chosen with kithctl, else the Downloads folder]
    #[arg(long, env = "KITH_DOWNLOADS", value_name = "DIR")]
    downloads: Option<PathBuf>,
    /// What is logged, e.g. warn,kithd=debug
    #[arg(long, env = "KITH_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Write the identity, the contacts, the groups and the settings to FILE, sealed with a passphrase, and end. The passphrase
    /// is in $KITH_PASSPHRASE or the first line of standard input
    #[arg(long, value_name = "FILE", conflicts_with = "import_identity")]
    export_identity: Option<PathBuf>,
    /// Make a new data directory from such a FILE, and end. Afterwards no other machine may use that identity
    #[arg(long, value_name = "FILE")]
    import_identity: Option<PathBuf>,
    /// A worse network at the media sockets, for tests: delay=MS,loss=PERCENT,rate=KBPS, each direction
    #[arg(long, env = "KITH_IMPAIR", value_name = "SPEC", hide = true, value_parser = parse_impairment)]
    impair: Option<Impairment>,
    /// The network that SIGUSR1 changes to, as in --impair
    #[arg(long, env = "KITH_IMPAIR_NEXT", value_name = "SPEC", hide = true, value_parser = parse_impairment)]
    impair_next: Option<Impairment>,
}

/// `kithd.toml`.
#[derive(Debug, Default, Deserialize)]
struct File {
    data_dir: Option<PathBuf>,
    socket: Option<PathBuf>,
    bind: Option<IpAddr>,
    node_port: Option<u16>,
    video_port: Option<u16>,
    audio_port: Option<u16>,
    taken_port: Option<String>,
    bootstrap: Option<Vec<String>>,
    mdns: Option<bool>,
    upnp: Option<bool>,
    dht: Option<String>,
    relay: Option<bool>,
    name: Option<String>,
    auto_answer: Option<String>,
    calls_from_strangers: Option<String>,
    echo: Option<bool>,
    bandwidth_test: Option<String>,
    encoder: Option<String>,
    downloads: Option<PathBuf>,
    log: Option<String>,
    limits: Option<Limits>,
}

/// The keys above; a test holds the two together.
const KEYS: [&str; 21] = [
    "data_dir",
    "socket",
    "bind",
    "node_port",
    "video_port",
    "audio_port",
    "taken_port",
    "bootstrap",
    "mdns",
    "upnp",
    "dht",
    "relay",
    "name",
    "auto_answer",
    "calls_from_strangers",
    "echo",
    "bandwidth_test",
    "encoder",
    "downloads",
    "log",
    "limits",
];

/// Everything the daemon is started with.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub data_dir: PathBuf,
    pub config_file: PathBuf,
    pub socket: PathBuf,
    pub bind: Option<IpAddr>,
    pub node_port: u16,
    pub video_port: u16,
    pub audio_port: u16,
    /// Services whose port was named on the command line or in the environment: what a client chose before is not in force.
    pub fixed_ports: BTreeSet<&'static str>,
    pub taken_port: TakenPort,
    pub bootstrap: Vec<Multiaddr>,
    pub mdns: Toggle,
    pub upnp: Toggle,
    pub dht: DhtMode,
    pub relay: Toggle,
    pub name: String,
    pub auto_answer: AutoAnswer,
    pub calls_from_strangers: Strangers,
    pub echo: Toggle,
    pub bandwidth_test: BandwidthTest,
    pub encoder: EncoderChoice,
    /// A full path.
    pub downloads: Option<PathBuf>,
    /// It was named on the command line or in the environment: what a client chose before is not in force.
    pub fixed_downloads: bool,
    pub log: String,
    pub limits: Limits,
    pub impair: Option<Impairment>,
    pub impair_next: Option<Impairment>,
    /// What to do instead of running.
    pub errand: Option<Errand>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read the settings {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the settings {path} are not valid: {reason}")]
    Syntax { path: PathBuf, reason: String },
    #[error("the settings {path} have an unknown key {key:?}{}", nearest(.key, .keys))]
    UnknownKey { path: PathBuf, key: String, keys: &'static [&'static str] },
    #[error("the settings {path} have a wrong value for {key:?}: {reason}")]
    Value { path: PathBuf, key: &'static str, reason: String },
    #[error("the name {0:?} cannot be used: it must have 1 to {MAX_NAME_CHARS} printable characters")]
    Name(String),
}

/// The key that was probably meant.
fn nearest(key: &str, keys: &[&str]) -> String {
    let likeness = |known: &&str| strsim::jaro_winkler(&key.to_lowercase().replace('-', "_"), known);
    let best = keys.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|known| likeness(known) > 0.75) {
        Some(known) => format!("; did you mean {known:?}?"),
        None => format!("; the keys are: {}", keys.join(", ")),
    }
}

impl Config {
    /// From this process's arguments, environment and settings file. Prints help and ends the process when asked to,
    /// which later calls are not: the arguments are the same.
    pub fn load() -> Result<Self, ConfigError> {
        Self::from_flags(Flags::parse())
    }

    fn from_flags(flags: Flags) -> Result<Self, ConfigError> {
        let path = flags.config.unwrap_or_else(paths::config_file);
        let file = File::read(&path)?;
        let key = |key| Key { path: &path, key };
        let on = |flag: Option<bool>, file: Option<bool>| toggle(flag.or(file).unwrap_or(false));
        let not = |flag: Option<bool>| flag.map(|off| !off);
        let name = match flags.name.or(file.name) {
            Some(name) => checked_name(name)?,
            None => default_name(),
        };
        let bootstrap = if flags.bootstrap.is_empty() {
            let texts = file.bootstrap.unwrap_or_default();
            texts.iter().map(|text| key("bootstrap").parse(text)).collect::<Result<_, _>>()?
        } else {
            flags.bootstrap
        };
        let ports = [("node", flags.node_port), ("video", flags.video_port), ("audio", flags.audio_port)];
        Ok(Self {
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(paths::data_dir),
            socket: flags.socket.or(file.socket).unwrap_or_else(paths::socket),
            bind: flags.bind.or(file.bind),
            node_port: flags.node_port.or(file.node_port).unwrap_or(NODE_PORT),
            video_port: flags.video_port.or(file.video_port).unwrap_or(VIDEO_PORT),
            audio_port: flags.audio_port.or(file.audio_port).unwrap_or(AUDIO_PORT),
            fixed_ports: ports.into_iter().filter(|(_, port)| port.is_some()).map(|(name, _)| name).collect(),
            taken_port: key("taken_port").choose(flags.taken_port, file.taken_port)?,
            bootstrap,
            mdns: toggle(not(flags.no_mdns).or(file.mdns).unwrap_or(true)),
            upnp: toggle(not(flags.no_upnp).or(file.upnp).unwrap_or(true)),
            dht: key("dht").choose(flags.dht, file.dht)?,
            relay: on(flags.relay, file.relay),
            name,
            auto_answer: key("auto_answer").choose(flags.auto_answer, file.auto_answer)?,
            calls_from_strangers: key("calls_from_strangers")
                .choose(flags.calls_from_strangers, file.calls_from_strangers)?,
            echo: on(flags.echo, file.echo),
            bandwidth_test: key("bandwidth_test").choose(flags.bandwidth_test, file.bandwidth_test)?,
            encoder: key("encoder").choose(flags.encoder, file.encoder)?,
            fixed_downloads: flags.downloads.is_some(),
            downloads: flags.downloads.or(file.downloads).map(full),
            limits: file.limits.unwrap_or_default(),
            log: flags.log.or(file.log).unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            impair: flags.impair,
            impair_next: flags.impair_next,
            errand: flags.export_identity.map(Errand::Export).or(flags.import_identity.map(Errand::Import)),
            config_file: path,
        })
    }
}

/// For errors that name what they are about.
struct Key<'a> {
    path: &'a Path,
    key: &'static str,
}

impl Key<'_> {
    fn parse<T: FromStr>(&self, text: &str) -> Result<T, ConfigError>
    where
        T::Err: std::fmt::Display,
    {
        let reason = |error: T::Err| format!("{text:?}: {error}");
        text.parse().map_err(|error| ConfigError::Value {
            path: self.path.to_owned(),
            key: self.key,
            reason: reason(error),
        })
    }

    fn choose<T: FromStr + Default>(&self, flag: Option<T>, file: Option<String>) -> Result<T, ConfigError>
    where
        T::Err: std::fmt::Display,
    {
        match (flag, file) {
            (Some(value), _) => Ok(value),
            (None, Some(text)) => self.parse(&text),
            (None, None) => Ok(T::default()),
        }
    }
}

impl File {
    /// A file that does not exist is an empty one.
    fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let syntax = |reason: String| ConfigError::Syntax { path: path.to_owned(), reason };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(read(error)),
            Ok(metadata) if metadata.len() > MAX_FILE_BYTES => return Err(syntax("the file is too large".to_owned())),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let table: toml::Table = toml::from_str(&text).map_err(|error| syntax(error.to_string()))?;
        let unknown = |table: &toml::Table, keys: &'static [&'static str]| {
            let key = table.keys().find(|key| !keys.contains(&key.as_str()))?;
            Some(ConfigError::UnknownKey { path: path.to_owned(), key: key.clone(), keys })
        };
        let limits = table.get("limits").and_then(toml::Value::as_table);
        let wrong = unknown(&table, &KEYS).or_else(|| unknown(limits?, &Limits::KEYS));
        if let Some(error) = wrong {
            return Err(error);
        }
        let file: Self = toml::from_str(&text).map_err(|error| syntax(error.to_string()))?;
        file.limits.unwrap_or_default().check().map_err(|(key, reason)| ConfigError::Value {
            path: path.to_owned(),
            key,
            reason,
        })?;
        Ok(file)
    }
}

/// From where the daemon was started on.
fn full(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn toggle(on: bool) -> Toggle {
    if on { Toggle::On } else { Toggle::Off }
}

fn checked_name(name: String) -> Result<String, ConfigError> {
    let fits = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits && name.trim() == name { Ok(name) } else { Err(ConfigError::Name(name)) }
}

/// What the machine says: `ada@laptop`, or the host alone where there is no user.
fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().split('.').next().unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let name = match (user.trim(), host) {
        ("", "") => "Kith".to_owned(),
        ("", host) => host.to_owned(),
        (user, "") => user.to_owned(),
        (user, host) => format!("{user}@{host}"),
    };
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect()
}

/// `delay=25,loss=5,rate=1000`: milliseconds one way, percent, kilobits a second; any part may be left out.
fn parse_impairment(text: &str) -> Result<Impairment, String> {
    let mut impairment = Impairment::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form key=number"))?;
        let number: f64 = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        let within = |most: f64| {
            if (0.0..=most).contains(&number) { Ok(number) } else { Err(format!("{key} must be from 0 to {most}")) }
        };
        match key {
            "delay" => impairment.delay = Duration::from_secs_f64(within(10_000.0)? / 1000.0),
            "loss" => impairment.loss = within(100.0)? / 100.0,
            "rate" => {
                let bps = within(10_000_000.0)? * 1000.0;
                // Within 10 Gb/s, as just checked.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let bps = bps as u64;
                impairment.rate_bps = Some(bps).filter(|bps| *bps > 0);
            }
            other => return Err(format!("unknown key {other:?}: expected delay, loss or rate")),
        }
    }
    Ok(impairment)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn load(file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kithd.toml");
        std::fs::write(&path, file).expect("a file of our own");
        let config = path.to_str().expect("plain text").to_owned();
        let arguments = ["kithd", "--config", &config].into_iter().chain(flags.iter().copied());
        Config::from_flags(Flags::try_parse_from(arguments).expect("valid flags"))
    }

    #[test]
    fn everything_has_a_default() {
        let config = load("", &[]).expect("an empty file is fine");
        assert_eq!((config.node_port, config.video_port, config.audio_port), (9999, 9996, 9998));
        assert_eq!((config.mdns, config.relay, config.echo), (Toggle::On, Toggle::Off, Toggle::Off));
        assert!(!config.name.is_empty());
    }

    #[test]
    fn flags_beat_the_file() {
        let file = "node_port = 1\nname = \"file\"\nmdns = true\nrelay = true\nbootstrap = [\"/ip4/1.2.3.4/tcp/5\"]";
        let config = load(file, &["--node-port", "2", "--no-mdns", "--relay=false"]).expect("valid");
        assert_eq!((config.node_port, config.name.as_str()), (2, "file"));
        assert_eq!((config.mdns, config.relay), (Toggle::Off, Toggle::Off));
        assert_eq!(config.bootstrap.len(), 1);
        assert_eq!(load(file, &["--relay"]).expect("valid").relay, Toggle::On);
    }

    #[test]
    fn a_port_that_was_named_on_the_command_line_is_known_as_such() {
        let config = load("video_port = 5\ntaken_port = \"auto\"", &["--audio-port", "6"]).expect("valid");
        assert_eq!((config.video_port, config.audio_port), (5, 6));
        assert_eq!(config.fixed_ports, BTreeSet::from(["audio"]));
        assert_eq!(config.taken_port, TakenPort::Auto);
        assert_eq!(load("", &["--taken-port", "wait"]).expect("valid").taken_port, TakenPort::Wait);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_right_one() {
        for (key, meant) in [("node_prot", "node_port"), ("node-port", "node_port"), ("autoanswer", "auto_answer")] {
            let error = load(&format!("{key} = 1"), &[]).expect_err("no such key").to_string();
            assert!(error.contains(key) && error.contains(&format!("did you mean {meant:?}")), "{error}");
        }
        let error = load("zzz = 1", &[]).expect_err("no such key").to_string();
        assert!(error.contains("the keys are: data_dir"), "{error}");
    }

    #[test]
    fn wrong_values_are_named() {
        for (file, word) in [
            ("dht = \"sometimes\"", "dht"),
            ("node_port = 70000", "node_port"),
            ("bootstrap = [\"nowhere\"]", "bootstrap"),
            ("auto_answer = \"perhaps\"", "auto_answer"),
            ("calls_from_strangers = \"never\"", "calls_from_strangers"),
            ("taken_port = \"steal\"", "taken_port"),
            ("bandwidth_test = \"sometimes\"", "bandwidth_test"),
            ("name = \"\"", "name"),
            ("name = ", "kithd.toml"),
        ] {
            let error = load(file, &[]).expect_err(file).to_string();
            assert!(error.contains(word), "{file}: {error}");
        }
    }

    #[test]
    fn all_keys_are_known() {
        let file = "data_dir = \"/x\"\nsocket = \"/x\"\nbind = \"127.0.0.1\"\nnode_port = 1\nvideo_port = 1\n\
                    audio_port = 1\ntaken_port = \"auto\"\nbootstrap = []\nmdns = true\nupnp = true\ndht = \"auto\"\nrelay = true\nname = \"x\"\n\
                    auto_answer = \"never\"\ncalls_from_strangers = \"ring\"\necho = true\nbandwidth_test = \"lan\"\nencoder = \"auto\"\ndownloads = \"/x\"\nlog = \"info\"\nlimits = {}";
        assert_eq!(file.lines().count(), KEYS.len());
        load(file, &[]).expect("every key is one");
    }

    #[test]
    fn limits_are_read_by_their_keys_and_what_makes_no_sense_is_named() {
        let all: String = Limits::KEYS.iter().map(|key| format!("{key} = 50\n")).collect();
        let limits = load(&format!("[limits]\n{all}"), &[]).expect("every key is one").limits;
        assert_eq!((limits.connections, limits.memory_percent, limits.relay_circuit_mb), (50, 50, 50));
        assert_eq!(load("[limits]\nhandshakes = 3", &[]).expect("valid").limits.connections, 512);
        for (line, word) in [
            ("connection = 5", "did you mean \"connections\""),
            ("memory_percent = 0", "memory_percent"),
            ("streams_per_peer = 1", "at least 2"),
            ("connections = -1", "connections"),
        ] {
            let error = load(&format!("[limits]\n{line}"), &[]).expect_err(line).to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn impairments_are_read_and_bounded() {
        let flags = ["--impair", "delay=25,loss=5,rate=1000"];
        let impairment = load("", &flags).expect("valid").impair.expect("given");
        assert_eq!(impairment.delay, Duration::from_millis(25));
        assert!((impairment.loss - 0.05).abs() < 1e-9);
        assert_eq!(impairment.rate_bps, Some(1_000_000));
        for bad in ["loss=101", "delay=x", "speed=1", "loss", "delay=NaN", "rate=-1"] {
            assert!(parse_impairment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_file_is_an_empty_one() {
        let flags = Flags::try_parse_from(["kithd", "--config", "/nonexistent/kithd.toml"]).expect("valid flags");
        assert_eq!(Config::from_flags(flags).expect("defaults").node_port, 9999);
    }
}
