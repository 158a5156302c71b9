//! Turns the configuration that people copy into an HAProxy with servers on loopback. Must change
//! nothing in it but addresses, and how long a check takes.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use greeter_tests::client::wait_until;
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::TestedServer;

/// The networks whose PROXY headers servers behind this balancer read.
pub(crate) const PROXY: &str = "127.0.0.1";

/// Where agents are, at their servers' addresses.
const AGENT_PORT: u16 = 7101;

/// A server's name in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    A,
    B,
}

pub(crate) const BOTH: [Name; 2] = [Name::A, Name::B];

impl Name {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// An HAProxy, and two addresses at which servers may be. Ends with its value.
pub(crate) struct Balancer {
    child: Child,
    directory: TestDirectory,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// And where its servers are to listen.
    pub(crate) listen: [String; 2],
    agents: [String; 2],
}

/// The file that people copy.
pub(crate) fn configuration() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../greeter-server/packaging/haproxy.cfg")
}

/// An address that is nobody else's: in 127.0.0.0/8, one for each process and call. So a server
/// that starts again finds its port as it left it.
fn own_address() -> SocketAddr {
    static NUMBER: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = process::id().to_be_bytes();
    // The systems' own loopback addresses are far below 127.64.
    let ip = Ipv4Addr::new(127, 64 | (high & 63), low, NUMBER.fetch_add(1, Ordering::Relaxed));
    SocketAddr::new(IpAddr::V4(ip), 7100)
}

/// The text with this piece, which is in it just once, replaced.
#[track_caller]
pub(crate) fn replaced(text: &str, piece: &str, by: &str) -> String {
    assert_eq!(text.matches(piece).count(), 1, "{piece:?} in {text}");
    text.replace(piece, by)
}

impl Balancer {
    /// Starts it; its servers may come later.
    pub(crate) fn start() -> Self {
        Self::start_with(|configuration| configuration)
    }

    /// Starts it with the configuration changed further.
    pub(crate) fn start_with(change: impl FnOnce(String) -> String) -> Self {
        let directory = TestDirectory::new();
        let (address, servers) = (own_address(), [own_address(), own_address()]);
        let listen = servers.map(|server| server.to_string());
        let agents = servers.map(|server| SocketAddr::new(server.ip(), AGENT_PORT).to_string());
        let mut text = fs::read_to_string(configuration()).expect("the file is there");
        let socket = directory.file("admin");
        for (piece, by) in [
            ("stats socket /run/haproxy/admin.sock", format!("stats socket {}", socket.display())),
            ("bind :8080", format!("bind {address}")),
            ("192.0.2.11:8080", listen[0].clone()),
            ("192.0.2.12:8080", listen[1].clone()),
            (" inter 2s", " inter 100ms".to_owned()),
            ("agent-port 8081 agent-inter 1s", format!("agent-port {AGENT_PORT} agent-inter 100ms")),
        ] {
            text = replaced(&text, piece, &by);
        }
        let file = directory.file("haproxy.cfg");
        fs::write(&file, change(text)).expect("the folder is ours");
        let mut command = Command::new("haproxy");
        command.args(["-db", "-q", "-f"]).arg(&file);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("a program can be started");
        let balancer = Self { child, directory, address, listen, agents };
        // Its socket gets its name last, and what answers there has all else.
        wait_until("haproxy has begun", || UnixStream::connect(balancer.directory.file("admin")).is_ok());
        assert!(balancer.says("show info").contains("Uptime"), "haproxy answers");
        balancer
    }

    /// Starts a server where this balancer expects it, and waits until it is sent clients.
    pub(crate) fn serve(&self, name: Name, arguments: &[&str]) -> TestedServer {
        let server = TestedServer::start_with(&[&self.listening(name)[..], arguments].concat());
        self.wait_until_up(name);
        server
    }

    /// What a server is told of where to listen, and of this balancer.
    pub(crate) fn listening(&self, name: Name) -> [&str; 8] {
        let (listen, agent) = (&self.listen[name as usize], &self.agents[name as usize]);
        ["--listen", listen, "--agent", agent, "--proxy-protocol", PROXY, "--workers", "1"]
    }

    pub(crate) fn wait_until_up(&self, name: Name) {
        wait_until("haproxy has seen the server", || self.figure_in_words(name, "status").starts_with("UP"));
    }

    /// Waits until no client is sent to a server any more.
    pub(crate) fn wait_until_draining(&self, name: Name) {
        wait_until("haproxy has heard of the stop", || self.figure_in_words(name, "status").starts_with("DRAIN"));
    }

    /// What HAProxy answers to a command of its administrator's.
    pub(crate) fn says(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.directory.file("admin")).expect("haproxy has a socket");
        writeln!(socket, "{command}").expect("haproxy reads");
        let mut said = String::new();
        socket.read_to_string(&mut said).expect("haproxy answers");
        said
    }

    /// Has HAProxy do something, about which it has nothing to say.
    #[track_caller]
    pub(crate) fn order(&self, command: &str) {
        assert_eq!(self.says(command).trim(), "", "{command}");
    }

    /// How many sessions a server has.
    pub(crate) fn sessions(&self, name: Name) -> usize {
        self.figure(name, "scur")
    }

    /// A number of HAProxy's statistics.
    pub(crate) fn figure(&self, name: Name, field: &str) -> usize {
        self.figure_in_words(name, field).parse().expect("a figure is a number")
    }

    fn figure_in_words(&self, name: Name, field: &str) -> String {
        let table = self.says("show stat");
        let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split(',').collect()).collect();
        let column = rows[0].iter().position(|column| *column == field).expect("there is such a figure");
        let row = rows.iter().find(|row| row.len() > 1 && row[0] == "greeter" && row[1] == name.as_str());
        row.expect("it is one of its servers")[column].to_owned()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
