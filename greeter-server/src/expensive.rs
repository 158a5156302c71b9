//! The article's "something very expensive". Must not know what the other responder answers.

use std::time::{Duration, Instant};

use greeter_server::{BoxError, CloseReason, Line, Peer, Rejection, Reply, Responder};

/// A responder that keeps the processor busy before each reply of another. It shows what a service
/// is like when answering takes long, and whether it has enough workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expensive<R> {
    responder: R,
    work: Duration,
}

impl<R> Expensive<R> {
    /// Creates a responder that answers as `responder` does, after `work` of busy time for every
    /// line.
    pub(crate) const fn new(responder: R, work: Duration) -> Self {
        Self { responder, work }
    }
}

impl<R: Responder> Responder for Expensive<R> {
    type Session = R::Session;

    fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<Self::Session, BoxError> {
        self.responder.connect(peer, reply)
    }

    // Workers and connection threads have a loop each that calls this, and for two callers the
    // compiler makes a call of it: for each line, where a greeting takes some ten nanoseconds.
    #[expect(clippy::inline_always, reason = "looked at in the binary")]
    #[inline(always)]
    fn respond(&self, session: &mut Self::Session, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        // Without work, it is not worth reading the clock, which costs as much as a greeting.
        if !self.work.is_zero() {
            keep_busy(self.work);
        }
        self.responder.respond(session, line, reply)
    }

    fn bytes(&self, session: &mut Self::Session, bytes: &[u8], reply: &mut Reply<'_>) -> Result<(), BoxError> {
        self.responder.bytes(session, bytes, reply)
    }

    fn max_data_bytes(&self) -> usize {
        self.responder.max_data_bytes()
    }

    fn tls_started(&self, session: &mut Self::Session, peer: &Peer) {
        self.responder.tls_started(session, peer);
    }

    fn end_of_input(
        &self,
        session: &mut Self::Session,
        reason: CloseReason,
        reply: &mut Reply<'_>,
    ) -> Result<(), BoxError> {
        self.responder.end_of_input(session, reason, reply)
    }

    fn wants_end_of_input(&self) -> bool {
        self.responder.wants_end_of_input()
    }

    fn reject(&self, session: Option<&mut Self::Session>, rejection: Rejection, reply: &mut Reply<'_>) {
        self.responder.reject(session, rejection, reply);
    }

    fn disconnect(&self, session: Self::Session, reason: CloseReason) {
        self.responder.disconnect(session, reason);
    }
}

#[cold]
fn keep_busy(work: Duration) {
    let start = Instant::now();
    while start.elapsed() < work {
        std::hint::spin_loop();
    }
}
