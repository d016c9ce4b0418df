//! The control page: /metrics, /live, /ready and /hot over HTTP, and what operators ask for and change, on a thread of
//! its own.
//!
//! It shares nothing with the cores: it asks each by mailbox and waits for the answers. A core that
//! does not answer in time makes the page an error, never a stall of the node.

mod admin;
mod cores;
mod listing;
mod room;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::boot::Event;
use crate::core::Order;
use crate::health::{Health, NodeState, StateCell};
use crate::limits::{CONTROL_BODY_BYTES_MAX, CONTROL_CONNECTIONS_MAX};
use crate::memory_plan::MemoryPlan;
use crate::metrics::{NodeFigures, hot_page, render};
use crate::supervisor::Supervisor;
use admin::Asked;
pub(crate) use cores::Cores;

/// How long a request of an operator may take to arrive.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);

/// Serves the page until the process ends.
pub(crate) fn serve(listener: TcpListener, supervisor: &Arc<Supervisor>, node: Node) {
    let served = listener.set_nonblocking(true).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        let node = Rc::new(node);
        if let Some(every) = supervisor.sign_of_life_every() {
            local.spawn_local(show_life(every, Arc::clone(supervisor), Rc::clone(&node)));
        }
        local.spawn_local(room::watch(Rc::clone(&node)));
        local.block_on(&runtime, accept(listener, node))
    });
    if let Err(error) = served {
        tracing::error!(%error, "the control page ended; the node goes on without it");
    }
}

/// What the page speaks for.
pub(crate) struct Node {
    pub(crate) state: StateCell,
    pub(crate) cores: Cores,
    /// To the main thread, which has the configuration.
    pub(crate) main: Sender<Event>,
    pub(crate) memory: Arc<MemoryPlan>,
}

/// Tells the supervisor that the node lives, as often as it asks for that: as long as every core answers. While
/// shards are recovered and while the node stops, the main thread sees to it that there is an end.
async fn show_life(every: Duration, supervisor: Arc<Supervisor>, node: Rc<Node>) {
    loop {
        if !node.state.get().is_up() || node.cores.ask(Order::Live, every).await.is_some() {
            supervisor.is_alive();
        } else {
            tracing::error!("a core does not answer: the supervisor gets no sign of life");
        }
        tokio::time::sleep(every).await;
    }
}

async fn accept(listener: TcpListener, node: Rc<Node>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(tokio::sync::Semaphore::new(CONTROL_CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let Ok((socket, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let node = Rc::clone(&node);
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, peer, Rc::clone(&node)));
            let connection = http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(REQUEST_PATIENCE)
                .serve_connection(TokioIo::new(socket), service);
            // A client that breaks off concerns nobody.
            drop(connection.await);
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    node: Rc<Node>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if admin::is_command(path) {
        let body = tokio::time::timeout(
            REQUEST_PATIENCE,
            Limited::new(body, CONTROL_BODY_BYTES_MAX).collect(),
        );
        let asked = Asked {
            method: &head.method,
            path,
            query: head.uri.query().unwrap_or_default(),
            is_command: head.headers.contains_key(admin::COMMAND_HEADER),
            is_from_here: peer.ip().to_canonical().is_loopback(),
            host: head.headers.get(HOST).and_then(|host| host.to_str().ok()),
            body: match body.await {
                Ok(Ok(body)) => Some(body.to_bytes()),
                Ok(Err(_)) | Err(_) => None,
            },
        };
        let (status, value) = admin::answer(&asked, &node).await;
        return Ok(typed(status, format!("{value}\n"), "application/json"));
    }
    if head.method != Method::GET && head.method != Method::HEAD {
        return Ok(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "this page takes GET only\n".to_owned(),
        ));
    }
    let response = match path {
        "/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/ready" => {
            let health = health(&node).await;
            let status = if health.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, health.to_string())
        }
        "/hot" => hot(&node).await,
        "/metrics" => metrics(&node).await,
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /live, /ready and /hot, and what the command `corelith` asks for\n"
                .to_owned(),
        ),
    };
    Ok(response)
}

/// What the node says of its health: its state, and while it serves what the cores know.
async fn health(node: &Node) -> Health {
    if node.state.get() != NodeState::Serving {
        return Health::from(&node.state);
    }
    match node.cores.snapshots().await {
        Some(snapshots) => Health::of(&snapshots),
        None => Health::Silent,
    }
}

async fn metrics(node: &Node) -> Response<Full<Bytes>> {
    // While shards are recovered and after the stop began the cores answer nobody.
    if !node.state.get().is_up() {
        let figures = NodeFigures {
            states: Health::from(&node.state).states(),
            memory: &node.memory,
        };
        return text(StatusCode::OK, render(&figures, &[]));
    }
    match node.cores.snapshots().await {
        Some(snapshots) => {
            let health = match node.state.get() {
                NodeState::Serving => Health::of(&snapshots),
                NodeState::Loading | NodeState::Quiesced | NodeState::Stopping => {
                    Health::from(&node.state)
                }
            };
            let figures = NodeFigures {
                states: health.states(),
                memory: &node.memory,
            };
            text(StatusCode::OK, render(&figures, &snapshots))
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, Health::Silent.to_string()),
    }
}

/// The hottest digests.
async fn hot(node: &Node) -> Response<Full<Bytes>> {
    if !node.state.get().is_up() {
        let health = Health::from(&node.state).to_string();
        return text(StatusCode::SERVICE_UNAVAILABLE, health);
    }
    match node.cores.snapshots().await {
        Some(snapshots) => text(StatusCode::OK, hot_page(&snapshots)),
        None => text(StatusCode::SERVICE_UNAVAILABLE, Health::Silent.to_string()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    typed(status, body, "text/plain; version=0.0.4")
}

fn typed(status: StatusCode, body: String, content_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
