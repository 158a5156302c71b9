//! The command as a process that does not outlive its test.

use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use greeter_client::ServerAddress;

use super::PATIENCE;

/// The command, set up to talk to `address`.
pub(crate) fn greeter_client(address: &ServerAddress, arguments: &[&str]) -> Command {
    let mut command = bare_greeter_client(&["--connect", &address.to_string()]);
    command.args(arguments);
    command
}

/// The command with these arguments only, and an environment that does not matter.
pub(crate) fn bare_greeter_client(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greeter-client"));
    command.args(arguments);
    for variable in ["GREETER_CONNECT", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the command did.
#[derive(PartialEq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    /// It ended like this, and said something on stderr exactly if it failed.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, stdout: impl AsRef<[u8]>, stderr: &str) {
        let expected = Self { code: Some(code), stdout: stdout.as_ref().to_vec(), stderr: stderr.to_owned() };
        assert_eq!(self, &expected);
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\nstdout {}\nstderr {}", self.code, self.stdout.escape_ascii(), self.stderr)
    }
}

/// A process that does not outlive its test.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    pub(crate) since: Instant,
}

/// Starts `command`; what of its outputs is piped is collected.
pub(crate) fn start(command: &mut Command) -> Running {
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    Running { child, stdout, stderr, since: Instant::now() }
}

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    start(command).outcome()
}

/// Runs `command` with `input` on its stdin.
pub(crate) fn run_with(command: &mut Command, input: impl AsRef<[u8]> + Send + 'static) -> Outcome {
    let mut running = start(command.stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    // A command that ends early takes no more.
    thread::spawn(move || stdin.write_all(input.as_ref()));
    running.outcome()
}

impl Running {
    pub(crate) fn outcome(mut self) -> Outcome {
        let stdout = self.stdout.recv_timeout(PATIENCE).expect("the command closed stdout");
        let stderr = self.stderr.recv_timeout(PATIENCE).expect("the command closed stderr");
        let code = self.child.wait().unwrap().code();
        Outcome { code, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(output: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut output) = output {
            output.read_to_end(&mut bytes).unwrap();
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// A folder that goes with its test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("talk-commands-{}-{name}", std::process::id())));
        fs::create_dir_all(&folder.0).unwrap();
        for (name, text) in files {
            fs::write(folder.0.join(name), text).unwrap();
        }
        folder
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        run(bare_greeter_client(arguments).current_dir(&self.0))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
