//! Models of what threads share, run in every order in which they can use it:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --target-dir target/loom \
//!     -p greeter-server --no-default-features --lib models
//! ```
//!
//! The code is the server's own; [`crate::sync`] puts [loom's](sync) locks and atomics under it.
//! Where a thread would wait for ever, loom reports it, and that is how a lost wake-up shows.

use crate::admission::{AcceptorMessage, Admission, Decision};
use crate::batcher::Queue;
use crate::config::Config;
use crate::connection::thread::{ConnectionThread, Shared};
use crate::current::Current;
use crate::mailbox::{Inbox, Mailbox, mailbox_of};
use crate::memory::MemoryBudget;
use crate::messages::ThreadMessage;
use crate::pool::executor::Executor;
use crate::pool::watchdog::Watchdog;
use crate::pool::worker::Pool;
use crate::pool::worker_registry::{CallKind, CallOutcome, WorkerEntry};
use crate::stats::Counters;
use crate::system::{Poller, Readiness, Socket};
use crate::thread_mailboxes::ThreadMailboxes;
use crate::ticker::{Ticker, ticker};

pub(crate) mod sync;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Address, ConnectionConfig, ConnectionTimeouts, Greeter, Peer, client_id};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use sync::channel;

/// Wakes a sleeping thread. A wake-up is not lost, whether it comes before the sleep or during it.
#[derive(Default)]
struct WakeUp {
    is_notified: Mutex<bool>,
    notified: Condvar,
}

impl WakeUp {
    fn notify(&self) {
        *self.is_notified.lock().unwrap() = true;
        self.notified.notify_one();
    }

    fn sleep(&self) {
        let mut is_notified = self.is_notified.lock().unwrap();
        while !*is_notified {
            is_notified = self.notified.wait(is_notified).unwrap();
        }
        *is_notified = false;
    }
}

fn mailbox<M: 'static>() -> (Mailbox<M>, Inbox<M>, Arc<WakeUp>) {
    let wake_up = Arc::new(WakeUp::default());
    let (mailbox, inbox) = mailbox_of({
        let wake_up = Arc::clone(&wake_up);
        move || {
            wake_up.notify();
            Ok(())
        }
    });
    (mailbox, inbox, wake_up)
}

/// Runs a model with this many switches between threads that nothing forces. Most errors take one
/// or two.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

#[test]
fn no_message_is_left_behind() {
    check(3, || {
        let (mailbox, inbox, wake_up) = mailbox();
        let senders: Vec<_> = (0..2)
            .map(|number| {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.send(number))
            })
            .collect();
        let mut received = 0;
        while received < 2 {
            if inbox.try_sleep() {
                wake_up.sleep();
            }
            inbox.woke_up();
            for _ in 0..inbox.len() {
                received += usize::from(inbox.next_message().is_some());
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn either_mailbox_of_a_thread_wakes_it() {
    check(3, || {
        let (mailbox, inbox, wake_up) = mailbox();
        let (other_mailbox, other_inbox) = mailbox.another();
        let sender = thread::spawn(move || mailbox.send(1));
        let other_sender = thread::spawn(move || other_mailbox.send("other"));
        let mut received = (None, None);
        while received != (Some(1), Some("other")) {
            if inbox.try_sleep() && other_inbox.try_sleep() {
                wake_up.sleep();
            }
            inbox.woke_up();
            received = (inbox.next_message().or(received.0), other_inbox.next_message().or(received.1));
        }
        sender.join().unwrap();
        other_sender.join().unwrap();
    });
}

#[test]
fn a_sender_survives_the_end_of_the_thread() {
    check(4, || {
        let (mailbox, inbox, _wake_up) = mailbox();
        let sender = thread::spawn(move || {
            if mailbox.has_receiver() {
                mailbox.send(Arc::new(()));
            }
            mailbox.send(Arc::new(()));
            mailbox
        });
        let _ = inbox.try_sleep();
        inbox.woke_up();
        let _ = inbox.next_message();
        drop(inbox);
        assert!(!sender.join().unwrap().has_receiver());
    });
}

#[test]
fn a_thread_that_takes_batches_is_woken_for_each_question_and_for_the_end() {
    check(3, || {
        let queue = Arc::new(Queue::new());
        let askers: Vec<_> = (0..2)
            .map(|number| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(number, |_| true))
            })
            .collect();
        let mut taken = Vec::new();
        while taken.len() < 2 {
            taken.extend(queue.take(1).expect("it is open"));
        }
        taken.sort_unstable();
        assert_eq!(taken, [0, 1]);
        let closer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.close()
        });
        assert_eq!(queue.take(1), None);
        askers.into_iter().chain([closer]).for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_worker_and_the_watchdog_agree_whether_an_answer_is_late() {
    check(4, || {
        let entry = Arc::new(WorkerEntry::default());
        let ticker = Ticker::default();
        let start = ticker.now();
        ticker.advance(1);
        let later = ticker.now();
        let watchdog = {
            let entry = Arc::clone(&entry);
            thread::spawn(move || {
                let time_out = || usize::from(entry.time_out(Duration::ZERO, later).is_some());
                time_out() + time_out()
            })
        };
        let mut too_late = 0;
        for _ in 0..2 {
            entry.begin(CallKind::Answer { part: None }, &peer(), start);
            too_late += usize::from(entry.finish() == CallOutcome::TooLate);
        }
        assert_eq!(too_late, watchdog.join().unwrap());
    });
}

fn peer() -> Peer {
    Peer::new(client_id(0), address())
}

fn address() -> Address {
    ([192, 0, 2, 1], 4000).into()
}

/// The socket of a client that has sent one line. The model receives what is written to it.
struct OneLineSocket {
    request: VecDeque<u8>,
    replies: Arc<std::sync::Mutex<Vec<u8>>>,
}

/// A poller in which time stands still.
struct FrozenPoller(Instant);

impl Read for OneLineSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.request.read(buffer)
    }
}

impl Write for OneLineSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for OneLineSocket {
    fn shutdown_write(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nobody here is a proxy.
    fn peek(&self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn bytes_arrived(&self) -> io::Result<usize> {
        Ok(self.request.len())
    }
}

impl Poller for FrozenPoller {
    type Socket = OneLineSocket;

    fn now(&self) -> Instant {
        self.0
    }

    fn register(&self, _: &mut OneLineSocket, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn reregister(&self, _: &mut OneLineSocket, _: u32) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&self, _: &mut OneLineSocket) {}
}

/// A server with one connection thread, as far as threads share something.
struct ModelServer {
    start: Instant,
    mailbox: Mailbox<ThreadMessage<(), OneLineSocket>>,
    admission: Arc<Admission>,
    shared: Shared,
    counters: Arc<Counters>,
}

impl ModelServer {
    fn new(workers: usize, mailbox: Mailbox<ThreadMessage<(), OneLineSocket>>) -> Self {
        let (acceptor, _) = mailbox_of::<AcceptorMessage>(|| Ok(()));
        let mut config = Config::without_timeouts(&Greeter);
        config.workers = workers;
        config.timeouts.linger = Duration::ZERO;
        config.timeouts.reply = Some(Duration::ZERO);
        config.connection = ConnectionConfig::new(
            100,
            ConnectionTimeouts { linger: Duration::ZERO, ..ConnectionTimeouts::NONE },
            &Greeter,
        );
        config.limits.max_unsent_bytes = 1000;
        config.read_bytes = 100;
        let config = Arc::new(config);
        let memory = Arc::new(MemoryBudget::new(usize::MAX));
        let admission = Arc::new(Admission::new(config.limits, acceptor));
        let start = Instant::now();
        let shared = Shared { config, memory, epoch: start };
        Self { start, mailbox, admission, shared, counters: Arc::default() }
    }

    /// Returns the message that brings a client, and what the client will have received in the end.
    fn client(&self, name: &str) -> (ThreadMessage<(), OneLineSocket>, Arc<std::sync::Mutex<Vec<u8>>>) {
        let replies = Arc::default();
        let socket = OneLineSocket { request: format!("{name}\n").into_bytes().into(), replies: Arc::clone(&replies) };
        let (Decision::Admit(permit), _) = self.admission.admit(address(), self.start) else { panic!("there is room") };
        (ThreadMessage::Accepted { socket, address: address(), permit, rules: Arc::default() }, replies)
    }

    /// Runs a connection thread.
    fn run(&self, executor: Executor<Greeter>, inbox: Inbox<ThreadMessage<(), OneLineSocket>>, wake_up: &WakeUp) {
        let (shared, counters) = (self.shared.clone(), Arc::clone(&self.counters));
        let mut thread = ConnectionThread::new(0, executor, FrozenPoller(self.start), inbox, shared, counters);
        while !thread.is_done() {
            if thread.timeout() != Some(Duration::ZERO) {
                wake_up.sleep();
            }
            thread.round(std::iter::empty::<(usize, Readiness)>());
        }
    }
}

#[test]
fn the_acceptors_last_client_is_served_before_the_thread_stops() {
    check(3, || {
        let (mailbox, inbox, wake_up) = mailbox();
        let server = ModelServer::new(0, mailbox.clone());
        let (message, replies) = server.client("Bob");
        let deadline = server.start + Duration::from_secs(1);
        let stopper = thread::spawn(move || {
            let acceptor = {
                let mailbox = mailbox.clone();
                thread::spawn(move || mailbox.send(message))
            };
            acceptor.join().unwrap();
            vec![mailbox].stop(deadline);
        });
        let executor = Executor::in_place(Arc::new(Greeter), Arc::clone(&server.shared.config), ticker().0);
        server.run(executor, inbox, &wake_up);
        stopper.join().unwrap();
        assert_eq!(*replies.lock().unwrap(), b"Hello, Bob\n");
    });
}

/// Two clients, two workers, and a watchdog that times out every call it finds, while the server
/// stops.
#[test]
fn a_watched_pool_answers_every_client_once_and_ends() {
    check(2, || {
        let (mailbox, inbox, wake_up) = mailbox();
        let server = ModelServer::new(2, mailbox);
        let (tasks, task_receiver) = channel();
        let pool = Arc::new(Pool {
            responder: Arc::new(Greeter),
            config: Arc::new(Current::new(Arc::clone(&server.shared.config))),
            tasks: task_receiver,
            mailboxes: vec![server.mailbox.clone()],
            workers: Arc::default(),
            memory: Arc::clone(&server.shared.memory),
            ticker: Arc::default(),
        });
        let workers = pool.workers.top_up(2, 2);
        let time = Arc::clone(&pool.ticker);
        let workers: Vec<_> = workers
            .into_iter()
            .map(|entry| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.work(&entry))
            })
            .collect();
        let no_thread = |_: &Arc<WorkerEntry>| Err(ErrorKind::WouldBlock.into());
        let mut watchdog = Watchdog::new(Arc::clone(&pool), no_thread, tasks.clone());
        let watchdog = thread::spawn(move || {
            time.advance(1);
            watchdog.check(time.now());
        });

        let clients = ["Ann", "Bob"].map(|name| {
            let (message, replies) = server.client(name);
            server.mailbox.send(message);
            (name, replies)
        });
        server.mailbox.send(ThreadMessage::Stop { deadline: server.start + Duration::from_secs(1) });
        let executor = Executor::pool(tasks, Arc::clone(&pool.workers), &pool.config.get(), ticker().0);
        server.run(executor, inbox, &wake_up);
        workers.into_iter().chain([watchdog]).for_each(|thread| thread.join().unwrap());

        for (name, replies) in clients {
            let replies = String::from_utf8(replies.lock().unwrap().clone()).unwrap();
            let expected = [format!("Hello, {name}\n"), "error: timed out\n".to_owned(), "error: busy\n".to_owned()];
            assert!(expected.contains(&replies), "{name} reads {replies:?}");
        }
    });
}
