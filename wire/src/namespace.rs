//! Namespaces as a connection speaks of them: a number in each request's header, given out with the name
//! in the hello. The numbers hold for the connection that they were given on and no longer.

use std::num::NonZeroU16;

use crate::encoder::Builder;
use crate::error::{DecodeError, EncodeError};
use crate::field::{check_length, encode_length};
use crate::generated::corelith::native as table;
use crate::limits::{NAMESPACE_NAME_BYTES_MAX, NAMESPACES_MAX, SHARDS_MAX};

/// The number of a namespace on one connection. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(NonZeroU16);

impl NamespaceId {
    /// The id of this number; `None` for zero.
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(NamespaceId(number)),
            None => None,
        }
    }

    /// The number as it travels.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

/// One namespace as a hello or a map describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its number on this connection.
    pub id: NamespaceId,
    /// Its name, 1 to 31 bytes.
    pub name: String,
    /// Shards of its volume on this node, 1 to 256: a partition belongs to shard `partition % shard_count`.
    pub shard_count: u16,
    /// The core that owns each shard, by shard number; empty in a hello.
    pub shard_cores: Vec<u16>,
}

impl Namespace {
    /// Reads the namespaces of a hello or a map. Allocates at most [`NAMESPACES_MAX`] of them.
    pub(crate) fn decode_list(
        list: Option<NamespaceVector<'_>>,
    ) -> Result<Vec<Namespace>, DecodeError> {
        let Some(list) = list else {
            return Ok(Vec::new());
        };
        check_length("namespaces", list.len(), NAMESPACES_MAX)?;
        list.iter().map(Namespace::decode).collect()
    }

    pub(crate) fn encode_list<'f>(
        list: &[Namespace],
        builder: &mut Builder<'f>,
    ) -> Result<NamespaceVectorOffset<'f>, EncodeError> {
        encode_length("namespaces", list.len(), NAMESPACES_MAX)?;
        let mut offsets = Vec::with_capacity(list.len());
        for namespace in list {
            offsets.push(namespace.encode(builder)?);
        }
        Ok(builder.create_vector(&offsets))
    }

    fn decode(found: table::Namespace<'_>) -> Result<Namespace, DecodeError> {
        let id = NamespaceId::new(found.id()).ok_or(DecodeError::FieldUnset {
            field: "Namespace.id",
        })?;
        let name = found.name();
        check_length("Namespace.name", name.len(), NAMESPACE_NAME_BYTES_MAX)?;
        let shard_count = found.shard_count();
        if shard_count == 0 {
            return Err(DecodeError::FieldUnset {
                field: "Namespace.shard_count",
            });
        }
        check_length(
            "Namespace.shard_count",
            usize::from(shard_count),
            SHARDS_MAX,
        )?;
        let shard_cores: Vec<u16> = match found.shard_cores() {
            Some(cores) => {
                check_length(
                    "Namespace.shard_cores",
                    cores.len(),
                    usize::from(shard_count),
                )?;
                cores.iter().collect()
            }
            None => Vec::new(),
        };
        Ok(Namespace {
            id,
            name: name.to_owned(),
            shard_count,
            shard_cores,
        })
    }

    fn encode<'f>(
        &self,
        builder: &mut Builder<'f>,
    ) -> Result<flatbuffers::WIPOffset<table::Namespace<'f>>, EncodeError> {
        encode_length("Namespace.name", self.name.len(), NAMESPACE_NAME_BYTES_MAX)?;
        encode_length(
            "Namespace.shard_count",
            usize::from(self.shard_count),
            SHARDS_MAX,
        )?;
        let shard_count = usize::from(self.shard_count);
        encode_length("Namespace.shard_cores", self.shard_cores.len(), shard_count)?;
        let name = builder.create_string(&self.name);
        let shard_cores =
            (!self.shard_cores.is_empty()).then(|| builder.create_vector(&self.shard_cores));
        Ok(table::Namespace::create(
            builder,
            &table::NamespaceArgs {
                id: self.id.get(),
                name: Some(name),
                shard_count: self.shard_count,
                shard_cores,
            },
        ))
    }
}

/// The namespaces of a verified table.
pub(crate) type NamespaceVector<'a> =
    flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<table::Namespace<'a>>>;

/// The namespaces of a table under construction.
pub(crate) type NamespaceVectorOffset<'f> = flatbuffers::WIPOffset<
    flatbuffers::Vector<'f, flatbuffers::ForwardsUOffset<table::Namespace<'f>>>,
>;
