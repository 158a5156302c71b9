//! A program that answers in the place of the greeter.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, descriptors_of, greeter_server, marked, resident_bytes_of};
use greeter_tests::raise_descriptor_limit;
use greeter_tests::size::{figure, sized};
use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{TlsClient, VERSIONS, World, socket_to};
use crate::reloads::ReloadingServer;
use crate::signals::{container, only_child};
use crate::watched::{exchange, status};

/// Says its name, and what it is asked.
fn saying(name: &str) -> String {
    format!("while IFS= read -r line; do printf '{name} %s\\n' \"$line\"; done")
}

fn with_program(script: &str, settings: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\nexec = [\"sh\", \"-c\", '''{script}''']\n{settings}\n")
}

/// A program for many clients, with these lines of it done for each `verb`, `id` and `text`.
fn talking(body: &str) -> String {
    format!(
        r#"IFS="$(printf '\t')"; say() {{ printf '%s\n' "$*"; }}; read -r _; say hello 1; while read -r verb id text; do {body}; done"#
    )
}

/// The same in a file: it says its name, and what it is asked.
fn with_talk(name: &str, settings: &str) -> String {
    let body = format!(r#"case $verb in line) say say "$id" "{name} $text"; say done "$id";; esac"#);
    with_program(&talking(&body), settings)
}

/// The processes that this one has started and that they have, and those that nobody has reaped.
fn descendants(of: u32) -> (Vec<u32>, Vec<u32>) {
    let mut parents = BTreeMap::new();
    for process in fs::read_dir("/proc").expect("the system has a table of processes").flatten() {
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect::<Vec<_>>());
        if let (Some(pid), Some([state, parent, ..])) =
            (process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()), fields.as_deref())
        {
            parents.insert(pid, (parent.parse::<u32>().expect("it is a number"), *state == "Z"));
        }
    }
    let is_below = |mut pid: u32| loop {
        match parents.get(&pid) {
            Some((parent, _)) if *parent == of => return true,
            Some((parent, _)) => pid = *parent,
            None => return false,
        }
    };
    let below: Vec<u32> = parents.keys().copied().filter(|pid| is_below(*pid)).collect();
    let zombies = below.iter().copied().filter(|pid| parents[pid].1).collect();
    (below, zombies)
}

#[test]
fn what_is_wrong_with_a_program_is_said_before_anybody_listens() {
    let tagged = |option, value| ["--exec-mode", "tagged", option, value, "--exec", "cat"];
    for (arguments, said) in [
        (&["--exec"][..], "error: no value provided for option '--exec'\n"),
        (
            &["--exec", "no-such-program"],
            "error: cannot start no-such-program: No such file or directory (os error 2)\n",
        ),
        (&["--exec", "/etc"], "error: cannot start /etc: Permission denied (os error 13)\n"),
        (
            &["--exec", "sh", "-c", "echo cannot >&2; exit 1"],
            "error: sh is no program that answers lines: it has ended: exit status: 1; it says: cannot\n",
        ),
        (
            &["--exec", "sh", "-c", "sleep 0.2"],
            "error: sh is no program that answers lines: it has ended: exit status: 0\n",
        ),
        (
            &["--exec", "sh", "-c", "echo hello; cat"],
            "error: sh is no program that answers lines: it wrote when nothing was asked: \"hello\\n\"\n",
        ),
        (
            &["--exec-probe", "ping", "--reply-timeout", "100ms", "--exec", "sh", "-c", "cat >/dev/null"],
            "error: sh is no program that answers lines: it did not answer in time: it has read the line and written \
             nothing; is its output buffered? (python3 -u, perl: $|=1, awk: fflush(), C: fflush(stdout), others: stdbuf -oL)\n",
        ),
        (&["--exec-children", "0", "--exec", "cat"], "error: --exec-children is 0, but must be from 1 to 10000\n"),
        (&["--exec-batch", "2000", "--exec", "cat"], "error: --exec-batch is 2000, but must be from 1 to 1024\n"),
        (&["--exec-lines-max", "0", "--exec", "cat"], "error: --exec-lines-max is 0, but must be at least 1\n"),
        (&["--exec-batch", "2"], "error: --exec-batch is for a program: there is no --exec\n"),
        (&["--exec-mode", "tagged"], "error: --exec-mode is for a program: there is no --exec\n"),
        (
            &["--exec-mode", "tag", "--exec", "cat"],
            "error: cannot parse option '--exec-mode' with value 'tag': use lines, tagged or per-client\n",
        ),
        (
            &["--exec-mode", "per-client", "--exec-probe", "p", "--exec", "cat"],
            "error: --exec-probe is for --exec-mode lines\n",
        ),
        (
            &["--exec-mode", "per-client", "--exec-children", "0", "--exec", "cat"],
            "error: --exec-children is 0, but must be from 1 to 10000\n",
        ),
        (&["--exec-mode", "per-client", "--exec", "/"], "error: cannot start /: Permission denied (os error 13)\n"),
        (&tagged("--exec-batch", "1"), "error: --exec-batch is for --exec-mode lines\n"),
        (&tagged("--exec-lines-max", "9"), "error: --exec-lines-max is for --exec-mode lines\n"),
        (&tagged("--exec-probe", "p"), "error: --exec-probe is for --exec-mode lines\n"),
        (&tagged("--exec-children", "0"), "error: --exec-children is 0, but must be from 1 to 10000\n"),
        (&tagged("--work", "1s"), "error: --work is for the greeter: with --exec, the program takes its own time\n"),
        (
            &["--exec-mode", "tagged", "--exec", "no-such-program"],
            "error: cannot start no-such-program: No such file or directory (os error 2)\n",
        ),
        (
            &["--work", "1s", "--exec", "cat"],
            "error: --work is for the greeter: with --exec, the program takes its own time\n",
        ),
        (
            &["--exec-mode", "tagged", "--exec", "sh", "-c", "echo cannot >&2; exit 1"],
            "error: sh is no program that answers lines: it has ended: exit status: 1; it says: cannot\n",
        ),
        (
            &["--exec-mode", "tagged", "--exec", "sh", "-c", "echo hello; cat"],
            "error: sh is no program that answers lines: it said something else than hello first: \"hello\"\n",
        ),
        (
            &["--exec-mode", "tagged", "--reply-timeout", "100ms", "--exec", "sh", "-c", "cat >/dev/null"],
            "error: sh is no program that answers lines: it did not say hello in time; is its output buffered?\n",
        ),
    ] {
        let mut command = Command::new(greeter_server());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        let (status, log) = TestedServer::try_start(command, 1).expect_err("it does not listen");
        assert_eq!((error_in(&log), status.code()), (said, Some(2)), "{log}");
        let output = Command::new(greeter_server()).arg("--check-config").args(arguments).output();
        let output = output.expect("the server can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let needs_a_start = said.contains("is no program that answers lines");
        let expected = if needs_a_start { ("", Some(0)) } else { (said, Some(2)) };
        assert_eq!((error_in(&stderr), output.status.code()), expected, "{stderr}");
    }
}

/// What is wrong, as the server says it.
fn error_in(log: &str) -> &str {
    log.split_inclusive('\n').find(|line| line.starts_with("error: ")).unwrap_or_default()
}

#[test]
fn the_rest_of_the_command_line_is_the_programs() {
    let script = r#"while read -r line; do echo "$line $*"; done"#;
    let server = TestedServer::start(&["--exec", "sh", "-c", script, "name", "--listen", "-h", "a=b", "--exec"]);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Bob --listen -h a=b --exec\n");
}

/// What is meant for the server alone, and its limit of open files before it raised that.
#[test]
fn a_process_has_its_own_environment_and_limits() {
    let script = r#"ulimit -Sn 300; exec "$0" "$@""#;
    let says = r#""${LISTEN_FDNAMES-none} $PYTHONUNBUFFERED $(ulimit -Sn) $OTHER""#;
    for (mode, program) in [
        ("lines", format!("while read -r line; do echo {says}; done")),
        ("tagged", talking(&format!(r#"case $verb in line) say say "$id" {says}; say done "$id";; esac"#))),
        ("per-client", format!("while read -r line; do echo {says}; done")),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(greeter_server()).args(["--listen", "127.0.0.1:0", "--exec-mode", mode]);
        command.args(["--exec", "sh", "-c", &program]);
        command.env("LISTEN_FDNAMES", "web").env("OTHER", "stays").env_remove("PYTHONUNBUFFERED");
        let server = TestedServer::start_command(command);
        assert_eq!(Client::connect(server.address()).ask("Bob"), "none 1 300 stays\n", "{mode}");
    }
}

#[test]
fn a_reload_replaces_the_processes_or_says_why_not() {
    let server = ReloadingServer::start(&with_program(&saying("one"), "exec-children = 2"), &[]);
    let mut client = server.connect();
    assert_eq!(client.ask("Bob"), "one Bob\n");
    server
        .has(&with_program(&saying("two"), "exec-children = 3\nexec-probe = \"p\""), "exec, exec-children, exec-probe");
    wait_until("it is another", || client.ask("Bob") == "two Bob\n");
    wait_until("there are three", || descendants(server.server.id()).0.len() == 3);
    let (before, _) = descendants(server.server.id());
    // The same, and other processes.
    server.has(&with_program(&saying("two"), "exec-children = 3\nexec-probe = \"p\""), "nothing");
    wait_until("all are others", || !descendants(server.server.id()).0.iter().any(|pid| before.contains(pid)));
    for (bad, said) in [
        (with_program("echo oh no >&2; exit 3", "max-line-bytes = 3"), "it says: oh no"),
        ("listen = \"127.0.0.1:0\"\nmax-line-bytes = 3\n".to_owned(), "whether a program answers cannot change"),
        (with_program(&saying("two"), "exec-batch = 0\nmax-line-bytes = 3"), "--exec-batch is 0"),
    ] {
        let told = server.reload(&bad);
        assert!(told.contains(said) && told.contains("ERROR"), "{told}");
        assert_eq!(client.ask("longer"), "two longer\n", "nothing has changed");
    }
    // And the other way round.
    let greeter = ReloadingServer::start("listen = \"127.0.0.1:0\"\n", &[]);
    let told = greeter.reload(&with_program(&saying("one"), ""));
    assert!(told.contains("greeter.toml:2:9: whether a program answers cannot change while the server runs"), "{told}");
    assert_eq!(greeter.connect().ask("Bob"), "Hello, Bob\n");
}

#[test]
fn at_the_end_what_is_asked_is_answered_and_nobody_is_left() {
    let directory = TestDirectory::new();
    let pids = directory.file("pids");
    let script = format!(
        "sleep 1000 & echo $! >> {}; while IFS= read -r line; do sleep 0.3; echo \"$line\"; done",
        pids.display()
    );
    let mut server = TestedServer::start(&["--exec-children", "2", "--exec", "sh", "-c", &script]);
    let mut client = Client::connect(server.address());
    wait_until("all are there", || descendants(server.id()).0.len() == 4);
    client.send("Bob\nAnn\n");
    wait_until("it is with a process", || descendants(server.id()).0.len() > 4);
    server.signal(Signal::TERM);
    assert_eq!(client.rest(), b"Bob\nAnn\n");
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    let left = fs::read_to_string(&pids).unwrap();
    assert_eq!(left.lines().count(), 2);
    let is_there = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    wait_until("nobody is left", || !left.lines().any(is_there));
}

/// Whoever loses its parent becomes a child of process 1.
#[test]
fn as_process_1_it_reaps_what_others_leave_behind() {
    let Some(arguments) = container() else { return };
    // Each line leaves two processes behind, which end soon.
    let leave = "(sleep 0.1 & sleep 0.2 &) >/dev/null";
    for (mode, program) in [
        ("lines", format!(r#"while IFS= read -r line; do {leave}; echo "$line"; done"#)),
        ("tagged", talking(&format!(r#"case $verb in line) {leave}; say say "$id" "$text"; say done "$id";; esac"#))),
        ("per-client", format!(r#"while IFS= read -r line; do {leave}; echo "$line"; done"#)),
    ] {
        let mut command = Command::new("unshare");
        command.args(arguments).arg("--mount-proc").arg(greeter_server());
        command.args(["--listen", "127.0.0.1:0", "--exec-mode", mode, "--exec", "sh", "-c", &program]);
        let mut server = TestedServer::start_command(command);
        let init = only_child(server.id());
        let mut client = Client::connect(server.address());
        for name in 0..20 {
            assert_eq!(client.ask(&name.to_string()), format!("{name}\n"), "{mode}");
        }
        let of_init = || descendants(init.as_raw_pid().unsigned_abs());
        wait_until("they have ended", || of_init().0.len() - of_init().1.len() <= 2);
        wait_until("they are reaped", || of_init().1.is_empty());
        assert_eq!(client.ask("Bob"), "Bob\n", "{mode}");
        kill_process(init, Signal::TERM).expect("it is our own");
        assert!(server.wait(PATIENCE).0.success(), "{mode}");
    }
}

const CHAT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../greeter-server/examples/programs/tagged.sh");

#[test]
fn clients_of_one_process_talk_to_each_other() {
    let server = TestedServer::start(&["--exec-mode", "tagged", "--exec", "sh", CHAT]);
    let mut clients = [(); 2].map(|()| Client::connect(server.address()));
    assert_eq!(clients.each_mut().map(Client::text), ["welcome\n", "welcome\n"]);
    let [ann, bob] = &mut clients;
    ann.send("say hello, Bob\r\ncount\r\n");
    assert_eq!((bob.text(), ann.text()), ("hello, Bob\n".to_owned(), "1\r\n".to_owned()));
    bob.send("say hello, Ann\nbye\n");
    assert_eq!(ann.text(), "hello, Ann\r\n");
    assert_eq!(bob.rest(), b"good bye\n");
    assert_eq!(ann.ask("count"), "2\n");
}

#[test]
fn a_reply_may_be_as_long_as_what_a_client_may_leave_unsent() {
    let program = talking(r#"case $verb in line) say say "$id" "$text"; say done "$id";; esac"#);
    let arguments = ["--max-unsent-bytes", "1KiB", "--exec-mode", "tagged", "--exec", "sh", "-c", &program];
    let server = TestedServer::start(&arguments);
    let most = "x".repeat(1024);
    let mut client = Client::connect(server.address());
    assert_eq!(client.ask(&most), format!("{most}\n"));
    client.send(format!("{most}x\n"));
    assert_eq!(client.rest(), b"error: internal error\n");
}

#[test]
fn a_program_for_many_clients_is_told_how_a_client_has_come() {
    let body = r#"case $verb in open) say push "$id" "$text";; esac"#;
    are_told_how_clients_have_come("tagged", &talking(body), |came| {
        let Came { address, name, tls, via } = came;
        let [name, tls, via] = [("listener", name), ("tls", tls), ("via", via.as_deref())]
            .map(|(key, value)| value.as_ref().map(|value| format!("\t{key}={value}")).unwrap_or_default());
        format!("{address}{name}{tls}{via}\n")
    });
}

#[test]
fn a_program_for_one_client_has_it_in_its_environment() {
    // What others have said to the server of its own client is none of these.
    let program = r#"echo "$PROTO $TCPREMOTEIP:$TCPREMOTEPORT ${GREETER_LISTENER-} ${SSL_PROTOCOL-} ${TCPLOCALIP-}${TCPREMOTEHOST-}""#;
    are_told_how_clients_have_come("per-client", program, |came| {
        let Came { address, name, tls, via } = came;
        let local = via.as_ref().map_or("", |_| "192.0.2.2");
        format!("TCP {address} {} {} {local}\n", name.unwrap_or_default(), tls.unwrap_or_default())
    });
}

/// How a client has come.
struct Came<'a> {
    address: String,
    name: Option<&'a str>,
    tls: Option<&'a str>,
    via: Option<String>,
}

/// A program of this mode says how its clients have come, in this way.
fn are_told_how_clients_have_come(mode: &str, program: &str, expected: impl Fn(Came<'_>) -> String) {
    let world = World::new();
    let (certificate, key) = world.identity("server", &[crate::kit::NAME]);
    let settings = format!(
        "exec = [\"sh\", \"-c\", '''{}''']\nexec-mode = \"{mode}\"\ntls-cert = \"{}\"\ntls-key = \"{}\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nname = \"named\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = \"127.0.0.1\"\n\
         [[listen]]\naddress = \"tls:127.0.0.1:0\"\n\
         [[listen]]\naddress = \"tls:127.0.0.1:0\"\nname = \"all\"\nproxy-protocol = \"127.0.0.1\"\n",
        program,
        certificate.display(),
        key.display()
    );
    let file = world.directory.file("greeter.toml");
    fs::write(&file, settings).expect("the folder is ours");
    let mut command = Command::new(greeter_server());
    command.arg("--config").arg(&file).env("TCPREMOTEHOST", "ours").env("TCPLOCALIP", "ours");
    let server = TestedServer::start_listeners(command, 5);
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n".as_slice();
    let with_tls = ["TLSv1.2", "TLSv1.3"];
    for (number, address) in server.addresses().iter().enumerate() {
        let (has_tls, has_proxy) = ([3, 4].contains(&number), [2, 4].contains(&number));
        for (version, tls) in VERSIONS.iter().zip(with_tls) {
            let mut socket = socket_to(*address);
            let own = socket.local_addr().expect("it is connected");
            if has_proxy {
                socket.write_all(header).expect("it is taken");
            }
            let said = if has_tls {
                TlsClient::over(socket, &world.authority.trusting(&[version])).line()
            } else {
                let mut said = String::new();
                BufReader::new(socket).read_line(&mut said).expect("it is text");
                said
            };
            let address = if has_proxy { "192.0.2.1:1".to_owned() } else { own.to_string() };
            let name = match number {
                1 => Some("named"),
                4 => Some("all"),
                _ => None,
            };
            let (tls, via) = (has_tls.then_some(tls), has_proxy.then(|| own.to_string()));
            assert_eq!(said, expected(Came { address, name, tls, via }));
        }
    }
}

#[test]
fn what_a_program_reports_is_in_the_log_at_its_level() {
    let body = r#"case $verb in line) say log "$text"; say done "$id";; esac"#;
    let program = talking(body);
    let server = |level: &str| {
        TestedServer::start(&[
            "--log",
            level,
            "--exec-mode",
            "tagged",
            "--exec-children",
            "1",
            "--exec",
            "sh",
            "-c",
            &program,
        ])
    };
    let levels = ["error", "warn", "info", "debug", "trace"];
    for (least, shown) in [("debug", 4), ("info", 3), ("error", 1)] {
        let mut server = server(least);
        let mut client = Client::connect(server.address());
        for level in levels {
            client.send(format!("{level}\tit is\t{level}\n"));
        }
        assert_eq!(client.finish(), b"");
        server.signal(Signal::TERM);
        let (status, log) = server.wait(PATIENCE);
        assert!(status.success(), "{log}");
        let reports = log.lines().filter_map(|line| line.split_once(" A program reports. pid="));
        let said: Vec<_> = reports
            .map(|(before, behind)| {
                let level = before.split_whitespace().last().unwrap_or_default();
                let text = behind.split_once(' ').map(|(_, text)| text).unwrap_or_default();
                (level.to_lowercase(), text.to_owned())
            })
            .collect();
        let expected = levels[..shown].iter().map(|level| ((*level).to_owned(), format!("line=\"it is\\t{level}\"")));
        assert_eq!(said, expected.collect::<Vec<_>>(), "{log}");
    }
}

#[test]
fn a_reload_has_new_clients_go_to_other_processes_and_never_changes_the_mode() {
    let tagged = "exec-mode = \"tagged\"\nexec-children = 1";
    let server = ReloadingServer::start(&with_talk("one", tagged), &[]);
    let mut old = server.connect();
    assert_eq!(old.ask("Bob"), "one Bob\n");
    let (before, _) = descendants(server.server.id());
    server.has(&with_talk("two", "exec-mode = \"tagged\"\nexec-children = 2"), "exec, exec-children");
    let mut new = server.connect();
    assert_eq!((new.ask("Ann"), old.ask("Ann")), ("two Ann\n".to_owned(), "one Ann\n".to_owned()));
    for (bad, said) in [
        (with_program("echo oh no >&2; exit 3", &format!("{tagged}\nmax-line-bytes = 3")), "it says: oh no"),
        (
            with_talk("three", "exec-mode = \"lines\"\nmax-line-bytes = 3"),
            "greeter.toml:3:13: the mode of a program cannot change while the server runs: start it again",
        ),
        (with_talk("three", "max-line-bytes = 3"), "greeter.toml:2:9: the mode of a program cannot change"),
        ("listen = \"127.0.0.1:0\"\nmax-line-bytes = 3\n".to_owned(), "whether a program answers cannot change"),
        (
            with_talk("three", &format!("{tagged}\nexec-probe = \"p\"\nmax-line-bytes = 3")),
            "greeter.toml:5:14: --exec-probe is for --exec-mode lines",
        ),
    ] {
        let told = server.reload(&bad);
        assert!(told.contains(said) && told.contains("ERROR"), "{told}");
        assert_eq!(
            (old.ask("longer"), server.connect().ask("longer")),
            ("one longer\n".to_owned(), "two longer\n".to_owned())
        );
    }
    drop(old);
    wait_until("the old one ends", || !descendants(server.server.id()).0.iter().any(|pid| before.contains(pid)));
    assert_eq!(new.ask("Bob"), "two Bob\n");
    // And the other way round.
    let lines = ReloadingServer::start(&with_program(&saying("one"), ""), &[]);
    let told = lines.reload(&with_talk("two", tagged));
    assert!(told.contains("greeter.toml:3:13: the mode of a program cannot change while the server runs"), "{told}");
    assert_eq!(lines.connect().ask("Bob"), "one Bob\n");
    // What is said in words is what holds anyway.
    lines.has(&with_program(&saying("one"), "exec-mode = \"lines\""), "nothing");
}

#[test]
fn probes_and_metrics_are_told_how_a_program_for_many_clients_does() {
    let directory = TestDirectory::new();
    let [admin, is_broken] = ["admin", "broken"].map(|name| directory.file(name));
    let body =
        r#"case $verb in open) say push "$id" hello;; line) case $text in die) exit 1;; esac; say done "$id";; esac"#;
    let program = format!("[ -e {} ] && exit 1; {}", is_broken.display(), talking(body));
    let at_admin = format!("unix:{}", admin.display());
    let mode = ["--exec-mode", "tagged", "--exec-children", "1"];
    let server = TestedServer::start(&[&["--admin", &at_admin][..], &mode, &["--exec", "sh", "-c", &program]].concat());
    let mut client = Client::connect(server.address());
    assert_eq!(client.text(), "hello\n");
    let tells = |metric: &str| {
        exchange(&admin, "GET /metrics HTTP/1.0\r\n\r\n").contains(&format!("\ngreeter_exec_{metric}\n"))
    };
    wait_until("it is counted", || tells("clients 1") && tells("lines_pushed_total 1") && tells("processes 1"));
    assert_eq!(status(&admin, "/readyz"), 200);
    fs::write(&is_broken, "").expect("the folder is ours");
    client.send("die\n");
    assert_eq!(client.rest(), b"error: internal error\n");
    wait_until("it is not ready", || status(&admin, "/readyz") == 503);
    wait_until("it is counted", || tells("clients 0") && !tells("failures_total{reason=\"ended\"} 0"));
    fs::remove_file(&is_broken).expect("it is there");
    wait_until("it is ready again", || status(&admin, "/readyz") == 200);
}

#[test]
fn at_the_end_a_program_for_many_clients_answers_what_it_was_asked_and_nobody_is_left() {
    let directory = TestDirectory::new();
    let [is_asked, may_answer, ends, log] = ["asked", "go", "ends", "log"].map(|name| directory.file(name));
    let body = format!(
        r#"case $verb in
            line) : > {}; until [ -e {} ]; do sleep 0.01; done; say say "$id" "$text"; say done "$id";;
            end) say "$verb" "$id" "$text" >> {};;
        esac"#,
        is_asked.display(),
        may_answer.display(),
        ends.display()
    );
    let program = talking(&body);
    let mode = ["--listen", "127.0.0.1:0", "--exec-mode", "tagged", "--exec-children", "1"];
    let arguments = [&mode[..], &["--exec", "sh", "-c", &program]].concat();
    let mut server = TestedServer::start_logging_to(File::create(&log).expect("the folder is ours"), &arguments);
    let (mut client, mut idle) = (Client::connect(server.address()), Client::connect(server.address()));
    client.send("Bob\n");
    wait_until("it is asked", || is_asked.exists());
    let (processes, _) = descendants(server.id());
    server.signal(Signal::TERM);
    let has_logged = |words: &str| fs::read_to_string(&log).is_ok_and(|log| log.contains(words));
    wait_until("it stops", || has_logged("Server is stopping."));
    fs::write(&may_answer, "").expect("the folder is ours");
    assert_eq!((client.rest(), idle.rest()), (b"Bob\n".to_vec(), Vec::new()));
    assert!(server.wait(PATIENCE).0.success());
    let is_there = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    wait_until("nobody is left", || !processes.iter().any(is_there));
    let ends = fs::read_to_string(&ends).expect("it was told");
    let mut ids: Vec<_> = ends.lines().filter_map(|line| line.split('\t').nth(1)).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["1", "2"], "{ends}");
}

#[test]
fn hundreds_of_processes_run_are_replaced_and_leave_nothing() {
    run_hundreds("GREETER_HUNDREDS", &[]);
}

#[test]
fn as_process_1_it_has_hundreds_of_processes_as_well() {
    let Some(arguments) = container() else { return };
    run_hundreds("GREETER_HUNDREDS_OF_1", &[&["unshare"], arguments, &["--mount-proc"]].concat());
}

/// What is needed is far more than 1,024 descriptors, which is all that the server may have as it
/// starts; and there are as many clients as it lets in, which leave it its reserve.
fn run_hundreds(mark: &str, container: &[&str]) {
    raise_descriptor_limit();
    let count = sized(300, 1000);
    let (directory, marker) = (TestDirectory::new(), format!("{mark}={}", std::process::id()));
    let file = directory.file("greeter.toml");
    // It does not end when it could, so that for a while there are twice as many.
    let script = r#"while IFS= read -r line; do printf '%s\n' "$line"; done; exec sleep 10"#;
    let program = format!("exec = [\"env\", \"{marker}\", \"sh\", \"-c\", '''{script}''']");
    let settings = format!("exec-children = {count}\nmax-connections-per-address = 10000\n{program}\n");
    fs::write(&file, settings).expect("the folder is ours");
    let limited = format!(r#"ulimit -Sn 1024; ulimit -Hn {}; exec "$0" "$@""#, 8 * count + 500);
    let words = [container, &["sh", "-c", &limited]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(greeter_server()).args(["--listen", "127.0.0.1:0", "--config"]).arg(&file);

    let began = Instant::now();
    let mut server = TestedServer::start_command(command);
    let its = match container {
        [] => Pid::from_raw(server.id().cast_signed()).expect("processes are numbered from 1"),
        _ => only_child(server.id()),
    };
    let id = its.as_raw_pid().unsigned_abs();
    // Of each process, the server has one, which comes behind its pipes.
    wait_until("all run", || descriptors_of(id, "pidfd") == count && marked(&marker).len() == count);
    figure("seconds until all run", began.elapsed().as_secs_f32());
    let (descriptors, before) = (descriptors_of(id, ""), descendants(id).0);
    assert!(before.len() == count && descriptors > 4 * count, "{} with {descriptors}", before.len());

    let mut clients = as_many_clients_as_there_may_be(&server);
    kill_process(its, Signal::HUP).expect("it is our own");
    let mut most = 0;
    wait_until("all are others, and those before are gone", || {
        clients.iter_mut().for_each(|client| assert_eq!(client.ask("y"), "y\n"));
        most = most.max(descriptors_of(id, ""));
        let now = marked(&marker);
        now.len() == count && !now.iter().any(|pid| before.contains(pid))
    });
    let in_all = descriptors + clients.len();
    wait_until("it has no more descriptors than before", || descriptors_of(id, "") <= in_all);
    wait_until("nobody is left to be reaped", || descendants(id).1.is_empty());
    let after = (descriptors_of(id, "pidfd"), descriptors_of(id, ""));
    assert_eq!((after.0, descendants(id).0.len()), (count, count));
    figure(
        "descriptors: at first, with clients, at most, then",
        format!("{descriptors}, {in_all}, {most}, {}", after.1),
    );
    figure("KiB of the server", resident_bytes_of(id) / 1024);

    drop(clients);
    let began = Instant::now();
    kill_process(its, Signal::TERM).expect("it is our own");
    let (status, log) = server.wait(PATIENCE);
    figure("seconds until all have ended", began.elapsed().as_secs_f32());
    assert!(status.success() && log.contains("Settings were reloaded.") && !log.contains("ERROR"), "{log}");
    assert_eq!(marked(&marker), Vec::<u32>::new(), "nobody is left");
}

/// Connects until nobody is let in any more.
fn as_many_clients_as_there_may_be(server: &TestedServer) -> Vec<Client> {
    let mut clients = Vec::new();
    let said_to_last = loop {
        let mut client = Client::connect(server.address());
        client.send_if_taken("x\n");
        match client.text() {
            said if said == "x\n" => clients.push(client),
            said => break said,
        }
    };
    assert_eq!(said_to_last, "error: too many connections\n");
    assert!(clients.len() > 100, "{}", clients.len());
    clients
}

#[test]
fn a_process_for_each_client_from_its_start_to_the_end_of_the_server() {
    let directory = TestDirectory::new();
    let admin = directory.file("admin");
    let per_client = |name: &str, more: &str| {
        let script =
            format!(r#"echo {name} >&2; while IFS= read -r line; do echo "{name} $line"; done; echo {name} ends"#);
        with_program(
            &script,
            &format!("exec-mode = \"per-client\"\nexec-children = 2\nadmin = \"unix:{}\"\n{more}", admin.display()),
        )
    };
    let mut server = ReloadingServer::start(&per_client("one", ""), &[]);
    let tells = |metric: &str| {
        exchange(&admin, "GET /metrics HTTP/1.0\r\n\r\n").contains(&format!("\ngreeter_exec_{metric}\n"))
    };
    assert!(tells("processes 0") && tells("processes_max 2"));
    let mut old = server.connect();
    assert_eq!(old.ask("Bob\r"), "one Bob\r\n");
    server.has(&per_client("two", ""), "exec");
    let mut new = server.connect();
    assert_eq!((new.ask("Ann"), old.ask("Ann")), ("two Ann\n".to_owned(), "one Ann\n".to_owned()));
    assert_eq!(server.connect().rest(), b"error: busy\n");
    assert_eq!(status(&admin, "/readyz"), 503);
    assert!(tells("processes 2") && tells("clients_rejected_total 1") && tells("starts_total 2"));
    let bad = format!("listen = \"127.0.0.1:0\"\nadmin = \"unix:{}\"\nexec-mode = \"per-client\"\n", admin.display());
    for (bad, said) in [
        (
            bad.clone() + "exec = [\"no-such-program\"]\n",
            "greeter.toml:4:9: cannot start no-such-program: No such file",
        ),
        (bad + "exec = [\"cat\"]\nexec-children = 10001\n", "--exec-children is 10001, but must be from 1 to 10000"),
        (per_client("three", "").replace("per-client", "lines"), "the mode of a program cannot change"),
    ] {
        let told = server.reload(&bad);
        assert!(told.contains(said) && told.contains("ERROR"), "{told}");
        assert_eq!((new.ask("Ann"), old.ask("Ann")), ("two Ann\n".to_owned(), "one Ann\n".to_owned()));
    }
    old.finish_sending();
    assert_eq!(old.rest(), b"one ends\n");
    wait_until("there is room", || status(&admin, "/readyz") == 200);
    let (left, _) = descendants(server.server.id());
    assert_eq!(left.len(), 1);
    new.send("last\n");
    server.server.signal(Signal::TERM);
    assert_eq!(new.rest(), b"two last\ntwo ends\n");
    drop(new);
    assert!(server.server.wait(PATIENCE).0.success());
    let is_there = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(!left.iter().any(is_there));
    assert!(
        server.log().contains("A program says something. pid=") && server.log().contains("line=\"two\""),
        "{}",
        server.log()
    );
}

/// Clients and their processes share what there is.
#[test]
fn too_few_open_files_for_all_processes_leave_each_client_its_own() {
    let directory = TestDirectory::new();
    let log = directory.file("log");
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 600; exec "$0" "$@" 2> "$LOG""#]).arg(greeter_server()).env("LOG", &log);
    command.args(["--listen", "127.0.0.1:0", "--exec-mode", "per-client", "--exec-children", "500", "--exec", "cat"]);
    let server = TestedServer::start_command(command);
    let mut clients: Vec<_> = (0..20).map(|_| Client::connect(server.address())).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("Bob"), "Bob\n"));
    let log = fs::read_to_string(&log).expect("it is text");
    let warning = "There are too few open files for all processes. exec_children=500 may_have=68 open_files=600";
    assert!(log.contains(warning), "{log}");
}

/// Short lines cost more than their bytes, and there are many of them.
#[test]
fn whoever_floods_a_program_with_short_lines_costs_little_and_keeps_nobody_waiting() {
    let program = r#"read -r what; [ "$what" ] || exec cat > /dev/null; yes tick"#;
    let server = TestedServer::start(&["--exec-mode", "per-client", "--exec", "sh", "-c", program]);
    let is_over = AtomicBool::new(false);
    let bytes = thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = Client::connect(server.address());
                while !is_over.load(Ordering::Relaxed) {
                    client.send([b'\n'; 65_536]);
                }
                client.reset();
            });
        }
        let heard = (0..3).map(|_| {
            let mut client = Client::connect(server.address());
            client.send("tick\n");
            (0..1000).for_each(|_| assert_eq!(client.text(), "tick\n"));
            client.reset();
            server.resident_bytes()
        });
        let bytes = heard.max();
        is_over.store(true, Ordering::Relaxed);
        bytes
    });
    assert!(bytes < Some(48 << 20), "{bytes:?}");
}
