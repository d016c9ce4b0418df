//! `operate`: steps on one record, as one.

use corelith_client::{Bin, Operated, WriteOptions};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::arguments::OperateArguments;
use crate::failure::{Exit, Failure};
use crate::json::JsonValue;
use crate::node::{failure_of, namespace_of, with_node};
use crate::output::Output;

/// What became of the record for programs: its generation (null if it is no more), and an object of bins for
/// each step that reads.
#[derive(Serialize)]
struct Done<'a> {
    generation: Option<u16>,
    reads: Vec<Seen<'a>>,
}

/// What one step saw.
struct Seen<'a>(Vec<Bin<'a>>);

impl Serialize for Seen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for bin in &self.0 {
            object.serialize_entry(bin.name().as_str(), &JsonValue(bin.value().decode()))?;
        }
        object.end()
    }
}

/// `corelith operate`.
///
/// # Errors
/// A step cannot be carried out, that is in doubt, or there is no record for them.
pub fn operate(arguments: &OperateArguments, is_json: bool) -> Result<(), Failure> {
    let key = arguments.key.parse()?;
    let steps = arguments.steps().map_err(|problem| {
        Failure::new(problem, "`corelith operate --help` lists the steps").with_exit(Exit::Partial)
    })?;
    let options = WriteOptions {
        mode: arguments.mode(),
        ttl: arguments.ttl,
        expected_generation: arguments.generation,
        commit: arguments.commit.rule(),
        store_key: arguments.store_key,
    };
    let done = with_node(&arguments.key.place.node, async |client| {
        let namespace = namespace_of(&arguments.key.place, &client).await?;
        let set = namespace.set(&arguments.key.set);
        let done = set.operate_with(&key, &steps, &options).await;
        done.map_err(failure_of)?
            .ok_or_else(|| arguments.key.not_found(&namespace))
    })?;
    print(&done, is_json)
}

fn print(done: &Operated, is_json: bool) -> Result<(), Failure> {
    let generation = done.metadata().map(|metadata| metadata.generation.get());
    let mut output = Output::new();
    if is_json {
        let reads = 0..done.read_count();
        output.json(&Done {
            generation,
            reads: reads
                .map(|number| Seen(done.read(number).collect()))
                .collect(),
        })?;
        return output.finish();
    }
    match generation {
        Some(generation) => output.line(format!("generation {generation}"))?,
        None => output.line("the record is no more")?,
    }
    for bin in done.bins() {
        let value = serde_json::to_string(&JsonValue(bin.value().decode()));
        output.line(format!("  {} = {}", bin.name(), value.unwrap_or_default()))?;
    }
    output.finish()
}
