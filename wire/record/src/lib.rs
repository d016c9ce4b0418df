//! The one encoding of bins and values: what a frame carries is what the device holds.
//!
//! A [`Content`] is what a record holds (an optional user key, and bins), an [`Update`] what a
//! write says. Both are views over bytes that were checked once; merging, editing and projecting
//! copy bytes and decode nothing that they need not. `CONTENT.md` describes every byte.
//!
//! Invariants:
//! - No I/O, no time, no `unsafe`, no allocation in readers; writers append to a caller's buffer.
//! - Whatever a peer sends is an error value or a valid view. No byte sequence panics, recurses
//!   without bound, or costs more than the logarithm of bins times its length.
//! - What a long content may cost more than a piece of is offered in pieces, too, and stops after each.
//! - One content has one spelling, but for the msgpack of lists and maps, which is carried byte for
//!   byte as it came.
//!
//! Reading order: the limits, kinds and names; values; keys; bins; contents; operations.

#![forbid(unsafe_code)]

pub mod limits;

mod pace;

mod error;
mod kind;
mod length;
mod name;

mod bin_value;
mod collection;
mod display;
mod msgpack;
mod order;
mod value;
mod value_ref;

mod composite;
mod key;
mod key_ref;

mod bin;
mod bin_list;
mod bins;
mod directory;
mod name_index;
mod name_table;
mod ordinal_set;

mod content;
mod content_builder;
mod content_writer;

mod edit;
mod merge;
mod new_value;
mod operate;
mod project;
mod step;
mod steps_builder;

pub mod fuzzing;

pub use bin::Bin;
pub use bin_list::BinList;
pub use bin_value::BinValue;
pub use bins::{Bins, BinsIter};
pub use collection::{Items, ListRef, MapRef, Pairs};
pub use composite::{join_columns, split_columns};
pub use content::{Content, ContentFormat, Update};
pub use content_builder::ContentBuilder;
pub use content_writer::ContentWriter;
pub use edit::{Edit, Sum, add, edit};
pub use error::{
    BinError, CompositeError, ContentError, EditError, KeyError, MsgpackError, NameError,
    Operation, Part, StepError, StepsError, ValueError,
};
pub use key::Key;
pub use key_ref::{DigestInput, KeyKind, KeyRef, KeyValue};
pub use kind::Kind;
pub use merge::{merge, merge_in_pieces, merged_length_bytes_max, replace, replace_in_pieces};
pub use name::BinName;
pub use operate::{Effect, Reads, operate, operate_in_pieces};
pub use order::OrderFlags;
pub use pace::{Pace, is_long};
pub use project::{project, project_in_pieces};
pub use step::{Step, StepKind, Steps, StepsIter};
pub use steps_builder::{EncodedSteps, StepsBuilder};
pub use value::{List, Map, Value};
pub use value_ref::{Opaque, ValueRef};
