//! The responder that greeter ships with.

use crate::error::BoxError;
use crate::line::Line;
use crate::peer::Peer;
use crate::reply::Reply;
use crate::responder::Responder;

const HELLO: Line<'_> = Line::literal("Hello, ");

/// Greets everyone by name: `Bob` is answered `Hello, Bob`, whatever bytes the name is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greeter;

impl Responder for Greeter {
    type Session = ();

    fn connect(&self, _peer: &Peer, _reply: &mut Reply<'_>) -> Result<(), BoxError> {
        Ok(())
    }

    #[inline]
    fn respond(&self, _session: &mut (), name: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line([HELLO, name]);
        Ok(())
    }
}
