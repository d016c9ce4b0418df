//! One page of a scan: a row of fixed size for each record in the table, the contents one after another in
//! the payload, and where to go on. Reading one checks that rows and payload agree; building one fills two
//! buffers that are used again for the next.

use corelith_index::{Digest, ExpirySeconds, Generation};
use flatbuffers::Vector;

use crate::body::Body;
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
use crate::verify::verified;

/// A page as it was read, or as a [`ScanPageBuilder`] holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanPage<'a> {
    entries: Entries<'a>,
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
    /// How many records the page has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the page has no record, which does not mean that the scan is done.
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

    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        let found = verified::<table::ScanAnswer<'a>>(body.table()?)?;
        let sets = Names::from_table(found.sets());
        check_length("ScanAnswer.sets", sets.len(), SCAN_SETS_MAX)?;
        for set in sets.iter() {
            check_length("ScanAnswer.sets[]", set.len(), SET_NAME_BYTES_MAX)?;
        }
        let resume = found.resume().map_or(&[][..], |token| token.bytes());
        check_length("ScanAnswer.resume", resume.len(), RESUME_TOKEN_BYTES_MAX)?;
        let entries = found.entries().map_or(Entries::Built(&[]), Entries::Table);
        check_length("ScanAnswer.entries", entries.len(), SCAN_ENTRIES_MAX)?;
        let page = ScanPage {
            entries,
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
            Entries::Built(entries) => scratch.builder.create_vector(entries),
            Entries::Table(entries) => {
                let rows: Vec<table::ScanEntry> = entries.iter().copied().collect();
                scratch.builder.create_vector(&rows)
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
            if self.set(entry.set_index()).is_none() {
                return Err(DecodeError::FieldRange {
                    field: "ScanEntry.set_index",
                    found: u64::from(entry.set_index()),
                    max: u64::try_from(self.sets.len()).unwrap_or(u64::MAX),
                });
            }
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
        self.sets.clear();
        self.payload.clear();
        self.resume.clear();
        self.partitions_done = 0;
    }

    /// How many records the page has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the page has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
        encode_length(
            "ScanAnswer.entries",
            self.entries.len() + 1,
            SCAN_ENTRIES_MAX,
        )?;
        let payload_length = self.payload.len() + record.content.len();
        let too_long = EncodeError::PayloadLength {
            found_bytes: payload_length,
        };
        if u32::try_from(payload_length).is_ok_and(|length| length > PAYLOAD_LENGTH_BYTES_MAX) {
            return Err(too_long);
        }
        let content_length_bytes = u32::try_from(record.content.len()).map_err(|_| too_long)?;
        let set_index = self.set_index(record.set)?;
        self.payload.extend_from_slice(record.content);
        self.entries.push(table::ScanEntry::new(
            record.metadata.last_update.get(),
            &table::Digest(*record.digest.as_bytes()),
            content_length_bytes,
            record.metadata.expiry.get(),
            record.metadata.generation.get(),
            set_index,
        ));
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
            entries: Entries::Built(&self.entries),
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

/// The rows of a page and where they live.
#[derive(Clone, Copy)]
enum Entries<'a> {
    Built(&'a [table::ScanEntry]),
    Table(Vector<'a, table::ScanEntry>),
}

impl Entries<'_> {
    fn len(&self) -> usize {
        match self {
            Entries::Built(entries) => entries.len(),
            Entries::Table(entries) => entries.len(),
        }
    }

    fn get(&self, index: usize) -> Option<table::ScanEntry> {
        match self {
            Entries::Built(entries) => entries.get(index).copied(),
            Entries::Table(entries) => (index < entries.len()).then(|| *entries.get(index)),
        }
    }
}

impl PartialEq for Entries<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && (0..self.len()).all(|index| self.get(index) == other.get(index))
    }
}

impl Eq for Entries<'_> {}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = (0..self.len()).filter_map(|index| self.get(index));
        formatter.debug_list().entries(entries).finish()
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
