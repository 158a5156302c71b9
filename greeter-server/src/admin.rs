//! Answers questions about a running server over HTTP: whether it is alive, whether it wants
//! clients, its metrics, its connections, and a page for people.
//!
//! It is a [`Responder`] in a server of its own, so it has the limits, the deadlines and the drain
//! of any other: whoever floods it keeps none of the server's own clients waiting.
//!
//! | path | what |
//! |---|---|
//! | `/livez` | 200, or 503 if a connection thread has owed a [sign of life](ServerHandle::stuck_thread) for 10 seconds |
//! | `/readyz` | 200, or 503 if the server [wants no new clients](ServerHandle::is_ready) |
//! | `/metrics` | for Prometheus: counters, each limit beside its use, three histograms |
//! | `/connections` | JSON: the connections (a thousand at most), how many there are in each phase |
//! | `/` | a page for people, which refreshes itself |
//!
//! ```
//! use greeter_server::{Server, admin};
//!
//! let server = Server::builder().bind("127.0.0.1:0")?.spawn()?;
//! let admin = admin::server(&server).bind("127.0.0.1:0")?.spawn()?;
//! println!("curl http://{}/metrics", admin.local_addr());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It tells whoever can connect which clients there are, and asks nobody for a password. Give it
//! an address on this machine, or one that only those can reach who may know.

mod agent;
mod answer;
mod clients;
mod metrics;
mod request;
mod status;

use std::fmt;
use std::time::{Duration, Instant};

use greeter_core::{BoxError, Line, Peer, Rejection, Reply, Responder, WhenRejected};

use self::answer::{Answer, HTML, JSON, TEXT};
use self::clients::Snapshots;
use self::request::{Method, Request};
use self::status::Status;
use crate::builder::Builder;
use crate::handle::ServerHandle;
use crate::monitor::Monitor;
use crate::server::Server;

pub use self::agent::Agent;
#[cfg(feature = "exec")]
#[cfg(unix)]
pub use self::metrics::{exec_metrics, per_client_metrics, tagged_metrics};

/// How long a connection thread may owe a sign of life.
const STUCK_AFTER: Duration = Duration::from_secs(10);

/// How long a request may take, and then its answer. A line that has begun by then may end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How many may ask at a time; and of one address, which cannot keep the others out alone.
const MAX_CONNECTIONS: usize = 64;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;

/// As much as a browser sends of what other programs on the same machine have had it keep.
const MAX_LINE_BYTES: usize = 8192;

const PAGE: &str = include_str!("admin/page.html");

/// Returns the builder of a server that answers questions about this one, as the
/// [module](crate::admin) describes.
///
/// Start it behind the other, and stop it behind it. It does not keep the other running, and
/// answers with its last figures once that has ended.
pub fn server(of: &ServerHandle) -> Builder<Admin> {
    server_with(of, String::new)
}

/// Does the same, with more metrics behind those of the server: what this returns, in the text
/// format of Prometheus, at each scrape. It must not wait for anything.
///
/// ```
/// use greeter_server::{Server, admin};
///
/// let server = Server::builder().bind("127.0.0.1:0")?.spawn()?;
/// let more = || "# TYPE orders_total counter\norders_total 7\n".to_owned();
/// let admin = admin::server_with(&server, more).bind("127.0.0.1:0")?.spawn()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn server_with(of: &ServerHandle, metrics: impl Fn() -> String + Send + Sync + 'static) -> Builder<Admin> {
    small_server(Admin::new(of.monitor(), Box::new(metrics))).max_line_bytes(MAX_LINE_BYTES)
}

/// Returns the builder of a server that speaks HAProxy's agent-check for this one: whoever connects
/// is told `ready up 80%`, where four fifths of the connections are free, or `drain` if the server
/// [wants no new clients](ServerHandle::is_ready).
///
/// In HAProxy's configuration: `server NAME ADDRESS check agent-check agent-port PORT weight 100`.
/// The percentages are of that weight: of 1, HAProxy's default, 99 % is none.
pub fn agent(of: &ServerHandle) -> Builder<Agent> {
    small_server(Agent::new(of.monitor()))
}

fn small_server<R: Responder>(responder: R) -> Builder<R> {
    Server::builder()
        .responder(responder)
        .quiet()
        .workers(2)
        .connection_threads(1)
        .max_connections(MAX_CONNECTIONS)
        .max_connections_per_address(MAX_CONNECTIONS_PER_ADDRESS)
        .when_rejected(WhenRejected::Close)
        .line_timeout(TIMEOUT)
        .idle_timeout(TIMEOUT)
        .write_timeout(TIMEOUT)
        .linger_timeout(Duration::from_secs(1))
}

/// The responder of [`server`].
pub struct Admin {
    monitor: Monitor,
    snapshots: Snapshots,
    more_metrics: Box<MoreMetrics>,
}

/// Metrics that are not the server's own.
type MoreMetrics = dyn Fn() -> String + Send + Sync;

/// One connection of an [`Admin`], on which one request comes.
#[derive(Debug)]
pub struct AdminSession {
    /// Whether whoever asks does so from this machine.
    is_loopback: bool,
    connected: Instant,
    /// Whether an empty line has come in front of the request.
    has_empty_line: bool,
    /// What the first line asks with, whatever else is wrong with it.
    method: Method,
    /// The request, once its first line is here.
    request: Option<Request>,
}

impl Admin {
    fn new(monitor: Monitor, more_metrics: Box<MoreMetrics>) -> Self {
        Self { monitor, snapshots: Snapshots::default(), more_metrics }
    }

    fn answer(&self, path: &str) -> Answer {
        let unavailable =
            |words: String| Answer { status: Status::UNAVAILABLE, content_type: TEXT, body: words.into() };
        match path {
            "/livez" => match self.monitor.stuck_thread(STUCK_AFTER) {
                None => Answer::ok(TEXT, "alive\n"),
                Some(stuck) => unavailable(format!("{stuck}\n")),
            },
            "/readyz" if self.monitor.control.is_ready() => Answer::ok(TEXT, "ready\n"),
            "/readyz" if self.monitor.control.is_stopping() => unavailable("stopping\n".into()),
            "/readyz" => unavailable("wants no new clients\n".into()),
            "/metrics" => Answer::ok(metrics::CONTENT_TYPE, metrics::metrics(&self.monitor) + &(self.more_metrics)()),
            "/connections" => match self.snapshots.latest(&self.monitor) {
                Some(json) => Answer::ok(JSON, json.to_string()),
                None => Answer::of(Status::UNAVAILABLE),
            },
            "/" => Answer::ok(HTML, PAGE),
            _ => Answer::of(Status::NOT_FOUND),
        }
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl AdminSession {
    /// Takes a line, and returns whether it is the last of its request.
    fn take(&mut self, line: &[u8]) -> Result<bool, Status> {
        if self.connected.elapsed() > TIMEOUT {
            return Err(Status::REQUEST_TIMEOUT);
        }
        match &mut self.request {
            // One empty line in front of a request is none of it (RFC 9112, 2.2).
            None if line.is_empty() && !self.has_empty_line => self.has_empty_line = true,
            None => {
                self.method = Method::of_line(line);
                self.request = Some(Request::begin(line)?);
            }
            Some(request) if line.is_empty() => return request.end(self.is_loopback).map(|()| true),
            Some(request) => request.field(line)?,
        }
        Ok(false)
    }
}

impl Responder for Admin {
    type Session = AdminSession;

    fn connect(&self, peer: &Peer, _reply: &mut Reply<'_>) -> Result<AdminSession, BoxError> {
        let is_loopback = peer.address.ip().is_some_and(|ip| ip.to_canonical().is_loopback());
        let connected = Instant::now();
        Ok(AdminSession { is_loopback, connected, has_empty_line: false, method: Method::Get, request: None })
    }

    fn respond(&self, session: &mut AdminSession, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        match (session.take(line.as_bytes()), &session.request) {
            (Ok(true), Some(request)) => self.answer(&request.path).write(session.method, reply),
            (Ok(_), _) => {}
            (Err(status), _) => Answer::of(status).write(session.method, reply),
        }
        Ok(())
    }

    fn reject(&self, session: Option<&mut AdminSession>, rejection: Rejection, reply: &mut Reply<'_>) {
        let has_begun = session.as_ref().is_some_and(|session| session.request.is_some());
        let status = match rejection {
            // Who says nothing more, and is in no line, has most likely gone.
            Rejection::IdleTimeout { .. } => return,
            Rejection::LineTooLong { .. } if has_begun => Status::FIELDS_TOO_LARGE,
            Rejection::LineTooLong { .. } => Status::URI_TOO_LONG,
            Rejection::LineTimeout { .. } => Status::REQUEST_TIMEOUT,
            Rejection::InternalError => Status::INTERNAL_ERROR,
            _ => Status::UNAVAILABLE,
        };
        Answer::of(status).write(session.map_or(Method::Get, |session| session.method), reply);
    }
}
