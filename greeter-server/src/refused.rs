//! Clients that were refused at the door, on their way out.
//!
//! Each is told why, sent the end of the stream, and read for a while, so that no reset overtakes the words. That costs others nothing:
//! there are only so many places, no responder, thread or message has to do with it, and whoever is refused when they are taken has
//! the place of one that has had its time.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason};

use crate::admission::Household;
use crate::stats::Counters;
use crate::system::Socket;

/// How many who were refused are kept. Their descriptors are also the [acceptor](crate::acceptor)'s reserve: where there are no others, the
/// oldest of these is given back.
pub(crate) const REFUSED_MAX: usize = 63;

/// Which part of the places one address may have while others want them.
const SHARE: usize = 4;

/// How often those who are kept are read, which is also how long one is kept that has closed its end. 63 reads take some 20 µs.
const SWEEP: Duration = Duration::from_millis(25);

/// How much of what a client has sent is thrown away at once. Closing with more unread sends a reset, which on Linux leaves what was
/// sent before it to be read (tried on loopback), and on other systems need not.
const THROWN_AWAY_MAX: usize = 64 * 1024;

/// Sockets that are told, shut down for writing and not closed: the oldest first. Nobody is kept for longer than it may linger, as far as
/// whoever [sweeps](Self::sweep) gets round to it: the thread that keeps the entrance, and at the end whoever waits for the server's.
#[derive(Debug)]
pub(crate) struct Refused<K: Socket> {
    sockets: VecDeque<Lingering<K>>,
    most: usize,
    linger: Duration,
    next_sweep: Instant,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Lingering<K> {
    socket: K,
    household: Option<Household>,
    reason: CloseReason,
    until: Instant,
}

/// Whether the client has done its part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Open,
    /// It has closed its end, or is gone.
    Closed,
}

impl<K: Socket> Refused<K> {
    /// Places for so many, each for so long. What is closed is counted.
    pub(crate) const fn new(most: usize, linger: Duration, now: Instant, counters: Arc<Counters>) -> Self {
        Self { sockets: VecDeque::new(), most, linger, next_sweep: now, counters }
    }

    /// Tells a client why it is not served, and ends the stream. It stays for a while, in the place of another if need be.
    pub(crate) fn refuse(&mut self, mut socket: K, address: Address, reason: CloseReason, words: &[u8], now: Instant) {
        // A new connection has room for some words. A client that has broken off already does not miss them.
        let is_told = socket.write(words).is_ok_and(|bytes| bytes == words.len()) && socket.finish_sending().is_ok();
        let household = Household::of(address);
        if !is_told {
            return self.count(reason);
        }
        if self.sockets.is_empty() {
            self.next_sweep = now + SWEEP;
        }
        if self.sockets.len() >= self.most {
            self.make_room(household);
        }
        self.sockets.push_back(Lingering { socket, household, reason, until: now + self.linger });
    }

    /// Closes the oldest, so that its descriptor is free, and tells whether there was one.
    pub(crate) fn give_one_back(&mut self) -> bool {
        self.sockets.pop_front().map(|oldest| self.close(oldest)).is_some()
    }

    /// Lets those go that have closed their end, or have had their time.
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
            if lingering.until <= now || lingering.throw_away_input() == Peer::Closed {
                self.close(lingering);
            } else {
                self.sockets.push_back(lingering);
            }
        }
    }

    /// When to [sweep](Self::sweep) next, if there is anybody.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        (!self.sockets.is_empty()).then_some(self.next_sweep)
    }

    /// An address that has more than its share makes room itself. Otherwise it is whoever was there first.
    fn make_room(&mut self, household: Option<Household>) {
        let share = self.most / SHARE;
        let has_more = self.sockets.iter().filter(|lingering| lingering.household == household).count() > share;
        let whose = |lingering: &Lingering<K>| !has_more || lingering.household == household;
        let oldest = self.sockets.iter().position(whose);
        if let Some(oldest) = oldest.and_then(|oldest| self.sockets.remove(oldest)) {
            self.close(oldest);
        }
    }

    fn close(&self, mut lingering: Lingering<K>) {
        lingering.throw_away_input();
        self.count(lingering.reason);
    }

    fn count(&self, reason: CloseReason) {
        self.counters.closed[reason.index()].add(1);
    }
}

impl<K: Socket> Drop for Refused<K> {
    fn drop(&mut self) {
        while self.give_one_back() {}
    }
}

impl<K: Socket> Lingering<K> {
    fn throw_away_input(&mut self) -> Peer {
        let mut buffer = [0; 4096];
        for _ in 0..THROWN_AWAY_MAX / buffer.len() {
            match self.socket.read(&mut buffer) {
                Ok(0) => return Peer::Closed,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Peer::Open,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Peer::Closed,
            }
        }
        Peer::Open
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

    const MOST: usize = 8;
    const LINGER: Duration = Duration::from_secs(2);

    /// What has become of a client's socket, in words.
    type Diary = Rc<RefCell<String>>;

    /// What the system says to each read in turn. To others, that there is nothing.
    type Reads = Vec<io::Result<usize>>;

    struct Noted {
        diary: Diary,
        reads: std::vec::IntoIter<io::Result<usize>>,
        takes_words: bool,
        can_finish: bool,
    }

    impl Noted {
        fn new(diary: &Diary, reads: Reads) -> Self {
            Self { diary: Rc::clone(diary), reads: reads.into_iter(), takes_words: true, can_finish: true }
        }
    }

    impl Read for Noted {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.diary.borrow_mut().push_str(" read");
            self.reads.next().unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))
        }
    }

    impl Write for Noted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.diary.borrow_mut().push_str(std::str::from_utf8(bytes).expect("words are text"));
            Ok(if self.takes_words { bytes.len() } else { bytes.len() - 1 })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Noted {
        fn finish_sending(&self) -> io::Result<()> {
            self.diary.borrow_mut().push_str(" end");
            if self.can_finish { Ok(()) } else { Err(ErrorKind::NotConnected.into()) }
        }

        fn bytes_arrived(&self) -> io::Result<usize> {
            Ok(0)
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.diary.borrow_mut().push_str(" closed");
        }
    }

    fn refused(now: Instant) -> (Refused<Noted>, Arc<Counters>) {
        let counters = Arc::<Counters>::default();
        (Refused::new(MOST, LINGER, now, Arc::clone(&counters)), counters)
    }

    fn refuse(refused: &mut Refused<Noted>, host: u8, now: Instant) -> Diary {
        refuse_who_sends(refused, Reads::new(), host, now)
    }

    fn refuse_who_sends(refused: &mut Refused<Noted>, reads: Reads, host: u8, now: Instant) -> Diary {
        let diary = Diary::default();
        let address = ([192, 0, 2, host], 4000).into();
        refused.refuse(Noted::new(&diary, reads), address, CloseReason::ConnectionLimit, b"full", now);
        diary
    }

    fn is_closed(diary: &Diary) -> bool {
        diary.borrow().ends_with("closed")
    }

    #[test]
    fn whoever_is_refused_is_told_and_read_before_it_is_closed() {
        let now = Instant::now();
        let (mut refused, counters) = refused(now);
        let client = refuse(&mut refused, 1, now);
        assert_eq!(*client.borrow(), "full end");
        assert!(refused.give_one_back() && !refused.give_one_back());
        assert_eq!(*client.borrow(), "full end read closed");
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 1);
    }

    #[test]
    fn nobody_stays_for_longer_than_it_may_linger() {
        let now = Instant::now();
        let (mut refused, _) = refused(now);
        let (first, second) = (refuse(&mut refused, 1, now), refuse(&mut refused, 1, now + SWEEP));
        refused.sweep(|| now + LINGER);
        assert_eq!((is_closed(&first), is_closed(&second)), (true, false));
        let next = refused.next_sweep().expect("somebody is left");
        assert_eq!(next, now + LINGER + SWEEP);
        refused.sweep(|| next);
        assert!(is_closed(&second) && refused.next_sweep().is_none());
    }

    #[test]
    fn an_address_with_more_than_its_share_makes_room_for_its_own() {
        let now = Instant::now();
        let (mut refused, _) = refused(now);
        let stranger = refuse(&mut refused, 2, now);
        let crowd: Vec<_> = (0..100).map(|_| refuse(&mut refused, 1, now)).collect();
        assert!(!is_closed(&stranger));
        assert_eq!(crowd.iter().filter(|client| !is_closed(client)).count(), MOST - 1);
        let another = refuse(&mut refused, 3, now);
        assert!(is_closed(&stranger) && !is_closed(&another), "the oldest makes room for one that has little");
    }

    #[test]
    fn who_cannot_be_told_does_not_stay() {
        let now = Instant::now();
        let (mut refused, counters) = refused(now);
        for (takes_words, can_finish, said) in [(false, true, "full closed"), (true, false, "full end closed")] {
            let diary = Diary::default();
            let mut socket = Noted::new(&diary, Reads::new());
            (socket.takes_words, socket.can_finish) = (takes_words, can_finish);
            refused.refuse(socket, ([192, 0, 2, 1], 4000).into(), CloseReason::AddressLimit, b"full", now);
            assert_eq!(*diary.borrow(), said);
        }
        assert_eq!(total(&[counters]).closed_by[CloseReason::AddressLimit], 2);
        assert_eq!(refused.next_sweep(), None);
    }

    #[test]
    fn whoever_has_closed_its_end_or_is_gone_goes_when_it_is_read_next_and_not_before() {
        let now = Instant::now();
        let (mut refused, counters) = refused(now);
        let left = refuse_who_sends(&mut refused, vec![Ok(10), Ok(0)], 1, now);
        let broke_off = refuse_who_sends(&mut refused, vec![Err(ErrorKind::ConnectionReset.into())], 1, now);
        let stays = refuse_who_sends(&mut refused, vec![Err(ErrorKind::Interrupted.into()), Ok(10)], 1, now);
        assert_eq!(refused.next_sweep(), Some(now + SWEEP));
        refused.sweep(|| now + SWEEP - Duration::from_millis(1));
        assert_eq!(*stays.borrow(), "full end");
        refused.sweep(|| now + SWEEP);
        assert!(left.borrow().starts_with("full end read read") && is_closed(&left));
        assert!(broke_off.borrow().starts_with("full end read") && is_closed(&broke_off));
        assert_eq!(*stays.borrow(), "full end read read read");
        assert_eq!(refused.next_sweep(), Some(now + 2 * SWEEP));
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 2);
    }

    #[test]
    fn of_a_client_that_sends_without_end_64_kib_are_thrown_away_at_once() {
        let now = Instant::now();
        let (mut refused, _) = refused(now);
        let endless = refuse_who_sends(&mut refused, (0..1000).map(|_| Ok(4096)).collect(), 1, now);
        refused.sweep(|| now + SWEEP);
        assert_eq!(*endless.borrow(), format!("full end{}", " read".repeat(16)));
    }

    #[test]
    fn an_address_with_no_more_than_its_share_keeps_it() {
        let now = Instant::now();
        let (mut refused, _) = refused(now);
        let strangers = [2, 3, 4, 5, 6, 7].map(|host| refuse(&mut refused, host, now));
        let share = [1, 1].map(|host| refuse(&mut refused, host, now));
        let third = refuse(&mut refused, 1, now);
        assert_eq!(strangers.each_ref().map(is_closed), [true, false, false, false, false, false]);
        assert!(![&share[0], &share[1], &third].into_iter().any(is_closed));
        refuse(&mut refused, 1, now);
        assert_eq!(
            [&share[0], &share[1], &third].map(is_closed),
            [true, false, false],
            "three is more than a quarter of eight"
        );
    }

    #[test]
    fn at_the_end_everyone_is_read_closed_and_counted() {
        let now = Instant::now();
        let (mut refused, counters) = refused(now);
        let clients = [1, 2].map(|host| refuse(&mut refused, host, now));
        drop(refused);
        assert_eq!(clients.map(|client| client.borrow().clone()), ["full end read closed"; 2]);
        assert_eq!(total(&[counters]).closed_by[CloseReason::ConnectionLimit], 2);
    }
}
