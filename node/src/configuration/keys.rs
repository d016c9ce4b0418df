//! Every key of the file: its name, whether it can change while the node runs, how it is set and how shown. A key
//! is here and in the commented sample `node/corelithd.toml`, and a test holds the two to each other.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use corelith_io::DurabilityChoice;
use corelith_store::limits::CLOCK_BELIEVED_MS;
use corelith_wire::limits::{PAYLOAD_LENGTH_BYTES_MAX, SHARDS_MAX, TTL_S_MAX};

use super::document::{Entry, Problem, Value};
use super::units::{
    parse_flush_interval, parse_ms, parse_size, parse_slow_log, parse_stop_timeout, show_ms,
    show_size,
};
use super::{Configuration, CoreChoice, NamespaceConfiguration};
use crate::commit::CommitChoice;
use crate::limits::{
    BUFFERS_PER_CORE_BYTES, CONNECTIONS_PER_CORE_MAX, HELLO_TIMEOUT, SCRUB_RATE_MIN_BYTES,
};
use crate::logging::{LogFormat, LogLevel};

/// Tables whose keys are about the node.
pub(super) const TABLES: [&str; 2] = ["node", "log"];

/// What a key does to what it is about, or what it takes instead.
type Set<T> = fn(&mut T, &Value) -> Result<(), &'static str>;

/// A key of one kind of table.
struct KeyOf<T> {
    name: &'static str,
    /// Whether a running node takes another value.
    is_live: bool,
    set: Set<T>,
    /// As the file would have it; `None` where the file would leave it out.
    show: fn(&T) -> Option<String>,
}

const fn fixed<T>(name: &'static str, set: Set<T>, show: fn(&T) -> Option<String>) -> KeyOf<T> {
    KeyOf {
        name,
        is_live: false,
        set,
        show,
    }
}

const fn live<T>(name: &'static str, set: Set<T>, show: fn(&T) -> Option<String>) -> KeyOf<T> {
    KeyOf {
        name,
        is_live: true,
        set,
        show,
    }
}

const NODE_KEYS: [KeyOf<Configuration>; 13] = [
    fixed(
        "node.listen",
        |node, value| put(&mut node.listen, address(value)),
        |node| Some(quoted(&node.listen.to_string())),
    ),
    fixed(
        "node.control",
        |node, value| put(&mut node.control, address(value)),
        |node| Some(quoted(&node.control.to_string())),
    ),
    fixed(
        "node.allow_unauthenticated",
        |node, value| {
            let switch = value.switch().ok_or("true or false");
            put(&mut node.allow_unauthenticated, switch)
        },
        |node| Some(node.allow_unauthenticated.to_string()),
    ),
    fixed(
        "node.cores",
        |node, value| put(&mut node.cores, cores(value)),
        |node| Some(show_cores(&node.cores)),
    ),
    fixed(
        "node.memory_limit",
        |node, value| {
            let size = size_or(value, "auto").ok_or("a size such as \"16 GiB\", or \"auto\"");
            put(&mut node.memory_limit_bytes, size)
        },
        |node| Some(shown_or(node.memory_limit_bytes.map(show_size), "auto")),
    ),
    fixed(
        "node.buffers_per_core",
        |node, value| {
            let size = value.text().and_then(parse_size);
            let size = size.filter(|size| BUFFERS_PER_CORE_BYTES.contains(size));
            let wanted = "a size from \"64 MiB\" to \"64 GiB\"";
            put(&mut node.buffers_per_core_bytes, size.ok_or(wanted))
        },
        |node| Some(quoted(&show_size(node.buffers_per_core_bytes))),
    ),
    live(
        "node.connections_per_core_max",
        |node, value| {
            let count = value
                .number()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|count| (1..=CONNECTIONS_PER_CORE_MAX).contains(count));
            let count = count.ok_or("a number from 1 to 500000");
            put(&mut node.connections_per_core_max, count)
        },
        |node| Some(node.connections_per_core_max.to_string()),
    ),
    live(
        "node.hello_timeout",
        |node, value| {
            let timeout = value.text().and_then(parse_ms).map(Duration::from_millis);
            let timeout = timeout.filter(|timeout| HELLO_TIMEOUT.contains(timeout));
            let timeout = timeout.ok_or("a time from \"100 ms\" to \"1 h\"");
            put(&mut node.hello_timeout, timeout)
        },
        |node| show_time(node.hello_timeout),
    ),
    live(
        "node.clock_jump_max",
        |node, value| {
            let bound_ms = match value.text() {
                Some("none") => Some(u64::MAX),
                text => text
                    .and_then(parse_ms)
                    .filter(|ms| *ms >= CLOCK_BELIEVED_MS),
            };
            let wanted = "a time from \"1 min\" on, such as \"1 d\", or \"none\"";
            put(&mut node.clock_jump_max_ms, bound_ms.ok_or(wanted))
        },
        |node| {
            let bound_ms = Some(node.clock_jump_max_ms).filter(|bound_ms| *bound_ms < u64::MAX);
            Some(shown_or(bound_ms.map(show_ms), "none"))
        },
    ),
    fixed(
        "node.stop_timeout",
        |node, value| {
            let timeout = value.text().and_then(|text| parse_stop_timeout(text).ok());
            let timeout = timeout.ok_or("a time from \"100 ms\" to \"1 h\"");
            put(&mut node.stop_timeout, timeout)
        },
        |node| show_time(node.stop_timeout),
    ),
    live(
        "node.slow_log",
        |node, value| {
            let threshold = value.text().and_then(|text| parse_slow_log(text).ok());
            let threshold = threshold.ok_or("a time such as \"10 ms\" or \"500 us\", or \"off\"");
            put(&mut node.slow_log, threshold)
        },
        |node| Some(quoted(&node.slow_log.to_string())),
    ),
    live(
        "log.level",
        |node, value| {
            let level = value.text().and_then(LogLevel::named);
            put(&mut node.log_level, level.ok_or(LogLevel::WANTED))
        },
        |node| Some(quoted(node.log_level.name())),
    ),
    fixed(
        "log.format",
        |node, value| {
            let format = value.text().and_then(LogFormat::named);
            put(&mut node.log_format, format.ok_or(LogFormat::WANTED))
        },
        |node| Some(quoted(node.log_format.name())),
    ),
];

const NAMESPACE_KEYS: [KeyOf<NamespaceConfiguration>; 15] = [
    fixed(
        "storage",
        |namespace, value| {
            let is_in_memory = named(&STORAGES, value).ok_or("\"device\" or \"memory\"");
            put(&mut namespace.is_in_memory, is_in_memory)
        },
        |namespace| name_of(&STORAGES, namespace.is_in_memory),
    ),
    fixed(
        "devices",
        |namespace, value| {
            let paths = value.texts().filter(|paths| !paths.is_empty());
            let paths = paths.map(|paths| paths.iter().map(PathBuf::from).collect());
            let wanted = "a list of paths, such as [\"/dev/nvme0n1\", \"/dev/nvme1n1\"]";
            put(&mut namespace.devices, paths.ok_or(wanted))
        },
        |namespace| {
            let paths = namespace.devices.iter();
            let paths: Vec<String> = paths.map(|path| quoted(&path.to_string_lossy())).collect();
            (!paths.is_empty()).then(|| format!("[{}]", paths.join(", ")))
        },
    ),
    fixed(
        "file",
        |namespace, value| {
            let path = value.text().filter(|path| !path.is_empty());
            let path = path.map(|path| Some(PathBuf::from(path)));
            put(&mut namespace.file, path.ok_or("a path in quotes"))
        },
        |namespace| {
            let path = namespace.file.as_ref()?;
            Some(quoted(&path.to_string_lossy()))
        },
    ),
    fixed(
        "size",
        |namespace, value| {
            let size = value.text().and_then(parse_size);
            put(
                &mut namespace.size_bytes,
                size.ok_or("a size such as \"4 GiB\""),
            )
        },
        |namespace| Some(quoted(&show_size(namespace.size_bytes))),
    ),
    fixed(
        "shards",
        |namespace, value| {
            let count = value
                .number()
                .and_then(|number| u16::try_from(number).ok())
                .filter(|count| (1..=SHARDS_MAX).contains(&usize::from(*count)));
            let count = match value.text() {
                Some("auto") => Ok(None),
                _ => count.map(Some).ok_or("a number from 1 to 256, or \"auto\""),
            };
            put(&mut namespace.shard_count, count)
        },
        |namespace| {
            let count = namespace.shard_count.map(|count| count.to_string());
            Some(count.unwrap_or_else(|| quoted("auto")))
        },
    ),
    fixed(
        "record_cache",
        |namespace, value| {
            let size = size_or(value, "none").map(Option::unwrap_or_default);
            put(
                &mut namespace.record_cache_bytes,
                size.ok_or("a size such as \"1 GiB\", or \"none\""),
            )
        },
        |namespace| {
            let size = Some(namespace.record_cache_bytes).filter(|bytes| *bytes > 0);
            Some(shown_or(size.map(show_size), "none"))
        },
    ),
    fixed(
        "index_memory",
        |namespace, value| {
            let size = size_or(value, "auto").ok_or("a size such as \"2 GiB\", or \"auto\"");
            put(&mut namespace.index_memory_bytes, size)
        },
        |namespace| {
            Some(shown_or(
                namespace.index_memory_bytes.map(show_size),
                "auto",
            ))
        },
    ),
    fixed(
        "checkpoint_interval",
        |namespace, value| {
            let size = size_or(value, "none").map(Option::unwrap_or_default);
            put(
                &mut namespace.checkpoint_interval_bytes,
                size.ok_or("a size such as \"64 MiB\", or \"none\""),
            )
        },
        |namespace| {
            let size = Some(namespace.checkpoint_interval_bytes).filter(|bytes| *bytes > 0);
            Some(shown_or(size.map(show_size), "none"))
        },
    ),
    fixed(
        "durability",
        |namespace, value| {
            let choice = named(&DURABILITIES, value).ok_or("\"auto\", \"flush\" or \"fua\"");
            put(&mut namespace.durability, choice)
        },
        |namespace| name_of(&DURABILITIES, namespace.durability),
    ),
    fixed(
        "commit",
        |namespace, value| {
            let wanted = "\"durable\", \"optional\" or \"buffered\"";
            let choice = named(&COMMITS, value).ok_or(wanted);
            put(&mut namespace.commit.choice, choice)
        },
        |namespace| name_of(&COMMITS, namespace.commit.choice),
    ),
    fixed(
        "flush_interval",
        |namespace, value| {
            let interval = value
                .text()
                .and_then(|text| parse_flush_interval(text).ok());
            let interval = interval.ok_or("a time from \"1 ms\" to \"1 s\"");
            put(&mut namespace.commit.flush_interval, interval)
        },
        |namespace| show_time(namespace.commit.flush_interval),
    ),
    live(
        "scrub_rate",
        |namespace, value| {
            let fits = |bytes: &u64| *bytes >= SCRUB_RATE_MIN_BYTES;
            let size = size_or(value, "none").filter(|size| size.as_ref().is_none_or(fits));
            put(
                &mut namespace.scrub_rate_bytes,
                size.map(Option::unwrap_or_default)
                    .ok_or("a size from \"64 KiB\" on, for each second, or \"none\""),
            )
        },
        |namespace| {
            let rate = Some(namespace.scrub_rate_bytes).filter(|bytes| *bytes > 0);
            Some(shown_or(rate.map(show_size), "none"))
        },
    ),
    live(
        "default_ttl",
        |namespace, value| {
            let wanted = "a time such as \"12 h\" or \"30 d\", up to \"3650 d\", or \"never\"";
            let seconds = seconds_or(value, "never").ok_or(wanted);
            put(&mut namespace.lifetimes.default_s, seconds)
        },
        |namespace| Some(show_seconds(namespace.lifetimes.default_s, "never")),
    ),
    live(
        "ttl_max",
        |namespace, value| {
            let wanted = "a time such as \"90 d\", up to \"3650 d\", or \"none\"";
            let seconds = seconds_or(value, "none").ok_or(wanted);
            put(&mut namespace.lifetimes.max_s, seconds)
        },
        |namespace| Some(show_seconds(namespace.lifetimes.max_s, "none")),
    ),
    live(
        "record_size_max",
        |namespace, value| {
            let fits = |bytes: u64| bytes <= PAYLOAD_LENGTH_BYTES_MAX.into();
            let size = size_or(value, "none").filter(|size| size.is_none_or(fits));
            let size = size.ok_or("a size up to \"8 MiB\", or \"none\"");
            put(&mut namespace.record_bytes_max, size)
        },
        |namespace| Some(shown_or(namespace.record_bytes_max.map(show_size), "none")),
    ),
];

/// Puts a value into its place, or says what the key takes.
fn put<T>(place: &mut T, value: Result<T, &'static str>) -> Result<(), &'static str> {
    *place = value?;
    Ok(())
}

fn named<T: Copy>(names: &[(&str, T)], value: &Value) -> Option<T> {
    let text = value.text()?;
    let mut names = names.iter();
    names
        .find(|(name, _)| *name == text)
        .map(|(_, choice)| *choice)
}

fn name_of<T: Copy + PartialEq>(names: &[(&str, T)], choice: T) -> Option<String> {
    let mut names = names.iter();
    let (name, _) = names.find(|(_, known)| *known == choice)?;
    Some(quoted(name))
}

const STORAGES: [(&str, bool); 2] = [("device", false), ("memory", true)];

const DURABILITIES: [(&str, DurabilityChoice); 3] = [
    ("auto", DurabilityChoice::Kernel),
    ("flush", DurabilityChoice::Flush),
    ("fua", DurabilityChoice::Fua),
];

const COMMITS: [(&str, CommitChoice); 3] = [
    ("durable", CommitChoice::Durable),
    ("optional", CommitChoice::Optional),
    ("buffered", CommitChoice::Buffered),
];

/// Whether there is such a key, with the name of its table.
pub(super) fn is_of_node(path: &str) -> bool {
    NODE_KEYS.iter().any(|key| key.name == path)
}

/// Whether a namespace has such a key.
pub(super) fn is_of_namespace(name: &str) -> bool {
    NAMESPACE_KEYS.iter().any(|key| key.name == name)
}

/// The keys of a table, without its name.
pub(super) fn names_of_table(table: &str) -> Vec<&'static str> {
    let keys = NODE_KEYS.iter().filter_map(|key| key.name.split_once('.'));
    keys.filter(|(of, _)| *of == table)
        .map(|(_, name)| name)
        .collect()
}

/// The keys of a namespace.
pub(super) fn names_of_namespace() -> Vec<&'static str> {
    NAMESPACE_KEYS.iter().map(|key| key.name).collect()
}

/// A key as it stands: its whole name, its value as the file would have it, and whether it is live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Setting {
    /// "node.listen", "namespace.test.size".
    pub(crate) path: String,
    pub(crate) value: String,
    pub(crate) is_live: bool,
}

impl Configuration {
    /// Does what an entry of the file says.
    pub(super) fn set(&mut self, entry: &Entry) -> Result<(), Problem> {
        let problem = |wanted| Problem::value(entry, wanted);
        let Some(name) = &entry.namespace else {
            let key = NODE_KEYS.iter().find(|key| key.name == entry.key);
            return key.map_or(Ok(()), |key| (key.set)(self, &entry.value).map_err(problem));
        };
        let named = |namespace: &NamespaceConfiguration| namespace.name.as_ref() == Some(name);
        if !self.namespaces.iter().any(named) {
            let namespace = NamespaceConfiguration::new(Some(name.clone()));
            self.namespaces.push(namespace);
        }
        let key = NAMESPACE_KEYS.iter().find(|key| key.name == entry.key);
        match (key, self.namespaces.iter_mut().find(|found| named(found))) {
            (Some(key), Some(namespace)) => (key.set)(namespace, &entry.value).map_err(problem),
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// Sets a key by its whole name: what it takes instead, if not this. `None` if there is no such key.
    pub(super) fn set_by_path(
        &mut self,
        path: &str,
        value: &Value,
    ) -> Option<Result<(), &'static str>> {
        if let Some(key) = NODE_KEYS.iter().find(|key| key.name == path) {
            return Some((key.set)(self, value));
        }
        self.namespaces.iter_mut().find_map(|namespace| {
            let name = path.strip_prefix(&format!("namespace.{}.", namespace.name()))?;
            let key = NAMESPACE_KEYS.iter().find(|key| key.name == name)?;
            Some((key.set)(namespace, value))
        })
    }

    /// Every key as it stands.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let of_node = NODE_KEYS.iter().filter_map(|key| {
            Some(Setting {
                path: key.name.to_owned(),
                value: (key.show)(self)?,
                is_live: key.is_live,
            })
        });
        let of_namespaces = self.namespaces.iter().flat_map(|namespace| {
            let keys = NAMESPACE_KEYS.iter();
            keys.filter_map(|key| {
                Some(Setting {
                    path: format!("namespace.{}.{}", namespace.name(), key.name),
                    value: (key.show)(namespace)?,
                    is_live: key.is_live,
                })
            })
        });
        of_node.chain(of_namespaces).collect()
    }
}

fn address(value: &Value) -> Result<SocketAddr, &'static str> {
    let address = value.text().and_then(|text| text.parse().ok());
    address.ok_or("an address with its port, such as \"127.0.0.1:4100\"")
}

fn cores(value: &Value) -> Result<CoreChoice, &'static str> {
    let choice = match (value.text(), value.number()) {
        (Some("all"), _) => Some(CoreChoice::All),
        (Some(text), _) => cpu_list(text).map(CoreChoice::Cpus),
        (None, Some(number)) => u16::try_from(number)
            .ok()
            .filter(|count| *count > 0)
            .map(CoreChoice::Count),
        (None, None) => None,
    };
    choice.ok_or("a number of cores, a list of CPUs such as \"0-3,8\", or \"all\"")
}

/// CPUs of a list as the kernel writes them, lowest first; `None` if it is none.
pub(crate) fn cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last {
            return None;
        }
        cpus.extend((first..=last).map(usize::from));
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

fn show_cores(cores: &CoreChoice) -> String {
    match cores {
        CoreChoice::All => quoted("all"),
        CoreChoice::Count(count) => count.to_string(),
        CoreChoice::Cpus(cpus) => {
            let cpus: Vec<String> = cpus.iter().map(usize::to_string).collect();
            quoted(&cpus.join(","))
        }
    }
}

/// The outer `None` is for what is neither a size nor the word.
fn size_or(value: &Value, none: &str) -> Option<Option<u64>> {
    match value.text()? {
        text if text == none => Some(None),
        text => parse_size(text).map(Some),
    }
}

/// The outer `None` is for what is neither a time nor the word.
fn seconds_or(value: &Value, none: &str) -> Option<Option<NonZeroU32>> {
    let text = value.text()?;
    if text == none {
        return Some(None);
    }
    let time_ms = parse_ms(text).filter(|time_ms| time_ms.is_multiple_of(1000))?;
    let seconds = u32::try_from(time_ms / 1000).ok()?;
    NonZeroU32::new(seconds)
        .filter(|_| seconds <= TTL_S_MAX)
        .map(Some)
}

fn show_time(time: Duration) -> Option<String> {
    let time_ms = u64::try_from(time.as_millis()).ok()?;
    Some(quoted(&show_ms(time_ms)))
}

fn show_seconds(seconds: Option<NonZeroU32>, none: &str) -> String {
    shown_or(
        seconds.map(|seconds| show_ms(u64::from(seconds.get()) * 1000)),
        none,
    )
}

fn shown_or(shown: Option<String>, none: &str) -> String {
    quoted(shown.as_deref().unwrap_or(none))
}

/// As a string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // A path may hold anything but zero.
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
