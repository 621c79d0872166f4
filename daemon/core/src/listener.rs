//! The life of one listener of a node: which port it tries, what it does when another program has it, when it looks
//! again, and what stopping, starting and moving it mean.
//!
//! [`Listener`] decides and its owner does: the owner is told what to do ([`Listener::poll_action`]), says how it went
//! (`handle_bound`, `handle_refused`, `handle_lost`) before it asks again, and comes back when time is up
//! ([`Listener::poll_timeout`]). Used by the daemon's media sockets and by its node port. It never sees a socket.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::{Duration, Instant};

use kith_common::node::ServiceState;

/// The wait before a port that could not be had is tried again doubles from the first to the last of these. A port that
/// becomes free is to be taken within ten seconds, and looking at it costs next to nothing.
pub const FIRST_RETRY: Duration = Duration::from_secs(1);
pub const LAST_RETRY: Duration = Duration::from_secs(8);
/// A port that this program itself is about to let go is free in less than a second.
pub const CLOSING_RETRY: Duration = Duration::from_millis(200);
/// Ports tried one after another where the next free one is to be taken: each was free a moment before.
pub const MAX_STEPS: u32 = 8;

/// What to do when another program has the wanted port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TakenPort {
    /// Fail, say who has it, and take it when it becomes free.
    #[default]
    Wait,
    /// Take the next free one.
    Auto,
}

impl FromStr for TakenPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wait" => Ok(Self::Wait),
            "auto" => Ok(Self::Auto),
            other => Err(format!("unknown choice {other:?}: expected wait or auto")),
        }
    }
}

/// Whether a listener runs from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    #[default]
    Running,
    Stopped,
}

/// What a person asks of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop,
    /// 0: any free one.
    SetPort(u16),
}

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Open this port (0: any), then say `handle_bound` or `handle_refused`.
    Bind { port: u16 },
    /// Close what is open. What others still use of it may live on.
    Close,
}

/// Why a port cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Another program has it. The next free one, if one was found.
    Taken {
        next_free: Option<u16>,
    },
    /// This program is about to let it go.
    Closing,
    Other,
}

/// A port that could not be had, in sentences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub why: Why,
    pub error: String,
    /// What a person may do about it; empty when there is nothing.
    pub suggestion: String,
}

/// How a listener stands, as its row shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Never `Absent`.
    pub state: ServiceState,
    /// What is bound; 0: nothing.
    pub port: u16,
    pub wanted_port: u16,
    /// When the state began, or the port in use changed.
    pub since: Instant,
    pub error: String,
    pub suggestion: String,
    pub next_try: Option<Instant>,
}

/// One listener; see the module.
#[derive(Debug)]
pub struct Listener {
    taken_port: TakenPort,
    status: Status,
    /// The wait after the next failure.
    pause: Duration,
    /// Ports beside the wanted one that this try has come to.
    steps: u32,
    /// Why the wanted port was not to be had, while others are tried.
    instead: String,
    actions: VecDeque<Action>,
}

impl Listener {
    pub fn new(wanted_port: u16, begin: Begin, taken_port: TakenPort, now: Instant) -> Self {
        let state = match begin {
            Begin::Running => ServiceState::Starting,
            Begin::Stopped => ServiceState::Stopped,
        };
        let mut listener = Self {
            taken_port,
            status: Status {
                state,
                port: 0,
                wanted_port,
                since: now,
                error: String::new(),
                suggestion: String::new(),
                next_try: None,
            },
            pause: FIRST_RETRY,
            steps: 0,
            instead: String::new(),
            actions: VecDeque::new(),
        };
        if begin == Begin::Running {
            listener.try_wanted();
        }
        listener
    }

    pub fn status(&self) -> &Status {
        &self.status
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When `handle_timeout` wants to be called, if nothing else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.status.next_try
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.status.next_try.is_some_and(|at| at <= now) {
            self.status.next_try = None;
            self.try_wanted();
        }
    }

    pub fn handle_order(&mut self, order: Order, now: Instant) {
        let state = self.status.state;
        match order {
            Order::Start if matches!(state, ServiceState::Stopped | ServiceState::Failed) => self.begin(now),
            // It listens, or is about to.
            Order::Start => {}
            Order::Stop => {
                self.close();
                self.enter(ServiceState::Stopped, now);
            }
            Order::SetPort(port) => {
                self.status.wanted_port = port;
                if state == ServiceState::Stopped {
                    return;
                }
                if port != 0 && port == self.status.port {
                    // It was an other one's substitute, and is what is wanted now.
                    self.status.suggestion.clear();
                    return;
                }
                self.close();
                self.begin(now);
            }
        }
    }

    /// The port is open; it may have been asked for as "any".
    pub fn handle_bound(&mut self, port: u16, now: Instant) {
        if self.status.state == ServiceState::Stopped {
            self.actions.push_back(Action::Close);
            return;
        }
        self.enter(ServiceState::Listening, now);
        (self.status.port, self.status.since) = (port, now);
        self.pause = FIRST_RETRY;
        let instead = std::mem::take(&mut self.instead);
        if !instead.is_empty() {
            self.status.suggestion = format!("{instead}, so the next free port was taken");
        }
    }

    pub fn handle_refused(&mut self, refusal: Refusal, now: Instant) {
        if self.status.state == ServiceState::Stopped {
            return;
        }
        match refusal.why {
            Why::Taken { next_free: Some(port) } if self.taken_port == TakenPort::Auto && self.steps < MAX_STEPS => {
                if self.steps == 0 {
                    self.instead = refusal.error;
                }
                self.steps += 1;
                self.actions.push_back(Action::Bind { port });
            }
            Why::Closing => self.status.next_try = Some(now + CLOSING_RETRY),
            Why::Taken { .. } | Why::Other => self.fail(refusal.error, refusal.suggestion, now),
        }
    }

    /// What was open has closed against everybody's will.
    pub fn handle_lost(&mut self, reason: &str, now: Instant) {
        if self.status.state == ServiceState::Listening {
            self.close();
            self.fail(format!("the listener closed: {reason}"), String::new(), now);
        }
    }

    fn begin(&mut self, now: Instant) {
        self.enter(ServiceState::Starting, now);
        self.pause = FIRST_RETRY;
        self.try_wanted();
    }

    fn try_wanted(&mut self) {
        self.steps = 0;
        self.instead.clear();
        self.actions.push_back(Action::Bind { port: self.status.wanted_port });
    }

    fn close(&mut self) {
        // What was to be bound for the state before is not wanted any more.
        self.actions.clear();
        if std::mem::take(&mut self.status.port) != 0 {
            self.actions.push_back(Action::Close);
        }
    }

    fn enter(&mut self, state: ServiceState, now: Instant) {
        if self.status.state != state {
            self.status.since = now;
        }
        self.status.state = state;
        self.status.error.clear();
        self.status.suggestion.clear();
        self.status.next_try = None;
    }

    fn fail(&mut self, error: String, suggestion: String, now: Instant) {
        self.enter(ServiceState::Failed, now);
        (self.status.error, self.status.suggestion) = (error, suggestion);
        self.status.next_try = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WANTED: u16 = 9996;

    /// A machine with some ports taken, and a clock that moves when told.
    struct Machine {
        listener: Listener,
        taken: BTreeSet<u16>,
        open: Option<u16>,
        now: Instant,
        tries: u32,
    }

    impl Machine {
        fn new(taken_port: TakenPort, taken: &[u16]) -> Self {
            let now = Instant::now();
            let listener = Listener::new(WANTED, Begin::Running, taken_port, now);
            let mut machine = Self { listener, taken: taken.iter().copied().collect(), open: None, now, tries: 0 };
            machine.act();
            machine
        }

        fn act(&mut self) {
            while let Some(action) = self.listener.poll_action() {
                match action {
                    Action::Close => self.open = None,
                    Action::Bind { port } => {
                        assert_eq!(self.open, None, "one port at a time");
                        self.tries += 1;
                        self.bind(if port == 0 { 50_000 } else { port });
                    }
                }
            }
        }

        fn bind(&mut self, port: u16) {
            if self.taken.contains(&port) {
                let next_free = (port + 1..).find(|port| !self.taken.contains(port));
                let refusal = Refusal {
                    why: Why::Taken { next_free },
                    error: format!("port {port} is in use"),
                    suggestion: format!("port {next_free:?} is free"),
                };
                self.listener.handle_refused(refusal, self.now);
            } else {
                self.open = Some(port);
                self.listener.handle_bound(port, self.now);
            }
        }

        /// Lets time pass, as far as the listener's own timers.
        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while let Some(at) = self.listener.poll_timeout().filter(|at| *at <= end) {
                self.now = self.now.max(at);
                self.listener.handle_timeout(self.now);
                self.act();
            }
            self.now = end;
        }

        fn order(&mut self, order: Order) -> Status {
            self.listener.handle_order(order, self.now);
            self.act();
            self.listener.status().clone()
        }

        fn state(&self) -> (ServiceState, u16) {
            (self.listener.status().state, self.listener.status().port)
        }
    }

    #[test]
    fn a_free_port_is_taken_at_once() {
        let machine = Machine::new(TakenPort::Wait, &[]);
        assert_eq!(machine.state(), (ServiceState::Listening, WANTED));
        assert_eq!((machine.open, machine.listener.poll_timeout()), (Some(WANTED), None));
    }

    #[test]
    fn a_taken_port_is_said_and_taken_within_ten_seconds_of_becoming_free() {
        for taken_for in 0..120 {
            let mut machine = Machine::new(TakenPort::Wait, &[WANTED]);
            machine.pass(Duration::from_secs(taken_for));
            let status = machine.listener.status().clone();
            assert_eq!((status.state, status.port), (ServiceState::Failed, 0));
            assert!(status.error.contains("9996") && status.suggestion.contains("9997"), "{status:?}");
            assert!(status.next_try.is_some_and(|at| at > machine.now), "{status:?}");
            machine.taken.clear();
            machine.pass(Duration::from_secs(10));
            assert_eq!(machine.state(), (ServiceState::Listening, WANTED), "taken for {taken_for} s");
            assert!(machine.listener.status().error.is_empty());
        }
    }

    #[test]
    fn a_port_that_stays_taken_is_looked_at_less_and_less_often() {
        let mut machine = Machine::new(TakenPort::Wait, &[WANTED]);
        machine.pass(Duration::from_secs(3600));
        assert!((400..500).contains(&machine.tries), "{}", machine.tries);
        let since = machine.listener.status().since;
        assert_eq!(machine.now - since, Duration::from_secs(3600), "it has been failed all the time");
    }

    #[test]
    fn auto_takes_the_next_free_port_says_why_and_stays_there() {
        let mut machine = Machine::new(TakenPort::Auto, &[WANTED, WANTED + 1]);
        assert_eq!(machine.state(), (ServiceState::Listening, WANTED + 2));
        let status = machine.listener.status();
        assert_eq!(status.wanted_port, WANTED);
        assert!(status.error.is_empty() && status.suggestion.contains("9996 is in use"), "{status:?}");
        machine.taken.clear();
        machine.pass(Duration::from_secs(60));
        assert_eq!(machine.state(), (ServiceState::Listening, WANTED + 2));
        // Asked for by name it moves back.
        assert_eq!(machine.order(Order::SetPort(WANTED)).port, WANTED);
        assert!(machine.listener.status().suggestion.is_empty());
    }

    #[test]
    fn auto_gives_up_after_a_few_ports_that_are_taken_when_it_comes() {
        let mut machine = Machine::new(TakenPort::Wait, &[]);
        machine.order(Order::Stop);
        machine.listener.taken_port = TakenPort::Auto;
        machine.listener.handle_order(Order::Start, machine.now);
        let mut tries = 0;
        while let Some(action) = machine.listener.poll_action() {
            let Action::Bind { port } = action else { panic!("nothing is open") };
            tries += 1;
            let why = Why::Taken { next_free: Some(port + 1) };
            let refusal = Refusal { why, error: "taken".into(), suggestion: String::new() };
            machine.listener.handle_refused(refusal, machine.now);
        }
        assert_eq!((tries, machine.state().0), (MAX_STEPS + 1, ServiceState::Failed));
    }

    #[test]
    fn a_stopped_listener_does_nothing_until_it_is_started() {
        let mut machine = Machine::new(TakenPort::Wait, &[]);
        let status = machine.order(Order::Stop);
        assert_eq!((status.state, status.port, machine.open), (ServiceState::Stopped, 0, None));
        let tries = machine.tries;
        machine.pass(Duration::from_secs(100));
        assert_eq!(machine.order(Order::SetPort(7000)).wanted_port, 7000);
        assert_eq!((machine.tries, machine.state().0), (tries, ServiceState::Stopped));
        assert_eq!(machine.order(Order::Start).port, 7000);
        machine.taken.insert(7001);
        machine.order(Order::SetPort(7001));
        machine.order(Order::Stop);
        machine.pass(Duration::from_secs(100));
        assert_eq!(machine.state(), (ServiceState::Stopped, 0));
        let began_stopped = Listener::new(1, Begin::Stopped, TakenPort::Auto, machine.now);
        assert_eq!((began_stopped.status().state, began_stopped.poll_timeout()), (ServiceState::Stopped, None));
        assert!(began_stopped.actions.is_empty());
    }

    #[test]
    fn starting_what_fails_tries_at_once_and_starting_what_listens_changes_nothing() {
        let mut machine = Machine::new(TakenPort::Wait, &[WANTED]);
        machine.pass(Duration::from_secs(30));
        machine.taken.clear();
        assert_eq!(machine.order(Order::Start).state, ServiceState::Listening);
        let (before, tries) = (machine.listener.status().clone(), machine.tries);
        machine.pass(Duration::from_secs(1));
        assert_eq!((machine.order(Order::Start), machine.tries), (before, tries));
    }

    #[test]
    fn moving_to_a_taken_port_fails_there_and_moving_back_works() {
        let mut machine = Machine::new(TakenPort::Wait, &[7000]);
        let status = machine.order(Order::SetPort(7000));
        assert_eq!((status.state, status.port, status.wanted_port), (ServiceState::Failed, 0, 7000));
        assert_eq!(machine.order(Order::SetPort(WANTED)).port, WANTED);
        assert_eq!(machine.order(Order::SetPort(0)).port, 50_000);
        let tries = machine.tries;
        assert_eq!(machine.order(Order::SetPort(50_000)).wanted_port, 50_000);
        assert_eq!(machine.tries, tries, "it is there already");
    }

    #[test]
    fn a_port_that_closes_is_waited_for_without_failing() {
        let mut machine = Machine::new(TakenPort::Wait, &[]);
        machine.order(Order::Stop);
        machine.listener.handle_order(Order::Start, machine.now);
        assert_eq!(machine.listener.poll_action(), Some(Action::Bind { port: WANTED }));
        let closing = Refusal { why: Why::Closing, error: String::new(), suggestion: String::new() };
        machine.listener.handle_refused(closing, machine.now);
        assert_eq!(machine.state(), (ServiceState::Starting, 0));
        machine.pass(CLOSING_RETRY);
        assert_eq!(machine.state(), (ServiceState::Listening, WANTED));
    }

    #[test]
    fn a_listener_that_is_lost_is_opened_again() {
        let mut machine = Machine::new(TakenPort::Wait, &[]);
        machine.listener.handle_lost("the interface has gone", machine.now);
        machine.act();
        let status = machine.listener.status();
        assert_eq!((status.state, machine.open), (ServiceState::Failed, None));
        assert!(status.error.contains("the interface has gone"), "{status:?}");
        machine.pass(FIRST_RETRY);
        assert_eq!(machine.state(), (ServiceState::Listening, WANTED));
    }

    #[test]
    fn what_was_bound_after_a_stop_is_closed() {
        let mut machine = Machine::new(TakenPort::Wait, &[]);
        machine.order(Order::Stop);
        machine.listener.handle_bound(WANTED, machine.now);
        assert_eq!(machine.listener.poll_action(), Some(Action::Close));
    }
}
