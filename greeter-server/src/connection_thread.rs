//! A connection thread: drives its clients by readiness, each from its first byte to its last.
//!
//! A connection lives and dies here; no other thread touches its socket. News comes from the system (a socket is ready) and
//! by mail (a new client, an answered job, a stop); either only puts clients into a queue. Turns are taken from that queue,
//! one client after the other, and one turn is bounded: a read, a job, a write. Whoever could go on stands in line again.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{AnsweredJob, CloseReason, Connection, Ending, Peer, Responder};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use crate::client::Client;
use crate::mailbox::Inbox;
use crate::pool::Placement;
use crate::slots::{Key, Slots};
use crate::stats::Counters;

/// How long a client that was told of the end may go on sending into the void.
const LINGER: Duration = Duration::from_secs(2);

/// How much is read at once. A client that pipelines is read, answered and written in batches of this size.
const READ_BYTES: usize = 64 * 1024;

/// How long turns are taken without a look at what else has happened. Much longer than a slice, so that looking costs little,
/// and short against any deadline: an order to stop waits for so long at the most, and for one line.
const ROUND: Duration = Duration::from_millis(10);

/// How many sockets one look at the system can report. Those beyond it are reported by the next.
const EVENTS: usize = 1024;

/// What other threads tell a connection thread.
#[derive(Debug)]
pub(crate) enum Mail<S> {
    /// The acceptor has a new client.
    Accepted { socket: TcpStream, peer: SocketAddr },
    /// A worker sends a job home.
    Answered(AnsweredJob<S>),
    /// Serve to the end what has arrived, but no longer than this, and then end.
    Stop { deadline: Instant },
}

/// Whether the server stops.
#[derive(Clone, Copy, Debug)]
enum Stopping {
    No,
    /// What has arrived is served until then.
    Drains {
        until: Instant,
    },
    /// The time is over, and every connection was cut off.
    IsCutOff,
}

pub(crate) struct ConnectionThread<R: Responder> {
    poll: Poll,
    inbox: Inbox<Mail<R::Session>>,
    placement: Placement<R>,
    line_bytes_max: u32,
    counters: Arc<Counters>,

    clients: Slots<Client<R::Session>>,
    /// Clients that can go on, in the order in which they became so. Each stands in it once.
    queue: VecDeque<Key>,
    /// When to look at whom again. All wait equally long, so the order of coming is the order of going. A client that is
    /// gone before its time is only noticed then.
    lingering: VecDeque<(Instant, Key)>,
    stopping: Stopping,
    read_buffer: Box<[u8]>,
}

impl<R: Responder> ConnectionThread<R> {
    /// Sets everything up that can fail, so that the thread itself need not.
    pub(crate) fn new(
        placement: Placement<R>,
        poll: Poll,
        inbox: Inbox<Mail<R::Session>>,
        line_bytes_max: u32,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            poll,
            inbox,
            placement,
            line_bytes_max,
            counters,
            clients: Slots::new(),
            queue: VecDeque::new(),
            lingering: VecDeque::new(),
            stopping: Stopping::No,
            read_buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// The thread's life, until it is told to stop and its last client is gone.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.is_done() {
            self.wait(&mut events);
            for event in &events {
                self.note(event);
            }
            self.read_mail();
            self.meet_deadlines();
            self.take_turns();
        }
    }

    /// Sleeps until there is news, or not at all while clients stand in the queue.
    fn wait(&mut self, events: &mut Events) {
        let timeout = if self.queue.is_empty() && self.inbox.try_sleep() {
            self.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let polled = self.poll.poll(events, timeout);
        self.inbox.woke_up();
        if let Err(error) = polled
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "Cannot wait for sockets.");
        }
    }

    fn note(&mut self, event: &Event) {
        let Some(key) = self.clients.key_of(event.token().0) else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.note(event);
        if event.is_error() {
            client.connection.abort(CloseReason::Lost);
        }
        enqueue(&mut self.queue, client, key);
    }

    fn read_mail(&mut self) {
        // Only what is here now: what comes in meanwhile finds its turn after those who stand in the queue.
        for _ in 0..self.inbox.len() {
            match self.inbox.next_message() {
                Some(Mail::Accepted { socket, peer }) => self.welcome(socket, peer),
                Some(Mail::Answered(job)) => self.take_home(job),
                Some(Mail::Stop { deadline }) => self.stop(deadline),
                None => return,
            }
        }
    }

    fn welcome(&mut self, socket: TcpStream, peer: SocketAddr) {
        let key = self.clients.next_key();
        let connection = Connection::new(key.into(), Peer::new(peer), self.line_bytes_max);
        let mut client = Client::new(connection, socket, peer);
        if let Err(error) = client.watch(self.poll.registry(), Token(key.slot as usize)) {
            tracing::error!(%peer, %error, "Cannot watch a connection.");
            self.counters.closed.add(1);
            return;
        }
        tracing::info!(%peer, "Accepted connection.");
        enqueue(&mut self.queue, &mut client, key);
        self.clients.insert(client);
    }

    fn take_home(&mut self, mut job: AnsweredJob<R::Session>) {
        let key = Key::from(job.id());
        let client = self.clients.get_mut(key).expect("a connection waits for its job");
        report_faults(&mut job, client.peer, &self.counters);
        client.connection.answered(job);
        enqueue(&mut self.queue, client, key);
    }

    fn stop(&mut self, deadline: Instant) {
        self.stopping = Stopping::Drains { until: deadline };
        self.for_all_clients(Client::stop);
    }

    /// Sends everybody away whose time is up.
    fn meet_deadlines(&mut self) {
        let Some(deadline) = self.next_deadline() else { return };
        let now = Instant::now();
        if now < deadline {
            return;
        }
        let expired = self.lingering.partition_point(|(until, _)| *until <= now);
        for (_, key) in self.lingering.drain(..expired) {
            if let Some(client) = self.clients.get_mut(key) {
                client.connection.expired(now);
                enqueue(&mut self.queue, client, key);
            }
        }
        if let Stopping::Drains { until } = self.stopping
            && until <= now
        {
            self.stopping = Stopping::IsCutOff;
            self.for_all_clients(|client| client.connection.abort(CloseReason::ByShutdownDeadline));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let lingering = self.lingering.front().map(|(until, _)| *until);
        let drained = match self.stopping {
            Stopping::Drains { until } => Some(until),
            Stopping::No | Stopping::IsCutOff => None,
        };
        [lingering, drained].into_iter().flatten().min()
    }

    /// Once they are cut off, connections whose jobs are still with a worker are left behind.
    fn is_done(&self) -> bool {
        match self.stopping {
            Stopping::No => false,
            Stopping::Drains { .. } => self.clients.is_empty(),
            Stopping::IsCutOff => self.queue.is_empty(),
        }
    }

    fn for_all_clients(&mut self, tell: impl Fn(&mut Client<R::Session>)) {
        for key in self.clients.keys() {
            if let Some(client) = self.clients.get_mut(key) {
                tell(client);
                enqueue(&mut self.queue, client, key);
            }
        }
    }

    /// Everyone who stands in the queue now has a turn, unless that takes too long: then news comes first.
    fn take_turns(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let start = Instant::now();
        for _ in 0..self.queue.len() {
            self.take_turn();
            if start.elapsed() >= ROUND {
                return;
            }
        }
    }

    /// The first in the queue has its turn.
    fn take_turn(&mut self) {
        let Some(key) = self.queue.pop_front() else { return };
        let Some(client) = self.clients.get_mut(key) else { return };
        client.is_queued = false;
        let served = serve(client, &self.placement, &mut self.read_buffer, &self.counters)
            .and_then(|()| finish_sending(client, key, &mut self.lingering));
        if let Err(error) = served {
            tracing::debug!(peer = %client.peer, %error, "Connection broke.");
            client.connection.abort(CloseReason::Lost);
        }
        let account = client.connection.take_account();
        client.lines += u64::from(account.lines);
        self.counters.add(&account);
        if client.can_go_on() {
            enqueue(&mut self.queue, client, key);
        } else if let Ending::Close(reason) = client.connection.ending() {
            self.close(key, reason);
        }
    }

    /// Closes the socket at once, and forgets the client as soon as its job is home.
    fn close(&mut self, key: Key, reason: CloseReason) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.close(self.poll.registry()) {
            tracing::info!(peer = %client.peer, lines = client.lines, %reason, "Client disconnected.");
            self.counters.closed.add(1);
            self.counters.overran.add(u64::from(reason == CloseReason::ByShutdownDeadline));
        }
        if client.connection.is_home()
            && let Some(client) = self.clients.remove(key)
            && let Some(farewell) = client.connection.dissolve()
        {
            self.placement.farewell(farewell);
        }
    }
}

/// One client's turn: what is owed goes out, the next lines come in, they are answered, and where that happens on the spot the
/// replies go out.
fn serve<R: Responder>(
    client: &mut Client<R::Session>,
    placement: &Placement<R>,
    read_buffer: &mut [u8],
    counters: &Counters,
) -> io::Result<()> {
    client.write(counters)?;
    client.read(read_buffer, counters)?;
    let Some(job) = client.connection.take_job() else { return Ok(()) };
    let Some(mut job) = placement.answer(job) else { return Ok(()) };
    report_faults(&mut job, client.peer, counters);
    client.connection.answered(job);
    client.write(counters)
}

/// Sends our end of the stream, when it is time for that, and gives the client a while to take note.
fn finish_sending<S>(client: &mut Client<S>, key: Key, lingering: &mut VecDeque<(Instant, Key)>) -> io::Result<()> {
    if client.connection.ending() == Ending::FinishSending {
        client.finish_sending()?;
        client.connection.finished_sending(Instant::now() + LINGER);
        lingering.extend(client.connection.deadline().map(|until| (until, key)));
    }
    Ok(())
}

fn report_faults<S>(job: &mut AnsweredJob<S>, peer: SocketAddr, counters: &Counters) {
    let faults = job.take_faults();
    if let Some(error) = faults.first {
        counters.faults.add(faults.count.into());
        tracing::error!(%peer, %error, count = faults.count, "Responder failed.");
    }
}

fn enqueue<S>(queue: &mut VecDeque<Key>, client: &mut Client<S>, key: Key) {
    if !client.is_queued {
        client.is_queued = true;
        queue.push_back(key);
    }
}
