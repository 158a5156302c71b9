//! Turns a name into a greeting: the responder that greeter ships with.
//!
//! It keeps nothing for a client and accepts any bytes.

use crate::error::BoxError;
use crate::line::Line;
use crate::peer::Peer;
use crate::reply::Reply;
use crate::responder::Responder;

const HELLO: Line<'_> = Line::literal("Hello, ");

/// A responder that greets by name: it answers `Bob` with `Hello, Bob`, whatever bytes the name
/// consists of.
///
/// ```
/// # extern crate greeter_core as greeter_server;
/// use greeter_server::Greeter;
/// use greeter_server::testing::TestClient;
///
/// TestClient::connect(&Greeter).send("Bob\r\nAnn\n").expect("Hello, Bob\r\nHello, Ann\n");
/// ```
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
