//! One sample of a Prometheus page: a family, labels and a value.

/// A line that is a sample, in its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sample<'a> {
    pub(super) family: &'a str,
    /// Names and values, in their order; values without their quotes.
    pub(super) labels: Vec<(&'a str, String)>,
    pub(super) value: &'a str,
}

impl<'a> Sample<'a> {
    /// The sample of a line; `None` for a comment, an empty line, and what is no sample.
    pub(super) fn of(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (name, value) = line.rsplit_once(' ')?;
        let Some((family, labels)) = name.split_once('{') else {
            return Some(Self {
                family: name,
                labels: Vec::new(),
                value,
            });
        };
        let labels = labels_of(labels.strip_suffix('}')?).into_iter();
        let labels: Option<Vec<_>> = labels.map(label).collect();
        Some(Self {
            family,
            labels: labels?,
            value,
        })
    }

    /// The value of a label.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        let found = labels.find(|(found, _)| *found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Cuts `a="x",b="y"` at its commas; those within quotes are part of a value.
pub(super) fn labels_of(text: &str) -> Vec<&str> {
    let (mut labels, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                labels.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        labels.push(&text[start..]);
    }
    labels
}

/// Name and value of `a="x"`.
fn label(text: &str) -> Option<(&str, String)> {
    let (name, quoted) = text.split_once('=')?;
    let mut letters = quoted.strip_prefix('"')?.strip_suffix('"')?.chars();
    let mut value = String::new();
    while let Some(letter) = letters.next() {
        value.push(match letter {
            '\\' => match letters.next()? {
                'n' => '\n',
                escaped => escaped,
            },
            plain => plain,
        });
    }
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_falls_into_its_parts() {
        let line = r#"a_total{core="0",text="x,core=\"9\" \\ y"} 12"#;
        let sample = Sample::of(line).unwrap();
        assert_eq!((sample.family, sample.value), ("a_total", "12"));
        assert_eq!(sample.label("core"), Some("0"));
        assert_eq!(sample.label("text"), Some(r#"x,core="9" \ y"#));
        assert_eq!(sample.label("shard"), None);
        assert_eq!(Sample::of("b 1.5").unwrap().labels, []);
        for other in ["", "# TYPE a counter", "alone", "a{b} 1", "a{b=\"c 1"] {
            assert_eq!(Sample::of(other), None, "{other:?}");
        }
    }
}
