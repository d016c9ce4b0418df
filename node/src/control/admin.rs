//! What operators ask of a running node over the control page: connections, slow operations, quiescing, the
//! configuration. Answers are JSON.
//!
//! A change is a POST with the header `Corelith-Command`, from this machine, to a host that is given as an address.
//! No page in a browser can send that: another site's may not set the header, and one whose name was pointed at
//! this machine has its name in `Host`.

use std::net::{IpAddr, SocketAddr};

use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::cores::CORE_ANSWER;
use super::{Node, listing};
use crate::boot::Event;
use crate::configuration::Unchanged;
use crate::core::Order;
use crate::health::NodeState;

/// Without it a change is refused.
pub(super) const COMMAND_HEADER: &str = "corelith-command";

/// Status and what is said with it.
type Reply = (StatusCode, Value);

/// A request of an operator.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    /// It has the header [`COMMAND_HEADER`].
    pub(super) is_command: bool,
    /// It comes from this machine.
    pub(super) is_from_here: bool,
    pub(super) host: Option<&'a str>,
    /// `None` if it did not arrive, or is longer than any that is understood.
    pub(super) body: Option<Bytes>,
}

/// True if a path is that of a command.
pub(super) fn is_command(path: &str) -> bool {
    Command::of(path).is_some()
}

/// Answers a request of an operator.
pub(super) async fn answer(asked: &Asked<'_>, node: &Node) -> Reply {
    let Some(command) = Command::of(asked.path) else {
        return failed(StatusCode::NOT_FOUND, "there is no such command", "");
    };
    if let Err(refusal) = check(command, asked) {
        return refusal;
    }
    if !node.state.get().is_up() {
        return failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "the node is loading or stopping",
            "wait until it serves; /ready says how far it is",
        );
    }
    match command {
        Command::Connections => connections(asked.query, node).await,
        Command::Slow => match node.cores.ask(Order::Slow, CORE_ANSWER).await {
            Some(operations) => done(listing::slow(operations.into_iter().flatten().collect())),
            None => silent(),
        },
        Command::Close { core, number } => close(core, number, node).await,
        Command::Quiesce => quiesce(true, node).await,
        Command::Resume => quiesce(false, node).await,
        Command::Show => match ask_main(node, Event::Show).await {
            Some(settings) => done(listing::settings(&settings)),
            None => silent(),
        },
        Command::Change => change(asked.body.as_deref().unwrap_or_default(), node).await,
    }
}

/// What an operator may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Command {
    Connections,
    Slow,
    Close { core: u16, number: u64 },
    Quiesce,
    Resume,
    Show,
    Change,
}

impl Command {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/connections" => Some(Self::Connections),
            "/slow" => Some(Self::Slow),
            "/quiesce" => Some(Self::Quiesce),
            "/resume" => Some(Self::Resume),
            "/configuration" => Some(Self::Show),
            "/configuration/change" => Some(Self::Change),
            _ => {
                let id = path.strip_prefix("/connections/")?.strip_suffix("/close")?;
                let (core, number) = id.split_once('-')?;
                let (core, number) = (core.parse().ok()?, number.parse().ok()?);
                Some(Self::Close { core, number })
            }
        }
    }

    const fn is_change(self) -> bool {
        match self {
            Self::Connections | Self::Slow | Self::Show => false,
            Self::Close { .. } | Self::Quiesce | Self::Resume | Self::Change => true,
        }
    }
}

/// Whether it may be done for whoever asks for it in this way.
fn check(command: Command, asked: &Asked<'_>) -> Result<(), Reply> {
    if !command.is_change() {
        let is_question = [Method::GET, Method::HEAD].contains(asked.method);
        return is_question.then_some(()).ok_or_else(|| {
            let problem = format!("{} takes GET", asked.path);
            failed(StatusCode::METHOD_NOT_ALLOWED, &problem, "")
        });
    }
    let refused = |status, problem, remedy| Err(failed(status, problem, remedy));
    if asked.method != Method::POST {
        let problem = format!("{} takes POST", asked.path);
        return refused(StatusCode::METHOD_NOT_ALLOWED, &problem, "");
    }
    if !asked.is_from_here {
        return refused(
            StatusCode::FORBIDDEN,
            "changes are taken from the node's own machine only",
            "run corelith there",
        );
    }
    if !asked.is_command || !asked.host.is_some_and(is_address) {
        return refused(
            StatusCode::FORBIDDEN,
            "a change needs the header Corelith-Command, and an address in Host, no name",
            "use corelith, or send both",
        );
    }
    if asked.body.is_none() {
        return refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the request did not arrive whole, or is longer than any that is understood",
            "send 64 KiB at most",
        );
    }
    Ok(())
}

/// True for an address with or without a port.
fn is_address(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
}

async fn connections(query: &str, node: &Node) -> Reply {
    let wanted = match listing::Wanted::of(query) {
        Ok(wanted) => wanted,
        Err(problem) => return failed(StatusCode::BAD_REQUEST, &problem, ""),
    };
    match node.cores.connections().await {
        Some(reports) => done(listing::connections(reports, wanted)),
        None => silent(),
    }
}

async fn close(core: u16, number: u64, node: &Node) -> Reply {
    let order = |answer| Order::Close { number, answer };
    if node.cores.ask_one(core.into(), order).await == Some(true) {
        tracing::info!(core, number, "an operator closes a connection");
        return done(json!({"closed": format!("{core}-{number}")}));
    }
    failed(
        StatusCode::NOT_FOUND,
        &format!("there is no connection {core}-{number}"),
        "`corelith connections` lists them",
    )
}

async fn quiesce(is_quiesced: bool, node: &Node) -> Reply {
    let (from, to) = if is_quiesced {
        (NodeState::Serving, NodeState::Quiesced)
    } else {
        (NodeState::Quiesced, NodeState::Serving)
    };
    let is_new = node.state.change(from, to);
    if !is_new && node.state.get() != to {
        return failed(StatusCode::CONFLICT, "the node is stopping", "");
    }
    let order = |answer| Order::Quiesce {
        is_quiesced,
        answer,
    };
    if node.cores.ask(order, CORE_ANSWER).await.is_none() {
        return failed(
            StatusCode::SERVICE_UNAVAILABLE,
            "a core did not answer within two seconds",
            "give the command again",
        );
    }
    if is_new && is_quiesced {
        tracing::warn!("an operator has quiesced the node: no new work is taken");
    } else if is_new {
        tracing::info!("an operator has resumed the node: work is taken again");
    }
    let Some(snapshots) = node.cores.snapshots().await else {
        return silent();
    };
    let in_flight = snapshots.iter().map(|core| core.requests_in_flight);
    let connections = snapshots.iter().map(|core| core.connections);
    done(json!({
        "quiesced": is_quiesced,
        "changed": is_new,
        "connections": connections.sum::<u64>(),
        "requests_in_flight": in_flight.sum::<u64>(),
    }))
}

/// Sets a key: `{"key": "node.slow_log", "value": "20 ms"}`.
async fn change(body: &[u8], node: &Node) -> Reply {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name: &str| asked.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(key), Some(value)) = (member("key"), member("value")) else {
        return failed(
            StatusCode::BAD_REQUEST,
            "the body is no object with the strings key and value",
            "use `corelith config set`",
        );
    };
    let event = |answer| Event::Change { key, value, answer };
    match ask_main(node, event).await {
        Some(Ok(changed)) => done(json!({
            "key": changed.setting.path,
            "value": changed.setting.value,
            "was": changed.was,
        })),
        Some(Err(unchanged)) => {
            let status = match unchanged {
                Unchanged::Unknown { .. } => StatusCode::NOT_FOUND,
                Unchanged::Value { .. } => StatusCode::BAD_REQUEST,
                Unchanged::NeedsRestart { .. }
                | Unchanged::Conflict(_)
                | Unchanged::Memory(_)
                | Unchanged::Overruled { .. } => StatusCode::CONFLICT,
            };
            failed(status, &unchanged.to_string(), &unchanged.remedy())
        }
        None => silent(),
    }
}

/// Asks the main thread, which answers while it waits for a stop.
async fn ask_main<T>(node: &Node, event: impl FnOnce(oneshot::Sender<T>) -> Event) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    node.main.send(event(sender)).ok()?;
    tokio::time::timeout(CORE_ANSWER, answer).await.ok()?.ok()
}

fn done(value: Value) -> Reply {
    (StatusCode::OK, value)
}

fn failed(status: StatusCode, problem: &str, remedy: &str) -> Reply {
    (status, json!({"error": problem, "remedy": remedy}))
}

fn silent() -> Reply {
    failed(
        StatusCode::SERVICE_UNAVAILABLE,
        "the node did not answer within two seconds",
        "see its log, and try again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_commands() {
        let close = Command::Close {
            core: 1,
            number: 77,
        };
        assert_eq!(Command::of("/connections/1-77/close"), Some(close));
        assert_eq!(Command::of("/connections"), Some(Command::Connections));
        assert_eq!(Command::of("/quiesce"), Some(Command::Quiesce));
        for wrong in [
            "/connections/77/close",
            "/connections/-1-7/close",
            "/connections/1-x/close",
            "/connections/",
            "/",
        ] {
            assert_eq!(Command::of(wrong), None, "{wrong}");
        }
    }

    /// The status of the refusal, and `None` for what is allowed.
    fn refused(path: &str, change: impl FnOnce(&mut Asked<'_>)) -> Option<u16> {
        let mut asked = Asked {
            method: &Method::POST,
            path,
            query: "",
            is_command: true,
            is_from_here: true,
            host: Some("127.0.0.1:4190"),
            body: Some(Bytes::new()),
        };
        change(&mut asked);
        let checked = check(Command::of(path).unwrap(), &asked);
        checked.err().map(|(status, _)| status.as_u16())
    }

    #[test]
    fn changes_are_taken_only_from_programs_on_this_machine() {
        assert_eq!(refused("/quiesce", |_| ()), None);
        assert_eq!(
            refused("/quiesce", |asked| asked.host = Some("[::1]:1")),
            None
        );
        assert_eq!(
            refused("/quiesce", |asked| asked.host = Some("[::1]")),
            None
        );
        assert_eq!(
            refused("/quiesce", |asked| asked.method = &Method::GET),
            Some(405)
        );
        assert_eq!(
            refused("/quiesce", |asked| asked.is_command = false),
            Some(403)
        );
        assert_eq!(
            refused("/quiesce", |asked| asked.is_from_here = false),
            Some(403)
        );
        assert_eq!(refused("/quiesce", |asked| asked.host = None), Some(403));
        let named = |asked: &mut Asked<'_>| asked.host = Some("evil.example:4190");
        assert_eq!(refused("/quiesce", named), Some(403));
        assert_eq!(refused("/connections/0-1/close", named), Some(403));
        assert_eq!(refused("/resume", |asked| asked.body = None), Some(413));
        assert_eq!(refused("/slow", |_| ()), Some(405));
        assert_eq!(refused("/slow", |asked| asked.method = &Method::GET), None);
    }
}
