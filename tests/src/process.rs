//! Programs of this workspace as processes of their own.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{PATIENCE, wait_until};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// The path of `greeter-server`, built as whoever asks was built.
pub fn greeter_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("greeter-server", "greeter-server"))
}

/// The path of `greeter-client`, built as whoever asks was built.
pub fn greeter_client() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("greeter-client", "greeter-client"))
}

/// Builds a binary of the workspace, in the profile of this process, and tells where it is.
///
/// `cargo test --workspace` has built it already, but with more features of what it depends on, so
/// that all that is built once more. Whoever knows that this is how the tests were started says so
/// with `GREETER_PROGRAMS_BUILT=1`.
///
/// # Panics
///
/// When that fails.
pub fn build(package: &str, binary: &str) -> PathBuf {
    let exe = env::current_exe().expect("a process has a program");
    let ancestors = exe.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name != "deps"));
    let folder = ancestors.expect("cargo puts programs into a folder of their profile");
    let program = folder.join(binary);
    if env::var_os("GREETER_PROGRAMS_BUILT").is_some_and(|value| value == "1") {
        assert!(program.is_file(), "{} has not been built", program.display());
        return program;
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = folder.parent().expect("the folder of a profile is in the target folder");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", package, "--bin", binary, "--profile", profile, "--target-dir"]);
    let status = command.arg(target).status().expect("cargo can be started");
    assert!(status.success(), "cannot build {binary}");
    program
}

/// A server as a process. Ends with its value.
#[derive(Debug)]
pub struct TestedServer {
    child: Child,
    addresses: Vec<SocketAddr>,
    log: Option<JoinHandle<String>>,
}

impl TestedServer {
    /// Starts `greeter-server` on a free port, with these arguments besides.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(&[&["--listen", "127.0.0.1:0"], arguments].concat())
    }

    /// Starts `greeter-server` with just these arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        let mut command = Command::new(greeter_server());
        command.args(arguments);
        Self::start_command(command)
    }

    /// Starts `greeter-server` with just these arguments, and its log going there.
    pub fn start_logging_to(log: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let mut command = Command::new(greeter_server());
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let child = without_our_variables(&mut command).spawn().expect("a server can be started");
        Self::started(Self::await_listeners(child, None, 1))
    }

    /// Starts `greeter-server` with just these arguments, which is to say there on which address it
    /// listens. Its log says it to us.
    ///
    /// # Panics
    ///
    /// When it ends before it listens.
    pub fn start_announcing_to(announcement: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let mut command = Command::new(greeter_server());
        command.args(arguments).stdin(Stdio::null()).stdout(announcement).stderr(Stdio::piped());
        let (sender, lines) = mpsc::channel();
        let (child, log) = Self::spawn(command, Some(sender));
        let mut server = Self { child, addresses: Vec::new(), log: Some(log) };
        while server.addresses.is_empty() {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => server.addresses.extend(address_in_log(&line)),
                Err(_) => panic!("the server does not listen; its log: {}", server.wait(PATIENCE).1),
            }
        }
        server
    }

    /// Starts a server that says `listening on ADDRESS` once it does.
    ///
    /// # Panics
    ///
    /// When it ends before it says so.
    pub fn start_command(command: Command) -> Self {
        Self::start_listeners(command, 1)
    }

    /// Starts a server that says so of so many addresses.
    ///
    /// # Panics
    ///
    /// When it ends before it has said so.
    pub fn start_listeners(command: Command, listeners: usize) -> Self {
        Self::started(Self::try_start(command, listeners))
    }

    /// Starts a server that says of so many addresses that it listens there; or tells how it ended
    /// before that, and what it logged.
    ///
    /// # Errors
    ///
    /// How it ended, and its log.
    ///
    /// # Panics
    ///
    /// When it does neither in time.
    pub fn try_start(mut command: Command, listeners: usize) -> Result<Self, (ExitStatus, String)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, log) = Self::spawn(command, None);
        Self::await_listeners(child, Some(log), listeners)
    }

    /// Starts a server that listens there and says nothing about it; or tells how it ended before
    /// it did, and what it logged.
    ///
    /// # Errors
    ///
    /// How it ended, and its log.
    ///
    /// # Panics
    ///
    /// When it does neither in time.
    pub fn try_start_at(mut command: Command, address: SocketAddr) -> Result<Self, (ExitStatus, String)> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let (child, log) = Self::spawn(command, None);
        let mut server = Self { child, addresses: vec![address], log: Some(log) };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if server.child.try_wait().expect("our own process can be waited for").is_some() {
                return Err(server.wait(PATIENCE));
            }
            assert!(Instant::now() < deadline, "the server neither listens nor ends");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// Starts it, and collects what it says on stderr, of which somebody may hear line by line.
    fn spawn(mut command: Command, heard_by: Option<Sender<String>>) -> (Child, JoinHandle<String>) {
        let mut child = without_our_variables(&mut command).spawn().expect("a server can be started");
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        let log = thread::spawn(move || {
            let mut text = String::new();
            loop {
                let line = text.len();
                if stderr.read_line(&mut text).expect("a log is text and can be read") == 0 {
                    return text;
                }
                // Whoever heard may have heard enough.
                heard_by.iter().for_each(|heard_by| drop(heard_by.send(text[line..].to_owned())));
            }
        });
        (child, log)
    }

    fn started(attempt: Result<Self, (ExitStatus, String)>) -> Self {
        attempt.unwrap_or_else(|(status, log)| panic!("the server has ended, {status}; its log: {log}"))
    }

    fn await_listeners(
        mut child: Child,
        log: Option<JoinHandle<String>>,
        listeners: usize,
    ) -> Result<Self, (ExitStatus, String)> {
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let (sender, said) = mpsc::channel();
        // What it says besides is read, too: a server whose stdout is closed has a warning for
        // that.
        thread::spawn(move || {
            let mut lines = stdout.lines();
            let _ = lines.by_ref().take(listeners).try_for_each(|line| sender.send(line));
            drop(sender);
            lines.for_each(drop);
        });
        let mut server = Self { child, addresses: Vec::new(), log };
        while server.addresses.len() < listeners {
            match said.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let line = line.expect("what a server says is text");
                    let address = line.strip_prefix("listening on ").map(|it| it.strip_prefix("tls:").unwrap_or(it));
                    let address = address.and_then(|address| address.parse().ok());
                    server.addresses.push(address.unwrap_or_else(|| panic!("the server said {line:?}")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(server.wait(PATIENCE)),
                Err(RecvTimeoutError::Timeout) => panic!("the server neither listens nor ends"),
            }
        }
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Everywhere it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(pid(&self.child), signal).expect("the process is still ours");
    }

    /// Has it stand still (SIGSTOP), and waits until it does. SIGCONT has it go on.
    pub fn stand_still(&self) {
        self.signal(Signal::STOP);
        let is_still = || {
            let threads = fs::read_dir(format!("/proc/{}/task", self.id())).expect("the process lives");
            let stats = threads.map(|thread| fs::read_to_string(thread.expect("a thread").path().join("stat")));
            stats.flatten().all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" T")))
        };
        wait_until("all its threads stand still", is_still);
    }

    /// Allows it so many open files and no more.
    pub fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Some(pid(&self.child)), Resource::Nofile, limit).expect("a limit may be lowered");
    }

    /// Allows it files that are so long and no longer.
    pub fn limit_file_bytes(&self, most: Option<u64>) {
        prlimit(Some(pid(&self.child)), Resource::Fsize, Rlimit { current: most, maximum: None })
            .expect("it is our own");
    }

    /// Waits for its end, and gives what it logged to us.
    ///
    /// # Panics
    ///
    /// When it has not ended after this long.
    pub fn wait(&mut self, at_most: Duration) -> (ExitStatus, String) {
        let deadline = Instant::now() + at_most;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own process can be waited for") {
                let log = self.log.take().map(|log| log.join().expect("the log is read"));
                return (status, log.unwrap_or_default());
            }
            assert!(Instant::now() < deadline, "the server has not ended after {at_most:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        descriptors_of(self.id(), "")
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.id())).expect("the process lives").count()
    }

    /// How many of its threads have this name. Linux knows 15 bytes of it.
    pub fn threads_named(&self, name: &str) -> usize {
        threads_in(&format!("/proc/{}/task", self.id()), |its| its.trim_end() == name)
    }

    /// The memory it occupies, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes_of(self.id())
    }

    /// The processor time it has used so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the process lives");
        // The name of the program may hold blanks; what follows its bracket does not. See
        // proc_pid_stat(5).
        let fields: Vec<&str> = stat.rsplit(')').next().expect("there is a name").split_ascii_whitespace().collect();
        let ticks = |field: usize| fields[field].parse::<u64>().expect("ticks are a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 1000 / rustix::param::clock_ticks_per_second())
    }
}

impl Drop for TestedServer {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many descriptors this process has open of what has this in its name, as proc_pid_fd(5) has
/// that.
///
/// # Panics
///
/// When it is not there.
pub fn descriptors_of(id: u32, what: &str) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{id}/fd")).expect("the process lives").flatten();
    // One that is closed meanwhile has no name.
    let names = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    names.filter(|name| name.to_string_lossy().contains(what)).count()
}

/// The memory that this process occupies, in bytes.
///
/// # Panics
///
/// When it is not there.
pub fn resident_bytes_of(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes are a number") * 1024
}

/// The processes with this word, `NAME=VALUE`, in their environment that have not ended. Numbers
/// would not tell: others may have them by now.
///
/// # Panics
///
/// When the system does not say which processes there are.
pub fn marked(word: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("the system has a table of processes").flatten();
    let is_marked = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == word.as_bytes())
    };
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok()).filter(is_marked).collect()
}

/// A pipe that takes nothing more, and its other end.
///
/// # Panics
///
/// When there is none to be had.
pub fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("there are descriptors");
    rustix::io::ioctl_fionbio(&writer, true).expect("a pipe can be set up");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).expect("a pipe can be set up");
    (reader, writer)
}

/// Takes away the variables that are for tests: a server would warn of them, since they begin like
/// its own.
pub fn without_our_variables(command: &mut Command) -> &mut Command {
    command.env_remove("GREETER_FULL").env_remove("GREETER_PROGRAMS_BUILT")
}

/// The first of the addresses that the log names when the server is ready.
fn address_in_log(line: &str) -> Option<SocketAddr> {
    let (_, addresses) = line.split_once("addresses=[")?;
    addresses.split([',', ']']).next()?.parse().ok()
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

/// How many threads of this process have a name that starts so. Linux knows 15 bytes of it.
pub fn own_threads(name: &str) -> usize {
    threads_in("/proc/self/task", |its| its.starts_with(name))
}

fn threads_in(tasks: &str, is_meant: impl Fn(&str) -> bool) -> usize {
    let tasks = fs::read_dir(tasks).expect("a process has threads");
    // Those that end meanwhile have no name any more.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|its| is_meant(its)).count()
}

/// Waits for such threads of earlier tests to end, and tells how many go on all the same: those
/// that a test has left behind that failed.
pub fn own_threads_left_behind(name: &str) -> usize {
    let until = Instant::now() + Duration::from_secs(10);
    while own_threads(name) > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    own_threads(name)
}
