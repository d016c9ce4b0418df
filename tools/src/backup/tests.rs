//! The reader against everything that a file may hold: whole backups, cut and flipped ones, and noise.

use corelith_client::{
    ContentBuilder, Digest, ExpirySeconds, Generation, Key, LastUpdateMs, PartitionId,
    RecordMetadata, digest_of,
};
use proptest::prelude::*;

use super::block::Token;
use super::error::{BackupError, Disagreement};
use super::file_header::FileHeader;
use super::reader::{BackupReader, Block};
use super::record::BackupRecord;
use super::writer::{BackupWriter, PackedBlock};

fn header() -> FileHeader {
    FileHeader {
        identity: [9; 16],
        node_id: 77,
        start_ms: 500_000_000_000,
        since_ms: 0,
        namespace: "test".to_owned(),
        set: None,
    }
}

/// A record of its own for each number.
struct Sample {
    digest: Digest,
    content: Vec<u8>,
    number: u16,
}

impl Sample {
    fn new(number: u16) -> Self {
        let key = Key::from(i64::from(number));
        let digest = digest_of("s", &key.as_key_ref().unwrap());
        let bins = ContentBuilder::new().bin("n", i64::from(number));
        let bins = bins.bin("text", "x".repeat(usize::from(number) % 50));
        let content = bins.key(key.as_key_ref().unwrap()).finish_update().unwrap();
        Sample {
            digest,
            content,
            number,
        }
    }

    fn record(&self) -> BackupRecord<'_> {
        BackupRecord {
            digest: self.digest,
            metadata: RecordMetadata {
                generation: Generation::new(self.number % 100 + 1).unwrap(),
                expiry: ExpirySeconds::new(u32::from(self.number)),
                last_update: LastUpdateMs::new(u64::from(self.number) + 1),
            },
            set: "s",
            content: &self.content,
        }
    }
}

fn block_of(samples: &[Sample], partition: PartitionId) -> PackedBlock {
    let mut body = Vec::new();
    let of_it = samples.iter().map(Sample::record);
    let of_it: Vec<_> = of_it
        .filter(|record| record.digest.partition() == partition)
        .collect();
    for record in &of_it {
        record.write(&mut body);
    }
    let mut block = PackedBlock::new(partition, of_it.len() as u32, body);
    block.token = Token::new(&partition.get().to_le_bytes()).unwrap();
    block.is_partition_end = true;
    block.damaged_count = 1;
    block
}

/// A whole backup of some samples.
fn whole(samples: &[Sample]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let (mut writer, _, begun) = BackupWriter::open(&path, header()).unwrap();
    assert!(begun.is_none());
    let mut partitions: Vec<_> = samples.iter().map(|each| each.digest.partition()).collect();
    partitions.sort_unstable();
    partitions.dedup();
    for partition in partitions {
        writer.write(&block_of(samples, partition)).unwrap();
    }
    assert!(!path.exists(), "not before it is whole");
    writer.finish(600_000_000_000).unwrap();
    std::fs::read(&path).unwrap()
}

fn read_all(bytes: &[u8]) -> Result<Vec<Block>, BackupError> {
    let mut reader = BackupReader::new(bytes)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    Ok(blocks)
}

fn samples(count: u16) -> Vec<Sample> {
    (0..count).map(Sample::new).collect()
}

#[test]
fn records_come_back_as_they_were() {
    let samples = samples(300);
    let blocks = read_all(&whole(&samples)).unwrap();
    let mut found: Vec<_> = blocks.iter().flat_map(Block::records).collect();
    found.sort_by_key(|record| record.metadata.expiry.get());
    let expected: Vec<_> = samples.iter().map(Sample::record).collect();
    assert_eq!(found, expected);
    for block in &blocks {
        let partition = block.header.partition.get().to_le_bytes();
        assert_eq!(block.header.token.as_bytes(), partition);
        assert_eq!(
            (block.header.is_partition_end, block.header.damaged_count),
            (true, 1)
        );
    }
}

/// A whole backup of one record. It is read for ever: a release that cannot has another format. What is written
/// may be packed otherwise, as zstd goes on.
#[test]
fn golden_bytes_are_read() {
    let golden: String = include_str!("golden.txt").split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&golden[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..golden.len()).step_by(2).map(byte).collect();
    let blocks = read_all(&bytes).unwrap();
    let found: Vec<_> = blocks.iter().flat_map(Block::records).collect();
    assert_eq!(found, [Sample::new(0).record()]);
    assert_eq!(BackupReader::new(&*bytes).unwrap().header(), &header());
}

/// The page's tables leave no gap and are as long as the parts.
#[test]
fn the_page_has_every_byte() {
    let page = include_str!("../../BACKUP.md");
    for (title, length) in [
        ("File header", super::file_header::LENGTH_BYTES),
        ("Block header", super::block::HEADER_LENGTH_BYTES),
        ("Record", super::record::FIXED_LENGTH_BYTES),
        ("End block", super::block::TOTALS_LENGTH_BYTES),
    ] {
        let (_, section) = page.split_once(&format!("\n## {title}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let mut next = 0;
        for row in section.lines().filter(|line| line.starts_with("| ")) {
            let mut cells = row.split('|').map(|cell| cell.trim().parse::<usize>());
            if let (Some(Ok(offset)), Some(Ok(size))) = (cells.nth(1), cells.next()) {
                assert_eq!(offset, next, "{row}");
                next = offset + size;
            }
        }
        assert_eq!(next, length, "{title}");
    }
}

#[test]
fn an_empty_backup_is_whole() {
    assert_eq!(read_all(&whole(&[])).unwrap(), []);
}

#[test]
fn every_cut_and_every_flipped_byte_is_seen() {
    let good = whole(&samples(3));
    for length in 0..good.len() {
        let cut = read_all(&good[..length]);
        match cut {
            Err(BackupError::Truncated { offset_bytes }) => assert!(offset_bytes <= length as u64),
            Err(BackupError::Foreign) => assert!(length < 8),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 0x10;
        assert!(read_all(&bad).is_err(), "byte {place}");
    }
    let behind = [&good[..], b"x"].concat();
    assert!(matches!(
        read_all(&behind),
        Err(BackupError::Trailing { offset_bytes }) if offset_bytes == good.len() as u64
    ));
}

#[test]
fn a_block_of_another_place_or_file_is_seen() {
    let good = whole(&samples(2));
    let blocks = read_all(&good).unwrap();
    assert_eq!(blocks.len(), 2);
    let first_end = 256 + 80 + blocks[0].header.body_length_bytes as usize;
    let second_end = first_end + 80 + blocks[1].header.body_length_bytes as usize;
    let (start, first, second, end) = (
        &good[..256],
        &good[256..first_end],
        &good[first_end..second_end],
        &good[second_end..],
    );
    // Another backup of the same header and keys, with other contents.
    let others = samples(2).into_iter().map(|mut sample| {
        sample.content = Sample::new(sample.number + 10).content;
        sample
    });
    let other = whole(&others.collect::<Vec<_>>());
    let other_end = 256 + 80 + read_all(&other).unwrap()[0].header.body_length_bytes as usize;
    for bad in [
        [start, &other[256..other_end], second, end].concat(),
        [start, second, end].concat(),
        [start, first, end].concat(),
        [start, first, first, second, end].concat(),
        [start, second, first, end].concat(),
    ] {
        let found = read_all(&bad);
        assert!(
            matches!(
                found,
                Err(BackupError::Damaged {
                    what: Disagreement::Order,
                    ..
                })
            ),
            "{found:?}"
        );
    }
}

#[test]
fn what_was_left_unfinished_is_gone_on_with() {
    let all = samples(40);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup");
    let unfinished = folder.path().join("backup.unfinished");
    let mut partitions: Vec<_> = all.iter().map(|each| each.digest.partition()).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let (mut writer, ..) = BackupWriter::open(&path, header()).unwrap();
    for partition in &partitions[..10] {
        writer.write(&block_of(&all, *partition)).unwrap();
    }
    assert!(BackupWriter::open(&path, header()).is_err(), "it is in use");
    drop(writer);
    // The last block is torn.
    let bytes = std::fs::read(&unfinished).unwrap();
    std::fs::write(&unfinished, &bytes[..bytes.len() - 3]).unwrap();

    let other = FileHeader {
        set: Some("other".to_owned()),
        ..header()
    };
    assert!(BackupWriter::open(&path, other).is_err());
    let later = FileHeader {
        identity: [1; 16],
        start_ms: 700_000_000_000,
        ..header()
    };
    let (mut writer, begun, progress) = BackupWriter::open(&path, later).unwrap();
    assert_eq!(begun, header(), "the first start counts");
    let progress = progress.unwrap();
    let done: Vec<_> = PartitionId::all()
        .filter(|partition| progress[usize::from(partition.get())].is_done)
        .collect();
    assert_eq!(done, &partitions[..9]);
    for partition in &partitions[9..] {
        writer.write(&block_of(&all, *partition)).unwrap();
    }
    writer.finish(800_000_000_000).unwrap();
    assert!(!unfinished.exists());
    let blocks = read_all(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(blocks.iter().flat_map(Block::records).count(), 40);
    assert!(BackupWriter::open(&path, header()).is_err(), "it is there");
}

/// Sets a range of a block's header and mends the sum, as no accident does.
fn forge(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[256 + at..256 + at + value.len()].copy_from_slice(value);
    let sum = super::fields::sum(&bytes[256..256 + 76]);
    bytes[256 + 76..256 + 80].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn lengths_that_no_backup_has_take_no_memory() {
    let good = whole(&samples(1));
    for (at, value) in [
        (20, u32::MAX),
        (24, u32::MAX),
        (16, u32::MAX),
        (20, 1 << 25),
    ] {
        let mut bad = good.clone();
        forge(&mut bad, at, &value.to_le_bytes());
        let found = read_all(&bad);
        assert!(
            matches!(
                found,
                Err(BackupError::Damaged {
                    what: Disagreement::BlockField,
                    ..
                })
            ),
            "{found:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_blocks(
        noise in proptest::collection::vec(any::<u8>(), 0..600),
        is_begun in any::<bool>(),
    ) {
        let start = whole(&[]);
        let bytes = if is_begun { [&start[..256], &noise].concat() } else { noise };
        prop_assert!(read_all(&bytes).is_err());
    }

    #[test]
    fn forged_fields_never_panic(
        at in 4_usize..76,
        value in any::<[u8; 4]>(),
        body_at in any::<prop::sample::Index>(),
        body_value in any::<u8>(),
    ) {
        let mut bytes = whole(&samples(1));
        let length = value.len().min(76 - at);
        let end = bytes.len() - 120;
        let place = 336 + body_at.index(end - 336);
        bytes[place] = body_value;
        let body_sum = super::fields::sum(&bytes[336..end]);
        forge(&mut bytes, 28, &body_sum.to_le_bytes());
        forge(&mut bytes, at, &value[..length]);
        // Either is right; what counts is that it ends, as a value.
        if let Ok(blocks) = read_all(&bytes) {
            prop_assert!(blocks.iter().flat_map(Block::records).count() <= 1);
        }
    }
}
