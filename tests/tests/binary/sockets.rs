//! The server at Unix sockets, and at sockets that it was started with.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use greeter_tests::client::PATIENCE;
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{greeter_client, greeter_server};
use rustix::process::{Pid, Signal, kill_process};

/// A server, and the first lines that it has said.
struct Started {
    child: Child,
    said: Vec<String>,
}

impl Started {
    fn new(mut command: Command, listeners: usize) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a server can be started");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let said = stdout.lines().take(listeners).map(|line| line.expect("an address is text")).collect();
        Self { child, said }
    }

    /// Asks it to end, and returns its log.
    fn end(mut self) -> String {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours");
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is a pipe");
        stderr.read_to_string(&mut log).expect("a log is text");
        assert!(self.child.wait().expect("the process is ours").success(), "{log}");
        log
    }
}

/// A command whose descriptor 3 is this socket, as a service manager starts it.
fn started_with(socket: impl Into<OwnedFd>, names: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 </dev/null; exec "$0" "$@""#]).arg(greeter_server());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", names).stdin(Stdio::from(socket.into()));
    command
}

fn greeted(mut client: TcpStream) -> String {
    client.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    client.write_all(b"Bob\n").expect("nobody is reset");
    client.shutdown(Shutdown::Write).expect("nobody is reset");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("nobody is reset");
    said
}

#[test]
fn the_client_connects_to_what_the_server_says() {
    let directory = TestDirectory::new();
    let socket = directory.file("s");
    let mut command = Command::new(greeter_server());
    command.args(["--listen", &format!("unix:{},mode=0600", socket.display())]);
    let server = Started::new(command, 1);
    let address = server.said[0].strip_prefix("listening on ").unwrap();
    assert_eq!(address, format!("unix:{}", socket.display()));
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Command::new(greeter_client());
    let client = client.args(["--connect", address, "pipe"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    client.stdin.take().unwrap().write_all(b"Bob\n").unwrap();
    assert_eq!(client.wait_with_output().unwrap().stdout, b"Hello, Bob\n");
    let log = server.end();
    let uid = rustix::process::getuid().as_raw();
    assert!(log.contains(&format!("peer=unix:uid={uid},")), "{log}");
    assert!(!socket.exists());
}

#[test]
fn sockets_of_a_service_manager_are_served_without_an_option() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    for arguments in [&[][..], &["--listen", "fd:3"], &["--listen", "fd:web"]] {
        let mut command = started_with(kept.try_clone().unwrap(), "web");
        command.args(arguments);
        let server = Started::new(command, 1);
        assert_eq!(server.said, [format!("listening on {address}")]);
        assert_eq!(greeted(TcpStream::connect(address).unwrap()), "Hello, Bob\n");
        server.end();
    }
    // Whoever comes while there is no server waits for the next.
    let waits = TcpStream::connect(address).unwrap();
    let server = Started::new(started_with(kept, ""), 1);
    assert_eq!(greeted(waits), "Hello, Bob\n");
    server.end();
}

#[test]
fn stdin_is_a_socket_as_inetd_has_it() {
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let mut command = Command::new(greeter_server());
    command.args(["--listen", "fd:0"]).stdin(Stdio::from(OwnedFd::from(kept)));
    let server = Started::new(command, 1);
    assert_eq!(greeted(TcpStream::connect(address).unwrap()), "Hello, Bob\n");
    server.end();
}

#[test]
fn a_socket_that_was_not_passed_is_said() {
    for (listen, reason) in [
        ("fd:3", "cannot listen on fd:3: no sockets were passed to this process (LISTEN_FDS)"),
        ("fd:0", "cannot listen on fd:0: it is no socket"),
        ("unix:/nowhere/s", "cannot listen on unix:/nowhere/s: No such file or directory"),
        ("unix:/nowhere/s,mode=9", "9 is no mode; write it as 0660"),
        ("unix:/tmp", "cannot listen on unix:/tmp: there is a file that is no socket"),
    ] {
        let mut command = Command::new(greeter_server());
        let output = command.args(["--listen", listen]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn a_socket_file_that_a_killed_server_left_is_replaced() {
    let directory = TestDirectory::new();
    let listen = format!("unix:{}", directory.file("s").display());
    let start = || {
        let mut command = Command::new(greeter_server());
        command.args(["--listen", &listen]);
        Started::new(command, 1)
    };
    let mut killed = start();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(directory.file("s").exists());
    let server = start();
    let mut client = BufReader::new(UnixStream::connect(directory.file("s")).unwrap());
    client.get_ref().set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    client.get_mut().write_all(b"Bob\n").unwrap();
    let mut said = String::new();
    client.read_line(&mut said).unwrap();
    assert_eq!(said, "Hello, Bob\n");
    drop(client);
    server.end();
}
