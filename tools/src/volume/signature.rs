//! What a device already holds, told by the magic numbers at its start and end. Reads nothing
//! itself, writes nothing, and decides nothing: it names what it recognises.
//!
//! A device that is not plainly free is one with a signature, or with any byte other than zero
//! in the first or last MiB: drives are zeros there when they are new, discarded or wiped.

use std::fmt;

use Holding::{Database, FileSystem, Member, PartitionTable};
use Place::{AlignedEnd, End, Start};

/// Bytes at the start and at the end of a device that are looked at: ZFS keeps its labels in the
/// first and last 512 KiB, md version 0.90 its own in the last 128 KiB, everything else less.
pub const LOOKED_AT_BYTES: u64 = 1 << 20;

/// What kind of thing a signature says is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holding {
    /// A file system or swap space.
    FileSystem,
    /// A table of partitions.
    PartitionTable,
    /// A part of something larger: RAID, LVM, ZFS, a cache; or an encrypted volume.
    Member,
    /// Records of another database.
    Database,
    /// Bytes that no signature explains.
    Unknown,
}

/// What was found, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is, with an article: "an XFS file system".
    pub name: &'static str,
    /// What kind of thing.
    pub holding: Holding,
    /// Where the magic number stands, in bytes from the start.
    pub offset_bytes: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} (at byte {})", self.name, self.offset_bytes)
    }
}

/// The start and the end of a device. They overlap where the device is small.
#[derive(Clone, Debug)]
pub struct Edges {
    /// Size of the device.
    pub size_bytes: u64,
    /// The first [`LOOKED_AT_BYTES`], or all of it.
    pub head: Vec<u8>,
    /// The last [`LOOKED_AT_BYTES`], or all of it.
    pub tail: Vec<u8>,
}

impl Edges {
    /// `length` bytes at `offset_bytes` where they were read.
    fn get(&self, offset_bytes: u64, length: usize) -> Option<&[u8]> {
        let within = |bytes: &'_ [u8], offset: u64| {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(length)?;
            (end <= bytes.len()).then_some((start, end))
        };
        if let Some((start, end)) = within(&self.head, offset_bytes) {
            return self.head.get(start..end);
        }
        let tail_start = self.size_bytes.checked_sub(self.tail.len() as u64)?;
        let (start, end) = within(&self.tail, offset_bytes.checked_sub(tail_start)?)?;
        self.tail.get(start..end)
    }

    fn has(&self, offset_bytes: u64, magic: &[u8]) -> bool {
        self.get(offset_bytes, magic.len()) == Some(magic)
    }

    /// The first byte other than zero.
    fn first_used(&self) -> Option<u64> {
        let used = |bytes: &[u8]| {
            bytes
                .iter()
                .position(|byte| *byte != 0)
                .map(|place| place as u64)
        };
        let tail_start = self.size_bytes.saturating_sub(self.tail.len() as u64);
        used(&self.head).or_else(|| used(&self.tail).map(|place| tail_start + place))
    }
}

/// Where a magic number stands.
#[derive(Clone, Copy)]
enum Place {
    /// Bytes from the start.
    Start(u64),
    /// Bytes before the end.
    End(u64),
    /// Bytes before the end, counted from the end rounded down to the second figure.
    AlignedEnd(u64, u64),
}

impl Place {
    fn offset_bytes(self, size_bytes: u64) -> Option<u64> {
        match self {
            Self::Start(offset) => Some(offset),
            Self::End(distance) => size_bytes.checked_sub(distance),
            Self::AlignedEnd(distance, unit) => (size_bytes / unit * unit).checked_sub(distance),
        }
    }
}

struct Signature {
    name: &'static str,
    holding: Holding,
    places: &'static [Place],
    magic: &'static [u8],
}

const fn signature(
    name: &'static str,
    holding: Holding,
    places: &'static [Place],
    magic: &'static [u8],
) -> Signature {
    Signature {
        name,
        holding,
        places,
        magic,
    }
}

const KIB: u64 = 1 << 10;

/// Magic numbers and their places. The source of each is named where it is not the on-disk format's
/// own header in Linux (`fs/*/*.h`, `include/uapi/linux/`): util-linux, `libblkid/src/superblocks/`,
/// whose files say which structure each stands in. Within the table the more telling comes first.
const SIGNATURES: &[Signature] = &[
    // bcachefs: `BCHFS_MAGIC`, and the older one that it shared with bcache, told apart by version.
    signature(
        "a bcachefs file system",
        FileSystem,
        &[Start(4 * KIB + 24)],
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
    ),
    // bcache: `include/uapi/linux/bcache.h`, cache_sb.magic at sector 8.
    signature(
        "a bcache member",
        Member,
        &[Start(4 * KIB + 24)],
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ),
    // Linux RAID: `include/uapi/linux/raid/md_p.h`, MD_SB_MAGIC; 1.1 at the start, 1.2 at 4 KiB, 1.0
    // 8 KiB before the end rounded to 4 KiB, 0.90 64 KiB before the end rounded to 64 KiB.
    signature(
        "a Linux RAID member (md)",
        Member,
        &[
            Start(4 * KIB),
            Start(0),
            AlignedEnd(8 * KIB, 4 * KIB),
            AlignedEnd(64 * KIB, 64 * KIB),
        ],
        b"\xfc\x4e\x2b\xa9",
    ),
    // LVM2: label_header.type, in one of the first four sectors (libblkid `lvm.c`).
    signature(
        "an LVM physical volume",
        Member,
        &[Start(0x218), Start(0x18), Start(0x418), Start(0x618)],
        b"LVM2 001",
    ),
    // LUKS: cryptsetup's `luks2_disk_format`, both headers; the second begins at 16 KiB to 4 MiB.
    signature(
        "a LUKS encrypted volume",
        Member,
        &[Start(0)],
        b"LUKS\xba\xbe",
    ),
    signature(
        "a LUKS encrypted volume",
        Member,
        &[
            Start(16 * KIB),
            Start(32 * KIB),
            Start(64 * KIB),
            Start(128 * KIB),
            Start(256 * KIB),
            Start(512 * KIB),
        ],
        b"SKUL\xba\xbe",
    ),
    // BitLocker: the boot sector's OEM name (libblkid `bitlocker.c`).
    signature(
        "a BitLocker encrypted volume",
        Member,
        &[Start(3)],
        b"-FVE-FS-",
    ),
    // DRBD: md_on_disk.magic in the last 4 KiB, big-endian, versions 8, 8.4 unclean, 9 (libblkid `drbd.c`).
    signature(
        "a DRBD member",
        Member,
        &[End(4096 - 60)],
        b"\x83\x74\x02\x6b",
    ),
    signature(
        "a DRBD member",
        Member,
        &[End(4096 - 60)],
        b"\x83\x74\x02\x6c",
    ),
    signature(
        "a DRBD member",
        Member,
        &[End(4096 - 60)],
        b"\x83\x74\x02\x6d",
    ),
    // Stratis: stratis_sb.magic in sectors 1 and 9 (libblkid `stratis.c`).
    signature(
        "a Stratis member",
        Member,
        &[Start(512 + 4), Start(9 * 512 + 4)],
        b"!Stra0tis\x86\xff\x02^\x41rh",
    ),
    // VDO: geometry block (libblkid `vdo.c`).
    signature("a VDO volume", Member, &[Start(0)], b"dmvdo001"),
    // dm-verity: `verity_sb.signature` (libblkid `lvm.c`).
    signature("a dm-verity hash tree", Member, &[Start(0)], b"verity\0\0"),
    // Ceph: bdev label of BlueStore (libblkid `bluestore.c`).
    signature(
        "a Ceph BlueStore device",
        Database,
        &[Start(0)],
        b"bluestore block device",
    ),
    // Aerospike: `as/include/storage/drv_common.h`, DRV_HEADER_MAGIC and the one before version 3,
    // little-endian.
    signature(
        "records of an Aerospike namespace",
        Database,
        &[Start(0)],
        b"\x22\x03surtIC",
    ),
    signature(
        "records of an Aerospike namespace",
        Database,
        &[Start(0)],
        b"\x07\x07surtIC",
    ),
    // Ext: EXT2_SUPER_MAGIC in ext4_super_block.s_magic, 1 KiB + 0x38.
    signature(
        "an ext2, ext3 or ext4 file system",
        FileSystem,
        &[Start(KIB + 0x38)],
        b"\x53\xef",
    ),
    // XFS: XFS_SB_MAGIC.
    signature("an XFS file system", FileSystem, &[Start(0)], b"XFSB"),
    // Btrfs: BTRFS_MAGIC in btrfs_super_block.magic, 64 KiB + 0x40.
    signature(
        "a Btrfs file system",
        FileSystem,
        &[Start(64 * KIB + 0x40)],
        b"_BHRfS_M",
    ),
    // F2FS: F2FS_SUPER_MAGIC, both copies.
    signature(
        "an F2FS file system",
        FileSystem,
        &[Start(KIB), Start(5 * KIB)],
        b"\x10\x20\xf5\xf2",
    ),
    // JFS: JFS_MAGIC. ReiserFS: the three spellings, at 64 KiB and at 8 KiB.
    signature("a JFS file system", FileSystem, &[Start(32 * KIB)], b"JFS1"),
    signature(
        "a ReiserFS file system",
        FileSystem,
        &[Start(64 * KIB + 52), Start(8 * KIB + 52)],
        b"ReIsEr",
    ),
    // SquashFS, EROFS, zonefs: `*_SUPER_MAGIC`.
    signature("a SquashFS image", FileSystem, &[Start(0)], b"hsqs"),
    signature(
        "an EROFS image",
        FileSystem,
        &[Start(KIB)],
        b"\xe2\xe1\xf5\xe0",
    ),
    signature("a zonefs file system", FileSystem, &[Start(0)], b"SFOZ"),
    // GFS2: GFS2_MAGIC, big-endian, at 64 KiB. OCFS2: OCFS2_SUPER_BLOCK_SIGNATURE in block 2.
    signature(
        "a GFS2 file system",
        FileSystem,
        &[Start(64 * KIB)],
        b"\x01\x16\x19\x70",
    ),
    signature(
        "an OCFS2 file system",
        FileSystem,
        &[Start(KIB), Start(2 * KIB), Start(4 * KIB), Start(8 * KIB)],
        b"OCFSV2",
    ),
    // APFS: nx_superblock_t.nx_magic. HFS+ and HFSX: the volume header's signature and version.
    signature("an APFS container", FileSystem, &[Start(32)], b"NXSB"),
    signature(
        "an HFS+ file system",
        FileSystem,
        &[Start(KIB)],
        b"H+\0\x04",
    ),
    signature(
        "an HFS+ file system",
        FileSystem,
        &[Start(KIB)],
        b"HX\0\x05",
    ),
    // Boot sectors: OEM name of NTFS, exFAT and ReFS; the type field of FAT (Microsoft's FAT specification).
    signature("an NTFS file system", FileSystem, &[Start(3)], b"NTFS    "),
    signature("an exFAT file system", FileSystem, &[Start(3)], b"EXFAT   "),
    signature("a ReFS file system", FileSystem, &[Start(3)], b"ReFS\0"),
    signature("a FAT file system", FileSystem, &[Start(82)], b"FAT32   "),
    signature("a FAT file system", FileSystem, &[Start(54)], b"FAT16   "),
    signature("a FAT file system", FileSystem, &[Start(54)], b"FAT12   "),
    // Swap: the last 10 bytes of the first page, of 4 to 64 KiB (mm/swapfile.c, libblkid `swap.c`).
    signature("swap space", FileSystem, SWAP_PLACES, b"SWAPSPACE2"),
    signature("swap space", FileSystem, SWAP_PLACES, b"SWAP-SPACE"),
    signature(
        "a suspended system in swap space",
        FileSystem,
        SWAP_PLACES,
        b"S1SUSPEND",
    ),
    signature(
        "a suspended system in swap space",
        FileSystem,
        SWAP_PLACES,
        b"LINHIB0001",
    ),
    // ISO 9660 (ECMA-119) and UDF (ECMA-167): volume descriptors from sector 16 of 2 KiB on.
    signature(
        "an ISO 9660 file system",
        FileSystem,
        &[Start(32 * KIB + 1)],
        b"CD001",
    ),
    signature(
        "a UDF file system",
        FileSystem,
        &[Start(32 * KIB + 1), Start(34 * KIB + 1)],
        b"BEA01",
    ),
    // GPT (UEFI specification 5.3): header in block 1 of 512 or 4096 bytes, its copy in the last.
    signature(
        "a GPT partition table",
        PartitionTable,
        &[Start(512), Start(4096), End(512), End(4096)],
        b"EFI PART",
    ),
];

const SWAP_PLACES: &[Place] = &[
    Start(4 * KIB - 10),
    Start(8 * KIB - 10),
    Start(16 * KIB - 10),
    Start(32 * KIB - 10),
    Start(64 * KIB - 10),
];

/// All that is recognised on a device, or the first byte that nothing explains; empty for a device
/// that is plainly free. Our own label is not among it: `corelith_store` knows that.
#[must_use]
pub fn find(edges: &Edges) -> Vec<Finding> {
    let mut findings = Vec::new();
    for signature in SIGNATURES {
        let places = signature.places.iter();
        let offset = places
            .filter_map(|place| place.offset_bytes(edges.size_bytes))
            .find(|offset| edges.has(*offset, signature.magic));
        let is_known = findings
            .iter()
            .any(|known: &Finding| known.name == signature.name);
        if let Some(offset_bytes) = offset.filter(|_| !is_known) {
            findings.push(Finding {
                name: signature.name,
                holding: signature.holding,
                offset_bytes,
            });
        }
    }
    findings.extend(find_zfs(edges));
    if findings.is_empty() {
        findings.extend(find_mbr(edges));
    }
    if findings.is_empty() {
        findings.extend(edges.first_used().map(|offset_bytes| Finding {
            name: "data of an unknown kind",
            holding: Holding::Unknown,
            offset_bytes,
        }));
    }
    findings
}

/// A ZFS label: an uberblock (`include/sys/uberblock_impl.h`, UBERBLOCK_MAGIC in either byte order) in
/// the last 128 KiB of one of the four labels of 256 KiB, two at each end, in steps of 1 KiB.
fn find_zfs(edges: &Edges) -> Option<Finding> {
    const MAGIC: u64 = 0x00ba_b10c;
    let end = edges.size_bytes / (256 * KIB) * 256 * KIB;
    let labels = [
        Some(0),
        Some(256 * KIB),
        end.checked_sub(512 * KIB),
        end.checked_sub(256 * KIB),
    ];
    let uberblocks = labels
        .into_iter()
        .flatten()
        .flat_map(|label| (128..256).map(move |step| label + step * KIB));
    uberblocks
        .into_iter()
        .find(|offset| {
            edges.has(*offset, &MAGIC.to_le_bytes()) || edges.has(*offset, &MAGIC.to_be_bytes())
        })
        .map(|offset_bytes| Finding {
            name: "a ZFS pool member",
            holding: Member,
            offset_bytes,
        })
}

/// A partition table of the PC's kind: the boot signature, and four entries of which at least one is
/// used and each begins with 0 or 0x80. Boot sectors of file systems carry the same signature.
fn find_mbr(edges: &Edges) -> Option<Finding> {
    let entries = edges.get(446, 64)?;
    let is_signed = edges.has(510, &[0x55, 0xaa]);
    let is_regular = entries
        .chunks(16)
        .all(|entry| matches!(entry, [0 | 0x80, ..]));
    let is_used = entries
        .chunks(16)
        .any(|entry| entry.get(4).is_some_and(|kind| *kind != 0));
    (is_signed && is_regular && is_used).then_some(Finding {
        name: "an MBR partition table",
        holding: PartitionTable,
        offset_bytes: 446,
    })
}

#[cfg(test)]
mod tests;
