//! Several steps on one record, as one: what it holds afterwards, and what the reading steps saw.
//!
//! Each step sees what those before it did. The record is written once, at the end; until then only
//! the bins that are changed are kept aside, so the cost is that of one copy of the record and of
//! the steps, whatever their order. Either all steps succeed or nothing is written.

use std::collections::HashMap;

use crate::bin_value::BinValue;
use crate::content::Content;
use crate::content_writer::{ContentWriter, order_of};
use crate::directory::{NameOrder, Origin, Part, directory_length};
use crate::edit::Edit;
use crate::error::{ContentError, EditError, StepError};
use crate::key_ref::KeyRef;
use crate::limits::{CONTENT_LENGTH_BYTES_MAX, WALKED_BIN_COUNT_MAX};
use crate::name::BinName;
use crate::new_value::NewValue;
use crate::ordinal_set::{OrdinalSet, WORDS_MAX};
use crate::pace::{BIN_COST, LOOKUP_COST, Pace};
use crate::step::Step;

/// Changed bins that are looked through one by one: beyond it they are hashed. A walk over so few
/// names costs less than a hash that nobody can choose collisions for.
const WALKED_CHANGES: usize = 16;

/// What steps have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They have only read: there is no new version.
    Nothing,
    /// A new version with the content as it was.
    Touched,
    /// A new version with a content of so many bins; none means that the record is no more.
    Written(u16),
}

/// What reading steps saw: bins one after the other, and how many of them belong to each step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The bins as a [`BinList`](crate::BinList), in the order of the steps.
    pub bins: Vec<u8>,
    /// How many bins each reading step saw: 1 for a bin (nil if it is not there), 0 for metadata.
    pub bin_counts: Vec<u16>,
}

/// Carries out `steps` on what a record holds ([`Content::empty`] for one that is not there). `key` is
/// kept with the record if it is given, else the record's own stays. What the record holds
/// afterwards is appended to `out` where the effect is [`Effect::Written`]; `reads` is emptied and
/// takes what was read.
///
/// # Errors
/// [`StepError`] names the step that cannot be carried out; `out` and `reads` then hold nothing of it.
pub fn operate<'a>(
    old: &Content<'a>,
    key: Option<KeyRef<'a>>,
    steps: impl IntoIterator<Item = Step<'a>>,
    out: &mut Vec<u8>,
    reads: &mut Reads,
) -> Result<Effect, StepError> {
    let Reads { bins, bin_counts } = reads;
    bins.clear();
    bin_counts.clear();
    let result = carry_out(old, key, steps, out, (bins, bin_counts));
    if result.is_err() {
        bin_counts.clear();
    }
    result
}

/// [`operate`], in pieces; `out` and `reads` come as one.
///
/// # Errors
/// As [`operate`].
pub async fn operate_in_pieces<'a, P: AsyncFnMut()>(
    old: &Content<'a>,
    key: Option<KeyRef<'a>>,
    steps: impl IntoIterator<Item = Step<'a>>,
    (out, reads): (&mut Vec<u8>, &mut Reads),
    pace: &mut Pace<P>,
) -> Result<Effect, StepError> {
    let Reads { bins, bin_counts } = reads;
    bins.clear();
    bin_counts.clear();
    let result = carry_out_in_pieces((old, key), steps, out, (bins, bin_counts), pace).await;
    if result.is_err() {
        bin_counts.clear();
    }
    result
}

fn carry_out<'a>(
    old: &Content<'a>,
    key: Option<KeyRef<'a>>,
    steps: impl IntoIterator<Item = Step<'a>>,
    out: &mut Vec<u8>,
    (bins, bin_counts): (&mut Vec<u8>, &mut Vec<u16>),
) -> Result<Effect, StepError> {
    let mut seen = ContentWriter::new(bins, None);
    let mut draft = Draft::new(*old);
    let mut last = 0;
    for (ordinal, step) in (0_u16..).zip(steps) {
        last = ordinal;
        let done = match step {
            Step::Read(name) => draft.read(name, &mut seen).map(|()| bin_counts.push(1)),
            Step::ReadAll => {
                let counted = draft.read_all(&mut seen);
                counted.map(|bin_count| bin_counts.push(bin_count))
            }
            Step::ReadMetadata => {
                bin_counts.push(0);
                Ok(())
            }
            Step::Edit(..) | Step::Touch | Step::Delete => draft.change(step),
        };
        done.map_err(|error| in_step(ordinal, error))?;
    }
    let effect = match draft.effect {
        Effect::Written(_) => draft.write(key, out).map(Effect::Written),
        effect @ (Effect::Nothing | Effect::Touched) => Ok(effect),
    };
    // What does not fit any more is the last step's doing as much as any other's.
    let effect = effect.map_err(|error| in_step(last, error))?;
    seen.finish_list();
    Ok(effect)
}

async fn carry_out_in_pieces<'a, P: AsyncFnMut()>(
    (old, key): (&Content<'a>, Option<KeyRef<'a>>),
    steps: impl IntoIterator<Item = Step<'a>>,
    out: &mut Vec<u8>,
    (bins, bin_counts): (&mut Vec<u8>, &mut Vec<u16>),
    pace: &mut Pace<P>,
) -> Result<Effect, StepError> {
    let mut seen = ContentWriter::new(bins, None);
    let mut draft = Draft::new(*old);
    let mut last = 0;
    for (ordinal, step) in (0_u16..).zip(steps) {
        last = ordinal;
        pace.spend(LOOKUP_COST).await;
        let done = match step {
            Step::Read(name) => {
                let read = draft.read_in_pieces(name, &mut seen, pace).await;
                read.map(|()| bin_counts.push(1))
            }
            Step::ReadAll => {
                let counted = draft.read_all_in_pieces(&mut seen, pace).await;
                counted.map(|bin_count| bin_counts.push(bin_count))
            }
            Step::ReadMetadata => {
                bin_counts.push(0);
                Ok(())
            }
            Step::Edit(..) | Step::Touch | Step::Delete => draft.change(step),
        };
        done.map_err(|error| in_step(ordinal, error))?;
    }
    let effect = match draft.effect {
        Effect::Written(_) => {
            let written = draft.write_in_pieces(key, out, pace).await;
            written.map(Effect::Written)
        }
        effect @ (Effect::Nothing | Effect::Touched) => Ok(effect),
    };
    let effect = effect.map_err(|error| in_step(last, error))?;
    seen.finish_list();
    Ok(effect)
}

fn in_step(step: u16, error: impl Into<EditError>) -> StepError {
    let error = error.into();
    StepError { step, error }
}

/// A record with changes that are not written yet.
struct Draft<'a> {
    base: Content<'a>,
    effect: Effect,
    changes: Vec<Change<'a>>,
    /// The place among the changes by name, once there are more than [`WALKED_CHANGES`].
    index: HashMap<&'a [u8], usize>,
}

/// A bin that has been changed.
struct Change<'a> {
    name: BinName<'a>,
    /// Its place in the record, if it was there.
    place: Option<u16>,
    value: NewValue<'a>,
}

/// Which names a record has after its changes.
struct NamesAfter<const WORDS: usize> {
    /// Those that it had, by their places.
    kept: OrdinalSet<WORDS>,
    has_same: bool,
}

impl<const WORDS: usize> NamesAfter<WORDS> {
    /// Those that it has before.
    fn of(base: &Content<'_>) -> Self {
        Self {
            kept: OrdinalSet::first(base.bins().len()),
            has_same: true,
        }
    }

    fn note(&mut self, change: &Change<'_>) {
        match (change.place, change.value.is_absent()) {
            (Some(_), false) | (None, true) => {}
            (None, false) => self.has_same = false,
            (Some(place), true) => {
                self.has_same = false;
                self.kept.remove(place);
            }
        }
    }

    /// What is known of their order. Those that are new are few: as many as there are steps.
    fn order<'o>(&'o mut self, base: &Content<'o>) -> NameOrder<'o> {
        if self.has_same {
            return order_of(&base.bins());
        }
        NameOrder::From(Origin {
            kept: Part::of(base.bins().directory(), self.kept.taken()),
            added: Part::UNKNOWN,
        })
    }
}

impl<'a> Draft<'a> {
    fn new(base: Content<'a>) -> Self {
        Self {
            base,
            effect: Effect::Nothing,
            // Neither takes memory before it is needed: most operates change few bins or none.
            changes: Vec::new(),
            index: HashMap::new(),
        }
    }

    /// Carries out a step that writes.
    fn change(&mut self, step: Step<'a>) -> Result<(), EditError> {
        match step {
            Step::Edit(name, edit) => {
                self.effect = Effect::Written(0);
                return self.edit(name, edit);
            }
            Step::Delete => {
                *self = Self::new(Content::empty());
                self.effect = Effect::Written(0);
            }
            Step::Touch if self.effect == Effect::Nothing => self.effect = Effect::Touched,
            Step::Touch | Step::Read(_) | Step::ReadAll | Step::ReadMetadata => {}
        }
        Ok(())
    }

    fn edit(&mut self, name: BinName<'a>, edit: Edit<'a>) -> Result<(), EditError> {
        let at = match self.find(name) {
            Some(at) => at,
            None => self.begin(name),
        };
        match self.changes.get_mut(at) {
            Some(change) => change.value.edit(edit),
            None => Ok(()),
        }
    }

    fn read(&self, name: BinName<'a>, seen: &mut ContentWriter<'_>) -> Result<(), EditError> {
        let change = self.find(name).and_then(|at| self.changes.get(at));
        let done = match change {
            Some(change) if change.value.is_absent() => seen.put(name, BinValue::NIL),
            Some(change) => change.value.put(name, seen),
            None => {
                let found = self.base.bins().find(name.as_bytes());
                seen.put(name, found.map_or(BinValue::NIL, |(_, bin)| bin.value()))
            }
        };
        Ok(done?)
    }

    fn read_all(&self, seen: &mut ContentWriter<'_>) -> Result<u16, EditError> {
        let mut bin_count = 0;
        for bin in self.base.bins() {
            let change = self.find(bin.name()).and_then(|at| self.changes.get(at));
            match change {
                Some(change) if change.value.is_absent() => continue,
                Some(change) => change.value.put(change.name, seen)?,
                None => seen.put_bin(&bin)?,
            }
            bin_count += 1;
        }
        for change in &self.changes {
            if change.place.is_none() && !change.value.is_absent() {
                change.value.put(change.name, seen)?;
                bin_count += 1;
            }
        }
        Ok(bin_count)
    }

    async fn read_in_pieces<P: AsyncFnMut()>(
        &self,
        name: BinName<'a>,
        seen: &mut ContentWriter<'_>,
        pace: &mut Pace<P>,
    ) -> Result<(), EditError> {
        let change = self.find(name).and_then(|at| self.changes.get(at));
        let done = match change {
            Some(change) if change.value.is_absent() => seen.put(name, BinValue::NIL),
            Some(change) => change.value.put_in_pieces(name, seen, pace).await,
            None => match self.base.bins().find(name.as_bytes()) {
                Some((_, bin)) => seen.put_bin_in_pieces(&bin, pace).await,
                None => seen.put(name, BinValue::NIL),
            },
        };
        Ok(done?)
    }

    async fn read_all_in_pieces<P: AsyncFnMut()>(
        &self,
        seen: &mut ContentWriter<'_>,
        pace: &mut Pace<P>,
    ) -> Result<u16, EditError> {
        let mut bin_count = 0;
        for bin in self.base.bins() {
            pace.spend(BIN_COST).await;
            let change = self.find(bin.name()).and_then(|at| self.changes.get(at));
            match change {
                Some(change) if change.value.is_absent() => continue,
                Some(change) => change.value.put_in_pieces(change.name, seen, pace).await?,
                None => seen.put_bin_in_pieces(&bin, pace).await?,
            }
            bin_count += 1;
        }
        for change in &self.changes {
            if change.place.is_none() && !change.value.is_absent() {
                change.value.put_in_pieces(change.name, seen, pace).await?;
                bin_count += 1;
            }
        }
        Ok(bin_count)
    }

    /// Appends the record with its changes: bins that stay keep their places, new ones follow in the
    /// order in which they came. Returns how many there are.
    fn write(self, key: Option<KeyRef<'_>>, out: &mut Vec<u8>) -> Result<u16, ContentError> {
        if self.base.bins().len() <= WALKED_BIN_COUNT_MAX {
            self.write_within::<1>(key, out)
        } else {
            self.write_within::<WORDS_MAX>(key, out)
        }
    }

    fn write_within<const WORDS: usize>(
        mut self,
        key: Option<KeyRef<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<u16, ContentError> {
        self.sort_changes();
        let mut changes = self.changes.iter().peekable();
        let mut names = NamesAfter::<WORDS>::of(&self.base);
        let mut writer = ContentWriter::new(out, key.or(self.base.key()));
        for (place, bin) in self.base.bins().enumerate() {
            let Some(change) = changes.next_if(|change| change.place == Some(place)) else {
                writer.put_bin(&bin)?;
                continue;
            };
            names.note(change);
            change.value.put(change.name, &mut writer)?;
        }
        for change in changes {
            names.note(change);
            change.value.put(change.name, &mut writer)?;
        }
        match names.order(&self.base) {
            NameOrder::From(origin) => writer.finish_from(origin),
            NameOrder::As(_) | NameOrder::Unknown => writer.finish_with_names_of(&self.base.bins()),
        }
    }

    async fn write_in_pieces<P: AsyncFnMut()>(
        mut self,
        key: Option<KeyRef<'_>>,
        out: &mut Vec<u8>,
        pace: &mut Pace<P>,
    ) -> Result<u16, ContentError> {
        // Memory that grew later would be copied, all at once.
        out.reserve(self.length_bytes_max().min(CONTENT_LENGTH_BYTES_MAX));
        // As many changes as there may be steps are put in order.
        pace.begin_piece().await;
        self.sort_changes();
        let mut changes = self.changes.iter().peekable();
        let mut names = NamesAfter::<WORDS_MAX>::of(&self.base);
        let mut writer = ContentWriter::new(out, key.or(self.base.key()));
        for (place, bin) in self.base.bins().enumerate() {
            pace.spend(BIN_COST).await;
            let Some(change) = changes.next_if(|change| change.place == Some(place)) else {
                writer.put_bin_in_pieces(&bin, pace).await?;
                continue;
            };
            names.note(change);
            let put = change.value.put_in_pieces(change.name, &mut writer, pace);
            put.await?;
        }
        for change in changes {
            names.note(change);
            let put = change.value.put_in_pieces(change.name, &mut writer, pace);
            put.await?;
        }
        writer.finish_in_pieces(names.order(&self.base), pace).await
    }

    /// An upper bound, in bytes, for the record with its changes.
    fn length_bytes_max(&self) -> usize {
        let bin_count = usize::from(self.base.bins().len()).saturating_add(self.changes.len());
        let changes = self.changes.iter();
        let lengths = changes.map(|change| change.value.length_bytes().saturating_add(300));
        lengths
            .fold(self.base.as_bytes().len(), usize::saturating_add)
            .saturating_add(directory_length(bin_count))
    }

    /// Puts the changes into the order of the record's bins; new ones follow in the order in which they came.
    fn sort_changes(&mut self) {
        self.changes
            .sort_by_key(|change| change.place.map_or(u32::MAX, u32::from));
    }

    /// The place of a bin among the changes.
    fn find(&self, name: BinName<'_>) -> Option<usize> {
        if self.changes.len() > WALKED_CHANGES {
            return self.index.get(name.as_bytes()).copied();
        }
        self.changes.iter().position(|change| change.name == name)
    }

    /// A new change of a bin, with the value that it has.
    fn begin(&mut self, name: BinName<'a>) -> usize {
        let found = self.base.bins().find(name.as_bytes());
        let at = self.changes.len();
        self.changes.push(Change {
            name,
            place: found.map(|(place, _)| place),
            value: NewValue::of(found.map(|(_, bin)| bin.value())),
        });
        if self.changes.len() == WALKED_CHANGES + 1 {
            let names = self.changes.iter().enumerate();
            self.index = names
                .map(|(at, change)| (change.name.as_bytes(), at))
                .collect();
        } else if self.changes.len() > WALKED_CHANGES {
            self.index.insert(name.as_bytes(), at);
        }
        at
    }
}
