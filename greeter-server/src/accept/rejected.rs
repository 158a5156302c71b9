//! Rejects clients and lets them linger until they have read why. Must not know the limits.
//!
//! Each receives its rejection and the end of the stream, and is then read for a while, so that no
//! reset overtakes the text. That costs other clients nothing: the number of places is fixed, no
//! responder, thread or message takes part, and when all places are taken, the next one closes the
//! oldest.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason};

use crate::admission::AddressKey;
use crate::stats::Counters;
use crate::system::Socket;

/// How many rejected clients are kept. Their descriptors are also the
/// [acceptor](crate::accept::acceptor)'s reserve: when there are no others, it closes the oldest of
/// these.
pub(crate) const MAX_REJECTED: usize = 63;

/// How many clients each lobby keeps that are told that their address has too many.
pub(crate) const MAX_REJECTED_BY_LOBBY: usize = 16;

/// One address may have one in this many of the places while other addresses need them.
const SHARE: usize = 4;

/// How often the rejected clients are read, which is also how long one that has closed its end is
/// kept.
const SWEEP: Duration = Duration::from_millis(25);

/// How many bytes of a client are discarded at once. Closing with more unread sends a reset. On
/// Linux, the client can still read what was sent before the reset (tried on loopback); on other
/// systems, perhaps not.
const MAX_DISCARDED_BYTES: usize = 64 * 1024;

/// Sockets to which the rejection was written, shut down for writing and not closed: the oldest
/// first. Each is closed at the first [sweep](Self::sweep) after its linger timeout. The thread
/// that drives the acceptor sweeps; at the end of the server, the thread that waits for it does.
#[derive(Debug)]
pub(crate) struct RejectedSockets<K: Socket> {
    sockets: VecDeque<Lingering<K>>,
    max_sockets: usize,
    linger: Duration,
    next_sweep: Instant,
    counters: Arc<Counters>,
}

/// A client that was rejected, and when.
#[derive(Debug)]
struct Lingering<K> {
    socket: K,
    address_key: Option<AddressKey>,
    reason: CloseReason,
    since: Instant,
}

/// Whether the client may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReadOutcome {
    /// It has not closed its end, as far as is known.
    Open,
    /// It has closed its end, or is gone.
    Closed,
}

impl<K: Socket> RejectedSockets<K> {
    /// Creates `max_sockets` places, each for the linger timeout. Closed connections are counted.
    pub(crate) const fn new(max_sockets: usize, linger: Duration, now: Instant, counters: Arc<Counters>) -> Self {
        Self { sockets: VecDeque::new(), max_sockets, linger, next_sweep: now, counters }
    }

    /// Sets how long they may linger, also those who are here.
    pub(crate) const fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// Writes the rejection to a client and closes our end. The client lingers, in the place of
    /// another if need be.
    pub(crate) fn reject(&mut self, mut socket: K, address: Address, reason: CloseReason, text: &[u8], now: Instant) {
        // A new connection has room for a short text. A client that has broken off already does not
        // miss it.
        let is_sent = socket.write(text).is_ok_and(|bytes| bytes == text.len()) && socket.shutdown_write().is_ok();
        let address_key = AddressKey::of(address);
        if !is_sent {
            return self.count(reason);
        }
        if self.sockets.is_empty() {
            self.next_sweep = now + SWEEP;
        }
        if self.sockets.len() >= self.max_sockets {
            self.make_room(address_key);
        }
        self.sockets.push_back(Lingering { socket, address_key, reason, since: now });
    }

    /// Closes the oldest socket, so that its descriptor is free, and returns whether there was one.
    pub(crate) fn close_oldest(&mut self) -> bool {
        self.sockets.pop_front().map(|oldest| self.close(oldest)).is_some()
    }

    /// Closes the clients that have closed their end, or whose time is over.
    pub(crate) fn sweep(&mut self, clock: impl FnOnce() -> Instant) {
        if self.sockets.is_empty() {
            return;
        }
        let now = clock();
        if now < self.next_sweep {
            return;
        }
        self.next_sweep = now + SWEEP;
        for _ in 0..self.sockets.len() {
            let Some(mut lingering) = self.sockets.pop_front() else { return };
            if lingering.since + self.linger <= now || lingering.discard_input() == ReadOutcome::Closed {
                self.close(lingering);
            } else {
                self.sockets.push_back(lingering);
            }
        }
    }

    /// Returns when to [sweep](Self::sweep) next, if any client is left.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        (!self.sockets.is_empty()).then_some(self.next_sweep)
    }

    /// An address that has more than its share makes room itself. Otherwise the oldest does.
    fn make_room(&mut self, address_key: Option<AddressKey>) {
        let share = self.max_sockets / SHARE;
        let has_more = self.sockets.iter().filter(|lingering| lingering.address_key == address_key).count() > share;
        let may_go = |lingering: &Lingering<K>| !has_more || lingering.address_key == address_key;
        let oldest = self.sockets.iter().position(may_go);
        if let Some(oldest) = oldest.and_then(|oldest| self.sockets.remove(oldest)) {
            self.close(oldest);
        }
    }

    /// Closes a client after a last read, and counts it.
    fn close(&self, mut lingering: Lingering<K>) {
        lingering.discard_input();
        self.count(lingering.reason);
    }

    fn count(&self, reason: CloseReason) {
        self.counters.closed[reason.index()].add(1);
    }
}

impl<K: Socket> Drop for RejectedSockets<K> {
    fn drop(&mut self) {
        while self.close_oldest() {}
    }
}

impl<K: Socket> Lingering<K> {
    /// Reads and discards what the client has sent, up to [`MAX_DISCARDED_BYTES`].
    fn discard_input(&mut self) -> ReadOutcome {
        let mut buffer = [0; 4096];
        for _ in 0..MAX_DISCARDED_BYTES / buffer.len() {
            match self.socket.read(&mut buffer) {
                Ok(0) => return ReadOutcome::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadOutcome::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return ReadOutcome::Closed,
            }
        }
        ReadOutcome::Open
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::stats::total;
    use std::cell::RefCell;
    use std::io::{self, Read, Write};
    use std::rc::Rc;

    const MAX_SOCKETS: usize = 8;
    const LINGER: Duration = Duration::from_secs(2);

    /// What has happened to a client's socket, in words.
    type SocketLog = Rc<RefCell<String>>;

    /// The results of the reads, in order. After them, reads would block.
    type Reads = Vec<io::Result<usize>>;

    struct RecordedSocket {
        log: SocketLog,
        reads: std::vec::IntoIter<io::Result<usize>>,
        accepts_text: bool,
        can_shut_down: bool,
    }

    impl RecordedSocket {
        fn new(log: &SocketLog, reads: Reads) -> Self {
            Self { log: Rc::clone(log), reads: reads.into_iter(), accepts_text: true, can_shut_down: true }
        }
    }

    impl Read for RecordedSocket {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.log.borrow_mut().push_str(" read");
            self.reads.next().unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
        }
    }

    impl Write for RecordedSocket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.log.borrow_mut().push_str(std::str::from_utf8(bytes).expect("a rejection is text"));
            Ok(if self.accepts_text { bytes.len() } else { bytes.len() - 1 })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for RecordedSocket {
        fn shutdown_write(&self) -> io::Result<()> {
            self.log.borrow_mut().push_str(" end");
            if self.can_shut_down { Ok(()) } else { Err(ErrorKind::NotConnected.into()) }
        }

        fn peek(&self, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn bytes_arrived(&self) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Drop for RecordedSocket {
        fn drop(&mut self) {
            self.log.borrow_mut().push_str(" closed");
        }
    }

    fn rejected(now: Instant) -> (RejectedSockets<RecordedSocket>, Arc<Counters>) {
        let counters = Arc::<Counters>::default();
        (RejectedSockets::new(MAX_SOCKETS, LINGER, now, Arc::clone(&counters)), counters)
    }

    fn reject(rejected: &mut RejectedSockets<RecordedSocket>, host: u8, now: Instant) -> SocketLog {
        reject_with_reads(rejected, Reads::new(), host, now)
    }

    fn reject_with_reads(
        rejected: &mut RejectedSockets<RecordedSocket>,
        reads: Reads,
        host: u8,
        now: Instant,
    ) -> SocketLog {
        let log = SocketLog::default();
        let address = ([192, 0, 2, host], 4000).into();
        rejected.reject(RecordedSocket::new(&log, reads), address, CloseReason::ConnectionLimit, b"full", now);
        log
    }

    fn is_closed(log: &SocketLog) -> bool {
        log.borrow().ends_with("closed")
    }

    #[test]
    fn a_rejected_client_receives_the_text_and_is_read_before_it_is_closed() {
        let now = Instant::now();
        let (mut rejected, counters) = rejected(now);
        let client = reject(&mut rejected, 1, now);
        assert_eq!(*client.borrow(), "full end");
        assert!(rejected.close_oldest() && !rejected.close_oldest());
        assert_eq!(*client.borrow(), "full end read closed");
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 1);
    }

    #[test]
    fn a_rejected_client_is_closed_after_the_linger_timeout() {
        let now = Instant::now();
        let (mut rejected, _) = rejected(now);
        let (first, second) = (reject(&mut rejected, 1, now), reject(&mut rejected, 1, now + SWEEP));
        rejected.sweep(|| now + LINGER);
        assert_eq!((is_closed(&first), is_closed(&second)), (true, false));
        let next = rejected.next_sweep().expect("one is left");
        assert_eq!(next, now + LINGER + SWEEP);
        rejected.sweep(|| next);
        assert!(is_closed(&second) && rejected.next_sweep().is_none());
    }

    #[test]
    fn an_address_with_more_than_its_share_makes_room_itself() {
        let now = Instant::now();
        let (mut rejected, _) = rejected(now);
        let other = reject(&mut rejected, 2, now);
        let crowd: Vec<_> = (0..100).map(|_| reject(&mut rejected, 1, now)).collect();
        assert!(!is_closed(&other));
        assert_eq!(crowd.iter().filter(|client| !is_closed(client)).count(), MAX_SOCKETS - 1);
        let another = reject(&mut rejected, 3, now);
        assert!(is_closed(&other) && !is_closed(&another), "the oldest makes room for an address with few");
    }

    #[test]
    fn a_client_that_cannot_receive_the_text_is_closed_at_once() {
        let now = Instant::now();
        let (mut rejected, counters) = rejected(now);
        for (accepts_text, can_shut_down, expected) in [(false, true, "full closed"), (true, false, "full end closed")]
        {
            let log = SocketLog::default();
            let mut socket = RecordedSocket::new(&log, Reads::new());
            (socket.accepts_text, socket.can_shut_down) = (accepts_text, can_shut_down);
            rejected.reject(socket, ([192, 0, 2, 1], 4000).into(), CloseReason::AddressLimit, b"full", now);
            assert_eq!(*log.borrow(), expected);
        }
        assert_eq!(total(&[counters]).closed_by[CloseReason::AddressLimit], 2);
        assert_eq!(rejected.next_sweep(), None);
    }

    #[test]
    fn a_client_that_has_closed_or_reset_is_closed_at_the_next_sweep() {
        let now = Instant::now();
        let (mut rejected, counters) = rejected(now);
        let left = reject_with_reads(&mut rejected, vec![Ok(10), Ok(0)], 1, now);
        let broke_off = reject_with_reads(&mut rejected, vec![Err(ErrorKind::ConnectionReset.into())], 1, now);
        let stays = reject_with_reads(&mut rejected, vec![Err(ErrorKind::Interrupted.into()), Ok(10)], 1, now);
        assert_eq!(rejected.next_sweep(), Some(now + SWEEP));
        rejected.sweep(|| now + SWEEP - Duration::from_millis(1));
        assert_eq!(*stays.borrow(), "full end");
        rejected.sweep(|| now + SWEEP);
        assert!(left.borrow().starts_with("full end read read") && is_closed(&left));
        assert!(broke_off.borrow().starts_with("full end read") && is_closed(&broke_off));
        assert_eq!(*stays.borrow(), "full end read read read");
        assert_eq!(rejected.next_sweep(), Some(now + 2 * SWEEP));
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 2);
    }

    #[test]
    fn one_sweep_discards_at_most_64_kib_of_a_client() {
        let now = Instant::now();
        let (mut rejected, _) = rejected(now);
        let endless = reject_with_reads(&mut rejected, (0..1000).map(|_| Ok(4096)).collect(), 1, now);
        rejected.sweep(|| now + SWEEP);
        assert_eq!(*endless.borrow(), format!("full end{}", " read".repeat(16)));
    }

    #[test]
    fn an_address_with_no_more_than_its_share_keeps_it() {
        let now = Instant::now();
        let (mut rejected, _) = rejected(now);
        let others = [2, 3, 4, 5, 6, 7].map(|host| reject(&mut rejected, host, now));
        let share = [1, 1].map(|host| reject(&mut rejected, host, now));
        let third = reject(&mut rejected, 1, now);
        assert_eq!(others.each_ref().map(is_closed), [true, false, false, false, false, false]);
        assert!(![&share[0], &share[1], &third].into_iter().any(is_closed));
        reject(&mut rejected, 1, now);
        assert_eq!(
            [&share[0], &share[1], &third].map(is_closed),
            [true, false, false],
            "three is more than a quarter of eight"
        );
    }

    #[test]
    fn dropping_reads_closes_and_counts_every_client() {
        let now = Instant::now();
        let (mut rejected, counters) = rejected(now);
        let clients = [1, 2].map(|host| reject(&mut rejected, host, now));
        drop(rejected);
        assert_eq!(clients.map(|client| client.borrow().clone()), ["full end read closed"; 2]);
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 2);
    }
}
