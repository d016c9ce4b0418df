//! The control page: /metrics, /live, /ready and /hot over HTTP, on a thread of its own.
//!
//! It shares nothing with the cores: it asks each by mailbox and waits for the answers. A core that
//! does not answer in time makes the page an error, never a stall of the node.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corelith_io::MailboxSender;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use crate::core::Order;
use crate::health::{Health, NodeState, StateCell};
use crate::limits::CONTROL_CONNECTIONS_MAX;
use crate::memory_plan::MemoryPlan;
use crate::metrics::{CoreSnapshot, NodeFigures, hot_page, render};
use crate::supervisor::Supervisor;

/// How long a core may take to say what it has counted.
const CORE_ANSWER: Duration = Duration::from_secs(2);

type Cores = Rc<RefCell<Vec<MailboxSender<Order>>>>;

/// Serves the page until the process ends.
pub(crate) fn serve(
    listener: TcpListener,
    (state, supervisor): (&StateCell, &Arc<Supervisor>),
    (cores, memory): (Vec<MailboxSender<Order>>, Arc<MemoryPlan>),
) {
    let served = listener.set_nonblocking(true).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = tokio::task::LocalSet::new();
        let cores = Rc::new(RefCell::new(cores));
        if let Some(every) = supervisor.sign_of_life_every() {
            let (state, supervisor) = (state.clone(), Arc::clone(supervisor));
            local.spawn_local(show_life(every, supervisor, state, Rc::clone(&cores)));
        }
        local.block_on(&runtime, accept(listener, (state.clone(), memory), cores))
    });
    if let Err(error) = served {
        tracing::error!(%error, "the control page ended; the node goes on without it");
    }
}

/// Tells the supervisor that the node lives, as often as it asks for that: as long as every core answers. While
/// shards are recovered and while the node stops, the main thread sees to it that there is an end.
async fn show_life(every: Duration, supervisor: Arc<Supervisor>, state: StateCell, cores: Cores) {
    loop {
        if state.get() != NodeState::Serving || are_live(&cores, every).await {
            supervisor.is_alive();
        } else {
            tracing::error!("a core does not answer: the supervisor gets no sign of life");
        }
        tokio::time::sleep(every).await;
    }
}

/// True if every core answers in time.
async fn are_live(cores: &Cores, patience: Duration) -> bool {
    let mut waiting = Vec::new();
    for core in cores.borrow_mut().iter_mut() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        if core.try_send(Order::Live(sender)).is_err() {
            return false;
        }
        waiting.push(receiver);
    }
    for receiver in waiting {
        if !matches!(tokio::time::timeout(patience, receiver).await, Ok(Ok(()))) {
            return false;
        }
    }
    true
}

async fn accept(
    listener: TcpListener,
    (state, memory): (StateCell, Arc<MemoryPlan>),
    cores: Cores,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(tokio::sync::Semaphore::new(CONTROL_CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (state, cores) = ((state.clone(), Arc::clone(&memory)), Rc::clone(&cores));
        tokio::task::spawn_local(async move {
            let service = service_fn(|request| answer(request, state.clone(), Rc::clone(&cores)));
            let connection = http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(socket), service);
            // A client that breaks off concerns nobody.
            drop(connection.await);
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    (state, memory): (StateCell, Arc<MemoryPlan>),
    cores: Cores,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET\n".to_owned(),
        ));
    }
    let response = match request.uri().path() {
        "/live" => text(StatusCode::OK, "live\n".to_owned()),
        "/ready" => {
            let health = health(&state, &cores).await;
            let status = if health.is_ready() {
                StatusCode::OK
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            text(status, health.to_string())
        }
        "/hot" => hot(&state, &cores).await,
        "/metrics" => metrics((&state, &memory), &cores).await,
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /live, /ready and /hot\n".to_owned(),
        ),
    };
    Ok(response)
}

/// What the node says of its health: its state, and while it serves what the cores know.
async fn health(state: &StateCell, cores: &Cores) -> Health {
    if state.get() != NodeState::Serving {
        return Health::from(state);
    }
    match collect(cores).await {
        Some(snapshots) => Health::of(&snapshots),
        None => Health::Silent,
    }
}

async fn metrics(
    (state, memory): (&StateCell, &MemoryPlan),
    cores: &Cores,
) -> Response<Full<Bytes>> {
    // While shards are recovered and after the stop began the cores answer nobody.
    if state.get() != NodeState::Serving {
        let node = NodeFigures {
            states: Health::from(state).states(),
            memory,
        };
        return text(StatusCode::OK, render(&node, &[]));
    }
    match collect(cores).await {
        Some(snapshots) => {
            let node = NodeFigures {
                states: Health::of(&snapshots).states(),
                memory,
            };
            text(StatusCode::OK, render(&node, &snapshots))
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, Health::Silent.to_string()),
    }
}

/// The hottest digests.
async fn hot(state: &StateCell, cores: &Cores) -> Response<Full<Bytes>> {
    if state.get() != NodeState::Serving {
        let health = Health::from(state).to_string();
        return text(StatusCode::SERVICE_UNAVAILABLE, health);
    }
    match collect(cores).await {
        Some(snapshots) => text(StatusCode::OK, hot_page(&snapshots)),
        None => text(StatusCode::SERVICE_UNAVAILABLE, Health::Silent.to_string()),
    }
}

/// Asks every core; `None` if one does not answer in time.
async fn collect(cores: &Cores) -> Option<Vec<CoreSnapshot>> {
    let mut waiting = Vec::new();
    for core in cores.borrow_mut().iter_mut() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        core.try_send(Order::Report(sender)).ok()?;
        waiting.push(receiver);
    }
    let mut snapshots = Vec::new();
    for receiver in waiting {
        snapshots.push(
            tokio::time::timeout(CORE_ANSWER, receiver)
                .await
                .ok()?
                .ok()?,
        );
    }
    Some(snapshots)
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("text/plain; version=0.0.4"),
    );
    response
}
