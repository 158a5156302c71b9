//! The backlog in which clients wait to be accepted, as a kernel keeps it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::io::Errno;

use super::clock::SimulatedClock;
use super::random::Random;
use super::rules::{PROXY, Rules};
use super::wire::{VirtualSocket, Wire};
use greeter_core::Address;

use crate::system::Accept;

/// Errors that accept(2) may return in place of a connection.
const ERRORS: [Errno; 5] = [Errno::MFILE, Errno::NOMEM, Errno::CONNABORTED, Errno::PROTO, Errno::INTR];

/// Clients come from this many addresses in turn.
const ADDRESSES: u8 = 2;

/// Returns where a client connects from.
pub(super) fn address_of(number: u32) -> SocketAddr {
    let port = 1000 + u16::try_from(number).expect("there are few clients");
    let host = 1 + number as u8 % ADDRESSES;
    (Ipv4Addr::new(192, 0, 2, host), port).into()
}

/// Clients that have connected and were not accepted yet, the one that has waited longest first.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: VecDeque<(Arc<Mutex<Wire>>, Instant)>,
    /// Whether the system has an event to report.
    pub(super) is_ready: bool,
    clock: SimulatedClock,
    random: Random,
    has_faults: bool,
    has_proxy: bool,
}

/// The server's end of the backlog.
#[derive(Debug)]
pub(super) struct VirtualListener(pub(super) Arc<Mutex<Backlog>>);

impl Backlog {
    pub(super) const fn new(clock: SimulatedClock, random: Random, rules: &Rules) -> Self {
        let Rules { has_faults, has_proxy, .. } = *rules;
        Self { waiting: VecDeque::new(), is_ready: false, clock, random, has_faults, has_proxy }
    }

    pub(super) fn connect(&mut self, wire: Arc<Mutex<Wire>>) {
        self.waiting.push_back((wire, self.clock.now()));
        self.is_ready = true;
    }

    /// Returns since when the first client waits.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waiting.front().map(|(_, since)| *since)
    }

    /// The listener is closed: resets all clients that wait.
    pub(super) fn reset_all(&mut self) {
        self.waiting.drain(..).for_each(|(wire, _)| wire.lock().unwrap().reset());
    }
}

impl Accept for VirtualListener {
    type Socket = VirtualSocket;

    fn accept(&self) -> io::Result<(VirtualSocket, Address)> {
        let backlog = &mut *self.0.lock().unwrap();
        if backlog.has_faults && backlog.random.one_in(20) {
            return Err(backlog.random.pick(&ERRORS).into());
        }
        let (wire, _) = backlog.waiting.pop_front().ok_or(ErrorKind::WouldBlock)?;
        let number = {
            let now = backlog.clock.now();
            let wire = &mut *wire.lock().unwrap();
            wire.oracle.accepted = now;
            wire.oracle.begins(now);
            wire.number
        };
        let address = if backlog.has_proxy { (PROXY, 1).into() } else { address_of(number) };
        Ok((VirtualSocket(wire), address.into()))
    }
    fn hide(&mut self) {}

    fn keeps_backlog(&self) -> bool {
        false
    }
}
