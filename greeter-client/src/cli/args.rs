//! The command line, the environment, and what both of them mean.

use std::env;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use greeter_args::Exit;
use greeter_args::completions::Shell;
use greeter_client::load::{Assertion, Rate};
use greeter_client::report::ReportFormat;
use greeter_client::run::Shard;
use greeter_client::talk::{Pattern, Template};
use greeter_client::{ConnectionOptions, Eol, Proxy, ServerAddress, TlsClient, TlsClientError, TlsClientOptions};

use super::color::Color;

/// The program's name in its messages.
pub(super) const NAME: &str = env!("CARGO_PKG_NAME");
const CONNECT_VARIABLE: &str = "GREETER_CONNECT";
const CONNECT_DEFAULT: &str = "127.0.0.1:8080";

/// How long a script may take, if nothing else is said.
pub(super) const MAX_TIME: Duration = Duration::from_secs(60);

/// What the process was asked to do.
pub(super) struct Setup {
    pub(super) command: Command,
    pub(super) connect: ConnectArg,
    pub(super) color: Color,
    pub(super) connection: ConnectionOptions,
}

/// Reads the arguments and the environment of this process.
pub(super) fn from_process() -> Result<Setup, Exit> {
    let arguments = greeter_args::parse::<Args>(NAME, env!("CARGO_PKG_VERSION"))?;
    let (tls, tls_words) = arguments.tls()?;
    let mut connection = ConnectionOptions::default();
    connection.tls = tls;
    connection.eol = arguments.eol;
    connection.timeout = arguments.timeout.0;
    connection.idle = arguments.idle;
    connection.proxy = arguments.proxy;
    Ok(Setup {
        command: arguments.command.unwrap_or(Command::Chat(ChatArgs { secret: Vec::new() })),
        color: arguments.color,
        connect: ConnectArg { address: arguments.connect, tls_words },
        connection,
    })
}

/// Where to connect to, as far as the arguments say so. The environment is asked by those who connect: what it says is no
/// concern of the others.
pub(super) struct ConnectArg {
    address: Option<ServerAddress>,
    /// The options of TLS and their values, as they were given.
    tls_words: Vec<String>,
}

impl ConnectArg {
    /// What the arguments say.
    pub(super) const fn given(&self) -> Option<&ServerAddress> {
        self.address.as_ref()
    }

    /// What they say of TLS.
    pub(super) fn tls_words(&self) -> &[String] {
        &self.tls_words
    }

    /// For whoever speaks TLS where the address says so, and nowhere else.
    pub(super) fn address_alone(self) -> Result<ServerAddress, Exit> {
        let option = self.tls_words.first().cloned();
        let address = self.address()?;
        match option {
            Some(option) if !address.is_tls() => {
                let words = format!("{option} is for TLS, and there is none at {address}: write tls:{address}");
                Err(Exit::usage(NAME, &words))
            }
            _ => Ok(address),
        }
    }

    pub(super) fn address(self) -> Result<ServerAddress, Exit> {
        if let Some(address) = self.address {
            return Ok(address);
        }
        let text = match env::var(CONNECT_VARIABLE) {
            Ok(text) => text,
            Err(env::VarError::NotPresent) => String::new(),
            Err(env::VarError::NotUnicode(_)) => {
                return Err(Exit::usage(NAME, &format!("{CONNECT_VARIABLE} is not valid UTF-8")));
            }
        };
        // A shell empties a variable for one command more easily than it removes it.
        let text = if text.is_empty() { CONNECT_DEFAULT } else { &text };
        text.parse().map_err(|err| Exit::usage(NAME, &format!("{CONNECT_VARIABLE}: {err}")))
    }
}

/// Talks to a server that speaks in lines, such as greeter-server.
///
/// Without a command: chat on a terminal, elsewhere pipe.
#[derive(ArgsInfo, FromArgs)]
#[argh(
    help_triggers("-h", "--help"),
    example = "{command_name} greet Ann Ben
{command_name} --connect [::1]:8080 greet -- -dash
{command_name} --connect unix:/run/greeter.sock < names.txt > greetings.txt
{command_name} --connect mail.example:25 --eol crlf",
    note = "Options stand before the command, and --name=value means --name value.
stdout carries what the server sent and nothing else. On a terminal, whatever in it
could act on the terminal is escaped; elsewhere every byte passes. Where the reader of
stdout goes away, as in '... | head -1', that ends the command, and all is well.",
    error_code(0, "all well"),
    error_code(1, "something is not as it should be"),
    error_code(2, "wrong usage, or unreadable input"),
    error_code(3, "could not connect, or the connection was lost, timed out or closed too early"),
    error_code(4, "something else failed, such as writing to stdout"),
    error_code(130, "Ctrl-C at the prompt")
)]
pub(super) struct Args {
    /// where the server listens: HOST:PORT, unix:PATH or unix:@NAME, and tls: before it for TLS (default: $GREETER_CONNECT, or else 127.0.0.1:8080)
    #[argh(option, arg_name = "address")]
    connect: Option<ServerAddress>,

    /// how long connecting may take, and with greet each reply, and the end after as many as there are names; none for ever
    /// (default: 5s)
    #[argh(option, default = "TimeoutArg(ConnectionOptions::default().timeout)")]
    timeout: TimeoutArg,

    /// how long pipe, record without a terminal, and greet wait for a server that says nothing and does not close, once
    /// all is sent, and with greet each name has its reply (default: none)
    #[argh(option, arg_name = "duration", from_str_fn(idle))]
    idle: Option<Duration>,

    /// how lines end: lf or crlf. With crlf, newlines are sent as CR LF, and greet and the prompt drop the CR of what
    /// comes back (default: lf)
    #[argh(option, default = "Eol::Lf")]
    eol: Eol,

    /// whether reports, problems and the prompt are coloured: auto, always or never. auto is on a terminal, and heeds
    /// NO_COLOR and CLICOLOR_FORCE. What a server sent never is (default: auto)
    #[argh(option, default = "Color::AUTO", arg_name = "when")]
    color: Color,

    /// sends a PROXY header first on every connection, as a proxy would: v1 or v2, alone with the addresses of the
    /// connection, with those of a client, as in 'v2 192.0.2.1:5000', or 'v2 local' (default: none)
    #[argh(option, arg_name = "header")]
    proxy: Option<Proxy>,

    /// a PEM file with the certificates of those who are trusted to issue the server's (default: the system's)
    #[argh(option, arg_name = "file")]
    tls_ca: Option<PathBuf>,

    /// a PEM file with a certificate of our own, for servers that want one, and those that lead to its issuer
    /// (default: none)
    #[argh(option, arg_name = "file")]
    tls_cert: Option<PathBuf>,

    /// a PEM file with the key of that certificate
    #[argh(option, arg_name = "file")]
    tls_key: Option<PathBuf>,

    /// the name that the server's certificate must be for (default: the host of the address)
    #[argh(option, arg_name = "name")]
    tls_name: Option<String>,

    /// takes any certificate, so that nobody knows who is at the other end; for tests
    #[argh(switch)]
    tls_insecure: bool,

    #[argh(subcommand)]
    command: Option<Command>,
}

impl Args {
    /// What the options say of TLS, and their words: none where they say nothing.
    fn tls(&self) -> Result<(Option<TlsClient>, Vec<String>), Exit> {
        let Self { tls_ca, tls_cert, tls_key, tls_name, tls_insecure, .. } = self;
        let mut words = Vec::new();
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let values = [
            ("--tls-ca", file(tls_ca)),
            ("--tls-cert", file(tls_cert)),
            ("--tls-key", file(tls_key)),
            ("--tls-name", tls_name.clone()),
        ];
        for (option, value) in values {
            words.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        if *tls_insecure && tls_ca.is_some() {
            return Err(Exit::usage(
                NAME,
                "--tls-ca says whom to trust, and --tls-insecure asks for no trust: give one of them",
            ));
        }
        if *tls_insecure {
            words.push("--tls-insecure".to_owned());
            let _ = writeln!(
                io::stderr(),
                "warning: --tls-insecure takes any certificate: whoever is in between can read and change everything"
            );
        }
        if words.is_empty() {
            return Ok((None, words));
        }
        let mut options = TlsClientOptions::default();
        options.ca.clone_from(tls_ca);
        options.certificate.clone_from(tls_cert);
        options.key.clone_from(tls_key);
        options.name.clone_from(tls_name);
        options.insecure = *tls_insecure;
        let client = TlsClient::new(&options).map_err(|error| {
            let error = match error {
                TlsClientError::HalfIdentity => return Exit::usage(NAME, "--tls-cert and --tls-key belong together"),
                TlsClientError::NoRoots => return Exit::usage(NAME, &format!("{error}: name some with --tls-ca")),
                error => error,
            };
            let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            Exit::usage(NAME, &format!("{error}{cause}"))
        })?;
        Ok((Some(client), words))
    }
}

#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub(super) enum Command {
    Greet(GreetArgs),
    Chat(ChatArgs),
    Pipe(PipeArgs),
    Record(RecordArgs),
    Check(CheckArgs),
    Completions(CompletionsArgs),
    Convert(ConvertArgs),
    Fmt(FmtArgs),
    Run(RunArgs),
    Load(LoadArgs),
}

/// Sends each name as a line and prints the replies.
///
/// Prints every line the server sends until it closes. Fewer lines than names are an error. A server that does not close
/// is left when the time is over, which is told.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "greet", help_triggers("-h", "--help"))]
pub(super) struct GreetArgs {
    /// who is to be greeted; put -- before a name that starts with a dash
    #[argh(positional, arg_name = "name")]
    pub(super) names: Vec<String>,
}

/// Sends what is typed line by line, with an editor and a history; without a terminal, the same as pipe.
///
/// Replies are shown above the prompt as they come. Ctrl-D ends the input, and the replies that are still owed are awaited.
/// Ctrl-C leaves at once. Lines that begin with a colon are commands, of which :help tells.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "chat", help_triggers("-h", "--help"))]
pub(super) struct ChatArgs {
    /// a variable, whose value is that of TALK_name in the environment: a line that holds it is not kept in the history,
    /// and recorded with its name
    #[argh(option, arg_name = "name")]
    pub(super) secret: Vec<String>,
}

/// Sends stdin while what comes back goes to stdout.
///
/// At the end of stdin it half-closes and reads on until the server closes, or with --idle until it has been silent for so
/// long. If the server closes first, it ends at once, with an error if bytes were left unsent. No other timeout but that for
/// connecting. A line that is typed and that the
/// terminal may have cut is an error.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "pipe", help_triggers("-h", "--help"))]
pub(super) struct PipeArgs {}

/// Does what chat does, or pipe without a terminal, and writes the conversation down as a .talk script.
///
/// What was sent becomes lines with >, what came lines with <, in the order in which they were seen. run plays the script
/// back. The file must not exist yet.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "record", help_triggers("-h", "--help"))]
pub(super) struct RecordArgs {
    /// a variable, whose value is that of TALK_name in the environment: the script has its name instead
    #[argh(option, arg_name = "name")]
    pub(super) secret: Vec<String>,

    /// where to write the script, as in hello.talk
    #[argh(positional, arg_name = "file")]
    pub(super) file: String,
}

/// Parses .talk scripts and tells what is wrong with them.
///
/// Takes files, folders with *.talk, *.md and *.markdown files in them, and Markdown files, whose fenced blocks marked talk are
/// scripts. No server is needed.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "check", help_triggers("-h", "--help"))]
pub(super) struct CheckArgs {
    /// a file or a folder
    #[argh(positional, arg_name = "path")]
    pub(super) paths: Vec<String>,
}

/// Prints what makes a shell complete the words of this program.
///
/// The script asks the program itself, so that it need not be renewed with it.
#[derive(ArgsInfo, FromArgs)]
#[argh(
    subcommand,
    name = "completions",
    help_triggers("-h", "--help"),
    example = "{command_name} bash > ~/.local/share/bash-completion/completions/greeter-client"
)]
pub(super) struct CompletionsArgs {
    /// bash, fish or zsh
    #[argh(positional, arg_name = "shell")]
    pub(super) shell: Shell,

    /// for the scripts: behind --, the words of a command, of which the last is to be completed
    #[argh(positional, arg_name = "word")]
    pub(super) words: Vec<String>,
}

/// Makes the draft of a .talk script of what others have written down of a conversation.
///
/// Takes a transcript of an RFC (C: and S:), what swaks or curl -v print, or a simple script of expect. The draft goes to
/// stdout, to be read before it runs. What is said stays as it is; stderr names what may stand for something else, and what
/// cannot be said is a comment. What telnet shows does not tell who said what.
#[derive(ArgsInfo, FromArgs)]
#[argh(
    subcommand,
    name = "convert",
    help_triggers("-h", "--help"),
    example = "curl -v http://127.0.0.1:8080/ 2>&1 | {command_name} > get.talk
{command_name} session.exp > session.talk",
    error_code(0, "the draft says all of it"),
    error_code(1, "something cannot be said: it is a comment in the draft"),
    error_code(2, "wrong usage, or nothing says who speaks")
)]
pub(super) struct ConvertArgs {
    /// what was written down; without it, stdin is
    #[argh(positional, arg_name = "file")]
    pub(super) path: Option<String>,
}

/// Rewrites .talk scripts in the normal form, which never changes what they mean.
///
/// Takes files, folders with *.talk, *.md and *.markdown files in them, and Markdown files, whose fenced blocks marked talk are
/// rewritten in their places. A file keeps its permissions, owner, group, attributes and other names; a read-only one is
/// left as it is.
#[derive(ArgsInfo, FromArgs)]
#[argh(subcommand, name = "fmt", help_triggers("-h", "--help"))]
pub(super) struct FmtArgs {
    /// change nothing; name the files that are not in the normal form, and end with 1 if there are any
    #[argh(switch)]
    pub(super) check: bool,

    /// a file or a folder; without one, the normal form of stdin goes to stdout
    #[argh(positional, arg_name = "path")]
    pub(super) paths: Vec<String>,
}

/// Runs .talk scripts, and reports each as it ends.
///
/// Takes files, folders with *.talk, *.md and *.markdown files in them, and Markdown files, whose fenced blocks marked talk are
/// scripts.
/// All of them are parsed before anything runs. A script that fails does not stop the others.
#[derive(ArgsInfo, FromArgs)]
#[argh(
    subcommand,
    name = "run",
    help_triggers("-h", "--help"),
    example = "{command_name} tests/sessions
{command_name} --server 'greeter-server --listen 127.0.0.1:0' README.md tests/sessions
{command_name} --server 'memcached --listen=127.0.0.1 --port={{port}}' cache.talk
{command_name} --shard 1/4 --retries 2 --report junit tests/sessions > report.xml
{command_name} --bless tests/sessions/greeting.talk",
    note = "Variables come from -D and from the environment: TALK_name=value sets the variable called name.",
    error_code(0, "all passed or were skipped"),
    error_code(1, "what came was not what a script expects"),
    error_code(2, "wrong usage, or a script with errors: nothing was run"),
    error_code(3, "there was nobody to connect to"),
    error_code(
        130,
        "ended by a signal, here Ctrl-C, once the servers of --server had been ended; it is 128 and its number"
    )
)]
pub(super) struct RunArgs {
    /// starts a fresh server for each script, and ends it after that with all that it has started. A free port of 127.0.0.1 takes the place of {port} in the command; without
    /// that, the server tells its address on its stdout, in a line that says: listening on ADDRESS. There is no shell.
    #[argh(option, arg_name = "command")]
    pub(super) server: Option<String>,

    /// how many scripts run at a time (default: 1)
    #[argh(option, default = "1", arg_name = "n", from_str_fn(jobs))]
    pub(super) jobs: usize,

    /// runs only the scripts that have this in their names
    #[argh(option, arg_name = "text")]
    pub(super) filter: Option<String>,

    /// runs only every Nth script of those, beginning with the Kth, as in 1/4: so several machines share them
    #[argh(option, arg_name = "k/n")]
    pub(super) shard: Option<Shard>,

    /// runs nothing more once a script has failed; what runs beside it goes on to its end
    #[argh(switch)]
    pub(super) fail_fast: bool,

    /// how often a script that fails is tried again, each time with a fresh server if there is --server; the report has
    /// each try. Not with --bless (default: 0)
    #[argh(option, default = "0", arg_name = "n", from_str_fn(retries))]
    pub(super) retries: usize,

    /// for how long connecting is tried again where nobody listens yet, and how long the server of --server may take
    /// until it listens (default: 0s, with --server 10s)
    #[argh(option, default = "Duration::ZERO", arg_name = "duration", from_str_fn(duration))]
    pub(super) wait: Duration,

    /// how long a script may take (default: 60s)
    #[argh(option, default = "MAX_TIME", arg_name = "duration", from_str_fn(duration))]
    pub(super) max_time: Duration,

    /// text, tap, junit or json, on stdout (default: text)
    #[argh(option, default = "ReportFormat::Text", arg_name = "format")]
    pub(super) report: ReportFormat,

    /// changes scripts so that they say what came; tells on stderr what it changed. Not where CI=true
    #[argh(switch)]
    pub(super) bless: bool,

    /// with --bless: even where CI=true
    #[argh(switch)]
    pub(super) force: bool,

    /// sets a variable: -D name=value
    #[argh(option, short = 'D', arg_name = "name=value")]
    pub(super) define: Vec<String>,

    /// a variable that is a secret: its value, that of TALK_name in the environment, is shown as ***; may be given
    /// several times
    #[argh(option, arg_name = "name")]
    pub(super) secret: Vec<String>,

    /// a file or a folder
    #[argh(positional, arg_name = "path")]
    pub(super) paths: Vec<String>,
}

/// Loads a server and tells how fast it answered.
///
/// Sends lines on many connections, checks every reply, and prints percentiles of the times. With --rate the loop is open: each
/// line has its time, whatever happens, and response times count from then. Without it the loop is closed: a connection sends
/// when its replies have come, so that a slow server is asked less.
#[derive(ArgsInfo, FromArgs)]
#[argh(
    subcommand,
    name = "load",
    help_triggers("-h", "--help"),
    example = "{command_name} --line 'guest {{{{#}}}}' --expect 'Hello, {{{{line}}}}'
{command_name} --rate 5000/s --line Bob --expect 'Hello, Bob' --assert 'p99<5ms'
{command_name} --connections 64 --pipeline 256 --line Bob --expect 'Hello, Bob'
{command_name} --rate 20/s --script session.talk --html report.html",
    note = "Assertions compare p50, p99.9 and the like, max, 'service p99', errors (or errors<1%) and rate (as in
rate>=4900/s) by <, <=, =, >= and >. A line that has no right reply counts as slower than any other.
Unless an assertion says how many errors there may be, there may be none. All that would have been
due on a connection that is lost is an error; in a closed loop, where that is not known, a lost
connection fails the load in any case. Ctrl-C ends the load, not the report.",
    error_code(0, "every reply was right, and all assertions hold"),
    error_code(1, "there were errors, or an assertion does not hold, or --before failed: nothing was sent"),
    error_code(2, "wrong usage: nothing was sent"),
    error_code(3, "fewer connections than asked for could be opened: nothing was sent"),
    error_code(130, "interrupted: the report tells of what was measured until then")
)]
pub(super) struct LoadArgs {
    /// a line to send, in which {{#}} is the number of the connection; if given several times, they are sent in turn
    #[argh(option, arg_name = "line")]
    pub(super) line: Vec<Template>,

    /// sends the lines of a file in turn, as they are; every connection begins with another
    #[argh(option, arg_name = "file")]
    pub(super) lines: Option<String>,

    /// sends each line once, and ends when all are answered: line k on connection k mod the number of connections, of which
    /// a connection that is lost leaves its part as errors
    #[argh(switch)]
    pub(super) once: bool,

    /// runs a .talk script, again and again; --connections is how many run at a time, and {{#}} outside a crowd is which of
    /// them it is, {{#n}} which of all
    #[argh(option, arg_name = "file")]
    pub(super) script: Option<String>,

    /// runs a .talk script on each connection before any line is sent: a greeting, a login. It leaves the connection open, and
    /// what it captures can stand in lines and expectations
    #[argh(option, arg_name = "file")]
    pub(super) before: Option<String>,

    /// what each reply must be, with the placeholders of scripts; {{line}} is what was sent, {{*}} is anything; if given
    /// several times, a reply has as many lines, which are compared in turn (default: any line)
    #[argh(option, arg_name = "pattern")]
    pub(super) expect: Vec<Pattern>,

    /// how many lines a reply has, where not all of them are expected; the others are not compared
    #[argh(option, arg_name = "n", from_str_fn(reply_lines))]
    pub(super) reply_lines: Option<NonZeroUsize>,

    /// what the last line of a reply is, where not all of them are expected, as in 'END' or '{{:END|.*ERROR.*}}'; the
    /// others are not compared
    #[argh(option, arg_name = "pattern")]
    pub(super) reply_until: Option<Pattern>,

    /// how often a line is sent, on all connections together, as in 5000/s or 30/m (default: when replies have come)
    #[argh(option, arg_name = "rate")]
    pub(super) rate: Option<Rate>,

    /// how many connections (default: 50)
    #[argh(option, default = "50", arg_name = "n")]
    pub(super) connections: usize,

    /// how many lines a connection may have in flight (default: 1)
    #[argh(option, arg_name = "n")]
    pub(super) pipeline: Option<usize>,

    /// how many threads share the connections (default: 1)
    #[argh(option, arg_name = "n")]
    pub(super) threads: Option<usize>,

    /// for how long lines are sent before they are measured (default: 1s, with --count or --once 0s)
    #[argh(option, arg_name = "duration", from_str_fn(duration))]
    pub(super) warmup: Option<Duration>,

    /// for how long lines are measured (default: 10s)
    #[argh(option, arg_name = "duration", from_str_fn(duration))]
    pub(super) duration: Option<Duration>,

    /// sends so many lines, or runs so many scripts, and ends when they are answered
    #[argh(option, arg_name = "n", from_str_fn(count))]
    pub(super) count: Option<u64>,

    /// what must hold, as in 'p99<5ms', 'errors=0' or 'rate>=4900/s'; may be given several times
    #[argh(option, arg_name = "assertion")]
    pub(super) assert: Vec<Assertion>,

    /// writes all figures to a file
    #[argh(option, arg_name = "file")]
    pub(super) json: Option<PathBuf>,

    /// writes a page with charts to a file
    #[argh(option, arg_name = "file")]
    pub(super) html: Option<PathBuf>,

    /// the server may be on another machine; without this, only this one is loaded
    #[argh(switch)]
    pub(super) anywhere: bool,

    /// sets a variable: -D name=value
    #[argh(option, short = 'D', arg_name = "name=value")]
    pub(super) define: Vec<String>,

    /// a variable that is a secret: its value, that of TALK_name in the environment, is shown as ***; may be given
    /// several times
    #[argh(option, arg_name = "name")]
    pub(super) secret: Vec<String>,
}

fn idle(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can come in no time: leave it out for no end".to_owned()),
        idle => Ok(idle),
    }
}

fn jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs @ 1..=1000) => Ok(jobs),
        _ => Err("write a number from 1 to 1000".to_owned()),
    }
}

fn retries(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(retries @ 0..=100) => Ok(retries),
        _ => Err("write a number from 0 to 100".to_owned()),
    }
}

fn reply_lines(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "write a number from 1 on".to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count @ 1..) => Ok(count),
        _ => Err("write a number from 1 on".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|err| format!("{err}: write a duration such as 5s or 500ms"))
}

/// A duration in people's notation, or the word `none`.
struct TimeoutArg(Option<Duration>);

impl FromStr for TimeoutArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        match humantime::parse_duration(text) {
            Ok(Duration::ZERO) => Err("nothing can be done in no time: write none for no timeout".into()),
            Ok(timeout) => Ok(Self(Some(timeout))),
            Err(err) => Err(format!("{err}: write a duration such as 5s or 500ms, or none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_duration_or_none() {
        assert_eq!("500ms".parse::<TimeoutArg>().map(|timeout| timeout.0), Ok(Some(Duration::from_millis(500))));
        assert_eq!("none".parse::<TimeoutArg>().map(|timeout| timeout.0), Ok(None));
        for text in ["", "0s", "-1s", "5", "99999999999999999999s", "soon"] {
            assert!(text.parse::<TimeoutArg>().is_err(), "{text}");
        }
    }
}
