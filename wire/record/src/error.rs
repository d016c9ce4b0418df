//! What can be wrong with bytes, names, keys and operations. One closed enum per question asked;
//! a variant carries the values that disagreed.
//!
//! Every one of them is the peer's or the device's doing and is answered, never a panic.

use crate::kind::Kind;
use crate::limits;

/// Why bytes are not a content, or cannot become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The bytes end inside the header, the key, a bin or the directory.
    #[error("content ends early: {part} needs {needed} bytes, {available} are left")]
    Truncated {
        /// Where it ended.
        part: Part,
        /// Bytes that this part needs.
        needed: usize,
        /// Bytes that were left for it.
        available: usize,
    },
    /// The first byte is no format that this release reads. A newer release may read it.
    #[error("content format {found} is unknown, this release reads 1")]
    UnknownFormat {
        /// The byte found.
        found: u8,
    },
    /// The content is, or would become, longer than a record may be. Store less in this record.
    #[error(
        "content of {length_bytes} bytes, at most {} are allowed",
        limits::CONTENT_LENGTH_BYTES_MAX
    )]
    TooLarge {
        /// Its length, or the length at which writing it was given up.
        length_bytes: usize,
    },
    /// More bins than a record may have.
    #[error("{found} bins, at most {} are allowed", limits::BIN_COUNT_MAX)]
    TooManyBins {
        /// The count found or asked for.
        found: usize,
    },
    /// Bytes follow the last bin, or stand between it and the directory.
    #[error("{length_bytes} bytes too many after the last bin")]
    TrailingBytes {
        /// How many.
        length_bytes: usize,
    },
    /// The user key is wrong.
    #[error("user key: {0}")]
    Key(#[from] KeyError),
    /// A bin is wrong.
    #[error("bin {ordinal}: {error}")]
    Bin {
        /// Which, counted from zero in the order of the bytes.
        ordinal: u16,
        /// What is wrong with it.
        error: BinError,
    },
    /// Two bins have one name.
    #[error("bin {ordinal} has the name of an earlier bin")]
    DuplicateName {
        /// One of them, counted from zero in the order of the bytes.
        ordinal: u16,
    },
    /// The directory gives another place for a bin than the one where it stands.
    #[error("directory places bin {ordinal} at {found}, it stands at {expected}")]
    DirectoryOffset {
        /// The bin.
        ordinal: u16,
        /// The offset that the directory gives, in bytes from the content's start.
        found: u32,
        /// Where the bin stands.
        expected: usize,
    },
    /// The directory's order by name names a bin that does not exist.
    #[error("directory names bin {found} at rank {rank}, there are {bin_count}")]
    DirectoryOrdinal {
        /// The place in the order by name.
        rank: u16,
        /// The bin that it names.
        found: u16,
        /// How many bins there are.
        bin_count: u16,
    },
    /// The directory's names do not rise at this rank.
    #[error("directory is out of order at rank {rank}")]
    DirectoryOrder {
        /// The place in the order by name whose name is below its predecessor's.
        rank: u16,
    },
}

/// The parts of a content in which bytes can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first four bytes.
    Header,
    /// The user key.
    Key,
    /// The trailing directory.
    Directory,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Header => "the header",
            Self::Key => "the user key",
            Self::Directory => "the directory",
        })
    }
}

/// Why one bin's bytes are not a bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BinError {
    /// The bytes end inside the bin.
    #[error("ends early: {needed} bytes are needed, {available} are left")]
    Truncated {
        /// Bytes that the next piece of the bin needs.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// A short length was written in the long form.
    #[error("length {found} is written in the long form")]
    LongLength {
        /// The length.
        found: u32,
    },
    /// The name breaks the rules of names.
    #[error("name: {0}")]
    Name(#[from] NameError),
    /// The value breaks the rules of its kind.
    #[error("value: {0}")]
    Value(#[from] ValueError),
    /// Nil where a value must stand: only an update may say "delete this bin".
    #[error("nil is not a value that can be stored")]
    Nil,
}

/// Why bytes are not a bin's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No byte at all.
    #[error("empty")]
    Empty,
    /// Longer than a name may be.
    #[error(
        "{length_bytes} bytes long, at most {} are allowed",
        limits::BIN_NAME_LENGTH_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        length_bytes: usize,
    },
    /// A zero byte inside.
    #[error("zero byte at {offset}")]
    Zero {
        /// Where.
        offset: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// How many leading bytes are.
        valid_up_to: usize,
    },
}

/// Why bytes are not a value of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// A kind that the protocol does not know.
    #[error("kind {found} is unknown")]
    UnknownKind {
        /// The byte found.
        found: u8,
    },
    /// A value of a fixed-size kind has another size.
    #[error("{kind} of {found} bytes, it has {expected}")]
    Length {
        /// The kind.
        kind: Kind,
        /// The length found.
        found: usize,
        /// The length of this kind.
        expected: usize,
    },
    /// A bool that is neither 0 nor 1.
    #[error("bool of {found}, neither 0 nor 1")]
    Bool {
        /// The byte found.
        found: u8,
    },
    /// Text that is not UTF-8.
    #[error("text is not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// How many leading bytes of the text are.
        valid_up_to: usize,
    },
    /// A GeoJSON value shorter than the cells that it announces.
    #[error("GeoJSON of {available} bytes announces {needed} before its text")]
    GeoJsonCells {
        /// Bytes that flags, cell count and cells need.
        needed: usize,
        /// Bytes of the value.
        available: usize,
    },
    /// A list or map whose msgpack is broken.
    #[error("msgpack at byte {offset}: {error}")]
    Msgpack {
        /// Where the broken element starts, in bytes from the value's start.
        offset: usize,
        /// What is wrong.
        error: MsgpackError,
    },
    /// The msgpack holds something else than the kind says.
    #[error("msgpack begins with {found:#04x}, not with a {kind}")]
    NotThatCollection {
        /// The kind of the bin: list or map.
        kind: Kind,
        /// The first byte.
        found: u8,
    },
    /// Bytes follow the collection.
    #[error("{length_bytes} bytes too many after the collection")]
    TrailingBytes {
        /// How many.
        length_bytes: usize,
    },
    /// This value exists only inside a list or map (a bare extension, an integer above 63 bits).
    #[error("this value can stand only inside a list or map")]
    OnlyNested,
}

/// Why bytes are not msgpack that can be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsgpackError {
    /// The bytes end inside an element.
    #[error("ends early: {needed} bytes are needed, {available} are left")]
    Truncated {
        /// Bytes that the element needs next.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// The byte that msgpack never uses.
    #[error("0xc1 starts no element")]
    NeverUsed,
    /// Lists or maps inside each other deeper than allowed.
    #[error("nested deeper than {}", limits::VALUE_DEPTH_MAX)]
    TooDeep,
    /// More elements announced than bytes are left.
    #[error("{count} elements announced, {available} bytes are left")]
    Count {
        /// Elements announced; a pair of a map counts two.
        count: u64,
        /// Bytes left.
        available: usize,
    },
    /// A wildcard or infinity, which may stand in arguments only.
    #[error("wildcard and infinity cannot be stored")]
    Special,
    /// Text that is not UTF-8.
    #[error("text is not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// How many leading bytes of the text are.
        valid_up_to: usize,
    },
}

/// Why something is not a user key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A kind that no key has.
    #[error("kind {found} cannot be a key")]
    Kind {
        /// The byte found.
        found: u8,
    },
    /// A number whose size is not 8 bytes.
    #[error("number of {found} bytes, it has 8")]
    NumberLength {
        /// The length found.
        found: usize,
    },
    /// Longer than a key may be.
    #[error(
        "{length_bytes} bytes long, at most {} are allowed",
        limits::KEY_LENGTH_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        length_bytes: usize,
    },
    /// A short length was written in the long form.
    #[error("length {found} is written in the long form")]
    LongLength {
        /// The length.
        found: u32,
    },
    /// A string key that is not UTF-8.
    #[error("not UTF-8 after byte {valid_up_to}")]
    NotUtf8 {
        /// How many leading bytes are.
        valid_up_to: usize,
    },
}

/// Why several columns are not a composite key, or a text is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompositeError {
    /// No column at all.
    #[error("a composite key has at least one column")]
    NoColumn,
    /// More columns than allowed.
    #[error(
        "{count} columns, at most {} are allowed",
        limits::COMPOSITE_COLUMN_COUNT_MAX
    )]
    TooManyColumns {
        /// The count.
        count: usize,
    },
    /// The joined text is longer than a key may be.
    #[error(
        "{length_bytes} bytes long, at most {} are allowed",
        limits::KEY_LENGTH_BYTES_MAX
    )]
    TooLong {
        /// The length of the joined text.
        length_bytes: usize,
    },
    /// A backslash that begins no escape known here.
    #[error("unknown escape at byte {offset}")]
    Escape {
        /// Where the backslash stands.
        offset: usize,
    },
}

/// Why an operation on a bin cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The operation does not exist between these two kinds. The record is unchanged.
    #[error("{operation} of kind {operand} to kind {bin} is not possible")]
    WrongKind {
        /// The operation.
        operation: Operation,
        /// The kind that the bin has; nil where the record has no such bin.
        bin: Kind,
        /// The kind of the operand.
        operand: Kind,
    },
    /// The result is not a content: too large, or too many bins.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Which step of an operate cannot be carried out, and why. The record is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step}: {error}")]
pub struct StepError {
    /// Which, counted from zero.
    pub step: u16,
    /// What is wrong with it.
    pub error: EditError,
}

/// Why codes and arguments are not the steps of an operate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepsError {
    /// No step at all.
    #[error("an operate has one step at least")]
    None,
    /// More steps than allowed.
    #[error("{found} steps, at most {} are allowed", limits::STEP_COUNT_MAX)]
    TooMany {
        /// The count.
        found: usize,
    },
    /// A code that this release does not know.
    #[error("step {step} has the unknown code {found}")]
    Unknown {
        /// Which step, counted from zero.
        step: u16,
        /// Its code.
        found: u8,
    },
    /// The arguments are no list of bins.
    #[error("arguments: {0}")]
    Arguments(#[from] ContentError),
    /// There is no bin left for this step.
    #[error("the arguments have no bin for step {step}")]
    BinMissing {
        /// Which step, counted from zero.
        step: u16,
    },
    /// A step that reads a bin comes with a value for it.
    #[error("step {step} reads a bin and brings a value for it")]
    ReadWithValue {
        /// Which step, counted from zero.
        step: u16,
    },
    /// No step takes the last bins.
    #[error("no step takes the last {left} bins of the arguments")]
    BinsLeft {
        /// How many.
        left: usize,
    },
}

/// The operations that look at a bin's old value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Addition.
    Add,
    /// Joining behind.
    Append,
    /// Joining before.
    Prepend,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Add => "add",
            Self::Append => "append",
            Self::Prepend => "prepend",
        })
    }
}
