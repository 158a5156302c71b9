//! A port for a server that is told where to listen.
//!
//! Between the choice of a port and the server's use of it, somebody else may take it, and a script
//! would pass against a stranger. That cannot be ruled out beforehand, so three things make it
//! improbable and a fourth finds it:
//!
//! * the port is none of those that the system gives to whoever does not care which;
//! * nothing uses it at any address when it is chosen;
//! * on Linux, no other run of ours has chosen it: a name that only one process can have stands for
//!   it;
//! * when the server has ended, [nobody may listen](Port::has_listener) there any more.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use socket2::{Domain, Socket, Type};

/// Below those that Linux, macOS and Windows give away by themselves, and above most that have an
/// owner.
const PORTS: Range<u16> = 20_000..32_000;

static STARTS: Mutex<()> = Mutex::new(());

/// As long as this value lives, none of our processes starts. One that does has copies of all our
/// sockets until it runs its program, and so long a port is in use that we have just tried.
#[derive(Debug)]
pub(super) struct NoStarts(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl NoStarts {
    /// Waits for a start that is going on.
    pub(super) fn wait() -> Self {
        Self(STARTS.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A port that was free when it was chosen. No other run of ours chooses it as long as this value
/// lives.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    _claim: Claim,
}

impl Port {
    /// # Errors
    ///
    /// If none is free.
    pub(super) fn choose(_: &NoStarts) -> io::Result<Self> {
        let count = PORTS.end - PORTS.start;
        let random = RandomState::new().build_hasher().finish() % u64::from(count);
        let start = u16::try_from(random).expect("it is less than a number of ports");
        for offset in 0..count {
            let number = PORTS.start + (start + offset) % count;
            let Some(claim) = claim(number) else { continue };
            let port = Self { number, _claim: claim };
            if is_unused(number) && !port.has_listener()? {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// Where a server that listens on the port can be reached.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.number).into()
    }

    /// Whether somebody listens there. On Linux nobody is connected to for that: a server may serve
    /// just one client, or count them.
    pub(super) fn has_listener(&self) -> io::Result<bool> {
        #[cfg(target_os = "linux")]
        return listeners::has(self.number);
        #[cfg(not(target_os = "linux"))]
        match std::net::TcpStream::connect(self.address()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Whether nothing uses the port, at any address. Connections that are long over count, too, since
/// not every server disregards them.
fn is_unused(number: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    socket.and_then(|socket| socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, number).into())).is_ok()
}

/// A socket in the same network namespace as the port, and gone with its process.
#[cfg(target_os = "linux")]
type Claim = std::os::unix::net::UnixDatagram;
#[cfg(not(target_os = "linux"))]
type Claim = ();

#[cfg(target_os = "linux")]
fn claim(number: u16) -> Option<Claim> {
    use std::os::linux::net::SocketAddrExt;
    let name = std::os::unix::net::SocketAddr::from_abstract_name(format!("greeter-client-port-{number}")).ok()?;
    Claim::bind_addr(&name).ok()
}

#[cfg(not(target_os = "linux"))]
fn claim(_number: u16) -> Option<Claim> {
    Some(())
}

/// What the system tells of its sockets. Linux tells of those that listen first, as its
/// documentation of proc_net_tcp has it; of the others there may be a hundred thousand, and they
/// are left unread.
#[cfg(target_os = "linux")]
mod listeners {
    use std::fs::File;
    use std::io::{self, BufRead, BufReader};

    const LISTEN: &str = "0A";

    /// Whether anybody listens on the port, at any address.
    pub(super) fn has(port: u16) -> io::Result<bool> {
        let port = format!(":{port:04X}");
        let has = |file: File| {
            let lines = BufReader::new(file).lines().skip(1);
            let locals = lines.map_while(|line| line.map(|line| local_of_listener(&line)).transpose());
            locals.collect::<io::Result<Vec<_>>>().map(|locals| locals.iter().any(|local| local.ends_with(&port)))
        };
        if has(File::open("/proc/net/tcp")?)? {
            return Ok(true);
        }
        // There is none where IPv6 is switched off.
        File::open("/proc/net/tcp6").map_or(Ok(false), has)
    }

    /// Where a socket listens; none of one that does not.
    fn local_of_listener(line: &str) -> Option<String> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _peer, state) = (fields.next()?, fields.next()?, fields.next()?);
        (state == LISTEN).then(|| local.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_free_and_ours_until_it_is_dropped() {
        let no_starts = NoStarts::wait();
        let port = Port::choose(&no_starts).unwrap();
        assert!(PORTS.contains(&port.number()));
        assert!(!port.has_listener().unwrap());
        assert_eq!(claim(port.number()).is_none(), cfg!(target_os = "linux"));
        let listener = TcpListener::bind(port.address()).unwrap();
        assert!(port.has_listener().unwrap());
        assert!(!is_unused(port.number()));
        drop(listener);
        assert!(!port.has_listener().unwrap());
        let number = port.number();
        drop(port);
        assert!(claim(number).is_some());
    }
}
