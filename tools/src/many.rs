//! `get`, `exists` and `delete` of several records, by batches: results in the order of the keys, one a line
//! or an object a line. What fails for one key is told on standard error, and the others go on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use corelith_client::{
    BatchBuilder, Batched, Error, Key, Namespace, PartitionId, Record, digest_of,
};
use serde::Serialize;

use crate::arguments::{DeleteArguments, ExistsArguments, GetArguments, KeysArguments};
use crate::failure::{Exit, Failure};
use crate::json::JsonKey;
use crate::node::{namespace_of, with_node};
use crate::notice::Notices;
use crate::output::Output;
use crate::record_json::RecordObject;
use crate::records::{describe, print_bins};

/// Keys that are read from a file before their records are asked for: some for each partition's queue, and no
/// more memory than their records take.
const KEYS_AT_ONCE: usize = PartitionId::COUNT as usize;

/// What `exists` says of a key for programs.
#[derive(Serialize)]
struct Exists<'a> {
    key: JsonKey<'a>,
    exists: bool,
}

/// What `delete` says of a key for programs.
#[derive(Serialize)]
struct Deleted<'a> {
    key: JsonKey<'a>,
    deleted: bool,
}

/// `corelith get` of several keys.
///
/// # Errors
/// Records are not there, or could not be read; those that were have been printed.
pub fn get(arguments: &GetArguments, is_json: bool) -> Result<(), Failure> {
    let names: Vec<&str> = arguments.bins.iter().map(String::as_str).collect();
    let row = |batch: BatchBuilder, key: &Key| match (arguments.metadata, names.is_empty()) {
        (true, _) => batch.get_metadata(key),
        (false, true) => batch.get(key),
        (false, false) => batch.get_bins(key, &names),
    };
    for_each(&arguments.keys, is_json, row, |output, key, result| {
        let Some(record) = result.record() else {
            return Ok(Verdict::Missing);
        };
        print(output, arguments, (key, record, is_json))?;
        Ok(Verdict::Done)
    })
}

fn print(
    output: &mut Output,
    arguments: &GetArguments,
    (key, record, is_json): (&Key, &Record, bool),
) -> Result<(), Failure> {
    let key = key.as_key_ref().map_err(Failure::from_text)?;
    if is_json {
        return output.json(&RecordObject {
            digest: digest_of(&arguments.keys.set, &key),
            set: &arguments.keys.set,
            record,
            key: Some(JsonKey(key)),
            has_bins: !arguments.metadata,
        });
    }
    let name = serde_json::to_string(&JsonKey(key)).unwrap_or_default();
    output.line(format!("{name}: {}", describe(record)))?;
    print_bins(output, record)
}

/// `corelith exists` of several keys.
///
/// # Errors
/// Some are not there, or that cannot be told.
pub fn exists(arguments: &ExistsArguments, is_json: bool) -> Result<(), Failure> {
    let row = |batch: BatchBuilder, key: &Key| batch.get_metadata(key);
    for_each(&arguments.keys, is_json, row, |output, key, result| {
        let exists = result.is_found();
        let key = JsonKey(key.as_key_ref().map_err(Failure::from_text)?);
        if is_json {
            output.json(&Exists { key, exists })?;
        } else if exists {
            let name = serde_json::to_string(&key).unwrap_or_default();
            output.line(format!("{name} is there"))?;
        }
        Ok(Verdict::of(exists))
    })
}

/// `corelith delete` of several keys.
///
/// # Errors
/// Some were not there, were not removed, or are in doubt.
pub fn delete(arguments: &DeleteArguments, is_json: bool) -> Result<(), Failure> {
    if arguments.generation.is_some() {
        return Err(Failure::new(
            "a generation is one record's, and several are to be deleted",
            "leave out --generation, or delete the records one by one",
        ));
    }
    let commit = arguments.commit.rule();
    let row = |batch: BatchBuilder, key: &Key| batch.delete_with(key, None, commit);
    for_each(&arguments.keys, is_json, row, |output, key, result| {
        let deleted = result.is_found();
        let key = JsonKey(key.as_key_ref().map_err(Failure::from_text)?);
        if is_json {
            output.json(&Deleted { key, deleted })?;
        } else if deleted {
            let name = serde_json::to_string(&key).unwrap_or_default();
            output.line(format!("{name} deleted"))?;
        }
        Ok(Verdict::of(deleted))
    })
}

/// How it went for one key.
enum Verdict {
    Done,
    Missing,
}

impl Verdict {
    const fn of(is_found: bool) -> Self {
        if is_found { Self::Done } else { Self::Missing }
    }
}

/// What did not go well.
#[derive(Default)]
struct Tally {
    key_count: u64,
    missing_count: u64,
    failed_count: u64,
}

impl Tally {
    fn end(&self) -> Result<(), Failure> {
        let Self {
            key_count,
            missing_count,
            failed_count,
        } = self;
        if *failed_count > 0 {
            let problem = format!("{failed_count} of {key_count} keys failed");
            let remedy = "each is named above, with what is wrong";
            return Err(Failure::new(problem, remedy).with_exit(Exit::Partial));
        }
        if *missing_count > 0 {
            return Err(Failure::new(
                format!("{missing_count} of {key_count} records are not there"),
                "see that --set, --namespace and --key-type are those that they were written with",
            )
            .with_exit(Exit::NotFound));
        }
        Ok(())
    }
}

/// Makes a row of each key, and hands each result to `each` in the order of the keys.
fn for_each(
    arguments: &KeysArguments,
    is_json: bool,
    row: impl Fn(BatchBuilder, &Key) -> BatchBuilder,
    mut each: impl FnMut(&mut Output, &Key, &Batched) -> Result<Verdict, Failure>,
) -> Result<(), Failure> {
    let notices = Notices::new(is_json);
    let mut texts = texts_of(arguments)?;
    let mut output = Output::new();
    let mut tally = Tally::default();
    let outcome = with_node(&arguments.place.node, async |client| {
        let namespace = namespace_of(&arguments.place, &client).await?;
        loop {
            let keys = next_keys(arguments, &mut texts)?;
            if keys.is_empty() {
                return Ok(());
            }
            let results = carry_out(&namespace, (&arguments.set, &keys), &row).await;
            for (key, result) in keys.iter().zip(results) {
                tally.key_count += 1;
                let name = || match key.as_key_ref() {
                    Ok(key) => serde_json::to_string(&JsonKey(key)).unwrap_or_default(),
                    Err(error) => error.to_string(),
                };
                match result {
                    Ok(result) => {
                        if let Verdict::Missing = each(&mut output, key, &result)? {
                            tally.missing_count += 1;
                            let text = format!("there is no record {}", name());
                            eprintln!("{}", notices.line(&text));
                        }
                    }
                    Err(error) => {
                        tally.failed_count += 1;
                        eprintln!("{}", notices.line(&format!("{}: {error}", name())));
                    }
                }
            }
        }
    });
    output.finish()?;
    outcome.and_then(|()| tally.end())
}

async fn carry_out(
    namespace: &Namespace,
    (set, keys): (&str, &[Key]),
    row: impl Fn(BatchBuilder, &Key) -> BatchBuilder,
) -> Vec<Result<Batched, Error>> {
    let batch = keys.iter().fold(BatchBuilder::new(set), row);
    namespace.batch(&batch).await
}

/// The texts of keys, as they are given.
type Texts<'a> = Box<dyn Iterator<Item = Result<String, Failure>> + 'a>;

fn texts_of(arguments: &KeysArguments) -> Result<Texts<'_>, Failure> {
    let Some(path) = &arguments.keys_file else {
        return Ok(Box::new(arguments.keys.iter().cloned().map(Ok)));
    };
    let unreadable = |error: std::io::Error| {
        let name = path.display();
        Failure::new(
            format!("the keys cannot be read from {name}: {error}"),
            "give a file with a key on each line, or - for standard input",
        )
    };
    let lines: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
    };
    let lines = lines.lines().map(move |line| line.map_err(unreadable));
    // An empty line is no key, and most likely the last.
    Ok(Box::new(lines.filter(|line| {
        line.as_ref().map_or(true, |text| !text.is_empty())
    })))
}

fn next_keys(arguments: &KeysArguments, texts: &mut Texts<'_>) -> Result<Vec<Key>, Failure> {
    texts
        .take(KEYS_AT_ONCE)
        .map(|text| {
            let key = arguments.key_type.parse(&text?);
            key.map_err(|error| Failure::new(error.to_string(), "give its type with --key-type"))
        })
        .collect()
}
