//! A program that answers in the place of the greeter.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, descriptors_of, greeter_server, marked, resident_bytes_of};
use greeter_tests::raise_descriptor_limit;
use greeter_tests::size::{figure, sized};
use rustix::process::{Pid, Signal, kill_process};

use crate::reloads::ReloadingServer;
use crate::signals::{container, only_child};

/// Says its name, and what it is asked.
fn saying(name: &str) -> String {
    format!("while IFS= read -r line; do printf '{name} %s\\n' \"$line\"; done")
}

fn with_program(script: &str, settings: &str) -> String {
    format!("listen = \"127.0.0.1:0\"\nexec = [\"sh\", \"-c\", '''{script}''']\n{settings}\n")
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
        (
            &["--work", "1s", "--exec", "cat"],
            "error: --work is for the greeter: with --exec, the program takes its own time\n",
        ),
    ] {
        let output = Command::new(greeter_server()).args(["--listen", "127.0.0.1:0"]).args(arguments).output();
        let output = output.expect("the server can be started");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let error = stderr.split_inclusive('\n').find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert_eq!((error, output.status.code()), (said, Some(2)), "{stderr}");
        assert!(output.stdout.is_empty());
    }
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
    let program =
        r#"while read -r line; do echo "${LISTEN_FDNAMES-none} $PYTHONUNBUFFERED $(ulimit -Sn) $OTHER"; done"#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(greeter_server()).args(["--listen", "127.0.0.1:0", "--exec", "sh", "-c", program]);
    command.env("LISTEN_FDNAMES", "web").env("OTHER", "stays").env_remove("PYTHONUNBUFFERED");
    let server = TestedServer::start_command(command);
    assert_eq!(Client::connect(server.address()).ask("Bob"), "none 1 300 stays\n");
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
    let script = r#"while IFS= read -r line; do (sleep 0.1 & sleep 0.2 &) >/dev/null; echo "$line"; done"#;
    let mut command = Command::new("unshare");
    command.args(arguments).arg("--mount-proc").arg(greeter_server());
    command.args(["--listen", "127.0.0.1:0", "--exec", "sh", "-c", script]);
    let mut server = TestedServer::start_command(command);
    let init = only_child(server.id());
    let mut client = Client::connect(server.address());
    for name in 0..20 {
        assert_eq!(client.ask(&name.to_string()), format!("{name}\n"));
    }
    let of_init = || descendants(init.as_raw_pid().unsigned_abs());
    wait_until("they have ended", || of_init().0.len() - of_init().1.len() <= 2);
    wait_until("they are reaped", || of_init().1.is_empty());
    assert_eq!(client.ask("Bob"), "Bob\n");
    kill_process(init, Signal::TERM).expect("it is our own");
    assert!(server.wait(PATIENCE).0.success());
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
