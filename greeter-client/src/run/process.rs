//! Turns a command into a server that listens, and ends it with all that it has started. It must
//! not know the steps of a script, but for the signals that they may send.

mod error;
mod group;
mod output;

use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

pub use error::{ServerError, ServerExit};
pub use output::LastLines;

use super::port::{NoStarts, Port};
use crate::net::ServerAddress;
use crate::talk::{Secrets, Signal};
use group::{END_TIMEOUT, GRACE, HiddenFromServers, LOOK, LOOK_RARELY, ProcessGroup};
use output::ReadyLine;

/// What stands in a command for the port that its server is to listen on.
const PORT: &str = "{port}";

/// A process of a server, with those that it starts. Dropping it asks them to end, and kills them
/// after 2 s.
#[derive(Debug)]
pub struct ServerProcess {
    process: Arc<Mutex<ProcessGroup>>,
    program: String,
    address: ServerAddress,
    /// The one that we chose for it.
    port: Option<Port>,
}

/// All servers that a program has started and not ended: a program that is told to end can end
/// them, whatever its threads are doing.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
/// use greeter_client::run::ServerProcesses;
///
/// let servers = Arc::new(ServerProcesses::default());
/// let command = ["greeter-server", "--listen", "127.0.0.1:{port}"].map(str::to_owned);
/// let server = servers.start(&command, Duration::from_secs(10))?;
/// // On another thread, which has been told that the program must end:
/// servers.end_all();
/// # drop(server);
/// # Ok::<(), greeter_client::run::ServerError>(())
/// ```
#[derive(Debug)]
pub struct ServerProcesses {
    registry: Mutex<Registry>,
    hidden: HiddenFromServers,
}

#[derive(Debug)]
enum Registry {
    Running(Vec<Weak<Mutex<ProcessGroup>>>),
    /// They were ended, and there will be no others.
    Over,
}

impl Default for ServerProcesses {
    fn default() -> Self {
        Self::hiding(Secrets::default(), [])
    }
}

impl ServerProcesses {
    /// Creates a list without servers, which will not inherit these variables of the environment.
    /// In what they print on stderr, `***` takes the place of secrets.
    #[must_use]
    pub fn hiding(secrets: Secrets, variables: impl IntoIterator<Item = String>) -> Self {
        let hidden = HiddenFromServers { secrets, variables: variables.into_iter().collect() };
        Self { registry: Mutex::new(Registry::Running(Vec::new())), hidden }
    }

    /// Starts a server as [`ServerProcess::start`] does.
    ///
    /// # Errors
    ///
    /// Those of [`ServerProcess::start`], and [`ServerError::ShutDown`].
    pub fn start(&self, command: &[String], within: Duration) -> Result<ServerProcess, ServerError> {
        if command.iter().any(|word| word.contains(PORT)) {
            self.start_with_port(command, within)
        } else {
            self.start_and_listen(command, within)
        }
    }

    /// Ends all servers, those that do not listen yet among them, as their drop does. None is
    /// started afterwards.
    pub fn end_all(&self) {
        let known = std::mem::replace(&mut *lock(&self.registry), Registry::Over);
        let Registry::Running(running) = known else { return };
        let running: Vec<_> = running.iter().filter_map(Weak::upgrade).collect();
        thread::scope(|scope| {
            for process in &running {
                let end = move || lock(process).end();
                // Where there is no thread, they end one after the other.
                if thread::Builder::new().spawn_scoped(scope, end).is_err() {
                    end();
                }
            }
        });
    }

    /// None is started that is not known to whoever ends all.
    fn spawn(&self, command: &[String], stdout: Stdio) -> Result<Arc<Mutex<ProcessGroup>>, ServerError> {
        match &mut *lock(&self.registry) {
            Registry::Over => Err(ServerError::ShutDown),
            Registry::Running(running) => {
                let process = Arc::new(Mutex::new(ProcessGroup::start(command, stdout, &self.hidden)?));
                running.retain(|process| process.strong_count() > 0);
                running.push(Arc::downgrade(&process));
                Ok(process)
            }
        }
    }

    fn start_and_listen(&self, command: &[String], within: Duration) -> Result<ServerProcess, ServerError> {
        let process = self.spawn(command, Stdio::piped())?;
        let program = command[0].clone();
        let (sender, said) = mpsc::channel();
        let mut sender = Some(sender);
        let mut ready = ReadyLine::default();
        // It goes on reading for as long as the server says something, which otherwise would find
        // its pipe full.
        let take = move |bytes: &[u8]| {
            if let Some(address) = sender.as_ref().and_then(|_| ready.take(bytes))
                && let Some(sender) = sender.take()
            {
                // Whoever has lost patience does not listen any more.
                let _ = sender.send(address);
            }
        };
        lock(&process).read_stdout(take).map_err(ServerError::Process)?;
        let address = wait_for_address(&process, &program, &said, within)?;
        match address.parse() {
            Ok(address) => Ok(ServerProcess { process, program, address, port: None }),
            Err(source) => Err(ServerError::Address { program, source }),
        }
    }

    fn start_with_port(&self, command: &[String], within: Duration) -> Result<ServerProcess, ServerError> {
        let port = Port::choose(&NoStarts::wait()).map_err(ServerError::Port)?;
        let number = port.number();
        let command: Vec<String> = command.iter().map(|word| word.replace(PORT, &number.to_string())).collect();
        let process = self.spawn(&command, Stdio::null())?;
        let program = command[0].clone();
        let deadline = Instant::now().checked_add(within);
        let mut pause = LOOK;
        loop {
            // In this order: whoever listens when the program is seen to run did so before it could
            // have ended.
            let listens = port.has_listener().map_err(ServerError::Port)?;
            if let Some(end) = end_of(&process, Duration::ZERO)? {
                return Err(ServerError::Exited { program, port: Some(number), end });
            }
            if listens {
                return Ok(ServerProcess { process, program, address: port.address().into(), port: Some(port) });
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let stderr = lock(&process).stderr.last_lines(Duration::ZERO);
                return Err(ServerError::ListenTimeout { program, port: number, waited: within, stderr });
            }
            thread::sleep(pause);
            // On a machine with many sockets, a look takes milliseconds.
            pause = (pause * 2).min(LOOK_RARELY);
        }
    }
}

/// Waits until a server has said where it listens, or has ended. That it has, its process tells:
/// another may hold its stdout.
fn wait_for_address(
    process: &Mutex<ProcessGroup>,
    program: &str,
    said: &Receiver<String>,
    within: Duration,
) -> Result<String, ServerError> {
    let program = program.to_owned();
    let deadline = Instant::now().checked_add(within);
    loop {
        let left = deadline.map_or(LOOK_RARELY, |deadline| deadline.saturating_duration_since(Instant::now()));
        match said.recv_timeout(left.min(LOOK_RARELY)) {
            Ok(address) => return Ok(address),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // A process that ends has closed everything a moment before.
                return Err(match end_of(process, GRACE)? {
                    Some(end) => ServerError::Exited { program, port: None, end },
                    None => ServerError::NotReady { program, stderr: lock(process).stderr.last_lines(Duration::ZERO) },
                });
            }
        }
        if let Some(end) = end_of(process, Duration::ZERO)? {
            // The line may be on its way.
            return said.recv_timeout(GRACE).map_err(|_| ServerError::Exited { program, port: None, end });
        }
        if left.is_zero() {
            let stderr = lock(process).stderr.last_lines(Duration::ZERO);
            return Err(ServerError::ReadyTimeout { program, waited: within, stderr });
        }
    }
}

/// How it has ended, if it does within this time, with what it said last.
fn end_of(process: &Mutex<ProcessGroup>, within: Duration) -> Result<Option<ServerExit>, ServerError> {
    let Some(status) = wait(process, within).map_err(ServerError::Process)? else { return Ok(None) };
    let stderr = lock(process).stderr.clone();
    Ok(Some(ServerExit { status, stderr: stderr.last_lines(GRACE) }))
}

/// Waits for its end, but no longer than this, and lets others have the process meanwhile.
fn wait(process: &Mutex<ProcessGroup>, within: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now().checked_add(within);
    loop {
        let status = lock(process).status()?;
        if status.is_some() || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Ok(status);
        }
        thread::sleep(LOOK);
    }
}

/// What a thread that panicked has left is whole: each statement leaves it so.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ServerProcess {
    /// Starts a program, with the arguments behind its name, and waits until it listens. Its stderr
    /// goes to ours. It has a process group of its own, so that a signal for ours, such as that of
    /// Ctrl-C, does not reach it: a program that can be told to end starts its servers with
    /// [`ServerProcesses`].
    ///
    /// If `{port}` stands in an argument, a free port replaces it, and the program is to listen
    /// there on 127.0.0.1 or on all addresses; [`end`](Self::end) tells whether it alone did.
    /// Otherwise it says `listening on ADDRESS` on stdout, in a line of its own.
    ///
    /// # Errors
    ///
    /// Any [`ServerError`] but [`PortInUse`](ServerError::PortInUse),
    /// [`LeftBehind`](ServerError::LeftBehind) and [`Over`](ServerError::ShutDown). What was
    /// started is ended.
    pub fn start(command: &[String], within: Duration) -> Result<Self, ServerError> {
        ServerProcesses::default().start(command, within)
    }

    /// Ends the server as its drop does, and checks that this server, and no other on its port, was
    /// talked to, and that nothing of it is left.
    ///
    /// # Errors
    ///
    /// [`ServerError::PortInUse`]: what a script has found out is worth nothing;
    /// [`ServerError::LeftBehind`]; and [`ServerError::Port`].
    pub fn end(self) -> Result<(), ServerError> {
        let mut process = lock(&self.process);
        process.end();
        if let Some(port) = &self.port {
            let deadline = Instant::now() + END_TIMEOUT;
            // One that has left the group may end a little later.
            while port.has_listener().map_err(ServerError::Port)? {
                if deadline <= Instant::now() {
                    return Err(ServerError::PortInUse { program: self.program.clone(), port: port.number() });
                }
                thread::sleep(LOOK);
            }
        }
        match process.has_left_one_behind() {
            true => Err(ServerError::LeftBehind { program: self.program.clone() }),
            false => Ok(()),
        }
    }

    /// From now on, `***` takes the place of these secrets, too, in what it prints on stderr.
    pub(super) fn hide(&self, secrets: &Secrets) {
        lock(&self.process).stderr.hide(secrets);
    }

    /// Returns the address that it listens at.
    #[must_use]
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Sends a signal to the server.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`]: it has ended, for instance; or the system has no signals.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        lock(&self.process).signal(signal).map_err(ServerError::Process)
    }

    /// Waits for the exit, at most for `within`. Returns `None` if the server still runs.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`].
    pub fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>, ServerError> {
        wait(&self.process, within).map_err(ServerError::Process)
    }

    /// Waits for the exit as [`wait`](Self::wait) does, and for the last lines on stderr.
    ///
    /// # Errors
    ///
    /// [`ServerError::Process`].
    pub fn wait_for_end(&mut self, within: Duration) -> Result<Option<ServerExit>, ServerError> {
        end_of(&self.process, within)
    }
}
