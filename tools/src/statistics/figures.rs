//! The figures of a page as people read them: the node's first, then each namespace's, a line for each sample and one for
//! each histogram, in the units that their names say.

use std::collections::HashSet;

use super::sample::Sample;
use crate::size::display_size;
use crate::table::Table;

/// What every family begins with.
const PREFIX: &str = "corelith_";

/// The shares of a histogram that are shown: half, and all but a hundredth.
const QUANTILES: [(f64, &str); 2] = [(0.5, "half"), (0.99, "99 %")];

/// Tables with their figures, in the page's order.
pub(super) fn tables(page: &str) -> Vec<Table> {
    let mut sections: Vec<Section> = Vec::new();
    let histograms: HashSet<&str> = page.lines().filter_map(histogram).collect();
    for sample in page.lines().filter_map(Sample::of) {
        let namespace = sample.label("namespace").filter(|name| !name.is_empty());
        let at = match sections.iter().position(|section| section.is_of(namespace)) {
            Some(at) => at,
            // The node's own come first.
            None if namespace.is_none() => {
                sections.insert(0, Section::new(None));
                0
            }
            None => {
                sections.push(Section::new(namespace));
                sections.len() - 1
            }
        };
        sections[at].add(&sample, &histograms);
    }
    sections.into_iter().map(Section::into_table).collect()
}

/// The family that a line declares a histogram.
fn histogram(line: &str) -> Option<&str> {
    line.strip_prefix("# TYPE ")?.strip_suffix(" histogram")
}

/// The figures of the node, or of one of its namespaces.
struct Section {
    namespace: Option<String>,
    figures: Vec<Figure>,
}

struct Figure {
    name: String,
    of: String,
    value: Value,
}

enum Value {
    Single(String),
    Histogram(Histogram),
}

impl Section {
    fn new(namespace: Option<&str>) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            figures: Vec::new(),
        }
    }

    fn is_of(&self, namespace: Option<&str>) -> bool {
        self.namespace.as_deref() == namespace
    }

    fn add(&mut self, sample: &Sample<'_>, histograms: &HashSet<&str>) {
        let labels = sample.labels.iter();
        let labels = labels.filter(|(name, _)| !["namespace", "le"].contains(name));
        // Numbers say nothing without the name of what they count.
        let shown = labels.map(|(name, value)| match *name {
            "core" | "shard" => format!("{name} {value}"),
            _ => value.clone(),
        });
        let of = shown.collect::<Vec<_>>().join(", ");
        let part = sample.family.rsplit_once('_');
        let part = part.filter(|(family, _)| histograms.contains(family));
        let Some((family, part)) = part else {
            self.figures.push(Figure {
                name: name_of(sample.family),
                of,
                value: Value::Single(value_of(sample.family, sample.value)),
            });
            return;
        };
        let name = name_of(family.strip_suffix("_seconds").unwrap_or(family));
        let is_same = |figure: &Figure| figure.name == name && figure.of == of;
        let at = self.figures.iter().position(is_same).unwrap_or_else(|| {
            let value = Value::Histogram(Histogram::default());
            self.figures.push(Figure { name, of, value });
            self.figures.len() - 1
        });
        if let Value::Histogram(histogram) = &mut self.figures[at].value {
            histogram.add(part, sample);
        }
    }

    fn into_table(self) -> Table {
        let head = match &self.namespace {
            None => "NODE".to_owned(),
            Some(namespace) => format!("NAMESPACE {namespace}"),
        };
        let mut table = Table::new(&[&head, "OF", "VALUE"]);
        for figure in self.figures {
            let value = match figure.value {
                Value::Single(value) => value,
                Value::Histogram(histogram) => histogram.text(),
            };
            table.row(vec![figure.name, figure.of, value]);
        }
        table
    }
}

/// A histogram of times.
#[derive(Default)]
struct Histogram {
    count: f64,
    sum_s: f64,
    /// Upper bounds in seconds, and how many are within.
    buckets: Vec<(f64, f64)>,
}

impl Histogram {
    fn add(&mut self, part: &str, sample: &Sample<'_>) {
        let value = sample.value.parse().unwrap_or_default();
        match part {
            "count" => self.count = value,
            "sum" => self.sum_s = value,
            _ => {
                let bound = sample.label("le").and_then(|bound| bound.parse().ok());
                self.buckets.extend(bound.map(|bound: f64| (bound, value)));
            }
        }
    }

    fn text(&self) -> String {
        let count = grouped(&self.count.to_string());
        if self.count < 1.0 {
            return count;
        }
        let mut text = format!("{count}, mean {}", time(self.sum_s / self.count));
        for (share, name) in QUANTILES {
            let mut buckets = self.buckets.iter();
            let reached = buckets.find(|(_, within)| *within >= self.count * share);
            let bound = match reached {
                Some((bound, _)) if bound.is_finite() => format!("within {}", time(*bound)),
                _ => "longer than any bucket".to_owned(),
            };
            text.push_str(&format!(", {name} {bound}"));
        }
        text
    }
}

/// A family's name in words.
fn name_of(family: &str) -> String {
    let name = family.strip_prefix(PREFIX).unwrap_or(family);
    name.strip_suffix("_total")
        .unwrap_or(name)
        .replace('_', " ")
}

/// A value in the unit that its family's name says.
fn value_of(family: &str, value: &str) -> String {
    let unit = family.strip_suffix("_total").unwrap_or(family);
    let unit = unit.rsplit('_').next().unwrap_or_default();
    match (unit, value.parse::<f64>()) {
        ("bytes", _) => value.parse().map_or(value.to_owned(), display_size),
        ("seconds", Ok(seconds)) => time(seconds),
        ("share" | "ratio", Ok(share)) => format!("{:.1} %", share * 100.0),
        _ => grouped(value),
    }
}

/// Seconds in the unit that leaves one to three digits before the point.
fn time(seconds: f64) -> String {
    let units = [("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)];
    let fitting = units.iter().find(|(_, many)| seconds * many >= 0.9995);
    let Some((unit, many)) = fitting else {
        return "0 s".to_owned();
    };
    let text = format!("{:.1}", seconds * many);
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// A number with its digits in threes; what is no number as it is.
fn grouped(value: &str) -> String {
    let (whole, rest) = value.split_at(value.find('.').unwrap_or(value.len()));
    if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
        return value.to_owned();
    }
    let mut text = String::new();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP corelith_operations_total Operations.
# TYPE corelith_operations_total counter
corelith_operations_total{namespace=\"test\",operation=\"get\",status=\"ok\"} 1234567
corelith_operations_total{namespace=\"other one\",operation=\"put\",status=\"busy\"} 12
# TYPE corelith_request_duration_seconds histogram
corelith_request_duration_seconds_bucket{namespace=\"test\",operation=\"get\",le=\"0.00001\"} 0
corelith_request_duration_seconds_bucket{namespace=\"test\",operation=\"get\",le=\"0.00002\"} 600
corelith_request_duration_seconds_bucket{namespace=\"test\",operation=\"get\",le=\"0.005\"} 995
corelith_request_duration_seconds_bucket{namespace=\"test\",operation=\"get\",le=\"+Inf\"} 1000
corelith_request_duration_seconds_sum{namespace=\"test\",operation=\"get\"} 0.0425
corelith_request_duration_seconds_count{namespace=\"test\",operation=\"get\"} 1000
# TYPE corelith_connections gauge
corelith_connections{core=\"0\"} 3
corelith_hot_key_share{namespace=\"test\",digest=\"abab\"} 0.125
corelith_index_bytes{namespace=\"test\",shard=\"1\"} 16777216
corelith_up_seconds 0.25
corelith_odd +Inf
";

    fn shown(page: &str) -> Vec<String> {
        let tables = tables(page);
        tables.iter().flat_map(Table::lines).collect()
    }

    #[test]
    fn figures_stand_under_the_node_and_its_namespaces() {
        let expected = [
            "NODE         OF      VALUE",
            "connections  core 0  3",
            "up seconds           250 ms",
            "odd                  +Inf",
            "NAMESPACE test    OF       VALUE",
            "operations        get, ok  1,234,567",
            "request duration  get      1,000, mean 42.5 us, half within 20 us, 99 % within 5 ms",
            "hot key share     abab     12.5 %",
            "index bytes       shard 1  16 MiB",
            "NAMESPACE other one  OF         VALUE",
            "operations           put, busy  12",
        ];
        assert_eq!(shown(PAGE), expected);
        assert!(shown("").is_empty());
    }

    #[test]
    fn a_histogram_without_samples_or_beyond_its_buckets_says_so() {
        let head = "# TYPE h_seconds histogram\n";
        let none = format!("{head}h_seconds_bucket{{le=\"+Inf\"}} 0\nh_seconds_count 0\n");
        assert_eq!(shown(&none)[1], "h         0");
        let beyond = format!(
            "{head}h_seconds_bucket{{le=\"1\"}} 1\nh_seconds_bucket{{le=\"+Inf\"}} 2\nh_seconds_sum 100\nh_seconds_count 2\n"
        );
        let line = &shown(&beyond)[1];
        assert!(
            line.ends_with("2, mean 50 s, half within 1 s, 99 % longer than any bucket"),
            "{line}"
        );
    }

    #[test]
    fn times_and_numbers_are_short() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (1.5e-8, "15 ns"),
            (0.000_999_9, "1 ms"),
            (0.0123, "12.3 ms"),
            (90.0, "90 s"),
        ] {
            assert_eq!(time(seconds), text);
        }
        for (value, text) in [
            ("7", "7"),
            ("1000", "1,000"),
            ("123456.5", "123,456.5"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }
}
