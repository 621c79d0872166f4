//! Which settings a running daemon can take over, and which wait for its next start.

use super::Config;

/// The keys whose values differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub at_once: Vec<&'static str>,
    pub at_restart: Vec<&'static str>,
}

impl Config {
    /// How `new` differs from what runs. Every setting has its place here: a new one does not compile without.
    pub fn changes(&self, new: &Self) -> Changes {
        let Self {
            // Another file would be another daemon, and the tests' own knobs are for the start.
            config_file: _,
            fixed_ports: _,
            fixed_downloads: _,
            impair: _,
            impair_next: _,
            errand: _,
            data_dir,
            socket,
            bind,
            node_port,
            video_port,
            audio_port,
            taken_port,
            bootstrap,
            mdns,
            upnp,
            dht,
            relay,
            name,
            auto_answer,
            calls_from_strangers,
            echo,
            bandwidth_test,
            encoder,
            downloads,
            log,
            limits,
        } = self;
        let pick = |all: &[(&'static str, bool)]| all.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect();
        Changes {
            at_once: pick(&[
                ("name", *name == new.name),
                ("auto_answer", *auto_answer == new.auto_answer),
                ("calls_from_strangers", *calls_from_strangers == new.calls_from_strangers),
                ("bootstrap", *bootstrap == new.bootstrap),
                ("log", *log == new.log),
            ]),
            at_restart: pick(&[
                ("data_dir", *data_dir == new.data_dir),
                ("socket", *socket == new.socket),
                ("bind", *bind == new.bind),
                ("node_port", *node_port == new.node_port),
                ("video_port", *video_port == new.video_port),
                ("audio_port", *audio_port == new.audio_port),
                ("taken_port", *taken_port == new.taken_port),
                ("mdns", *mdns == new.mdns),
                ("upnp", *upnp == new.upnp),
                ("dht", *dht == new.dht),
                ("relay", *relay == new.relay),
                ("echo", *echo == new.echo),
                ("bandwidth_test", *bandwidth_test == new.bandwidth_test),
                ("encoder", *encoder == new.encoder),
                ("downloads", *downloads == new.downloads),
                ("limits", *limits == new.limits),
            ]),
        }
    }

    /// Makes the changes that are possible.
    pub fn take_over(&mut self, new: &Self) {
        self.name.clone_from(&new.name);
        self.auto_answer = new.auto_answer;
        self.calls_from_strangers = new.calls_from_strangers;
        self.bootstrap.clone_from(&new.bootstrap);
        self.log.clone_from(&new.log);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::load;
    use super::*;

    #[test]
    fn what_can_change_does_and_the_rest_is_named_until_it_has() {
        let mut running = load("name = \"ada\"", &[]).expect("valid");
        let new = load("name = \"grace\"\nlog = \"debug\"\nnode_port = 7\nrelay = true", &[]).expect("valid");
        let changes = running.changes(&new);
        assert_eq!(changes.at_once, ["name", "log"]);
        assert_eq!(changes.at_restart, ["node_port", "relay"]);
        running.take_over(&new);
        assert_eq!((running.name.as_str(), running.node_port), ("grace", 9999));
        let again = running.changes(&new);
        assert!(again.at_once.is_empty());
        assert_eq!(again.at_restart, changes.at_restart);
    }

    #[test]
    fn a_flag_still_beats_the_file() {
        let old = load("", &["--name", "ada"]).expect("valid");
        let new = load("name = \"grace\"", &["--name", "ada"]).expect("valid");
        assert_eq!(old.changes(&new), Changes::default());
    }
}
