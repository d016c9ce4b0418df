//! Several steps on one record, as one: what it holds afterwards, and what the reading steps saw.
//!
//! Each step sees what those before it did. The record is written once, at the end; until then only
//! the bins that are changed are kept aside, so the cost is that of one copy of the record and of
//! the steps, whatever their order. Either all steps succeed or nothing is written.

use std::collections::HashMap;

use crate::bin_value::BinValue;
use crate::content::Content;
use crate::content_writer::ContentWriter;
use crate::edit::Edit;
use crate::error::{ContentError, EditError, StepError};
use crate::key_ref::KeyRef;
use crate::name::BinName;
use crate::new_value::NewValue;
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

fn carry_out<'a>(
    old: &Content<'a>,
    key: Option<KeyRef<'a>>,
    steps: impl IntoIterator<Item = Step<'a>>,
    out: &mut Vec<u8>,
    (bins, bin_counts): (&mut Vec<u8>, &mut Vec<u16>),
) -> Result<Effect, StepError> {
    let mut seen = ContentWriter::new(bins, None);
    let mut draft = Draft::new(*old);
    let mut effect = Effect::Nothing;
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
            Step::Edit(name, edit) => {
                effect = Effect::Written(0);
                draft.edit(name, edit)
            }
            Step::Touch => {
                if effect == Effect::Nothing {
                    effect = Effect::Touched;
                }
                Ok(())
            }
            Step::Delete => {
                effect = Effect::Written(0);
                draft = Draft::new(Content::empty());
                Ok(())
            }
        };
        done.map_err(|error| StepError {
            step: ordinal,
            error,
        })?;
    }
    let finished = finish(draft, key, effect, out);
    // What does not fit any more is the last step's doing as much as any other's.
    let in_last = |error: ContentError| StepError {
        step: last,
        error: error.into(),
    };
    let effect = finished.map_err(in_last)?;
    seen.finish_list();
    Ok(effect)
}

fn finish(
    draft: Draft<'_>,
    key: Option<KeyRef<'_>>,
    effect: Effect,
    out: &mut Vec<u8>,
) -> Result<Effect, ContentError> {
    match effect {
        Effect::Written(_) => draft.write(key, out).map(Effect::Written),
        Effect::Nothing | Effect::Touched => Ok(effect),
    }
}

/// A record with changes that are not written yet.
struct Draft<'a> {
    base: Content<'a>,
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

impl<'a> Draft<'a> {
    fn new(base: Content<'a>) -> Self {
        Self {
            base,
            // Neither takes memory before it is needed: most operates change few bins or none.
            changes: Vec::new(),
            index: HashMap::new(),
        }
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

    /// Appends the record with its changes: bins that stay keep their places, new ones follow in the
    /// order in which they came. Returns how many there are.
    fn write(mut self, key: Option<KeyRef<'_>>, out: &mut Vec<u8>) -> Result<u16, ContentError> {
        self.changes
            .sort_by_key(|change| change.place.map_or(u32::MAX, u32::from));
        let mut changes = self.changes.iter().peekable();
        let mut has_same_names = true;
        let mut writer = ContentWriter::new(out, key.or(self.base.key()));
        for (place, bin) in self.base.bins().enumerate() {
            let Some(change) = changes.next_if(|change| change.place == Some(place)) else {
                writer.put_bin(&bin)?;
                continue;
            };
            has_same_names &= !change.value.is_absent();
            change.value.put(change.name, &mut writer)?;
        }
        for change in changes {
            has_same_names &= change.value.is_absent();
            change.value.put(change.name, &mut writer)?;
        }
        if has_same_names {
            writer.finish_with_names_of(&self.base.bins())
        } else {
            writer.finish_distinct()
        }
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
