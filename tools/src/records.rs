//! `put`, `get`, `exists`, `delete` and `touch` of one record. Several are [`crate::many`]'s.

use corelith_client::{
    BinNames, BinSelection, ContentBuilder, DeleteRequest, GetRequest, Key, Namespace, Record,
    RecordMetadata, TouchRequest, WriteOptions, digest_of,
};
use serde::Serialize;

use crate::arguments::{
    DeleteArguments, ExistsArguments, GetArguments, KeyArguments, PutArguments, TouchArguments,
};
use crate::failure::{Exit, Failure};
use crate::json::{JsonKey, JsonValue};
use crate::many;
use crate::node::{failure_of, namespace_of, with_node};
use crate::output::Output;
use crate::record_json::{RecordObject, ttl_s};
use crate::time_text::display_time;

/// What a write says for programs.
#[derive(Serialize)]
struct Written {
    generation: u16,
}

/// `corelith put`.
///
/// # Errors
/// The record was not written, or that is in doubt.
pub fn put(arguments: &PutArguments, is_json: bool) -> Result<(), Failure> {
    let key = arguments.key.parse()?;
    let mut bins = ContentBuilder::new();
    for bin in &arguments.bins {
        bins = bins.bin(bin.name.as_str(), bin.value.clone());
    }
    let options = WriteOptions {
        mode: arguments.mode(),
        ttl: arguments.ttl,
        expected_generation: arguments.generation,
        commit: arguments.commit.rule(),
        store_key: arguments.store_key,
    };
    let metadata = with_node(&arguments.key.place.node, async |client| {
        let namespace = namespace_of(&arguments.key.place, &client).await?;
        let set = namespace.set(&arguments.key.set);
        let written = set.put_with(&key, &bins, &options).await;
        written.map_err(|error| match failure_of(error) {
            failure if failure.exit() == Exit::NotFound => arguments.key.not_found(&namespace),
            failure => failure,
        })
    })?;
    print_written("written", metadata, is_json)
}

/// `corelith get`.
///
/// # Errors
/// The record was not read, or is not there.
pub fn get(arguments: &GetArguments, is_json: bool) -> Result<(), Failure> {
    let Some(of) = arguments.keys.only() else {
        return many::get(arguments, is_json);
    };
    let key = of.parse()?;
    let key_ref = key.as_key_ref().map_err(Failure::from_text)?;
    let digest = digest_of(&of.set, &key_ref);
    let names: Vec<&str> = arguments.bins.iter().map(String::as_str).collect();
    let selection = match (arguments.metadata, names.is_empty()) {
        (true, _) => BinSelection::MetadataOnly,
        (false, true) => BinSelection::All,
        (false, false) => BinSelection::Named(BinNames::new(&names)),
    };
    let record = with_node(&of.place.node, async |client| {
        let namespace = namespace_of(&of.place, &client).await?;
        let record = namespace.get(&GetRequest { digest, selection }).await;
        record
            .map_err(failure_of)?
            .ok_or_else(|| of.not_found(&namespace))
    })?;
    let mut output = Output::new();
    if is_json {
        output.json(&RecordObject {
            digest,
            set: &of.set,
            record: &record,
            key: Some(JsonKey(key_ref)),
            has_bins: !arguments.metadata,
        })?;
    } else {
        output.line(describe(&record))?;
        if !names.is_empty() && record.content().bins().is_empty() {
            output.line("  it has none of these bins")?;
        }
        print_bins(&mut output, &record)?;
    }
    output.finish()
}

/// The bins of a record, for people.
pub(crate) fn print_bins(output: &mut Output, record: &Record) -> Result<(), Failure> {
    for bin in record.content().bins() {
        let value = serde_json::to_string(&JsonValue(bin.value().decode()));
        output.line(format!("  {} = {}", bin.name(), value.unwrap_or_default()))?;
    }
    Ok(())
}

/// `corelith exists`.
///
/// # Errors
/// That cannot be told, or it is not there.
pub fn exists(arguments: &ExistsArguments, is_json: bool) -> Result<(), Failure> {
    let Some(of) = arguments.keys.only() else {
        return many::exists(arguments, is_json);
    };
    let key = of.parse()?;
    let (exists, namespace) = with_node(&of.place.node, async |client| {
        let namespace = namespace_of(&of.place, &client).await?;
        let set = namespace.set(&of.set);
        let exists = set.exists(&key).await.map_err(failure_of)?;
        Ok((exists, namespace))
    })?;
    #[derive(Serialize)]
    struct Exists {
        exists: bool,
    }
    let mut output = Output::new();
    if is_json {
        output.json(&Exists { exists })?;
    } else if exists {
        output.line("it is there")?;
    }
    output.finish()?;
    if exists {
        Ok(())
    } else {
        Err(of.not_found(&namespace))
    }
}

/// `corelith delete`.
///
/// # Errors
/// The record was not removed, that is in doubt, or it was not there.
pub fn delete(arguments: &DeleteArguments, is_json: bool) -> Result<(), Failure> {
    let Some(of) = arguments.keys.only() else {
        return many::delete(arguments, is_json);
    };
    let key = of.parse()?;
    let key_ref = key.as_key_ref().map_err(Failure::from_text)?;
    let request = DeleteRequest {
        digest: digest_of(&of.set, &key_ref),
        expected_generation: arguments.generation,
        commit: arguments.commit.rule(),
    };
    with_node(&of.place.node, async |client| {
        let namespace = namespace_of(&of.place, &client).await?;
        if namespace.delete(&request).await.map_err(failure_of)? {
            Ok(())
        } else {
            Err(of.not_found(&namespace))
        }
    })?;
    #[derive(Serialize)]
    struct Deleted {
        deleted: bool,
    }
    let mut output = Output::new();
    if is_json {
        output.json(&Deleted { deleted: true })?;
    } else {
        output.line("deleted")?;
    }
    output.finish()
}

/// `corelith touch`.
///
/// # Errors
/// The record was not touched, that is in doubt, or it is not there.
pub fn touch(arguments: &TouchArguments, is_json: bool) -> Result<(), Failure> {
    let key = arguments.key.parse()?;
    let key_ref = key.as_key_ref().map_err(Failure::from_text)?;
    let request = TouchRequest {
        digest: digest_of(&arguments.key.set, &key_ref),
        ttl: arguments.ttl,
        expected_generation: None,
        commit: arguments.commit.rule(),
    };
    let metadata = with_node(&arguments.key.place.node, async |client| {
        let namespace = namespace_of(&arguments.key.place, &client).await?;
        let touched = namespace.touch(&request).await.map_err(failure_of)?;
        touched.ok_or_else(|| arguments.key.not_found(&namespace))
    })?;
    print_written("touched", metadata, is_json)
}

impl KeyArguments {
    pub(crate) fn parse(&self) -> Result<Key, Failure> {
        let key = self.key_type.parse(&self.key);
        key.map_err(|error| Failure::new(error.to_string(), "give its type with --key-type"))
    }

    pub(crate) fn not_found(&self, namespace: &Namespace) -> Failure {
        let set = if self.set.is_empty() {
            String::new()
        } else {
            format!(" in the set {:?}", self.set)
        };
        Failure::new(
            format!(
                "there is no record {:?}{set} in the namespace {:?}",
                self.key,
                namespace.name()
            ),
            "see that --set, --namespace and --key-type are those that it was written with",
        )
        .with_exit(Exit::NotFound)
    }
}

fn print_written(what: &str, metadata: RecordMetadata, is_json: bool) -> Result<(), Failure> {
    let generation = metadata.generation.get();
    let mut output = Output::new();
    if is_json {
        output.json(&Written { generation })?;
    } else {
        output.line(format!("{what}, generation {generation}"))?;
    }
    output.finish()
}

/// What is known of a record beside its bins, in a line.
pub(crate) fn describe(record: &Record) -> String {
    let expiry = match (ttl_s(record), record.expires_at()) {
        (Some(ttl_s), Some(time)) => format!("expires in {ttl_s} s ({})", display_time(time)),
        _ => "never expires".to_owned(),
    };
    let generation = record.generation().get();
    match record.updated_at() {
        Some(time) => {
            let updated = display_time(time);
            format!("generation {generation}, updated {updated}, {expiry}")
        }
        // Metadata alone is answered from the index, which does not keep the time.
        None => format!("generation {generation}, {expiry}"),
    }
}
