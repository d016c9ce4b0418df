//! `scan`: all records of a namespace or set, one a line.

use corelith_client::{ScanBins, ScanOptions, Scanned, ScannedRecord};
use indicatif::ProgressBar;

use crate::arguments::{PlaceArguments, ScanArguments};
use crate::damage::Damages;
use crate::failure::Failure;
use crate::json::{JsonBins, JsonKey};
use crate::node::{failure_of, namespace_of, with_node};
use crate::notice::Notices;
use crate::output::Output;
use crate::record_json::RecordObject;

/// `corelith scan`.
///
/// # Errors
/// The scan broke off, or met damaged records; what was read has been printed.
pub fn scan(arguments: &ScanArguments, is_json: bool) -> Result<(), Failure> {
    let options = ScanOptions {
        set: arguments.set.clone(),
        bins: bins_of(&arguments.bins),
        record_count_max: arguments.limit,
        records_per_second: arguments.rate,
        ..ScanOptions::default()
    };
    let mut output = Output::new();
    let notices = Notices::new(is_json);
    let (mut damages, mut record_count) = (Damages::new(notices), 0_u64);
    let outcome = with_node(&arguments.place.node, async |client| {
        let namespace = namespace_of(&arguments.place, &client).await?;
        let mut scan = namespace.scan(options);
        while let Some(found) = scan.next().await.map_err(failure_of)? {
            match found {
                Scanned::Record(found) => {
                    record_count += 1;
                    print(&mut output, &found, is_json)?;
                }
                Scanned::Damaged(damaged) => damages.tell(&damaged, &ProgressBar::hidden()),
            }
        }
        Ok(())
    });
    output.finish()?;
    outcome?;
    if record_count == 0 && damages.count() == 0 && arguments.limit != Some(0) {
        notices.nothing(&no_records(&arguments.place, arguments.set.as_deref()));
    }
    damages.check()
}

/// What people are told of a scan that has met no record.
pub(crate) fn no_records(place: &PlaceArguments, set: Option<&str>) -> String {
    let namespace = match &place.namespace {
        Some(name) => format!("the namespace {name:?}"),
        None => "the namespace".to_owned(),
    };
    match set {
        None => format!("there are no records in {namespace}"),
        Some("") => format!("there are no records without a set in {namespace}"),
        Some(set) => format!("there are no records of the set {set:?} in {namespace}"),
    }
}

/// What bins a scan reads when these were named.
pub(crate) fn bins_of(names: &[String]) -> ScanBins {
    if names.is_empty() {
        ScanBins::All
    } else {
        ScanBins::Named(names.to_vec())
    }
}

fn print(output: &mut Output, found: &ScannedRecord, is_json: bool) -> Result<(), Failure> {
    if is_json {
        return output.json(&RecordObject {
            digest: found.digest,
            set: &found.set,
            record: &found.record,
            key: None,
            has_bins: true,
        });
    }
    let key = match found.record.key() {
        Some(key) => serde_json::to_string(&JsonKey(key)).unwrap_or_default(),
        None => format!("[{}]", found.digest),
    };
    let bins = serde_json::to_string(&JsonBins(found.record.content().bins()));
    output.line(format!("{key} {}", bins.unwrap_or_default()))
}
