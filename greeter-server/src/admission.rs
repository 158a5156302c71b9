//! Turns a client's address into a permit or a reason to reject: counts the clients that are
//! served, in all and from each address.
//!
//! Must not know sockets: what becomes of a rejected client is the
//! [acceptor](crate::accept::acceptor)'s part.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greeter_core::{Address, CloseReason};

use crate::config::Config;
use crate::limits::WhenFull;
use crate::mailbox::Mailbox;

/// A message to the acceptor.
#[derive(Debug)]
pub(crate) enum AcceptorMessage {
    /// Accept no client for now. Clients wait in the backlog.
    Pause,
    /// Accept again.
    Resume,
    /// A permit was released, and the acceptor had asked to know.
    PermitReleased,
}

/// Counts clients against the limits. One for all threads of a server: the acceptor takes permits
/// from it, and each client's permit returns to it.
#[derive(Debug)]
pub(crate) struct Admission {
    config: Arc<Config>,
    occupancy: Mutex<Occupancy>,
    acceptor: Mailbox<AcceptorMessage>,
}

/// How many clients are served.
#[derive(Debug, Default)]
struct Occupancy {
    served: usize,
    /// Empty where there is no address limit. It holds no address with a count of zero.
    by_address: HashMap<AddressKey, usize>,
    /// Whether to send the acceptor a message when a permit is released.
    acceptor_waits: bool,
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

/// What counts as one address. Of IPv6, that is the /64 network, since a host that has one of its
/// addresses usually has them all (RFC 6177, RFC 7421). An IPv4 address written as IPv6 counts as
/// IPv4. IPv4 takes the place of IPv6 multicast (RFC 4291, 2.7), from which no client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(u64);

impl AddressKey {
    /// Returns the key of an address; none where clients have no address of their own.
    pub(crate) fn of(address: Address) -> Option<Self> {
        let key = match address.ip()?.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self([a, b, c, d].into_iter().fold(0, |network, segment| network << 16 | u64::from(segment)))
            }
            IpAddr::V4(address) => Self(0xffff_ffff << 32 | u64::from(address.to_bits())),
        };
        Some(key)
    }
}

impl Admission {
    pub(crate) fn new(config: Arc<Config>, acceptor: Mailbox<AcceptorMessage>) -> Self {
        Self { config, occupancy: Mutex::default(), acceptor }
    }

    /// Returns whether the acceptor may accept another client, if only to reject it. If not, it
    /// receives [`AcceptorMessage::PermitReleased`] when it may. A client above the address limit
    /// delays no other: rejecting it costs less than finding out.
    pub(crate) fn is_open(&self) -> bool {
        match self.config.limits.when_full {
            WhenFull::Reject => true,
            WhenFull::Wait => {
                let mut occupancy = self.occupancy();
                let is_full = occupancy.served >= self.config.limits.max_connections;
                occupancy.acceptor_waits = is_full;
                !is_full
            }
        }
    }

    /// Returns a permit for a new client, or the reason to reject it.
    pub(crate) fn admit(self: &Arc<Self>, peer: Address) -> Decision {
        let mut occupancy = self.occupancy();
        if occupancy.served >= self.config.limits.max_connections {
            return Decision::Reject(CloseReason::ConnectionLimit);
        }
        let counted_for = self.config.limits.max_connections_per_address.and_then(|_| AddressKey::of(peer));
        if let (Some(address), Some(max)) = (counted_for, self.config.limits.max_connections_per_address) {
            let count = occupancy.by_address.entry(address).or_default();
            if *count >= max {
                return Decision::Reject(CloseReason::AddressLimit);
            }
            *count += 1;
        }
        occupancy.served += 1;
        Decision::Admit(Permit { admission: Arc::clone(self), counted_for })
    }

    /// Returns how many clients are served.
    pub(crate) fn served(&self) -> usize {
        self.occupancy().served
    }

    /// No code that holds the lock can panic half-way, so a poisoned lock needs no repair.
    fn occupancy(&self) -> MutexGuard<'_, Occupancy> {
        self.occupancy.lock().unwrap_or_else(PoisonError::into_inner)
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
        let acceptor_waits = std::mem::take(&mut occupancy.acceptor_waits);
        drop(occupancy);
        if acceptor_waits {
            self.admission.acceptor.send(AcceptorMessage::PermitReleased);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::mailbox;
    use greeter_core::Greeter;

    fn config(max_connections: usize, per_address: Option<usize>, when_full: WhenFull) -> Arc<Config> {
        let mut config = Config::without_timeouts(&Greeter);
        config.limits.max_connections = max_connections;
        config.limits.max_connections_per_address = per_address;
        config.limits.when_full = when_full;
        Arc::new(config)
    }

    fn admission(max_connections: usize, per_address_max: Option<usize>, when_full: WhenFull) -> Arc<Admission> {
        let (acceptor, _, _) = mailbox().unwrap();
        Arc::new(Admission::new(config(max_connections, per_address_max, when_full), acceptor))
    }

    fn from(address: &str) -> Address {
        (address.parse::<IpAddr>().unwrap(), 4000).into()
    }

    #[track_caller]
    fn admit(admission: &Arc<Admission>, address: &str) -> Permit {
        match admission.admit(from(address)) {
            Decision::Admit(permit) => permit,
            Decision::Reject(reason) => panic!("{reason}"),
        }
    }

    #[track_caller]
    fn reject(admission: &Arc<Admission>, address: &str) -> CloseReason {
        match admission.admit(from(address)) {
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
            assert!(admission.is_open());
        }
        admit(&admission, "192.0.2.2");
    }

    #[test]
    fn the_acceptor_that_waits_is_told_of_a_released_permit() {
        let (acceptor, inbox, _poll) = mailbox().unwrap();
        let admission = Arc::new(Admission::new(config(1, None, WhenFull::Wait), acceptor));
        assert!(admission.is_open());
        let ann = admit(&admission, "192.0.2.1");
        assert!(!admission.is_open());
        drop(ann);
        assert!(matches!(inbox.next_message(), Some(AcceptorMessage::PermitReleased)));
        drop(admit(&admission, "192.0.2.1"));
        assert!(inbox.next_message().is_none(), "the acceptor did not ask again");
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
