//! Wakes a poll in time for the next send. Where the system has timers that are descriptors, to
//! some microseconds; elsewhere the last millisecond is spent polling, because a poll's own timeout
//! is rounded up to one.

pub(super) use system::SendTimer;

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };

    pub(crate) struct SendTimer {
        fd: OwnedFd,
        /// When it rings.
        armed: u64,
    }

    impl SendTimer {
        pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            // Each ring is an edge of its own: nobody has to read it.
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { fd, armed: 0 })
        }

        /// The timeout of a poll that must return at `at`; both in nanoseconds of the same clock.
        pub(crate) fn arm(&mut self, now: u64, at: u64) -> io::Result<Option<Duration>> {
            if at <= now {
                return Ok(Some(Duration::ZERO));
            }
            if self.armed != at {
                let it_value = Timespec::try_from(Duration::from_nanos(at - now)).map_err(io::Error::other)?;
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
                timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)?;
                self.armed = at;
            }
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    pub(crate) struct SendTimer;

    impl SendTimer {
        pub(crate) fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
            Ok(Self)
        }

        /// The timeout of a poll that must return at `at`; both in nanoseconds of the same clock.
        pub(crate) fn arm(&mut self, now: u64, at: u64) -> io::Result<Option<Duration>> {
            Ok(Some(Duration::from_millis(at.saturating_sub(now) / 1_000_000)))
        }
    }
}
