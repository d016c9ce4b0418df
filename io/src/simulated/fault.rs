//! What can go wrong with one operation on a simulated drive, and how likely each is.
//!
//! A fault here is the drive's or the kernel's, never a crash of the machine. Which operation suffers it
//! is decided when the operation is submitted.

use super::limits::PER_MILLION;
use super::random::SeededRandom;

/// One thing that goes wrong with one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A read fails; what the buffer holds then is noise.
    ReadError,
    /// A read succeeds with the bytes of other blocks.
    ReadMisdirected,
    /// One stored bit of what a read covers has flipped, for good. The read succeeds.
    BitRot,
    /// A write fails. Nothing, all, or some of its blocks were written.
    WriteError,
    /// A write succeeds, but at least one of its blocks was not written.
    WriteTorn,
    /// A write succeeds, but none of its blocks was written.
    WriteLost,
    /// A write succeeds, but its blocks were written somewhere else.
    WriteMisdirected,
    /// A flush fails. What it covered is durable, lost, or still readable until the next power cut, block by
    /// block; no later flush changes that.
    FlushError,
    /// An operation takes some milliseconds longer.
    DelayShort,
    /// An operation takes up to a minute longer.
    DelayLong,
    /// The drive disappears when the operation would have completed.
    DeviceGone,
}

/// What an operation does, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationKind {
    /// Reads blocks.
    Read,
    /// Writes blocks, durably or not.
    Write,
    /// Makes completed writes durable.
    Flush,
    /// Tells the drive that blocks are not needed.
    Discard,
}

/// How often each fault strikes, in parts per million of the operations that can suffer it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// Of reads; see [`Fault::ReadError`].
    pub read_error_per_million: u32,
    /// Of reads; see [`Fault::ReadMisdirected`].
    pub read_misdirected_per_million: u32,
    /// Of reads; see [`Fault::BitRot`].
    pub bit_rot_per_million: u32,
    /// Of writes; see [`Fault::WriteError`].
    pub write_error_per_million: u32,
    /// Of writes; see [`Fault::WriteTorn`].
    pub write_torn_per_million: u32,
    /// Of writes; see [`Fault::WriteLost`].
    pub write_lost_per_million: u32,
    /// Of writes; see [`Fault::WriteMisdirected`].
    pub write_misdirected_per_million: u32,
    /// Of flushes; see [`Fault::FlushError`].
    pub flush_error_per_million: u32,
    /// Of all operations; see [`Fault::DelayShort`].
    pub delay_short_per_million: u32,
    /// Of all operations; see [`Fault::DelayLong`].
    pub delay_long_per_million: u32,
    /// Of all operations; see [`Fault::DeviceGone`].
    pub device_gone_per_million: u32,
}

impl Fault {
    /// Whether an operation of `kind` can suffer this.
    pub(crate) fn concerns(self, kind: OperationKind) -> bool {
        match self {
            Self::ReadError | Self::ReadMisdirected | Self::BitRot => kind == OperationKind::Read,
            Self::WriteError | Self::WriteTorn | Self::WriteLost | Self::WriteMisdirected => {
                kind == OperationKind::Write
            }
            Self::FlushError => kind == OperationKind::Flush,
            Self::DelayShort | Self::DelayLong | Self::DeviceGone => true,
        }
    }

    /// Whether this only makes an operation late.
    pub(crate) fn is_delay(self) -> bool {
        matches!(self, Self::DelayShort | Self::DelayLong)
    }
}

impl FaultRates {
    /// Nothing ever goes wrong by itself.
    pub const NONE: Self = Self {
        read_error_per_million: 0,
        read_misdirected_per_million: 0,
        bit_rot_per_million: 0,
        write_error_per_million: 0,
        write_torn_per_million: 0,
        write_lost_per_million: 0,
        write_misdirected_per_million: 0,
        flush_error_per_million: 0,
        delay_short_per_million: 0,
        delay_long_per_million: 0,
        device_gone_per_million: 0,
    };

    /// The faults that strike an operation of `kind`: at most one that harms, at most one that delays.
    pub(crate) fn draw(&self, kind: OperationKind, random: &mut SeededRandom) -> Drawn {
        let mut drawn = Drawn::default();
        for (fault, per_million) in self.by_fault() {
            if per_million == 0 || !fault.concerns(kind) || !random.chance(per_million) {
                continue;
            }
            let place = if fault.is_delay() {
                &mut drawn.delay
            } else {
                &mut drawn.harm
            };
            place.get_or_insert(fault);
        }
        drawn
    }

    /// Whether every rate is at most one in one.
    pub(crate) fn is_valid(&self) -> bool {
        self.by_fault()
            .iter()
            .all(|&(_, per_million)| per_million <= PER_MILLION)
    }

    fn by_fault(&self) -> [(Fault, u32); 11] {
        [
            (Fault::ReadError, self.read_error_per_million),
            (Fault::ReadMisdirected, self.read_misdirected_per_million),
            (Fault::BitRot, self.bit_rot_per_million),
            (Fault::WriteError, self.write_error_per_million),
            (Fault::WriteTorn, self.write_torn_per_million),
            (Fault::WriteLost, self.write_lost_per_million),
            (Fault::WriteMisdirected, self.write_misdirected_per_million),
            (Fault::FlushError, self.flush_error_per_million),
            (Fault::DelayShort, self.delay_short_per_million),
            (Fault::DelayLong, self.delay_long_per_million),
            (Fault::DeviceGone, self.device_gone_per_million),
        ]
    }
}

/// What goes wrong with one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// A fault that changes the outcome.
    pub(crate) harm: Option<Fault>,
    /// A fault that only delays.
    pub(crate) delay: Option<Fault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [OperationKind; 4] = [
        OperationKind::Read,
        OperationKind::Write,
        OperationKind::Flush,
        OperationKind::Discard,
    ];

    #[test]
    fn rates_strike_only_what_they_concern() {
        let mut random = SeededRandom::new(1, 0);
        let rates = FaultRates {
            flush_error_per_million: PER_MILLION,
            delay_long_per_million: 500_000,
            ..FaultRates::NONE
        };
        let mut delayed = 0;
        for _ in 0..1000 {
            for kind in KINDS {
                let drawn = rates.draw(kind, &mut random);
                let struck = drawn.harm == Some(Fault::FlushError);
                assert_eq!(struck, kind == OperationKind::Flush);
                delayed += u32::from(drawn.delay == Some(Fault::DelayLong));
            }
        }
        assert!((1800..2200).contains(&delayed), "{delayed}");
    }

    #[test]
    fn every_fault_concerns_some_kind_and_has_a_rate() {
        for (index, (fault, _)) in FaultRates::NONE.by_fault().into_iter().enumerate() {
            assert!(KINDS.iter().any(|&kind| fault.concerns(kind)));
            let position = FaultRates::NONE
                .by_fault()
                .iter()
                .position(|&(other, _)| other == fault);
            assert_eq!(position, Some(index));
        }
        assert!(FaultRates::default() == FaultRates::NONE);
    }

    #[test]
    fn rates_above_one_are_invalid() {
        let rates = FaultRates {
            bit_rot_per_million: PER_MILLION + 1,
            ..FaultRates::NONE
        };
        assert!(!rates.is_valid() && FaultRates::NONE.is_valid());
    }
}
