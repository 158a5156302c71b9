//! Turns requests into processes, on a thread of its own: to start one blocks until its program
//! runs. Must not decide when one is started.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

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

/// The end of whoever wants processes. When it is dropped, nothing more is started.
#[derive(Debug)]
pub(super) struct ProcessSpawner {
    requests: Sender<StartRequest>,
    is_over: Arc<AtomicBool>,
}

/// Starts the thread. It ends when nobody can ask any more.
pub(super) fn start<M: From<StartOutcome> + Send + 'static>(
    mailbox: Mailbox<M>,
) -> io::Result<(ProcessSpawner, JoinHandle<()>)> {
    let (sender, requests): (_, Receiver<StartRequest>) = channel();
    let is_over = Arc::<AtomicBool>::default();
    let spawner = ProcessSpawner { requests: sender, is_over: Arc::clone(&is_over) };
    let run = move || {
        while let Ok(request) = requests.recv() {
            if !is_over.load(Ordering::Relaxed) {
                let started = request.program.start();
                // If nobody wants it any more, it is dropped, and its process ends.
                mailbox.send(StartOutcome { request, started }.into());
            }
        }
    };
    let thread = thread::Builder::new().name("greeter-spawn".to_owned()).spawn(run)?;
    Ok((spawner, thread))
}

impl ProcessSpawner {
    /// Has a process started.
    pub(super) fn start(&self, request: StartRequest) {
        // The other thread lives as long as this end.
        let _ = self.requests.send(request);
    }
}

impl Drop for ProcessSpawner {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
