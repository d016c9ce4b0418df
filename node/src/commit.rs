//! When writes are answered: what a namespace allows, and how often it flushes what was answered early.

use std::time::Duration;

use clap::ValueEnum;
use corelith_store::Commit;
use corelith_wire::{Refusal, Status};

/// What a namespace allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum CommitChoice {
    /// Every write is answered when it is durable.
    Durable,
    /// As durable, but a write may ask to be answered as soon as it is accepted.
    Optional,
    /// Writes are answered as soon as they are accepted, unless they ask for the other.
    Buffered,
}

/// The rule of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CommitPolicy {
    /// What it allows.
    pub(crate) choice: CommitChoice,
    /// How often buffered writes are sent to the devices.
    pub(crate) flush_interval: Duration,
}

impl CommitPolicy {
    /// When a write that asks for `asked` is answered.
    pub(crate) fn choose(self, asked: corelith_wire::Commit) -> Result<Commit, Refusal<'static>> {
        match (asked, self.choice) {
            (corelith_wire::Commit::Durable, _)
            | (
                corelith_wire::Commit::NamespaceDefault,
                CommitChoice::Durable | CommitChoice::Optional,
            ) => Ok(Commit::Durable),
            (corelith_wire::Commit::NamespaceDefault, CommitChoice::Buffered)
            | (
                corelith_wire::Commit::Buffered,
                CommitChoice::Optional | CommitChoice::Buffered,
            ) => Ok(Commit::Buffered),
            (corelith_wire::Commit::Buffered, CommitChoice::Durable) => {
                Err(Refusal::new(Status::InvalidArgument).explained(
                    "the namespace takes durable writes only: ask for no other, or start the node with --commit optional",
                ))
            }
        }
    }

    /// True if there can be buffered writes.
    pub(crate) fn may_buffer(self) -> bool {
        self.choice != CommitChoice::Durable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_gets_what_it_asks_for_where_it_is_allowed() {
        use corelith_wire::Commit::{Buffered, Durable, NamespaceDefault};
        let rule = |choice| CommitPolicy {
            choice,
            flush_interval: Duration::from_millis(100),
        };
        let chosen = |choice, asked| rule(choice).choose(asked).ok();
        for choice in [
            CommitChoice::Durable,
            CommitChoice::Optional,
            CommitChoice::Buffered,
        ] {
            assert_eq!(chosen(choice, Durable), Some(Commit::Durable));
        }
        assert_eq!(
            chosen(CommitChoice::Durable, NamespaceDefault),
            Some(Commit::Durable)
        );
        assert_eq!(
            chosen(CommitChoice::Optional, NamespaceDefault),
            Some(Commit::Durable)
        );
        assert_eq!(
            chosen(CommitChoice::Buffered, NamespaceDefault),
            Some(Commit::Buffered)
        );
        assert_eq!(chosen(CommitChoice::Durable, Buffered), None);
        assert_eq!(
            chosen(CommitChoice::Optional, Buffered),
            Some(Commit::Buffered)
        );
        assert_eq!(
            chosen(CommitChoice::Buffered, Buffered),
            Some(Commit::Buffered)
        );
    }
}
