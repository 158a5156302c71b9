//! Nobody who connects, and nothing but a name on the command line, makes the server look up names
//! or call anybody.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use greeter_tests::client::Client;
use greeter_tests::missing_program;
use greeter_tests::process::{TestedServer, greeter_server};
use rustix::process::Signal;

/// What a look-up of names opens: see resolver(3), nsswitch.conf(5).
const RESOLVER_FILES: [&str; 5] = ["/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf", "libnss_"];

#[test]
fn an_address_is_listened_on_and_a_hundred_clients_are_served_without_a_look_up() {
    if missing_program("strace", "strace") {
        return;
    }
    let trace = trace_of("127.0.0.1:0");
    assert_eq!(trace.matches("socket(AF_INET, SOCK_STREAM").count(), 1, "{trace}");
    assert_eq!(trace.matches("socket(").count(), 1, "{trace}");
    assert!(!trace.contains("connect("), "{trace}");
    for file in RESOLVER_FILES {
        assert!(!trace.contains(file), "{file} was opened: {trace}");
    }
    // A name has to be looked up, and that would be seen.
    let trace = trace_of("localhost:0");
    assert!(RESOLVER_FILES.iter().any(|file| trace.contains(file)), "{trace}");
}

/// What a server does with files and sockets that listens there, serves some clients and stops.
fn trace_of(address: &str) -> String {
    let name = format!("no_names_looked_up-{}-{address}", std::process::id());
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-e", "trace=socket,connect,open,openat,sendto,sendmsg,sendmmsg", "-o"]).arg(&file);
    command.arg(greeter_server()).args(["--listen", address]);
    let mut server = TestedServer::start_command(command);
    for number in 0..100 {
        let mut client = Client::connect(server.address());
        assert_eq!(client.ask(&format!("guest {number}")), format!("Hello, guest {number}\n"));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait(Duration::from_secs(20)).0.code(), Some(0));
    let traced = fs::read_to_string(&file).expect("the tracer writes");
    fs::remove_file(file).expect("the file is ours");
    traced
}
