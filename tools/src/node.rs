//! The way to a node: the client with what the command line says, on a runtime of one thread, and
//! the client's errors as failures with a remedy.

use std::time::Duration;

use corelith_client::{
    Client, ClientOptions, ConnectError, Doubt, Error, Namespace, NodeDescription, Refused, Status,
};

use crate::arguments::{NodeArguments, PlaceArguments};
use crate::failure::{Exit, Failure};
use crate::nearest::did_you_mean;

/// Connects and runs `work`.
///
/// # Errors
/// The node cannot be reached, or what `work` says.
pub fn with_node<T>(
    arguments: &NodeArguments,
    work: impl AsyncFnOnce(Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime can be started: {error}"), ""))?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let address = arguments.address();
        let options = ClientOptions {
            timeout: arguments.timeout,
            connect_timeout: arguments.timeout.min(CONNECT_TIMEOUT_MAX),
            name: concat!("corelith ", env!("CARGO_PKG_VERSION")).to_owned(),
            ..ClientOptions::default()
        };
        let client = Client::connect(&address, options)
            .await
            .map_err(failure_of)?;
        let outcome = work(client.clone()).await;
        client.close();
        outcome
    });
    runtime.shutdown_background();
    outcome
}

/// The namespace that was named, or the one that is meant. No request is made for that: the names stand in the
/// node's hello.
///
/// # Errors
/// The node did not say which there are, or has none of this name.
pub async fn namespace_of(place: &PlaceArguments, client: &Client) -> Result<Namespace, Failure> {
    match &place.namespace {
        Some(name) => {
            check_namespace(client, name).await?;
            Ok(client.namespace(name))
        }
        None => client.default_namespace().await.map_err(failure_of),
    }
}

/// Says which namespaces the node has, if not the one that is wanted. Returns what else it said of itself.
///
/// # Errors
/// The node has no such namespace, or does not answer.
pub async fn check_namespace(client: &Client, name: &str) -> Result<NodeDescription, Failure> {
    let node = client.describe().await.map_err(failure_of)?;
    if node.namespaces.iter().any(|known| known == name) {
        return Ok(node);
    }
    let nearest = did_you_mean(name, node.namespaces.iter().map(String::as_str));
    let problem = format!("the node has no namespace {name:?}{nearest}");
    let known = node.namespaces.join(", ");
    let remedy = format!("give one of the node's with --namespace: {known}");
    Err(Failure::new(problem, remedy))
}

/// A node on the same network answers a hello in far less, or is not there.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// The failure that a client's error is.
#[must_use]
pub fn failure_of(error: Error) -> Failure {
    let problem = error.to_string();
    let (remedy, exit) = match &error {
        Error::InDoubt(doubt) => return in_doubt(doubt, &problem),
        Error::Refused(refused) => return refusal(refused),
        Error::Disconnected(ConnectError::Resolve { .. }) => (
            "see that the name is right, or give an address with --host",
            Exit::Partial,
        ),
        Error::Disconnected(ConnectError::Refused { refused, .. })
            if refused.status == Status::Stopping =>
        {
            (
                "use another node, or try again when it serves; `corelith quiesce --undo` ends a quiesce",
                Exit::Partial,
            )
        }
        Error::Disconnected(_) => (
            "see that corelithd runs and that --host is its address (corelithd prints it when it starts)",
            Exit::Partial,
        ),
        Error::TimedOut => (
            "the node did not answer in time: see its log, or give more time with --timeout",
            Exit::Partial,
        ),
        Error::UnknownNamespace { .. } => (
            "give one of the node's with --namespace; `corelith ping` names them",
            Exit::Failed,
        ),
        Error::ReadOnly => ("use a corelith of the node's release", Exit::Failed),
        Error::Invalid(_)
        | Error::Key(_)
        | Error::Content(_)
        | Error::Unreadable(_)
        | Error::Closed => ("", Exit::Failed),
    };
    Failure::new(problem, remedy).with_exit(exit)
}

fn in_doubt(doubt: &Doubt, problem: &str) -> Failure {
    let remedy = match doubt {
        Doubt::TimedOut => "it may happen yet: read the record before you write it again",
        Doubt::Disconnected(_) | Doubt::Node(_) | Doubt::Unreadable(_) => {
            "it may have happened or not: read the record before you write it again"
        }
    };
    Failure::new(problem, remedy).with_exit(Exit::Partial)
}

fn refusal(refused: &Refused) -> Failure {
    if refused.status == Status::GenerationMismatch {
        return Failure::new(
            format!(
                "the record has generation {}, not {}",
                refused.found, refused.expected
            ),
            "read it again and decide",
        );
    }
    let remedy = match refused.status {
        Status::Exists => "leave out --create-only to write over it",
        Status::WrongKind => {
            "nothing was changed: read the bin, and write it where its kind is to change"
        }
        Status::TooLarge => "make the record smaller: at most half a segment and 8 MiB",
        Status::OutOfSpace => "remove records or let them expire; deletes work on a full volume",
        Status::OutOfMemory => {
            "raise the node's memory_limit or the namespace's index_memory; overwrites and deletes still work"
        }
        Status::Busy | Status::KeyBusy | Status::Timeout => {
            "the node is overloaded: try again later"
        }
        Status::NotReady => "the node is still loading: try again in a moment",
        Status::Stopping => "the node is stopping: try again when it runs",
        Status::Damaged => {
            "a put or delete of the key repairs it; see the node's log for the device"
        }
        Status::MayBeStale => "see the node's log for what was lost; an operator must accept it",
        Status::Fenced => {
            "a device failed a flush: see the node's log, replace it, start the node again"
        }
        Status::Internal => "this is a fault of the node: see its log",
        _ => "",
    };
    let exit = match refused.status {
        Status::NotFound => Exit::NotFound,
        _ => Exit::Failed,
    };
    Failure::new(refused.to_string(), remedy).with_exit(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: Status) -> Error {
        Error::Refused(Refused {
            status,
            status_number: status.number(),
            retry_after_ms: 0,
            cause_number: 0,
            expected: 3,
            found: 5,
            text: String::new(),
        })
    }

    #[test]
    fn exit_codes() {
        for (error, exit) in [
            (refused(Status::NotFound), Exit::NotFound),
            (refused(Status::Exists), Exit::Failed),
            (refused(Status::GenerationMismatch), Exit::Failed),
            (Error::InDoubt(Doubt::TimedOut), Exit::Partial),
            (Error::TimedOut, Exit::Partial),
            (
                Error::Disconnected(corelith_client::ConnectError::Closed),
                Exit::Partial,
            ),
            (Error::Closed, Exit::Failed),
        ] {
            assert_eq!(failure_of(error.clone()).exit(), exit, "{error}");
        }
    }

    #[test]
    fn a_wrong_generation_is_told_in_words() {
        let failure = failure_of(refused(Status::GenerationMismatch));
        assert_eq!(failure.problem(), "the record has generation 5, not 3");
    }
}
