//! Turns network namespaces into hosts: one of clients, two of servers, and a node between them
//! that forwards and filters. Must leave none of them behind.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use greeter_tests::missing_program;
use greeter_tests::process::{TestedServer, greeter_server};
use greeter_tests::size::tell;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host behind the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Clients,
    PodA,
    PodB,
}

pub(crate) const PODS: [Host; 2] = [Host::PodA, Host::PodB];

const HOSTS: [Host; 3] = [Host::Clients, Host::PodA, Host::PodB];

impl Host {
    /// Its network is 10.99.N.0/24, in which it is 2 and the node is 1.
    const fn number(self) -> usize {
        self as usize + 1
    }

    pub(crate) fn ip(self) -> String {
        format!("10.99.{}.2", self.number())
    }
}

/// Namespaces that end with this value.
pub(crate) struct Network {
    prefix: String,
}

/// The outcome of a program that says why it has failed.
fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    let sent = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("our own process can be waited for");
    if output.status.success() && sent.is_ok() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

impl Network {
    /// Makes the namespaces; or says why that cannot be had here. In CI it must.
    pub(crate) fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if missing_program("ip", "iproute2") || missing_program("nft", "nftables") {
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // What has been made when the rest fails ends with this value.
        let network = Self { prefix: format!("greeter-{}-{number}", process::id()) };
        if let Err(problem) = run("ip", &["netns", "add", &network.node()], "") {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no network namespaces: {problem}");
            tell(&format!("SKIPPED, since there are no network namespaces for this user: {problem}"));
            return None;
        }
        network.connect();
        Some(network)
    }

    fn node(&self) -> String {
        format!("{}-node", self.prefix)
    }

    fn name(&self, host: Host) -> String {
        format!("{}-{}", self.prefix, host.number())
    }

    fn connect(&self) {
        let node = self.node();
        let mut at_node = String::from("link set lo up\n");
        for host in HOSTS {
            let (name, number) = (self.name(host), host.number());
            run("ip", &["netns", "add", &name], "").expect("a namespace can be had");
            at_node += &format!("link add v{number} type veth peer name e0 netns {name}\n");
            at_node += &format!("addr add 10.99.{number}.1/24 dev v{number}\nlink set v{number} up\n");
        }
        run("ip", &["-n", &node, "-batch", "-"], &at_node).expect("a node can be had");
        for host in HOSTS {
            let (ip, number) = (host.ip(), host.number());
            let at_host = format!(
                "link set lo up\naddr add {ip}/24 dev e0\nlink set e0 up\nroute add default via 10.99.{number}.1\n"
            );
            run("ip", &["-n", &self.name(host), "-batch", "-"], &at_host).expect("a host can be had");
        }
        let forward = "echo 1 >/proc/sys/net/ipv4/ip_forward";
        run("ip", &["netns", "exec", &node, "sh", "-c", forward], "").expect("a node forwards");
    }

    /// Gives the node rules of nftables.
    #[track_caller]
    pub(crate) fn filter(&self, rules: &str) {
        run("ip", &["netns", "exec", &self.node(), "nft", "-f", "-"], rules).expect("the rules are good");
    }

    /// A command that runs on a host.
    fn command(&self, host: Host, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host)]).arg(program);
        command
    }

    /// Starts a server on a host, at port 7.
    pub(crate) fn serve(&self, host: Host, arguments: &[&str]) -> TestedServer {
        let mut command = self.command(host, greeter_server());
        command.args(["--listen", &format!("{}:7", host.ip()), "--workers", "1"]).args(arguments);
        TestedServer::start_command(command)
    }

    /// The connections of a host's server that have not come to an end, with their timers, as ss(8)
    /// shows them.
    pub(crate) fn connections(&self, host: Host) -> Vec<String> {
        let shown = run(
            "ip",
            &["netns", "exec", &self.name(host), "ss", "-Htno", "state", "established", "sport", "=", ":7"],
            "",
        );
        shown.expect("ss is part of iproute2").lines().map(str::to_owned).collect()
    }

    /// Does something on a host. Threads that start meanwhile and sockets that are made stay there.
    pub(crate) fn on<T: Send>(&self, host: Host, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name(host))).expect("it is ours");
        let act = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("whoever makes namespaces may enter them");
            act()
        };
        thread::scope(|scope| scope.spawn(act).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in HOSTS.map(|host| self.name(host)).into_iter().chain([self.node()]) {
            let _ = run("ip", &["netns", "delete", &name], "");
        }
    }
}
