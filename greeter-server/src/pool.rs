//! Where jobs are answered: by the workers of a pool, or on the spot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use greeter_core::{AnsweredJob, ClientJob, Farewell, Responder, Slice};

use crate::connection_thread::Mail;
use crate::mailbox::Mailbox;

/// How long a job may keep a worker while others wait. Long against what it costs to send a job home and back (some
/// microseconds), short against what a person notices.
const SLICE: Duration = Duration::from_millis(1);

/// How many bytes of replies end a slice. It bounds what a client that does not read can make the server hold: so many
/// bytes and one reply.
const SLICE_REPLY_BYTES: usize = 256 * 1024;

/// What a connection thread wants done.
#[derive(Debug)]
pub(crate) enum Task<S> {
    /// Answer this job, and send it back to this connection thread.
    Answer { job: ClientJob<S>, home: usize },
    /// Tell the responder that a client is gone.
    Farewell(Farewell<S>),
}

/// Who answers the jobs of a connection thread.
#[derive(Debug)]
pub(crate) enum Placement<R: Responder> {
    /// The connection thread itself: the article's first program.
    InPlace { responder: Arc<R> },
    /// Whichever worker is free: the article's second. The channel has no bound of its own, and needs none: a connection has
    /// one job, and what it leaves behind at its end is one farewell.
    Pool { tasks: Sender<Task<R::Session>>, home: usize },
}

impl<R: Responder> Placement<R> {
    /// Has a job answered: now, or by a message to the connection thread.
    pub(crate) fn answer(&self, job: ClientJob<R::Session>) -> Option<AnsweredJob<R::Session>> {
        match self {
            Self::InPlace { responder } => Some(answer(responder, job)),
            Self::Pool { tasks, home } => {
                send(tasks, Task::Answer { job, home: *home });
                None
            }
        }
    }

    pub(crate) fn farewell(&self, farewell: Farewell<R::Session>) {
        match self {
            Self::InPlace { responder } => say(responder, farewell),
            Self::Pool { tasks, .. } => send(tasks, Task::Farewell(farewell)),
        }
    }
}

/// A worker's life: tasks, until every connection thread is gone and no task is left. A job whose connection thread is gone,
/// since a shutdown ran out of time, is not worth answering any more.
pub(crate) fn work<R: Responder>(
    responder: &Arc<R>,
    tasks: &Receiver<Task<R::Session>>,
    mailboxes: &[Mailbox<Mail<R::Session>>],
) {
    for task in tasks {
        match task {
            Task::Answer { job, home } if mailboxes[home].is_read() => {
                mailboxes[home].send(Mail::Answered(answer(responder, job)));
            }
            Task::Answer { .. } => {}
            Task::Farewell(farewell) => say(responder, farewell),
        }
    }
}

fn send<S>(tasks: &Sender<Task<S>>, task: Task<S>) {
    tasks.send(task).expect("workers outlive the connection threads");
}

fn answer<R: Responder>(responder: &Arc<R>, job: ClientJob<R::Session>) -> AnsweredJob<R::Session> {
    let start = Instant::now();
    job.answer(&**responder, Slice::new(SLICE, SLICE_REPLY_BYTES, || start.elapsed()))
}

fn say<R: Responder>(responder: &Arc<R>, farewell: Farewell<R::Session>) {
    if let Err(fault) = farewell.say(&**responder) {
        tracing::error!(error = %fault, "Responder failed.");
    }
}
