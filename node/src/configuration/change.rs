//! One live key set to another value by an operator, while the node runs.

use std::fmt;

use super::document::Value;
use super::keys::Setting;
use super::{Configuration, ConfigurationError};
use crate::memory_plan::NoRoomForConnections;

/// A key that was set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Changed {
    /// As it is now.
    pub(crate) setting: Setting,
    /// Its value until then.
    pub(crate) was: String,
}

/// Why a key was not set.
#[derive(Debug)]
pub(crate) enum Unchanged {
    /// There is none of this name.
    Unknown {
        /// The name.
        key: String,
        /// One that is like it.
        nearest: Option<String>,
    },
    /// It is not live.
    NeedsRestart {
        /// Its name.
        key: String,
    },
    /// It takes other values.
    Value {
        /// Its name.
        key: String,
        /// Which ones.
        wanted: &'static str,
    },
    /// It does not go together with the others.
    Conflict(ConfigurationError),
    /// There is no memory for it.
    Memory(NoRoomForConnections),
    /// The environment says it.
    Overruled {
        /// Its name.
        key: String,
    },
}

impl Unchanged {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Unknown {
                nearest: Some(nearest),
                ..
            } => format!("did you mean {nearest:?}?"),
            Self::Unknown { nearest: None, .. } => {
                "`corelith config get` shows all keys".to_owned()
            }
            Self::NeedsRestart { .. } => {
                "restart needed: write it into the node's file, and start the node again".to_owned()
            }
            Self::Value { wanted, .. } => format!("it takes {wanted}"),
            Self::Conflict(_) => "set the other key first".to_owned(),
            Self::Memory(_) => {
                "write it into the node's file and start the node again: indexes then get less; or raise memory_limit there"
                    .to_owned()
            }
            Self::Overruled { .. } => "start the node without RUST_LOG".to_owned(),
        }
    }
}

impl fmt::Display for Unchanged {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, .. } => write!(formatter, "there is no key {key:?}"),
            Self::NeedsRestart { key } => {
                write!(formatter, "{key} cannot change while the node runs")
            }
            Self::Value { key, .. } => write!(formatter, "{key} does not take this value"),
            Self::Conflict(error) => write!(formatter, "{error}"),
            Self::Memory(error) => write!(formatter, "{error}"),
            Self::Overruled { key } => {
                write!(
                    formatter,
                    "RUST_LOG says what is logged, and {key} does not"
                )
            }
        }
    }
}

impl Configuration {
    /// Sets a live key, by its whole name, to what was written on a command line: as in the file, where quotes may be
    /// left out.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub(crate) fn change(&mut self, key: &str, text: &str) -> Result<Changed, Unchanged> {
        let key = key.to_owned();
        let settings = self.settings();
        let Some(before) = settings.iter().find(|setting| setting.path == key) else {
            return Err(Unchanged::Unknown {
                nearest: nearest(&key, &settings),
                key,
            });
        };
        if !before.is_live {
            return Err(Unchanged::NeedsRestart { key });
        }
        let mut wanted = self.clone();
        let mut refusal = None;
        for value in readings(text) {
            match wanted.set_by_path(&key, &value) {
                Some(Ok(())) => {
                    refusal = None;
                    break;
                }
                Some(Err(takes)) => refusal = Some(takes),
                None => {}
            }
        }
        if let Some(wanted) = refusal {
            return Err(Unchanged::Value { key, wanted });
        }
        wanted.check().map_err(Unchanged::Conflict)?;
        self.take(&wanted);
        let now = self.settings().into_iter();
        let mut now = now.filter(|setting| setting.path == key);
        Ok(Changed {
            was: before.value.clone(),
            setting: now.next().unwrap_or_else(|| before.clone()),
        })
    }
}

/// What a word may be: a number or a switch if it looks like one, and a text.
fn readings(text: &str) -> Vec<Value> {
    let number = text.parse().ok().map(Value::Number);
    let switch = text.parse().ok().map(Value::Switch);
    let bare = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let text = Value::Text(bare.unwrap_or(text).to_owned());
    number.into_iter().chain(switch).chain([text]).collect()
}

/// The key that a slip of the hand or a forgotten table has made of this.
fn nearest(key: &str, settings: &[Setting]) -> Option<String> {
    let likeness = |path: &str| {
        let name = path.rsplit('.').next().unwrap_or(path);
        let by_name = if key.contains('.') {
            0.0
        } else {
            strsim::jaro_winkler(key, name)
        };
        strsim::jaro_winkler(key, path).max(by_name)
    };
    let alike = settings.iter().map(|setting| &setting.path);
    let alike = alike.map(|path| (likeness(path), path));
    let alike = alike.filter(|(likeness, _)| *likeness > 0.8);
    let best = alike.max_by(|(first, _), (second, _)| first.total_cmp(second));
    best.map(|(_, path)| path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, text: &str) -> Result<String, String> {
        let mut configuration = Configuration::default();
        let changed = configuration.change(key, text);
        let changed = changed.map_err(|error| format!("{error}: {}", error.remedy()))?;
        let after = configuration.settings();
        assert!(after.contains(&changed.setting));
        Ok(format!("{} {}", changed.was, changed.setting.value))
    }

    #[test]
    fn live_keys_are_set_as_people_write_them() {
        for (key, text, expected) in [
            ("node.slow_log", "500us", "\"10 ms\" \"500 us\""),
            ("node.slow_log", "\"2 ms\"", "\"10 ms\" \"2 ms\""),
            ("node.slow_log", "off", "\"10 ms\" \"off\""),
            ("node.connections_per_core_max", "20", "4096 20"),
            ("log.level", "debug", "\"info\" \"debug\""),
            ("namespace.test.default_ttl", "30d", "\"never\" \"30 d\""),
        ] {
            assert_eq!(change(key, text), Ok(expected.to_owned()), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_set_says_why() {
        for (key, text, words) in [
            ("node.slowlog", "1ms", "did you mean \"node.slow_log\"?"),
            ("slow_log", "1ms", "did you mean \"node.slow_log\"?"),
            (
                "namespace.tset.default_ttl",
                "1d",
                "\"namespace.test.default_ttl\"?",
            ),
            ("xyz", "1", "shows all keys"),
            ("node.cores", "2", "restart needed"),
            ("node.slow_log", "10", "it takes a time such as"),
            ("node.connections_per_core_max", "many", "a number from 1"),
            ("namespace.test.ttl_max", "1d", "set the other key first"),
        ] {
            let refusal = change(key, text).unwrap_err();
            assert!(refusal.contains(words), "{key}: {refusal}");
        }
    }
}
