//! Blessing any script: afterwards it passes, and what was right before stands there still.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use greeter_client::ServerAddress;
use greeter_client::run::{Outcome, RunOptions, bless, run};
use greeter_client::talk::Script;
use proptest::prelude::*;
use proptest::sample::select;

use crate::kit::{Says, puppet};

/// What somebody says, and what the server says to it.
#[derive(Clone, Debug)]
struct Turn {
    who: &'static str,
    replies: Vec<Reply>,
    /// The replies are expected only after the next turn has been said, too.
    is_piped: bool,
}

#[derive(Clone, Debug)]
struct Reply {
    written: Written,
    /// What stands before it in the script.
    before: &'static str,
}

/// How the script has a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    AsItIs,
    AsPattern,
    Otherwise,
    NotAtAll,
    BehindAnother,
}

impl Written {
    fn is_right(self) -> bool {
        matches!(self, Self::AsItIs | Self::AsPattern)
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    use Written::{AsItIs, AsPattern, BehindAnother, NotAtAll, Otherwise};
    let written = select(&[AsItIs, AsItIs, AsItIs, AsPattern, Otherwise, NotAtAll, BehindAnother][..]);
    let before = select(&["", "", "# A comment.\n", "\n", "\n#!  Another.\n\n", "within 9s\n"][..]);
    let reply = (written, before).prop_map(|(written, before)| Reply { written, before });
    let who = select(&["", "", "bob", "c"][..]);
    (who, prop::collection::vec(reply, 0..4), any::<bool>()).prop_map(|(who, replies, is_piped)| Turn {
        who,
        replies,
        is_piped,
    })
}

/// The script of `turns`, each reply as `written` has it.
fn script(turns: &[Turn], written: impl Fn(&Reply) -> Written) -> String {
    let mut text = "connect c x3\n".to_owned();
    let mut owed = String::new();
    for (number, turn) in turns.iter().enumerate() {
        let who = turn.who;
        text += &format!("{who}> {who} t{number}\n");
        for (index, reply) in turn.replies.iter().enumerate() {
            let line = match written(reply) {
                Written::AsItIs => format!("{who}< r{number}-{index}\n"),
                Written::AsPattern => format!("  {who}< r{number}{{{{:-}}}}{index}\n"),
                Written::Otherwise => format!("{who}< wrong {number} {index}\n"),
                Written::NotAtAll => String::new(),
                Written::BehindAnother => format!("{who}< wrong {number} {index}\n{who}< r{number}-{index}\n"),
            };
            // A deadline needs its expectation, and is not for blessing.
            let before =
                if reply.before.starts_with("within") && !written(reply).is_right() { "" } else { reply.before };
            owed += &format!("{before}{line}");
        }
        if !turn.is_piped {
            text += &std::mem::take(&mut owed);
        }
    }
    text + &owed
}

fn server(turns: &[Turn]) -> ServerAddress {
    let says = |(number, turn): (usize, &Turn)| {
        let lines: String = (0..turn.replies.len()).map(|index| format!("r{number}-{index}\n")).collect();
        (format!("{} t{number}", turn.who).trim_start().to_owned(), Says { bytes: lines.into(), ..Says::default() })
    };
    let mut table: BTreeMap<String, Says> = turns.iter().enumerate().map(says).collect();
    // Without a name, a blank is sent before the number.
    for (key, says) in table.clone() {
        table.insert(format!(" {key}"), says);
    }
    puppet(table)
}

fn check(turns: &[Turn]) -> Result<(), String> {
    let server = server(turns);
    let mut options = RunOptions::to(server);
    options.timeout = Duration::from_secs(1);
    let right = script(turns, |reply| if reply.written.is_right() { reply.written } else { Written::AsItIs });
    let parsed = Script::parse("right", &right).map_err(|problems| problems.to_string())?;
    let blessing = bless(&parsed, &options, None);
    if !matches!(blessing.outcome, Outcome::Passed) || !blessing.edits.is_empty() {
        return Err(format!("it passes and was changed:\n{right}\n{blessing:?}"));
    }
    let wrong = script(turns, |reply| reply.written);
    let parsed = Script::parse("wrong", &wrong).map_err(|problems| problems.to_string())?;
    let blessing = bless(&parsed, &options, None);
    if !matches!(blessing.outcome, Outcome::Passed) {
        return Err(format!("it cannot be blessed:\n{wrong}\n{blessing:?}"));
    }
    let blessed = String::from_utf8(blessing.edits.apply(parsed.source())).unwrap();
    let mut rest = blessed.split_inclusive('\n');
    for line in wrong.split_inclusive('\n').filter(|line| !line.contains("wrong")) {
        if !rest.any(|kept| kept == line) {
            return Err(format!("{line:?} was right:\n{wrong}\nbecame\n{blessed}"));
        }
    }
    let parsed = Script::parse("blessed", &blessed).map_err(|problems| problems.to_string())?;
    match run(&parsed, &options, None) {
        Outcome::Passed => Ok(()),
        outcome => Err(format!("it fails when blessed:\n{wrong}\nbecame\n{blessed}\n{outcome:?}")),
    }
}

proptest! {
    // Blessing waits for quiet again and again: many scripts are waited for at a time.
    #![proptest_config(ProptestConfig { cases: 3, max_shrink_iters: 0, ..ProptestConfig::default() })]

    #[test]
    fn any_script_passes_when_it_is_blessed(scripts in prop::collection::vec(prop::collection::vec(turn(), 1..6), 16)) {
        let wrong: Vec<String> = thread::scope(|scope| {
            let checks: Vec<_> = scripts.iter().map(|turns| scope.spawn(|| check(turns))).collect();
            checks.into_iter().filter_map(|check| check.join().unwrap().err()).collect()
        });
        prop_assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    }
}
