//! The node's totals from a page that shows every core and shard: samples that differ in nothing but the
//! labels `core` and `shard` are added up. All figures of a node can be added; a value that is no
//! decimal number is kept as it is, with its labels.

use std::collections::HashMap;

use super::sample::labels_of;

/// Labels that say which part of the node a sample is of.
const PARTS: [&str; 2] = ["core", "shard"];

/// Digits behind the point that are added exactly: nanoseconds.
const FRACTION_DIGITS: usize = 9;

/// The page with totals in the place of parts, in its own order.
pub(super) fn totals(page: &str) -> String {
    let mut lines: Vec<Line<'_>> = Vec::new();
    let mut places = HashMap::new();
    for line in page.lines() {
        let total = sample(line);
        let Some((name, value)) = total else {
            lines.push(Line::Other(line));
            continue;
        };
        let place = *places.entry(name.clone()).or_insert(lines.len());
        match lines.get_mut(place) {
            Some(Line::Total(_, sum)) => *sum = sum.saturating_add(value),
            _ => lines.push(Line::Total(name, value)),
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A line of the page of totals.
enum Line<'a> {
    Other(&'a str),
    /// Name with labels, and the sum in units of the last digit that is added.
    Total(String, i128),
}

impl std::fmt::Display for Line<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Line::Other(text) => formatter.write_str(text),
            Line::Total(name, sum) => write!(formatter, "{name} {}", decimal(*sum)),
        }
    }
}

/// Name without the labels of parts, and value, of a sample that can be added.
fn sample(line: &str) -> Option<(String, i128)> {
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.rsplit_once(' ')?;
    let value = units(value)?;
    let Some((family, labels)) = name.split_once('{') else {
        return Some((name.to_owned(), value));
    };
    let labels = labels.strip_suffix('}')?;
    let kept: Vec<&str> = labels_of(labels)
        .into_iter()
        .filter(|label| !PARTS.contains(&label.split('=').next().unwrap_or_default()))
        .collect();
    let name = match &kept[..] {
        [] => family.to_owned(),
        kept => format!("{family}{{{}}}", kept.join(",")),
    };
    Some((name, value))
}

/// A decimal number in units of its ninth digit behind the point; `None` if it has more, or is none.
fn units(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    if fraction.len() > FRACTION_DIGITS {
        return None;
    }
    format!("{whole}{fraction:0<FRACTION_DIGITS$}").parse().ok()
}

fn decimal(units: i128) -> String {
    let one = 10_i128.pow(FRACTION_DIGITS as u32);
    let text = format!("{}.{:0FRACTION_DIGITS$}", units / one, units % one);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added_and_everything_else_stays() {
        let page = "\
# HELP a What it is.
# TYPE a counter
a{core=\"0\"} 5
a{core=\"1\"} 18446744073709551615
b_sum{core=\"0\"} 0.1
b_sum{core=\"1\"} 0.2
c{shard=\"0\"} 1
d{core=\"0\",status=\"ok\",text=\"x,core=\\\"9\\\"\"} 1
d{core=\"1\",status=\"ok\",text=\"x,core=\\\"9\\\"\"} 2
d{core=\"1\",status=\"busy\"} 4
c{shard=\"7\"} 10
e{core=\"0\"} +Inf
e{core=\"1\"} +Inf
f 7
";
        let expected = "\
# HELP a What it is.
# TYPE a counter
a 18446744073709551620
b_sum 0.3
c 11
d{status=\"ok\",text=\"x,core=\\\"9\\\"\"} 3
d{status=\"busy\"} 4
e{core=\"0\"} +Inf
e{core=\"1\"} +Inf
f 7
";
        assert_eq!(totals(page), expected);
        assert_eq!(totals(""), "");
    }
}
