//! The content of a page, taken from what the shard holds at this moment.

use corelith_index::SetId;

use crate::format::checkpoint_page::{PageKind, PagePoint};
use crate::format::checkpoint_sets::{ItemPlace, SetItem};
use crate::state::State;

impl State {
    /// Fills `target` with what stands from `from` on. Returns its bytes and the point behind it, of the same kind.
    pub(crate) fn take_page(&self, from: PagePoint, target: &mut [u8]) -> (usize, PagePoint) {
        match from.kind {
            PageKind::Sets => self.take_sets(from.rank, target),
            PageKind::Index => {
                let (used, to) = self.index.take_image(from.image_position(), target);
                (used, PagePoint::of_index(to))
            }
        }
    }

    fn take_sets(&self, from: u16, target: &mut [u8]) -> (usize, PagePoint) {
        let mut used = 0;
        for number in from..SetId::COUNT {
            let Some(item) = SetId::new(number).and_then(|set| self.set_item(set)) else {
                continue;
            };
            let room = target.get_mut(used..).unwrap_or_default();
            match item.encode(room) {
                Some(length) => used += length,
                None => return (used, PagePoint::of_set(number)),
            }
        }
        (used, PagePoint::of_set(SetId::COUNT))
    }

    /// What is known of a number, if anything is.
    fn set_item(&self, set: SetId) -> Option<SetItem> {
        let definition = self.sets.kept_of(set).map(|(name, place)| {
            let place = place.map(|place| ItemPlace {
                address: place.address,
                length: place.length,
            });
            (name.to_owned(), place)
        });
        let truncation = self.truncations.kept_of(set);
        (definition.is_some() || truncation.is_some()).then_some(SetItem {
            set,
            definition,
            truncation,
        })
    }
}
