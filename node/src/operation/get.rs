//! Get: one record, all of its bins, some of them, or what is known of it beside them.

use corelith_record::{Content, is_long, project, project_in_pieces};
use corelith_store::{Metadata, Record, Shard};
use corelith_wire::{
    Answer, BinSelection, GetRequest, RecordAnswer, RecordMetadata, Refusal, Status,
};

use super::terms::{Lookup, Terms};
use super::{Outcome, Reply, Room, last_update};
use crate::pace::pace;
use crate::refusal::{self, batch_full};

/// A record that was found, with what of it is to be answered.
pub(crate) enum Found {
    /// Everything, from the device's own buffer.
    Whole(Record),
    /// The bins that were asked for.
    Part {
        metadata: RecordMetadata,
        content: Vec<u8>,
    },
}

impl Found {
    /// The answer. To write it is the one copy of the content between device and socket.
    pub(crate) fn answer(&self) -> Answer<'_> {
        let (metadata, content) = match self {
            Self::Whole(record) => (metadata_of(record), record.content()),
            Self::Part { metadata, content } => (*metadata, content.as_slice()),
        };
        Answer::Record(RecordAnswer { metadata, content })
    }
}

pub(super) async fn run(shard: &Shard, get: &GetRequest<'_>, terms: Terms<'_>) -> Outcome {
    if let BinSelection::MetadataOnly = get.selection {
        return metadata_only(shard, get).await;
    }
    if terms.room.is_some_and(Room::is_used_up) {
        return Outcome::Refused(batch_full());
    }
    let found = match terms.lookup {
        Lookup::Alone => shard.get(&get.digest).await,
        Lookup::Fetched => shard.get_fetched(&get.digest).await,
    };
    let record = match found {
        Ok(Some(record)) => record,
        Ok(None) => return Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => return Outcome::Refused(refusal::of_read(&error)),
    };
    let part = select(&record, &get.selection).await;
    let length_bytes = match &part {
        Ok(Some(content)) => content.len(),
        Ok(None) => record.content().len(),
        Err(_) => 0,
    };
    if !terms.claim(length_bytes) {
        return Outcome::Refused(batch_full());
    }
    match part {
        Ok(None) => Outcome::Record(Found::Whole(record)),
        Ok(Some(content)) => {
            let metadata = metadata_of(&record);
            Outcome::Record(Found::Part { metadata, content })
        }
        Err(refusal) => Outcome::Refused(refusal),
    }
}

/// What a get of a whole record comes to, if memory is enough to know it; `None` if it is not.
pub(super) fn found_at_once(
    shard: &Shard,
    get: &GetRequest<'_>,
    room: Option<&Room>,
) -> Option<Outcome> {
    let BinSelection::All = get.selection else {
        return None;
    };
    Some(match shard.get_at_once(&get.digest)? {
        Some(record) if room.is_none_or(|room| room.claim(record.content().len())) => {
            Outcome::Record(Found::Whole(record))
        }
        Some(_) => Outcome::Refused(batch_full()),
        None => Outcome::Refused(Refusal::new(Status::NotFound)),
    })
}

/// Answers a get of a whole record from memory, without a task, a copy of the frame or an allocation; the
/// status of the answer. `None`, and nothing written, if it needs more than that.
pub(super) fn at_once(
    shard: &Shard,
    get: &GetRequest<'_>,
    reply: &mut Reply<'_>,
) -> Option<Status> {
    let BinSelection::All = get.selection else {
        return None;
    };
    match shard.get_at_once(&get.digest)? {
        Some(record) => {
            reply.answer(&Answer::Record(RecordAnswer {
                metadata: metadata_of(&record),
                content: record.content(),
            }));
            Some(Status::Ok)
        }
        None => {
            reply.refuse(&Refusal::new(Status::NotFound));
            Some(Status::NotFound)
        }
    }
}

/// Answered from the index, without a device read.
async fn metadata_only(shard: &Shard, get: &GetRequest<'_>) -> Outcome {
    match shard.metadata(&get.digest).await {
        Ok(Some(found)) => {
            let metadata = metadata_from_index(&found);
            Outcome::Record(Found::Part {
                metadata,
                content: Vec::new(),
            })
        }
        Ok(None) => Outcome::Refused(Refusal::new(Status::NotFound)),
        Err(error) => Outcome::Refused(refusal::of_read(&error)),
    }
}

/// The part of a record's content that a selection asks for; `None` for all of it.
pub(super) async fn select(
    record: &Record,
    selection: &BinSelection<'_>,
) -> Result<Option<Vec<u8>>, Refusal<'static>> {
    match selection {
        BinSelection::All => Ok(None),
        BinSelection::MetadataOnly => Ok(Some(Vec::new())),
        BinSelection::Named(names) => {
            let content = record.content();
            let mut part = Vec::new();
            let projected = if is_long(content) {
                // In memory of its own, so that the futures of ordinary gets stay small.
                Box::pin(async {
                    let mut pace = pace();
                    let content = Content::from_stored_in_pieces(content, &mut pace).await?;
                    project_in_pieces(&content, names.iter(), &mut part, &mut pace).await
                })
                .await
            } else {
                part.reserve(content.len());
                Content::from_stored(content)
                    .and_then(|content| project(&content, names.iter(), &mut part))
            };
            // The content was checked when it was put, and its checksum has been verified since: the record
            // was written by something that is not this node.
            projected.map_err(|_| Refusal::new(Status::Damaged))?;
            Ok(Some(part))
        }
    }
}

/// What the index knows of a record: not when it was last written, and the answer does not say.
pub(super) const fn metadata_from_index(found: &Metadata) -> RecordMetadata {
    RecordMetadata {
        generation: found.generation,
        expiry: found.expiry,
        last_update: None,
    }
}

pub(super) fn metadata_of(record: &Record) -> RecordMetadata {
    let metadata = record.metadata();
    RecordMetadata {
        generation: metadata.generation,
        expiry: metadata.expiry,
        last_update: last_update(record.updated_ms()),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use corelith_index::{Digest, ExpirySeconds, SetId};
    use corelith_io::{BufferPool, BufferPoolConfig, DriveConfig, SimulatedMachine};
    use corelith_store::volume::{FormatOptions, format_volume};
    use corelith_store::{Change, CheckpointPace, Needs, ShardOptions};
    use corelith_wire::{
        FrameEncoder, FrameHeader, MessageKind, NamespaceId, Request, RequestEnvelope, RequestId,
    };

    use super::*;
    use crate::commit::{CommitChoice, CommitPolicy};
    use crate::operation::{Shards, run_at_once};

    fn run<T>(machine: &SimulatedMachine, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = std::task::Context::from_waker(Waker::noop());
        let mut steps = 0_u32;
        for _ in 0..1_000_000 {
            if let std::task::Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
                return outcome;
            }
            steps += u32::from(machine.step());
        }
        panic!("the future does not end in {steps} steps");
    }

    /// A shard with a record cache, and one record in it.
    fn shard_with(digest: &Digest, content: &[u8]) -> Shard {
        let machine = SimulatedMachine::new(1);
        let drive = machine.add_drive(DriveConfig::new(8 << 20));
        let devices = [machine.device(drive)];
        let pool = BufferPool::new(BufferPoolConfig {
            arena_bytes: 0,
            limit_bytes: 64 << 20,
        })
        .unwrap();
        let format = FormatOptions {
            segment_bytes: 64 << 10,
            extent_bytes: Some(64 << 10),
            ..FormatOptions::new("test", 1, [1; 16], vec![[2; 16]])
        };
        let options = ShardOptions {
            shard: 0,
            index_memory_bytes: 1 << 20,
            record_cache_bytes: 1 << 20,
            checkpoint: CheckpointPace::NONE,
            accept_stale: false,
            index_bytes_cached: 1 << 20,
        };
        run(&machine, async {
            let volume = format_volume(&devices, &pool, &format).await.unwrap();
            let clock = machine.clock();
            let shard = Shard::open(&volume, &devices, (&pool, &clock), &options)
                .await
                .unwrap();
            let change = Change::PutInput {
                expiry: ExpirySeconds::NEVER,
                set: SetId::NONE,
            };
            let writer = shard.clone();
            let put = async move {
                let decide =
                    |_: Option<corelith_store::Current<'_>>, _: &mut Vec<u8>| Ok::<_, ()>(change);
                let written = writer.write(digest, Needs::Metadata, content, decide);
                written.await.is_ok()
            };
            let background = pin!(shard.run());
            match futures_util::future::select(pin!(put), background).await {
                futures_util::future::Either::Left((is_written, _)) => assert!(is_written),
                futures_util::future::Either::Right(_) => panic!("the shard ended"),
            }
            shard
        })
    }

    #[test]
    fn ten_thousand_gets_from_memory_allocate_nothing() {
        let digest = Digest::from_bytes([9; 20]);
        let content = [7_u8; 300];
        let policy = CommitPolicy {
            choice: CommitChoice::Durable,
            flush_interval: std::time::Duration::from_millis(100),
        };
        let shards = Shards::new(1, vec![(0, shard_with(&digest, &content))], policy);
        let mut encoder = FrameEncoder::new();
        let (mut frame, mut out) = (Vec::new(), Vec::new());
        let request = Request::Get(GetRequest {
            digest,
            selection: BinSelection::All,
        });
        let envelope = RequestEnvelope {
            request_id: RequestId::new(5),
            namespace: NamespaceId::new(1),
            deadline_ms: 0,
        };
        encoder.request(&mut frame, &envelope, &request).unwrap();
        let header = FrameHeader::parse(&frame).unwrap().unwrap();
        assert_eq!(header.kind(), Some(MessageKind::Get));
        let mut get = || {
            out.clear();
            let mut reply = Reply {
                encoder: &mut encoder,
                out: &mut out,
                request_id: header.request_id(),
                kind_number: header.kind_number(),
            };
            assert!(run_at_once(&shards, (&header, &frame), &mut reply));
        };
        // The first rounds let the buffers grow.
        (0..10).for_each(|_| get());
        let info = allocation_counter::measure(|| (0..10_000).for_each(|_| get()));
        assert_eq!(info.count_total, 0);
        let answered = FrameHeader::parse(&out).unwrap().unwrap();
        let answer = Answer::decode(&answered, out.get(32..).unwrap()).unwrap();
        let Answer::Record(record) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(record.content, content);
    }
}
