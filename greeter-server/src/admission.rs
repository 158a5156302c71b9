//! Turns a client's address into a permit or a reason to reject: counts the clients that are
//! served, in all and from each address.
//!
//! Must not know sockets: what becomes of a rejected client is the
//! [acceptor](crate::accept::acceptor)'s part.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greeter_core::{Address, CloseReason};

use crate::config::Config;
use crate::entry_rules::EntryRules;
use crate::limits::{Limits, WhenFull};
use crate::mailbox::Mailbox;
use crate::slots::{Key, Slots};

/// How long a newcomer may keep us waiting before its place is given to another, if all are taken.
pub(crate) const MAX_WAIT_FOR_NEWCOMER: Duration = Duration::from_secs(1);

/// A message to the acceptor.
#[derive(Debug)]
pub(crate) enum AcceptorMessage {
    /// Accept no client for now. Clients wait in the backlog.
    Pause,
    /// Accept again.
    Resume,
    /// This holds from now on.
    Reconfigured { config: Arc<Config>, entry_rules: Vec<Arc<EntryRules>> },
    /// A permit was released, and the acceptor had asked to know.
    PermitReleased,
}

/// Counts clients against the limits. One for all threads of a server: the acceptor takes permits
/// from it, and each client's permit returns to it.
#[derive(Debug)]
pub(crate) struct Admission {
    occupancy: Mutex<Occupancy>,
    acceptor: Mailbox<AcceptorMessage>,
}

/// How many clients are served, and may be.
#[derive(Debug)]
struct Occupancy {
    limits: Limits,
    served: usize,
    /// It holds no address with a count of zero.
    by_address: HashMap<AddressKey, usize>,
    /// Whether to send the acceptor a message when a permit or a place in the lobby is released.
    acceptor_waits: bool,
    /// The newcomers, which are among the clients that are served.
    newcomers: Slots<NewcomerRecord>,
    newcomer_count: usize,
}

/// What is known here of a newcomer: a client that still owes a PROXY header or a handshake.
#[derive(Debug)]
struct NewcomerRecord {
    /// The connection thread that has it.
    thread: usize,
    address: Option<AddressKey>,
    /// Since when it keeps us waiting for its next step, of which there are few. Bytes are no step:
    /// one that sends them one by one keeps us waiting as well. `None` while it waits for us.
    waited_for_since: Option<Instant>,
}

/// The answer to a new client.
#[derive(Debug)]
pub(crate) enum Decision {
    /// The client is served.
    Admit(Permit),
    /// The client is rejected for this reason.
    Reject(CloseReason),
}

/// The right of one client to be served. Dropping it releases it, whatever becomes of the client.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    counted_for: Option<AddressKey>,
}

/// The place of one newcomer in the lobby, and among the clients that are served. Dropping it
/// releases both, unless they were given to another.
#[derive(Debug)]
pub(crate) struct LobbyPlace {
    /// `None` once it has become a permit.
    admission: Option<Arc<Admission>>,
    key: Key,
}

/// The answer to a newcomer.
#[derive(Debug)]
pub(crate) enum LobbyDecision {
    /// It has this place. Whoever had it is to leave.
    Enter { place: LobbyPlace, displaced: Option<Displaced> },
    /// The newcomer is rejected for this reason.
    Reject(CloseReason),
}

/// A newcomer that has lost its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Displaced {
    /// The connection thread that has it.
    pub(crate) thread: usize,
    pub(crate) place: Key,
}

/// What counts as one address. Of IPv6, that is the /64 network, since a host that has one of its
/// addresses usually has them all (RFC 6177, RFC 7421). An IPv4 address written as IPv6 counts as
/// IPv4. IPv4 takes the place of IPv6 multicast (RFC 4291, 2.7), from which no client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(NonZeroU64);

/// A network of IPv6 multicast.
const UNUSED_NETWORK: u64 = 0xff00 << 48;

impl AddressKey {
    /// Returns the key of an address; none where clients have no address of their own.
    pub(crate) fn of(address: Address) -> Option<Self> {
        let key = match address.ip()?.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                [a, b, c, d].into_iter().fold(0, |network, segment| network << 16 | u64::from(segment))
            }
            IpAddr::V4(address) => 0xffff_ffff << 32 | u64::from(address.to_bits()),
        };
        // So the network `::`, which has loopback, does not become zero. Nobody's network does.
        NonZeroU64::new(key ^ UNUSED_NETWORK).map(Self)
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits, acceptor: Mailbox<AcceptorMessage>) -> Self {
        let occupancy = Occupancy {
            limits,
            served: 0,
            by_address: HashMap::new(),
            acceptor_waits: false,
            newcomers: Slots::new(),
            newcomer_count: 0,
        };
        Self { occupancy: Mutex::new(occupancy), acceptor }
    }

    /// Has other limits hold from now on. Nobody who is served is thrown out for that.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut occupancy = self.occupancy();
        occupancy.limits = limits;
        self.wake_acceptor(occupancy);
    }

    /// Returns when the acceptor may accept another client, if only to reject it; `None` if nothing
    /// but a release changes that. If it may not yet, it receives
    /// [`AcceptorMessage::PermitReleased`] when it is worth asking again. A client above the
    /// address limit delays no other: rejecting it costs less than finding out.
    ///
    /// `asks` is whether the client may owe something first. Then it waits while others that keep
    /// us waiting have the places, until one of them has to make room.
    pub(crate) fn opens_at(&self, asks: bool, now: Instant) -> Option<Instant> {
        let mut occupancy = self.occupancy();
        let Limits { max_handshakes, when_full, .. } = occupancy.limits;
        if !asks && when_full == WhenFull::Reject {
            return Some(now);
        }
        let is_full = occupancy.is_full();
        let waits_for_newcomers = (occupancy.lacks_one_place() && occupancy.newcomer_count > 0)
            || (asks && !is_full && occupancy.newcomer_count >= max_handshakes);
        if waits_for_newcomers {
            occupancy.acceptor_waits = true;
            let since = occupancy.newcomers.values().filter_map(|newcomer| newcomer.waited_for_since).min();
            // While all of them wait for us, there is nothing to wait for but a place.
            return Some(since.unwrap_or(now) + MAX_WAIT_FOR_NEWCOMER);
        }
        if is_full && when_full == WhenFull::Wait {
            occupancy.acceptor_waits = true;
            return None;
        }
        Some(now)
    }

    /// Returns a permit for a new client, or the reason to reject it; and whoever has to leave for
    /// it.
    pub(crate) fn admit(self: &Arc<Self>, peer: Address, now: Instant) -> (Decision, Option<Displaced>) {
        let mut occupancy = self.occupancy();
        let displaced = if occupancy.is_address_full(peer) { None } else { occupancy.make_room(now) };
        (self.count(&mut occupancy, peer), displaced)
    }

    /// Counts a client, in all and for its address, if there is room.
    fn count(self: &Arc<Self>, occupancy: &mut Occupancy, peer: Address) -> Decision {
        if occupancy.is_address_full(peer) {
            return Decision::Reject(CloseReason::AddressLimit);
        }
        if occupancy.is_full() {
            return Decision::Reject(CloseReason::ConnectionLimit);
        }
        occupancy.served += 1;
        // Also where there is no limit, since there may be one later.
        let counted_for = AddressKey::of(peer);
        if let Some(address) = counted_for {
            *occupancy.by_address.entry(address).or_default() += 1;
        }
        Decision::Admit(Permit { admission: Arc::clone(self), counted_for })
    }

    /// Gives a newcomer on this connection thread a place, if need be that of another which has
    /// kept us waiting. To be called when there [is room](Self::opens_at). If that other has taken
    /// its step since, or at a stop, there may be more newcomers than places for once.
    pub(crate) fn admit_newcomer(self: &Arc<Self>, peer: Address, thread: usize, now: Instant) -> LobbyDecision {
        let mut occupancy = self.occupancy();
        let lobby_is_full = occupancy.newcomer_count >= occupancy.limits.max_handshakes;
        let displaced = match occupancy.make_room(now) {
            None if lobby_is_full && !occupancy.is_full() => occupancy.displace(now),
            displaced => displaced,
        };
        if occupancy.is_full() {
            return LobbyDecision::Reject(CloseReason::ConnectionLimit);
        }
        occupancy.served += 1;
        occupancy.newcomer_count += 1;
        let record = NewcomerRecord { thread, address: AddressKey::of(peer), waited_for_since: None };
        let key = occupancy.newcomers.insert(record);
        LobbyDecision::Enter { place: LobbyPlace { admission: Some(Arc::clone(self)), key }, displaced }
    }

    /// Returns how many newcomers there are.
    pub(crate) fn newcomers(&self) -> usize {
        self.occupancy().newcomer_count
    }

    /// Returns how many clients are served.
    pub(crate) fn served(&self) -> usize {
        self.occupancy().served
    }

    /// Returns whether nobody is counted.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        let occupancy = self.occupancy();
        let clients = occupancy.served + occupancy.newcomer_count + occupancy.by_address.len();
        clients == 0 && occupancy.newcomers.is_empty()
    }

    /// No code that holds the lock can panic half-way, so a poisoned lock needs no repair.
    fn occupancy(&self) -> MutexGuard<'_, Occupancy> {
        self.occupancy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Occupancy {
    const fn is_full(&self) -> bool {
        self.served >= self.limits.max_connections
    }

    /// Returns whether this address has as many clients as one may have.
    fn is_address_full(&self, peer: Address) -> bool {
        let count = AddressKey::of(peer).and_then(|key| self.by_address.get(&key)).copied().unwrap_or_default();
        self.limits.max_connections_per_address.is_some_and(|max| count >= max)
    }

    /// Whether the place of one newcomer is all that another client needs. Where more are served
    /// than there may be, since fewer may be now, it would not help.
    const fn lacks_one_place(&self) -> bool {
        self.served == self.limits.max_connections
    }

    /// Takes the place of a newcomer that keeps us waiting, if another client needs it.
    fn make_room(&mut self, now: Instant) -> Option<Displaced> {
        if self.lacks_one_place() { self.displace(now) } else { None }
    }

    /// Takes the place of the newcomer that has kept us waiting longest, of the address that has
    /// most newcomers among those.
    fn displace(&mut self, now: Instant) -> Option<Displaced> {
        let mut by_address = HashMap::<_, usize>::new();
        let may_go = |newcomer: &NewcomerRecord| {
            newcomer.waited_for_since.filter(|since| now.saturating_duration_since(*since) >= MAX_WAIT_FOR_NEWCOMER)
        };
        for newcomer in self.newcomers.values().filter(|newcomer| may_go(newcomer).is_some()) {
            *by_address.entry(newcomer.address).or_default() += 1;
        }
        let candidates = self.newcomers.keys().into_iter().filter_map(|key| {
            let newcomer = self.newcomers.get(key)?;
            let since = may_go(newcomer)?;
            Some((std::cmp::Reverse(by_address[&newcomer.address]), since, key, newcomer.thread))
        });
        let (.., place, thread) = candidates.min_by_key(|(most, since, ..)| (*most, *since))?;
        self.leave_lobby(place);
        Some(Displaced { thread, place })
    }

    /// Releases a newcomer's place, unless it has lost it before.
    fn leave_lobby(&mut self, place: Key) {
        let had_it = usize::from(self.newcomers.remove(place).is_some());
        self.newcomer_count -= had_it;
        self.served -= had_it;
    }
}

impl LobbyPlace {
    /// Identifies the place.
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// The newcomer has taken a step, and now keeps us waiting for its next.
    pub(crate) fn waits_since(&self, since: Option<Instant>) {
        if let Some(admission) = &self.admission
            && let Some(newcomer) = admission.occupancy().newcomers.get_mut(self.key)
        {
            newcomer.waited_for_since = since;
        }
    }

    /// The newcomer owes nothing any more, and this is its address. It becomes a client, unless
    /// that address has too many, or its place was given to another and there is no room.
    pub(crate) fn become_client(mut self, address: Address) -> Decision {
        let admission = self.admission.take().expect("a place becomes a permit once");
        let mut occupancy = admission.occupancy();
        occupancy.leave_lobby(self.key);
        let decision = admission.count(&mut occupancy, address);
        admission.wake_acceptor(occupancy);
        decision
    }
}

impl Drop for LobbyPlace {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            let mut occupancy = admission.occupancy();
            occupancy.leave_lobby(self.key);
            admission.wake_acceptor(occupancy);
        }
    }
}

impl Admission {
    /// Tells the acceptor that there is room, if it waits for that.
    fn wake_acceptor(&self, mut occupancy: MutexGuard<'_, Occupancy>) {
        let acceptor_waits = std::mem::take(&mut occupancy.acceptor_waits);
        drop(occupancy);
        if acceptor_waits {
            self.acceptor.send(AcceptorMessage::PermitReleased);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut occupancy = self.admission.occupancy();
        occupancy.served -= 1;
        if let Some(address) = self.counted_for
            && let Some(count) = occupancy.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                occupancy.by_address.remove(&address);
            }
        }
        self.admission.wake_acceptor(occupancy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::mailbox;

    fn limits(max_connections: usize, per_address: Option<usize>, when_full: WhenFull) -> Limits {
        let max_connections_per_address = per_address;
        Limits { max_connections, max_connections_per_address, when_full, ..Limits::DEFAULT }
    }

    fn admission(max_connections: usize, per_address_max: Option<usize>, when_full: WhenFull) -> Arc<Admission> {
        let (acceptor, _, _) = mailbox().unwrap();
        Arc::new(Admission::new(limits(max_connections, per_address_max, when_full), acceptor))
    }

    fn from(address: &str) -> Address {
        (address.parse::<IpAddr>().unwrap(), 4000).into()
    }

    /// Whether it is, for clients that owe nothing.
    fn is_open(admission: &Admission) -> bool {
        let now = Instant::now();
        admission.opens_at(false, now) == Some(now)
    }

    #[track_caller]
    fn admit(admission: &Arc<Admission>, address: &str) -> Permit {
        match admission.admit(from(address), Instant::now()).0 {
            Decision::Admit(permit) => permit,
            Decision::Reject(reason) => panic!("{reason}"),
        }
    }

    #[track_caller]
    fn reject(admission: &Arc<Admission>, address: &str) -> CloseReason {
        match admission.admit(from(address), Instant::now()).0 {
            Decision::Reject(reason) => reason,
            Decision::Admit(_) => panic!("there was room"),
        }
    }

    #[test]
    fn a_released_permit_admits_another_client() {
        let admission = admission(2, None, WhenFull::Reject);
        let ann = admit(&admission, "192.0.2.1");
        let _bob = admit(&admission, "192.0.2.1");
        assert_eq!(reject(&admission, "192.0.2.1"), CloseReason::ConnectionLimit);
        drop(ann);
        let _cid = admit(&admission, "192.0.2.1");
        assert_eq!(reject(&admission, "192.0.2.1"), CloseReason::ConnectionLimit);
        assert_eq!(admission.served(), 2);
    }

    #[test]
    fn each_address_has_its_own_limit() {
        let admission = admission(10, Some(1), WhenFull::Reject);
        let ann = admit(&admission, "2001:db8::1");
        assert_eq!(reject(&admission, "2001:db8::2"), CloseReason::AddressLimit);
        let _bob = admit(&admission, "2001:db8:0:1::1");
        let _cid = admit(&admission, "::ffff:192.0.2.1");
        assert_eq!(reject(&admission, "192.0.2.1"), CloseReason::AddressLimit);
        drop(ann);
        drop(admit(&admission, "2001:db8::3"));
        assert_eq!(admission.occupancy().by_address.len(), 2);
    }

    #[test]
    fn rejected_clients_do_not_delay_others() {
        let admission = admission(10, Some(1), WhenFull::Reject);
        let _ann = admit(&admission, "192.0.2.1");
        for _ in 0..10_000 {
            assert_eq!(reject(&admission, "192.0.2.1"), CloseReason::AddressLimit);
            assert!(is_open(&admission));
        }
        admit(&admission, "192.0.2.2");
    }

    #[test]
    fn other_limits_hold_from_then_on_and_throw_nobody_out() {
        let (acceptor, inbox, _poll) = mailbox().unwrap();
        let admission = Arc::new(Admission::new(limits(10, None, WhenFull::Reject), acceptor));
        let clients = ["192.0.2.1"; 3].map(|address| admit(&admission, address));
        // Those who came before there was a limit count.
        admission.set_limits(limits(10, Some(2), WhenFull::Reject));
        assert_eq!(reject(&admission, "192.0.2.1"), CloseReason::AddressLimit);
        admission.set_limits(limits(2, None, WhenFull::Wait));
        assert_eq!((admission.served(), is_open(&admission)), (3, false));
        assert!(inbox.next_message().is_none());
        admission.set_limits(limits(4, None, WhenFull::Wait));
        assert!(matches!(inbox.next_message(), Some(AcceptorMessage::PermitReleased)), "it waits for room");
        assert!(is_open(&admission));
        drop((admit(&admission, "192.0.2.1"), clients));
        assert!(admission.is_empty());
    }

    /// A place that does not help is left to whoever has it.
    #[test]
    fn nobody_makes_room_where_more_are_served_than_may_be_now() {
        let now = Instant::now();
        let late = now + MAX_WAIT_FOR_NEWCOMER;
        for when_full in [WhenFull::Reject, WhenFull::Wait] {
            let admission = lobby(2, 10, when_full);
            let places = ["192.0.2.1", "192.0.2.2"].map(|address| enter(&admission, address, now).0);
            places.iter().for_each(|place| place.waits_since(Some(now)));
            let clients = ["192.0.2.3", "192.0.2.4"].map(|address| admit(&admission, address));
            admission.set_limits(Limits { max_handshakes: 2, ..limits(2, Some(1), when_full) });
            let expected = if when_full == WhenFull::Wait { None } else { Some(late) };
            assert_eq!((admission.opens_at(true, late), admission.opens_at(false, late)), (expected, expected));
            let (decision, displaced) = admission.admit(from("192.0.2.5"), late);
            assert!(matches!((decision, displaced), (Decision::Reject(CloseReason::ConnectionLimit), None)));
            let newcomer = admission.admit_newcomer(from("192.0.2.5"), 0, late);
            assert!(matches!(newcomer, LobbyDecision::Reject(CloseReason::ConnectionLimit)));
            assert_eq!((admission.newcomers(), admission.served()), (2, 4), "nobody has lost a place");
            drop((places, clients));
            assert!(admission.is_empty());
        }
    }

    #[test]
    fn the_acceptor_that_waits_is_told_of_a_released_permit() {
        let (acceptor, inbox, _poll) = mailbox().unwrap();
        let admission = Arc::new(Admission::new(limits(1, None, WhenFull::Wait), acceptor));
        assert!(is_open(&admission));
        let ann = admit(&admission, "192.0.2.1");
        assert!(!is_open(&admission));
        drop(ann);
        assert!(matches!(inbox.next_message(), Some(AcceptorMessage::PermitReleased)));
        drop(admit(&admission, "192.0.2.1"));
        assert!(inbox.next_message().is_none(), "the acceptor did not ask again");
    }

    fn lobby(max_handshakes: usize, max_connections: usize, when_full: WhenFull) -> Arc<Admission> {
        let (acceptor, _, _) = mailbox().unwrap();
        let limits = Limits { max_handshakes, ..limits(max_connections, Some(1), when_full) };
        Arc::new(Admission::new(limits, acceptor))
    }

    #[track_caller]
    fn enter(admission: &Arc<Admission>, address: &str, now: Instant) -> (LobbyPlace, Option<Displaced>) {
        match admission.admit_newcomer(from(address), 0, now) {
            LobbyDecision::Enter { place, displaced } => (place, displaced),
            LobbyDecision::Reject(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn a_newcomer_is_one_client_whatever_becomes_of_it() {
        let now = Instant::now();
        let admission = lobby(10, 3, WhenFull::Reject);
        let counts = || (admission.newcomers(), admission.served());
        let [ann, bob, cid] = [(); 3].map(|()| enter(&admission, "192.0.2.1", now).0);
        assert_eq!(counts(), (3, 3), "a place in the lobby does not count for its address");
        let full = admission.admit_newcomer(from("192.0.2.1"), 0, now);
        assert!(matches!(full, LobbyDecision::Reject(CloseReason::ConnectionLimit)));
        let Decision::Admit(ann) = ann.become_client(from("203.0.113.1")) else { panic!("it is the first") };
        assert_eq!(counts(), (2, 3));
        let second = bob.become_client(from("203.0.113.1"));
        assert!(matches!(second, Decision::Reject(CloseReason::AddressLimit)));
        assert_eq!(counts(), (1, 2));
        drop(cid);
        assert_eq!(counts(), (0, 1));
        drop(ann);
        assert!(admission.is_empty());
    }

    #[test]
    fn whoever_has_lost_its_place_is_not_counted_and_may_still_become_a_client() {
        let now = Instant::now();
        let late = now + MAX_WAIT_FOR_NEWCOMER;
        let admission = lobby(1, 2, WhenFull::Reject);
        let counts = || (admission.newcomers(), admission.served());
        let (ann, _) = enter(&admission, "192.0.2.1", now);
        ann.waits_since(Some(now));
        let (bob, displaced) = enter(&admission, "192.0.2.1", late);
        assert_eq!(displaced, Some(Displaced { thread: 0, place: ann.key() }));
        assert_eq!(counts(), (1, 1));
        let Decision::Admit(ann) = ann.become_client(from("203.0.113.1")) else { panic!("it is the first") };
        assert_eq!(counts(), (1, 2));
        bob.waits_since(Some(now));
        let (cid, _) = enter(&admission, "192.0.2.1", late);
        assert_eq!(counts(), (1, 2));
        let no_room = bob.become_client(from("203.0.113.2"));
        assert!(matches!(no_room, Decision::Reject(CloseReason::ConnectionLimit)));
        assert_eq!(counts(), (1, 2));
        drop((ann, cid));
        assert!(admission.is_empty());
    }

    #[test]
    fn whoever_keeps_us_waiting_makes_room_in_a_full_server_for_whoever_comes() {
        let now = Instant::now();
        let late = now + MAX_WAIT_FOR_NEWCOMER;
        for when_full in [WhenFull::Reject, WhenFull::Wait] {
            let admission = lobby(10, 2, when_full);
            let places = ["192.0.2.1", "192.0.2.2"].map(|address| enter(&admission, address, now).0);
            places.iter().for_each(|place| place.waits_since(Some(now)));
            // Whoever owes something waits for that; others are told, unless they are to wait.
            assert_eq!(admission.opens_at(true, now), Some(late));
            let opens_in_plain = if when_full == WhenFull::Wait { late } else { now };
            assert_eq!(admission.opens_at(false, now), Some(opens_in_plain));
            let (too_early, displaced) = admission.admit(from("192.0.2.3"), now);
            assert!(matches!((too_early, displaced), (Decision::Reject(CloseReason::ConnectionLimit), None)));
            let (Decision::Admit(_ann), Some(_)) = admission.admit(from("192.0.2.3"), late) else { panic!("in plain") };
            let (_bob, displaced) = enter(&admission, "192.0.2.4", late);
            assert!(displaced.is_some());
            assert_eq!((admission.newcomers(), admission.served()), (1, 2));
            // One that waits for us makes no room.
            assert_eq!(admission.opens_at(true, late), Some(late + MAX_WAIT_FOR_NEWCOMER));
            let nobody = admission.admit_newcomer(from("192.0.2.5"), 0, late);
            assert!(matches!(nobody, LobbyDecision::Reject(CloseReason::ConnectionLimit)));
            drop(places);
            assert_eq!((admission.newcomers(), admission.served()), (1, 2));
        }
    }

    #[test]
    fn whoever_keeps_us_waiting_longest_of_the_address_with_most_makes_room() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let admission = lobby(5, 10, WhenFull::Reject);
        let places = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.2", "192.0.2.1"]
            .map(|address| enter(&admission, address, start).0);
        assert_eq!(admission.opens_at(true, at(0)), Some(at(1000)), "all of them wait for us");
        // The third waits for us again.
        for (place, since) in places.iter().zip([Some(0), Some(20), None, Some(10), Some(500)]) {
            place.waits_since(since.map(at));
        }
        assert_eq!(admission.opens_at(true, at(999)), Some(at(1000)));
        assert_eq!(admission.opens_at(true, at(2000)), Some(at(1000)));
        let (_dan, first) = enter(&admission, "192.0.2.9", at(1020));
        assert_eq!(first.unwrap().place, places[3].key(), "its address has two that may go");
        let (_eve, second) = enter(&admission, "192.0.2.9", at(1020));
        assert_eq!(second.unwrap().place, places[0].key(), "each address has one that may go");
        let (_fay, third) = enter(&admission, "192.0.2.9", at(1020));
        assert_eq!(third.unwrap().place, places[1].key());
        let (_guy, fourth) = enter(&admission, "192.0.2.9", at(1020));
        assert_eq!(fourth, None, "the others wait for us, or not for a second");
    }

    #[test]
    fn the_acceptor_that_waits_for_a_place_in_the_lobby_is_told_of_it() {
        let now = Instant::now();
        for when_full in [WhenFull::Reject, WhenFull::Wait] {
            let (acceptor, inbox, _poll) = mailbox().unwrap();
            let limits = Limits { max_handshakes: 1, when_full, ..Limits::DEFAULT };
            let admission = Arc::new(Admission::new(limits, acceptor));
            for leaves in [true, false] {
                let (ann, _) = enter(&admission, "192.0.2.1", now);
                assert!(admission.opens_at(true, now) > Some(now));
                // Of another listener.
                assert!(is_open(&admission));
                if leaves {
                    drop(ann);
                } else {
                    drop(ann.become_client(from("192.0.2.1")));
                }
                assert!(matches!(inbox.next_message(), Some(AcceptorMessage::PermitReleased)), "{when_full:?}");
            }
        }
    }

    #[test]
    fn each_ipv6_network_and_each_ipv4_address_has_its_own_key() {
        let network = |address: &str| AddressKey::of((address.parse::<IpAddr>().unwrap(), 1).into());
        let networks =
            ["1::", "0:1::", "0:0:1::", "0:0:0:1::", "::", "1:1::", "0:0:c000:201::", "192.0.2.1", "192.0.2.2"];
        for (index, one) in networks.iter().enumerate() {
            let same: Vec<_> = networks.iter().filter(|other| network(other) == network(one)).collect();
            assert_eq!(same, [&networks[index]]);
        }
        assert_eq!(network("1:2:3:4:5:6:7:8"), network("1:2:3:4::"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}
