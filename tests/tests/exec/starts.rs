use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use greeter_server::{Exec, ExecError, ExecOptions};
use greeter_tests::client::{Client, wait_until};
use greeter_tests::directory::TestDirectory;

use crate::kit::{ECHO, SOON, for_each_line, serve, shell};

/// The error in full.
fn problem(options: ExecOptions) -> String {
    let error = anyhow::Error::from(options.start().expect_err("it is no good"));
    format!("{error:#}")
}

#[test]
fn a_program_that_is_no_good_is_found_at_the_start() {
    let directory = TestDirectory::new();
    let text = directory.file("text");
    fs::write(&text, "no program\n").unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o644)).unwrap();
    let text = text.to_str().unwrap();
    for (options, said) in [
        (Exec::options("no-such-program"), "cannot start no-such-program: No such file or directory (os error 2)"),
        (Exec::options(text), &*format!("cannot start {text}: Permission denied (os error 13)")),
        (
            shell("echo cannot 1>&2; exit 7"),
            "sh is no program that answers lines: it has ended: exit status: 7; it says: cannot",
        ),
        (shell("sleep 0.1; kill -9 $$"), "sh is no program that answers lines: it has ended: signal: 9 (SIGKILL)"),
        (
            shell("echo hello; cat"),
            "sh is no program that answers lines: it wrote when nothing was asked: \"hello\\n\"",
        ),
        (shell("exec >&-; sleep 100"), "sh is no program that answers lines: it has closed its stdout"),
        (
            shell("cat > /dev/null").probe("ping").reply_timeout(SOON),
            "sh is no program that answers lines: it did not answer in time: it has read the line and written nothing; \
             is its output buffered? (python3 -u, perl: $|=1, awk: fflush(), C: fflush(stdout), others: stdbuf -oL)",
        ),
        (
            shell("sleep 100").probe("ping").reply_timeout(SOON),
            "sh is no program that answers lines: it did not answer in time: it has not read the line",
        ),
        (
            shell("printf half; cat > /dev/null").probe("ping").reply_timeout(SOON),
            "sh is no program that answers lines: it did not answer in time: it has written 4 bytes without a line feed; is its output buffered?",
        ),
        (
            shell("read -r line; printf '1\\n2\\n'; cat").probe("ping"),
            "sh is no program that answers lines: it wrote more than one line for one: \"2\\n\"",
        ),
    ] {
        assert_eq!(problem(options), said);
    }
    assert!(Exec::options("no-such-program").check().is_err() && Exec::options(text).check().is_err());
    assert!(shell("exit 7").check().is_ok(), "it is there");
}

#[test]
fn options_out_of_their_range_are_named() {
    for (options, name) in [
        (shell("cat").children(0), "children"),
        (shell("cat").children(10_001), "children"),
        (shell("cat").batch(0), "batch"),
        (shell("cat").lines_max(0), "lines_max"),
    ] {
        let error = options.check().expect_err("it is out of range");
        assert!(matches!(error, ExecError::OutOfRange { option, .. } if option == name), "{error}");
    }
    assert!(matches!(shell("cat").probe("two\nlines").check(), Err(ExecError::Probe)));
}

#[test]
fn the_probe_is_no_clients_line() {
    let (server, exec) = serve(for_each_line(ECHO).probe("ping").children(3));
    wait_until("all are there", || exec.stats().answered == 3);
    assert_eq!(Client::connect(server.local_addr()).ask("Bob"), "Bob\n");
}

#[test]
fn one_that_has_answered_its_lines_is_replaced_by_one_that_is_there() {
    let (server, exec) = serve(for_each_line(&format!("{ECHO}$$")).lines_max(10));
    let mut client = Client::connect(server.local_addr());
    let mut processes: Vec<String> = (0..200).map(|_| client.ask("")).collect();
    processes.dedup();
    assert!((5..40).contains(&processes.len()), "{processes:?}");
    wait_until("the others have ended", || exec.stats().running <= 2);
    assert_eq!(exec.stats().ended, 0);
}

#[test]
fn whoever_waits_for_a_program_that_cannot_run_any_more_is_told_at_once() {
    let directory = TestDirectory::new();
    let is_broken = directory.file("broken");
    let script = format!("[ -e {} ] && exit 1; while IFS= read -r line; do {ECHO}; done", is_broken.display());
    let (server, exec) = serve(shell(&script));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("Bob"), "Bob\n");
    fs::write(&is_broken, "").unwrap();
    exec.replace(shell(&script)).expect_err("it ends at once");
    assert_eq!(client.ask("Bob"), "Bob\n", "the one before stays");
    assert!(exec.is_ready());
    // The last that was good ends by itself.
    let (server, exec) =
        serve(shell(&format!("rm -f {0}; read -r line; echo last; : > {0}; exit 0", is_broken.display())));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("Bob"), "last\n");
    drop((server, exec, client));
}

#[test]
fn a_program_that_ends_before_it_answers_is_started_less_and_less_often() {
    let directory = TestDirectory::new();
    let starts = directory.file("starts");
    // The first is good.
    let script = format!(
        "echo >> {0}; [ $(wc -l < {0}) -gt 1 ] && exit 1; while IFS= read -r line; do {ECHO}; kill -9 $$; done",
        starts.display()
    );
    let (server, exec) = serve(shell(&script));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("Bob"), "Bob\n");
    wait_until("it is not ready", || !exec.is_ready());
    wait_until("it has been tried again", || exec.stats().started >= 4);
    assert!(!server.is_ready(), "and the server says so");
    assert_eq!(client.ask("Bob"), "error: busy\n");
    fs::write(&starts, "").unwrap();
    wait_until("one is good again", || exec.is_ready());
    assert_eq!(client.ask("Bob"), "Bob\n");
}

/// Also those that it was given and has not read: it was no good, whoever waits for it.
#[test]
fn whoever_waits_while_a_program_ends_again_and_again_is_told() {
    let directory = TestDirectory::new();
    let is_broken = directory.file("broken");
    let script = format!("[ -e {0} ] && exit 1; read -r line; : > {0}; sleep 0.2; kill -9 $$", is_broken.display());
    let (server, exec) = serve(shell(&script).queue_timeout(None).reply_timeout(None));
    let mut clients = [(); 3].map(|()| Client::connect(server.local_addr()));
    clients[0].send("first\n");
    wait_until("it has read that", || is_broken.exists());
    clients[1..].iter_mut().for_each(|client| client.send("next\n"));
    assert_eq!(clients[0].text(), "error: internal error\n");
    clients[1..].iter_mut().for_each(|client| assert_eq!(client.text(), "error: busy\n"));
    // It is started again and again, and is there for a moment each time.
    wait_until("it is not ready", || !exec.is_ready());
}

/// One that has not answered its probe yet is not what is wanted any more.
#[test]
fn processes_that_are_on_their_way_are_replaced_as_well() {
    let directory = TestDirectory::new();
    let is_first = directory.file("first");
    let script = format!("if [ -e {0} ]; then sleep 1000; fi; : > {0}; exec cat", is_first.display());
    let (server, exec) = serve(shell(&script).probe("ping").children(2));
    wait_until("the second is asked", || exec.stats().started == 2);
    exec.replace(for_each_line(r#"echo "new $line""#).children(2)).expect("it is good");
    wait_until("both are others", || (exec.stats().started, exec.stats().running) == (4, 2));
    let mut clients = [(); 2].map(|()| Client::connect(server.local_addr()));
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("x"), "new x\n"));
}

pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn other_options_hold_for_all_processes_and_no_line_is_lost() {
    let (server, exec) = serve(for_each_line(r#"echo "old $line""#).children(3));
    wait_until("all are there", || exec.stats().running == 3);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also if this test fails.
        let is_over = StopAtEnd(&stop);
        for number in 0..3 {
            let (server, stop) = (&server, is_over.0);
            scope.spawn(move || {
                let mut client = Client::connect(server.local_addr());
                while !stop.load(Ordering::Relaxed) {
                    let said = client.ask(&number.to_string());
                    assert!([format!("old {number}\n"), format!("new {number}\n")].contains(&said), "{said}");
                }
            });
        }
        let replaced_by = |options: ExecOptions, children: u64| {
            let before = exec.stats().started;
            exec.replace(options.children(children as usize)).expect("it is good");
            let is_replaced = || (exec.stats().started - before, exec.stats().running) == (children, children);
            wait_until("the others are gone", is_replaced);
        };
        for _ in 0..3 {
            replaced_by(for_each_line(r#"echo "new $line""#), 2);
            let mut client = Client::connect(server.local_addr());
            (0..10).for_each(|_| assert_eq!(client.ask("x"), "new x\n"));
            replaced_by(for_each_line(r#"echo "old $line""#).batch(2), 4);
        }
    });
    assert_eq!((exec.stats().ended, exec.stats().strays, exec.stats().late), (0, 0, 0));
}
