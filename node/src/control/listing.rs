//! Connections, slow operations and the configuration as JSON.

use std::cmp::Reverse;

use corelith_io::{Clock, to_u64};
use serde_json::{Value, json};

use crate::configuration::Setting;
use crate::connection::ConnectionReport;
use crate::slow::SlowOperation;

/// Which connections are shown, and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    by: Column,
    limit: usize,
}

/// What connections are ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Age,
    Requests,
    InFlight,
    Received,
    Sent,
    Waiting,
}

const COLUMNS: [(&str, Column); 6] = [
    ("age", Column::Age),
    ("requests", Column::Requests),
    ("in-flight", Column::InFlight),
    ("received", Column::Received),
    ("sent", Column::Sent),
    ("waiting", Column::Waiting),
];

impl Wanted {
    /// Reads the query of the address: all, the oldest first, unless it says otherwise.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(query: &str) -> Result<Self, String> {
        let mut wanted = Self {
            by: Column::Age,
            limit: usize::MAX,
        };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("by", name)) => {
                    let found = COLUMNS.iter().find(|(known, _)| *known == name);
                    let names = COLUMNS.map(|(name, _)| name).join(", ");
                    let (_, column) = found.ok_or_else(|| format!("by takes one of {names}"))?;
                    wanted.by = *column;
                }
                Some(("limit", count)) => {
                    wanted.limit = count.parse().map_err(|_| "limit takes a number")?;
                }
                _ => return Err(format!("there is no {part:?} here; there are by and limit")),
            }
        }
        Ok(wanted)
    }
}

impl Column {
    fn of(self, report: &ConnectionReport) -> u64 {
        match self {
            Self::Age => report.age_ns,
            Self::Requests => report.requests,
            Self::InFlight => report.in_flight.into(),
            Self::Received => report.received_bytes,
            Self::Sent => report.sent_bytes,
            Self::Waiting => report.waiting_bytes,
        }
    }
}

/// The first ones, the largest of what is ordered by in front.
pub(super) fn connections(mut reports: Vec<ConnectionReport>, wanted: Wanted) -> Value {
    reports.sort_by_key(|report| (Reverse(wanted.by.of(report)), report.core, report.number));
    let total = reports.len();
    let listed: Vec<Value> = reports
        .iter()
        .take(wanted.limit)
        .map(|report| {
            json!({
                "id": format!("{}-{}", report.core, report.number),
                "peer": report.peer.map(|peer| peer.to_string()),
                "client": report.client_name,
                "age_ms": report.age_ns / 1_000_000,
                "requests": report.requests,
                "in_flight": report.in_flight,
                "received_bytes": report.received_bytes,
                "sent_bytes": report.sent_bytes,
                "waiting_bytes": report.waiting_bytes,
            })
        })
        .collect();
    json!({"connections": listed, "total": total})
}

/// All of them, oldest first.
pub(super) fn slow(mut operations: Vec<SlowOperation>) -> Value {
    operations.sort_by_key(|operation| operation.answered_ns);
    let now_ns = Clock::real().monotonic_ns();
    let listed: Vec<Value> = operations
        .iter()
        .map(|operation| {
            json!({
                "ago_ms": now_ns.saturating_sub(operation.answered_ns) / 1_000_000,
                "operation": format!("{:?}", operation.kind).to_lowercase(),
                "namespace": &*operation.namespace,
                "digest": operation.digest.map(|digest| digest.to_string()),
                "latency_us": operation.latency_ns / 1000,
                "wait_us": operation.wait_ns() / 1000,
                "store_us": operation.store_ns() / 1000,
                "core": operation.core,
                "owner": operation.course.owner,
                "crossed_cores": operation.is_hop(),
                "request_bytes": operation.request_bytes,
                "answer_bytes": to_u64(operation.course.answer_bytes),
            })
        })
        .collect();
    json!({"slow": listed})
}

/// Every key of the configuration, its values as the file would have them.
pub(super) fn settings(settings: &[Setting]) -> Value {
    let listed: Vec<Value> = settings
        .iter()
        .map(|setting| {
            json!({
                "key": setting.path,
                "value": setting.value,
                "live": setting.is_live,
            })
        })
        .collect();
    json!({"settings": listed})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(number: u64, requests: u64) -> ConnectionReport {
        ConnectionReport {
            core: 0,
            number,
            peer: None,
            client_name: String::new(),
            age_ns: 100 - number,
            requests,
            in_flight: 0,
            received_bytes: 0,
            sent_bytes: 0,
            waiting_bytes: 0,
        }
    }

    fn listed(query: &str) -> Vec<String> {
        let reports = vec![report(3, 7), report(1, 5), report(2, 9)];
        let value = connections(reports, Wanted::of(query).unwrap());
        assert_eq!(value["total"], 3);
        let ids = value["connections"].as_array().unwrap().iter();
        ids.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn connections_are_ordered_and_cut() {
        assert_eq!(listed(""), ["0-1", "0-2", "0-3"]);
        assert_eq!(listed("by=requests&limit=2"), ["0-2", "0-3"]);
        assert_eq!(listed("limit=0"), [""; 0]);
        for wrong in ["by=size", "limit=x", "limit", "page=2"] {
            assert!(Wanted::of(wrong).is_err(), "{wrong}");
        }
    }
}
