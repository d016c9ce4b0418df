//! What is told on standard error beside the one failure that ends a command: records and rows that
//! could not be read or written. In the form that was asked for, text or JSON, a line each.

use serde_json::json;

/// In which form notices are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notices {
    /// `corelith: ` and the notice.
    Text,
    /// An object with the member `warning`.
    Json,
}

impl Notices {
    /// The form that goes with `--json` or without it.
    #[must_use]
    pub const fn new(is_json: bool) -> Self {
        if is_json { Self::Json } else { Self::Text }
    }

    /// Tells people that nothing was found, so that silence is no riddle. Programs see an empty result and need no words.
    pub fn nothing(self, text: &str) {
        if self == Self::Text {
            eprintln!("{}", self.line(text));
        }
    }

    /// The line for one notice.
    #[must_use]
    pub fn line(self, text: &str) -> String {
        match self {
            Self::Text => format!("corelith: {text}"),
            Self::Json => json!({ "warning": text }).to_string(),
        }
    }
}
