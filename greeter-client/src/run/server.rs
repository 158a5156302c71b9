//! A server of the run's own: started for one script, and ended with it.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::talk::Signal;
use crate::{Address, AddressError};

/// What a server says on stdout once it listens; its address follows.
const READY: &str = "listening on ";

/// How long a server may take to end when it is asked to, before it is made to.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look whether a process has ended: the system has no wait with a deadline.
const LOOK: Duration = Duration::from_millis(2);

/// A server as a process. Dropped, it is asked to end, and after 2 s made to.
#[derive(Debug)]
pub struct Server {
    process: Process,
    address: Address,
}

/// Why there is no server, or what went wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// No program was named.
    #[error("no command to start a server")]
    NoCommand,
    /// The program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// It ended, or closed its stdout, before it said where it listens.
    #[error("{program} has not said where it listens: a line \"listening on ADDRESS\" on its stdout")]
    NotReady {
        /// The program.
        program: String,
    },
    /// It has said nothing for this long.
    #[error("{program} has not said for {waited:?} where it listens: a line \"listening on ADDRESS\" on its stdout")]
    Late {
        /// The program.
        program: String,
        /// How long.
        waited: Duration,
    },
    /// What it said is no address.
    #[error("{program} says that it listens, but not where")]
    Address {
        /// The program.
        program: String,
        /// What is wrong with what it said.
        source: AddressError,
    },
    /// The process could not be sent a signal or waited for.
    #[error("cannot reach the server's process")]
    Process(#[source] io::Error),
}

impl Server {
    /// Starts a program, with the arguments behind its name, and waits until it says `listening on ADDRESS` on stdout, in a
    /// line of its own. Its stderr is ours.
    ///
    /// # Errors
    ///
    /// Any [`ServerError`]. What was started is ended.
    pub fn start(command: &[String], within: Duration) -> Result<Self, ServerError> {
        let (program, arguments) = command.split_first().ok_or(ServerError::NoCommand)?;
        let named = || program.clone();
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let child = child.map_err(|source| ServerError::Start { program: named(), source })?;
        let mut process = Process(child);
        let stdout = process.0.stdout.take().expect("stdout was asked for as a pipe");
        let (sender, said) = mpsc::channel();
        // It goes on reading for as long as the server says something, which otherwise would find its pipe full.
        thread::Builder::new()
            .name("server-stdout".to_owned())
            .spawn(move || listen(stdout, &sender))
            .map_err(ServerError::Process)?;
        let address = match said.recv_timeout(within) {
            Ok(address) => address,
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(ServerError::Late { program: named(), waited: within }),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ServerError::NotReady { program: named() }),
        };
        let address = address.parse().map_err(|source| ServerError::Address { program: named(), source })?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`]: it has ended, for instance; or the system has no signals.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        self.process.signal(signal).map_err(ServerError::Process)
    }

    /// Waits for its end, but no longer than this; none if it still runs.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`].
    pub fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, ServerError> {
        self.process.wait(within).map_err(ServerError::Process)
    }
}

/// A process that does not outlive its value.
#[derive(Debug)]
struct Process(Child);

impl Process {
    #[cfg(unix)]
    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        use rustix::process::{Pid, Signal as System, kill_process};
        let signal = match signal {
            Signal::Term => System::TERM,
            Signal::Int => System::INT,
            Signal::Hup => System::HUP,
            Signal::Quit => System::QUIT,
            Signal::Kill => System::KILL,
            Signal::Usr1 => System::USR1,
            Signal::Usr2 => System::USR2,
            Signal::Stop => System::STOP,
            Signal::Cont => System::CONT,
        };
        // What has been waited for is no longer a process of ours: its number may be another's.
        match self.0.try_wait()? {
            Some(_) => Err(io::Error::new(io::ErrorKind::NotFound, "the server has ended")),
            None => Ok(kill_process(Pid::from_child(&self.0), signal)?),
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, _signal: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn wait(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now().checked_add(within);
        loop {
            let status = self.0.try_wait()?;
            if status.is_some() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that stands still would not hear that it is to end.
        let asked = self.signal(Signal::Term).and_then(|()| self.signal(Signal::Cont));
        if asked.is_err() || !self.wait(PATIENCE).is_ok_and(|status| status.is_some()) {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn listen(stdout: impl Read, said: &mpsc::Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    let mut is_ready = false;
    while !is_ready && stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Some(address) = text.trim_end().strip_prefix(READY) {
            is_ready = said.send(address.to_owned()).is_ok();
        }
        line.clear();
    }
    let _ = io::copy(&mut stdout, &mut io::sink());
}
