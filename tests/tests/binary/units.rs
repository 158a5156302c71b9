//! The units that are shipped are understood by systemd, keep the server from what it does not do,
//! and start it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::directory::TestDirectory;
use greeter_tests::missing_program;
use greeter_tests::process::greeter_server;
use rustix::process::Signal;

use crate::kit::World;
use crate::service_manager::Manager;

/// Where a package installs the server.
const INSTALLED: &str = "/usr/bin/greeter-server";

/// The file of options that the unit names.
const CONFIG: &str = "/etc/greeter/greeter.toml";

/// The most that `systemd-analyze security` may find, in tenths: from 0, best, to 100.
const EXPOSURE_MAX: &str = "20";

fn unit(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../greeter-server/packaging/greeter-server.{kind}"))
}

/// The values of a setting in the unit of the service, in their order.
fn settings(name: &str) -> Vec<String> {
    let text = fs::read_to_string(unit("service")).expect("the unit is there");
    let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.map(str::to_owned).collect()
}

fn setting(name: &str) -> String {
    settings(name).pop().unwrap_or_else(|| panic!("the unit has no {name}"))
}

/// The arguments of each command of the unit that is the server, which is to read the file that is
/// shipped, as it is not installed here.
fn commands(name: &str) -> Vec<Vec<String>> {
    let shipped = unit("service").with_file_name("greeter.toml").to_string_lossy().into_owned();
    let words = |line: &str| line.split_whitespace().map(|word| word.replace(CONFIG, &shipped)).collect();
    let lines: Vec<Vec<String>> = settings(name).iter().map(|line| words(line)).collect();
    let of_server = lines.into_iter().filter(|words| words[0] == INSTALLED);
    of_server.map(|words| words[1..].to_vec()).collect()
}

/// The arguments that the unit starts the server with.
fn arguments() -> Vec<String> {
    let [arguments] = &commands("ExecStart")[..] else { panic!("there is one command that starts it") };
    arguments.clone()
}

fn analyze(arguments: &[&str], files: &[&Path]) {
    let output = Command::new("systemd-analyze").args(arguments).args(files).env("SYSTEMD_PAGER", "").output();
    let output = output.expect("systemd-analyze starts");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {said}");
    if arguments[0] == "verify" {
        assert_eq!(said, "");
    }
}

#[test]
fn systemd_understands_the_units() {
    if missing_program("systemd-analyze", "systemd") {
        return;
    }
    let directory = TestDirectory::new();
    let copies = ["service", "socket"].map(|kind| {
        let text = fs::read_to_string(unit(kind)).expect("the unit is there");
        let copy = directory.file(format!("greeter-server.{kind}"));
        // It is not installed here.
        fs::write(&copy, text.replace(INSTALLED, &greeter_server().to_string_lossy())).expect("there is room");
        copy
    });
    analyze(&["verify", "--man=no"], &[&copies[0], &copies[1]]);
}

#[test]
fn the_service_may_do_little() {
    if missing_program("systemd-analyze", "systemd") {
        return;
    }
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    analyze(&["security", "--offline=true", "--no-pager", &threshold], &[&unit("service")]);
}

#[test]
fn the_unit_starts_a_server_that_says_when_it_is_ready() {
    let mut command = Command::new(greeter_server());
    // The port that it would take may be somebody's here.
    command.args(arguments()).args(["--listen", "127.0.0.1:0"]);
    let watchdog = humantime::parse_duration(&setting("WatchdogSec")).expect("it is a time");
    let (mut manager, mut server) = Manager::start_command(Some(watchdog), command, 1);
    assert!(manager.hears("READY=1"), "{:?}", manager.told);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    for arguments in commands("ExecReload") {
        let output = Command::new(greeter_server()).args(&arguments).output().expect("the server can be started");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(setting("ExecReload"), "/bin/kill -HUP $MAINPID");
    server.signal(Signal::HUP);
    while !manager.hears("RELOADING=1") {}
    while !manager.hears("READY=1") {}
    server.signal(Signal::TERM);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success() && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

#[test]
fn the_service_manager_waits_for_longer_than_a_stop_takes() {
    let output = Command::new(greeter_server()).args(arguments()).arg("--print-config").output();
    let printed = String::from_utf8(output.expect("the server can be started").stdout).expect("options are text");
    let of = |option: &str| {
        let line = printed.lines().find_map(|line| line.trim_start_matches("# ").strip_prefix(&format!("{option} = ")));
        let value = line.and_then(|line| line.split('"').nth(1)).unwrap_or_else(|| panic!("no {option} in {printed}"));
        humantime::parse_duration(value).expect("it is a time")
    };
    let stop = of("drain-delay") + of("drain") + Duration::from_secs(5);
    let patience = humantime::parse_duration(&setting("TimeoutStopSec")).expect("it is a time");
    assert!(patience >= stop, "{patience:?} is shorter than {stop:?}");
}

/// The system calls of a set, `@system-service` say, with those of the sets in it.
fn calls_in(set: &str) -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").args(["syscall-filter", "--no-pager", set]).output();
    let text = String::from_utf8(output.expect("systemd-analyze starts").stdout).expect("names are text");
    let names = text.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#'));
    names.flat_map(|name| if name.starts_with('@') { calls_in(name) } else { [name.to_owned()].into() }).collect()
}

/// What the service may call.
fn allowed() -> BTreeSet<String> {
    // It is always in the list, as systemd.exec(5) says.
    let mut allowed = calls_in("@default");
    for filter in settings("SystemCallFilter") {
        match filter.strip_prefix('~') {
            Some(sets) => {
                let denied: BTreeSet<String> = sets.split(' ').flat_map(calls_in).collect();
                allowed.retain(|call| !denied.contains(call));
            }
            None => allowed.extend(filter.split(' ').flat_map(calls_in)),
        }
    }
    allowed
}

/// The system calls that strace has written down, of all threads.
fn called(trace: &str) -> BTreeSet<String> {
    let calls = trace.lines().filter_map(|line| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        let end = call.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
        (end > 0 && call[end..].starts_with('(')).then(|| call[..end].to_owned())
    });
    calls.collect()
}

#[test]
fn what_the_server_asks_of_the_system_is_what_its_unit_allows() {
    if missing_program("systemd-analyze", "systemd") || missing_program("strace", "strace") {
        return;
    }
    let world = World::new();
    let (certificate, key) = world.identity("server", &["localhost"]);
    let directory = TestDirectory::new();
    let trace = directory.file("trace");
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-o"]).arg(&trace).arg(greeter_server()).args(arguments());
    command.args(["--listen", "127.0.0.1:0", "--listen", "tls:127.0.0.1:0", "--admin", "127.0.0.1:0", "--tls-cert"]);
    command.arg(certificate).arg("--tls-key").arg(key);
    let (mut manager, mut server) = Manager::start_command(Some(Duration::from_millis(200)), command, 2);
    while !manager.hears("WATCHDOG=1") {}
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    server.signal(Signal::TERM);
    assert!(server.wait(PATIENCE).0.success());
    let called = called(&fs::read_to_string(trace).expect("the tracer writes"));
    assert!(called.contains("accept4") && called.contains("prlimit64"), "{called:?}");
    let allowed = allowed();
    let forbidden: Vec<_> = called.difference(&allowed).collect();
    assert_eq!(forbidden, [""; 0], "of {called:?}");
    assert!(!allowed.contains("setrlimit") && !allowed.contains("chown"), "{allowed:?}");
}

#[test]
fn the_page_on_the_server_shows_what_is_in_the_unit() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/server.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let unit = fs::read_to_string(unit("service")).expect("the unit is there");
    let (_, block) = page.split_once("```ini unit\n").expect("the page has a block with it");
    let shown = block.split("```").next().unwrap_or_default();
    assert!(shown.lines().count() > 5, "{shown}");
    let strange: Vec<_> = shown.lines().filter(|line| !unit.lines().any(|of_unit| of_unit == *line)).collect();
    assert_eq!(strange, [""; 0]);
}
