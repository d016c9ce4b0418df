//! Gets that wait in a receive buffer, or were handed over together: what they are about to read is fetched for all of them
//! at once, before the first of them is answered.

use corelith_index::Digest;
use corelith_store::{Shard, fetch_ahead};
use corelith_wire::{FrameHeader, MessageKind, Request};

use crate::core::Core;
use crate::frames::{body_of, frame_length};
use crate::hop::ToCore;
use crate::limits::FRAMES_AHEAD;

/// Fetches for the gets among the next frames of `input`. Returns for how many frames it looked: after so many it
/// is worth its while again.
pub(super) fn fetch(core: &Core, input: &[u8]) -> usize {
    let mut keys: [Option<(&Shard, Digest)>; FRAMES_AHEAD] = [const { None }; FRAMES_AHEAD];
    let (mut rest, mut count) = (input, 0);
    for key in &mut keys {
        let Ok(Some(header)) = FrameHeader::parse(rest) else {
            break;
        };
        let Some((frame, behind)) = rest.split_at_checked(frame_length(&header)) else {
            break;
        };
        (rest, count) = (behind, count + 1);
        // One that is alone would only be decoded twice.
        if count > 1 || !behind.is_empty() {
            *key = key_of(core, &header, frame);
        }
    }
    let keys = keys.iter().flatten();
    fetch_ahead(keys.map(|(shard, digest)| (*shard, digest)));
    count
}

/// The same for gets that another core hands over.
pub(crate) fn fetch_for(core: &Core, messages: &[ToCore]) {
    if messages.len() < 2 {
        return;
    }
    let mut keys: [Option<(&Shard, Digest)>; FRAMES_AHEAD] = [const { None }; FRAMES_AHEAD];
    for (key, message) in keys.iter_mut().zip(messages) {
        if let ToCore::Request(hop) = message
            && let Ok(Some(header)) = FrameHeader::parse(&hop.frame)
        {
            *key = key_of(core, &header, &hop.frame);
        }
    }
    let keys = keys.iter().flatten();
    fetch_ahead(keys.map(|(shard, digest)| (*shard, digest)));
}

/// The key of a get that this core answers, with its shard.
fn key_of<'core>(
    core: &'core Core,
    header: &FrameHeader,
    frame: &[u8],
) -> Option<(&'core Shard, Digest)> {
    if header.kind() != Some(MessageKind::Get) || header.is_answer() {
        return None;
    }
    let shards = &core.namespaces.get(header.namespace()?)?.shards;
    let shard = shards.owner(header.partition()?)?;
    if !shards.may_answer_at_once {
        return None;
    }
    let request = Request::decode(header, body_of(frame)).ok()?;
    Some((shard, *request.digest()?))
}
