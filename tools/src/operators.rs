//! `slow`, `connections`, `quiesce` and `config`: what operators ask of a running node, and change.

use serde_json::{Value, json};

use crate::arguments::{
    CloseArguments, ConfigCommand, ConfigGetArguments, ConfigSetArguments, ConnectionsArguments,
    ConnectionsCommand, QuiesceArguments, SlowArguments,
};
use crate::control::{ask, command};
use crate::failure::Failure;
use crate::nearest::did_you_mean;
use crate::output::Output;
use crate::size::display_size;
use crate::table::Table;
use crate::time_text::{display_latency, display_span};

/// `corelith slow`.
///
/// # Errors
/// The node did not answer.
pub fn slow(arguments: &SlowArguments, is_json: bool) -> Result<(), Failure> {
    let answer = ask(&arguments.control, "/slow")?;
    let all = members(&answer, "slow");
    let limit = arguments.limit.unwrap_or(all.len());
    let shown = &all[all.len().saturating_sub(limit)..];
    let mut output = Output::new();
    if is_json {
        output.json(&json!({ "slow": shown }))?;
        return output.finish();
    }
    if shown.is_empty() {
        output.line("no operation was slow")?;
        return output.finish();
    }
    let mut table = Table::new(&[
        "AGO",
        "OPERATION",
        "NAMESPACE",
        "DIGEST",
        "TOTAL",
        "WAIT",
        "STORE",
        "CORE",
        "HOP",
        "REQUEST",
        "ANSWER",
    ]);
    for operation in shown {
        let owner = number(operation, "owner");
        let hop = match operation["crossed_cores"].as_bool() {
            Some(true) => format!("to {owner}"),
            _ => "-".to_owned(),
        };
        table.row(vec![
            display_span(number(operation, "ago_ms")),
            text(operation, "operation"),
            text(operation, "namespace"),
            text(operation, "digest"),
            display_latency(number(operation, "latency_us")),
            display_latency(number(operation, "wait_us")),
            display_latency(number(operation, "store_us")),
            number(operation, "core").to_string(),
            hop,
            display_size(number(operation, "request_bytes")),
            display_size(number(operation, "answer_bytes")),
        ]);
    }
    table.print(&mut output)?;
    output.finish()
}

/// `corelith connections`.
///
/// # Errors
/// The node did not answer, or there is no such connection.
pub fn connections(arguments: &ConnectionsArguments, is_json: bool) -> Result<(), Failure> {
    if let Some(ConnectionsCommand::Close(close_arguments)) = &arguments.command {
        return close(close_arguments, is_json);
    }
    let (by, limit) = (arguments.by.name(), arguments.limit);
    let answer = ask(
        &arguments.control,
        &format!("/connections?by={by}&limit={limit}"),
    )?;
    let mut output = Output::new();
    if is_json {
        output.json(&answer)?;
        return output.finish();
    }
    let mut table = Table::new(&[
        "ID",
        "PEER",
        "CLIENT",
        "AGE",
        "REQUESTS",
        "IN FLIGHT",
        "RECEIVED",
        "SENT",
        "WAITING",
    ]);
    let shown = members(&answer, "connections");
    for connection in shown {
        table.row(vec![
            text(connection, "id"),
            text(connection, "peer"),
            text(connection, "client"),
            display_span(number(connection, "age_ms")),
            number(connection, "requests").to_string(),
            number(connection, "in_flight").to_string(),
            display_size(number(connection, "received_bytes")),
            display_size(number(connection, "sent_bytes")),
            display_size(number(connection, "waiting_bytes")),
        ]);
    }
    table.print(&mut output)?;
    let total = number(&answer, "total");
    if u64::try_from(shown.len()).is_ok_and(|shown| shown < total) {
        output.line(format!("{} of {total}; --limit shows more", shown.len()))?;
    }
    output.finish()
}

fn close(arguments: &CloseArguments, is_json: bool) -> Result<(), Failure> {
    let path = format!("/connections/{}/close", arguments.id);
    let answer = command(&arguments.control, &path, "")?;
    say(
        &answer,
        &format!("{} ends when its requests are answered", arguments.id),
        is_json,
    )
}

/// `corelith quiesce`.
///
/// # Errors
/// The node did not answer, or is about to stop.
pub fn quiesce(arguments: &QuiesceArguments, is_json: bool) -> Result<(), Failure> {
    let path = if arguments.undo {
        "/resume"
    } else {
        "/quiesce"
    };
    let answer = command(&arguments.control, path, "")?;
    let already = if answer["changed"].as_bool() == Some(false) {
        " already"
    } else {
        ""
    };
    let said = if arguments.undo {
        format!("the node takes work{already}")
    } else {
        format!(
            "the node is quiesced{already}: {} connections, {} requests in flight; `corelith quiesce --undo` ends that",
            number(&answer, "connections"),
            number(&answer, "requests_in_flight")
        )
    };
    say(&answer, &said, is_json)
}

/// `corelith config`.
///
/// # Errors
/// The node did not answer, or what is wrong with the key or the value.
pub fn config(command: &ConfigCommand, is_json: bool) -> Result<(), Failure> {
    match command {
        ConfigCommand::Get(arguments) => config_get(arguments, is_json),
        ConfigCommand::Set(arguments) => config_set(arguments, is_json),
    }
}

fn config_get(arguments: &ConfigGetArguments, is_json: bool) -> Result<(), Failure> {
    let answer = ask(&arguments.control, "/configuration")?;
    let settings = members(&answer, "settings");
    let mut output = Output::new();
    let Some(wanted) = &arguments.key else {
        if is_json {
            let settings: Vec<Value> = settings.iter().map(with_plain_values).collect();
            output.json(&json!({"settings": settings}))?;
        } else {
            for setting in settings {
                let live = match setting["live"].as_bool() {
                    Some(true) => "  (live)",
                    _ => "",
                };
                let (key, value) = (text(setting, "key"), text(setting, "value"));
                output.line(format!("{key} = {value}{live}"))?;
            }
        }
        return output.finish();
    };
    let key_of = |setting: &Value| setting["key"].as_str().map(str::to_owned);
    let found = settings
        .iter()
        .find(|setting| key_of(setting).as_ref() == Some(wanted));
    let Some(setting) = found else {
        let known: Vec<String> = settings.iter().filter_map(key_of).collect();
        // Who leaves the table out means the key of that name.
        let of_name = known
            .iter()
            .find(|key| key.rsplit('.').next() == Some(wanted));
        let nearest = match of_name {
            Some(key) => format!("; did you mean {key:?}?"),
            None => did_you_mean(wanted, known.iter().map(String::as_str)),
        };
        return Err(Failure::new(
            format!("there is no key {wanted:?}{nearest}"),
            "`corelith config get` shows all keys",
        ));
    };
    let value = text(setting, "value");
    // For scripts: without the quotes of the file.
    let bare = serde_json::from_str::<String>(&value).unwrap_or(value);
    say(&with_plain_values(setting), &bare, is_json)
}

/// The node says values as its file has them. For programs a string is a string, a number a number and a list a list.
fn with_plain_values(object: &Value) -> Value {
    let mut plain = object.clone();
    for name in ["value", "was"] {
        let of_file = object[name].as_str().map(serde_json::from_str::<Value>);
        if let Some(Ok(value)) = of_file {
            plain[name] = value;
        }
    }
    plain
}

fn config_set(arguments: &ConfigSetArguments, is_json: bool) -> Result<(), Failure> {
    let body = json!({"key": arguments.key, "value": arguments.value}).to_string();
    let answer = command(&arguments.control, "/configuration/change", &body)?;
    let (key, value, was) = (
        text(&answer, "key"),
        text(&answer, "value"),
        text(&answer, "was"),
    );
    let said = format!(
        "{key} = {value} from now on (it was {was}), until the node starts or reads its file again\n  \
         to keep it, write it into the file as well"
    );
    say(&with_plain_values(&answer), &said, is_json)
}

/// One answer, for programs or for people.
fn say(answer: &Value, said: &str, is_json: bool) -> Result<(), Failure> {
    let mut output = Output::new();
    if is_json {
        output.json(answer)?;
    } else {
        output.line(said)?;
    }
    output.finish()
}

fn members<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn text(object: &Value, name: &str) -> String {
    match object[name].as_str() {
        Some("") | None => "-".to_owned(),
        Some(text) => text.to_owned(),
    }
}

fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or(0)
}
