//! Processes that do not outlive their test, and what they say, with an end to every wait.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;
use std::{env, fs, thread};

/// No test waits for longer than this for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One of this package's examples, at work on a port of its own.
pub(crate) struct Example {
    _process: Process,
    address: SocketAddr,
}

impl Example {
    /// Starts the example and waits until it listens. `arguments` come behind the address.
    #[track_caller]
    pub(crate) fn start(name: &str, arguments: &[&Path]) -> Self {
        let mut command = Command::new(path_of_example(name));
        command.arg("127.0.0.1:0").args(arguments);
        let process = Process::start(command);
        let line = process.next_line().unwrap_or_else(|| panic!("{name} ended and did not say where it listens"));
        let address = line.strip_prefix("listening on ").and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{name} does not listen, but says {line:?}"));
        Self { _process: process, address }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect_timeout(&self.address, PATIENCE).unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

/// A server that the test itself plays, for an example that is a client of it.
pub(crate) struct Upstream {
    address: SocketAddr,
    accepted: Receiver<TcpStream>,
}

impl Upstream {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, accepted) = mpsc::channel();
        // Ends with the tests, or with the first connection that nobody wants any more.
        thread::spawn(move || listener.incoming().try_for_each(|stream| sender.send(stream.unwrap())));
        Self { address, accepted }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next connection: what comes over it is expected, and what it is answered is sent.
    #[track_caller]
    pub(crate) fn accept(&self) -> Client {
        Client::new(self.accepted.recv_timeout(PATIENCE).expect("it connects"))
    }
}

/// Cargo puts examples beside the folder of the test programs. It builds them for a plain `cargo
/// test`, but neither for a single test file nor with `--all-targets`; so what is found there may
/// be none, or one of last week.
#[track_caller]
fn path_of_example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap().join("examples");
    let path = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let advice = concat!("build the examples with: cargo build --examples --package ", env!("CARGO_PKG_NAME"));
    assert!(path.is_file(), "there is no {}; {advice}", path.display());
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    // The program, a colon, and everything that it was made of.
    let made_of = fs::read_to_string(folder.join(format!("{name}.d"))).unwrap();
    let newer = made_of.split_whitespace().skip(1).find(|source| changed(Path::new(source)) > changed(&path));
    assert!(newer.is_none(), "{} is older than {newer:?}; {advice}", path.display());
    path
}

/// A client whose every word and every expectation is spelled out.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Stops sending, and goes on reading.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).unwrap();
        self
    }

    /// The next line, with its ending. What is behind it is left for later.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            line.extend(byte);
        }
        String::from_utf8(line).unwrap()
    }

    /// The next bytes are these.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: impl AsRef<[u8]>) -> &mut Self {
        let expected = expected.as_ref();
        let mut bytes = Vec::new();
        let outcome = (&self.stream).take(expected.len() as u64).read_to_end(&mut bytes);
        let (read, expected_text) = (bytes.escape_ascii(), expected.escape_ascii());
        assert!(bytes == expected, "expected: {expected_text}\n    read: {read} ({outcome:?})");
        self
    }

    /// The server has said all it had to say, and has finished properly.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        let outcome = self.stream.read_to_end(&mut rest);
        assert!(matches!(outcome, Ok(0)), "expected: the end\n    read: {} ({outcome:?})", rest.escape_ascii());
    }
}

/// A process that does not outlive its value.
pub(crate) struct Process {
    child: Child,
    /// What it says on stdout.
    lines: Receiver<String>,
}

impl Process {
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // Ends with the process, or with the first line that nobody wants any more.
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// The next line it says; none if it has ended.
    #[track_caller]
    pub(crate) fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it neither says a word nor ends"),
        }
    }

    /// Waits until it says a line that holds `text`.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) {
        use std::time::Instant;

        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains(text)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => said.push(line),
                Err(error) => panic!("waiting for {text:?}: {error}; it has said {said:#?}"),
            }
        }
    }

    /// Waits for its end: its exit code, and all the lines it says.
    #[track_caller]
    pub(crate) fn outcome(mut self) -> (Option<i32>, Vec<String>) {
        let lines = std::iter::from_fn(|| self.next_line()).collect();
        (self.child.wait().unwrap().code(), lines)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a program is that others wrote, if it is installed. It need not be, except where CI shows
/// that the examples work with it.
#[track_caller]
pub(crate) fn stranger(program: &str, debian_package: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    // A user's PATH often leaves out where daemons are.
    let folders = env::split_paths(&folders).chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    if let Some(path) = folders.map(|folder| folder.join(program)).find(|path| path.is_file()) {
        return Some(path);
    }
    let advice = format!("{program} is not installed (Debian has it in the package {debian_package})");
    assert!(env::var("CI").as_deref() != Ok("true"), "{advice}");
    skip(&advice);
    None
}

/// A Python that can import a package of PyPI, `name==version`. It is installed once, beside what
/// is built, and only where there is a network.
#[track_caller]
pub(crate) fn python_with(package: &str) -> Option<Command> {
    let python = stranger("python3", "python3-pip")?;
    let beside = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = beside.join(package);
    if !folder.is_dir() {
        let draft = beside.join(format!("{package}-{}", process::id()));
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "0"]);
        let outcome = pip.arg("--target").arg(&draft).arg(package).output().unwrap();
        if !outcome.status.success() {
            let said = String::from_utf8_lossy(&outcome.stderr);
            skip(&format!("pip cannot install {package}: {}", said.lines().last().unwrap_or_default()));
            return None;
        }
        // Another run of the tests may have been faster.
        fs::rename(draft, &folder).or_else(|error| folder.is_dir().then_some(()).ok_or(error)).unwrap();
    }
    let mut command = Command::new(python);
    command.env("PYTHONPATH", folder);
    Some(command)
}

fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not with a macro: the test harness hides what those print, unless the test fails.
    io::stderr().write_all(format!("SKIPPED {test}: {reason}\n").as_bytes()).unwrap();
}

/// A folder that goes when its value does. The name is short, since that of a Unix socket inside
/// must be.
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("greeter-{name}-{}", process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, all at once for whoever reads it meanwhile.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (draft, path) = (self.path.join("draft"), self.path.join(name));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound && !thread::panicking() => panic!("{error}"),
            _ => {}
        }
    }
}
