//! What the rules allow: all of it data, each exception with its reason.
//!
//! A change here is a decision about the house: it goes in a commit of its own that says why.
//! Words that the rules refuse are joined from pieces, so that this file passes them itself.

/// One room of the house.
pub struct Room {
    /// Folder from the root.
    pub folder: &'static str,
    /// Name of its package.
    pub package: &'static str,
    /// Our packages that it may depend on, in any section of its manifest, tests included.
    pub may_depend_on: &'static [&'static str],
    /// True if every clone must have it.
    pub required: bool,
}

const CLIENT: &str = "corelith-client";
const INDEX: &str = "corelith-index";
const IO: &str = "corelith-io";
const RECORD: &str = "corelith-record";
const STORE: &str = "corelith-store";
const WIRE: &str = "corelith-wire";

const fn room(
    folder: &'static str,
    package: &'static str,
    may_depend_on: &'static [&'static str],
) -> Room {
    Room {
        folder,
        package,
        may_depend_on,
        required: true,
    }
}

/// Every package of the repository and what it may depend on. `tools` and `bench` never link the
/// node; the store never sees the wire; `io`, `index` and `record` stand on nothing of ours.
pub const ROOMS: &[Room] = &[
    room("io", IO, &[]),
    room("index", INDEX, &[]),
    room("wire/record", RECORD, &[]),
    room("wire", WIRE, &[INDEX, RECORD]),
    room("wire/client", CLIENT, &[WIRE, RECORD, INDEX]),
    room("node/store", STORE, &[IO, INDEX]),
    room("node", "corelith-node", &[WIRE, RECORD, STORE, INDEX, IO]),
    room(
        "node/simulation",
        "corelith-simulation",
        &[STORE, IO, INDEX, RECORD],
    ),
    room("ci/tidy", "corelith-tidy", &[]),
    room(
        "tools",
        "corelith-tools",
        &[CLIENT, WIRE, RECORD, STORE, IO, INDEX],
    ),
    room(
        "bench",
        "corelith-bench",
        &[CLIENT, WIRE, RECORD, STORE, INDEX, IO],
    ),
    // Outside the workspace, because its build needs a compiler flag of its own.
    Room {
        folder: "wire/fuzz",
        package: "corelith-fuzz",
        may_depend_on: &[WIRE, RECORD, INDEX],
        required: false,
    },
];

/// Everything at the top level that is not hidden and not ignored.
pub const TOP_LEVEL: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "ci",
    "clippy.toml",
    "deny.toml",
    "docs",
    "index",
    "io",
    "node",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tools",
    "wire",
];

/// Code that a program wrote: exempt from the rules about what people write.
pub const GENERATED_FOLDER: &str = "wire/src/generated/";

/// Folders whose Rust never runs in production.
pub const TEST_FOLDERS: &[&str] = &["tests", "benches", "examples", "fuzz", "tidy"];

/// Where `unsafe` may stand: files of these folders, and files of these paths.
pub const UNSAFE_ALLOWED: &[&str] = &["io/src/sys.rs", "io/src/sys/", GENERATED_FOLDER];

/// No file has more production lines than this (comments and blank lines count, tests do not).
pub const PRODUCTION_LINES_MAX: usize = 600;

/// At most one file in ten has more production lines than this.
pub const PRODUCTION_LINES_NINTH_DECILE: usize = 400;

/// Modules and files that say nothing about what they hold.
pub const BANNED_MODULES: &[&str] = &["common", "helpers", "misc", "types", "util", "utils"];

/// Ends of the names of files that hold ASCII only, beside every file without an extension.
pub const ASCII_ONLY: &[&str] = &[".rs", ".toml", ".py", ".sh", ".fbs"];

/// A word that the tree does not hold, and why.
pub struct BannedWord {
    /// In lower case; its plural is meant too.
    pub word: &'static str,
    /// Shown with the finding.
    pub reason: &'static str,
}

/// Whole words, in any case; `_`, `-` and a change of case end a word.
pub const BANNED_WORDS: &[BannedWord] = &[
    BannedWord {
        word: concat!("sess", "ion"),
        reason: "say connection, run or volume, whichever is meant",
    },
    BannedWord {
        word: concat!("ag", "ent"),
        reason: "say who or what acts: the node, the client, the operator",
    },
    BannedWord {
        word: concat!("pro", "mpt"),
        reason: "say question, message or 'at once', whichever is meant",
    },
    BannedWord {
        word: concat!("l", "lm"),
        reason: "the repository speaks of the product only",
    },
];

/// A banned word that is right in one place.
pub struct WordException {
    /// File from the root.
    pub path: &'static str,
    /// The word, in lower case.
    pub word: &'static str,
    /// Why it is right there.
    pub reason: &'static str,
}

/// Banned words that are right where they stand: mostly words of other people's protocols.
pub const WORD_EXCEPTIONS: &[WordException] = &[];

/// Markers of unfinished work, as whole words in upper case.
pub const TO_DO_MARKERS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Absolute paths of one person's machine.
pub const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "target"),
];

/// Host names of package registries: a tool's configuration knows them, the tree does not.
pub const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("deb.", "debian.org"),
    concat!("docs", ".rs"),
];

/// Files whose words are not ours.
pub const FOREIGN_TEXT: &[&str] = &[
    "Cargo.lock",
    "LICENSE",
    GENERATED_FOLDER,
    "wire/fuzz/Cargo.lock",
    "wire/fuzz/corpus/",
];

/// Words of a field's name that say it is a bare number of something.
pub const QUANTITIES: &[&str] = &[
    "delay", "duration", "interval", "latency", "length", "size", "timeout",
];

/// Words of a field's name that say of what.
pub const UNITS: &[&str] = &[
    "bits",
    "blocks",
    "buckets",
    "bytes",
    "characters",
    "days",
    "elements",
    "entries",
    "extents",
    "gib",
    "hours",
    "kib",
    "mib",
    "million",
    "minutes",
    "ms",
    "ns",
    "pages",
    "percent",
    "records",
    "s",
    "seconds",
    "sectors",
    "segments",
    "us",
];

/// The longest subject of a commit, in characters.
pub const SUBJECT_CHARACTERS_MAX: usize = 72;
