//! Lifetimes: how long the records of a namespace live when a write leaves it open, and at most.
//!
//! A change holds for later writes; what has been written keeps its expiry.

use std::num::NonZeroU32;

use corelith_index::ExpirySeconds;
use corelith_store::Current;
use corelith_wire::Ttl;

use crate::refusal::Rejection;

/// The rules of one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Lifetimes {
    /// What a record gets whose write leaves it to the namespace, in seconds; `None`: it does not expire.
    pub(crate) default_s: Option<NonZeroU32>,
    /// The longest that a write may ask for, in seconds; then a write cannot ask for "never" either. `None`:
    /// what the protocol allows.
    pub(crate) max_s: Option<NonZeroU32>,
}

impl Lifetimes {
    /// The expiry that a write's rule gives a record.
    ///
    /// # Errors
    /// [`Rejection::Lifetime`]: longer than this namespace allows.
    pub(crate) fn expiry_of(
        &self,
        ttl: Ttl,
        current: Option<Current<'_>>,
        now_ms: u64,
    ) -> Result<ExpirySeconds, Rejection> {
        let asked_s = match (ttl, current) {
            (Ttl::Keep, Some(current)) => return Ok(current.expiry),
            (Ttl::NamespaceDefault | Ttl::Keep, _) => self.default_s,
            (Ttl::Never, _) => None,
            (Ttl::Seconds(seconds), _) => NonZeroU32::new(seconds),
        };
        if let Some(max_s) = self.max_s
            && asked_s.is_none_or(|asked_s| asked_s > max_s)
        {
            return Err(Rejection::Lifetime {
                max_s: max_s.get(),
                asked_s: asked_s.map_or(0, NonZeroU32::get),
            });
        }
        let Some(asked_s) = asked_s else {
            return Ok(ExpirySeconds::NEVER);
        };
        let now_s = (now_ms / 1000).saturating_sub(ExpirySeconds::UNIX_OFFSET_SECONDS);
        let at_s = now_s.saturating_add(u64::from(asked_s.get()));
        Ok(ExpirySeconds::new(u32::try_from(at_s).unwrap_or(u32::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use corelith_index::Generation;

    use super::*;

    const NOW_MS: u64 = (ExpirySeconds::UNIX_OFFSET_SECONDS + 1000) * 1000;

    fn check(
        lifetimes: Lifetimes,
        (ttl, current_s): (Ttl, Option<u32>),
        expected: Result<u32, Rejection>,
    ) {
        let current = current_s.map(|expiry_s| Current {
            generation: Generation::new(1).unwrap(),
            expiry: ExpirySeconds::new(expiry_s),
            set: corelith_index::SetId::NONE,
            content: &[],
        });
        assert_eq!(
            lifetimes.expiry_of(ttl, current, NOW_MS),
            expected.map(ExpirySeconds::new),
            "{lifetimes:?} {ttl:?} {current_s:?}"
        );
    }

    fn lifetimes(default_s: u32, max_s: u32) -> Lifetimes {
        Lifetimes {
            default_s: NonZeroU32::new(default_s),
            max_s: NonZeroU32::new(max_s),
        }
    }

    #[test]
    fn expiry_follows_the_rule() {
        let none = Lifetimes::default();
        check(none, (Ttl::Seconds(60), None), Ok(1060));
        check(none, (Ttl::Keep, Some(77)), Ok(77));
        check(none, (Ttl::Keep, None), Ok(0));
        check(none, (Ttl::Never, Some(77)), Ok(0));
        check(none, (Ttl::NamespaceDefault, Some(77)), Ok(0));
    }

    #[test]
    fn the_default_is_for_those_who_leave_it_open() {
        let day = lifetimes(86_400, 0);
        check(day, (Ttl::NamespaceDefault, None), Ok(87_400));
        check(day, (Ttl::NamespaceDefault, Some(7)), Ok(87_400));
        check(day, (Ttl::Keep, None), Ok(87_400));
        check(day, (Ttl::Keep, Some(7)), Ok(7));
        check(day, (Ttl::Never, None), Ok(0));
        check(day, (Ttl::Seconds(5), None), Ok(1005));
    }

    #[test]
    fn nothing_lives_longer_than_the_longest() {
        let hour = lifetimes(60, 3600);
        let rejected = |asked_s| {
            Err(Rejection::Lifetime {
                max_s: 3600,
                asked_s,
            })
        };
        check(hour, (Ttl::Seconds(3600), None), Ok(4600));
        check(hour, (Ttl::Seconds(3601), None), rejected(3601));
        check(hour, (Ttl::Never, None), rejected(0));
        check(hour, (Ttl::NamespaceDefault, None), Ok(1060));
    }
}
