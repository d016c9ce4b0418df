//! What a real driver adds to what a simulated drive shows: blocks of 512 and of 4,096 bytes, the kernel's own refusal of misaligned
//! transfers, the node's answers over both, and a drive that is taken out while the node serves.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use corelith_client::{Client, Error, Set, Status};

use crate::load::with_client;
use crate::machine::{Drive, Node, Served, page, tools};
use crate::oracle::{Held, content, stamp_of};
use crate::{Failure, FunctionsArguments};

/// Shards of each volume.
const SHARDS: usize = 4;
/// Keys of each namespace.
const KEYS: usize = 400;
/// The kernel's flag for transfers past its cache, which must be aligned; the machine is x86-64.
const O_DIRECT: i32 = 0o40000;
/// The kernel's word for a misaligned one.
const EINVAL: i32 = 22;

/// The longest wait for the answer to a put whose drive is being taken out.
const PATIENCE: Duration = Duration::from_secs(20);

const SMALL: &str = "small";
const LARGE: &str = "large";

/// What the node must say once it has lost a drive: what happened, and what to do.
const GONE: [&str; 2] = ["a device is gone", "start the node again"];

/// Answers to the reads of all keys of a namespace.
#[derive(Clone, Copy, Debug, Default)]
struct Read {
    right: usize,
    failed: usize,
}

/// Runs it all and says what was seen.
pub(super) fn run(arguments: &FunctionsArguments) -> Result<String, Failure> {
    let small = Drive::find(&arguments.small)?;
    let large: Vec<Drive> = arguments
        .large
        .iter()
        .map(|serial| Drive::find(serial))
        .collect::<Result<_, _>>()?;
    check_blocks(&small, 512)?;
    for drive in &large {
        check_blocks(drive, 4096)?;
    }
    let drives = [&small, &large[0], &large[1]];
    let paths: Vec<&Path> = drives.iter().map(|drive| drive.path.as_path()).collect();
    create(arguments, SMALL, &paths[..1])?;
    create(arguments, LARGE, &paths[1..])?;
    // Forced writes are for other tests: the emulator does not pass them on.
    let served = |name, devices| Served {
        name,
        devices,
        durability: "flush",
    };
    let start = || {
        let served = [served(SMALL, &paths[..1]), served(LARGE, &paths[1..])];
        Node::start(&arguments.programs, &served)
    };

    let node = start()?;
    with_client(async |client| write_all(&client).await)?;
    node.stop()?;
    let mut node = start()?;
    with_client(async |client| {
        for name in [SMALL, LARGE] {
            let read = read_all(&client.namespace(name).set("rig"), 1).await?;
            expect(read.failed == 0, || {
                format!("{read:?} of {name} after a stop")
            })?;
        }
        Ok(())
    })?;
    println!("both namespaces serve after a stop: {KEYS} records each, from one byte to 90 KB");

    let lost = lose(&large[1])?;
    expect(node.is_running()?, || {
        format!("the node ended: {}", Node::log())
    })?;
    check_log()?;
    node.kill()?;
    Ok(format!(
        "blocks of 512 and 4096 bytes serve, misaligned transfers are refused; with a drive of two taken out {} of {KEYS} records are \
         right and {} are errors, the other namespace serves, and the node says it once",
        lost.right, lost.failed
    ))
}

/// The block is what the namespace was made with, and the kernel refuses transfers beside it: a node that serves never makes one.
fn check_blocks(drive: &Drive, block_bytes: usize) -> Result<(), Failure> {
    let found = drive.fact("queue/logical_block_size")?;
    expect(found == block_bytes.to_string(), || {
        format!("{} has blocks of {found} bytes", drive.path.display())
    })?;
    let cache = drive.fact("queue/write_cache")?;
    expect(cache == "write back", || format!("its cache is {cache:?}"))?;
    let file = File::options()
        .read(true)
        .custom_flags(O_DIRECT)
        .open(&drive.path)?;
    // A length of half a block is refused wherever the buffer lies.
    let half = file.read_at(&mut vec![0; block_bytes / 2], 0);
    expect(
        half.as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(EINVAL)),
        || {
            format!(
                "half a block of {} was read: {half:?}",
                drive.path.display()
            )
        },
    )
}

fn create(arguments: &FunctionsArguments, name: &str, devices: &[&Path]) -> Result<(), Failure> {
    let devices: Vec<String> = devices
        .iter()
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let shards = SHARDS.to_string();
    let mut create = vec![
        "volume",
        "create",
        "--namespace",
        name,
        "--shards",
        &shards,
        "--segment-size",
        "256K",
    ];
    create.extend(devices.iter().map(String::as_str));
    tools(&arguments.programs, &create).map(drop)
}

/// Puts every key of both namespaces, some twice, and deletes some.
async fn write_all(client: &Client) -> Result<(), Failure> {
    for name in [SMALL, LARGE] {
        let set = client.namespace(name).set("rig");
        let next = Cell::new(0);
        let work = async || {
            while next.get() < KEYS {
                let key = next.replace(next.get() + 1);
                set.put(key as i64, &content(key, stamp_in(key, 1))).await?;
                if is_deleted(key) {
                    set.delete(key as i64).await?;
                }
            }
            Ok::<(), Error>(())
        };
        let failed = |error: Error| Failure::Node(format!("a write of {name} failed: {error}"));
        let (first, second, third) = tokio::join!(work(), work(), work());
        first.and(second).and(third).map_err(failed)?;
    }
    Ok(())
}

/// Stamps of a round are apart from those of all others.
fn stamp_in(key: usize, round: u64) -> u64 {
    round * 1_000_000 + key as u64
}

fn is_deleted(key: usize) -> bool {
    key.is_multiple_of(7)
}

fn expected(key: usize, round: u64) -> Held {
    (!is_deleted(key)).then(|| stamp_in(key, round))
}

/// Reads every key: each is right or an error, never anything else.
async fn read_all(set: &Set, round: u64) -> Result<Read, Failure> {
    let mut read = Read::default();
    for key in 0..KEYS {
        match set.get(key as i64).await {
            Ok(record) => {
                let found = record.map(|record| stamp_of(key, &record)).transpose();
                let found = found.map_err(Failure::Node)?;
                expect(found == expected(key, round), || {
                    format!(
                        "key {key} holds {found:?} and not {:?}",
                        expected(key, round)
                    )
                })?;
                read.right += 1;
            }
            Err(error) => {
                expect(matches!(error, Error::Refused(_)), || {
                    format!("key {key}: {error}")
                })?;
                read.failed += 1;
            }
        }
    }
    Ok(read)
}

/// Has the drive taken out while both namespaces are read and written.
fn lose(drive: &Drive) -> Result<Read, Failure> {
    with_client(async |client| {
        let (small, large) = (
            client.namespace(SMALL).set("rig"),
            client.namespace(LARGE).set("rig"),
        );
        println!("remove b");
        // Under load: the loss meets requests in flight.
        let mut rounds = 1;
        while drive.is_there() {
            rounds += 1;
            expect(rounds < 10_000, || "the drive did not go".to_owned())?;
            for key in 0..8 {
                write_through_loss(&large, KEYS + key).await?;
                put_one(&small, KEYS + key).await?;
            }
        }
        let read = read_all(&large, 1).await?;
        expect(read.failed > 0, || {
            "no record was on the drive that is gone".to_owned()
        })?;
        expect(read.right > KEYS / 7, || {
            format!("the other drive does not serve: {read:?}")
        })?;
        let beside = read_all(&small, 1).await?;
        expect(beside.failed == 0, || {
            format!("the other namespace: {beside:?}")
        })?;
        for key in 0..50 {
            put_one(&small, KEYS + key).await?;
        }
        Ok(read)
    })
}

/// A put that may be refused or stay in doubt, as its drive is on its way out.
async fn write_through_loss(set: &Set, key: usize) -> Result<(), Failure> {
    let content = content(key, 1);
    let put = tokio::time::timeout(PATIENCE, set.put(key as i64, &content));
    match put.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(Error::Refused(_) | Error::InDoubt(_))) => Ok(()),
        Ok(Err(error)) => Err(Failure::Node(format!(
            "a put to a drive that goes: {error}"
        ))),
        Err(_) => Err(Failure::Node(
            "a put to a drive that goes is not answered".to_owned(),
        )),
    }
}

async fn put_one(set: &Set, key: usize) -> Result<(), Failure> {
    let put = set.put(key as i64, &content(key, 1)).await;
    let failed = |error: Error| match error.status() {
        Some(Status::Busy | Status::KeyBusy) => Ok(()),
        _ => Err(Failure::Node(format!(
            "a put beside the drive that is gone: {error}"
        ))),
    };
    put.map(drop).or_else(failed)
}

/// The loss is said once for each shard that noticed it, with its remedy, and counted.
fn check_log() -> Result<(), Failure> {
    let log = Node::log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(GONE[0])).collect();
    expect(!lines.is_empty(), || format!("the loss is not said: {log}"))?;
    expect(lines.len() <= SHARDS, || {
        format!("said again and again: {lines:?}")
    })?;
    expect(lines.iter().all(|line| line.contains(GONE[1])), || {
        format!("no remedy: {lines:?}")
    })?;
    for (number, line) in lines.iter().enumerate() {
        println!("said {}: {line}", number + 1);
    }
    let metrics = page("/metrics").unwrap_or_default();
    let counted = metrics
        .lines()
        .any(|line| line.starts_with("corelith_gone_reads_total{") && !line.ends_with(" 0"));
    expect(counted, || {
        "reads of the drive that is gone are not counted".to_owned()
    })
}

fn expect(is_so: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failure> {
    if is_so {
        Ok(())
    } else {
        Err(Failure::Node(otherwise()))
    }
}
