//! Questions about a running server over HTTP, and from HAProxy's agent-check.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use greeter_server::{ExecStats, Greeter, ServerHandle, TaggedStats, WorkerInfo, admin};
use greeter_tests::client::{Client, PATIENCE, wait_until};
use greeter_tests::directory::TestDirectory;
use greeter_tests::puppet::Puppet;
use greeter_tests::{answered_by, builder, in_both_placements, missing_program, spawn};

/// Sooner than any test ends that waits for it.
const SOON: Duration = Duration::from_millis(50);

/// A response: its status, its fields in lower case, its body.
struct Response {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
}

/// Returns the response to these bytes, which must be all that comes.
#[track_caller]
fn exchange(admin: &ServerHandle, request: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(admin.local_addr());
    client.send(request);
    response(&client.rest())
}

#[track_caller]
fn response(bytes: &[u8]) -> Response {
    let text = String::from_utf8(bytes.to_vec()).expect("all of it is text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a response has a head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|rest| rest.get(..3));
    let fields = lines.map(|line| line.split_once(": ").expect("a field has a value"));
    Response {
        status: status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {head:?}")),
        fields: fields.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}

#[track_caller]
fn get(admin: &ServerHandle, path: &str) -> Response {
    exchange(admin, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

/// Returns the value of a metric, with its labels if it has some.
#[track_caller]
fn metric(admin: &ServerHandle, name: &str) -> f64 {
    let metrics = get(admin, "/metrics").body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("there is no {name} in {metrics}"))
}

fn admin_of(server: &ServerHandle) -> ServerHandle {
    spawn(admin::server(server))
}

#[test]
fn each_request_has_its_status() {
    let server = spawn(builder());
    let admin = admin_of(&server);
    let long = |bytes| "x".repeat(bytes);
    let fields = |count| "X: y\r\n".repeat(count);
    let cases: &[(String, u16)] = &[
        ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 200),
        ("GET / HTTP/1.0\r\n\r\n".into(), 200),
        ("GET / HTTP/1.0\n\n".into(), 200),
        ("\r\nGET /livez HTTP/1.1\r\nHost: 127.0.0.1:9090\r\n\r\n".into(), 200),
        ("GET /livez?verbose HTTP/1.1\r\nhost:[::1]:9090\r\n\r\n".into(), 200),
        ("GET http://localhost:9090/livez HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 200),
        ("GET HTTP://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 200),
        ("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 200),
        ("OPTIONS / HTTP/1.0\r\n\r\n".into(), 200),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".into(), 200),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 404),
        ("OPTIONS /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 404),
        ("HEAD / HTTP/2.0\r\n\r\n".into(), 505),
        ("\r\n\r\nGET / HTTP/1.0\r\n\r\n".into(), 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx".into(), 405),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n".into(), 400),
        ("GET /  HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET x HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("hello\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".into(), 505),
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(), 421),
        ("GET / HTTP/1.1\r\nHost: localhost:80@evil.example\r\n\r\n".into(), 421),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 421),
        (format!("GET /{} HTTP/1.1\r\n", long(5000)), 414),
        (format!("GET /{} HTTP/1.1\r\n", long(9000)), 414),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", long(7000)), 200),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n", long(9000)), 431),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", fields(63)), 200),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", fields(64)), 431),
    ];
    for (request, status) in cases {
        let response = exchange(&admin, request);
        let shown = &request[..request.len().min(80)];
        assert_eq!(response.status, *status, "{shown:?}");
        assert_eq!(response.fields["connection"], "close", "{shown:?}");
        let length: usize = response.fields["content-length"].parse().expect("a length is a number");
        let is_head = request.starts_with("HEAD");
        assert!(is_head && length > 0 && response.body.is_empty() || response.body.len() == length, "{shown:?}");
        let has_methods = *status == 405 || request.starts_with("OPTIONS");
        assert_eq!(response.fields.contains_key("allow"), has_methods, "{shown:?}");
    }
    // The same in the smallest pieces, and nothing behind a request is another.
    let mut client = Client::connect(admin.local_addr());
    for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /readyz HTTP/1.1\r\n" {
        client.send_if_taken([*byte]);
    }
    assert_eq!(response(&client.rest()).body, "alive\n");
    assert_eq!(admin.stats().responder_errors, 0);
}

#[test]
fn whoever_asks_too_slowly_is_told_so_and_whoever_says_nothing_is_not() {
    let server = spawn(builder());
    let admin = spawn(admin::server(&server).line_timeout(SOON).idle_timeout(SOON * 2));
    assert_eq!(exchange(&admin, "GET / HT").status, 408);
    assert_eq!(Client::connect(admin.local_addr()).rest(), b"");
    let mut half = Client::connect(admin.local_addr());
    half.send("GET / HTTP/1.1\r\n");
    assert_eq!(half.rest(), b"");
}

#[test]
fn a_request_that_always_goes_on_has_five_seconds_and_one_line() {
    let server = spawn(builder());
    let admin = admin_of(&server);
    let mut dribbling = Client::connect(admin.local_addr());
    dribbling.send("GET / HTTP/1.0\r\n");
    let mut fields = 0;
    while dribbling.hears_nothing_for(Duration::from_millis(200)) {
        dribbling.send_if_taken("X: y\r\n");
        fields += 1;
        assert!(fields < 60, "it goes on");
    }
    assert_eq!(response(&dribbling.rest()).status, 408);
}

#[test]
fn it_is_full_in_words() {
    let server = spawn(builder());
    let admin = spawn(admin::server(&server).max_connections(1));
    let _first = Client::connect(admin.local_addr());
    wait_until("it is served", || admin.stats().served == 1);
    let mut second = Client::connect(admin.local_addr());
    assert_eq!(response(&second.rest()).status, 503);
}

#[test]
fn a_server_is_ready_until_it_says_otherwise_pauses_or_stops() {
    let server = spawn(builder());
    let (admin, agent) = (admin_of(&server), spawn(admin::agent(&server)));
    let said = || {
        let ready = get(&admin, "/readyz");
        assert_eq!(exchange(&admin, "OPTIONS /readyz HTTP/1.0\r\n\r\n").status, ready.status);
        (ready.status, ready.body, Client::connect(agent.local_addr()).rest())
    };
    let is_ready = (200, "ready\n".to_owned(), b"ready up 100%\n".to_vec());
    let is_not = (503, "wants no new clients\n".to_owned(), b"drain\n".to_vec());
    assert_eq!(said(), is_ready);
    server.set_ready(false);
    assert_eq!(said(), is_not);
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.ask("Bob"), "Hello, Bob\n", "it goes on as before");
    drop(client);
    server.set_ready(true);
    assert_eq!(said(), is_ready);
    server.pause_accepting();
    assert_eq!(said(), is_not);
    server.resume_accepting();
    assert_eq!(said(), is_ready);
    server.shutdown(PATIENCE);
    assert_eq!(said(), (503, "stopping\n".to_owned(), b"drain\n".to_vec()));
    assert_eq!(get(&admin, "/livez").status, 200, "what has ended is not stuck");
}

#[test]
fn the_agent_says_how_much_is_free() {
    let server = spawn(builder().max_connections(4));
    let agent = spawn(admin::agent(&server));
    let mut clients = Vec::new();
    for free in ["100", "75", "50", "25", "1"] {
        wait_until("they are served", || server.stats().served == clients.len() as u64);
        assert_eq!(Client::connect(agent.local_addr()).text(), format!("ready up {free}%\n"));
        clients.push(Client::connect(server.local_addr()));
    }
}

#[test]
fn metrics_are_what_happened() {
    in_both_placements(|workers| {
        let server = spawn(answered_by(workers).max_connections(7).max_connections_per_address(None));
        let admin = admin_of(&server);
        let mut client = Client::connect(server.local_addr());
        client.send("Bob\nAnn\n");
        assert_eq!((client.text(), client.text()), ("Hello, Bob\n".into(), "Hello, Ann\n".into()));
        wait_until("they are counted", || server.stats().replies == 2);
        let value = |name: &str| metric(&admin, name);
        assert_eq!([value("greeter_connections"), value("greeter_connections_limit")], [1.0, 7.0]);
        assert_eq!([value("greeter_lines_total"), value("greeter_replies_total")], [2.0, 2.0]);
        assert_eq!([value("greeter_received_bytes_total"), value("greeter_sent_bytes_total")], [8.0, 22.0]);
        assert!(value("greeter_turnaround_seconds_count") >= 1.0);
        assert_eq!(value("greeter_turnaround_seconds_count"), value("greeter_reply_seconds_bucket{le=\"+Inf\"}"));
        assert!(value("greeter_turnaround_seconds_sum") >= value("greeter_reply_seconds_sum"));
        drop(client);
        wait_until("it is gone", || server.stats().closed == 1);
        assert_eq!(value("greeter_connections_closed_total{reason=\"client_closed\"}"), 1.0);
        assert_eq!(value("greeter_connections_closed_total{reason=\"idle_timeout\"}"), 0.0);
        let metrics = get(&admin, "/metrics");
        assert_eq!(metrics.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert!(!metrics.body.contains("per_address"), "a limit that is off is none");
        assert_eq!(metrics.body.contains("greeter_workers{state=\"idle\"}"), workers > 0);
    });
}

#[test]
fn a_job_that_waits_for_a_worker_is_in_the_queue_that_long() {
    let puppet = Arc::new(Puppet::default());
    let server = spawn(builder().workers(1).responder(Arc::clone(&puppet)));
    let mut first = Client::connect(server.local_addr());
    first.send("hang a\n");
    wait_until("a worker has it", || matches!(server.workers()[..], [WorkerInfo::Busy { .. }]));
    let mut second = Client::connect(server.local_addr());
    second.send("echo b\n");
    assert!(second.hears_nothing_for(SOON));
    puppet.release();
    assert_eq!((first.text(), second.text()), ("a\n".into(), "b\n".into()));
    let times = server.job_times();
    assert!(times.queue.sum() >= SOON / 2 && times.reply.sum() >= SOON / 2, "{times:?}");
    assert!(times.turnaround.sum() >= times.queue.sum() + times.reply.sum());
    let long = |histogram: greeter_server::Histogram| {
        let short = histogram.cumulative().take_while(|(bound, _)| *bound < SOON / 2).last();
        histogram.count() - short.map_or(0, |(_, count)| count)
    };
    assert!(long(times.queue) >= 1 && long(times.reply) >= 1, "{times:?}");
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    if missing_program("promtool", "prometheus") {
        return;
    }
    let server = spawn(builder().max_accept_rate(5000));
    for of_program in [|| admin::exec_metrics(&ExecStats::default()), || admin::tagged_metrics(&TaggedStats::default())]
        as [fn() -> String; 2]
    {
        let metrics = get(&spawn(admin::server_with(&server, of_program)), "/metrics").body;
        assert!(metrics.contains("\ngreeter_exec_failures_total{reason=\"late\"} 0\n"), "{metrics}");
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut promtool = promtool.spawn().expect("it starts");
        promtool.stdin.take().expect("it reads").write_all(metrics.as_bytes()).expect("it reads all");
        let said = promtool.wait_with_output().expect("it ends");
        assert!(said.status.success() && said.stderr.is_empty() && said.stdout.is_empty(), "{said:?}");
    }
}

#[test]
fn connections_are_listed_and_counted_by_phase() {
    let server = spawn(builder());
    let admin = admin_of(&server);
    let mut reading = Client::connect(server.local_addr());
    reading.send("Bo");
    let idle: Vec<_> = (0..2).map(|_| Client::connect(server.local_addr())).collect();
    wait_until("two are idle, and one has begun", || {
        let list = get(&admin, "/connections").body;
        list.contains(r#""phases":{"idle":2,"reading":1}"#) && list.contains(r#""total":3"#)
    });
    let list = get(&admin, "/connections");
    assert_eq!(list.fields["content-type"], "application/json");
    let address = reading.local_addr().to_string();
    let (_, rest) = list.body.split_once(&format!("\"address\":\"{address}\"")).expect("it is listed");
    let (connection, _) = rest.split_once('}').expect("an object ends");
    for part in [r#""lines":0"#, r#""phase":"reading""#, r#""received_bytes":2"#, r#""tls":false"#, r#""via":null"#] {
        assert!(connection.contains(part), "{part} is not in {connection}");
    }
    drop(idle);
}

#[test]
fn a_thread_that_is_stuck_for_ten_seconds_is_said_to_be_and_an_idle_one_never() {
    let puppet = Arc::new(Puppet::default());
    let stuck = spawn(builder().in_place().connection_threads(1).responder(Arc::clone(&puppet)));
    let idle = spawn(builder().in_place().connection_threads(1));
    let (admin_of_stuck, admin_of_idle) = (admin_of(&stuck), admin_of(&idle));
    let mut client = Client::connect(stuck.local_addr());
    client.send("hang a\n");
    wait_until("its line has come", || stuck.stats().bytes_received > 0);
    assert_eq!(get(&admin_of_stuck, "/livez").body, "alive\n", "the first question finds nobody stuck");
    wait_until("it is noticed", || {
        assert_eq!(get(&admin_of_idle, "/livez").status, 200);
        get(&admin_of_stuck, "/livez").status == 503
    });
    let said = get(&admin_of_stuck, "/livez").body;
    assert!(said.starts_with("greeter-conn-0 has given no sign of life for 1"), "{said:?}");
    puppet.release();
    assert_eq!(client.text(), "a\n");
    wait_until("it is alive again", || get(&admin_of_stuck, "/livez").status == 200);
}

#[test]
fn it_does_not_keep_the_server_running_and_has_its_last_figures() {
    let server = spawn(builder());
    let admin = admin_of(&server);
    let address = server.local_addr().as_inet().expect("it is TCP");
    let mut client = Client::connect(address);
    assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    drop(server);
    assert_eq!(client.rest(), b"");
    assert!(std::net::TcpStream::connect(address).is_err());
    assert_eq!([metric(&admin, "greeter_replies_total"), metric(&admin, "greeter_ready")], [1.0, 0.0]);
    let none = r#"{"connections":[],"phases":{},"silent_threads":0,"total":0}"#;
    assert_eq!(get(&admin, "/connections").body, none, "what has ended is not busy");
}

#[test]
fn one_address_alone_keeps_nobody_else_from_asking() {
    let server = spawn(builder());
    let admin = spawn(admin::server(&server).idle_timeout(None));
    let address = admin.local_addr().as_inet().expect("it is TCP");
    let silent: Vec<_> = (0..100).map(|_| Client::connect_from(IpAddr::from([127, 0, 1, 1]), address)).collect();
    wait_until("the others were sent away", || admin.stats().rejected == 84);
    assert_eq!(admin.stats().served, 16);
    assert_eq!(get(&admin, "/livez").status, 200);
    drop(silent);
}

#[test]
fn a_flood_of_questions_keeps_no_client_waiting_for_an_answer() {
    let server = spawn(builder());
    let admin = admin_of(&server);
    let address = admin.local_addr().as_inet().expect("it is TCP");
    let flood: Vec<_> = (0..200)
        .map(|number| {
            let asks = Client::connect_from(IpAddr::from([127, 0, 1, number]), address);
            asks.send_if_taken("GET /connections HTTP/1.1\r\nHost: localhost\r\n");
            asks
        })
        .collect();
    let mut client = Client::connect(server.local_addr());
    for _ in 0..100 {
        assert_eq!(client.ask("Bob"), "Hello, Bob\n");
    }
    assert!(admin.stats().served <= 64, "its own limit holds");
    assert_eq!(server.stats().rejected, 0);
    drop(flood);
    wait_until("it answers again", || {
        let mut asks = Client::connect(address);
        asks.send_if_taken("GET /livez HTTP/1.0\r\n\r\n");
        asks.rest().starts_with(b"HTTP/1.1 200 ")
    });
}

/// The types are what an embedder names.
#[test]
fn its_builder_is_a_builder_like_any_other() {
    let server = spawn(builder());
    let admin: greeter_server::Builder<admin::Admin> = admin::server(&server);
    let error = admin.max_connections(0).bind("127.0.0.1:0").expect_err("there is no such limit");
    assert_eq!(error.to_string(), "max_connections is 0, but must be from 1 to 10000000");
    let _: greeter_server::Builder<Greeter> = builder();
}

/// Returns the status that HAProxy has for each server of the backend `app`, in their order.
fn as_haproxy_sees_it(socket: &Path) -> Vec<String> {
    let Ok(mut stats) = UnixStream::connect(socket) else { return Vec::new() };
    stats.set_read_timeout(Some(PATIENCE)).expect("a socket can be set up");
    stats.write_all(b"show stat\n").expect("it listens");
    let mut said = String::new();
    stats.read_to_string(&mut said).expect("it answers");
    let of_servers = said.lines().filter(|line| line.starts_with("app,s"));
    of_servers.filter_map(|line| line.split(',').nth(17)).map(str::to_owned).collect()
}

#[test]
fn haproxy_checks_the_admin_server_and_follows_the_agent() {
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let server = spawn(builder());
    let (admin, agent) = (admin_of(&server), spawn(admin::agent(&server)));
    let port = |server: &ServerHandle| server.local_addr().port().expect("it is TCP");
    let (here, admin_port, agent_port) = (server.local_addr(), port(&admin), port(&agent));
    let directory = TestDirectory::new();
    let socket = directory.file("stats");
    let checks = [
        ("option httpchk GET /readyz", format!("check port {admin_port}")),
        ("option httpchk", format!("check port {admin_port}")),
        ("", format!("check agent-check agent-addr 127.0.0.1 agent-port {agent_port} agent-inter 50ms")),
    ];
    let mut haproxies = Vec::new();
    for (number, (option, check)) in checks.iter().enumerate() {
        let stats = socket.with_extension(number.to_string());
        let configuration = format!(
            "global\n stats socket {}\ndefaults\n mode tcp\n timeout connect 5s\n timeout server 5s\n timeout client 5s\n\
             backend app\n {option}\n server s {here} {check} inter 50ms fall 1 rise 1\n",
            stats.display()
        );
        let file = directory.file(format!("haproxy{number}.cfg"));
        std::fs::write(&file, configuration).expect("the folder is ours");
        let mut haproxy = Command::new("haproxy");
        haproxy.arg("-db").arg("-q").arg("-f").arg(file).stdout(Stdio::null()).stderr(Stdio::null());
        haproxies.push((stats, Killed(haproxy.spawn().expect("it starts"))));
    }
    let seen = || haproxies.iter().flat_map(|(stats, _)| as_haproxy_sees_it(stats)).collect::<Vec<_>>();
    wait_until("all find it well", || seen() == ["UP", "UP", "UP"]);
    server.set_ready(false);
    // Whoever asks no more than whether somebody is there hears that.
    wait_until("all know that it wants nobody", || seen() == ["DOWN", "UP", "DRAIN (agent)"]);
    server.set_ready(true);
    wait_until("all find it well again", || seen() == ["UP", "UP", "UP"]);
}

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
