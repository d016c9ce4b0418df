//! Says in the log when a namespace becomes full, and when it has room again, and the same of a clock that has stepped too
//! far ahead: once each, whatever is refused.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use super::Node;
use super::cores::CORE_ANSWER;
use crate::core::Order;
use crate::limits::{ROOM_LOOK_EVERY, ROOM_LOOKS_MIN};
use crate::namespaces::Trouble;

/// Namespaces of which has been said that they are full, with the number of looks since that found room.
#[derive(Default)]
struct ToldFull(BTreeMap<Arc<str>, u32>);

/// What is to be said of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    Full,
    RoomAgain,
}

/// Looks from time to time, as long as the node is up.
pub(super) async fn watch(node: Rc<Node>) {
    let (mut told, mut is_clock_told) = (ToldFull::default(), false);
    loop {
        tokio::time::sleep(ROOM_LOOK_EVERY).await;
        if !node.state.get().is_up() {
            continue;
        }
        // A core that does not answer in time is asked again.
        let Some(found) = node.cores.ask(Order::Troubles, CORE_ANSWER).await else {
            continue;
        };
        let found: Vec<Trouble> = found.into_iter().flatten().collect();
        let ahead_ms = found.iter().map(|trouble| trouble.clock_ahead_ms).max();
        tell_clock(&mut is_clock_told, ahead_ms.unwrap_or(0));
        let full = found.into_iter();
        let full = full.map(|trouble| (trouble.name, trouble.is_full));
        for (name, news) in told.look(full) {
            match news {
                News::Full => tracing::warn!(
                    "namespace {name:?} is full: new data is refused with \"out of space\"; overwrites that do not \
                     grow, reads and deletes go on: delete records, or move the namespace to a larger volume"
                ),
                News::RoomAgain => {
                    tracing::info!("namespace {name:?} has room again and takes new data");
                }
            }
        }
    }
}

/// Says it of the clock when it has changed.
fn tell_clock(is_told: &mut bool, ahead_ms: u64) {
    let is_ahead = ahead_ms > 0;
    if std::mem::replace(is_told, is_ahead) == is_ahead {
        return;
    }
    if is_ahead {
        tracing::error!(
            ahead_s = ahead_ms / 1000,
            "the wall clock has stepped further ahead than clock_jump_max, and what is written by it would expire records \
             for ever: writes are refused, reads go on by the time as it was. Set the clock right; or, if it is right now, \
             say so: `corelith config set node.clock_jump_max none`, and then the bound of before"
        );
    } else {
        tracing::info!("the wall clock is believed again: writes are taken");
    }
}

impl ToldFull {
    /// Takes what the cores found of their shards of each namespace: whether one of them is full.
    fn look(&mut self, found: impl Iterator<Item = (Arc<str>, bool)>) -> Vec<(Arc<str>, News)> {
        let mut now: BTreeMap<Arc<str>, bool> = BTreeMap::new();
        for (name, is_full) in found {
            *now.entry(name).or_default() |= is_full;
        }
        let mut news = Vec::new();
        for (name, is_full) in now {
            match (self.0.get_mut(&name), is_full) {
                (None, false) => {}
                (None, true) => {
                    self.0.insert(Arc::clone(&name), 0);
                    news.push((name, News::Full));
                }
                (Some(roomy_looks), true) => *roomy_looks = 0,
                (Some(roomy_looks), false) => {
                    *roomy_looks += 1;
                    if *roomy_looks >= ROOM_LOOKS_MIN {
                        self.0.remove(&name);
                        news.push((name, News::RoomAgain));
                    }
                }
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(told: &mut ToldFull, found: &[(&str, bool)]) -> Vec<(String, News)> {
        let found = found
            .iter()
            .map(|(name, is_full)| ((*name).into(), *is_full));
        let news = told.look(found).into_iter();
        news.map(|(name, news)| (name.to_string(), news)).collect()
    }

    #[test]
    fn each_is_said_once() {
        let mut told = ToldFull::default();
        assert_eq!(look(&mut told, &[("a", false), ("b", false)]), []);
        // One full shard of one core is enough.
        let full = [("a", false), ("b", false), ("a", true)];
        assert_eq!(look(&mut told, &full), [("a".to_owned(), News::Full)]);
        assert_eq!(look(&mut told, &full), []);
        let roomy = [("a", false), ("b", false)];
        for _ in 1..ROOM_LOOKS_MIN {
            assert_eq!(look(&mut told, &roomy), []);
        }
        assert_eq!(look(&mut told, &roomy), [("a".to_owned(), News::RoomAgain)]);
        assert_eq!(look(&mut told, &roomy), []);
        assert_eq!(look(&mut told, &full), [("a".to_owned(), News::Full)]);
    }

    #[test]
    fn room_that_goes_at_once_is_none() {
        let mut told = ToldFull::default();
        assert_eq!(look(&mut told, &[("a", true)]).len(), 1);
        for _ in 0..10 {
            for _ in 1..ROOM_LOOKS_MIN {
                assert_eq!(look(&mut told, &[("a", false)]), []);
            }
            assert_eq!(look(&mut told, &[("a", true)]), []);
        }
    }
}
