//! Truncation on all cores: each truncates its own shards, one after another, and says how that went.
//!
//! Invariant: a core is asked only when all can be, so that "busy" means that nothing was done.

use std::rc::Rc;

use corelith_store::Truncate;
use corelith_wire::{NamespaceId, Refusal, Status, TruncateAnswer, TruncateTarget};

use super::{Core, GatherBusy};
use crate::hop::Peer;
use crate::refusal;

/// A truncation on its way to another core.
#[derive(Clone, Debug)]
pub(crate) struct Truncation {
    /// In which namespace.
    pub(crate) namespace: NamespaceId,
    /// Which records.
    pub(crate) target: Target,
}

/// What a truncation deletes.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// A set.
    Set(Box<str>),
    /// Everything.
    All,
}

/// How a truncation went, on one core or on several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Truncated {
    /// Shards that have truncated.
    done_count: u16,
    /// Why the first that has not, if any, has not.
    failure: Option<Refusal<'static>>,
    /// Nobody can tell whether one of them has.
    is_in_doubt: bool,
}

impl From<TruncateTarget<'_>> for Target {
    fn from(target: TruncateTarget<'_>) -> Self {
        match target {
            TruncateTarget::Set(name) => Self::Set(name.into()),
            TruncateTarget::All => Self::All,
        }
    }
}

impl Target {
    fn as_truncate(&self) -> Truncate<'_> {
        match self {
            Self::Set(name) => Truncate::Set(name),
            Self::All => Truncate::All,
        }
    }
}

impl Truncated {
    /// A core that could not be asked.
    const fn not_asked() -> Self {
        Self {
            done_count: 0,
            failure: Some(refusal::busy()),
            is_in_doubt: false,
        }
    }

    fn fail(&mut self, failure: Refusal<'static>) {
        self.is_in_doubt |= failure.status == Status::InDoubt;
        self.failure.get_or_insert(failure);
    }

    fn add(&mut self, other: Self) {
        self.done_count = self.done_count.saturating_add(other.done_count);
        self.is_in_doubt |= other.is_in_doubt;
        self.failure = self.failure.or(other.failure);
    }

    /// What the client is told.
    fn verdict(self) -> Result<TruncateAnswer, Refusal<'static>> {
        let Some(failure) = self.failure else {
            return Ok(TruncateAnswer {
                shard_count: self.done_count,
            });
        };
        if self.done_count == 0 && !self.is_in_doubt {
            return Err(failure);
        }
        Err(Refusal::new(Status::InDoubt)
            .because_of(failure.status)
            .explained("some shards have truncated and others may not have: ask again"))
    }
}

impl Core {
    /// Truncates all shards of the namespace.
    pub(crate) async fn truncate(
        &self,
        truncation: Truncation,
    ) -> Result<TruncateAnswer, Refusal<'static>> {
        let busy = |GatherBusy| refusal::busy();
        let gathering = self.questions.truncations.begin().map_err(busy)?;
        let peers: Vec<&Peer> = self.peers.iter().flatten().collect();
        if !peers.iter().all(|peer| peer.has_room()) {
            return Err(refusal::busy());
        }
        let mut asked_count = 0;
        let mut total = Truncated::default();
        for peer in peers {
            match peer.ask_to_truncate(gathering.number, truncation.clone()) {
                Ok(()) => asked_count += 1,
                Err(GatherBusy) => total.add(Truncated::not_asked()),
            }
        }
        total.add(self.truncate_own(&truncation).await);
        for answer in self
            .questions
            .truncations
            .all(gathering.number, asked_count)
            .await
        {
            total.add(answer);
        }
        total.verdict()
    }

    /// Truncates the shards of this core.
    async fn truncate_own(&self, truncation: &Truncation) -> Truncated {
        let mut outcome = Truncated::default();
        let namespace = self.namespaces.get(truncation.namespace);
        for shard in namespace
            .iter()
            .flat_map(|namespace| namespace.shards.iter())
        {
            match shard.truncate(truncation.target.as_truncate()).await {
                Ok(()) => outcome.done_count = outcome.done_count.saturating_add(1),
                Err(error) => outcome.fail(refusal::of_truncation(&error)),
            }
        }
        outcome
    }

    /// Another core asks.
    pub(crate) fn truncate_for(self: &Rc<Self>, from: u16, number: u64, truncation: Truncation) {
        self.took_on();
        let core = Rc::clone(self);
        glommio::spawn_local(async move {
            let outcome = core.truncate_own(&truncation).await;
            if let Some(Some(peer)) = core.peers.get(usize::from(from)) {
                peer.tell_truncated(number, outcome);
            }
            core.answered();
        })
        .detach();
    }

    /// A core has said how it went there.
    pub(crate) fn truncated(&self, number: u64, outcome: Truncated) {
        self.questions.truncations.add(number, outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(count: u16) -> Truncated {
        Truncated {
            done_count: count,
            ..Truncated::default()
        }
    }

    fn failed(status: Status) -> Truncated {
        let mut failed = Truncated::default();
        failed.fail(Refusal::new(status));
        failed
    }

    fn verdict(parts: &[Truncated]) -> Result<u16, Status> {
        let mut total = Truncated::default();
        parts.iter().for_each(|part| total.add(*part));
        let verdict = total.verdict();
        verdict
            .map(|answer| answer.shard_count)
            .map_err(|refusal| refusal.status)
    }

    #[test]
    fn only_what_is_the_same_everywhere_is_certain() {
        assert_eq!(verdict(&[done(3), done(5)]), Ok(8));
        let (fenced, busy) = (failed(Status::Fenced), Truncated::not_asked());
        assert_eq!(verdict(&[fenced, busy]), Err(Status::Fenced));
        assert_eq!(verdict(&[busy, fenced]), Err(Status::Busy));
        assert_eq!(verdict(&[done(1), busy]), Err(Status::InDoubt));
        assert_eq!(verdict(&[fenced, done(1)]), Err(Status::InDoubt));
        let in_doubt = failed(Status::InDoubt);
        assert_eq!(verdict(&[fenced, in_doubt]), Err(Status::InDoubt));
    }
}
