//! Which faults await a simulated drive: those planned for one particular operation, and the rates of the
//! rest. A planned fault strikes once and comes before the rates.

use std::collections::BTreeMap;
use std::ops::Range;

use super::fault::{Drawn, Fault, FaultRates, OperationKind};
use super::limits::PLANNED_FAULTS_MAX;
use super::random::SeededRandom;

/// A fault that is to strike once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFault {
    fault: Fault,
    skip: u64,
    within: Option<Range<u64>>,
}

impl PlannedFault {
    /// Strikes the next operation that can suffer `fault`.
    #[must_use]
    pub fn next(fault: Fault) -> Self {
        Self {
            fault,
            skip: 0,
            within: None,
        }
    }

    /// Lets `count` such operations pass first.
    #[must_use]
    pub fn after(self, count: u64) -> Self {
        Self {
            skip: count,
            ..self
        }
    }

    /// Only operations that touch bytes `range` of the drive count. A flush touches none.
    #[must_use]
    pub fn within(self, range: Range<u64>) -> Self {
        Self {
            within: Some(range),
            ..self
        }
    }

    fn matches(&self, kind: OperationKind, touched: &Range<u64>) -> bool {
        self.fault.concerns(kind)
            && self
                .within
                .as_ref()
                .is_none_or(|within| within.start < touched.end && touched.start < within.end)
    }
}

/// The faults that await one drive, and the count of those that struck.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultPlan {
    rates: FaultRates,
    planned: Vec<PlannedFault>,
    struck: BTreeMap<Fault, u64>,
}

impl FaultPlan {
    /// A plan without one-shot faults.
    pub(crate) fn new(rates: FaultRates) -> Self {
        let mut plan = Self::default();
        plan.set_rates(rates);
        plan
    }

    /// Replaces the rates. Rates above one are a mistake of the test.
    pub(crate) fn set_rates(&mut self, rates: FaultRates) {
        assert!(
            rates.is_valid(),
            "a rate is above one million per million: {rates:?}"
        );
        self.rates = rates;
    }

    /// Adds a one-shot fault.
    pub(crate) fn plan(&mut self, planned: PlannedFault) {
        assert!(self.planned.len() < PLANNED_FAULTS_MAX);
        self.planned.push(planned);
    }

    /// One-shot faults that have not struck yet.
    pub(crate) fn planned_count(&self) -> usize {
        self.planned.len()
    }

    /// How often `fault` has struck.
    pub(crate) fn struck_count(&self, fault: Fault) -> u64 {
        self.struck.get(&fault).copied().unwrap_or(0)
    }

    /// Decides what goes wrong with an operation of `kind` on the bytes `touched`.
    pub(crate) fn draw(
        &mut self,
        kind: OperationKind,
        touched: &Range<u64>,
        random: &mut SeededRandom,
    ) -> Drawn {
        let mut drawn = self.rates.draw(kind, random);
        let mut harmed = false;
        let mut delayed = false;
        self.planned.retain_mut(|planned| {
            if !planned.matches(kind, touched) {
                return true;
            }
            if planned.skip > 0 {
                planned.skip -= 1;
                return true;
            }
            let (place, taken) = if planned.fault.is_delay() {
                (&mut drawn.delay, &mut delayed)
            } else {
                (&mut drawn.harm, &mut harmed)
            };
            if *taken {
                return true;
            }
            *taken = true;
            *place = Some(planned.fault);
            false
        });
        for fault in [drawn.harm, drawn.delay].into_iter().flatten() {
            *self.struck.entry(fault).or_default() += 1;
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(plan: &mut FaultPlan, kind: OperationKind, touched: Range<u64>) -> Option<Fault> {
        plan.draw(kind, &touched, &mut SeededRandom::new(1, 0)).harm
    }

    #[test]
    fn a_planned_fault_strikes_once_in_its_place() {
        let mut plan = FaultPlan::default();
        plan.plan(
            PlannedFault::next(Fault::WriteLost)
                .after(1)
                .within(4096..8192),
        );
        assert_eq!(strikes(&mut plan, OperationKind::Read, 4096..8192), None);
        assert_eq!(strikes(&mut plan, OperationKind::Write, 0..4096), None);
        assert_eq!(strikes(&mut plan, OperationKind::Write, 8192..12_288), None);
        assert_eq!(strikes(&mut plan, OperationKind::Write, 0..8192), None);
        assert_eq!(plan.planned_count(), 1);
        assert_eq!(
            strikes(&mut plan, OperationKind::Write, 8191..9000),
            Some(Fault::WriteLost)
        );
        assert_eq!(strikes(&mut plan, OperationKind::Write, 8191..9000), None);
        assert_eq!(
            (plan.planned_count(), plan.struck_count(Fault::WriteLost)),
            (0, 1)
        );
    }

    #[test]
    fn two_planned_faults_strike_two_operations() {
        let mut plan = FaultPlan::default();
        plan.plan(PlannedFault::next(Fault::FlushError));
        plan.plan(PlannedFault::next(Fault::FlushError));
        assert_eq!(
            strikes(&mut plan, OperationKind::Flush, 0..0),
            Some(Fault::FlushError)
        );
        assert_eq!(
            strikes(&mut plan, OperationKind::Flush, 0..0),
            Some(Fault::FlushError)
        );
        assert_eq!(strikes(&mut plan, OperationKind::Flush, 0..0), None);
    }

    #[test]
    fn a_plan_comes_before_the_rates() {
        let rates = FaultRates {
            write_error_per_million: 1_000_000,
            ..FaultRates::NONE
        };
        let mut plan = FaultPlan::new(rates);
        plan.plan(PlannedFault::next(Fault::WriteTorn));
        assert_eq!(
            strikes(&mut plan, OperationKind::Write, 0..1),
            Some(Fault::WriteTorn)
        );
        assert_eq!(
            strikes(&mut plan, OperationKind::Write, 0..1),
            Some(Fault::WriteError)
        );
    }
}
