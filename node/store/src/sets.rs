//! Names of sets: each shard numbers the sets that it holds. A definition is a record of its own kind,
//! as durable as the records that use the number. It is not in the index, so that no digest that a
//! client makes up can reach it.
//!
//! Invariants: a number means one name for as long as the volume lives; it is given out only when its
//! definition is durable.

use std::rc::Rc;

use corelith_index::{
    Digest, Entry, ExpirySeconds, Generation, RecordAddress, RecordLength, SetId,
};
use hashbrown::HashMap;

use crate::batch::NewRecord;
use crate::commit::Commit;
use crate::format::record_header::RecordFlags;
use crate::limits::{SET_NAME_BYTES_MAX, SETS_MAX};
use crate::outcome::{BatchEnd, Outcome};
use crate::state::{ShardCore, TagKey};
use crate::truncation::TruncateError;
use crate::writer::Append;
use crate::{ReadError, WriteError};

/// Why a name gets no number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SetError {
    /// Empty, too long, or with a zero byte.
    #[error(
        "a set's name has 1 to {SET_NAME_BYTES_MAX} bytes and no zero byte, this one has {found_bytes}"
    )]
    Name {
        /// Its length in bytes.
        found_bytes: usize,
    },
    /// All numbers are in use.
    #[error("a namespace holds at most {SETS_MAX} sets")]
    Full,
}

/// Where the record of a definition lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DefinitionPlace {
    pub(crate) address: RecordAddress,
    pub(crate) length: RecordLength,
}

/// A name with its number.
struct Definition {
    /// Empty if the record cannot be read, or is gone: the number stays taken.
    name: String,
    /// `None` if it is gone.
    place: Option<DefinitionPlace>,
}

/// A definition on its way.
struct PendingDefinition {
    set: SetId,
    name: String,
    outcome: Rc<Outcome>,
}

/// Names and numbers of one shard.
#[derive(Default)]
pub(crate) struct SetTable {
    definitions: Vec<Option<Definition>>,
    numbers: HashMap<String, SetId>,
    pending: Vec<PendingDefinition>,
}

impl SetTable {
    /// The number of `name`, if it has one.
    pub(crate) fn number(&self, name: &str) -> Option<SetId> {
        self.numbers.get(name).copied()
    }

    /// The number under which all records of `name` stand, if there can be any. An error if the name of
    /// another number is lost: that one may have been called so before.
    pub(crate) fn number_of_all(&self, name: &str) -> Result<Option<SetId>, TruncateError> {
        let is_lost = |definition: &Option<Definition>| {
            let definition = definition.as_ref();
            definition.is_some_and(|definition| definition.name.is_empty())
        };
        match (1_u16..).zip(&self.definitions).find(|(_, of)| is_lost(of)) {
            Some((number, _)) => Err(TruncateError::NameLost { number }),
            None => Ok(self.number(name)),
        }
    }

    /// The name of a number, if it has one.
    pub(crate) fn name(&self, set: SetId) -> Option<&str> {
        let definition = self.definitions.get(position(set)?)?.as_ref()?;
        Some(definition.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Definitions that are there and that could not be read.
    fn unread(&self) -> Vec<(SetId, DefinitionPlace)> {
        let numbers = (1_u16..).map_while(SetId::new);
        let unread = numbers.zip(&self.definitions).filter_map(|(set, of)| {
            let definition = of.as_ref().filter(|of| of.name.is_empty())?;
            Some((set, definition.place?))
        });
        unread.collect()
    }

    /// What a definition of `name` that is on its way waits for.
    fn pending(&self, name: &str) -> Option<Rc<Outcome>> {
        let pending = self.pending.iter().find(|pending| pending.name == name)?;
        Some(Rc::clone(&pending.outcome))
    }

    /// The number that `name` would get.
    fn next(&self, name: &str) -> Result<SetId, SetError> {
        let found_bytes = name.len();
        if name.is_empty() || found_bytes > SET_NAME_BYTES_MAX || name.contains('\0') {
            return Err(SetError::Name { found_bytes });
        }
        let pending = self
            .pending
            .iter()
            .map(|pending| usize::from(pending.set.get()))
            .max();
        let taken = self.definitions.len().max(pending.unwrap_or(0));
        u16::try_from(taken + 1)
            .ok()
            .and_then(SetId::new)
            .ok_or(SetError::Full)
    }

    /// Learns a definition that is durable. Returns the place of the one that it replaces.
    pub(crate) fn define(
        &mut self,
        set: SetId,
        name: &str,
        place: DefinitionPlace,
    ) -> Option<DefinitionPlace> {
        let replaced = self.slot(set)?.replace(Definition {
            name: name.to_owned(),
            place: Some(place),
        });
        if !name.is_empty() {
            self.numbers.insert(name.to_owned(), set);
        }
        replaced?.place
    }

    /// Learns that a record has this number. Its definition came before it, so if that is not known it is
    /// lost: the number has a name that nobody can tell, and is not given out again.
    pub(crate) fn note_used(&mut self, set: SetId) {
        if let Some(slot @ None) = self.slot(set) {
            *slot = Some(Definition {
                name: String::new(),
                place: None,
            });
        }
    }

    /// What a checkpoint keeps of a number: its name, empty if that is lost, and where its definition lies.
    pub(crate) fn kept_of(&self, set: SetId) -> Option<(&str, Option<DefinitionPlace>)> {
        let definition = self.definitions.get(position(set)?)?.as_ref()?;
        Some((definition.name.as_str(), definition.place))
    }

    /// The place of a number in the table; `None` for [`SetId::NONE`].
    fn slot(&mut self, set: SetId) -> Option<&mut Option<Definition>> {
        let position = position(set)?;
        if self.definitions.len() <= position {
            self.definitions.resize_with(position + 1, || None);
        }
        self.definitions.get_mut(position)
    }

    /// True if the definition of `set` that counts stands at `address`.
    pub(crate) fn is_defined_at(&self, set: SetId, address: RecordAddress) -> bool {
        let definition =
            position(set).and_then(|position| self.definitions.get(position)?.as_ref());
        let place = definition.and_then(|definition| definition.place);
        place.is_some_and(|place| place.address == address)
    }

    /// A definition that was on its way is settled.
    pub(crate) fn forget_pending(&mut self, set: SetId) {
        self.pending.retain(|pending| pending.set != set);
    }

    /// All definitions, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SetId, &str)> {
        (1_u16..)
            .map_while(SetId::new)
            .take(self.definitions.len())
            .filter_map(|set| Some((set, self.name(set)?)))
    }
}

impl ShardCore {
    /// The number of the set called `name`, made durable if it is new.
    pub(crate) async fn set_id(&self, name: &str) -> Result<SetId, WriteError<SetError>> {
        if name.is_empty() {
            return Ok(SetId::NONE);
        }
        loop {
            if let Some(set) = self.state.borrow().sets.number(name) {
                return Ok(set);
            }
            let pending = self.state.borrow().sets.pending(name);
            if let Some(outcome) = pending {
                self.end_of(outcome).await;
                continue;
            }
            // One definition is made at a time; what is on its way does not hold up the next.
            let turn_key = TagKey::of(&definition_digest(self.number, SetId::NONE));
            let turn = self
                .turns
                .take(turn_key)
                .await
                .map_err(|_| WriteError::KeyBusy)?;
            self.read_names_again().await?;
            if self.is_named(name) {
                continue;
            }
            let (set, outcome) = self.append_definition(name).await?;
            drop(turn);
            return match self.end_of(outcome).await {
                BatchEnd::Durable => Ok(set),
                BatchEnd::InDoubt => Err(WriteError::InDoubt),
                BatchEnd::NotWritten => Err(WriteError::NotWritten),
            };
        }
    }

    /// Reads definitions that could not be read at the start. As long as a device does not return one, nobody knows
    /// whether a name has a number, and a second one would tear the set apart. One that is damaged for
    /// good never comes back: its name is lost.
    pub(crate) async fn read_names_again(&self) -> Result<(), ReadError> {
        let unread = self.state.borrow().sets.unread();
        for (set, place) in unread {
            let entry = Entry {
                address: place.address,
                length: place.length,
                generation: Generation::FIRST,
                expiry: ExpirySeconds::NEVER,
                set,
                is_moved: false,
                is_damaged: false,
            };
            match self.read_place_stubbornly(&entry).await {
                Ok(record) => {
                    let name = std::str::from_utf8(record.content()).unwrap_or_default();
                    self.state.borrow_mut().sets.define(set, name, place);
                }
                Err(ReadError::Damaged(_) | ReadError::Misdirected) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_named(&self, name: &str) -> bool {
        let state = self.state.borrow();
        state.sets.number(name).is_some() || state.sets.pending(name).is_some()
    }

    /// Appends the definition of `name`, with the turn for definitions held.
    async fn append_definition(
        &self,
        name: &str,
    ) -> Result<(SetId, Rc<Outcome>), WriteError<SetError>> {
        loop {
            self.check_open()?;
            let room = self.room.wait();
            let set = self
                .state
                .borrow()
                .sets
                .next(name)
                .map_err(WriteError::Rejected)?;
            let record = NewRecord {
                digest: definition_digest(self.number, set),
                flags: RecordFlags::META,
                generation: Generation::FIRST,
                set,
                expiry: ExpirySeconds::NEVER,
                updated_ms: self.clock.now_ms(),
                content: name.as_bytes(),
                previous: None,
                commit: Commit::Durable,
                is_above_acknowledged: false,
                replaced_bytes: 0,
                moved: None,
            };
            self.check_clock()?;
            match self.try_append(&record, &mut None)? {
                Append::Done(_, outcome) => {
                    let name = name.to_owned();
                    let pending = PendingDefinition {
                        set,
                        name,
                        outcome: Rc::clone(&outcome),
                    };
                    self.state.borrow_mut().sets.pending.push(pending);
                    return Ok((set, outcome));
                }
                Append::Wait => room.await,
            }
        }
    }
}

fn position(set: SetId) -> Option<usize> {
    usize::from(set.get()).checked_sub(1)
}

/// The digest under which `shard` keeps the definition of `set`. Its partition is the first of the
/// shard; the rest is text and number, which no RIPEMD-160 of a key will be.
pub(crate) fn definition_digest(shard: u16, set: SetId) -> Digest {
    let mut bytes = [0; 20];
    let [low, high] = shard.to_le_bytes();
    let [number_low, number_high] = set.get().to_le_bytes();
    let text = [
        low,
        high,
        number_low,
        number_high,
        b'd',
        b'e',
        b'f',
        b'i',
        b'n',
        b'e',
        b' ',
        b's',
        b'e',
        b't',
    ];
    for (target, source) in bytes.iter_mut().zip(text) {
        *target = source;
    }
    Digest::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(packed: u64) -> DefinitionPlace {
        DefinitionPlace {
            address: RecordAddress::from_packed(packed).unwrap(),
            length: RecordLength::round_up(64).unwrap(),
        }
    }

    #[test]
    fn names_and_numbers() {
        let mut table = SetTable::default();
        let first = table.next("users").unwrap();
        assert_eq!(first.get(), 1);
        assert_eq!(table.define(first, "users", place(4)), None);
        assert_eq!(table.number("users"), Some(first));
        assert_eq!(table.name(first), Some("users"));
        assert_eq!(table.next("events").unwrap().get(), 2);
        assert_eq!(table.name(SetId::NONE), None);
        assert_eq!(table.next(""), Err(SetError::Name { found_bytes: 0 }));
        assert_eq!(
            table.next(&"x".repeat(64)),
            Err(SetError::Name { found_bytes: 64 })
        );
        assert_eq!(table.define(first, "users", place(8)), Some(place(4)));
        assert_eq!(table.iter().collect::<Vec<_>>(), [(first, "users")]);
    }

    #[test]
    fn a_number_on_its_way_is_taken() {
        let mut table = SetTable::default();
        let set = table.next("users").unwrap();
        let (name, outcome) = ("users".to_owned(), Rc::new(Outcome::default()));
        table.pending.push(PendingDefinition { set, name, outcome });
        assert_eq!(table.next("events").unwrap().get(), 2);
        assert!(table.pending("users").is_some());
        assert_eq!(table.number("users"), None);
        table.forget_pending(set);
        assert_eq!(table.next("events").unwrap().get(), 1);
    }

    #[test]
    fn a_number_whose_name_is_lost_stays_taken() {
        let mut table = SetTable::default();
        table.define(SetId::new(2).unwrap(), "", place(4));
        assert_eq!(table.next("users").unwrap().get(), 3);
        assert_eq!(table.name(SetId::new(2).unwrap()), None);
        assert_eq!(table.iter().count(), 0);
        assert_eq!(
            table.number_of_all("users"),
            Err(TruncateError::NameLost { number: 2 })
        );
    }

    #[test]
    fn numbers_run_out() {
        let mut table = SetTable::default();
        table.define(SetId::new(SETS_MAX).unwrap(), "last", place(4));
        assert_eq!(table.next("one more"), Err(SetError::Full));
    }

    #[test]
    fn a_definition_belongs_to_its_shard() {
        for shard in [0, 7, 255] {
            let digest = definition_digest(shard, SetId::new(4095).unwrap());
            assert_eq!(digest.partition().get(), shard);
        }
    }
}
