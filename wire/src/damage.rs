//! A record that a scan met and could not read: its identity as far as that is known, and what is wrong.
//! It has no content and no metadata; a get of it is answered with `Damaged`.

use corelith_index::{Digest, KnownDigest};

use crate::error::DecodeError;
use crate::generated::corelith::native as table;

/// One damaged record of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRecord<'a> {
    /// The record's identity: whole where its header could still be read.
    pub digest: KnownDigest,
    /// The name of its set; empty for none.
    pub set: &'a str,
    /// What is wrong.
    pub damage: Damage,
}

/// What is wrong with a record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// What lies in the record's place is not its header: decayed, lost, torn or misdirected.
    Header,
    /// The header is right, the content fails its checksum.
    Content,
    /// The device does not return the bytes.
    Device,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Damage::Header => "its header fails the checks",
            Damage::Content => "its content fails its checksum",
            Damage::Device => "the device does not return its bytes",
        })
    }
}

/// The row of a damaged record.
pub(crate) fn row(digest: &KnownDigest, set_index: u16, damage: Damage) -> table::ScanDamage {
    let damage = match damage {
        Damage::Header => table::Damage::Header,
        Damage::Content => table::Damage::Content,
        Damage::Device => table::Damage::Device,
    };
    let known = if digest.is_whole() {
        table::DigestKnown::Whole
    } else {
        table::DigestKnown::Part
    };
    table::ScanDamage::new(&table::Digest(*digest.as_bytes()), set_index, damage, known)
}

/// Identity and damage of a row, whose set is the page's to name.
pub(crate) fn read_row(row: &table::ScanDamage) -> Result<(KnownDigest, Damage), DecodeError> {
    let bytes = row.digest().0;
    let digest = match row.known() {
        table::DigestKnown::Whole => KnownDigest::of(&Digest::from_bytes(bytes)),
        table::DigestKnown::Part => KnownDigest::from_part(bytes).ok_or(DecodeError::DigestPart)?,
        known => {
            let max = table::DigestKnown::ENUM_MAX;
            return Err(unknown("ScanDamage.known", known.0, max));
        }
    };
    let damage = match row.damage() {
        table::Damage::Header => Damage::Header,
        table::Damage::Content => Damage::Content,
        table::Damage::Device => Damage::Device,
        damage => {
            return Err(unknown(
                "ScanDamage.damage",
                damage.0,
                table::Damage::ENUM_MAX,
            ));
        }
    };
    Ok((digest, damage))
}

fn unknown(field: &'static str, found: u8, max: u8) -> DecodeError {
    if found == 0 {
        return DecodeError::FieldUnset { field };
    }
    DecodeError::FieldRange {
        field,
        found: u64::from(found),
        max: u64::from(max),
    }
}
