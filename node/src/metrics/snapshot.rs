//! What one core had counted when it was asked: plain numbers that may travel to another thread.

use std::sync::Arc;

use corelith_io::{BufferStatistics, DeviceStatistics, RingStatistics};
use corelith_store::{RecoveryReport, ShardStatistics};

use super::counters::{CoreMetrics, StatusCounts};
use super::operations::OperationsSnapshot;
use crate::hot_keys::HotKeysSnapshot;

/// What one core had counted.
pub(crate) struct CoreSnapshot {
    pub(crate) core: u16,
    pub(super) refusals: StatusCounts,
    pub(crate) connections: u64,
    pub(super) connections_accepted: u64,
    pub(super) connections_refused: u64,
    pub(super) accept_failures: u64,
    pub(super) requests: u64,
    pub(super) batch_rows: u64,
    pub(super) requests_from_other_cores: u64,
    pub(super) requests_to_other_cores: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) broken_streams: u64,
    pub(super) hello_timeouts: u64,
    pub(crate) slow_operations: u64,
    /// Requests taken on and not answered yet, other cores' included.
    pub(crate) requests_in_flight: u64,
    /// Requests that wait at other cores for this one.
    pub(crate) hops_in_flight: u64,
    /// Answers that wait to be sent.
    pub(crate) outbox_bytes: u64,
    pub(crate) ring: RingStatistics,
    pub(crate) buffers: Option<BufferStatistics>,
    /// In the order of their numbers.
    pub(crate) namespaces: Vec<NamespaceSnapshot>,
}

/// What one core had counted of one namespace.
pub(crate) struct NamespaceSnapshot {
    pub(crate) name: Arc<str>,
    pub(crate) operations: OperationsSnapshot,
    pub(crate) hot_keys: HotKeysSnapshot,
    /// By shard number; those of this core.
    pub(crate) shards: Vec<ShardSnapshot>,
    /// In slot order; none if the core has no shard of the namespace.
    pub(crate) devices: Vec<DeviceSnapshot>,
}

/// What a shard held and had done.
pub(crate) struct ShardSnapshot {
    pub(crate) shard: u16,
    pub(crate) statistics: ShardStatistics,
    pub(crate) recovery: RecoveryReport,
}

/// What one core had done with one device.
pub(crate) struct DeviceSnapshot {
    /// As it was opened.
    pub(crate) name: Arc<str>,
    pub(crate) statistics: DeviceStatistics,
}

impl CoreMetrics {
    /// Everything that the core's own cells hold, as it is now; the rest is for the core to fill in.
    pub(crate) fn snapshot(&self, core: u16) -> CoreSnapshot {
        CoreSnapshot {
            core,
            refusals: self.refusals(),
            connections: self.connections.get(),
            connections_accepted: self.connections_accepted.get(),
            connections_refused: self.connections_refused.get(),
            accept_failures: self.accept_failures.get(),
            requests: self.requests.get(),
            batch_rows: self.batch_rows.get(),
            requests_from_other_cores: self.requests_from_other_cores.get(),
            requests_to_other_cores: self.requests_to_other_cores.get(),
            received_bytes: self.received_bytes.get(),
            sent_bytes: self.sent_bytes.get(),
            broken_streams: self.broken_streams.get(),
            hello_timeouts: self.hello_timeouts.get(),
            slow_operations: 0,
            requests_in_flight: 0,
            hops_in_flight: 0,
            outbox_bytes: 0,
            ring: RingStatistics::default(),
            buffers: None,
            namespaces: Vec::new(),
        }
    }
}

impl NamespaceSnapshot {
    /// Takes the figures of one namespace's shards on a core, and of the devices below them, which all
    /// shards of a core share.
    pub(crate) fn take<'a>(
        name: &Arc<str>,
        (operations, hot_keys): (OperationsSnapshot, HotKeysSnapshot),
        shards: impl Iterator<Item = &'a corelith_store::Shard>,
    ) -> Self {
        let mut snapshot = Self {
            name: Arc::clone(name),
            operations,
            hot_keys,
            shards: Vec::new(),
            devices: Vec::new(),
        };
        for shard in shards {
            if snapshot.devices.is_empty() {
                snapshot.devices = shard
                    .devices()
                    .map(|device| DeviceSnapshot {
                        name: device.name().into(),
                        statistics: device.statistics(),
                    })
                    .collect();
            }
            snapshot.shards.push(ShardSnapshot {
                shard: shard.number(),
                statistics: shard.statistics(),
                recovery: shard.report(),
            });
        }
        snapshot
    }
}
