//! The stop of a node, within a stated time: what was accepted is finished on all cores, then shards are
//! closed. A core that does not come to its end, because a device never answers, ends with the process.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use corelith_io::Clock;

use super::{BootError, Event};
use crate::core::{CoreReport, Order};
use crate::limits::{CLIENT_PATIENCE_PART, WAIT_REPORT_PART};

/// What is left of the time that a stop may take.
struct Deadline {
    clock: Clock,
    until_ns: u64,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        let clock = Clock::real();
        let timeout_ns = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
        let until_ns = clock.monotonic_ns().saturating_add(timeout_ns);
        Self { clock, until_ns }
    }

    fn left(&self) -> Duration {
        Duration::from_nanos(self.until_ns.saturating_sub(self.clock.monotonic_ns()))
    }
}

/// Stops the cores that run, by orders that `give` takes to them, in two steps: first everything accepted is answered everywhere, because until
/// then another core may hand over a request; then shards are closed.
///
/// # Errors
/// The time is over, and which cores have not come to their end.
pub(super) fn stop_cores(
    core_count: usize,
    give: &mut dyn FnMut(u16, Order),
    events: &Receiver<Event>,
    (mut ended, timeout): (Vec<u16>, Duration),
) -> Result<(), BootError> {
    let deadline = Deadline::after(timeout);
    let cores: Vec<u16> = (0_u16..).take(core_count).collect();
    let overdue = |done: &[u16]| {
        let missing = cores.iter().filter(|core| !done.contains(core)).copied();
        BootError::StopTimeout {
            cores: missing.collect(),
            timeout,
        }
    };
    let (done_in, done) = channel();
    for core in &cores {
        let order = Order::Drain {
            done: done_in.clone(),
            client_patience: timeout / CLIENT_PATIENCE_PART,
            report_after: timeout * WAIT_REPORT_PART.0 / WAIT_REPORT_PART.1,
        };
        give(*core, order);
    }
    drop(done_in);
    let mut drained = ended.clone();
    while drained.len() < cores.len() {
        match done.recv_timeout(deadline.left()) {
            Ok(core) => drained.push(core),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err(overdue(&drained)),
        }
    }
    for core in &cores {
        give(*core, Order::Finish);
    }
    while ended.len() < cores.len() {
        match events.recv_timeout(deadline.left()) {
            Ok(Event::Core(CoreReport::Ended { core })) => ended.push(core),
            Ok(Event::Core(CoreReport::Failed { core, error })) => {
                ended.push(core);
                tracing::error!(core, "{error}");
            }
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return Err(overdue(&ended)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(20);

    /// A stop of two cores that obey the first order or not, and the second or not; of others the number is
    /// in `ended` already. The cores that are said not to have come to their end.
    fn stop(drains: [bool; 2], finishes: [bool; 2], ended: Vec<u16>) -> Result<(), Vec<u16>> {
        let (events_in, events) = channel();
        let mut kept = Vec::new();
        let mut give = |core: u16, order: Order| {
            let is_obeyed = match &order {
                Order::Drain { .. } => drains[usize::from(core)],
                Order::Finish => finishes[usize::from(core)],
                Order::Report(_)
                | Order::Troubles(_)
                | Order::Live(_)
                | Order::Configure(_)
                | Order::Connections { .. }
                | Order::Slow(_)
                | Order::Close { .. }
                | Order::Quiesce { .. } => false,
            };
            if !is_obeyed {
                // A core that waits for a device keeps what it was given.
                kept.push(order);
            } else if let Order::Drain { done, .. } = order {
                done.send(core).unwrap();
            } else {
                let report = CoreReport::Ended { core };
                events_in.send(Event::Core(report)).unwrap();
            }
        };
        match stop_cores(2, &mut give, &events, (ended, TIMEOUT)) {
            Ok(()) => Ok(()),
            Err(BootError::StopTimeout { cores, .. }) => Err(cores),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_stop_ends_when_all_cores_have() {
        assert_eq!(stop([true, true], [true, true], vec![]), Ok(()));
        assert_eq!(stop([true, false], [true, false], vec![1]), Ok(()));
    }

    #[test]
    fn a_core_whose_device_never_answers_does_not_hold_the_stop_for_ever() {
        // What was accepted is never answered: the core does not come to the end of the first step.
        assert_eq!(stop([true, false], [true, true], vec![]), Err(vec![1]));
        // What was answered is never closed.
        assert_eq!(stop([true, true], [true, false], vec![]), Err(vec![1]));
        assert_eq!(stop([true, true], [false, false], vec![]), Err(vec![0, 1]));
        assert_eq!(stop([true, true], [false, false], vec![0]), Err(vec![1]));
    }

    #[test]
    fn a_stop_that_was_given_up_has_an_exit_code_of_its_own() {
        let error = BootError::StopTimeout {
            cores: vec![1],
            timeout: TIMEOUT,
        };
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("--stop-timeout"), "{error}");
    }
}
