//! Latency, jitter and loss of the datagram path to one peer, from numbered probes.
//!
//! A round trip that fails does not say which way it failed, so the side that answers keeps a [`Witness`]: it tells with
//! each answer which of the last 64 probes have reached it. So the side that asks knows for each direction by itself what
//! was lost: a probe that was not heard was lost on the way there, one that was heard and not answered on the way back.
//! A link that loses 5 % one way shows 5 % in that direction, not the 9.75 % of a round trip.
//!
//! A probe counts once it is old enough for its answer to be overdue. A path that answers nothing for a while has no figures
//! rather than a loss of 100 %: UDP does not pass there, which is no quality of the path.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Probes that the loss is counted over: 100 s at two a second. Of 5 % loss the figure then is within 3 % (two deviations).
pub const WINDOW: usize = 200;
/// An answer that takes longer is one for statistics, not for a conversation.
pub const REPLY_WITHIN: Duration = Duration::from_secs(2);
/// A path that has answered nothing for so long carries no datagrams (any more).
pub const SILENT_AFTER: Duration = Duration::from_secs(10);
/// Fewer probes say nothing about loss.
const MIN_SETTLED: usize = 20;

/// What has been heard of a row of probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The highest number heard.
    pub highest: u32,
    /// Bit n: the probe `highest - n` was heard.
    pub mask: u64,
}

impl Report {
    /// `None`: too long ago to be told, or still to come.
    fn heard(self, number: u32) -> Option<bool> {
        let age = self.highest.checked_sub(number).filter(|age| *age < u64::BITS)?;
        Some(self.mask >> age & 1 == 1)
    }
}

/// The answering side's memory of one row of probes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Witness {
    report: Option<Report>,
}

impl Witness {
    /// A probe has come: what to say of all so far.
    pub fn handle_probe(&mut self, number: u32) -> Report {
        let report = match self.report {
            None => Report { highest: number, mask: 1 },
            Some(Report { highest, mask }) if number > highest => {
                let mask = mask.checked_shl(number - highest).unwrap_or(0) | 1;
                Report { highest: number, mask }
            }
            Some(Report { highest, mask }) => {
                let late = 1u64.checked_shl(highest - number).unwrap_or(0);
                Report { highest, mask: mask | late }
            }
        };
        self.report = Some(report);
        report
    }
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u32,
    at: Instant,
    answered: bool,
    /// `None`: the peer has not told yet.
    heard: Option<bool>,
}

/// Shares of datagrams lost, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Of those to the peer.
    pub there: f64,
    /// Of those from the peer.
    pub back: f64,
}

impl Loss {
    /// The direction that is worse, which is what a conversation suffers from.
    pub fn worst(self) -> f64 {
        self.there.max(self.back)
    }
}

/// What a path is like. All `None` where it carries no datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    pub rtt: Option<Duration>,
    pub jitter: Option<Duration>,
    pub loss: Option<Loss>,
}

/// The asking side.
#[derive(Debug, Default)]
pub struct Prober {
    next: u32,
    sent: VecDeque<Sent>,
    rtt: Option<Duration>,
    jitter: Duration,
    last_rtt: Option<Duration>,
    answered_at: Option<Instant>,
}

impl Prober {
    /// A probe leaves now: its number.
    pub fn handle_sent(&mut self, now: Instant) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if self.sent.len() == WINDOW {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { number, at: now, answered: false, heard: None });
        number
    }

    /// An answer has come. `None` when it answers nothing that is still known, or has come already.
    pub fn handle_answer(&mut self, number: u32, report: Report, now: Instant) -> Option<Duration> {
        let sent = self.sent.iter_mut().find(|sent| sent.number == number && !sent.answered)?;
        sent.answered = true;
        let rtt = now.saturating_duration_since(sent.at);
        if self.is_silent(now) {
            // The break was no loss of this path; it begins anew.
            self.sent.retain(|sent| sent.number >= number);
        }
        self.answered_at = Some(now);
        for sent in &mut self.sent {
            if sent.answered {
                sent.heard = Some(true);
            } else if let Some(heard) = report.heard(sent.number) {
                // Heard once is heard; not heard may still be on its way.
                sent.heard = Some(heard || sent.heard == Some(true));
            }
        }
        self.measured(rtt);
        Some(rtt)
    }

    /// Jitter as in RFC 3550, 6.4.1 (a sixteenth of each change), the round trip as in RFC 6298 (an eighth).
    fn measured(&mut self, rtt: Duration) {
        if let Some(last) = self.last_rtt {
            self.jitter = self.jitter * 15 / 16 + rtt.abs_diff(last) / 16;
        }
        self.last_rtt = Some(rtt);
        self.rtt = Some(self.rtt.map_or(rtt, |smooth| smooth * 7 / 8 + rtt / 8));
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.answered_at.is_none_or(|at| now.saturating_duration_since(at) >= SILENT_AFTER)
    }

    pub fn figures(&self, now: Instant) -> Figures {
        if self.is_silent(now) {
            return Figures::default();
        }
        let settled = self.sent.iter().filter(|sent| now.saturating_duration_since(sent.at) >= REPLY_WITHIN);
        let (mut told, mut heard, mut answered) = (0_usize, 0_usize, 0_usize);
        for sent in settled {
            told += usize::from(sent.heard.is_some());
            heard += usize::from(sent.heard == Some(true));
            answered += usize::from(sent.answered);
        }
        let lost = |of: usize, arrived: usize| if of == 0 { 0.0 } else { 1.0 - arrived as f64 / of as f64 };
        let loss = Loss { there: lost(told, heard), back: lost(heard, answered) };
        let jitter = self.last_rtt.map(|_| self.jitter);
        Figures { rtt: self.rtt, jitter, loss: (told >= MIN_SETTLED).then_some(loss) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Link, LinkConfig};

    const EVERY: Duration = Duration::from_millis(500);

    /// Probes a peer for so long over two emulated links, and says what the path is like.
    fn probe(there: LinkConfig, back: LinkConfig, seconds: u32) -> Figures {
        let start = Instant::now();
        let (mut out, mut home) = (Link::new(there, start), Link::new(back, start));
        let (mut prober, mut witness) = (Prober::default(), Witness::default());
        let mut now = start;
        for step in 0..seconds * 100 {
            now = start + Duration::from_millis(10) * step;
            if (now - start).as_millis().is_multiple_of(EVERY.as_millis()) {
                out.send(now, prober.handle_sent(now), 64);
            }
            while let Some(number) = out.pop(now) {
                home.send(now, (number, witness.handle_probe(number)), 96);
            }
            while let Some((number, report)) = home.pop(now) {
                prober.handle_answer(number, report, now);
            }
        }
        prober.figures(now)
    }

    fn link(loss: f64, seed: u64) -> LinkConfig {
        LinkConfig { loss, seed, delay: Duration::from_millis(30), ..LinkConfig::default() }
    }

    #[test]
    fn a_link_that_loses_5_percent_one_way_shows_5_percent_in_that_direction_only() {
        let (mut there, mut back) = (0.0, 0.0);
        for seed in 1..=100 {
            let loss = probe(link(0.05, seed), link(0.0, 1000 + seed), 120).loss.expect("probed for two minutes");
            assert!(loss.back < 0.001, "seed {seed}: {loss:?}");
            there += loss.there / 100.0;
            let loss = probe(link(0.0, seed), link(0.05, 1000 + seed), 120).loss.expect("probed for two minutes");
            assert!(loss.there < 0.001, "seed {seed}: {loss:?}");
            back += loss.back / 100.0;
        }
        assert!((there - 0.05).abs() < 0.01 && (back - 0.05).abs() < 0.01, "{there} {back}");
    }

    #[test]
    fn loss_both_ways_is_told_apart() {
        let mut sum = Loss { there: 0.0, back: 0.0 };
        for seed in 1..=20 {
            let loss = probe(link(0.20, seed), link(0.02, 1000 + seed), 120).loss.expect("probed for two minutes");
            sum = Loss { there: sum.there + loss.there / 20.0, back: sum.back + loss.back / 20.0 };
        }
        assert!((sum.there - 0.20).abs() < 0.02 && (sum.back - 0.02).abs() < 0.01, "{sum:?}");
        assert!((sum.worst() - sum.there).abs() < f64::EPSILON);
    }

    #[test]
    fn round_trip_and_jitter_are_those_of_the_path() {
        let figures = probe(link(0.0, 1), link(0.0, 2), 20);
        let rtt = figures.rtt.expect("answered").as_millis();
        assert!((55..=75).contains(&rtt), "{rtt}");
        assert!(figures.jitter.expect("answered") < Duration::from_millis(3));
        let shaky = LinkConfig { jitter: Duration::from_millis(40), ..link(0.0, 1) };
        let figures = probe(shaky, link(0.0, 2), 60);
        assert!(figures.jitter.expect("answered") > Duration::from_millis(5), "{figures:?}");
    }

    #[test]
    fn a_path_that_never_answers_has_no_loss() {
        assert_eq!(probe(link(1.0, 1), link(0.0, 2), 60), Figures::default());
    }

    #[test]
    fn few_probes_say_nothing_about_loss() {
        let figures = probe(link(0.0, 1), link(0.0, 2), 5);
        assert!(figures.rtt.is_some() && figures.loss.is_none());
    }

    #[test]
    fn a_break_of_the_path_ends_the_figures_and_is_no_loss_afterwards() {
        let start = Instant::now();
        let (mut prober, mut witness) = (Prober::default(), Witness::default());
        let mut now = start;
        for step in 0..200 {
            now = start + EVERY * step;
            let number = prober.handle_sent(now);
            // Nothing passes for 15 s in the middle.
            if !(60..90).contains(&step) {
                let report = witness.handle_probe(number);
                assert!(prober.handle_answer(number, report, now + Duration::from_millis(20)).is_some());
            }
            if step == 85 {
                assert_eq!(prober.figures(now), Figures::default());
            }
        }
        assert_eq!(prober.figures(now).loss, Some(Loss { there: 0.0, back: 0.0 }));
    }

    #[test]
    fn answers_nobody_asked_for_change_nothing() {
        let now = Instant::now();
        let mut prober = Prober::default();
        let report = Report { highest: u32::MAX, mask: u64::MAX };
        assert_eq!(prober.handle_answer(7, report, now), None);
        let number = prober.handle_sent(now);
        assert!(prober.handle_answer(number, report, now).is_some());
        assert_eq!(prober.handle_answer(number, report, now), None);
    }

    #[test]
    fn a_witness_tells_of_the_last_64_whatever_the_numbers_are() {
        let mut witness = Witness::default();
        for number in [5, 3, 6, 6, u32::MAX, 0, u32::MAX - 63, u32::MAX - 64] {
            witness.handle_probe(number);
        }
        let report = witness.handle_probe(u32::MAX - 1);
        assert_eq!(report.highest, u32::MAX);
        assert_eq!(report.mask, 1 << 63 | 0b11);
        assert_eq!((report.heard(u32::MAX - 1), report.heard(u32::MAX - 2)), (Some(true), Some(false)));
        assert_eq!(report.heard(u32::MAX - 64), None);
    }
}
