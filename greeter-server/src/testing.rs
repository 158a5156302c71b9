//! Tools for testing a responder, [without a network](TestClient) and with one.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::{Shutdown, TcpStream};
//! use greeter_server::{Greeter, testing};
//!
//! let server = testing::serve(Greeter);
//! let mut client = TcpStream::connect(server.local_addr())?;
//! client.write_all(b"Bob\n")?;
//! client.shutdown(Shutdown::Write)?;
//! let mut reply = String::new();
//! client.read_to_string(&mut reply)?;
//! assert_eq!(reply, "Hello, Bob\n");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! A responder that [pushes lines](PushHandle) can be tested without a network too. The test
//! decides when they arrive:
//!
//! ```
//! use greeter_server::testing::{self, TestClient};
//! use greeter_server::{ClientId, BoxError, Line, Peer, PushHandle, Reply, Responder};
//!
//! /// Pushes every line to all clients.
//! struct Megaphone(PushHandle);
//!
//! impl Responder for Megaphone {
//!     type Session = ();
//!
//!     fn connect(&self, _: &Peer, _: &mut Reply<'_>) -> Result<(), BoxError> {
//!         Ok(())
//!     }
//!
//!     fn respond(&self, (): &mut (), line: Line<'_>, _: &mut Reply<'_>) -> Result<(), BoxError> {
//!         Ok(self.0.broadcast(line.as_bytes())?)
//!     }
//! }
//!
//! let (push, pushed) = testing::push();
//! let megaphone = Megaphone(push);
//! let mut ann = TestClient::connect_with_id(1, &megaphone);
//! let mut bob = TestClient::connect_with_id(2, &megaphone);
//! ann.send("hello\n").expect("");
//! pushed.deliver([&mut ann, &mut bob]);
//! ann.expect("hello\n");
//! bob.expect("hello\n");
//! ```
//!
//! With a network, [`serve_with`] serves it. [`ConnectionConfig`] sets other limits:
//!
//! ```
//! use std::time::Duration;
//! use greeter_server::testing::{ConnectionConfig, ConnectionTimeouts, TestClient, peer};
//! use greeter_server::Greeter;
//!
//! let idle = Some(Duration::from_secs(1));
//! let timeouts = ConnectionTimeouts { idle, ..ConnectionTimeouts::NONE };
//! let config = ConnectionConfig::new(10, timeouts, &Greeter);
//! let peer = peer(7, ([192, 0, 2, 1], 4000));
//! let mut client = TestClient::connect_as(peer, &Greeter, config);
//! client.send("Bartholomew\n").expect("error: line longer than 10 bytes\n");
//! client.wait(Duration::from_secs(1)).expect("error: idle for 1s\n");
//! ```

#[doc(inline)]
pub use greeter_core::testing::{TestClient, check_every_fragmentation, peer};
pub use greeter_core::{
    ConnectionConfig, ConnectionTimeouts, PushMessage, PushReceipt, ResponderError, ResponderErrors,
};

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use greeter_core::{ClientId, Responder};

use crate::handle::ServerHandle;
use crate::messages::InFlightPush;
use crate::push::PushHandle;
use crate::server::Server;
use crate::thread_mailboxes::PushTarget;

/// Serves on a free port of 127.0.0.1, with two workers.
///
/// Clients can connect when it returns. The server stops when the handle is dropped.
///
/// # Panics
///
/// Panics if the system has no port, no descriptor or no thread left.
pub fn serve<R: Responder>(responder: R) -> ServerHandle {
    serve_with(|_| responder)
}

/// Serves a responder that also pushes lines, like [`serve`].
///
/// ```
/// use greeter_server::{PushHandle, responder_fn, testing};
///
/// let server = testing::serve_with(|push: PushHandle| {
///     responder_fn(move |line: &str| push.broadcast(line).map(|()| "sent"))
/// });
/// ```
///
/// # Panics
///
/// Panics if the system has no port, no descriptor or no thread left.
pub fn serve_with<R: Responder>(make: impl FnOnce(PushHandle) -> R) -> ServerHandle {
    let server = Server::builder().responder_with(make).workers(2).connection_threads(1).bind("127.0.0.1:0");
    server.expect("there is a free port").spawn().expect("there are threads to be had")
}

/// Returns a [`PushHandle`] for a responder that is tested without a network, and the messages that
/// it pushes.
#[must_use]
pub fn push() -> (PushHandle, Pushed) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let push = PushHandle::new();
    push.connect(Arc::new(PushRecorder(sender)));
    (push, Pushed(receiver))
}

/// Messages that were pushed and wait until the test [delivers](Self::deliver) them.
///
/// It holds as much as may be [in flight](crate::PushError::TooMuch) in a server.
#[derive(Debug)]
pub struct Pushed(Receiver<RecordedPush>);

/// Records what is pushed, for one client or for all.
struct PushRecorder(Sender<RecordedPush>);

/// A message that was pushed.
#[derive(Debug)]
enum RecordedPush {
    To(ClientId, InFlightPush, Option<PushReceipt>),
    ToAll(Arc<InFlightPush>),
    Close(ClientId),
}

impl Pushed {
    /// Delivers all pushed messages, in order, to those of these clients that they are for. A
    /// message for any other client is dropped, as for one that has left.
    ///
    /// In a server, what a responder pushes to a client while it answers that client comes after
    /// the replies of the same turn. It does so here if it is delivered before the client sends
    /// more.
    pub fn deliver<'c, 'r: 'c, R: Responder>(&self, clients: impl IntoIterator<Item = &'c mut TestClient<'r, R>>) {
        let mut clients: Vec<_> = clients.into_iter().collect();
        for mut push in self.0.try_iter() {
            for client in &mut clients {
                match &mut push {
                    RecordedPush::To(id, message, receipt) if *id == client.id() => {
                        match receipt.take() {
                            Some(receipt) => client.push_with_receipt(message.content(), receipt),
                            None => client.push(message.content()),
                        };
                    }
                    RecordedPush::Close(id) if *id == client.id() => drop(client.close()),
                    RecordedPush::To(..) | RecordedPush::Close(_) => {}
                    RecordedPush::ToAll(message) => drop(client.push(message.content())),
                }
            }
        }
    }
}

impl PushTarget for PushRecorder {
    fn count(&self) -> usize {
        1
    }

    fn push(&self, to: ClientId, message: InFlightPush, receipt: Option<PushReceipt>) {
        // It fails only if the test has dropped the other end.
        let _ = self.0.send(RecordedPush::To(to, message, receipt));
    }

    fn broadcast(&self, message: &Arc<InFlightPush>) {
        let _ = self.0.send(RecordedPush::ToAll(Arc::clone(message)));
    }

    fn close_client(&self, client: ClientId) {
        let _ = self.0.send(RecordedPush::Close(client));
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::push::PushError;
    use crate::{BoxError, CloseReason, Line, Peer, Reply};
    use greeter_core::client_id;

    /// Pushes to the client itself, to another, to all, or to the client itself before its end.
    struct Gossip(PushHandle);

    impl Responder for Gossip {
        type Session = ClientId;

        fn connect(&self, peer: &Peer, reply: &mut Reply<'_>) -> Result<ClientId, BoxError> {
            reply.line("banner");
            Ok(peer.id)
        }

        fn respond(&self, id: &mut ClientId, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
            match line.as_bytes() {
                b"all" => self.0.broadcast_lines(["one", "two"])?,
                b"other" => self.0.raw(client_id(id.as_u64() + 1), "raw\n")?,
                b"close" => {
                    self.0.line(*id, "goodbye")?;
                    reply.close();
                }
                _ => self.0.line(*id, "yourself")?,
            }
            reply.line(line);
            Ok(())
        }
    }

    #[test]
    fn a_pushed_message_reaches_its_client_when_the_test_delivers_it() {
        let (push, pushed) = push();
        let gossip = Gossip(push);
        let [mut ann, mut bob] = [1, 2].map(|id| TestClient::connect_with_id(id, &gossip));
        bob.expect("banner\n");
        ann.send("self\r\nall\r\nother\r\n").expect("banner\nself\r\nall\r\nother\r\n");
        pushed.deliver([&mut ann, &mut bob]);
        ann.expect("yourself\r\none\r\ntwo\r\n");
        bob.expect("one\ntwo\nraw\n");
        pushed.deliver([&mut ann, &mut bob]);
        ann.expect("").send("other\n").expect("other\n");
        pushed.deliver([&mut ann]);
        pushed.deliver([&mut bob]);
        bob.expect("");
    }

    #[test]
    fn a_push_before_a_closing_reply_arrives_without_a_network_and_with_one() {
        let (push, pushed) = push();
        let gossip = Gossip(push);
        let mut client = TestClient::connect(&gossip);
        client.send("close\nmore\n").expect("banner\nclose\n");
        pushed.deliver([&mut client]);
        client.expect("goodbye\n").expect_end(CloseReason::ResponderClosed);

        let server = serve_with(Gossip);
        let mut client = std::net::TcpStream::connect(server.local_addr()).unwrap();
        std::io::Write::write_all(&mut client, b"close\nmore\n").unwrap();
        assert_eq!(std::io::read_to_string(client).unwrap(), "banner\nclose\ngoodbye\n");
    }

    #[test]
    fn pushes_are_limited_without_a_network_too() {
        let (push, pushed) = push();
        let text = "x".repeat(1 << 20);
        assert_eq!((0..20).filter(|_| push.broadcast(&text).is_ok()).count(), 15);
        assert_eq!(push.line(client_id(1), &text), Err(PushError::TooMuch));
        pushed.deliver([&mut TestClient::connect(&crate::Greeter)]);
        assert_eq!(push.broadcast(&text), Ok(()));
    }
}
