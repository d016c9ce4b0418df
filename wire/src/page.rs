//! One page of a scan: a row of fixed size for each record in the table, the contents one after another in
//! the payload, a row for each record that could not be read, and where to go on. Reading one checks that rows and payload agree; building one fills two
//! buffers that are used again for the next.

use corelith_index::{Digest, ExpirySeconds, Generation};

use crate::body::Body;
use crate::damage::{self, DamagedRecord};
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::{
    PAYLOAD_LENGTH_BYTES_MAX, RESUME_TOKEN_BYTES_MAX, SCAN_ENTRIES_MAX, SCAN_SETS_MAX,
    SET_NAME_BYTES_MAX,
};
use crate::names::Names;
use crate::record::{LastUpdateMs, RecordMetadata};
use crate::rows::Rows;
use crate::verify::verified;

/// A page as it was read, or as a [`ScanPageBuilder`] holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPage<'a> {
    entries: Rows<'a, table::ScanEntry>,
    damaged: Rows<'a, table::ScanDamage>,
    sets: Names<'a>,
    partitions_done: u16,
    resume: &'a [u8],
    payload: &'a [u8],
}

/// One record of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanRecord<'a> {
    /// The record's identity.
    pub digest: Digest,
    /// What is known of it beside its content.
    pub metadata: RecordMetadata,
    /// The name of its set; empty for none.
    pub set: &'a str,
    /// The bins asked for and the user key if it has one; empty where only metadata was asked for.
    pub content: &'a [u8],
}

impl<'a> ScanPage<'a> {
    /// How many records the page has, those that could not be read left out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the page has no such record, which does not mean that the scan is done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many partitions of the request's list have been read to their end, counted from its start. The
    /// next request carries the list without them; when none is left the scan is done.
    #[must_use]
    pub const fn partitions_done(&self) -> u16 {
        self.partitions_done
    }

    /// What the next request carries as its resume token, together with the rest of the list.
    #[must_use]
    pub const fn resume(&self) -> &'a [u8] {
        self.resume
    }

    /// The records in the node's order.
    pub fn records(&self) -> impl Iterator<Item = ScanRecord<'a>> + 'a {
        let page = *self;
        let mut rest = page.payload;
        // Rows and payload were compared when the page was made, so nothing is cut short here.
        (0..page.len()).map_while(move |index| {
            let entry = page.entries.get(index)?;
            let length = usize::try_from(entry.content_length_bytes()).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            rest = after;
            Some(ScanRecord {
                digest: Digest::from_bytes(entry.digest().0),
                metadata: metadata(&entry)?,
                set: page.set(entry.set_index())?,
                content,
            })
        })
    }

    /// How many records of the page could not be read.
    #[must_use]
    pub fn damaged_count(&self) -> usize {
        self.damaged.len()
    }

    /// The records that could not be read, in the node's order.
    pub fn damaged(&self) -> impl Iterator<Item = DamagedRecord<'a>> + 'a {
        let page = *self;
        // Every row was read when the page was made, so none is left out here.
        (0..page.damaged.len())
            .filter_map(move |index| page.damaged_record(&page.damaged.get(index)?).ok())
    }

    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::ScanAnswer<'a>>(body.table()?)?;
        let sets = Names::from_table(found.sets());
        check_length("ScanAnswer.sets", sets.len(), SCAN_SETS_MAX)?;
        for set in sets.iter() {
            check_length("ScanAnswer.sets[]", set.len(), SET_NAME_BYTES_MAX)?;
        }
        let resume = found.resume().map_or(&[][..], |token| token.bytes());
        check_length("ScanAnswer.resume", resume.len(), RESUME_TOKEN_BYTES_MAX)?;
        let entries = Rows::from_table(found.entries());
        check_length("ScanAnswer.entries", entries.len(), SCAN_ENTRIES_MAX)?;
        let damaged = Rows::from_table(found.damaged());
        check_length(
            "ScanAnswer.damaged",
            damaged.len(),
            SCAN_ENTRIES_MAX - entries.len(),
        )?;
        let page = ScanPage {
            entries,
            damaged,
            sets,
            partitions_done: found.partitions_done(),
            resume,
            payload: body.payload,
        };
        page.check()?;
        Ok(page)
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "ScanAnswer.resume",
            self.resume.len(),
            RESUME_TOKEN_BYTES_MAX,
        )?;
        let entries = match self.entries {
            Rows::Built(entries) => scratch.builder.create_vector(entries),
            Rows::Table(entries) => {
                let rows: Vec<table::ScanEntry> = entries.iter().copied().collect();
                scratch.builder.create_vector(&rows)
            }
        };
        let damaged = match self.damaged {
            Rows::Built([]) => None,
            Rows::Built(damaged) => Some(scratch.builder.create_vector(damaged)),
            Rows::Table(damaged) => {
                let rows: Vec<table::ScanDamage> = damaged.iter().copied().collect();
                Some(scratch.builder.create_vector(&rows))
            }
        };
        let sets = (self.sets.len() != 0).then(|| scratch.strings(self.sets.iter()));
        let resume = (!self.resume.is_empty()).then(|| scratch.builder.create_vector(self.resume));
        let root = table::ScanAnswer::create(
            scratch.builder,
            &table::ScanAnswerArgs {
                entries: Some(entries),
                sets,
                partitions_done: self.partitions_done,
                resume,
                damaged,
            },
        );
        Ok(root.as_union_value())
    }

    pub(crate) const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    fn set(&self, index: u16) -> Option<&'a str> {
        match usize::from(index).checked_sub(1) {
            None => Some(""),
            Some(index) => self.sets.get(index),
        }
    }

    fn named_set(&self, field: &'static str, index: u16) -> Result<&'a str, DecodeError> {
        self.set(index).ok_or(DecodeError::FieldRange {
            field,
            found: u64::from(index),
            max: u64::try_from(self.sets.len()).unwrap_or(u64::MAX),
        })
    }

    fn damaged_record(&self, row: &table::ScanDamage) -> Result<DamagedRecord<'a>, DecodeError> {
        let (digest, damage) = damage::read_row(row)?;
        Ok(DamagedRecord {
            digest,
            set: self.named_set("ScanDamage.set_index", row.set_index())?,
            damage,
        })
    }

    fn check(&self) -> Result<(), DecodeError> {
        let mut expected_bytes = 0_u64;
        for index in 0..self.len() {
            let Some(entry) = self.entries.get(index) else {
                continue;
            };
            expected_bytes += u64::from(entry.content_length_bytes());
            if metadata(&entry).is_none() {
                return Err(DecodeError::FieldUnset {
                    field: "ScanEntry.generation",
                });
            }
            self.named_set("ScanEntry.set_index", entry.set_index())?;
        }
        for row in self.damaged.iter() {
            self.damaged_record(&row)?;
        }
        if u64::try_from(self.payload.len()) == Ok(expected_bytes) {
            return Ok(());
        }
        let found_bytes = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        Err(DecodeError::PageLength {
            expected_bytes,
            found_bytes,
        })
    }
}

/// Gathers one page. Cleared and filled again, it allocates no more once it has seen its largest page.
#[derive(Debug, Default)]
pub struct ScanPageBuilder {
    entries: Vec<table::ScanEntry>,
    damaged: Vec<table::ScanDamage>,
    sets: Vec<String>,
    payload: Vec<u8>,
    resume: Vec<u8>,
    partitions_done: u16,
}

impl ScanPageBuilder {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        ScanPageBuilder::default()
    }

    /// Empties the page and keeps its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.damaged.clear();
        self.sets.clear();
        self.payload.clear();
        self.resume.clear();
        self.partitions_done = 0;
    }

    /// How many records the page has, those that could not be read included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len() + self.damaged.len()
    }

    /// Whether the page has no record of either kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of content on the page.
    #[must_use]
    pub fn payload_length_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Adds a record, or says that it does not fit and leaves the page as it was: then end the page before
    /// it.
    ///
    /// # Errors
    ///
    /// [`EncodeError::FieldLength`] when rows or sets are used up or the set's name is too long,
    /// [`EncodeError::PayloadLength`] when the contents would be too long together.
    pub fn push(&mut self, record: &ScanRecord<'_>) -> Result<(), EncodeError> {
        self.push_head(record)?;
        self.push_content(record.content);
        Ok(())
    }

    /// [`Self::push`] of a record whose content is long: the caller gives it with [`Self::push_content`],
    /// as many times as it likes, before anything else is done with the page.
    ///
    /// # Errors
    ///
    /// As [`Self::push`].
    pub fn push_head(&mut self, record: &ScanRecord<'_>) -> Result<(), EncodeError> {
        encode_length("ScanAnswer.entries", self.len() + 1, SCAN_ENTRIES_MAX)?;
        let payload_length = self.payload.len() + record.content.len();
        let too_long = EncodeError::PayloadLength {
            found_bytes: payload_length,
        };
        if u32::try_from(payload_length).is_ok_and(|length| length > PAYLOAD_LENGTH_BYTES_MAX) {
            return Err(too_long);
        }
        let content_length_bytes = u32::try_from(record.content.len()).map_err(|_| too_long)?;
        let set_index = self.set_index(record.set)?;
        self.payload.reserve(record.content.len());
        self.entries.push(table::ScanEntry::new(
            record.metadata.last_update.map_or(0, LastUpdateMs::get),
            &table::Digest(*record.digest.as_bytes()),
            content_length_bytes,
            record.metadata.expiry.get(),
            record.metadata.generation.get(),
            set_index,
        ));
        Ok(())
    }

    /// Adds a part of the content of the record that was pushed last.
    pub fn push_content(&mut self, part: &[u8]) {
        self.payload.extend_from_slice(part);
    }

    /// Adds a record that could not be read, or says that it does not fit and leaves the page as it was.
    ///
    /// # Errors
    ///
    /// [`EncodeError::FieldLength`] when rows or sets are used up or the set's name is too long.
    pub fn push_damaged(&mut self, record: &DamagedRecord<'_>) -> Result<(), EncodeError> {
        encode_length("ScanAnswer.damaged", self.len() + 1, SCAN_ENTRIES_MAX)?;
        let set_index = self.set_index(record.set)?;
        let row = damage::row(&record.digest, set_index, record.damage);
        self.damaged.push(row);
        Ok(())
    }

    /// Ends the page: `partitions_done` of the request's list are read to their end, and `resume` (at most
    /// 32 bytes) leads on from there; empty where the next partition begins at its start.
    pub fn end(&mut self, partitions_done: u16, resume: &[u8]) {
        self.partitions_done = partitions_done;
        self.resume.clear();
        self.resume.extend_from_slice(resume);
    }

    /// The page as it stands, for [`Answer::Page`](crate::Answer::Page).
    #[must_use]
    pub fn page(&self) -> ScanPage<'_> {
        ScanPage {
            entries: Rows::Built(&self.entries),
            damaged: Rows::Built(&self.damaged),
            sets: Names::Owned(&self.sets),
            partitions_done: self.partitions_done,
            resume: &self.resume,
            payload: &self.payload,
        }
    }

    /// Zero for no set, else the place of the name in the page's list, counted from 1.
    fn set_index(&mut self, set: &str) -> Result<u16, EncodeError> {
        if set.is_empty() {
            return Ok(0);
        }
        let known = self.sets.iter().position(|name| name == set);
        let position = match known {
            Some(position) => position,
            None => {
                encode_length("ScanAnswer.sets[]", set.len(), SET_NAME_BYTES_MAX)?;
                encode_length("ScanAnswer.sets", self.sets.len() + 1, SCAN_SETS_MAX)?;
                self.sets.push(set.to_owned());
                self.sets.len() - 1
            }
        };
        u16::try_from(position + 1).map_err(|_| EncodeError::FieldLength {
            field: "ScanAnswer.sets",
            found: position + 1,
            max: SCAN_SETS_MAX,
        })
    }
}

/// The metadata of a row; `None` if its generation is zero.
fn metadata(entry: &table::ScanEntry) -> Option<RecordMetadata> {
    Some(RecordMetadata {
        generation: Generation::new(entry.generation())?,
        expiry: ExpirySeconds::new(entry.expiry_s()),
        last_update: LastUpdateMs::new(entry.last_update_ms()),
    })
}
