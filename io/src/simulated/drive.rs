//! One simulated drive: decides at submission what goes wrong with an operation, and does at completion what
//! the operation means. Time and order are the machine's. Ranges were checked by the device's face.

use super::drive_config::{DriveConfig, DriveId, Honesty};
use super::fault::{Drawn, Fault, OperationKind};
use super::fault_plan::FaultPlan;
use super::limits::{DELAY_LONG_NS_MAX, DELAY_SHORT_NS_MAX, MISDIRECTION_BLOCKS_MAX};
use super::log::Ending;
use super::media::{BlockWrite, Media, Persistence};
use super::operation::{Operation, PendingBlock, PendingWrite, Work};
use super::random::SeededRandom;
use crate::buffer::FrozenBuffer;
use crate::durability::{Fence, Force};
use crate::errno::Errno;
use crate::geometry::{Durability, Geometry};
use crate::width::{to_u64, to_usize};

/// A drive of a simulated machine.
#[derive(Clone)]
pub(crate) struct Drive {
    config: DriveConfig,
    geometry: Geometry,
    name: String,
    media: Media,
    faults: FaultPlan,
    fence: Fence,
    random: SeededRandom,
    gone: bool,
}

impl Drive {
    /// An empty drive. Its choices come from `random` alone.
    pub(crate) fn new(id: DriveId, config: DriveConfig, random: SeededRandom) -> Self {
        Self {
            geometry: config.geometry(),
            name: id.to_string(),
            media: Media::new(config.logical_block_bytes),
            faults: FaultPlan::new(config.fault_rates),
            fence: Fence::new(),
            random,
            gone: false,
            config,
        }
    }

    /// The same drive with the same bytes, with choices of its own from here and a fence of its own.
    pub(crate) fn fork(&self, random: SeededRandom) -> Self {
        Self {
            fence: Fence::new(),
            random,
            ..self.clone()
        }
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The fence of the drive's present life.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    pub(crate) fn media(&self) -> &Media {
        &self.media
    }

    pub(crate) fn media_mut(&mut self) -> &mut Media {
        &mut self.media
    }

    pub(crate) fn faults(&self) -> &FaultPlan {
        &self.faults
    }

    pub(crate) fn faults_mut(&mut self) -> &mut FaultPlan {
        &mut self.faults
    }

    /// From now on the drive keeps its word, or does not.
    pub(crate) fn set_honesty(&mut self, honesty: Honesty) {
        self.config.honesty = honesty;
    }

    /// The logical block that begins at byte `offset`.
    pub(crate) fn block_at(&self, offset: u64) -> u64 {
        offset / u64::from(self.config.logical_block_bytes)
    }

    /// How long the next operation takes, in nanoseconds, and what goes wrong with it.
    pub(crate) fn draw(
        &mut self,
        kind: OperationKind,
        offset: u64,
        length: u64,
    ) -> (u64, Option<Fault>) {
        let usual_ns = self
            .random
            .between(self.config.latency_ns_min, self.config.latency_ns_max);
        let Drawn { harm, delay } =
            self.faults
                .draw(kind, &(offset..offset + length), &mut self.random);
        let delay_ns_max = match delay {
            Some(Fault::DelayShort) => DELAY_SHORT_NS_MAX,
            Some(_) => DELAY_LONG_NS_MAX,
            None => return (usual_ns, harm),
        };
        (
            usual_ns + self.random.between(delay_ns_max / 10, delay_ns_max),
            harm,
        )
    }

    /// What a read of `length` bytes at `offset` will do: the first block to read from.
    pub(crate) fn prepare_read(&mut self, offset: u64, length: u64, harm: Option<Fault>) -> u64 {
        let block = self.block_at(offset);
        match harm {
            Some(Fault::ReadMisdirected) => self.misdirect(block, length),
            _ => block,
        }
    }

    /// What a write of `bytes` at `offset` will do.
    pub(crate) fn prepare_write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        force: Force,
        harm: Option<Fault>,
    ) -> PendingWrite {
        let mut block = self.block_at(offset);
        if harm == Some(Fault::WriteMisdirected) {
            block = self.misdirect(block, to_u64(bytes.len()));
        }
        let persistence = match force {
            Force::UnitAccess if self.config.honesty == Honesty::Honest => Persistence::Durable,
            Force::UnitAccess | Force::Plain => self.plain_persistence(),
        };
        let blocks = self.media.split(block, bytes).into_iter();
        PendingWrite {
            blocks: blocks
                .map(|write| PendingBlock {
                    write,
                    applied: None,
                })
                .collect(),
            persistence,
            buffer: None::<FrozenBuffer>,
        }
    }

    /// Lets a read that is about to complete see some blocks of a write that is still in flight. What it
    /// has seen stays visible until the power fails.
    pub(crate) fn expose(&mut self, block: u64, block_count: u64, write: &mut PendingWrite) {
        let persistence = self.plain_persistence();
        for pending in &mut write.blocks {
            let overlaps = (block..block + block_count).contains(&pending.write.block);
            if overlaps && pending.applied.is_none() && self.random.coin() {
                pending.applied = Some(self.media.apply(pending.write.clone(), persistence));
            }
        }
    }

    /// Does what the operation means and says how it ended.
    pub(crate) fn complete(&mut self, operation: &mut Operation) -> Ending {
        if operation.cut_off {
            return Ending::Gone;
        }
        let harm = operation.harm;
        let block = self.block_at(operation.offset);
        let length = to_usize(operation.length_bytes);
        match &mut operation.work {
            Work::Read { block, buffer, .. } => match buffer.as_mut_slice().get_mut(..length) {
                Some(target) => self.complete_read(*block, target, harm),
                None => Ending::Failed(Errno::EINVAL),
            },
            Work::Write { write, .. } => self.complete_write(write, harm),
            Work::Flush { mark, .. } => {
                if harm == Some(Fault::FlushError) {
                    self.fence.raise();
                    self.media.fail_flush(*mark, &mut self.random);
                    return Ending::Failed(Errno::EIO);
                }
                if self.config.honesty == Honesty::Honest {
                    self.media.flush(*mark);
                }
                Ending::Done
            }
            Work::Discard { .. } => {
                let count = self.block_at(operation.length_bytes);
                let persistence = self.plain_persistence();
                self.media
                    .discard(block..block + count, persistence, &mut self.random);
                Ending::Done
            }
        }
    }

    /// The process dies while this operation is in flight: it happens, or not, or in part; nobody hears.
    pub(crate) fn orphan(&mut self, operation: &mut Operation) {
        match &mut operation.work {
            Work::Read { .. } => {}
            Work::Write { .. } => {
                let persistence = self.plain_persistence();
                self.apply_some(operation.in_flight_blocks(), persistence);
            }
            Work::Flush { .. } | Work::Discard { .. } => {
                if self.random.coin() {
                    self.complete(operation);
                }
            }
        }
    }

    /// The power fails while these blocks are in flight. The drive starts a new life with the machine.
    pub(crate) fn power_cut(&mut self, in_flight: Vec<BlockWrite>) {
        self.media.power_cut(in_flight, &mut self.random);
        self.fence = Fence::new();
    }

    /// The process that held the drive is gone; the next one opens it anew.
    pub(crate) fn release(&mut self) {
        self.fence = Fence::new();
    }

    /// The drive is pulled out while these blocks are in flight.
    pub(crate) fn remove(&mut self, in_flight: Vec<BlockWrite>) {
        self.media.power_cut(in_flight, &mut self.random);
        self.gone = true;
    }

    /// Whether the drive is pulled out.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// The drive is plugged in again.
    pub(crate) fn restore(&mut self) {
        self.gone = false;
    }

    fn complete_read(&mut self, block: u64, target: &mut [u8], harm: Option<Fault>) -> Ending {
        match harm {
            Some(Fault::ReadError) => {
                self.random.fill(target);
                return Ending::Failed(self.medium_error());
            }
            Some(Fault::BitRot) => {
                let position = self.random.below(to_u64(target.len()));
                let block_bytes = u64::from(self.config.logical_block_bytes);
                let bit = u8::try_from(self.random.below(8)).unwrap_or(0);
                let byte = to_usize(position % block_bytes);
                self.media
                    .flip_bit(block + position / block_bytes, byte, bit);
            }
            _ => {}
        }
        self.media.read(block, target);
        Ending::Done
    }

    fn complete_write(&mut self, write: &mut PendingWrite, harm: Option<Fault>) -> Ending {
        let persistence = write.persistence;
        match harm {
            Some(Fault::WriteLost) => Ending::Done,
            Some(Fault::WriteTorn) => {
                let mut blocks: Vec<BlockWrite> = unapplied(write).collect();
                let missing = self.random.below(to_u64(blocks.len()));
                if to_usize(missing) < blocks.len() {
                    blocks.swap_remove(to_usize(missing));
                }
                self.apply_some(blocks, persistence);
                Ending::Done
            }
            Some(Fault::WriteError) => {
                if persistence == Persistence::Durable {
                    self.fence.raise();
                }
                let reached = if self.random.coin() {
                    persistence
                } else {
                    self.plain_persistence()
                };
                let blocks = unapplied(write).collect();
                self.apply_some(blocks, reached);
                Ending::Failed(self.medium_error())
            }
            _ => {
                for pending in &write.blocks {
                    match (pending.applied, persistence) {
                        (None, _) => {
                            self.media.apply(pending.write.clone(), persistence);
                        }
                        (Some(sequence), Persistence::Durable) => {
                            self.media.harden(pending.write.block, sequence);
                        }
                        (Some(_), Persistence::Cached) => {}
                    }
                }
                Ending::Done
            }
        }
    }

    /// What becomes of blocks that the drive has taken without being told to make them durable.
    fn plain_persistence(&self) -> Persistence {
        match (self.config.durability, self.config.honesty) {
            (Durability::WriteThrough, Honesty::Honest) => Persistence::Durable,
            (Durability::WriteThrough | Durability::Fua | Durability::Flush, _) => {
                Persistence::Cached
            }
        }
    }

    /// Applies none, all, or some of the blocks.
    fn apply_some(&mut self, blocks: Vec<BlockWrite>, persistence: Persistence) {
        let extent = self.random.below(3);
        for block in blocks {
            let applied = match extent {
                0 => false,
                1 => true,
                _ => self.random.coin(),
            };
            if applied {
                self.media.apply(block, persistence);
            }
        }
    }

    /// Where an operation of `length` bytes meant for `block` lands instead: near by, inside the drive. The
    /// same place only if the drive has no other.
    fn misdirect(&mut self, block: u64, length: u64) -> u64 {
        let first_max = self.block_at(self.geometry.size_bytes) - self.block_at(length);
        let low = block.saturating_sub(MISDIRECTION_BLOCKS_MAX);
        let high = block.saturating_add(MISDIRECTION_BLOCKS_MAX).min(first_max);
        if low >= high {
            return low;
        }
        let drawn = self.random.between(low, high - 1);
        if drawn >= block { drawn + 1 } else { drawn }
    }

    /// How the kernel reports a block that the drive cannot read or write: it depends on the driver.
    fn medium_error(&mut self) -> Errno {
        if self.random.coin() {
            Errno::EIO
        } else {
            Errno::new(libc::ENODATA)
        }
    }
}

fn unapplied(write: &PendingWrite) -> impl Iterator<Item = BlockWrite> {
    write
        .blocks
        .iter()
        .filter(|block| block.applied.is_none())
        .map(|block| block.write.clone())
}
