//! The first exchange on every connection: who speaks, which version and features, and the limits that
//! hold from now on. Nothing else is answered before it.

use crate::body::Body;
use crate::encoder::{Root, Scratch};
use crate::error::{DecodeError, EncodeError};
use crate::feature::Features;
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::PEER_NAME_BYTES_MAX;
use crate::namespace::Namespace;
use crate::verify::verified;

/// What both hellos open with: the bytes "CORELITH".
pub const HELLO_MAGIC: u64 = u64::from_le_bytes(*b"CORELITH");

/// A client's hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloRequest<'a> {
    /// Oldest version that the client speaks.
    pub version_min: u16,
    /// Newest version that the client speaks.
    pub version_max: u16,
    /// What the client uses and offers.
    pub features: Features,
    /// What the client calls itself, for the node's logs; at most 255 bytes.
    pub client_name: &'a str,
}

impl<'a> HelloRequest<'a> {
    pub(crate) fn decode(body: &Body<'a>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::HelloRequest<'a>>(body.table()?)?;
        check_magic(found.magic())?;
        let client_name = found.client_name().unwrap_or_default();
        check_length(
            "HelloRequest.client_name",
            client_name.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        Ok(HelloRequest {
            version_min: found.version_min(),
            version_max: found.version_max(),
            features: Features::decode(found.features()),
            client_name,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "HelloRequest.client_name",
            self.client_name.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        let client_name = scratch.builder.create_string(self.client_name);
        let root = table::HelloRequest::create(
            scratch.builder,
            &table::HelloRequestArgs {
                magic: HELLO_MAGIC,
                version_min: self.version_min,
                version_max: self.version_max,
                features: Some(&self.features.encode()),
                client_name: Some(client_name),
            },
        );
        Ok(root.as_union_value())
    }
}

/// A node's answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloAnswer {
    /// The version that both sides speak from now on.
    pub version: u16,
    /// What the node uses and offers.
    pub features: Features,
    /// Longest payload section that the node takes on this connection, in bytes.
    pub payload_length_bytes_max: u32,
    /// Most requests that may be unanswered on this connection; more are answered with busy.
    pub in_flight_max: u32,
    /// Longest content of a record that the node stores, in bytes.
    pub record_length_bytes_max: u32,
    /// The node's identity, the same over restarts.
    pub node_id: u64,
    /// The number of the current topology map; it rises with every change.
    pub map_generation: u64,
    /// The core that serves this connection.
    pub core: u16,
    /// What the node calls itself, with its release; at most 255 bytes.
    pub server_name: String,
    /// The namespaces, with their numbers on this connection; at most 32.
    pub namespaces: Vec<Namespace>,
}

impl HelloAnswer {
    pub(crate) fn decode(body: &Body<'_>) -> Result<Self, DecodeError> {
        body.without_payload()?;
        let found = verified::<table::HelloAnswer<'_>>(body.table()?)?;
        check_magic(found.magic())?;
        let server_name = found.server_name().unwrap_or_default();
        check_length(
            "HelloAnswer.server_name",
            server_name.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        if found.in_flight_max() == 0 {
            return Err(DecodeError::FieldUnset {
                field: "HelloAnswer.in_flight_max",
            });
        }
        Ok(HelloAnswer {
            version: found.version(),
            features: Features::decode(found.features()),
            payload_length_bytes_max: found.payload_length_bytes_max(),
            in_flight_max: found.in_flight_max(),
            record_length_bytes_max: found.record_length_bytes_max(),
            node_id: found.node_id(),
            map_generation: found.map_generation(),
            core: found.core(),
            server_name: server_name.to_owned(),
            namespaces: Namespace::decode_list(found.namespaces())?,
        })
    }

    pub(crate) fn build(&self, scratch: &mut Scratch<'_>) -> Result<Root, EncodeError> {
        encode_length(
            "HelloAnswer.server_name",
            self.server_name.len(),
            PEER_NAME_BYTES_MAX,
        )?;
        let server_name = scratch.builder.create_string(&self.server_name);
        let namespaces = Namespace::encode_list(&self.namespaces, scratch.builder)?;
        let root = table::HelloAnswer::create(
            scratch.builder,
            &table::HelloAnswerArgs {
                magic: HELLO_MAGIC,
                version: self.version,
                features: Some(&self.features.encode()),
                payload_length_bytes_max: self.payload_length_bytes_max,
                in_flight_max: self.in_flight_max,
                record_length_bytes_max: self.record_length_bytes_max,
                node_id: self.node_id,
                map_generation: self.map_generation,
                core: self.core,
                server_name: Some(server_name),
                namespaces: Some(namespaces),
            },
        );
        Ok(root.as_union_value())
    }
}

const fn check_magic(found: u64) -> Result<(), DecodeError> {
    if found == HELLO_MAGIC {
        Ok(())
    } else {
        Err(DecodeError::Magic { found })
    }
}
