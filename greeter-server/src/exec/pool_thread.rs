//! The thread that drives a program's processes: its mail and its events at one end, whoever asks
//! and waits for it at the other. Must not know what is asked.

use std::io;
use std::iter;
use std::mem;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry};

use super::report::ExecError;
use super::running::Channel;
use super::spawner::{self, ProcessSpawner, StartOutcome, StartRequest};
use crate::limits::POLL_PAUSE;
use crate::mailbox::{Inbox, Mailbox, WAKE_UP, mailbox};
use crate::sync::{Sender, channel};

/// How many events are taken at once.
const EVENTS: usize = 256;

/// How many messages are.
const MAX_MAIL: usize = 256;

/// The end of those who ask.
pub(super) struct PoolThread<M> {
    mailbox: Mailbox<M>,
    /// It, and that which starts processes for it.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The thread's own end.
pub(super) struct PoolEvents<M> {
    poll: Poll,
    events: Events,
    inbox: Inbox<M>,
    mailbox: Mailbox<M>,
    spawner: ProcessSpawner,
}

impl<M: From<StartOutcome> + Send + 'static> PoolThread<M> {
    /// Starts the thread, and that which starts processes for it.
    pub(super) fn start(name: &str, run: impl FnOnce(PoolEvents<M>) + Send + 'static) -> Result<Self, ExecError> {
        let failed = |source| ExecError::Thread { source };
        let (mailbox, inbox, poll) = mailbox().map_err(failed)?;
        let (spawner, spawns) = spawner::start(mailbox.clone()).map_err(failed)?;
        let events =
            PoolEvents { poll, events: Events::with_capacity(EVENTS), inbox, mailbox: mailbox.clone(), spawner };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(|| run(events)).map_err(failed)?;
        Ok(Self { mailbox, threads: Mutex::new(vec![thread, spawns]) })
    }
}

impl<M> PoolThread<M> {
    pub(super) const fn mailbox(&self) -> &Mailbox<M> {
        &self.mailbox
    }

    pub(super) fn send(&self, message: M) {
        self.mailbox.send(message);
    }

    /// Sends what has an outcome, and waits for that.
    pub(super) fn ask(&self, message: impl FnOnce(Sender<Result<(), ExecError>>) -> M) -> Result<(), ExecError> {
        let (told, outcome) = channel();
        self.send(message(told));
        outcome.recv().unwrap_or(Err(ExecError::Busy))
    }

    /// Sends that it is to stop, and waits for its end.
    pub(super) fn stop(&self, message: M) {
        self.send(message);
        let threads = mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("What drives a program has panicked.");
            }
        }
    }
}

impl<M> PoolEvents<M> {
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Returns the thread's own mailbox, for those who are to tell it something.
    pub(super) const fn mailbox(&self) -> &Mailbox<M> {
        &self.mailbox
    }

    /// Has a process started.
    pub(super) fn spawn(&self, request: StartRequest) {
        self.spawner.start(request);
    }

    /// Waits for mail or an event, until then at most, and returns for what processes there are
    /// events. The time is over at once if there is mail already.
    pub(super) fn wait(&mut self, until: Option<Instant>) -> Vec<(usize, Channel)> {
        let timeout = match self.inbox.try_sleep() {
            true => until.map(|until| until.saturating_duration_since(Instant::now())),
            false => Some(Duration::ZERO),
        };
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            tracing::error!(%error, "Cannot wait for programs.");
            thread::sleep(POLL_PAUSE);
        }
        self.inbox.woke_up();
        let events = self.events.iter().filter(|event| event.token() != WAKE_UP);
        // Whoever reads stops where there is no more, and would not see the end behind that, which
        // is no event of its own if it has come with the last bytes.
        let times = |event: &Event| 1 + usize::from(event.is_read_closed());
        events.flat_map(|event| iter::repeat_n(Channel::of(event.token()), times(event))).collect()
    }

    /// Returns the mail, as far as it is dealt with before events and time are looked at again:
    /// whoever writes without end keeps no process waiting.
    pub(super) fn take_mail(&self) -> Vec<M> {
        iter::from_fn(|| self.inbox.next_message()).take(MAX_MAIL).collect()
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::fd::AsRawFd;

    use mio::Interest;
    use mio::unix::SourceFd;

    use crate::exec::process::Program;
    use crate::exec::running::RunningChild;

    struct Mail;

    impl From<StartOutcome> for Mail {
        fn from(_: StartOutcome) -> Self {
            Self
        }
    }

    #[test]
    fn an_end_that_comes_with_the_last_bytes_is_seen_behind_them() {
        let (mailbox, inbox, poll) = mailbox::<Mail>().unwrap();
        let (spawner, _spawns) = spawner::start(mailbox.clone()).unwrap();
        let mut events = PoolEvents { poll, events: Events::with_capacity(EVENTS), inbox, mailbox, spawner };
        let mut program = Program::new(OsStr::new("sh"));
        program.arguments = ["-c", "echo last; exec >&-; sleep 1000"].map(Into::into).into();
        let started = program.start().unwrap();
        // By then, its end has come.
        let (mut other, mut closed) = (Poll::new().unwrap(), Events::with_capacity(1));
        let stdout = started.stdout.as_raw_fd();
        other.registry().register(&mut SourceFd(&stdout), WAKE_UP, Interest::READABLE).unwrap();
        while !closed.iter().any(Event::is_read_closed) {
            other.poll(&mut closed, None).unwrap();
        }
        let mut child = RunningChild::new(started, 7, events.registry()).unwrap();
        let (mut buffer, now) = (vec![0; 100], Instant::now());
        let mut read = Vec::new();
        while !read.contains(&None) {
            let happened = events.wait(Some(now + Duration::from_secs(20)));
            assert!(!happened.is_empty(), "nothing more comes: {read:?}");
            let of_stdout = happened.iter().filter(|event| **event == (7, Channel::Stdout));
            read.extend(of_stdout.map(|_| child.read(&mut buffer, now).unwrap()));
        }
        assert_eq!((read, child.closed()), (vec![Some(5), None], Some(now)));
    }
}
