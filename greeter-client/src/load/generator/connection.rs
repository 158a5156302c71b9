//! One connection of a load: what it has sent, what is in flight, and the replies that come.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use super::checker::Checker;
use super::socket::{LoadRead, LoadSocket};
use crate::load::exchange::{Awaited, Batch, ConnectionLoss, Received};
use crate::load::measure::clock::Clock;
use crate::load::workload::Workload;
use crate::net::Eol;

/// A line server's connection under load. Times are in nanoseconds since the start.
#[derive(Debug)]
pub(crate) struct LoadConnection {
    socket: LoadSocket,
    workload: Arc<Workload>,
    checker: Checker,
    /// Where the next byte to write stands in the block of requests.
    at: usize,
    /// How many bytes from there belong to lines that are sent and that the system has not taken
    /// yet.
    unwritten: usize,
    /// The line of the cycle that is sent next.
    line: usize,
    /// What was sent and not answered, the oldest first.
    in_flight: VecDeque<Batch>,
    in_flight_lines: usize,
}

/// What a read has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadProgress {
    /// There is nothing more.
    Drained,
    /// There was nothing more, unless it was the end.
    Short,
    /// There may be more.
    More,
}

impl LoadConnection {
    /// Starts with the `line`th line of its cycle, so that not all say the same at the same time.
    pub(crate) fn new(socket: LoadSocket, workload: Arc<Workload>, line: usize) -> Self {
        let line = workload.requests.advance(line, 0);
        let at = workload.requests.start(line);
        let checker = Checker::new(line);
        Self { socket, workload, checker, at, unwritten: 0, line, in_flight: VecDeque::new(), in_flight_lines: 0 }
    }

    pub(crate) fn socket(&mut self) -> &mut LoadSocket {
        &mut self.socket
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight_lines
    }

    /// Whether the system has not taken all that was sent.
    pub(crate) fn is_clogged(&self) -> bool {
        self.unwritten > 0 || self.socket.is_clogged()
    }

    /// When the line was sent that has waited longest.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.in_flight.front().map(|batch| batch.sent)
    }

    /// What is in flight, the oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.in_flight.iter()
    }

    /// The reply that comes next, or is coming.
    pub(crate) fn awaited(&self, eol: Eol) -> Awaited<'_> {
        self.checker.awaited(&self.workload, eol)
    }

    /// Sends as many of the next lines as the batch has.
    pub(crate) fn send(&mut self, batch: Batch) -> Result<(), ConnectionLoss> {
        let requests = &self.workload.requests;
        self.unwritten += requests.length(self.line, batch.lines);
        self.line = requests.advance(self.line, batch.lines);
        self.in_flight.push_back(batch);
        self.in_flight_lines += batch.lines;
        self.write()
    }

    /// Hands the system as much as it takes.
    pub(crate) fn write(&mut self) -> Result<(), ConnectionLoss> {
        while self.is_clogged() {
            let written = self.socket.flush().and_then(|()| match self.unwritten {
                0 => Ok(0),
                unwritten => self.socket.write(&self.workload.requests.pieces(self.at, unwritten)),
            });
            match written {
                Ok(count) => {
                    self.unwritten -= count;
                    self.at = (self.at + count) % self.workload.requests.bytes().len();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(ConnectionLoss::Lost(error)),
            }
        }
        Ok(())
    }

    /// Reads once, checks what has come, and tells `on_received` of it: with the lines that were
    /// answered, and when.
    pub(crate) fn read(
        &mut self,
        space: &mut [u8],
        eol: Eol,
        clock: Clock,
        mut on_received: impl FnMut(Received<'_>, Batch, u64),
    ) -> Result<ReadProgress, ConnectionLoss> {
        let LoadRead { count, is_short } = match self.socket.read(space) {
            Ok(LoadRead { count: 0, .. }) => {
                return Err(match () {
                    () if self.checker.is_within_line(&self.workload) => ConnectionLoss::PartialLine,
                    () if self.checker.is_within_reply() => ConnectionLoss::PartialReply,
                    () => ConnectionLoss::Closed,
                });
            }
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(ReadProgress::Drained),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(ReadProgress::More),
            Err(error) => return Err(ConnectionLoss::Lost(error)),
        };
        let now = clock.now();
        let Self { checker, workload, in_flight, in_flight_lines, .. } = self;
        let taken = checker.take(workload, eol, &space[..count], *in_flight_lines, |received| match received {
            Received::Match(mut lines) => {
                while lines > 0 {
                    let batch = answered(in_flight, lines);
                    lines -= batch.lines;
                    *in_flight_lines -= batch.lines;
                    on_received(Received::Match(batch.lines), batch, now);
                }
            }
            Received::Mismatch { .. } => {
                *in_flight_lines -= 1;
                on_received(received, answered(in_flight, 1), now);
            }
            Received::Unsolicited(_) | Received::Uncompared | Received::Suspect { .. } => {
                on_received(received, Batch { first: 0, lines: 0, sent: now }, now);
            }
        });
        taken.map_err(|_| ConnectionLoss::LineTooLong)?;
        Ok(if is_short { ReadProgress::Short } else { ReadProgress::More })
    }
}

/// Takes up to so many lines, all of one batch, from the front.
fn answered(in_flight: &mut VecDeque<Batch>, lines: usize) -> Batch {
    let front = in_flight.front_mut().expect("only what is in flight is answered");
    let taken = Batch { lines: lines.min(front.lines), ..*front };
    front.lines -= taken.lines;
    front.first += taken.lines as u64;
    if front.lines == 0 {
        in_flight.pop_front();
    }
    taken
}

#[cfg(feature = "tls")]
#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use socket2::SockRef;

    use super::*;
    use crate::load::config::Lines;
    use crate::load::workload::Workloads;
    use crate::net::{RawSocket, Route, TlsClient, TlsClientOptions, connect};
    use crate::talk::Variables;

    /// All of it is encrypted, and none of it is left to write but what the system has not taken.
    #[test]
    fn what_is_encrypted_leaves_though_nothing_is_left_to_encrypt() {
        const LINES: usize = 30_000;
        let identity = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(identity.signing_key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
        let mut route = Route::to(listener.local_addr().unwrap().into(), None);
        route.address = route.address.over_tls();
        route.tls = Some(TlsClient::new(&TlsClientOptions { insecure: true, ..TlsClientOptions::default() }).unwrap());
        let (go, may_read) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            let mut tls = ServerConnection::new(config.into()).unwrap();
            let mut socket = listener.accept().unwrap().0;
            while tls.is_handshaking() {
                tls.complete_io(&mut socket).unwrap();
            }
            may_read.recv().unwrap();
            let mut bytes = vec![0; LINES * 2];
            StreamOwned::new(tls, socket).read_exact(&mut bytes).unwrap();
        });

        let connected = connect(&route).unwrap();
        let RawSocket::Tcp(socket) = &connected.0 else { panic!("a socket of another kind") };
        SockRef::from(socket).set_send_buffer_size(4096).unwrap();
        let lines = Lines::new(["x".parse().unwrap()]);
        let variables = Variables::default();
        let workload = Workloads::new(&lines, &variables, Eol::Lf, LINES, 1, false).unwrap();
        let workload = workload.of(1, &variables).unwrap();
        let mut connection = LoadConnection::new(LoadSocket::new(connected).unwrap(), workload, 0);
        connection.send(Batch { first: 0, lines: LINES, sent: 0 }).unwrap();
        assert!(connection.is_clogged());
        go.send(()).unwrap();
        while connection.is_clogged() {
            connection.write().unwrap();
            thread::yield_now();
        }
        server.join().unwrap();
    }
}
