//! Calls and the services that carry them: while a service is stopped or has no port, its calls are refused in words.

use kith_common::call::CallKind;
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::ServiceState;
use kith_core::call::Closed;
use kith_core::listener::Status;

use super::ports::{Engine, Network};
use super::task::{Task, now};
use crate::media::service_name;

const KINDS: [CallKind; 2] = [CallKind::Voice, CallKind::Video];

impl<N: Network, E: Engine> Task<N, E> {
    /// A service has been stopped, started or moved, or has lost its port. Stopping ends its calls, since "stopped" means
    /// that nothing of the kind goes on; what the others carry is left alone, and so is a call whose port has moved.
    pub fn services_changed(&mut self) {
        let listeners = self.listeners.borrow_and_update().clone();
        for kind in KINDS {
            let status = listeners.of(kind);
            self.book.set_closed(kind, closed(kind, status));
            if status.state == ServiceState::Stopped {
                self.book.handle_stopped(kind, now());
            }
        }
    }
}

fn closed(kind: CallKind, status: &Status) -> Option<Closed> {
    let (service, calls) = (service_name(kind), if kind == CallKind::Voice { "voice calls" } else { "video calls" });
    let (what, here) = match status.state {
        ServiceState::Stopped => {
            let here = format!("The service {service} of this node is stopped, so it makes and takes no {calls}.");
            let here = Failure::new(FailureKind::NotPermitted, here);
            ("stopped", here.advise(format!("Start it: kithctl services start {service}.")))
        }
        ServiceState::Failed => {
            let here = format!("The service {service} of this node has no port: {}.", status.error);
            ("not listening", Failure::new(FailureKind::Internal, here).advise(status.suggestion.clone()))
        }
        ServiceState::Starting | ServiceState::Listening | ServiceState::Absent => return None,
    };
    // What else runs on this machine is told to its owner alone.
    let told = format!("its service {service} is {what}, so it takes no {calls} now.");
    Some(Closed { here, told })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn status(state: ServiceState) -> Status {
        let error = "UDP port 9998 is in use by python3 (process 4711)".to_owned();
        let suggestion = "port 9997 is free: kithctl services port audio 9997".to_owned();
        Status { state, port: 0, wanted_port: 9998, since: Instant::now(), error, suggestion, next_try: None }
    }

    #[test]
    fn a_caller_hears_which_service_is_missing_and_nothing_of_what_else_runs_here() {
        for state in [ServiceState::Stopped, ServiceState::Failed] {
            let closed = closed(CallKind::Voice, &status(state)).expect("it carries no calls");
            assert!(closed.told.contains("service audio") && closed.told.contains("no voice calls"), "{closed:?}");
            assert!(!closed.told.contains("python3"), "{closed:?}");
            assert!(closed.here.advice.contains("kithctl services"), "{closed:?}");
        }
        assert_eq!(closed(CallKind::Video, &status(ServiceState::Listening)), None);
    }
}
