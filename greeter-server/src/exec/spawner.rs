//! Turns requests into processes, on a thread of its own: to start one blocks until its program
//! runs. Must not decide when one is started.

use std::io;
use std::sync::Arc;
use std::thread;

use super::process::{Program, StartedProcess};
use crate::mailbox::Mailbox;
use crate::sync::{Receiver, Sender, channel};

/// A process that is wanted.
#[derive(Debug)]
pub(super) struct StartRequest {
    pub(super) program: Arc<Program>,
    /// The place that it is for, and the number that it has there.
    pub(super) place: usize,
    pub(super) number: usize,
}

/// What a request has come to.
#[derive(Debug)]
pub(super) struct StartOutcome {
    pub(super) request: StartRequest,
    pub(super) started: io::Result<StartedProcess>,
}

/// Starts the thread. It ends when nobody can ask any more.
pub(super) fn start<M: From<StartOutcome> + Send + 'static>(mailbox: Mailbox<M>) -> io::Result<Sender<StartRequest>> {
    let (sender, requests): (_, Receiver<StartRequest>) = channel();
    let run = move || {
        while let Ok(request) = requests.recv() {
            let started = request.program.start();
            // If nobody wants it any more, it is dropped, and its process ends.
            mailbox.send(StartOutcome { request, started }.into());
        }
    };
    thread::Builder::new().name("greeter-spawn".to_owned()).spawn(run)?;
    Ok(sender)
}
