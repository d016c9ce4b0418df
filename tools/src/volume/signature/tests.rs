//! Signatures on images: built from the magic bytes, and made by the tools of the formats where
//! those are installed.

use std::path::Path;
use std::process::Command;

use super::*;

const SIZE: u64 = 64 << 20;

/// The edges of a device of zeros with these bytes at these offsets.
fn image(size_bytes: u64, parts: &[(u64, &[u8])]) -> Edges {
    let mut whole = vec![0; usize::try_from(size_bytes).unwrap()];
    for (offset, bytes) in parts {
        let start = usize::try_from(*offset).unwrap();
        whole[start..start + bytes.len()].copy_from_slice(bytes);
    }
    edges_of(&whole)
}

fn edges_of(whole: &[u8]) -> Edges {
    let edge = usize::try_from(LOOKED_AT_BYTES).unwrap().min(whole.len());
    Edges {
        size_bytes: whole.len() as u64,
        head: whole[..edge].to_vec(),
        tail: whole[whole.len() - edge..].to_vec(),
    }
}

#[track_caller]
fn check(parts: &[(u64, &[u8])], expected: &[(&str, Holding, u64)]) {
    let found: Vec<_> = find(&image(SIZE, parts))
        .into_iter()
        .map(|finding| (finding.name, finding.holding, finding.offset_bytes))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn zeros_are_free() {
    check(&[], &[]);
    assert_eq!(find(&image(4096, &[])), []);
    assert_eq!(find(&image(0, &[])), []);
}

#[test]
fn file_systems() {
    let fs = Holding::FileSystem;
    check(
        &[(1080, b"\x53\xef")],
        &[("an ext2, ext3 or ext4 file system", fs, 1080)],
    );
    check(&[(0, b"XFSB")], &[("an XFS file system", fs, 0)]);
    check(
        &[(65600, b"_BHRfS_M")],
        &[("a Btrfs file system", fs, 65600)],
    );
    check(
        &[(1024, b"\x10\x20\xf5\xf2")],
        &[("an F2FS file system", fs, 1024)],
    );
    check(
        &[(3, b"NTFS    "), (510, b"\x55\xaa")],
        &[("an NTFS file system", fs, 3)],
    );
    check(
        &[(3, b"EXFAT   "), (510, b"\x55\xaa")],
        &[("an exFAT file system", fs, 3)],
    );
    check(
        &[(82, b"FAT32   "), (510, b"\x55\xaa")],
        &[("a FAT file system", fs, 82)],
    );
    check(
        &[(54, b"FAT16   "), (510, b"\x55\xaa")],
        &[("a FAT file system", fs, 54)],
    );
    check(&[(4086, b"SWAPSPACE2")], &[("swap space", fs, 4086)]);
    check(&[(65526, b"SWAPSPACE2")], &[("swap space", fs, 65526)]);
    check(
        &[(32769, b"CD001")],
        &[("an ISO 9660 file system", fs, 32769)],
    );
    check(&[(0, b"hsqs")], &[("a SquashFS image", fs, 0)]);
    let bcachefs = b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef";
    check(&[(4120, bcachefs)], &[("a bcachefs file system", fs, 4120)]);
}

#[test]
fn members() {
    let member = Holding::Member;
    check(
        &[(0, b"LUKS\xba\xbe\0\x02")],
        &[("a LUKS encrypted volume", member, 0)],
    );
    check(
        &[(16384, b"SKUL\xba\xbe")],
        &[("a LUKS encrypted volume", member, 16384)],
    );
    check(
        &[(512, b"LABELONE"), (512 + 24, b"LVM2 001")],
        &[("an LVM physical volume", member, 536)],
    );
    let bcache = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";
    check(&[(4120, bcache)], &[("a bcache member", member, 4120)]);
    check(
        &[(SIZE - 4096 + 60, b"\x83\x74\x02\x6b")],
        &[("a DRBD member", member, SIZE - 4036)],
    );
    check(
        &[(0, b"bluestore block device\n")],
        &[("a Ceph BlueStore device", Holding::Database, 0)],
    );
}

#[test]
fn linux_raid_at_its_four_places() {
    let magic = &0xa92b_4efc_u32.to_le_bytes();
    for offset in [0, 4096, SIZE - 8192, SIZE - 65536] {
        check(
            &[(offset, magic)],
            &[("a Linux RAID member (md)", Holding::Member, offset)],
        );
    }
    // Devices are not always a multiple of 64 KiB.
    let odd = SIZE + 512 * 9;
    for offset in [SIZE - 65536, SIZE + 4096 - 8192] {
        let found = find(&image(odd, &[(offset, magic)]));
        assert_eq!(found[0].name, "a Linux RAID member (md)");
    }
}

#[test]
fn zfs_in_any_of_its_labels() {
    let (little, big) = (0x00ba_b10c_u64.to_le_bytes(), 0x00ba_b10c_u64.to_be_bytes());
    for label in [0, 256 << 10, SIZE - (512 << 10), SIZE - (256 << 10)] {
        let offset = label + (132 << 10);
        check(
            &[(offset, &little)],
            &[("a ZFS pool member", Holding::Member, offset)],
        );
        check(
            &[(offset, &big)],
            &[("a ZFS pool member", Holding::Member, offset)],
        );
    }
}

#[test]
fn an_aerospike_device() {
    let magic = 0x4349_7472_7573_0322_u64.to_le_bytes();
    check(
        &[(0, &magic)],
        &[("records of an Aerospike namespace", Holding::Database, 0)],
    );
}

#[test]
fn partition_tables() {
    let table = Holding::PartitionTable;
    for offset in [512, 4096, SIZE - 512] {
        check(
            &[(offset, b"EFI PART")],
            &[("a GPT partition table", table, offset)],
        );
    }
    let mut mbr = [0_u8; 66];
    mbr[4] = 0x83;
    mbr[64..].copy_from_slice(&[0x55, 0xaa]);
    check(&[(446, &mbr)], &[("an MBR partition table", table, 446)]);
    // A boot signature without an entry is no table, and neither is one with an odd status byte.
    check(
        &[(510, b"\x55\xaa")],
        &[("data of an unknown kind", Holding::Unknown, 510)],
    );
    mbr[0] = 0x12;
    check(
        &[(446, &mbr)],
        &[("data of an unknown kind", Holding::Unknown, 446)],
    );
    // GPT comes with a protective MBR: one finding.
    mbr[0] = 0;
    check(
        &[(446, &mbr), (512, b"EFI PART")],
        &[("a GPT partition table", table, 512)],
    );
}

#[test]
fn anything_else_than_zero_is_data() {
    let unknown = Holding::Unknown;
    for offset in [0, LOOKED_AT_BYTES - 1, SIZE - LOOKED_AT_BYTES, SIZE - 1] {
        check(
            &[(offset, b"x")],
            &[("data of an unknown kind", unknown, offset)],
        );
    }
    // The middle is not looked at.
    check(&[(SIZE / 2, b"x")], &[]);
}

#[test]
fn several_at_once() {
    check(
        &[
            (0, b"XFSB"),
            (
                4120,
                b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
            ),
        ],
        &[
            ("a bcache member", Holding::Member, 4120),
            ("an XFS file system", Holding::FileSystem, 0),
        ],
    );
}

/// Formats a file with the format's own tool. Says whether the tool is here.
fn made_by(tool: &[&str], path: &Path) -> bool {
    std::fs::File::create(path).unwrap().set_len(SIZE).unwrap();
    match Command::new(tool[0]).args(&tool[1..]).arg(path).output() {
        Ok(output) => {
            assert!(output.status.success(), "{tool:?}: {output:?}");
            true
        }
        Err(error) => {
            assert_eq!(
                error.kind(),
                std::io::ErrorKind::NotFound,
                "{tool:?}: {error}"
            );
            false
        }
    }
}

#[test]
fn what_the_tools_of_the_formats_make() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    for (tool, expected) in [
        (
            &["/usr/sbin/mkfs.ext4", "-q", "-F"][..],
            "an ext2, ext3 or ext4 file system",
        ),
        (&["/usr/sbin/mkfs.xfs", "-q"][..], "an XFS file system"),
        (&["/usr/sbin/mkfs.btrfs", "-q"][..], "a Btrfs file system"),
        (&["/usr/sbin/mkfs.vfat"][..], "a FAT file system"),
        (&["/usr/sbin/mkswap", "-q"][..], "swap space"),
    ] {
        if !made_by(tool, &path) {
            continue;
        }
        let found = find(&edges_of(&std::fs::read(&path).unwrap()));
        assert_eq!(found[0].name, expected, "{tool:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
