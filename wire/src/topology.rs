//! The map by which a client finds the owner of a record: which core owns which shard of each namespace,
//! and where each core listens.

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::CORES_MAX;
use crate::namespace::Namespace;
use crate::verify::verified;

/// A node's map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyAnswer {
    /// The node's identity, the same over restarts.
    pub node_id: u64,
    /// The number of this map; it rises with every change.
    pub map_generation: u64,
    /// The port on which any core may answer.
    pub shared_port: u16,
    /// The port of each core, by core number; zero for a core without one. At most 256.
    pub core_ports: Vec<u16>,
    /// The namespaces with the owner of each of their shards; at most 32. Owners are below the length of
    /// `core_ports`.
    pub namespaces: Vec<Namespace>,
}

impl TopologyAnswer {
    pub(crate) fn decode(body: &Body<'_>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::TopologyAnswer<'_>>(body.table()?)?;
        let ports = found.core_ports();
        check_length("TopologyAnswer.core_ports", ports.len(), CORES_MAX)?;
        let namespaces = Namespace::decode_list(found.namespaces())?;
        for namespace in &namespaces {
            check_owners(namespace, ports.len())?;
        }
        Ok(TopologyAnswer {
            node_id: found.node_id(),
            map_generation: found.map_generation(),
            shared_port: found.shared_port(),
            core_ports: ports.iter().collect(),
            namespaces,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "TopologyAnswer.core_ports",
            self.core_ports.len(),
            CORES_MAX,
        )?;
        let core_ports = scratch.builder.create_vector(&self.core_ports);
        let namespaces = Namespace::encode_list(&self.namespaces, scratch.builder)?;
        let root = table::TopologyAnswer::create(
            scratch.builder,
            &table::TopologyAnswerArgs {
                node_id: self.node_id,
                map_generation: self.map_generation,
                shared_port: self.shared_port,
                core_ports: Some(core_ports),
                namespaces: Some(namespaces),
            },
        );
        Ok(root.as_union_value())
    }
}

/// Every owner that a map names is a core of that map.
fn check_owners(namespace: &Namespace, core_count: usize) -> Result<(), DecodeError> {
    let field = "Namespace.shard_cores";
    for core in &namespace.shard_cores {
        if usize::from(*core) >= core_count {
            let max = u64::try_from(core_count)
                .unwrap_or(u64::MAX)
                .saturating_sub(1);
            return Err(DecodeError::FieldRange {
                field,
                found: u64::from(*core),
                max,
            });
        }
    }
    Ok(())
}
