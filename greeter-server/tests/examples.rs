//! Every example does what it says: to a client that counts its bytes, and to the programs that
//! other people wrote.

mod kit;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kit::{Example, Folder, PATIENCE, Process, Upstream, python_with, stranger};

#[test]
fn server_greets_byte_for_byte() {
    let server = Example::start("server", &[]);
    server.connect().send(b"Bob\nAnn\r\n\n\xFF\0\n").expect(b"Hello, Bob\nHello, Ann\r\nHello, \nHello, \xFF\0\n");
}

#[test]
fn server2_has_clients_wait_for_one_another() {
    let server = Example::start("server2", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    let start = Instant::now();
    ann.send("Ann\n");
    bob.send("Bob\n");
    ann.expect("Hello, Ann\n");
    bob.expect("Hello, Bob\n");
    assert!(start.elapsed() >= Duration::from_secs(2));
}

#[test]
fn closure_converts_temperatures() {
    let server = Example::start("closure", &[]);
    let mut client = server.connect();
    client.send("37 C\n").expect("98.6 F\n");
    client.send("-40 F\r\n").expect("-40.0 C\r\n");
    client.send("warm\n").expect("error: say it like this: 37 C\n");
    client.send("ten C\n").expect("error: \"ten\" is not a number\n");
    client.send("10 K\n").expect("error: \"K\" is neither C nor F\n");
    client.send(b"\xFF\n").expect("error: line is not valid UTF-8\n");
}

#[test]
fn session_keeps_a_stack_for_each_client() {
    let server = Example::start("session", &[]);
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.expect("numbers and + - * / please, or quit\n").send("6 7\n").expect("[6, 7]\n");
    bob.expect("numbers and + - * / please, or quit\n").send("1\n").expect("[1]\n");
    ann.send("*\n").expect("[42]\n");
    bob.send("+\n").expect("error: too few numbers\n");
    bob.send("0 /\n").expect("error: no such number\n");
    bob.send("x\n").expect("error: neither a number nor an operator\n");
    bob.send("9223372036854775807 + +\n").expect("error: no such number\n");
    bob.send("\n").expect("[1, 9223372036854775807]\n");
    bob.send(b"\xFF\n").expect("error: line is not valid UTF-8\n");
    bob.send("0 ".repeat(100) + "\n").expect("error: too many numbers\n");
    bob.send("quit\nand so on\n").expect("bye\n").expect_end();
    ann.send("2 /\n").expect("[21]\n");
}

#[test]
fn chat_has_everyone_hear_what_anyone_says() {
    let server = Example::start("chat", &[]);
    let (mut ann, mut bob, mut cid) = (server.connect(), server.connect(), server.connect());
    ann.expect("what is your name?\n").send("Ann\n").expect("welcome, Ann; here are: \n");
    bob.expect("what is your name?\n").send("Ann\r\n").expect("error: that name is taken, or is none\r\n");
    bob.send("Bob\r\n").expect("welcome, Bob; here are: Ann\r\n");
    ann.expect("* Bob is here\n").send("hello, Bob\n");
    // Each hears it in the line ending that they use themselves.
    bob.expect("Ann: hello, Bob\r\n").send("hello, Ann\r\n");
    ann.expect("Bob: hello, Ann\n");
    cid.expect("what is your name?\n").send("Cid\n").expect("welcome, Cid; here are: Ann, Bob\n");
    ann.expect("* Cid is here\n");
    bob.expect("* Cid is here\r\n").send("/quit\r\n").expect_end();
    drop(bob);
    ann.expect("* Bob has left\n");
    cid.expect("* Bob has left\n");
    drop(cid);
    ann.expect("* Cid has left\n");
}

#[test]
fn tcp_table_answers_in_codes() {
    let server = Example::start("tcp_table", &[]);
    let mut postfix = server.connect();
    postfix.send("get postmaster\n").expect("200 root\n");
    postfix.send("get all%20hands\n").expect("200 ann,%20bob\n");
    postfix.send("get 100%25\nget 1%30%30%25\n").expect("200 sales\n200 sales\n");
    postfix.send("get nobody\n").expect("500 no%20such%20key\n");
    postfix.send("put nobody root\n").expect("500 this%20table%20is%20read%20only\n");
    postfix.send("get 100%2\nget %zz\nget %FF\n").expect("400 malformed%20key\n".repeat(3));
    postfix.send(b"got postmaster\n\n\xFF\n").expect("400 unknown%20request\n".repeat(3));
    postfix.send("get ".to_owned() + &"a".repeat(8192) + "\n").expect("400 line%20longer%20than%208192%20bytes\n");
}

#[test]
fn postfix_looks_up_in_tcp_table() {
    let Some(postmap) = stranger("postmap", "postfix") else { return };
    let (server, folder) = (Example::start("tcp_table", &[]), Folder::new("postfix"));
    folder.write("main.cf", "compatibility_level = 3.6\n");
    let look_up = |key| {
        let mut command = Command::new(&postmap);
        command.arg("-c").arg(folder.path()).args(["-q", key]).arg(format!("tcp:127.0.0.1:{}", server.port()));
        Process::start(command).outcome()
    };
    assert_eq!(look_up("postmaster"), (Some(0), vec!["root".to_owned()]));
    assert_eq!(look_up("all hands"), (Some(0), vec!["ann, bob".to_owned()]));
    assert_eq!(look_up("100%"), (Some(0), vec!["sales".to_owned()]));
    assert_eq!(look_up("nobody"), (Some(1), vec![]));
}

#[test]
fn agent_check_speaks_first_and_closes() {
    let folder = Folder::new("agent");
    let file = folder.path().join("agent.txt");
    let server = Example::start("agent_check", &[&file]);
    server.connect().expect("ready up 100%\n").expect_end();
    folder.write("agent.txt", "up 75%\nsince it is warm here\n");
    server.connect().expect("up 75%\n").expect_end();
    // What the balancer says unasked must not turn the close into a reset that eats the answer.
    server.connect().send("web\n".repeat(1000)).expect("up 75%\n").expect_end();
}

#[cfg(unix)]
#[test]
fn haproxy_follows_agent_check() {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    let Some(haproxy) = stranger("haproxy", "haproxy") else { return };
    let folder = Folder::new("haproxy");
    let server = Example::start("agent_check", &[&folder.write("agent.txt", "drain\n")]);
    let (socket, port) = (folder.path().join("socket"), server.port());
    let config = format!(
        r#"
global
    nbthread 1
    stats socket {socket} level user
    log stdout format raw local0
backend app
    mode tcp
    log global
    timeout connect 5s
    timeout server 5s
    server web 127.0.0.1:9 weight 100 agent-check agent-addr 127.0.0.1 agent-port {port} agent-inter 50ms agent-send "web\n"
"#,
        socket = socket.display(),
    );
    let mut command = Command::new(haproxy);
    command.arg("-db").arg("-f").arg(folder.write("haproxy.cfg", config)).stderr(Stdio::null());
    let haproxy = Process::start(command);

    haproxy.wait_for("Server app/web enters drain state");
    folder.write("agent.txt", "ready up 75%\n");
    haproxy.wait_for("Server app/web is UP (leaving forced drain)");

    let mut stats = UnixStream::connect(socket).unwrap();
    stats.set_read_timeout(Some(kit::PATIENCE)).unwrap();
    stats.write_all(b"get weight app/web\n").unwrap();
    let mut weight = String::new();
    stats.read_to_string(&mut weight).unwrap();
    assert_eq!(weight.trim(), "75 (initial 100)");
}

#[test]
fn finger_tells_about_users() {
    let server = Example::start("finger", &[]);
    let check = |query: &str, reply: &str| server.connect().send(query).expect(reply).expect_end();
    check("\r\n", "ann      Ann Archer\r\nbob      Bob Baker\r\n");
    check("bob\n", "bob      Bob Baker\r\n");
    check("/W ann\r\n", "ann      Ann Archer\r\nMonday: write it.\r\nTuesday: prove it.\r\n");
    check(
        "/W\r\nbob\r\n",
        "ann      Ann Archer\r\nMonday: write it.\r\nTuesday: prove it.\r\nbob      Bob Baker\r\nBread.\r\n",
    );
    check("zed\r\n", "No such user\r\n");
    check("bob@elsewhere\r\n", "Finger forwarding service denied\r\n");
    check("/W @here@there\r\n", "Finger forwarding service denied\r\n");
    check(&("b".repeat(8193) + "\r\n"), "error: line longer than 8192 bytes\r\n");
}

/// The program `finger` knows no port but 79; `whois` speaks the same on any: one line ends in CR
/// LF, and what comes back until the end is shown.
#[test]
fn whois_reads_what_finger_says() {
    let Some(whois) = stranger("whois", "whois") else { return };
    let server = Example::start("finger", &[]);
    let mut command = Command::new(whois);
    command.args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "/W ann"]);
    let lines = ["ann      Ann Archer", "Monday: write it.", "Tuesday: prove it."];
    assert_eq!(Process::start(command).outcome(), (Some(0), lines.map(str::to_owned).to_vec()));
}

/// The look-up service in front of this server.
fn lookup(upstream: &str) -> Example {
    Example::start("lookup", &[Path::new(upstream)])
}

#[test]
fn lookup_answers_each_of_many_clients_in_order() {
    const CLIENTS: usize = 100;
    const LINES: usize = 50;
    let upstream = Example::start("closure", &[]);
    let server = lookup(&format!("127.0.0.1:{}", upstream.port()));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (client, number) in clients.iter_mut().zip(0..) {
        let lines: String = (0..LINES).map(|line| format!("{} C\r\n", number * LINES + line)).collect();
        client.send(lines);
    }
    for (client, number) in clients.iter_mut().zip(0..) {
        let fahrenheit = |line| (number * LINES + line) as f64 * 1.8 + 32.0;
        let answers: String = (0..LINES).map(|line| format!("{:.1} F\r\n", fahrenheit(line))).collect();
        client.expect(answers);
    }
}

#[test]
fn lookup_sends_away_who_guesses() {
    let upstream = Example::start("closure", &[]);
    let server = lookup(&format!("127.0.0.1:{}", upstream.port()));
    let (mut ann, mut bob) = (server.connect(), server.connect());
    ann.send("warm\n".repeat(4)).expect("error: say it like this: 37 C\n".repeat(4));
    bob.send("warm\n").expect("error: say it like this: 37 C\n");
    ann.send("37 C\nwarm\n37 C\n").expect("98.6 F\nerror: say it like this: 37 C\n").expect_end();
    bob.send(b"\xFF\n37 C\n").expect("error: line is not valid UTF-8\n98.6 F\n");
}

/// How many may wait: those whose questions the upstream has, and those behind them.
const WAITING: usize = 8 + 100;

#[test]
fn lookup_has_so_many_wait_and_no_more() {
    const BUSY: usize = 10;
    let upstream = Upstream::start();
    let server = lookup(&upstream.address());
    let (sender, answers) = mpsc::channel();
    for number in 0..WAITING + BUSY {
        let (mut client, sender) = (server.connect(), sender.clone());
        client.send(format!("{number}\n"));
        thread::spawn(move || sender.send((number, client.line())));
    }
    let next = || answers.recv_timeout(PATIENCE).unwrap();
    // The upstream says nothing yet.
    for _ in 0..BUSY {
        assert_eq!(next().1, "error: busy\n");
    }
    let mut upstream = upstream.accept();
    for _ in 0..WAITING {
        let key = upstream.line();
        upstream.send(format!("re: {key}"));
    }
    for _ in 0..WAITING {
        let (number, answer) = next();
        assert_eq!(answer, format!("re: {number}\n"));
    }
}

#[test]
fn lookup_tells_who_was_asked_for_that_the_upstream_broke_and_connects_again() {
    let listener = Upstream::start();
    let server = lookup(&listener.address());
    let mut first = server.connect();
    first.send("first\n");
    let mut upstream = listener.accept();
    upstream.expect("first\n").send("here\r\n");
    first.expect("here\n");
    let mut asked: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut asked {
        client.send("key\n");
        upstream.expect("key\n");
    }
    // The upstream has as many as it may: this one is behind them, and need not know.
    first.send("queued\n");
    upstream.send("half an ans");
    drop(upstream);
    for client in &mut asked {
        client.expect("error: the upstream has broken off\n");
    }
    let mut upstream = listener.accept();
    upstream.expect("queued\n").send("there\n");
    first.expect("there\n");
    // Their sessions go on.
    for client in &mut asked {
        client.send("again\n");
        upstream.expect("again\n").send("here\n");
        client.expect("here\n");
    }
}

#[test]
fn lookup_leaves_an_upstream_that_says_more_than_it_was_asked() {
    let listener = Upstream::start();
    let server = lookup(&listener.address());
    let mut client = server.connect();
    client.send("one\n");
    let mut upstream = listener.accept();
    upstream.expect("one\n").send("1\nor more\nor less\n");
    client.expect("1\n");
    upstream.expect_end();
    client.send("two\n");
    listener.accept().expect("two\n").send("2\n");
    client.expect("2\n");
}

#[test]
fn lookup_says_that_there_is_no_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens at this end of a connection, and nobody else can.
    let taken = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = lookup(&taken.local_addr().unwrap().to_string());
    let mut client = server.connect();
    for _ in 0..2 {
        let answer = client.send("key\n").line();
        assert!(answer.starts_with("error: no upstream: "), "{answer}");
    }
}

#[test]
fn lookup_answers_who_has_stopped_sending() {
    let listener = Upstream::start();
    let server = lookup(&listener.address());
    let mut client = server.connect();
    client.send("one\ntwo\nthr");
    let mut upstream = listener.accept();
    upstream.expect("one\n");
    client.finish_sending();
    upstream.send("1\n").expect("two\n").send("2\n");
    client.expect("1\n2\n").expect_end();
    // Nobody has asked for half a line.
    server.connect().send("four\n");
    upstream.expect("four\n");
}

/// It takes as long as the example's patience.
#[test]
fn lookup_asks_for_nobody_who_has_given_up() {
    let listener = Upstream::start();
    let server = lookup(&listener.address());
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("key\n");
    }
    let mut silent = listener.accept();
    silent.expect("key\n".repeat(8));
    let mut queued = server.connect();
    queued.send("queued\n");
    clients.push(queued);
    for client in &mut clients {
        client.expect("error: timed out\n").expect_end();
    }
    // The upstream has not said a word. The next one need not wait for it, nor for the queue.
    let mut next = server.connect();
    next.send("next\n");
    listener.accept().expect("next\n").send("here\n");
    next.expect("here\n");
    silent.expect_end();
}

#[test]
fn postfix_looks_up_through_lookup() {
    let Some(postmap) = stranger("postmap", "postfix") else { return };
    let (upstream, folder) = (Example::start("tcp_table", &[]), Folder::new("through"));
    let server = lookup(&format!("127.0.0.1:{}", upstream.port()));
    folder.write("main.cf", "compatibility_level = 3.6\n");
    let look_up = |key| {
        let mut command = Command::new(&postmap);
        command.arg("-c").arg(folder.path()).args(["-q", key]).arg(format!("tcp:127.0.0.1:{}", server.port()));
        Process::start(command).outcome()
    };
    assert_eq!(look_up("all hands"), (Some(0), vec!["ann, bob".to_owned()]));
    assert_eq!(look_up("nobody"), (Some(1), vec![]));
}

/// What is stored in the folder, in the order of the names. There is nothing else in it, and no
/// half a mail either.
#[expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]
fn mails_in(folder: &Folder) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.iter().all(|path| path.extension().is_some_and(|extension| extension == "eml")), "{paths:?}");
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Dots where they mislead, bytes that are no text, a CR alone.
const ODD_MAIL: &[u8] = b"Subject: odd\r\n\r\n.\r\n..\r\n.dot\r\n\xE9\xFF\0\r\nC\rR\r\n\r\n";
const ODD_MAIL_STUFFED: &[u8] = b"Subject: odd\r\n\r\n..\r\n...\r\n..dot\r\n\xE9\xFF\0\r\nC\rR\r\n\r\n";

#[test]
fn smtp_sink_stores_a_mail_byte_for_byte_and_takes_commands_in_one_go() {
    let folder = Folder::new("smtp");
    let server = Example::start("smtp_sink", &[folder.path()]);
    let mut client = server.connect();
    client.expect("220 localhost takes every mail\r\n").send("EHLO there\r\n");
    client.expect("250-localhost\r\n250-SIZE 1048576\r\n250-8BITMIME\r\n250 PIPELINING\r\n");
    let commands = b"MAIL FROM:<> BODY=8BITMIME\r\nrcpt to:<ann@example.org>\r\nRCPT TO: <bob@example.org>\r\nDATA\r\n";
    client.send([commands, ODD_MAIL_STUFFED, b".\r\nNOOP\r\n"].concat());
    client.expect("250 ok\r\n250 ok\r\n250 ok\r\n354 end with a dot in a line of its own\r\n");
    client.expect("250 mail 1 stored\r\n250 ok\r\n");
    assert_eq!(mails_in(&folder), [ODD_MAIL]);
    // An empty one is one as well.
    client.send([commands.as_slice(), b".\r\nQUIT\r\nNOOP\r\n"].concat());
    client.expect("250 ok\r\n250 ok\r\n250 ok\r\n354 end with a dot in a line of its own\r\n");
    client.expect("250 mail 2 stored\r\n221 bye\r\n").expect_end();
    assert_eq!(mails_in(&folder), [ODD_MAIL, b""]);
}

#[test]
fn smtp_sink_wants_commands_in_their_order() {
    let server = Example::start("smtp_sink", &[]);
    let mut client = server.connect();
    client.expect("220 localhost takes every mail\r\n");
    let mut check = |command: &str, reply: &str| {
        client.send(command.to_owned() + "\r\n").expect(reply);
    };
    check("HELO there", "250 ok\r\n");
    for early in ["RCPT TO:<ann@example.org>", "DATA", "MAIL FROM:ann@example.org", "MAIL TO:<ann@example.org>", "MAIL"]
    {
        check(early, "503 not now, or not without an <address>\r\n");
    }
    check("MAIL FROM:<ann@example.org>", "250 ok\r\n");
    check("DATA", "503 not now, or not without an <address>\r\n");
    check("RCPT TO:<bob@example.org>", "250 ok\r\n");
    check("VRFY bob", "252 every mail is taken\r\n");
    check("RSET", "250 ok\r\n");
    check("DATA", "503 not now, or not without an <address>\r\n");
    check("EXPN all", "500 unknown command\r\n");
    check("NO\u{F6}P", "500 unknown command\r\n");
    check(&"A".repeat(1000), "500 line longer than 999 bytes\r\n");
    check("NOOP\n", "500 line does not end with CR LF\r\n500 unknown command\r\n");
    check("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>", "250 ok\r\n250 ok\r\n");
    check("DATA\r\nhello\r\n.", "354 end with a dot in a line of its own\r\n250 mail 1 counted\r\n");
}

/// Sends this as a mail, and a good one behind it. Returns what came of both.
#[track_caller]
fn send_to_smtp_sink(folder: &str, text: impl AsRef<[u8]>, expected: &str) -> Vec<Vec<u8>> {
    let folder = Folder::new(folder);
    let server = Example::start("smtp_sink", &[folder.path()]);
    let start = "MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n";
    let started = "250 ok\r\n250 ok\r\n354 end with a dot in a line of its own\r\n";
    let mut client = server.connect();
    client.expect("220 localhost takes every mail\r\n");
    client.send([start.as_bytes(), text.as_ref(), b"\r\n.\r\n"].concat()).expect(started).expect(expected);
    client.send(start.to_owned() + "good\r\n.\r\nQUIT\r\n").expect(started);
    let stored = if expected.starts_with("250") { 2 } else { 1 };
    client.expect(format!("250 mail {stored} stored\r\n221 bye\r\n")).expect_end();
    mails_in(&folder)
}

#[test]
fn smtp_sink_stores_nothing_extra_however_a_mail_pretends_to_end() {
    let smuggled = "MAIL FROM:<eve@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nevil";
    for end in ["\n.\r\n", "\n.\n", "\r\n.\n", "\r\n\n.\r\n", "\n\n.\r\n", "\n..\r\n", "\0\n.\r\n"] {
        let mails =
            send_to_smtp_sink("smuggle", format!("text{end}{smuggled}"), "550 a line did not end with CR LF\r\n");
        assert_eq!(mails, [b"good\r\n"], "{end:?}");
    }
    let text = "A".repeat(2000) + "\n.\r\n" + smuggled;
    assert_eq!(send_to_smtp_sink("smuggle", text, "550 a line did not end with CR LF\r\n"), [b"good\r\n"]);
    // These are lines like any other.
    for end in ["\r.\r", "\r\n.\r", "\r\n.\r\r\n", "\r.\r\n"] {
        let text = format!("text{end}{smuggled}");
        let mails = send_to_smtp_sink("smuggle", &text, "250 mail 1 stored\r\n");
        let text = text.replace("\n.", "\n") + "\r\n";
        assert_eq!(mails, [text.as_bytes(), b"good\r\n"], "{end:?}");
    }
}

#[test]
fn smtp_sink_stores_all_of_a_mail_or_nothing() {
    let send = |text: String, expected| send_to_smtp_sink("whole", text, expected);
    let line = |length| "A".repeat(length) + "\r\n";
    let too_long = "550 a line was too long\r\n";
    assert_eq!(send("one\r\n".to_owned() + &line(1000) + "three", too_long), [b"good\r\n"]);
    // So long that it never is in memory as a whole.
    assert_eq!(send("one\r\n".to_owned() + &line(1_000_000) + "three", too_long), [b"good\r\n"]);
    // A dot in its place ends the mail behind a line that was too long, too.
    assert_eq!(send(line(1000).trim_end().to_owned(), too_long), [b"good\r\n"]);
    let just_right = ["one\r\n", &line(998), ".", &line(998), "four"].concat();
    let stored = ["one\r\n", &line(998), &line(998), "four\r\n"].concat();
    assert_eq!(send(just_right, "250 mail 1 stored\r\n"), [stored.as_bytes(), b"good\r\n"]);
    let mebibyte = line(958).repeat((1 << 20) / 960) + &line(254);
    assert_eq!(mebibyte.len(), 1 << 20);
    assert_eq!(send(mebibyte.trim_end().to_owned(), "250 mail 1 stored\r\n")[0], mebibyte.as_bytes());
    assert_eq!(send("A".to_owned() + &mebibyte, "552 too much mail\r\n"), [b"good\r\n"]);
}

#[test]
fn smtp_sink_tells_its_client_to_try_again_if_it_cannot_store() {
    let folder = Folder::new("gone");
    let server = Example::start("smtp_sink", &[&folder.path().join("missing")]);
    let mut client = server.connect();
    client.expect("220 localhost takes every mail\r\n");
    client.send("MAIL FROM:<ann@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n");
    client.expect("250 ok\r\n250 ok\r\n354 end with a dot in a line of its own\r\n");
    client.expect("451 internal error\r\n221 bye\r\n").expect_end();
}

/// Runs a script of Python's and returns what it prints. It is given the port.
#[track_caller]
fn python(script: &str, server: &Example) -> Option<Vec<String>> {
    let mut command = Command::new(stranger("python3", "python3")?);
    command.args(["-c", script, &server.port().to_string()]);
    let (code, lines) = Process::start(command).outcome();
    assert_eq!(code, Some(0), "{lines:#?}");
    Some(lines)
}

#[test]
fn python_sends_mail_to_smtp_sink() {
    let folder = Folder::new("smtplib");
    let server = Example::start("smtp_sink", &[folder.path()]);
    let script = r#"
import smtplib, sys
with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=20) as smtp:
    mail = b"Subject: odd\r\n\r\n.\r\n..\r\n.dot\r\n\xE9\xFF\0\r\n\r\n"
    smtp.sendmail("ann@example.org", ["bob@example.org", "cid@example.org"], mail, ["BODY=8BITMIME"])
    print(sorted(smtp.esmtp_features), smtp.verify("bob"))
    try:
        smtp.sendmail("ann@example.org", "bob@example.org", b"A" * 998 + b"\r\n" + b"A" * 1000)
    except smtplib.SMTPDataError as error:
        print(error)
    smtp.sendmail("ann@example.org", "bob@example.org", "Subject: two\n\nhello")
"#;
    let Some(said) = python(script, &server) else { return };
    let features = "['8bitmime', 'pipelining', 'size'] (252, b'every mail is taken')";
    assert_eq!(said, [features, "(550, b'a line was too long')"]);
    let odd = b"Subject: odd\r\n\r\n.\r\n..\r\n.dot\r\n\xE9\xFF\0\r\n\r\n";
    assert_eq!(mails_in(&folder), [odd.as_slice(), b"Subject: two\r\n\r\nhello\r\n"]);
}

/// Makes a certificate for localhost and its key.
fn certificate(folder: &Folder) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.path().join("certificate"), folder.path().join("key"));
    let mut command = Command::new(stranger("openssl", "openssl")?);
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let output = command.output().expect("openssl can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some((certificate, key))
}

#[test]
fn smtp_sink_starts_tls_and_forgets_what_was_said_before() {
    let (folder, certificates) = (Folder::new("starttls"), Folder::new("starttls-certificates"));
    let Some((certificate, key)) = certificate(&certificates) else { return };
    let server = Example::start("smtp_sink", &[folder.path(), &certificate, &key]);
    let script = r#"
import smtplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with smtplib.SMTP("localhost", int(sys.argv[1]), timeout=20) as smtp:
    smtp.ehlo()
    print("starttls" in smtp.esmtp_features)
    smtp.mail("eve@example.org")
    smtp.starttls(context=context)
    print(smtp.docmd("RCPT TO:<bob@example.org>"))
    smtp.ehlo()
    print("starttls" in smtp.esmtp_features, smtp.docmd("STARTTLS"))
    smtp.sendmail("ann@example.org", "bob@example.org", "hello")
"#;
    let script = script.replace("sys.argv[2]", &format!("{:?}", certificate.to_str().unwrap()));
    let Some(said) = python(&script, &server) else { return };
    let forgotten = "(503, b'not now, or not without an <address>')";
    assert_eq!(said, ["True", forgotten, "False (500, b'unknown command')"]);
    assert_eq!(mails_in(&folder), [b"hello\r\n"]);
    // What somebody has put behind the request is not answered, in plain or otherwise.
    let mut client = server.connect();
    client.expect("220 localhost takes every mail\r\n").send("STARTTLS\r\nNOOP\r\n");
    client.expect("220 go ahead\r\n").expect_end();
}

#[test]
fn curl_sends_mail_to_smtp_sink_in_tls() {
    let (folder, certificates) = (Folder::new("curl-smtp"), Folder::new("curl-smtp-certificates"));
    let Some((certificate, key)) = certificate(&certificates) else { return };
    let Some(curl) = stranger("curl", "curl") else { return };
    let server = Example::start("smtp_sink", &[folder.path(), &certificate, &key]);
    let mail = certificates.path().join("mail");
    std::fs::write(&mail, "Subject: one\r\n\r\nhello\r\n").unwrap();
    let mut command = Command::new(curl);
    command.args(["-sS", "--ssl-reqd", "--mail-from", "ann@example.org", "--mail-rcpt", "bob@example.org"]);
    command.arg("--cacert").arg(&certificate).arg("--upload-file").arg(&mail);
    command.arg(format!("smtp://localhost:{}", server.port()));
    let (code, lines) = Process::start(command).outcome();
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_eq!(mails_in(&folder), [b"Subject: one\r\n\r\nhello\r\n"]);
}

#[test]
fn swaks_sends_mail_to_smtp_sink() {
    let folder = Folder::new("swaks");
    let server = Example::start("smtp_sink", &[folder.path()]);
    let Some(swaks) = stranger("swaks", "swaks") else { return };
    let mut command = Command::new(swaks);
    command.args(["--server", "127.0.0.1", "--port", &server.port().to_string(), "--timeout", "20s", "--pipeline"]);
    command.args(["--silent", "2", "--helo", "there", "--from", "ann@example.org", "--to", "bob@example.org"]);
    command.args(["--data", r"Subject: two\n\n.hello\n.."]);
    assert_eq!(Process::start(command).outcome(), (Some(0), vec![]));
    assert_eq!(mails_in(&folder), [b"Subject: two\r\n\r\n.hello\r\n..\r\n"]);
}

/// A folder with two mails, and something that is none.
fn folder_with_mails(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("1-1-000001.eml", ODD_MAIL);
    folder.write("1-1-000002.eml", "Subject: two\nTo: bob\n\none\n.\nthree");
    folder.write("1-1-000003.draft", "Subject: th");
    folder
}

#[test]
fn pop3_shows_a_mailbox_and_deletes_at_quit() {
    let folder = folder_with_mails("pop3");
    let server = Example::start("pop3", &[folder.path()]);
    let mut ann = server.connect();
    ann.expect("+OK who are you?\r\n").send("STAT\r\nUSER ann\r\nPASS secret\r\nPASS secret\r\n");
    ann.expect(
        "-ERR no such command, or not now\r\n+OK and your password?\r\n+OK\r\n-ERR no such command, or not now\r\n",
    );
    let sizes = [ODD_MAIL.len(), "Subject: two..To: bob....one.....three..".len()];
    ann.send("stat\r\n").expect(format!("+OK 2 {}\r\n", sizes[0] + sizes[1]));
    ann.send("LIST\r\n").expect(format!("+OK\r\n1 {}\r\n2 {}\r\n.\r\n", sizes[0], sizes[1]));
    ann.send("LIST 2\r\nUIDL 1\r\n").expect(format!("+OK 2 {}\r\n+OK 1 1-1-000001\r\n", sizes[1]));
    ann.send("RETR 1\r\n").expect([b"+OK\r\n", ODD_MAIL_STUFFED, b".\r\n"].concat());
    ann.send("RETR 2\r\n").expect("+OK\r\nSubject: two\r\nTo: bob\r\n\r\none\r\n..\r\nthree\r\n.\r\n");
    ann.send("TOP 2 0\r\n").expect("+OK\r\nSubject: two\r\nTo: bob\r\n\r\n.\r\n");
    ann.send("TOP 2 2\r\n").expect("+OK\r\nSubject: two\r\nTo: bob\r\n\r\none\r\n..\r\n.\r\n");
    ann.send("TOP 2\r\nTOP 2 x\r\n").expect("-ERR how many lines?\r\n".repeat(2));
    ann.send("RETR 0\r\nRETR 3\r\nRETR -1\r\nRETR\r\n").expect("-ERR no such mail\r\n".repeat(4));

    // Each command is about what is left.
    ann.send("DELE 1\r\nDELE 1\r\nRETR 1\r\nTOP 1 0\r\nLIST 1\r\n");
    ann.expect("+OK\r\n").expect("-ERR no such mail\r\n".repeat(4));
    ann.send("STAT\r\nUIDL\r\n").expect(format!("+OK 1 {}\r\n+OK\r\n2 1-1-000002\r\n.\r\n", sizes[1]));
    ann.send("RSET\r\nNOOP\r\nUIDL\r\n").expect("+OK\r\n+OK\r\n+OK\r\n1 1-1-000001\r\n2 1-1-000002\r\n.\r\n");

    // The mailbox has one reader, and an impostor has one guess.
    let mut bob = server.connect();
    bob.expect("+OK who are you?\r\n").send("USER ann\r\nPASS secret\r\n");
    bob.expect("+OK and your password?\r\n-ERR [IN-USE] another client has the mailbox\r\n");
    let mut eve = server.connect();
    eve.expect("+OK who are you?\r\n").send("USER ann\r\nPASS guess\r\nPASS secret\r\n");
    eve.expect("+OK and your password?\r\n-ERR wrong user or password\r\n").expect_end();

    ann.send("DELE 2\r\n").expect("+OK\r\n");
    assert!(folder.path().join("1-1-000002.eml").exists());
    ann.send("QUIT\r\nNOOP\r\n").expect("+OK bye\r\n");
    assert!(!folder.path().join("1-1-000002.eml").exists());
    bob.send("PASS secret\r\nLIST\r\n").expect(format!("+OK\r\n+OK\r\n1 {}\r\n.\r\n", sizes[0]));
    ann.expect_end();
}

#[test]
fn python_fetches_from_pop3_and_deletes_nothing_unless_it_says_quit() {
    let folder = folder_with_mails("poplib");
    let server = Example::start("pop3", &[folder.path()]);
    let script = r#"
import poplib, sys
def connect():
    # The server notices that a client has gone when it reads the end of it.
    while True:
        pop = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout=20)
        pop.user("ann")
        try:
            pop.pass_("secret")
            return pop
        except poplib.error_proto as error:
            assert "IN-USE" in str(error), error
            pop.close()
pop = connect()
print(sorted(pop.capa()), pop.stat(), pop.list()[1], pop.uidl()[1])
print(pop.retr(1)[1])
print(pop.top(2, 1)[1])
pop.dele(1)
print(pop.stat())
pop.close()
pop = connect()
print(pop.stat())
pop.dele(2)
pop.quit()
pop = connect()
print(pop.uidl()[1])
pop.quit()
"#;
    let Some(said) = python(script, &server) else { return };
    assert_eq!(
        said,
        [
            "['PIPELINING', 'TOP', 'UIDL', 'USER'] (2, 81) [b'1 41', b'2 40'] [b'1 1-1-000001', b'2 1-1-000002']",
            r"[b'Subject: odd', b'', b'.', b'..', b'.dot', b'\xe9\xff\x00', b'C\rR', b'']",
            "[b'Subject: two', b'To: bob', b'', b'one']",
            "(1, 40)",
            "(2, 81)",
            "[b'1 1-1-000001']",
        ]
    );
}

#[test]
fn curl_fetches_from_pop3_what_it_has_sent_to_smtp_sink() {
    let folder = Folder::new("curl");
    let (sink, mailbox) = (Example::start("smtp_sink", &[folder.path()]), Example::start("pop3", &[folder.path()]));
    let Some(curl) = stranger("curl", "curl") else { return };
    let files = Folder::new("files");
    let (sent, fetched) = (files.write("sent", ODD_MAIL), files.path().join("fetched"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&curl);
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]).args(arguments);
        Process::start(command).outcome()
    };
    let to = format!("smtp://127.0.0.1:{}", sink.port());
    let addresses = ["--mail-from", "ann@example.org", "--mail-rcpt", "bob@example.org"];
    let outcome = run(&[&addresses[..], &["--upload-file", sent.to_str().unwrap(), &to]].concat());
    assert_eq!(outcome, (Some(0), vec![]));
    let from = format!("pop3://127.0.0.1:{}/1", mailbox.port());
    let outcome = run(&["--user", "ann:secret", "--output", fetched.to_str().unwrap(), &from]);
    assert_eq!(outcome, (Some(0), vec![]));
    assert_eq!(fs::read(fetched).unwrap(), ODD_MAIL);
}

#[test]
fn policy_decides_when_a_request_is_complete() {
    let server = Example::start("policy", &[]);
    let mut postfix = server.connect();
    let request = |lines: &str| format!("request=smtpd_access_policy\n{lines}\n\n");
    let mut check = |lines: &str, action: &str| {
        postfix.send(request(lines)).expect(format!("action={action}\n\n"));
    };
    // That of Postfix's SMTPD_POLICY_README, in part.
    check(
        "protocol_state=RCPT\nprotocol_name=SMTP\nhelo_name=some.domain.tld\nqueue_id=8045F2AB23\n\
         sender=foo@bar.tld\nrecipient=bar@foo.tld\nrecipient_count=0\nclient_address=1.2.3.4\nsasl_method=",
        "DUNNO",
    );
    check("sender=eve@example.org\nhelo_name=there", "DEFER not today");
    check("sender=Eve@example.org\nhelo_name=localhost", "REJECT that is not your name");
    check("recipient=postmaster@example.org\nhelo_name=localhost", "OK");
    // A request knows nothing of the one before it.
    check("sender=eve@example.organic", "DUNNO");
    postfix.send("request=other\nhelo_name=localhost\n\n").expect_end();
    // It is not answered either, if a part of it is too long.
    server.connect().send(request(&("sender=".to_owned() + &"a".repeat(8192)))).expect_end();
}

#[cfg(unix)]
#[test]
fn postfix_asks_policy() {
    let Some(postconf) = stranger("postconf", "postfix") else { return };
    let ask = |program: &Path, arguments: &str| {
        let mut command = Command::new(program);
        command.args(arguments.split(' '));
        Process::start(command).outcome().1.concat()
    };
    let smtpd = ask(&postconf, "-dh daemon_directory") + "/smtpd";
    let (server, folder) = (Example::start("policy", &[]), Folder::new("policy"));
    // One that nobody has started asks for policies only if it runs as the owner of the mail. That
    // is whoever runs this test, but it must not be root.
    let user = ask(Path::new("id"), "-un");
    let (owner, run_as_owner) = match user.as_str() {
        "root" => ("postfix", "setpriv --reuid=postfix --regid=postfix --clear-groups"),
        user => (user, ""),
    };
    let config = format!(
        "compatibility_level = 3.6\nmail_owner = {owner}\nlocal_recipient_maps =\nsmtpd_delay_reject = no\n\
         smtpd_helo_restrictions = check_policy_service inet:127.0.0.1:{port}\n",
        port = server.port(),
    );
    folder.write("main.cf", config);
    let mut command = Command::new("sh");
    let talk = r"printf 'EHLO there\r\nEHLO localhost\r\nQUIT\r\n'";
    command.args(["-c", &format!("{talk} | {run_as_owner} {smtpd} -S")]).env("MAIL_CONFIG", folder.path());
    let (_, said) = Process::start(command).outcome();
    let refused = "554 5.7.1 <localhost>: Helo command rejected: that is not your name";
    assert!(said.iter().any(|line| line.starts_with("250-SIZE")), "{said:#?}");
    assert!(said.iter().any(|line| line.trim_end() == refused), "{said:#?}");
}

#[test]
fn memcached_keeps_any_bytes() {
    let server = Example::start("memcached", &[]);
    let mut client = server.connect();
    client.send("get k\r\nset k 7 0 8\r\na\r\n\0\nEND\r\nget k\r\n").expect("END\r\nSTORED\r\n");
    client.expect("VALUE k 7 8\r\na\r\n\0\nEND\r\nEND\r\n");
    client.send("set empty 4294967295 0 0\r\n\r\nget none k empty\r\n");
    client.expect("STORED\r\nVALUE k 7 8\r\na\r\n\0\nEND\r\nVALUE empty 4294967295 0\r\n\r\nEND\r\n");
    client.send("add k 0 0 1\r\nb\r\nreplace none 0 0 1\r\nb\r\nappend none 0 0 1\r\nb\r\nprepend none 0 0 1\r\nb\r\n");
    client.expect("NOT_STORED\r\n".repeat(4));
    client.send("replace k 1 0 2\r\n\r\n\r\nappend k 9 0 1\r\n>\r\nprepend k 9 0 1\r\n<\r\nget k\r\n");
    client.expect("STORED\r\nSTORED\r\nSTORED\r\nVALUE k 1 4\r\n<\r\n>\r\nEND\r\n");
    // Whoever has read an older version must not replace it.
    client.send("set v 0 0 1\r\n1\r\ngets v\r\n").expect("STORED\r\nVALUE v 0 1 6\r\n1\r\nEND\r\n");
    client.send("cas v 0 0 1 5\r\n2\r\ncas v 0 0 1 6\r\n3\r\ncas v 0 0 1 6\r\n4\r\ncas none 0 0 1 6\r\n5\r\nget v\r\n");
    client.expect("EXISTS\r\nSTORED\r\nEXISTS\r\nNOT_FOUND\r\nVALUE v 0 1\r\n3\r\nEND\r\n");
    client.send("incr v 18446744073709551615\r\ndecr v 3\r\nincr none 1\r\nincr v x\r\nincr k 1\r\n");
    client.expect("2\r\n0\r\nNOT_FOUND\r\nCLIENT_ERROR invalid numeric delta argument\r\n");
    client.expect("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    client.send("touch v 1000\r\nget v\r\ntouch v -1\r\nget v\r\ntouch v 0\r\nset old 0 1 1\r\n1\r\ntouch old 2592001\r\nget old\r\n");
    client.expect("TOUCHED\r\nVALUE v 0 1\r\n0\r\nEND\r\nTOUCHED\r\nEND\r\nNOT_FOUND\r\nSTORED\r\nTOUCHED\r\nEND\r\n");
    client.send("delete v\r\ndelete k\r\ndelete k 0\r\nflush_all\r\nget empty\r\nverbosity 1\r\nstats\r\n");
    client.expect("NOT_FOUND\r\nDELETED\r\nNOT_FOUND\r\nOK\r\nEND\r\nOK\r\nEND\r\n");
    client.send(
        "set q 0 0 1 noreply\r\n1\r\nadd q 0 0 1 noreply\r\n2\r\nincr q 4 noreply\r\ntouch q 0 noreply\r\nget q\r\n",
    );
    client.expect("VALUE q 0 1\r\n5\r\nEND\r\n");
    client.send("delete q noreply\r\nflush_all noreply\r\nverbosity 0 noreply\r\nget noreply\r\n").expect("END\r\n");
    client.send("version\r\n").expect(concat!("VERSION ", env!("CARGO_PKG_VERSION"), "\r\n"));
    client.send("quit\r\nget k\r\n").expect_end();
}

/// What a client announced as a value is never taken for commands.
#[test]
fn memcached_says_what_is_wrong() {
    let server = Example::start("memcached", &[]);
    let mut client = server.connect();
    client
        .send("\r\nget\r\nGET k\r\ntouch k\r\nquit now\r\nversion noreply\r\nverbosity\r\n")
        .expect("ERROR\r\n".repeat(7));
    let long = "k".repeat(251);
    let bad_format = "CLIENT_ERROR bad command line format\r\n";
    client.send(format!("get {long}\r\nincr {long} 1\r\n")).expect(bad_format.repeat(2));
    client.send(format!("set {long} 0 0 6\r\nquit\r\n\r\n")).expect(bad_format);
    client
        .send("set k x 0 6\r\nquit\r\n\r\nset k 0 x 6\r\nquit\r\n\r\ncas k 0 0 6\r\nquit\r\n\r\n")
        .expect(bad_format.repeat(3));
    client.send("set k 0 0 6 1\r\nquit\r\n\r\n").expect(bad_format);
    client.send("set k 0 0 3\r\nabcdeget k\r\n").expect("CLIENT_ERROR bad data chunk\r\nEND\r\n");
    let value = "quit\r\n".repeat(1 << 18);
    let (value, too_long) = (&value[..1 << 20], &value[..(1 << 20) + 1]);
    let too_large = "SERVER_ERROR object too large for cache\r\n";
    client.send(format!("set k 0 0 1048577\r\n{too_long}\r\nget k\r\n")).expect(too_large.to_owned() + "END\r\n");
    client.send(format!("set k 0 0 1048577 noreply\r\n{too_long}\r\nget k\r\n")).expect("END\r\n");
    client.send(format!("set k 0 0 1048576\r\n{value}\r\nget k\r\n"));
    client.expect(format!("STORED\r\nVALUE k 0 1048576\r\n{value}\r\nEND\r\n"));
    client.send("append k 0 0 1\r\na\r\nprepend k 0 0 1\r\na\r\n").expect(too_large.repeat(2));
    // More than 16 MiB in one reply are a miss.
    let values = format!("VALUE k 0 1048576\r\n{value}\r\n").repeat(16);
    client.send(format!("get{}\r\n", " k".repeat(1000))).expect(values + "END\r\n");
    server.connect().send("set k 0 0\r\nflush_all\r\n").expect("ERROR\r\n").expect_end();
    server.connect().send("set k 0 0 -1\r\nflush_all\r\n").expect("ERROR\r\n").expect_end();
    let line = "set k 0 0 11".to_owned() + &" ".repeat(1 << 16) + "\r\nflush_all\r\n\r\n";
    server.connect().send(line).expect("CLIENT_ERROR line too long\r\n").expect_end();
    client.send("delete k\r\n").expect("DELETED\r\n");
}

#[test]
fn memcached_begins_anew_when_it_is_full() {
    let server = Example::start("memcached", &[]);
    let mut client = server.connect();
    let value = "v".repeat(1 << 20);
    let set = |key: usize| format!("set {key} 0 0 1048576 noreply\r\n{value}\r\n");
    // Storing the same again fills nothing.
    (0..100).for_each(|_| _ = client.send(set(0)));
    (0..63).for_each(|key| _ = client.send(set(key)));
    client.send("touch 0 0\r\n").expect("TOUCHED\r\n");
    client.send(set(63)).send("touch 0 0\r\ntouch 62 0\r\ntouch 63 0\r\n");
    client.expect("NOT_FOUND\r\nNOT_FOUND\r\nTOUCHED\r\n");
}

/// Sends `input` cut in every two places, to be answered by `expected` and the end. The server has
/// read a piece when it answers the `ping` that another client sends behind it.
#[track_caller]
fn check_every_two_cuts(example: &str, ping: [&str; 2], input: &[u8], expected: &[u8]) {
    let server = Example::start(example, &[]);
    let mut other = server.connect();
    for first in 1..input.len() {
        for second in first..input.len() {
            let mut client = server.connect();
            for piece in [&input[..first], &input[first..second], &input[second..]] {
                client.send(piece);
                other.send(ping[0]).expect(ping[1]);
            }
            client.expect(expected).expect_end();
        }
    }
}

#[test]
fn memcached_is_the_same_wherever_the_network_cuts() {
    let input = b"set k 0 0 7\r\n\r\n\n\r\r\n\0\r\nget k\r\nset k 0 x 1\r\n\n\r\nquit\r\n";
    let expected = b"STORED\r\nVALUE k 0 7\r\n\r\n\n\r\r\n\0\r\nEND\r\nCLIENT_ERROR bad command line format\r\n";
    check_every_two_cuts("memcached", ["get none\r\n", "END\r\n"], input, expected);
}

#[test]
fn memccapable_finds_memcached_capable() {
    let Some(memccapable) = stranger("memccapable", "libmemcached-tools") else { return };
    let server = Example::start("memcached", &[]);
    let mut command = Command::new(memccapable);
    command.args(["-h", "127.0.0.1", "-p", &server.port().to_string(), "-a"]);
    let (code, said) = Process::start(command).outcome();
    assert_eq!(code, Some(0), "{said:#?}");
    assert_eq!(
        said.iter().filter(|line| line.starts_with("ascii ") && line.ends_with("[pass]")).count(),
        27,
        "{said:#?}"
    );
}

#[test]
fn pymemcache_reads_what_it_wrote() {
    let Some(mut python) = python_with("pymemcache==4.0.0") else { return };
    let server = Example::start("memcached", &[]);
    let script = r#"
import sys
from pymemcache.client.base import Client

client = Client(("127.0.0.1", int(sys.argv[1])))
values = {"bytes": bytes(range(256)), "lines": b"\r\nEND\r\n\0" * 1000, "long": b"\0\r\n\n" * (1 << 18), "empty": b""}
assert client.set_many(values, noreply=False) == []
assert client.get_many(values) == values
assert client.set_many({"lines": b"\n"}) == [] and client.get("lines") == b"\n"
value, version = client.gets("bytes")
assert client.cas("bytes", b"1\r\n", version) is True and client.cas("bytes", b"2", version) is False
assert client.append("bytes", b"\r", noreply=False) and client.get("bytes") == b"1\r\n\r"
assert client.add("bytes", b"", noreply=False) is False and client.replace("none", b"", noreply=False) is False
assert client.set("n", 41) and client.incr("n", 1) == 42 and client.decr("n", 50) == 0 and client.incr("none", 1) is None
assert client.touch("n", 1000, noreply=False) and client.delete("n", noreply=False) and client.get("n") is None
assert client.flush_all() and client.get_many(values) == {}
client.quit()
print("all is well")
"#;
    python.args(["-c", script, &server.port().to_string()]);
    assert_eq!(Process::start(python).outcome(), (Some(0), vec!["all is well".to_owned()]));
}

#[test]
fn redis_keeps_any_bytes() {
    let server = Example::start("redis", &[]);
    let mut client = server.connect();
    client
        .send("PING\r\nping hello\n\n   \r\n*1\r\n$4\r\nPiNg\r\n*0\r\n*-1\r\n")
        .expect("+PONG\r\n$5\r\nhello\r\n+PONG\r\n");
    client.send("*3\r\n$3\r\nSET\r\n$3\r\n\r\n\0\r\n$4\r\n*1\r\n\r\n").expect("+OK\r\n");
    client.send("*2\r\n$3\r\nGET\r\n$3\r\n\r\n\0\r\nget none\r\n").expect("$4\r\n*1\r\n\r\n$-1\r\n");
    client.send("*2\r\n$4\r\nECHO\r\n$0\r\n\r\necho $\r\n").expect("$0\r\n\r\n$1\r\n$\r\n");
    client.send("set a 1\r\nset b 2\r\nset a 3\r\nget a\r\n").expect("+OK\r\n".repeat(3) + "$1\r\n3\r\n");
    client.send("exists a b none a\r\ndel a none\r\ndel a\r\nexists a\r\n").expect(":3\r\n:1\r\n:0\r\n:0\r\n");
    client
        .send("incr n\r\nincrby n -9\r\nget n\r\nset n 9223372036854775807\r\n")
        .expect(":1\r\n:-8\r\n$2\r\n-8\r\n+OK\r\n");
    client.send("incr n\r\nset n x\r\nincr n\r\n").expect("-ERR increment or decrement would overflow\r\n+OK\r\n");
    client.expect("-ERR value is not an integer or out of range\r\n");
    client.send("select 0\r\nselect 1\r\n").expect("+OK\r\n-ERR DB index is out of range\r\n");
    client.send("config get save\r\nclient setinfo lib-name x\r\ncommand docs\r\n");
    client.expect("*2\r\n$4\r\nsave\r\n$0\r\n\r\n+OK\r\n*0\r\n");
    client.send("hello 3\r\nset a\r\n*1\r\n$4\r\n\r\nA\n\r\n");
    client.expect(
        "-ERR unknown command 'HELLO', or not with 1 words\r\n-ERR unknown command 'SET', or not with 1 words\r\n",
    );
    client.expect("-ERR unknown command '\\r\\nA\\n', or not with 0 words\r\n");
    client.send("quit\r\nping\r\n").expect("+OK\r\n").expect_end();
}

#[test]
fn redis_ends_where_it_cannot_tell_where_the_next_command_begins() {
    let server = Example::start("redis", &[]);
    let check = |sent: &str, error: &str| server.connect().send(sent).expect(format!("-ERR {error}\r\n")).expect_end();
    check("*x\r\nping\r\n", "Protocol error: invalid multibulk length");
    check("*+1\r\n$4\r\nping\r\n", "Protocol error: invalid multibulk length");
    check("*1\r\n$+4\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*1025\r\nping\r\n", "Protocol error: invalid multibulk length");
    check("*1\r\nping\r\nping\r\n", "Protocol error: expected '$'");
    check("*1\r\n$x\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*1\r\n$-1\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*1\r\n$1048577\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*1\r\n$18446744073709551615\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*2\r\n$4\r\nping\r\n$1048573\r\nping\r\n", "Protocol error: invalid bulk length");
    check("*1\r\n$3\r\nping\r\nping\r\n", "Protocol error: a bulk string does not end where it said");
    check(&("a".repeat(8193) + "\r\nping\r\n"), "line longer than 8192 bytes");
}

#[test]
fn redis_refuses_what_it_has_no_room_for() {
    let server = Example::start("redis", &[]);
    let mut client = server.connect();
    let value = "v".repeat((1 << 20) - 200);
    let set = |key: usize| format!("*3\r\n$3\r\nSET\r\n$2\r\n{key}\r\n${}\r\n{value}\r\n", value.len());
    // Storing the same again fills nothing.
    (0..100).for_each(|_| _ = client.send(set(10)).expect("+OK\r\n"));
    (10..73).for_each(|key| _ = client.send(set(key)).expect("+OK\r\n"));
    let full = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    client.send(set(73)).expect("+OK\r\n").send(set(74)).expect(full).send("exists 74\r\n").expect(":0\r\n");
    client.send("del 10\r\n").expect(":1\r\n").send(set(74)).expect("+OK\r\n");
}

#[test]
fn redis_is_the_same_wherever_the_network_cuts() {
    let input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\n\r\n\0\r\n\r\nget k\r\nquit\r\n";
    check_every_two_cuts("redis", ["get none\r\n", "$-1\r\n"], input, b"+OK\r\n$5\r\n\r\n\0\r\n\r\n+OK\r\n");
}

#[test]
fn redis_cli_reads_what_it_wrote() {
    let Some(redis_cli) = stranger("redis-cli", "redis-tools") else { return };
    let server = Example::start("redis", &[]);
    let check = |words: &[&str], said: &str| {
        let mut command = Command::new(&redis_cli);
        command.args(["-p", &server.port().to_string(), "--no-raw", "--quoted-input"]).args(words);
        command.stderr(Stdio::null());
        assert_eq!(Process::start(command).outcome(), (Some(0), vec![said.to_owned()]), "{words:?}");
    };
    check(&["ping"], "PONG");
    check(&["set", r#""k\r\n\x00""#, r#""\r\n$-1\r\n\x00\xff""#], "OK");
    check(&["get", r#""k\r\n\x00""#], r#""\r\n$-1\r\n\x00\xff""#);
    check(&["get", "none"], "(nil)");
    check(&["incr", "n"], "(integer) 1");
    // It asks for version 3 of the protocol, and goes on without.
    check(&["-3", "exists", "n"], "(integer) 1");
}

#[test]
fn redis_benchmark_finds_no_error() {
    let Some(redis_benchmark) = stranger("redis-benchmark", "redis-tools") else { return };
    let server = Example::start("redis", &[]);
    let mut command = Command::new(redis_benchmark);
    command.args(["-p", &server.port().to_string(), "--csv", "-P", "16", "-n", "20000", "-r", "100"]);
    command.args(["-t", "ping_inline,ping_mbulk,set,get,incr"]);
    let (code, said) = Process::start(command).outcome();
    assert_eq!(code, Some(0), "{said:#?}");
    let tests: Vec<_> = said.iter().skip(1).filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(tests, ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"], "{said:#?}");
}

#[test]
fn redis_py_reads_what_it_wrote() {
    let Some(mut python) = python_with("redis==8.1.0") else { return };
    let server = Example::start("redis", &[]);
    let script = r#"
import sys
from redis import Redis, ResponseError

client = Redis(port=int(sys.argv[1]), protocol=2)
pairs = {bytes(range(256)): b"\r\n", b"\r\n\0": b"*1\r\n$4\r\nPING\r\n\0" * 10000, b"": b"", "long": b"\r\n\n\0" * 262100}
for key, value in pairs.items():
    assert client.set(key, value) and client.get(key) == value
assert client.set("a", b"\r") and client.get("a") == b"\r" and client.get("none") is None
assert client.incr("n") == 1 and client.incr("n", 41) == 42
assert client.exists("a", "n", "none") == 2 and client.delete("a", "none") == 1 and client.echo(b"\0\r\n") == b"\0\r\n"
pipeline = client.pipeline(transaction=False)
for n in range(1000):
    pipeline.set(n % 7, b"\r\n" * n).get(n % 7)
assert pipeline.execute() == [reply for n in range(1000) for reply in (True, b"\r\n" * n)]
try:
    client.lpush("list", "a")
except ResponseError as error:
    print(error)
"#;
    python.args(["-c", script, &server.port().to_string()]);
    let said = "unknown command 'LPUSH', or not with 2 words".to_owned();
    assert_eq!(Process::start(python).outcome(), (Some(0), vec![said]));
}

/// The phone book in a file of this folder.
fn phonebook(folder: &Folder) -> Example {
    Example::start("phonebook", &[&folder.path().join("phonebook.db")])
}

#[test]
fn phonebook_finds_what_was_written_down_also_after_a_restart() {
    let folder = Folder::new("phonebook");
    let server = phonebook(&folder);
    let mut client = server.connect();
    client.send("get Ann\nget Bob\r\n").expect("555-0100\nerror: no such name\r\n");
    client.send("set Bob 555-0102\nget Bob\nset Bob 555-0103\nget Bob\n").expect("ok\n555-0102\nok\n555-0103\n");
    client.send("set Ann '\"%?\\\nset '); 1\nget Ann\nget ');\nget A%\n");
    client.expect("ok\nok\n'\"%?\\\n1\nerror: no such name\n");
    client.send("\nget\nget Ann now\nset Ann\nset Ann 1 2\nput Ann 1\nGET Ann\n");
    client.expect("error: say get NAME, or set NAME NUMBER\n".repeat(7));
    client.send(b"get \xFF\nset \0 \0\nget \0\n").expect(b"error: line is not valid UTF-8\nok\n\0\n");
    // Killed, and not asked to end.
    drop(server);
    phonebook(&folder).connect().send("get Bob\nget Zoe\n").expect("555-0103\n555-0199\n");
}

#[test]
fn phonebook_answers_each_of_many_clients_what_it_asked() {
    const CLIENTS: usize = 100;
    const LINES: usize = 20;
    let folder = Folder::new("phonebook-many");
    let server = phonebook(&folder);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for (client, number) in clients.iter_mut().zip(0..) {
        let lines = |line| format!("set {number} {line}\nget {number}\nget nobody\nset {number}.{line} {number}\n");
        client.send((0..LINES).map(lines).collect::<String>());
    }
    for client in &mut clients {
        client.expect((0..LINES).map(|line| format!("ok\n{line}\nerror: no such name\nok\n")).collect::<String>());
    }
    for (client, number) in clients.iter_mut().zip(0..) {
        client.send((0..LINES).map(|line| format!("get {}.{line}\n", CLIENTS - 1 - number)).collect::<String>());
    }
    for (client, number) in clients.iter_mut().zip(0..) {
        client.expect(format!("{}\n", CLIENTS - 1 - number).repeat(LINES));
    }
}

/// The other program is this test.
#[test]
fn phonebook_says_so_when_another_program_keeps_it_from_writing() {
    let folder = Folder::new("phonebook-locked");
    let server = phonebook(&folder);
    let other = rusqlite::Connection::open(folder.path().join("phonebook.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE; REPLACE INTO phonebook VALUES ('Ann', '1')").unwrap();
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for (client, number) in clients.iter_mut().zip(0..) {
        client.send(format!("set {number} 1\nget Ann\n"));
    }
    // Who only reads does not wait.
    server.connect().send("get Ann\nget 0\n").expect("555-0100\nerror: no such name\n");
    for client in &mut clients {
        client.expect("error: internal error\n555-0100\n");
    }
    other.execute_batch("COMMIT").unwrap();
    for (client, number) in clients.iter_mut().zip(0..) {
        client.send(format!("get Ann\nget {number}\nset {number} 2\nget {number}\n"));
        client.expect("1\nerror: no such name\nok\n2\n");
    }
}
