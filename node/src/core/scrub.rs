//! Scrubs of a core's shards: one task each, which waits between its reads so that all of a namespace together keep
//! to its rate. A task has nothing under way that anybody waits for.

use std::rc::Rc;
use std::time::Duration;

use corelith_io::DeviceKind;
use corelith_store::{Scrub, Shard};
use corelith_wire::NamespaceId;
use glommio::Task;

use super::Core;
use crate::limits::{SCRUB_BURST_BYTES, SCRUB_LOOK_AGAIN_MS, SCRUB_REST_MS};

/// The tasks of the shards that a core owns of a namespace.
pub(super) fn of_namespace(core: &Rc<Core>, id: NamespaceId) -> Vec<Task<()>> {
    let Some(namespace) = core.namespaces.get(id) else {
        return Vec::new();
    };
    // Memory does not decay, or not in a way that a checksum on it would tell from the node's own.
    let lasts = |shard: &&Shard| {
        let mut devices = shard.devices();
        devices.any(|device| device.geometry().kind != DeviceKind::Memory)
    };
    let shards = namespace.shards.iter().filter(lasts);
    let tasks = shards.map(|shard| glommio::spawn_local(scrub(Rc::clone(core), id, shard.clone())));
    tasks.collect()
}

async fn scrub(core: Rc<Core>, id: NamespaceId, shard: Shard) {
    let mut scrub = Scrub::new(&shard);
    let look_again = Duration::from_millis(SCRUB_LOOK_AGAIN_MS);
    loop {
        let Some(rate_bytes) = rate_of_shard(&core, id) else {
            return;
        };
        let (mut read_bytes, mut is_pass_over) = (0, false);
        while rate_bytes > 0 && read_bytes < SCRUB_BURST_BYTES && !is_pass_over {
            match scrub.step().await {
                // It is closing, or an operator has to look first; a restart follows either.
                None => return,
                Some(step) => {
                    read_bytes += step.read_bytes;
                    is_pass_over = step.is_pass_over;
                }
            }
        }
        glommio::timer::sleep(match read_bytes {
            _ if is_pass_over => Duration::from_millis(SCRUB_REST_MS),
            0 => look_again,
            _ => pause(read_bytes, rate_bytes),
        })
        .await;
    }
}

/// What the scrub of one shard may read each second, in bytes. `None` if the namespace is gone.
fn rate_of_shard(core: &Core, id: NamespaceId) -> Option<u64> {
    let namespace = core.namespaces.get(id)?;
    let rate_bytes = namespace.policy.get().scrub_rate_bytes;
    Some(rate_bytes / u64::from(namespace.shards.count_of_all().max(1)))
}

/// How long a scrub of this rate has to wait after so many bytes.
fn pause(read_bytes: u64, rate_bytes: u64) -> Duration {
    let ms = read_bytes.saturating_mul(1_000) / rate_bytes.max(1);
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_keeps_to_the_rate() {
        assert_eq!(pause(64 << 10, 64 << 10), Duration::from_secs(1));
        assert_eq!(pause(64 << 10, 1 << 20), Duration::from_millis(62));
        assert_eq!(pause(1 << 20, 0), Duration::from_millis(1_000 << 20));
    }
}
