//! Every example does what it says: to a client that counts its bytes, and to the programs that
//! other people wrote.

mod kit;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kit::{Example, Folder, PATIENCE, Process, Upstream, stranger};

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
    use std::process::Stdio;

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
