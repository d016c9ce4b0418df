//! When a write is to be answered: what all commands that write take.

use clap::{Args, ValueEnum};
use corelith_client::Commit;

/// When writes are answered.
#[derive(Args, Clone, Copy, Debug)]
pub struct CommitArguments {
    /// When the node is to answer [default: as the namespace does by itself].
    #[arg(long, value_name = "WHEN", value_enum)]
    commit: Option<CommitChoice>,
}

/// The choices of `--commit`.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum CommitChoice {
    /// When the write is durable.
    Durable,
    /// As soon as it is accepted: a crash soon after may take it back. Only where the namespace allows it.
    Buffered,
}

impl CommitArguments {
    /// As the protocol has it.
    #[must_use]
    pub fn rule(self) -> Commit {
        match self.commit {
            None => Commit::NamespaceDefault,
            Some(CommitChoice::Durable) => Commit::Durable,
            Some(CommitChoice::Buffered) => Commit::Buffered,
        }
    }
}
