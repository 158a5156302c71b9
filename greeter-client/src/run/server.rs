//! A server of the run's own: started for one script, and ended with it.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::port::Port;
use crate::talk::Signal;
use crate::{Address, AddressError};

/// What a server says on stdout once it listens; its address follows.
const READY: &str = "listening on ";

/// What stands in a command for the port that its server is to listen on.
const PORT: &str = "{port}";

/// How long a server may take to end when it is asked to, before it is made to.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often to look whether a process has ended: the system has no wait with a deadline.
const LOOK: Duration = Duration::from_millis(2);

/// How often to look whether a server listens that takes its time.
const LOOK_RARELY: Duration = Duration::from_millis(50);

/// A server as a process. Dropped, it is asked to end, and after 2 s made to.
#[derive(Debug)]
pub struct Server {
    process: Process,
    program: String,
    address: Address,
    /// The one that we chose for it.
    port: Option<Port>,
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
    /// There is no port for it, or the system does not tell who listens.
    #[error("no port can be chosen for the server")]
    Port(#[source] io::Error),
    /// It ended before it listened, or went into the background, where nobody can end it.
    #[error("{program} has ended ({status}): it is to listen on port {port}, and to stay in the foreground")]
    Ended {
        /// The program.
        program: String,
        /// The port that was chosen for it.
        port: u16,
        /// How it ended.
        status: ExitStatus,
    },
    /// It does not listen on its port after this long.
    #[error("{program} does not listen on port {port} after {waited:?}")]
    Deaf {
        /// The program.
        program: String,
        /// The port that was chosen for it.
        port: u16,
        /// How long.
        waited: Duration,
    },
    /// After its end, its port still has a listener. So that may be who has answered.
    #[error(
        "somebody listens on port {port}, though {program} has ended: \
         another program took the port, or {program} left a process behind"
    )]
    Foreign {
        /// The program.
        program: String,
        /// The port that was chosen for it.
        port: u16,
    },
    /// The process could not be sent a signal or waited for.
    #[error("cannot reach the server's process")]
    Process(#[source] io::Error),
}

impl Server {
    /// Starts a program, with the arguments behind its name, and waits until it listens. Its stderr is ours.
    ///
    /// If `{port}` stands in an argument, a free port replaces it, and the program is to listen there on 127.0.0.1 or on all
    /// addresses; [`end`](Self::end) tells whether it alone did. Otherwise it says `listening on ADDRESS` on stdout, in a line
    /// of its own.
    ///
    /// # Errors
    ///
    /// Any [`ServerError`] but [`Foreign`](ServerError::Foreign). What was started is ended.
    pub fn start(command: &[String], within: Duration) -> Result<Self, ServerError> {
        if command.iter().any(|word| word.contains(PORT)) {
            Self::start_with_port(command, within)
        } else {
            Self::start_and_listen(command, within)
        }
    }

    fn start_and_listen(command: &[String], within: Duration) -> Result<Self, ServerError> {
        let mut process = Process::start(command, Stdio::piped())?;
        let program = command[0].clone();
        let stdout = process.0.stdout.take().expect("stdout was asked for as a pipe");
        let (sender, said) = mpsc::channel();
        // It goes on reading for as long as the server says something, which otherwise would find its pipe full.
        thread::Builder::new()
            .name("server-stdout".to_owned())
            .spawn(move || listen(stdout, &sender))
            .map_err(ServerError::Process)?;
        let address = match said.recv_timeout(within) {
            Ok(address) => address,
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(ServerError::Late { program, waited: within }),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ServerError::NotReady { program }),
        };
        match address.parse() {
            Ok(address) => Ok(Self { process, program, address, port: None }),
            Err(source) => Err(ServerError::Address { program, source }),
        }
    }

    fn start_with_port(command: &[String], within: Duration) -> Result<Self, ServerError> {
        let port = Port::choose().map_err(ServerError::Port)?;
        let number = port.number();
        let command: Vec<String> = command.iter().map(|word| word.replace(PORT, &number.to_string())).collect();
        let mut process = Process::start(&command, Stdio::null())?;
        let program = command[0].clone();
        let deadline = Instant::now().checked_add(within);
        let mut pause = LOOK;
        loop {
            // In this order: whoever listens when the program is seen to run did so before it could have ended.
            let listens = port.has_listener().map_err(ServerError::Port)?;
            if let Some(status) = process.wait(Duration::ZERO).map_err(ServerError::Process)? {
                return Err(ServerError::Ended { program, port: number, status });
            }
            if listens {
                return Ok(Self { process, program, address: port.address().into(), port: Some(port) });
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(ServerError::Deaf { program, port: number, waited: within });
            }
            thread::sleep(pause);
            // On a machine with many sockets, a look takes milliseconds.
            pause = (pause * 2).min(LOOK_RARELY);
        }
    }

    /// Ends it as its drop does, and makes sure that it was this server which was talked to, and no other on its port.
    ///
    /// # Errors
    ///
    /// [`ServerError::Foreign`]: what a script has found out is worth nothing; and [`ServerError::Port`].
    pub fn end(mut self) -> Result<(), ServerError> {
        self.process.end();
        let Some(port) = &self.port else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        // Processes that it started itself may end a little later.
        while port.has_listener().map_err(ServerError::Port)? {
            if deadline <= Instant::now() {
                return Err(ServerError::Foreign { program: self.program, port: port.number() });
            }
            thread::sleep(LOOK);
        }
        Ok(())
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
    fn start(command: &[String], stdout: Stdio) -> Result<Self, ServerError> {
        let (program, arguments) = command.split_first().ok_or(ServerError::NoCommand)?;
        let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(stdout).spawn();
        child.map(Self).map_err(|source| ServerError::Start { program: program.clone(), source })
    }

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

    /// Asks it to end, and makes it end. Once it has ended, this does nothing.
    fn end(&mut self) {
        // A process that stands still would not hear that it is to end.
        let asked = self.signal(Signal::Term).and_then(|()| self.signal(Signal::Cont));
        if asked.is_err() || !self.wait(PATIENCE).is_ok_and(|status| status.is_some()) {
            // It may have ended by itself.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
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
