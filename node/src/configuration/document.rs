//! The file as a list of entries, each with its line. Knows tables and values, and of keys only which tables they
//! may stand in: what a key means is for `keys`.

use std::fmt;

use toml_edit::{Document, Item, Key, TableLike};

use super::keys;

/// One key and its value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    /// Line in the file, from 1.
    pub(super) line: usize,
    /// The namespace that it is about.
    pub(super) namespace: Option<String>,
    /// With the name of its table, but for keys of a namespace: "node.listen", "size".
    pub(super) key: String,
    pub(super) value: Value,
}

/// What a key may be given.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Switch(bool),
    Texts(Vec<String>),
    /// A namespace's table begins; it may have no key.
    Table,
    /// Nothing that any key takes.
    Other,
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        if let Self::Switch(switch) = self {
            Some(*switch)
        } else {
            None
        }
    }

    pub(super) fn texts(&self) -> Option<&[String]> {
        if let Self::Texts(texts) = self {
            Some(texts)
        } else {
            None
        }
    }
}

/// What is wrong with one line.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Problem {
    line: usize,
    kind: ProblemKind,
}

#[derive(Clone, PartialEq, Debug)]
enum ProblemKind {
    /// No TOML.
    Syntax { message: String },
    /// No such key.
    Unknown {
        key: String,
        nearest: Option<&'static str>,
        known: Vec<&'static str>,
    },
    /// A key with another value than it takes.
    Value { key: String, wanted: &'static str },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: ", self.line)?;
        match &self.kind {
            ProblemKind::Syntax { message } => {
                write!(
                    formatter,
                    "this is not TOML: {}",
                    message.replace('\n', ", ")
                )
            }
            ProblemKind::Unknown {
                key,
                nearest: Some(nearest),
                ..
            } => write!(
                formatter,
                "there is no key {key:?}: did you mean {nearest:?}?"
            ),
            ProblemKind::Unknown {
                key,
                nearest: None,
                known,
            } => {
                let known = known.join(", ");
                write!(formatter, "there is no key {key:?} here; there are {known}")
            }
            ProblemKind::Value { key, wanted } => write!(formatter, "{key} takes {wanted}"),
        }
    }
}

impl Problem {
    /// A value that its key does not take.
    pub(super) fn value(entry: &Entry, wanted: &'static str) -> Self {
        Self {
            line: entry.line,
            kind: ProblemKind::Value {
                key: entry.key.clone(),
                wanted,
            },
        }
    }

    fn unknown(line: usize, key: &str, known: Vec<&'static str>) -> Self {
        // As alike as a slip of the hand leaves two words.
        let alike = known
            .iter()
            .map(|name| (strsim::jaro_winkler(key, name), *name))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(first, _), (second, _)| first.total_cmp(second));
        Self {
            line,
            kind: ProblemKind::Unknown {
                key: key.to_owned(),
                nearest: alike.map(|(_, name)| name),
                known,
            },
        }
    }
}

/// Entries in the order of the file, and what is wrong with its keys.
type Parsed = (Vec<Entry>, Vec<Problem>);

/// Reads a file.
///
/// # Errors
/// It is not TOML.
pub(super) fn parse(text: &str) -> Result<Parsed, Vec<Problem>> {
    let document = Document::parse(text).map_err(|error| {
        vec![Problem {
            line: line_of(text, error.span()),
            kind: ProblemKind::Syntax {
                message: error.message().to_owned(),
            },
        }]
    })?;
    let mut reader = Reader {
        text,
        entries: Vec::new(),
        problems: Vec::new(),
    };
    for (name, key, item) in members(document.as_table()) {
        match (name, item.as_table_like()) {
            ("namespace", Some(namespaces)) => reader.namespaces(namespaces),
            (_, Some(table)) if keys::TABLES.contains(&name) => reader.table(name, table),
            _ => {
                let mut known = keys::TABLES.to_vec();
                known.push("namespace");
                reader.unknown(name, key, known);
            }
        }
    }
    Ok((reader.entries, reader.problems))
}

struct Reader<'a> {
    text: &'a str,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, table: &str, members_of: &dyn TableLike) {
        for (name, key, item) in members(members_of) {
            let path = format!("{table}.{name}");
            if keys::is_of_node(&path) {
                self.take(None, path, (key, item));
            } else {
                self.unknown(name, key, keys::names_of_table(table));
            }
        }
    }

    fn namespaces(&mut self, namespaces: &dyn TableLike) {
        for (namespace, key, item) in members(namespaces) {
            let line = self.line(key, item);
            let Some(table) = item.as_table_like() else {
                self.problems.push(Problem {
                    line,
                    kind: ProblemKind::Value {
                        key: format!("namespace.{namespace}"),
                        wanted: "a table of keys: [namespace.NAME]",
                    },
                });
                continue;
            };
            self.entries.push(Entry {
                line,
                namespace: Some(namespace.to_owned()),
                key: String::new(),
                value: Value::Table,
            });
            for (name, key, item) in members(table) {
                if keys::is_of_namespace(name) {
                    self.take(Some(namespace.to_owned()), name.to_owned(), (key, item));
                } else {
                    self.unknown(name, key, keys::names_of_namespace());
                }
            }
        }
    }

    fn take(&mut self, namespace: Option<String>, path: String, (key, item): (&Key, &Item)) {
        self.entries.push(Entry {
            line: self.line(key, item),
            namespace,
            key: path,
            value: value_of(item),
        });
    }

    fn unknown(&mut self, name: &str, key: &Key, known: Vec<&'static str>) {
        let line = line_of(self.text, key.span());
        self.problems.push(Problem::unknown(line, name, known));
    }

    fn line(&self, key: &Key, item: &Item) -> usize {
        line_of(self.text, key.span().or_else(|| item.span()))
    }
}

fn members(table: &dyn TableLike) -> impl Iterator<Item = (&str, &Key, &Item)> {
    table
        .iter()
        .filter_map(|(name, _)| table.get_key_value(name))
        .map(|(key, item)| (key.get(), key, item))
}

fn value_of(item: &Item) -> Value {
    if let Some(text) = item.as_str() {
        Value::Text(text.to_owned())
    } else if let Some(number) = item.as_integer() {
        Value::Number(number)
    } else if let Some(switch) = item.as_bool() {
        Value::Switch(switch)
    } else if let Some(array) = item.as_array() {
        let texts = array.iter().map(|value| value.as_str().map(str::to_owned));
        texts
            .collect::<Option<_>>()
            .map_or(Value::Other, Value::Texts)
    } else {
        Value::Other
    }
}

fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or(text);
    before.matches('\n').count() + 1
}
