//! `operate`: what it takes, and its steps as they are typed.

use clap::Args;
use corelith_client::{PutMode, StepsBuilder, Ttl, Value};
use corelith_index::Generation;

use super::commit::CommitArguments;
use super::records::{KeyArguments, parse_generation};
use crate::bin_argument::BinArgument;
use crate::ttl_text::parse_ttl;

/// What to do to one record.
#[derive(Args, Debug)]
#[command(
    after_help = "Steps are carried out in their order and as one: nobody sees the record in between, each step sees what those \
before it did, and if one cannot be carried out nothing is changed.

  read BIN            show a bin                     write BIN=VALUE     give a bin this value
  read-all            show all bins                  remove BIN          remove a bin
  metadata            show generation and expiry     add BIN=NUMBER      add to an integer or a double
  touch               make a new version             append BIN=TEXT     put text or bytes behind a bin's own
  delete              remove all bins                prepend BIN=TEXT    put text or bytes before a bin's own

Values are typed as in `corelith put`; what is appended or prepended is a string unless a type is given. A record that is \
not there is created by steps that write, but not by touch. A record that is left without bins is removed.

Examples:
  corelith operate alice add visits=1 read visits
  corelith operate alice append 'log=;login' write seen:integer=1700000000 --ttl 30d
  corelith operate alice read-all delete

Exit code 3: no such record."
)]
pub struct OperateArguments {
    /// Which record.
    #[command(flatten)]
    pub key: KeyArguments,

    /// Steps: a word, and behind most of them a bin.
    #[arg(required = true, value_name = "STEP")]
    pub steps: Vec<String>,

    /// Time to live: seconds, or with s, m, h, d; `never`, `keep`, or `default` (the namespace's).
    #[arg(long, value_name = "TIME", default_value = "default", value_parser = parse_ttl)]
    pub ttl: Ttl,

    /// The record must not be there.
    #[arg(long, conflicts_with_all = ["update_only", "replace", "generation"])]
    pub create_only: bool,

    /// The record must be there.
    #[arg(long)]
    pub update_only: bool,

    /// The steps begin with no bins, whatever the record holds.
    #[arg(long)]
    pub replace: bool,

    /// The generation that the record must have.
    #[arg(long, value_name = "N", value_parser = parse_generation)]
    pub generation: Option<Generation>,

    /// Keep the key with the record, so that scans and exports show it.
    #[arg(long)]
    pub store_key: bool,

    /// When it is to be answered.
    #[command(flatten)]
    pub commit: CommitArguments,
}

impl OperateArguments {
    /// What to do with the record that is there.
    #[must_use]
    pub fn mode(&self) -> PutMode {
        super::records::mode(self.create_only, self.update_only, self.replace)
    }

    /// The steps as they were typed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn steps(&self) -> Result<StepsBuilder, String> {
        let mut steps = StepsBuilder::new();
        let mut words = self.steps.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut operand = || {
                words
                    .next()
                    .ok_or_else(|| format!("the step {word:?} needs a bin behind it"))
            };
            steps = match word {
                "read" => steps.read(operand()?),
                "read-all" => steps.read_all(),
                "metadata" => steps.read_metadata(),
                "write" => {
                    let bin = BinArgument::parse(operand()?)?;
                    steps.write(bin.name, bin.value)
                }
                "remove" => steps.remove(operand()?),
                "add" => {
                    let bin = BinArgument::parse(operand()?)?;
                    steps.add(bin.name, bin.value)
                }
                "append" => {
                    let bin = run_argument(operand()?)?;
                    steps.append(bin.name, bin.value)
                }
                "prepend" => {
                    let bin = run_argument(operand()?)?;
                    steps.prepend(bin.name, bin.value)
                }
                "touch" => steps.touch(),
                "delete" => steps.delete(),
                _ => {
                    return Err(format!(
                        "there is no step {word:?}: use read, read-all, metadata, write, remove, add, append, \
                         prepend, touch or delete"
                    ));
                }
            };
        }
        Ok(steps)
    }
}

/// `BIN=TEXT` or `BIN:TYPE=VALUE`: without a type it is text, whatever it looks like.
fn run_argument(argument: &str) -> Result<BinArgument, String> {
    let parsed = BinArgument::parse(argument)?;
    match argument.split_once('=') {
        Some((name, text)) if !name.contains(':') => Ok(BinArgument {
            name: parsed.name,
            value: Value::from(text),
        }),
        _ => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn steps(words: &[&str]) -> Result<StepsBuilder, String> {
        let line = [&["corelith", "operate", "key"], words].concat();
        let Command::Operate(operate) = Arguments::parse_from(line).command else {
            panic!("not an operate")
        };
        operate.steps()
    }

    #[test]
    fn steps_as_they_are_typed() {
        let typed = steps(&[
            "read",
            "a",
            "read-all",
            "metadata",
            "write",
            "a=x",
            "remove",
            "b",
            "add",
            "n=-1",
            "append",
            "s=1",
            "prepend",
            "s:hex=00ff",
            "touch",
            "delete",
            "--ttl",
            "1d",
        ]);
        let expected = StepsBuilder::new()
            .read("a")
            .read_all()
            .read_metadata()
            .write("a", "x")
            .remove("b")
            .add("n", -1)
            .append("s", "1")
            .prepend("s", vec![0, 255])
            .touch()
            .delete();
        assert_eq!(typed.unwrap().finish(), expected.finish());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (words, told) in [
            (&["get", "a"][..], "no step \"get\""),
            (&["add"], "\"add\" needs a bin"),
            (&["add", "n"], "BIN=VALUE"),
            (&["append", "s:int=1"], "no type \"int\""),
        ] {
            let error = steps(words).unwrap_err();
            assert!(error.contains(told), "{words:?}: {error}");
        }
    }
}
