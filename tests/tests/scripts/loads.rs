//! Servers that nobody here wrote, under load.

use greeter_client::Eol;
use greeter_client::load::{self, Lines, Load, LoadContent, ReplyEnd, Report};
use greeter_client::run::{Outcome, RunOptions, ServerProcess, run};
use greeter_client::talk::{Pattern, Script};
use libtest_mimic::{Failed, Trial};

use crate::server::Stranger;

/// How many lines are sent.
const LINES: u64 = 500;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("memcached_values_of_several_lines", "memcached", memcached_values),
        trial("smtp_behind_its_greeting", "smtp", smtp_behind_its_greeting),
        trial("redis_in_a_database_of_its_own", "redis", redis_in_a_database),
    ]
}

fn trial(name: &str, protocol: &'static str, check: fn(&mut ServerProcess) -> Result<(), String>) -> Trial {
    Trial::test(name, move || {
        let stranger = Stranger::speaking(protocol).ok_or("nobody is known who speaks this")?;
        if stranger.is_missing() {
            return Ok(());
        }
        stranger.with_server(check)?.map_err(Failed::from)
    })
}

/// A load of so many of `lines`, which end with CR LF.
fn load_of(server: &ServerProcess, lines: &[&str], expect: &[&str]) -> Result<Load, String> {
    let lines = lines.iter().map(|line| line.parse()).collect::<Result<Vec<_>, _>>().map_err(told)?;
    let mut lines = Lines::new(lines);
    lines.expect = expect.iter().map(|line| line.parse()).collect::<Result<Vec<Pattern>, _>>().map_err(told)?;
    let mut load = Load::lines(server.address().clone(), lines);
    (load.connections, load.count, load.warmup, load.eol) = (5, Some(LINES), std::time::Duration::ZERO, Eol::CrLf);
    Ok(load)
}

fn report(load: Load) -> Result<Report, String> {
    load::start(load).and_then(load::RunningLoad::finish).map_err(told)
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn errors(report: &Report, expected: u64) -> Result<(), String> {
    if report.errors() == expected && report.latency().lines() == LINES {
        return Ok(());
    }
    Err(format!("{expected} errors are expected of {LINES} lines, and it is another number:\n{report}"))
}

fn memcached_values(server: &mut ServerProcess) -> Result<(), String> {
    let set = "eol crlf\n> set greeting 0 0 5\n> hello\n< STORED\n";
    let set = Script::parse("set.talk", set).map_err(told)?;
    match run(&set, &RunOptions::default(), Some(server)) {
        Outcome::Passed => {}
        outcome => return Err(format!("{outcome:?}")),
    }
    let value = "VALUE greeting 0 5";
    for (expect, until, wrong) in [
        // Known to the byte, and not.
        (&[value, "hello", "END"][..], None, 0),
        (&["VALUE greeting 0 {{*}}", "{{:hel*o}}", "END"], None, 0),
        (&[value, "hullo", "END"], None, LINES),
        (&[value], Some("END"), 0),
        (&["VALUE greeting 0 6"], Some("END"), LINES),
    ] {
        for pipeline in [1, 16] {
            let mut load = load_of(server, &["get greeting"], expect)?;
            load.pipeline = pipeline;
            let LoadContent::Lines(lines) = &mut load.content else { return Err("no lines".to_owned()) };
            if let Some(until) = until {
                lines.reply_end = ReplyEnd::Until(until.parse().map_err(told)?);
            }
            errors(&report(load)?, wrong)?;
        }
    }
    // What is not there, and what it does not know, have replies of one line each.
    let mut load = load_of(server, &["get nobody", "gett", "get greeting"], &["{{:VALUE.*|END|ERROR}}"])?;
    let LoadContent::Lines(lines) = &mut load.content else { return Err("no lines".to_owned()) };
    lines.reply_end = ReplyEnd::Until("{{:END|.*ERROR.*}}".parse().map_err(told)?);
    errors(&report(load)?, 0)
}

fn before(mut load: Load, script: &str) -> Result<Load, String> {
    load.before = Some(Script::parse("before.talk", script).map_err(told)?);
    Ok(load)
}

fn smtp_behind_its_greeting(server: &mut ServerProcess) -> Result<(), String> {
    let hello = "< 220 {{host}} {{*}}\n> HELO client-{{#}}.example\n< 250 {{host}}{{*}}\n";
    errors(&report(before(load_of(server, &["NOOP"], &["250 2.0.0 Ok"])?, hello)?)?, 0)?;
    // The name that the server has told is in what it is asked, and in what it answers.
    errors(&report(before(load_of(server, &["HELO {{host}}"], &["250 {{host}}"])?, hello)?)?, 0)?;
    // Without that, the greeting is taken for the first reply, and all others for the next one's.
    let greeted = report(load_of(server, &["NOOP"], &["250 2.0.0 Ok"])?)?;
    if greeted.errors() > 0 { Ok(()) } else { Err(greeted.to_string()) }
}

fn redis_in_a_database(server: &mut ServerProcess) -> Result<(), String> {
    let set = "> SELECT {{#}}\n< +OK\n> SET who guest-{{#}}\n< +OK\n";
    let expect = ["$7", "guest-{{#}}"];
    errors(&report(before(load_of(server, &["GET who"], &expect)?, set)?)?, 0)?;
    // In the one where all begin there is nothing.
    errors(&report(load_of(server, &["GET who"], &["$-1"])?)?, 0)
}
