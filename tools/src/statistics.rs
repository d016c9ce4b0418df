//! `stats` and `ping`: what a node says of itself.

mod figures;
mod sample;
mod totals;

use corelith_io::Clock;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::arguments::{PingArguments, StatsArguments};
use crate::failure::Failure;
use crate::node::{failure_of, with_node};
use crate::notice::Notices;
use crate::output::Output;

/// `corelith stats`.
///
/// # Errors
/// The node did not answer.
pub fn stats(arguments: &StatsArguments, is_json: bool) -> Result<(), Failure> {
    let text = with_node(&arguments.node, async |client| {
        client
            .statistics(&arguments.prefix)
            .await
            .map_err(failure_of)
    })?;
    let text = if arguments.each {
        text
    } else {
        totals::totals(&text)
    };
    let mut output = Output::new();
    if is_json {
        output.json(&samples(&text))?;
    } else if text.trim().is_empty() {
        let prefix = &arguments.prefix;
        let what = format!("the node has no figures whose names begin with {prefix:?}");
        Notices::Text.nothing(&what);
    } else if arguments.raw {
        for line in text.lines() {
            output.line(line)?;
        }
    } else {
        for (number, table) in figures::tables(&text).iter().enumerate() {
            if number > 0 {
                output.line("")?;
            }
            table.print(&mut output)?;
        }
    }
    output.finish()
}

/// The samples of a Prometheus text: their names with labels, and numbers. Values that JSON has no
/// number for are strings.
fn samples(text: &str) -> Map<String, Value> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| {
        // A value may be followed by a time; labels may hold spaces.
        let name_end = match line.rfind('}') {
            Some(brace) => brace + 1,
            None => line.find(' ')?,
        };
        let (name, rest) = line.split_at(name_end);
        let value = rest.split_whitespace().next()?;
        let whole = value.parse::<i64>().ok().map(Number::from);
        let number = whole.or_else(|| value.parse().ok().and_then(Number::from_f64));
        let value = number.map_or_else(|| Value::String(value.to_owned()), Value::Number);
        Some((name.to_owned(), value))
    });
    pairs.collect()
}

/// What a node is.
#[derive(Serialize)]
struct Pong {
    address: String,
    server: String,
    node_id: String,
    namespaces: Vec<String>,
    record_bytes_max: u32,
    answered_us: u64,
}

/// `corelith ping`.
///
/// # Errors
/// The node did not answer.
pub fn ping(arguments: &PingArguments, is_json: bool) -> Result<(), Failure> {
    let clock = Clock::real();
    let pong = with_node(&arguments.node, async |client| {
        let description = client.describe().await.map_err(failure_of)?;
        let start_ns = clock.monotonic_ns();
        client.ping().await.map_err(failure_of)?;
        Ok(Pong {
            address: arguments.node.address(),
            server: description.server_name,
            node_id: format!("{:016x}", description.node_id),
            namespaces: description.namespaces,
            record_bytes_max: description.record_length_bytes_max,
            answered_us: clock.monotonic_ns().saturating_sub(start_ns) / 1000,
        })
    })?;
    let mut output = Output::new();
    if is_json {
        output.json(&pong)?;
    } else {
        let namespaces = pong.namespaces.join(", ");
        output.line(format!(
            "{} at {}, node {}",
            pong.server, pong.address, pong.node_id
        ))?;
        output.line(format!("  namespaces: {namespaces}"))?;
        output.line(format!("  answered in {} us", pong.answered_us))?;
    }
    output.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_text_becomes_an_object() {
        let text = "# HELP a what it is\n# TYPE a counter\na 5\nb{core=\"0\",name=\"x y\"} 1.5 1700000000\n\
                    c +Inf\n\nd{q=\"a}b\"} -3\n";
        let object = serde_json::to_string(&samples(text)).unwrap();
        assert_eq!(
            object,
            r#"{"a":5,"b{core=\"0\",name=\"x y\"}":1.5,"c":"+Inf","d{q=\"a}b\"}":-3}"#
        );
    }
}
