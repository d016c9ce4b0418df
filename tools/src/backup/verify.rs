//! `backup verify`: reads a backup as a restore does, and tells what it holds.

use std::path::Path;

use corelith_store::volume::display_identity;
use serde::Serialize;

use super::error::failure;
use super::moment::display_moment;
use super::reader::BackupReader;
use crate::arguments::BackupVerifyArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::size::display_size;

/// What a whole backup is, for programs.
#[derive(Serialize)]
struct Verified<'a> {
    file: &'a Path,
    identity: String,
    node_id: String,
    namespace: &'a str,
    set: Option<&'a str>,
    begun_at: String,
    ended_at: String,
    since: Option<String>,
    records: u64,
    damaged: u64,
    blocks: u64,
    unpacked_bytes: u64,
}

/// `corelith backup verify`.
///
/// # Errors
/// The file is not a whole backup.
pub(super) fn verify(arguments: &BackupVerifyArguments, is_json: bool) -> Result<(), Failure> {
    let path = &arguments.file;
    let read = || {
        let mut reader = BackupReader::open(path)?;
        while reader.next_block()?.is_some() {}
        Ok(reader)
    };
    let reader = read().map_err(|error| failure(path, &error))?;
    let (header, totals) = (reader.header(), reader.progress().totals);
    let verified = Verified {
        file: path,
        identity: display_identity(&header.identity),
        node_id: format!("{:016x}", header.node_id),
        namespace: &header.namespace,
        set: header.set.as_deref(),
        begun_at: display_moment(header.start_ms),
        ended_at: display_moment(totals.end_ms),
        since: (header.since_ms > 0).then(|| display_moment(header.since_ms)),
        records: totals.records,
        damaged: totals.damaged,
        blocks: totals.blocks,
        unpacked_bytes: totals.unpacked_bytes,
    };
    let mut output = Output::new();
    if is_json {
        output.json(&verified)?;
        return output.finish();
    }
    output.line(format!("{} is whole", path.display()))?;
    let of_set = match &header.set {
        Some(set) => format!(", set {set:?}"),
        None => String::new(),
    };
    output.line(format!(
        "  namespace {:?}{of_set} of node {}",
        header.namespace, verified.node_id
    ))?;
    output.line(format!(
        "  taken from {} to {}",
        verified.begun_at, verified.ended_at
    ))?;
    if let Some(since) = &verified.since {
        output.line(format!("  only records written since {since}"))?;
    }
    output.line(format!(
        "  {} records in {} blocks, {} unpacked",
        totals.records,
        totals.blocks,
        display_size(totals.unpacked_bytes)
    ))?;
    if totals.damaged > 0 {
        output.line(format!(
            "  {} records were damaged on the node and are not in it",
            totals.damaged
        ))?;
    }
    output.finish()
}
