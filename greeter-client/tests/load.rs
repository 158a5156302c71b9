//! Loads, against servers whose every fault is known.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "kit/crowd.rs"]
mod crowd;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::load::{self, Assertion, Lines, Load, LoadError, ReplyEnd, Report, Time};
use greeter_client::talk::{Script, Template};

const MS: Duration = Duration::from_millis(1);

/// No test waits for longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that has `session` with each of its clients, as long as the test runs.
fn serve_all(session: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    let session = Arc::new(session);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, session) = (stream.unwrap(), Arc::clone(&session));
            stream.set_nodelay(true).unwrap();
            // A load that is stopped leaves without a word, which is none of the server's faults.
            thread::spawn(move || session(stream));
        }
    });
    address
}

/// Answers each line, counted from 0 on each connection, with some bytes.
fn answering(reply: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> ServerAddress {
    serve_all(move |stream| {
        let mut input = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        for number in 0.. {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                break;
            }
            (&stream).write_all(reply(number, line.trim_end_matches('\n')).as_bytes())?;
        }
        Ok(())
    })
}

fn greeter() -> ServerAddress {
    answering(|_, name| format!("Hello, {name}\n"))
}

/// A short load of `lines`, of which each is to be greeted.
fn load_of(target: ServerAddress, lines: &[&str]) -> Load {
    let mut lines = Lines::new(lines.iter().map(|line| line.parse().unwrap()));
    lines.expect = vec!["Hello, {{line}}".parse().unwrap()];
    let mut load = Load::lines(target, lines);
    (load.connections, load.warmup, load.duration) = (3, Duration::ZERO, 100 * MS);
    load
}

fn expecting(mut load: Load, expect: &str) -> Load {
    let load::LoadContent::Lines(lines) = &mut load.content else { panic!("not a load of lines") };
    lines.expect = (!expect.is_empty()).then(|| expect.parse().unwrap()).into_iter().collect();
    load
}

fn at_rate(mut load: Load, rate: &str) -> Load {
    load.rate = Some(rate.parse().unwrap());
    load
}

fn run(load: Load) -> Report {
    load::start(load).unwrap().finish().unwrap()
}

#[track_caller]
fn holds(report: &Report, assertions: &[&str]) {
    for text in assertions {
        let verdict = text.parse::<Assertion>().unwrap().check(report);
        assert!(verdict.holds, "{text}, but it is {}\n{report}", verdict.measured);
    }
}

fn took(time: Option<Time>) -> Duration {
    match time {
        Some(Time::After(time)) => time,
        other => panic!("{other:?} is no time"),
    }
}

// Right replies.

#[test]
fn a_closed_loop_gets_a_right_reply_to_every_line() {
    for (pipeline, threads) in [(1, 1), (7, 2), (300, 3)] {
        let mut load = load_of(greeter(), &["guest {{#}}", "", "and a longer one, from {{#}}"]);
        (load.pipeline, load.threads) = (pipeline, threads);
        let report = run(load);
        holds(&report, &["errors=0", "rate>0/s", "max<1h"]);
        assert_eq!(report.latency().lines(), report.sent(), "{report}");
        assert!(report.sent() >= 3 * pipeline as u64);
        assert!(report.to_string().starts_with("closed loop: 3 connections"), "{report}");
    }
}

#[test]
fn an_open_loop_sends_as_many_lines_as_its_rate_says() {
    for (rate, duration, connections, pipeline, threads, lines) in
        [("1/s", 1001 * MS, 3, 1, 1, 2), ("1/s", 1001 * MS, 5, 1, 5, 2), ("100000/s", 100 * MS, 4, 64, 3, 10_000)]
    {
        let mut load = at_rate(load_of(greeter(), &["guest {{#}}"]), rate);
        (load.duration, load.connections, load.pipeline, load.threads) = (duration, connections, pipeline, threads);
        let report = run(load);
        holds(&report, &["errors=0"]);
        assert_eq!((report.sent(), report.latency().lines(), report.service().lines()), (lines, lines, lines));
    }
}

#[test]
fn what_is_due_in_the_warm_up_is_sent_and_not_measured() {
    let mut load = at_rate(load_of(greeter(), &["Bob"]), "100/s");
    (load.warmup, load.duration) = (500 * MS, 200 * MS);
    let report = run(load);
    holds(&report, &["errors=0"]);
    assert_eq!((report.sent(), report.latency().lines()), (70, 20));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert!((20..70).contains(&json["right"].as_u64().unwrap()), "{json}");
}

#[test]
fn replies_are_matched_with_patterns_too() {
    let target = answering(|number, name| format!("{number}: Hello, {name}!\n"));
    for expect in ["{{*}}Hello, {{line}}!", r"{{:\d+}}: Hello, {{line}}!", r"{{*}}guest {{#}}!", ""] {
        let mut load = expecting(load_of(target.clone(), &["guest {{#}}"]), expect);
        load.pipeline = 5;
        let report = run(load);
        holds(&report, &["errors=0", "rate>0/s"]);
    }
    let report = run(expecting(load_of(target, &["guest {{#}}"]), r"{{:\d}}: Hello, Rob!"));
    assert_eq!(report.errors(), report.sent());
}

#[test]
fn with_crlf_a_reply_may_end_with_lf_alone() {
    let target = answering(|number, name| {
        assert!(name.ends_with('\r'));
        format!("Hello, {}{}", name.trim_end(), if number % 2 == 0 { "\r\n" } else { "\n" })
    });
    let mut load = load_of(target, &["Bob"]);
    load.eol = greeter_client::Eol::CrLf;
    holds(&run(load), &["errors=0", "rate>0/s"]);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_can_be_loaded() {
    let path = std::env::temp_dir().join(format!("greeter-load-{}.sock", std::process::id()));
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    let report = run(expecting(load_of(ServerAddress::unix(&path), &["Bob"]), "{{line}}"));
    std::fs::remove_file(&path).unwrap();
    holds(&report, &["errors=0", "rate>0/s"]);
}

// Replies of several lines.

/// As memcached answers `get`: a value if there is one, and an end.
fn storing() -> ServerAddress {
    answering(|_, key| match key {
        "error" => "ERROR\n".to_owned(),
        "none" => "END\n".to_owned(),
        key => format!("VALUE {key} 0 {}\n{key}\nEND\n", key.len()),
    })
}

/// A load of `lines`, on one connection, whose replies have these lines.
fn load_of_replies(target: ServerAddress, lines: &[&str], expect: &[&str], end: ReplyEnd) -> Load {
    let mut load = counted(load_of(target, lines), 30);
    load.connections = 1;
    let load::LoadContent::Lines(lines) = &mut load.content else { panic!("not a load of lines") };
    lines.expect = expect.iter().map(|line| line.parse().unwrap()).collect();
    lines.reply_end = end;
    load
}

fn until(end: &str) -> ReplyEnd {
    ReplyEnd::Until(end.parse().unwrap())
}

fn lines(count: usize) -> ReplyEnd {
    ReplyEnd::Lines(count.try_into().unwrap())
}

#[test]
fn replies_of_several_lines_are_one_reply_each() {
    let value = r"VALUE {{line}} 0 {{:\d+}}";
    for (expect, end, uncompared, replies) in [
        (&[value, "{{line}}", "END"][..], ReplyEnd::Expected, 0, format!("'{value}', '{{{{line}}}}', 'END'\n")),
        (&["VALUE {{line}} 0 1", "{{line}}", "END"], ReplyEnd::Expected, 0, "'END'\n".to_owned()),
        (&[value, "{{line}}", "END"], until("END"), 0, "'END'; each to the line 'END'\n".to_owned()),
        (&[value], lines(3), 60, "; 3 lines each; 60 lines of them not compared\n".to_owned()),
        (&[value], until("END"), 30, "; each to the line 'END'; 30 lines of them not compared\n".to_owned()),
    ] {
        for pipeline in [1, 7] {
            let mut load = load_of_replies(storing(), &["a", "b"], expect, end.clone());
            load.pipeline = pipeline;
            let report = run(load);
            holds(&report, &["errors=0"]);
            assert_eq!((report.sent(), report.latency().lines()), (30, 30), "{report}");
            assert!(report.to_string().contains(&replies), "{replies} in {report}");
            let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
            assert_eq!(json["lines_not_compared"], uncompared, "{json}");
        }
    }
    let report = run(load_of_replies(storing(), &["a"], &[], lines(3)));
    holds(&report, &["errors=0"]);
    assert!(report.to_string().contains("there is no expectation; 3 lines each\n"), "{report}");
}

/// The last line of each comes when the server is asked to go on, and no sooner than after 20 ms.
#[test]
fn a_reply_has_come_when_its_last_line_has() {
    let target = serve_all(|mut stream| {
        for line in BufReader::new(stream.try_clone()?).lines() {
            line?;
            stream.write_all(b"VALUE\n")?;
            thread::sleep(20 * MS);
            stream.write_all(b"END\n")?;
        }
        Ok(())
    });
    for end in [ReplyEnd::Expected, until("END")] {
        let mut load = load_of_replies(target.clone(), &["a"], &["VALUE", "END"], end);
        load.count = Some(5);
        let report = run(load);
        holds(&report, &["errors=0"]);
        assert!(took(report.latency().quantile(0.0)) >= 20 * MS, "{report}");
    }
}

#[test]
fn what_is_wrong_in_a_reply_is_told_by_its_line() {
    for (expect, end, message) in [
        (&["VALUE {{line}} 0 1", "b", "END"][..], ReplyEnd::Expected, "came 'a' as line 2 of the reply to 'a'\n"),
        (&["VALUE {{line}} 0 1", "{{:b}}"], until("END"), "came 'a' as line 2 of the reply to 'a'\n"),
        (
            &["VALUE {{line}} 0 1", "{{*}}", "END", "END"],
            until("END"),
            "the reply to 'a' ended with its line 3, 'END': more were expected\n",
        ),
    ] {
        let report = run(load_of_replies(storing(), &["a"], expect, end));
        holds(&report, &["errors=30", "errors=100%"]);
        assert!(report.to_string().contains(&format!("first: connection 1: {message}")), "{message} in {report}");
    }
}

/// Whatever ends it has to be named, or all that follows is shifted.
#[test]
fn an_error_in_place_of_a_reply_ends_it_if_it_is_named() {
    let end = until("{{:END|.*ERROR.*}}");
    let report = run(load_of_replies(storing(), &["a", "error", "none"], &["VALUE {{line}} {{*}}"], end));
    holds(&report, &["errors=20", "errors>66%", "errors<67%"]);
    assert!(report.to_string().contains("came 'ERROR' as line 1 of the reply to 'error'"), "{report}");
}

/// It is cut by the server's end, or by ours: when it is late.
#[test]
fn a_reply_that_never_ends_is_told_with_its_first_line() {
    let closing = serve_all(|mut stream| {
        BufReader::new(stream.try_clone()?).lines().next();
        stream.write_all(b"VALUE a 0 1\na\nEND\n")
    });
    let begun = "behind 3 lines of the reply to 'a', which begins with 'VALUE a 0 1'\n";
    for (target, loss) in
        [(closing, "the server closed the connection in the middle of a reply"), (storing(), "no reply in time")]
    {
        for (expect, end) in
            [(&[][..], until("DONE")), (&["VALUE a 0 1", "a", "END", "x"], ReplyEnd::Expected), (&["{{*}}"], lines(4))]
        {
            let mut load = load_of_replies(target.clone(), &["a"], expect, end);
            (load.count, load.timeout) = (Some(1), Some(Duration::from_secs(1)));
            let report = run(load);
            holds(&report, &["errors=2", "errors=100%"]);
            let text = report.to_string();
            assert!(text.contains(&format!("first: connection 1: {loss}, {begun}")), "{text}");
            assert!(text.contains(&format!(": {loss}\n")), "{text}");
        }
    }
}

// Nothing expected.

#[test]
fn a_load_that_compares_nothing_says_so_first_and_counts_what_looks_like_an_error() {
    let target =
        answering(|number, _| if number % 5 == 4 { "error: no <such> \u{1b}thing\n" } else { "Hello\n" }.to_owned());
    for end in [ReplyEnd::Expected, until("{{*}}")] {
        let report = run(load_of_replies(target.clone(), &["Bob"], &[], end));
        holds(&report, &["errors=0"]);
        let text = report.to_string();
        assert!(text.starts_with("closed loop, nothing compared: 1 connection to "), "{text}");
        let suspects = "\n    6 look like an error\n      first: connection 1: came 'error: no <such> \\ething' in reply to 'Bob'\n";
        assert!(text.contains(suspects), "{text}");
        let warning = "nothing was compared, and of the lines that came 6 look like an error: say what is expected";
        assert!(report.warnings().iter().any(|said| said == warning), "{:?}", report.warnings());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!((&json["lines_like_errors"], &json["lines_not_compared"]), (&6.into(), &serde_json::Value::Null));
        assert!(
            report.to_html().contains("<pre>first: connection 1: came 'error: no &lt;such&gt; "),
            "{}",
            report.to_html()
        );
    }
    let compared = run(load_of_replies(target, &["Bob"], &["{{*}}"], ReplyEnd::Expected));
    assert!(compared.to_string().starts_with("closed loop: 1 connection"), "{compared}");
    assert!(!compared.to_string().contains("like an error"), "{compared}");
}

// Before the load.

fn before(mut load: Load, script: &str) -> Load {
    load.before = Some(Script::parse("before.talk", script).unwrap());
    load
}

/// A server that greets, gives a token to whoever says which guest it is, and answers to those who
/// have one; with what it greets, and a look at who is through with that and who asks.
fn guarding(greeting: &'static str, seen: impl Fn(bool) + Send + Sync + 'static) -> ServerAddress {
    serve_all(move |mut stream| {
        stream.write_all(greeting.as_bytes())?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let guest = lines.next().transpose()?.unwrap_or_default();
        seen(false);
        stream.write_all(format!("token <{guest}>\n").as_bytes())?;
        for line in lines {
            seen(true);
            let line = line?;
            let reply = match line.strip_prefix(&format!("<{guest}> ")) {
                Some(name) => format!("Hello, {name}\n"),
                None => format!("error: {line} is not of {guest}\n"),
            };
            stream.write_all(reply.as_bytes())?;
        }
        Ok(())
    })
}

const LOGIN: &str = "< 220 {{host}}\n> guest {{#}}\n< token {{token}}\n";

/// Each of 40 connections has a token of its own, and the first reply of each is checked like any
/// other: nobody else has read it.
#[test]
fn a_script_runs_on_each_connection_before_the_load_and_what_it_captures_has_a_value_there() {
    const CONNECTIONS: usize = 40;
    for (line, expect, threads, pipeline) in [
        ("{{token}} Bob", "Hello, Bob", 1, 1),
        ("<guest {{#}}> {{host}}", "Hello, {{host}}", 2, 5),
        ("<guest {{#}}> {{#}}", "{{*}}, {{#}}", 3, 1),
    ] {
        let through = std::sync::atomic::AtomicUsize::new(0);
        let (told, early) = std::sync::mpsc::channel();
        let told = std::sync::Mutex::new(told);
        let target = guarding("220 example\n", move |is_load| {
            let order = std::sync::atomic::Ordering::SeqCst;
            if !is_load {
                through.fetch_add(1, order);
            } else if through.load(order) < CONNECTIONS {
                told.lock().unwrap().send(through.load(order)).unwrap();
            }
        });
        let mut load = before(counted(expecting(load_of(target, &[line]), expect), 400), LOGIN);
        (load.connections, load.threads, load.pipeline) = (CONNECTIONS, threads, pipeline);
        let report = run(load);
        holds(&report, &["errors=0"]);
        assert_eq!(report.latency().lines(), 400, "{report}");
        assert_eq!(early.try_iter().next(), None, "a line was sent before all were through");
    }
}

#[test]
fn a_script_that_fails_on_any_connection_is_no_load() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let target = guarding("220 example\n", move |is_load| told.lock().unwrap().send(is_load).unwrap());
    for (script, report) in [
        // The second of three.
        ("< 220 {{*}}\n> guest {{#}}\n< {{:token <guest [13]>}}\n", "- < {{:token <guest [13]>}}"),
        // All of them, by what is left.
        ("< 220 {{host}}\n> guest {{#}}\n<\"token \"\n", "with nothing unread, but the bytes \"<guest 1>\\n\" came"),
        ("< 220 {{*}}\n> guest {{#}}\n<\"x\"\n", "- <\"x\""),
        ("> {{nobody}}\n", "{{nobody}} has no value yet"),
        ("require server\n", "it was skipped: this run has no server of its own"),
    ] {
        let error = load::start(before(load_of(target.clone(), &["Bob"]), script)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LoadError::BeforeFailed { .. }), "{text}");
        assert!(text.contains(report), "{report} in {text}");
        assert!(!error.is_usage() && !error.is_connecting());
    }
    let gone = serve_all(|mut stream| stream.write_all(b"220 example\n"));
    let error = load::start(before(load_of(gone, &["Bob"]), "< 220 {{*}}\n")).unwrap_err().to_string();
    assert!(error.contains("with nothing unread, but the server closed the connection"), "{error}");
    assert!(heard.try_iter().all(|is_load| !is_load), "nothing was sent");
}

/// It would be taken for a reply.
#[test]
fn what_is_unread_behind_the_script_is_no_load() {
    for rest in ["more\n", "m", "\n", "more\nand more\n"] {
        let target = serve_all(move |mut stream| {
            stream.write_all(format!("220 example\n{rest}").as_bytes())?;
            std::io::copy(&mut &stream, &mut std::io::sink()).map(drop)
        });
        let error = load::start(before(load_of(target, &["Bob"]), "< 220 {{*}}\n")).unwrap_err().to_string();
        assert!(error.contains("it is to be open, with nothing unread, but the bytes"), "{rest:?}: {error}");
    }
}

/// Nobody waits until it is silent.
#[test]
fn a_server_that_never_stops_talking_is_no_load() {
    let target = serve_all(|mut stream| {
        stream.write_all(b"220 example\n")?;
        while stream.write_all(b"more\n").is_ok() {}
        Ok(())
    });
    let error = load::start(before(load_of(target, &["Bob"]), "< 220 {{*}}\n")).unwrap_err().to_string();
    assert!(error.contains("it is to be open, with nothing unread, but the bytes"), "{error}");
}

#[test]
fn what_a_script_may_not_do_before_a_load_is_refused_at_its_line() {
    let nowhere: ServerAddress = "127.0.0.1:9".parse().unwrap();
    for (script, why) in [
        ("> a\nbob> b\n", "'bob> b' cannot stand before a load: before a load there is one connection, without a name"),
        ("> a\nconnect c x2\n", "'connect c x2' cannot stand before a load: before a load there is one connection"),
        ("> a\nc< b\n", "'c< b' cannot stand before a load: before a load there is one connection, without a name"),
        (
            "set a = b\nconnect\n",
            "'connect' cannot stand before a load: the connection is that of the load, and open already",
        ),
        ("> a\n>eof\n", "'>eof' cannot stand before a load: the connection stays open for the load"),
        ("> a\n<eof\n", "'<eof' cannot stand before a load: the connection stays open for the load"),
        ("> a\n<closed\n", "'<closed' cannot stand before a load: the connection stays open for the load"),
        ("> a\n>reset\n", "'>reset' cannot stand before a load: the connection stays open for the load"),
        ("> a\nabandon\n", "'abandon' cannot stand before a load: the connection stays open for the load"),
        ("> a\nexits 0\n", "'exits 0' cannot stand before a load: a load has no server of its own"),
    ] {
        let error = load::start(before(load_of(nowhere.clone(), &["Bob"]), script)).unwrap_err();
        let text = error.to_string();
        assert!(error.is_usage() && text.starts_with(&format!("before.talk:2: {why}")), "{text}");
    }
    let target = guarding("220 example\n", |_| {});
    let error = load::start(before(load_of(target, &["{{tokken}}"]), LOGIN)).unwrap_err();
    assert!(matches!(error, LoadError::Unbound(_)), "{error}");
}

// So many.

fn counted(mut load: Load, count: u64) -> Load {
    load.count = Some(count);
    // Nobody asks for it.
    load.duration = Duration::ZERO;
    load
}

fn once(mut load: Load) -> Load {
    let load::LoadContent::Lines(lines) = &mut load.content else { panic!("not a load of lines") };
    lines.once = true;
    load
}

/// A greeter that tells what it was asked, on which of its connections.
fn telling() -> (ServerAddress, impl Fn() -> Vec<(usize, String)>) {
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (told, clients) = (Arc::clone(&heard), std::sync::atomic::AtomicUsize::new(0));
    let target = serve_all(move |stream| {
        let client = clients.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        for line in BufReader::new(stream.try_clone()?).lines() {
            let line = line?;
            told.lock().unwrap().push((client, line.clone()));
            (&stream).write_all(format!("Hello, {line}\n").as_bytes())?;
        }
        Ok(())
    });
    (target, move || heard.lock().unwrap().clone())
}

#[test]
fn a_load_of_so_many_lines_sends_just_these() {
    for (count, pipeline, threads, rate) in
        [(1, 1, 1, None), (2, 5, 1, None), (100, 1, 2, None), (1000, 7, 3, None), (40, 2, 1, Some("1000/s"))]
    {
        let (target, heard) = telling();
        let mut load = counted(load_of(target, &["guest {{#}}"]), count);
        (load.pipeline, load.threads) = (pipeline, threads);
        let report = run(rate.map_or(load.clone(), |rate| at_rate(load, rate)));
        holds(&report, &["errors=0", "rate>0/s", "max<1h"]);
        assert_eq!((report.sent(), report.latency().lines(), heard().len() as u64), (count, count, count), "{report}");
        assert_eq!(report.connections_lost(), 0);
        assert!(
            report.warnings().iter().all(|warning| warning.starts_with("the generator")),
            "{:?}",
            report.warnings()
        );
        let lines = if count == 1 { "1 line".to_owned() } else { format!("{count} lines").replace("1000", "1,000") };
        assert!(report.to_string().contains(&format!(" on each, {lines} in all, in ")), "{report}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!((&json["count"], &json["complete"]), (&count.into(), &true.into()));
    }
}

/// It has ended long before the second one would be due, and an hour has one line.
#[test]
fn the_rate_of_a_counted_open_loop_is_that_of_its_plan() {
    let mut load = at_rate(counted(load_of(greeter(), &["Bob"]), 1), "1/h");
    load.timeout = None;
    let report = run(load);
    holds(&report, &["errors=0", "rate>0/s", "rate<0.01/s"]);
    assert_eq!(report.latency().lines(), 1);
}

#[test]
fn a_warm_up_that_was_asked_for_is_part_of_the_count() {
    let mut load = at_rate(counted(load_of(greeter(), &["Bob"]), 70), "100/s");
    load.warmup = 500 * MS;
    let report = run(load);
    holds(&report, &["errors=0"]);
    assert_eq!((report.sent(), report.latency().lines()), (70, 20), "{report}");
    assert!(report.to_string().contains(" s, of which 0.5 s of warm-up\n"), "{report}");
}

#[test]
fn each_line_is_sent_once_and_the_kth_on_connection_k_modulo_their_number() {
    for (connections, pipeline, threads, rate) in
        [(1, 1, 1, None), (3, 1, 1, None), (7, 4, 3, None), (150, 1, 2, None), (3, 2, 1, Some("2000/s"))]
    {
        let (target, heard) = telling();
        let all: Vec<String> =
            (0..100).map(|number| format!("line {number} on {}", number % connections + 1)).collect();
        let lines: Vec<String> = (0..100).map(|number| format!("line {number} on {{{{#}}}}")).collect();
        let mut load = once(load_of(target, &lines.iter().map(String::as_str).collect::<Vec<_>>()));
        (load.connections, load.pipeline, load.threads) = (connections, pipeline, threads);
        let report = run(rate.map_or(load.clone(), |rate| at_rate(load, rate)));
        holds(&report, &["errors=0", "rate>0/s"]);
        let mut heard = heard();
        let mut sent: Vec<String> = heard.iter().map(|(_, line)| line.clone()).collect();
        sent.sort();
        let mut expected = all.clone();
        expected.sort();
        assert_eq!(sent, expected, "{report}");
        // Whichever client of the server that was: its lines are those of one connection, in order.
        heard.sort_by_key(|(client, _)| *client);
        for client in heard.chunk_by(|one, other| one.0 == other.0) {
            let number = |line: &str| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap();
            let first = number(&client[0].1);
            let own: Vec<usize> = (first..100).step_by(connections).collect();
            assert_eq!(client.iter().map(|(_, line)| number(line)).collect::<Vec<_>>(), own);
        }
    }
}

/// Each connection has one reply and is closed: the rest of its share can go nowhere.
#[test]
fn what_a_lost_connection_leaves_of_a_count_is_an_error() {
    for (rate, is_once) in [(None, false), (None, true), (Some("1000/s"), true)] {
        let lines = ["Bob"; 10];
        let mut load = if is_once { once(load_of(dying(), &lines)) } else { counted(load_of(dying(), &["Bob"]), 10) };
        load.connections = 2;
        let report = run(rate.map_or(load.clone(), |rate| at_rate(load, rate)));
        // Two right ones, two connections, and eight lines that were in flight or never sent.
        holds(&report, &["errors=10", "errors=80%", "p20<1h", "p21>1h"]);
        assert_eq!((report.latency().lines(), report.connections_lost()), (10, 2), "{report}");
        assert!(report.knows_what_is_due());
        let warnings = report.warnings();
        assert!(warnings.iter().any(|warning| warning.ends_with("when no connection was left")), "{warnings:?}");
        assert!(!warnings.iter().any(|warning| warning.starts_with("connections lost")), "{warnings:?}");
    }
}

/// The server closes behind the last of them.
#[test]
fn a_connection_that_has_nothing_left_to_send_may_go() {
    let mut load = counted(load_of(dying(), &["Bob"]), 2);
    load.connections = 2;
    let report = run(load);
    assert_eq!((report.latency().lines(), report.connections_lost()), (2, 0), "{report}");
    holds(&report, &["max<1h"]);
}

#[test]
fn so_many_scripts_run() {
    let script = Script::parse("hello.talk", "> Bob\n< Hello, Bob\n").unwrap();
    for (count, rate) in [(1, None), (7, None), (5, Some("1000/s"))] {
        let (target, heard) = telling();
        let mut load = counted(Load::scripts(target, vec![script.clone()]), count);
        (load.connections, load.warmup) = (3, Duration::ZERO);
        let report = run(rate.map_or(load.clone(), |rate| at_rate(load, rate)));
        holds(&report, &["errors=0", "rate>0/s"]);
        assert_eq!((report.latency().lines(), heard().len() as u64), (count, count), "{report}");
    }
    // Beside the look whether there is a server, three can connect.
    let mut load = counted(Load::scripts(crowd::greeter_for(4), vec![script]), 10);
    (load.connections, load.warmup) = (2, Duration::ZERO);
    let report = run(load);
    holds(&report, &["errors=7", "p30<1h", "p31>1h"]);
    // The system may take some for a server that is about to go.
    assert!(report.to_string().contains(" due and never sent\n"), "{report}");
}

// The truth about slowness.

/// The server answers, but for one line in the middle, for which it stops for 300 ms.
#[test]
fn a_stall_shows_in_the_response_times_of_all_who_had_to_wait() {
    const STALL: Duration = Duration::from_millis(300);
    let target = answering(|number, name| {
        if number == 20 {
            thread::sleep(STALL);
        }
        format!("Hello, {name}\n")
    });
    let mut load = at_rate(load_of(target, &["Bob"]), "1000/s");
    (load.connections, load.duration) = (1, 500 * MS);
    let report = run(load);
    holds(&report, &["errors=0"]);
    assert_eq!(report.latency().lines(), 500);
    let (response, service) = (report.latency().quantile(0.75), report.service().quantile(0.75));
    // At least 150 of the 500 lines were due in the first half of the stall.
    assert!(took(response) >= STALL / 2, "{report}");
    // On one connection, one after the other, hardly any other line can have taken long.
    assert!(took(service) < STALL / 10, "{report}");
    assert!(took(report.service().quantile(1.0)) >= STALL, "{report}");
}

#[test]
fn what_is_due_while_the_server_is_silent_is_never_forgotten() {
    let mut load = at_rate(load_of(answering(|_, _| String::new()), &["Bob"]), "100/s");
    (load.connections, load.timeout) = (2, Some(50 * MS));
    let report = run(load);
    let text = report.to_string();
    // Two lines left, two connections were given up, and all others that were due by then could not
    // be sent.
    assert_eq!(report.sent(), 2);
    assert_eq!(report.latency().lines(), report.errors() - 2, "{text}");
    assert_eq!(report.latency().quantile(0.0), Some(Time::Never));
    holds(&report, &["errors>=4", "rate=0/s", "p50>1h"]);
    for words in ["2 unanswered", "2 connections lost", "no reply in time, in place of the reply to 'Bob'", "never"] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

// What goes wrong.

#[test]
fn wrong_replies_are_errors_and_the_first_is_shown_harmless() {
    let target =
        answering(
            |number, name| {
                if number % 3 == 2 { "Hello, \u{1b}[2JRob\n".to_owned() } else { format!("Hello, {name}\n") }
            },
        );
    let mut load = at_rate(load_of(target, &["B\tob"]), "300/s");
    (load.connections, load.pipeline) = (1, 4);
    let report = run(load);
    holds(&report, &["errors=10", "errors<34%", "errors>33%", "p60<1h", "p70>1h", "max>1h"]);
    let text = report.to_string();
    assert!(text.contains(r"first: connection 1: came 'Hello, \e[2JRob' in reply to 'B\tob'"), "{text}");
    assert!(report.to_json().contains(r#""wrong":10"#));
}

#[test]
fn lines_that_nobody_asked_for_are_errors() {
    let target = serve_all(|mut stream| {
        stream.write_all(b"220 welcome\n")?;
        let mut input = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        // The banner comes for sure before anything is asked.
        while input.read_line(&mut line)? > 0 {
            stream.write_all(b"Hello, Bob\nHello, Bob\n")?;
            line.clear();
        }
        Ok(())
    });
    let mut load = at_rate(load_of(target, &["Bob"]), "10/s");
    load.connections = 1;
    let report = run(load);
    assert!(report.errors() >= 1, "{report}");
    assert_eq!(report.sent(), 1);
}

#[test]
fn a_server_that_closes_loses_a_connection_and_what_was_asked_on_it() {
    let target = serve_all(|mut stream| {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next();
        stream.write_all(b"Hello, Bob\nHell")
    });
    let mut load = load_of(target, &["Bob"]);
    (load.connections, load.pipeline) = (2, 3);
    let report = run(load);
    let text = report.to_string();
    holds(&report, &["errors=6", "errors<67%", "errors>66%", "p33<1h", "p34>1h"]);
    for words in ["4 unanswered", "2 connections lost", "the server closed the connection in the middle of a line"] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(report.warnings()[0].ends_with("when no connection was left"), "{:?}", report.warnings());
}

/// A server that answers one line on each connection, and closes.
fn dying() -> ServerAddress {
    serve_all(|mut stream| {
        BufReader::new(stream.try_clone()?).lines().next();
        stream.write_all(b"Hello, Bob\n")
    })
}

#[test]
fn every_line_that_would_have_been_due_on_lost_connections_is_an_error() {
    for threads in [1, 2] {
        let mut load = at_rate(load_of(dying(), &["Bob"]), "100/s");
        (load.connections, load.threads, load.duration) = (2, threads, Duration::from_secs(20));
        let report = run(load);
        // Of 2,000 lines that were due, two were answered; nobody waits for the time of the others.
        holds(&report, &["errors>=2000", "errors>99%", "rate<1/s", "p1>1h"]);
        assert_eq!((report.latency().lines(), report.connections_lost()), (2000, 2), "{report}");
        let errors = "  errors     2,000, of which 1,998 are lines (99.90 % of all lines)\n";
        assert!(report.to_string().contains(errors), "{report}");
        assert!(report.warnings()[0].ends_with("when no connection was left"), "{:?}", report.warnings());
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let last = json["timeline"].as_array().unwrap().last().unwrap();
        assert!(last["start_ns"].as_u64() > Some(19_000_000_000), "the time without a server is shown: {last}");
    }
}

/// Two connections on two threads, of which one is lost: its thread has nothing more to do, and its
/// lines are due all the same.
#[test]
fn what_a_thread_cannot_send_after_its_last_connection_is_due_until_the_load_is_stopped() {
    let first = std::sync::atomic::AtomicBool::new(true);
    let target = serve_all(move |stream| {
        let mut input = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while input.read_line(&mut line)? > 0 {
            if first.swap(false, std::sync::atomic::Ordering::Relaxed) {
                return Ok(());
            }
            (&stream).write_all(b"Hello, Bob\n")?;
        }
        Ok(())
    });
    let mut load = at_rate(load_of(target, &["Bob"]), "1000/s");
    (load.connections, load.threads, load.duration) = (2, 2, Duration::from_secs(3600));
    let mut running = load::start(load).unwrap();
    while running.wait(10 * MS).unwrap().replies < 100 {}
    running.stop();
    let report = running.finish().unwrap();
    // As many as the other has sent, as far as they were due when it was stopped; not the 1,800,000
    // of an hour.
    holds(&report, &["errors>=99", "errors<1000000"]);
}

/// How they end is the system's affair: a line may be on its way to a server that is gone.
#[test]
fn it_is_told_when_connections_were_lost() {
    const LONG: Duration = Duration::from_millis(200);
    let clients = std::sync::atomic::AtomicU32::new(1);
    let target = serve_all(move |mut stream| {
        let number = clients.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        lines.next();
        thread::sleep(LONG * number);
        stream.write_all(b"Hello, Bob\n")
    });
    let mut load = load_of(target, &["Bob"]);
    (load.connections, load.duration) = (2, PATIENCE);
    let report = run(load);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let last = Duration::from_nanos(json["last_lost_ns"].as_u64().unwrap());
    assert!(last >= LONG * 2, "{report}");
    let text = report.to_string();
    let first = text.split_once("2 connections lost\n      first: connection ").unwrap().1;
    let (first, last) = first.split_once("\n      the last after ").unwrap();
    assert!(first[1..].starts_with(", after ") && last.lines().next().unwrap().ends_with("s"), "{text}");
    let never: serde_json::Value = serde_json::from_str(&run(load_of(greeter(), &["Bob"])).to_json()).unwrap();
    assert!(never["last_lost_ns"].is_null(), "{never}");
}

#[test]
fn a_closed_loop_counts_the_connections_that_it_has_lost() {
    let mut load = load_of(dying(), &["Bob"]);
    load.duration = Duration::from_secs(20);
    let report = run(load);
    assert_eq!(report.connections_lost(), 3);
    // The rest of the time is not left out, or a server would look the faster the sooner it dies.
    holds(&report, &["rate<1/s"]);
    let lost = "connections lost before the end: 3 of 3; in a closed loop no lines are due on them any more";
    assert!(report.warnings().iter().any(|warning| warning.starts_with(lost)), "{:?}", report.warnings());
    assert_eq!(run(load_of(greeter(), &["Bob"])).connections_lost(), 0);
}

#[test]
fn how_a_load_begins_does_not_make_a_generator_busy() {
    let report = run(load_of(serve_all(|_| Ok(())), &["Bob"]));
    assert_eq!(report.busy(), None, "{report}");
    let mut long = load_of(greeter(), &["Bob"]);
    long.duration = 300 * MS;
    assert!(run(long).busy().is_some() || cfg!(not(unix)));
}

#[test]
fn no_server_is_no_load() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = load::start(load_of(refusing.into(), &["Bob"])).unwrap_err();
    assert!(matches!(error, LoadError::Connect(_)) && error.is_connecting(), "{error}");
}

/// Linux drops who comes when a listener's queue is full.
#[cfg(target_os = "linux")]
#[test]
fn fewer_connections_than_asked_for_are_no_load() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut load = load_of(listener.local_addr().unwrap().into(), &["Bob"]);
    (load.connections, load.timeout) = (4200, Some(300 * MS));
    let error = load::start(load).unwrap_err();
    assert!(error.is_connecting());
    let LoadError::TooFew { up, asked: 4200, .. } = error else { panic!("{error}") };
    assert!((1..4200).contains(&up), "{up}");
    let text = format!("only {up} of 4200 connections are up");
    assert_eq!(error.to_string(), text);
    drop(listener);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_sent() {
    let nowhere: ServerAddress = "127.0.0.1:9".parse().unwrap();
    let load = || load_of(nowhere.clone(), &["Bob"]);
    let with = |change: fn(&mut Load)| {
        let mut load = load();
        change(&mut load);
        load
    };
    let script = |text: &str| Load::scripts(nowhere.clone(), vec![Script::parse("a.talk", text).unwrap()]);
    for (load, message) in [
        (load_of(nowhere.clone(), &[]), "there is nothing to send"),
        (once(load_of(nowhere.clone(), &[])), "there is nothing to send"),
        (with(|load| load.count = Some(0)), "there is nothing to send"),
        (
            load_of_replies(nowhere.clone(), &["a"], &["b", "c", "d"], lines(2)),
            "3 lines are expected of a reply that has 2",
        ),
        (with(|load| load.connections = 0), "connections must be from 1 to 65535, not 0"),
        (with(|load| load.threads = 4), "threads must be from 1 to 3, not 4"),
        (with(|load| load.pipeline = 0), "pipeline must be from 1 to 100000, not 0"),
        (with(|load| load.duration = Duration::ZERO), "nothing can be measured in no time"),
        (load_of(nowhere.clone(), &["{{name}}"]), "a line to send lacks a value"),
        (load_of(nowhere.clone(), &["two\nlines"]), "a line cannot hold a newline"),
        (script(""), "there is nothing to send"),
        (
            script("connect a to 192.0.2.1:7\n"),
            "192.0.2.1:7 is not known to be on this machine, and a load can put a server out of service",
        ),
    ] {
        let error = load::start(load).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert!(error.is_usage());
    }
}

// Scripts.

#[test]
fn scripts_are_a_unit_of_load() {
    let script = Script::parse("hello.talk", "> Bob\n< Hello, Bob\n>eof\n<eof\n").unwrap();
    let mut load = Load::scripts(greeter(), vec![script]);
    (load.connections, load.warmup, load.duration) = (2, Duration::ZERO, 100 * MS);
    let closed = run(load.clone());
    holds(&closed, &["errors=0", "rate>0/s"]);
    let open = run(at_rate(load, "100/s"));
    holds(&open, &["errors=0"]);
    assert_eq!(open.latency().lines(), 10);
    assert!(open.to_string().starts_with("open loop, 100/s: up to 2 sessions with"), "{open}");
}

#[test]
fn sessions_of_a_load_wait_for_prompts_of_their_own() {
    let script = "> h-{{#}}:~$ next\n<prompt \"{{hello}}, h-{{#}}:~$ \"\n<\"next\\n\"\n";
    let mut load = Load::scripts(greeter(), vec![Script::parse("prompt.talk", script).unwrap()]);
    (load.connections, load.warmup, load.duration) = (3, Duration::ZERO, 100 * MS);
    holds(&run(load), &["errors=0", "rate>0/s"]);
    let other = Script::parse("prompt.talk", script.replace("h-{{#}}:~$ \"", "h-{{#}}:~# \"")).unwrap();
    let mut load = Load::scripts(greeter(), vec![other]);
    (load.connections, load.warmup, load.duration) = (1, Duration::ZERO, 100 * MS);
    let report = run(load).to_string();
    assert!(report.contains("    - <prompt \"{{hello}}, h-1:~# \"\n"), "{report}");
}

/// What a session says differs from that of another; within a crowd, the members differ, as ever.
#[test]
fn sessions_that_run_at_a_time_have_their_numbers() {
    let (told, heard) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let target = answering(move |_, name| {
        // At the end, nobody listens any more.
        let _ = told.lock().unwrap().send(name.to_owned());
        format!("Hello, {name}\n")
    });
    let script = "> session {{#}}\n< Hello, session {{#}}\nconnect c x2\nc> member {{#}}\nc< Hello, member {{#}}\n";
    let mut load = Load::scripts(target, vec![Script::parse("differ.talk", script).unwrap()]);
    (load.connections, load.warmup, load.duration) = (4, Duration::ZERO, Duration::from_secs(3600));
    let mut running = load::start(load).unwrap();
    let members = ["member 1", "member 2"].map(str::to_owned);
    let sessions = (1..=4).map(|slot| format!("session {slot}"));
    let all: std::collections::BTreeSet<String> = members.into_iter().chain(sessions).collect();
    let mut names = std::collections::BTreeSet::new();
    while names != all {
        names.insert(heard.recv_timeout(PATIENCE).expect("all sessions begin"));
        assert!(names.is_subset(&all), "{names:?}");
    }
    running.stop();
    holds(&running.finish().unwrap(), &["errors=0"]);
}

/// Also where they are more than run at a time, and where a crowd is in them.
#[test]
fn each_session_of_a_load_has_a_number_that_no_other_has() {
    let script =
        "set order = order-{{#n}}\nconnect c x2\nc> {{order}}\nc< Hello, {{order}}\n> {{#n}}\n< {{*}}, {{#n}}\n";
    for rate in [None, Some("2000/s")] {
        let (target, heard) = telling();
        let script = Script::parse("orders.talk", script).unwrap();
        let mut load = counted(Load::scripts(target, vec![script]), 30);
        (load.connections, load.warmup) = (4, Duration::ZERO);
        holds(&run(rate.map_or(load.clone(), |rate| at_rate(load, rate))), &["errors=0"]);
        let mut all: Vec<String> = heard().into_iter().map(|(_, line)| line).collect();
        all.sort();
        let of = |number: usize| [format!("order-{number}"), format!("order-{number}"), number.to_string()];
        let mut expected: Vec<String> = (1..=30).flat_map(of).collect();
        expected.sort();
        assert_eq!(all, expected);
    }
    let error = load::start(load_of(greeter(), &["{{#n}}"])).unwrap_err();
    assert!(matches!(error, LoadError::Unbound(_)), "a line is no session: {error}");
}

/// As a connection that is lost: nobody tries again and again, and no figure tells what was missed.
#[test]
fn in_a_closed_loop_whoever_cannot_connect_ends() {
    let script = Script::parse("hello.talk", "> Bob\n< Hello, Bob\n").unwrap();
    let mut load = Load::scripts(crowd::greeter_for(101), vec![script]);
    (load.connections, load.warmup, load.duration) = (2, Duration::ZERO, Duration::from_secs(5));
    let report = run(load);
    assert_eq!(report.connections_lost(), 2, "{report}");
    let warnings = report.warnings();
    assert!(warnings[0].ends_with("when no connection was left"), "{warnings:?}");
    let lost = "connections lost before the end: 2 of 2; in a closed loop no scripts are due on them any more";
    assert!(warnings[1].starts_with(lost), "{warnings:?}");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["errors"]["unconnected"], 2, "{json}");
    assert!(report.to_string().contains("    2 could not connect\n      first: hello.talk\n"), "{report}");
}

#[test]
fn in_an_open_loop_whoever_cannot_connect_is_an_error_each_time() {
    let script = Script::parse("hello.talk", "> Bob\n< Hello, Bob\n").unwrap();
    // One is to see that there is a server.
    let mut load = at_rate(Load::scripts(crowd::greeter_for(1), vec![script]), "50/s");
    (load.connections, load.warmup, load.duration) = (2, Duration::ZERO, 200 * MS);
    let report = run(load);
    // The system may take some for a server that is about to go.
    holds(&report, &["errors=10", "errors=100%", "p1>1h"]);
    assert_eq!((report.sent(), report.connections_lost()), (10, 0), "{report}");
    assert!(report.to_string().contains(" could not connect\n      first: hello.talk\n"), "{report}");
}

#[test]
fn a_script_that_fails_is_an_error_with_its_report() {
    let script = Script::parse("hello.talk", "# A greeting.\n> Bob\n< Hello, Rob\n").unwrap();
    let mut load = at_rate(Load::scripts(greeter(), vec![script]), "50/s");
    (load.connections, load.warmup, load.duration) = (2, Duration::ZERO, 100 * MS);
    let report = run(load);
    holds(&report, &["errors=5", "errors=100%", "p1>1h"]);
    let text = report.to_string();
    assert!(text.contains("# A greeting.") && text.contains("- < Hello, Rob"), "{text}");
}

// On the way, and at the end.

#[test]
fn a_load_that_is_stopped_reports_what_it_has_measured() {
    let mut load = at_rate(load_of(greeter(), &["Bob"]), "1000/s");
    load.duration = Duration::from_secs(3600);
    let mut running = load::start(load).unwrap();
    while running.wait(10 * MS).unwrap().replies < 100 {}
    running.stop();
    let report = running.finish().unwrap();
    assert!(report.is_stopped());
    holds(&report, &["errors=0"]);
    assert!((100..100_000).contains(&report.latency().lines()), "{report}");
    assert!(report.warnings().iter().any(|warning| warning.starts_with("it was stopped after")));
}

#[test]
fn the_lines_of_a_file_are_sent_as_they_are() {
    let mut lines = Lines::new([Template::literal(b"{{#}}"), Template::literal(b"\xff")]);
    lines.expect = vec!["{{line}}".parse().unwrap()];
    let target = serve_all(|stream| std::io::copy(&mut &stream, &mut &stream).map(drop));
    let mut load = Load::lines(target, lines);
    (load.connections, load.warmup, load.duration) = (2, Duration::ZERO, 50 * MS);
    holds(&run(load), &["errors=0", "rate>0/s"]);
}

#[test]
fn the_json_is_json_and_has_the_figures() {
    let report = run(at_rate(load_of(greeter(), &["Bob"]), "1000/s"));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["loop"], "open");
    assert_eq!(json["rate_per_second"], 1000);
    assert_eq!(json["connections"], 3);
    assert_eq!(json["measured_ns"], 100_000_000);
    assert_eq!(json["complete"], true);
    assert_eq!(json["response"]["lines"], 100);
    assert_eq!(json["errors"]["total"], 0);
    let max = took(report.latency().quantile(1.0)).as_nanos();
    assert_eq!(json["response"]["max_ns"].as_u64().map(u128::from), Some(max));
    let timeline = json["timeline"].as_array().unwrap();
    assert_eq!(timeline.iter().map(|bin| bin["right"].as_u64().unwrap()).sum::<u64>(), 100);
    let closed: serde_json::Value = serde_json::from_str(&run(load_of(greeter(), &["Bob"])).to_json()).unwrap();
    assert!(closed["response"].is_null() && closed["rate_per_second"].is_null());
}

#[test]
fn the_page_is_complete_well_formed_and_needs_nothing_else() {
    let wrong = answering(|number, name| format!("Hello, {}\n", if number % 5 == 4 { "<b>&" } else { name }));
    for load in [at_rate(load_of(greeter(), &["Bob"]), "1000/s"), load_of(wrong, &["<i>{{#}}"]), {
        let mut silent = load_of(answering(|_, _| String::new()), &["Bob"]);
        silent.timeout = Some(20 * MS);
        silent
    }] {
        let page = run(load).to_html();
        // It is XML, too, so that a strict parser can judge it.
        let strict = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&page, strict).unwrap();
        assert!(document.descendants().filter(|node| node.has_tag_name("svg")).count() >= 1);
        for foreign in ["http", "<script", "<link", "<img", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign} in {page}");
        }
        for part in ["prefers-color-scheme:dark", "<h2>Throughput</h2>", "<h2>Errors</h2>", "role=\"img\""] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }
}
