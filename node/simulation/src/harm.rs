//! How much the drives of a run have harmed silently so far: what the oracle may hold against the fault and
//! not against the store. Counts faults that struck; never causes one.

use corelith_io::{DriveId, Fault, SimulatedMachine};

use crate::limits::BATCH_BYTES_MAX;
use crate::scenario::Scenario;

/// The drives that are watched.
#[derive(Clone, Debug)]
pub struct Harm {
    drives: Vec<DriveId>,
    /// Batches of the store that one write covers at most.
    batches_covered: u64,
}

impl Harm {
    /// Watches the drives of a run.
    pub fn new(scenario: &Scenario, drives: &[DriveId]) -> Self {
        Self {
            drives: drives.to_vec(),
            // Wherever it begins, it may touch the end of one more.
            batches_covered: BATCH_BYTES_MAX / scenario.write_unit_bytes() + 1,
        }
    }

    /// How many silent faults have struck.
    pub fn faults(&self, machine: &SimulatedMachine) -> u64 {
        let kinds = Scenario::SILENT_FAULTS.iter();
        kinds.map(|fault| self.struck(machine, *fault)).sum()
    }

    /// How many batches they may have destroyed: each its own, and a misdirected write all that it landed
    /// on.
    pub fn batches(&self, machine: &SimulatedMachine) -> u64 {
        let landings = self.struck(machine, Fault::WriteMisdirected);
        self.faults(machine) + landings * self.batches_covered
    }

    fn struck(&self, machine: &SimulatedMachine, fault: Fault) -> u64 {
        let drives = self.drives.iter();
        let counts = drives.map(|drive| machine.faults(*drive).struck_count(fault));
        counts.sum()
    }
}
