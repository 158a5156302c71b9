//! Every expectation of the scripts that are shipped matters: dropped, altered or swapped with the
//! next one of its connection, it makes the script fail. Those that cannot are [listed](SURVIVORS),
//! each with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, ServerProcess, StepError, run};
use greeter_client::session::SessionError;
use greeter_client::talk::{Action, ConnectionName, Count, Incoming, Raw, Script, load_all};
use greeter_tests::process::greeter_server;
use libtest_mimic::{Failed, Trial};

use crate::server::Stranger;

/// How long an expectation of a mutant waits: most wait for what never comes.
const TIMEOUT: Duration = Duration::from_millis(300);

/// How long it waits where a slow machine may be the reason that it is not met.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many mutants of a script are tried at once.
const JOBS: usize = 4;

const ENDS_ANYWAY: &str =
    "the end of a script half-closes each connection and expects its end, with nothing unread before";
const SILENT: &str = "to expect nothing takes nothing, and the server is silent either way";
const SKIPPED: &str = "a `<*` beside it skips this line, too, on the way to the next one that is expected";
const ABSENT: &str = "this server sends no such line here; some of the client's own tests do";
const UNSEEN: &str = "nothing after it looks at the same thing";

/// The mutants that pass: script, change, line, reason. Each change of each line with this text.
const SURVIVORS: &[(&str, Change, &str, &str)] = &[
    ("sessions/crowd", Change::Dropped, "c<nothing 20ms", SILENT),
    ("sessions/crowd", Change::Dropped, "c<eof", ENDS_ANYWAY),
    ("sessions/drain", Change::Dropped, "alice<eof", UNSEEN),
    ("sessions/drain", Change::Dropped, "bob<eof", UNSEEN),
    ("sessions/drain", Change::Dropped, "exits 0", UNSEEN),
    ("sessions/greeting", Change::Dropped, "<nothing 50ms", SILENT),
    ("sessions/half_close", Change::Dropped, "<eof", ENDS_ANYWAY),
    ("sessions/half_close", Change::Dropped, "silent<eof", ENDS_ANYWAY),
    ("strangers/ftp", Change::Dropped, "list<eof", ENDS_ANYWAY),
    ("strangers/ftp", Change::Dropped, "file<eof", ENDS_ANYWAY),
    ("strangers/ftp", Change::Dropped, "<eof", ENDS_ANYWAY),
    ("strangers/irc", Change::Dropped, "bob< {{*}} {{:376|422}} bob :{{*}}", SKIPPED),
    ("strangers/irc", Change::Dropped, "alice< :{{server}} {{:376|422}} alice :{{*}}", SKIPPED),
    ("strangers/irc", Change::Dropped, "alice<nothing 50ms", SILENT),
    ("strangers/irc", Change::Dropped, "alice<eof", ENDS_ANYWAY),
    ("strangers/irc", Change::Dropped, "bob<eof", ENDS_ANYWAY),
    ("strangers/memcached", Change::Dropped, "<eof", ENDS_ANYWAY),
    ("strangers/redis_commands", Change::Dropped, "<eof", ENDS_ANYWAY),
    ("strangers/redis_crowd", Change::Dropped, "c<eof", ENDS_ANYWAY),
    ("strangers/redis_publish", Change::Dropped, "alice<nothing 50ms", SILENT),
    ("strangers/redis_publish", Change::Dropped, "alice<eof", ENDS_ANYWAY),
    ("strangers/redis_publish", Change::Dropped, "bob<eof", ENDS_ANYWAY),
    ("strangers/shell", Change::Dropped, "<eof", ENDS_ANYWAY),
    ("strangers/memcached", Change::Dropped, "<? VALUE forgotten 7 {{bytes}}", ABSENT),
    ("strangers/memcached", Change::Altered, "<? VALUE forgotten 7 {{bytes}}", ABSENT),
    ("strangers/memcached", Change::Swapped, "<? VALUE forgotten 7 {{bytes}}", ABSENT),
    ("strangers/memcached", Change::Swapped, "< VERSION {{*}}", ABSENT),
    ("strangers/memcached", Change::Dropped, "<? Hello, Eve", ABSENT),
    ("strangers/memcached", Change::Altered, "<? Hello, Eve", ABSENT),
    ("strangers/memcached", Change::Swapped, "<? Hello, Eve", ABSENT),
    ("strangers/smtp", Change::Dropped, "< 250-{{host}}", SKIPPED),
    ("strangers/smtp", Change::Dropped, "<! {{:[45].*}}", ABSENT),
    ("strangers/smtp", Change::Dropped, "<nothing 50ms", SILENT),
    ("strangers/smtp", Change::Dropped, "<eof", ENDS_ANYWAY),
];

/// What is done to an expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Dropped,
    /// One byte is another, or the end is another.
    Altered,
    /// Changes places with the next expectation of its connection.
    Swapped,
}

struct Mutant {
    change: Change,
    /// From 1.
    line: usize,
    text: String,
    script: Vec<u8>,
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, {:?}: {}", self.line, self.change, self.text)
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    let mut trials = Vec::new();
    for folder in ["sessions", "strangers"] {
        for script in load_all([tests.join(folder)]) {
            let script = script.unwrap_or_else(|error| panic!("{error}"));
            let file = Path::new(script.name()).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            named.insert(format!("{folder}/{file}"));
            trials.push(trial(script, folder, file));
        }
    }
    let unknown: Vec<&str> =
        SURVIVORS.iter().map(|&(script, ..)| script).filter(|script| !named.contains(*script)).collect();
    let outcome = if unknown.is_empty() { Ok(()) } else { Err(Failed::from(format!("no such scripts: {unknown:?}"))) };
    trials.push(Trial::test("the list", move || outcome));
    trials
}

fn trial(script: Script, folder: &str, file: String) -> Trial {
    let name = format!("{folder}/{file}");
    let is_ours = folder == "sessions";
    Trial::test(file, move || {
        let stranger = if is_ours { None } else { Some(Stranger::of(&script).ok_or("nobody is known for this")?) };
        if stranger.is_some_and(Stranger::is_missing) {
            return Ok(());
        }
        Ok(check(&name, &script, &|script, timeout| passes(script, timeout, stranger))?)
    })
}

/// Whether a script passes against a server of its own.
fn passes(script: &Script, timeout: Duration, stranger: Option<&Stranger>) -> Result<bool, String> {
    let mut options = RunOptions::default();
    options.timeout = timeout;
    let outcome = match stranger {
        Some(stranger) => stranger.run(script, &options)?,
        None => {
            let program = greeter_server().to_string_lossy().into_owned();
            let command = [&program, "--listen", "127.0.0.1:0", "--log", "off"].map(str::to_owned);
            let mut server = ServerProcess::start(&command, Duration::from_secs(20)).map_err(|err| err.to_string())?;
            run(script, &options, Some(&mut server))
        }
    };
    match outcome {
        Outcome::Passed => Ok(true),
        Outcome::Skipped(reason) => Err(format!("skipped: {reason}")),
        Outcome::Failed(failure) => match failure.error {
            StepError::Session(SessionError::Mismatch(_))
            | StepError::Unbound(_)
            | StepError::Calculation(_)
            | StepError::Count(_)
            | StepError::Exit { .. }
            | StepError::StillRuns { .. } => Ok(false),
            // No expectation has found that.
            _ => Err(failure.to_string()),
        },
    }
}

/// Tries all mutants of a script; tells those that do what they should not.
fn check(
    name: &str,
    script: &Script,
    passes: &(impl Fn(&Script, Duration) -> Result<bool, String> + Sync),
) -> Result<(), String> {
    if !passes(script, PATIENCE)? {
        return Err("it fails as it is".to_owned());
    }
    let mutants = mutants(script);
    let listed = |mutant: &Mutant| {
        SURVIVORS.iter().any(|&(script, change, line, _)| (script, change, line) == (name, mutant.change, &mutant.text))
    };
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(BTreeMap::new());
    let work = || {
        while let Some((index, mutant)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            mutants.get(index).map(|mutant| (index, mutant))
        } {
            let outcome = match Script::parse(script.name(), &mutant.script) {
                Ok(script) if listed(mutant) => passes(&script, PATIENCE),
                // What asks for silence too early may find some on a slow machine, but not twice.
                Ok(script) => passes(&script, TIMEOUT).and_then(|once| Ok(once && passes(&script, TIMEOUT)?)),
                Err(_) => Ok(false),
            };
            let message = match (outcome, listed(mutant)) {
                (Ok(true), true) | (Ok(false), false) => continue,
                (Ok(true), false) => format!("passes: {mutant}"),
                (Ok(false), true) => format!("fails, though it is listed: {mutant}"),
                (Err(err), _) => format!("cannot be tried: {mutant}: {err}"),
            };
            wrong.lock().unwrap_or_else(PoisonError::into_inner).insert(index, message);
        }
    };
    thread::scope(|scope| (0..JOBS).for_each(|_| drop(scope.spawn(work))));
    let mut wrong: Vec<String> = wrong.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect();
    for (script, change, line, _) in SURVIVORS {
        if *script == name && !mutants.iter().any(|mutant| (mutant.change, &*mutant.text) == (*change, *line)) {
            wrong.push(format!("is listed, but there is no such mutant: {change:?}: {line}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("of {} mutants:\n{}", mutants.len(), wrong.join("\n"))) }
}

fn mutants(script: &Script) -> Vec<Mutant> {
    let source = script.source();
    let lines: Vec<&[u8]> = source.lines().map(|line| source.line(line)).collect();
    let expectations: Vec<(usize, &Action)> = script
        .steps()
        .iter()
        .filter(|step| !script.is_included(step))
        .filter(|step| matches!(step.action(), Action::Expect { .. } | Action::Exits(_)))
        .map(|step| (step.line(), step.action()))
        .collect();
    let mut mutants = Vec::new();
    for (index, &(line, action)) in expectations.iter().enumerate() {
        let old = lines[line - 1];
        let mut add = |change, replaced: &[(usize, &[u8])]| {
            let mut lines = lines.clone();
            replaced.iter().for_each(|&(line, text)| lines[line - 1] = text);
            let script = lines.join(&b'\n');
            mutants.push(Mutant { change, line, text: String::from_utf8_lossy(old).into_owned(), script });
        };
        add(Change::Dropped, &[(line, b"")]);
        for altered in altered(old, action) {
            add(Change::Altered, &[(line, &altered)]);
        }
        let next = expectations[index + 1..].iter().find(|(_, next)| from(next) == from(action));
        if let Some(&(next, _)) = next
            && lines[next - 1] != old
            // In any order, this is the same.
            && !matches!(action, Action::Expect { what: Incoming::AnyOrder { more: 1.., .. }, .. })
        {
            add(Change::Swapped, &[(line, lines[next - 1]), (next, old)]);
        }
    }
    mutants
}

/// From whom something is expected; the exit of the server is expected from nobody.
fn from(action: &Action) -> Option<&ConnectionName> {
    match action {
        Action::Expect { from, .. } => Some(from),
        _ => None,
    }
}

/// The line with each byte altered in turn that is compared. What names an end names another one.
fn altered(line: &[u8], action: &Action) -> Vec<Vec<u8>> {
    let sign = line.iter().position(|&byte| byte == b'<').map_or(0, |sign| sign + 1);
    let with = |text: &str| vec![[&line[..sign], text.as_bytes()].concat()];
    match action {
        Action::Exits(status) => with(&format!("exits {}", status ^ 1)),
        Action::Expect { what, .. } => match what {
            Incoming::Line(_) if line.len() == sign => with(" x"),
            Incoming::Optional(_) | Incoming::Never(_) | Incoming::AnyOrder { .. } => {
                literals(line, sign + 2, b" ").into_iter().map(|at| flipped(line, at)).collect()
            }
            Incoming::Line(_) => literals(line, sign + 1, b" ").into_iter().map(|at| flipped(line, at)).collect(),
            Incoming::Raw(raw) => {
                (0..raw.unit().len()).flat_map(|at| with(&spelled(&flipped(raw.unit(), at), raw))).collect()
            }
            // In its quotes, a byte that is another one now might be their end.
            Incoming::Prompt(_) => {
                let end = line.iter().rposition(|&byte| byte == b'"').unwrap_or(line.len());
                let escaped = |at: usize| format!("\\x{:02x}", line[at] ^ 1).into_bytes();
                let places = literals(&line[..end], sign + "prompt \"".len(), b"");
                places.into_iter().map(|at| [&line[..at], &escaped(at), &line[at + 1..]].concat()).collect()
            }
            Incoming::Bytes { count: Count::Bytes(count), .. } => with(&format!("bytes {}", count ^ 1)),
            Incoming::Bytes { count: Count::Variable(_), .. } => with("bytes 1"),
            Incoming::Eof => with("reset"),
            Incoming::Reset => with("eof"),
            // What they compare has no bytes.
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Where the bytes stand that are neither `left_out` nor part of a placeholder.
fn literals(line: &[u8], start: usize, left_out: &[u8]) -> Vec<usize> {
    let mut literals = Vec::new();
    let mut at = start;
    while at < line.len() {
        if line[at..].starts_with(b"{{") {
            let length = line[at..].windows(2).position(|pair| pair == b"}}").expect("a placeholder ends");
            at += length + 2;
        } else {
            if !left_out.contains(&line[at]) {
                literals.push(at);
            }
            at += 1;
        }
    }
    literals
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

fn spelled(unit: &[u8], raw: &Raw) -> String {
    let bytes: String = unit.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{bytes}\" x {}", raw.times())
}
