//! `greeter-client` between pipes, as a process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Stdio;
use std::time::Duration;

use crate::kit::{
    self, answer, greeter, greeter_client, read_all, read_line, read_to_the_end, run, run_with, serve, start,
    stay_silent,
};

#[test]
fn stdins_lines_go_out_and_the_replies_come_back() {
    for command in [&[][..], &["pipe"], &["chat"]] {
        let server = greeter();
        run_with(&mut greeter_client(&server.address, command), "Ann\nB\0\n\n").is(
            0,
            "Hello, Ann\nHello, B\0\nHello, \n",
            "",
        );
    }
}

#[test]
fn bytes_pass_as_they_are_where_stdout_is_no_terminal() {
    let server = serve(|mut stream| {
        stream.write_all(b"\x1b[2J\xff\r\n\xe2\x80\xae\n").unwrap();
        read_all(&stream)
    });
    run_with(&mut greeter_client(&server.address, &[]), "\x1b\r\n").is(0, b"\x1b[2J\xff\r\n\xe2\x80\xae\n", "");
    assert_eq!(server.outcome(), b"\x1b\r\n");
}

#[test]
fn an_unfinished_line_is_sent_as_it_is_with_a_note() {
    let server = greeter();
    run_with(&mut greeter_client(&server.address, &[]), "Ann\nBen").is(
        0,
        "Hello, Ann\n",
        "note: the input's last line has no newline: most servers ignore it\n",
    );
}

#[test]
fn replies_that_come_long_after_stdins_end_are_waited_for() {
    let server = serve(|mut stream| {
        let lines = read_all(&stream);
        std::thread::park_timeout(Duration::from_millis(900));
        stream.write_all(&lines).unwrap();
    });
    run_with(&mut greeter_client(&server.address, &["--timeout=100ms"]), "Ann\n").is(0, "Ann\n", "");
}

#[test]
fn a_server_that_does_not_close_is_left_behind_a_silence() {
    let serve_reply = |reply: &'static [u8]| {
        serve(move |mut stream| {
            read_all(&stream);
            stream.write_all(reply).unwrap();
            stay_silent(stream);
        })
    };
    let pipe =
        |reply, arguments: &[&str]| run_with(&mut greeter_client(&serve_reply(reply).address, arguments), "Ann\n");
    for command in [&["--idle=1s"][..], &["--idle=1s", "pipe"]] {
        pipe(b"Hello, Ann\n", command).is(0, "Hello, Ann\n", "");
    }
    pipe(b"Hello, Ann\nAnn?", &["--idle=1s"]).is(
        3,
        "Hello, Ann\nAnn?",
        "error: the server said nothing more for 1s in the middle of a line, 4 bytes into it\n",
    );
}

/// What it has left has not ended: played back, the recording ends there, too.
#[test]
fn a_recording_of_a_server_that_was_left_ends_with_a_close() {
    let server = serve(|stream| {
        read_all(&stream);
        stay_silent(stream);
    });
    let folder = kit::Folder::new("left-idle", &[]);
    let mut command = greeter_client(&server.address, &["--idle=50ms", "record", "a.talk"]);
    run_with(command.current_dir(&folder.0), "Ann\n").is(0, "", "");
    assert_eq!(folder.text("a.talk"), "> Ann\n>eof\nclose\n");
    folder.run(&["check", "a.talk"]).is(0, "1 script, 3 steps: no error\n", "");
}

#[test]
fn a_server_that_closes_first_ends_it_while_stdin_is_open() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"bye\n").unwrap();
    });
    let mut running = start(greeter_client(&server.address, &[]).stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all(b"QUIT\n").unwrap();
    running.outcome().is(0, "bye\n", "");
}

#[test]
fn a_server_that_closes_first_with_bytes_unsent_is_an_error() {
    let server = serve(|mut stream| {
        read_line(&stream);
        stream.write_all(b"enough\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_to_the_end(stream);
    });
    let input = "a line\n".repeat(10_000_000);
    let outcome = run_with(&mut greeter_client(&server.address, &[]), input);
    assert_eq!((outcome.code, &outcome.stdout[..]), (Some(3), &b"enough\n"[..]));
    assert!(outcome.stderr.starts_with("error: the server closed the connection with "), "{outcome:?}");
    assert!(outcome.stderr.ends_with(" bytes of the input unsent\n"), "{outcome:?}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let server = serve(answer_until_gone);
    let mut command = greeter_client(&server.address, &[]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let writing = std::thread::spawn(move || while stdin.write_all(b"Ann\n").is_ok() {});
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout);
    let outcome = child.wait_with_output().unwrap();
    assert_eq!((outcome.status.code(), outcome.stderr), (Some(0), Vec::new()));
    writing.join().unwrap();
}

fn answer_until_gone(mut stream: std::net::TcpStream) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        if stream.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let server = greeter();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let outcome = run_with(greeter_client(&server.address, &[]).stdout(Stdio::from(full)), "Ann\n");
    assert_eq!(outcome.code, Some(4));
    assert!(outcome.stderr.starts_with("error: cannot write to stdout: "), "{outcome:?}");
}

#[cfg(unix)]
#[test]
fn a_stdin_that_cannot_be_read_is_an_error() {
    let server = greeter();
    let folder = File::open(env!("CARGO_MANIFEST_DIR")).unwrap();
    let outcome = run(greeter_client(&server.address, &[]).stdin(Stdio::from(folder)));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.starts_with("error: cannot read the input: "), "{outcome:?}");
}

/// 64 MiB each way, and the most that the process ever held, looked at before it ends.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_constant_however_much_passes() {
    let (looked, wait) = std::sync::mpsc::channel::<()>();
    let (all_passed, passed) = std::sync::mpsc::channel();
    let server = serve(move |stream| {
        answer(stream.try_clone().unwrap(), <[u8]>::to_vec);
        all_passed.send(()).unwrap();
        // Until then the client waits for the server's end.
        let _ = wait.recv();
        drop(stream);
    });
    let mut running = start(greeter_client(&server.address, &[]).stdin(Stdio::piped()));
    let mut stdin = running.child.stdin.take().unwrap();
    std::thread::spawn(move || {
        let lines = [&[b'x'; 1023][..], b"\n"].concat().repeat(64);
        (0..1024).try_for_each(|_| stdin.write_all(&lines))
    });
    passed.recv_timeout(kit::PATIENCE).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    drop(looked);
    assert_eq!(running.outcome().stdout.len(), 64 * 1024 * 1024);
    assert!(kilobytes < 16 * 1024, "{kilobytes} kB");
}
