//! The `greeter-server` binary: options, logging, signals, exit code. Everything else is in the
//! library.

#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("the binary is for Unix; a program that embeds the library leaves out the feature `cli`");

mod expensive;
mod listeners;
mod log;
mod notify;
mod observers;
mod program;
mod reloader;
mod settings;
mod signals;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use argh::{ArgsInfo, FromArgs};
use bytesize::ByteSize;
use greeter_args::completions::{self, Choice};
use greeter_args::{Exit, printable};
use greeter_server::{
    BuildError, Builder, ClientAuth, ConfigError, DrainReport, Greeter, InheritedError, InheritedSockets,
    ListenerAddress, Responder, Server, ServerHandle, Tls, WhenFull,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::level_filters::LevelFilter;

use self::expensive::Expensive;
use self::listeners::{ListenerOptions, TlsFiles};
use self::log::Log;
use self::notify::Manager;
use self::observers::Observers;
use self::program::{ExecMode, ProgramOptions, RunningProgram};
use self::reloader::{Prepared, Reloader};
use self::settings::{SettingProblem, SettingSource, Settings, Sources};
use self::signals::{SignalRequest, Signals};

const NAME: &str = env!("CARGO_PKG_NAME");

/// The address if no `--listen` is given and no socket is inherited: this machine only.
const LISTEN: &str = "127.0.0.1:8080";

/// Descriptors of what else there is: the log, files that are read again, what signals write to.
const DESCRIPTORS_OF_OTHERS: usize = 64;

/// The exit codes, as the help lists them.
const NOT_STARTED: u8 = 1;
const USAGE: u8 = 2;
const DISCARDED: u8 = 3;

/// Greets everyone who connects: a client sends a name and a newline and reads `Hello, ` and the name, as often as it likes.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "\
stdout has one line for each address once clients can connect: listening on ADDRESS, admin on ADDRESS, agent on ADDRESS.
stderr has the log. SIGTERM and SIGINT (Ctrl-C) answer what has arrived and end; a second one ends at once. SIGHUP reads the file of --config again; without one, it ends the server, too.
In the file, and in the environment, options are called as here: max-connections = 500, GREETER_MAX_CONNECTIONS=500. The command line is above the environment, and that above the file.",
    example = "Greet on this machine only, and say who comes and goes:\n    {command_name}",
    example = "Greet everyone who can reach this machine, in IPv4 and IPv6:\n    {command_name} --listen 0.0.0.0:8080 --listen [::]:8080",
    example = "Greet whoever is in the group mail of this machine:\n    {command_name} --listen unix:/run/greeter.sock,mode=0660,group=mail",
    example = "Have another program answer, in as many processes as there are processors:\n    {command_name} --listen 0.0.0.0:8080 --exec python3 -u responder.py",
    example = "Have a program of inetd's answer, with a process for each client:\n    {command_name} --listen 0.0.0.0:79 --exec-mode per-client --exec in.fingerd",
    example = "See what an expensive reply does to two clients, with one worker and with two:\n    {command_name} --work 1s --workers 1\n    {command_name} --work 1s --workers 2",
    error_code(0, "stopped, and every line that had arrived was answered"),
    error_code(1, "could not start"),
    error_code(2, "the arguments, the environment or the file are wrong, or an address cannot be listened on"),
    error_code(3, "stopped, and lines were left without an answer (the log says how many)")
)]
struct Options {
    /// file with options, in TOML; SIGHUP has it read again (default: none)
    #[argh(option, arg_name = "file")]
    #[expect(dead_code, reason = "it is read before the others")]
    config: Option<PathBuf>,

    /// read and check all that a start would, and end: with 0, or with 2 and what is wrong (default: no)
    #[argh(switch)]
    check_config: bool,

    /// print all options as such a file, with where each comes from, and end (default: no)
    #[argh(switch)]
    print_config: bool,

    /// address to listen on: HOST:PORT (port 0 takes any free port), unix:PATH[,mode=0660,owner=NAME,group=NAME], unix:@NAME, or fd:N or fd:NAME for a socket from a service manager; tls: before any of these speaks TLS; repeat it for several; without it, all sockets from a service manager, and otherwise loopback only (default: 127.0.0.1:8080)
    #[argh(option, arg_name = "address")]
    listen: Vec<String>,

    /// number of threads that answer; with 0, the connection threads do (default: one for each processor)
    #[argh(option, arg_name = "n")]
    workers: Option<usize>,

    /// number of threads that read and write (default: one for every two processors)
    #[argh(option, arg_name = "n")]
    connection_threads: Option<usize>,

    /// processor time to spend on each greeting, such as 1s or 5ms (default: 0s)
    #[argh(option, arg_name = "duration", default = "Duration::ZERO", from_str_fn(duration))]
    work: Duration,

    /// maximum length of a name, such as 8KiB or 100000 (default: 8KiB)
    #[argh(option, arg_name = "size", from_str_fn(size))]
    max_line_bytes: Option<usize>,

    /// maximum concurrent clients, as far as open files allow (default: 10000)
    #[argh(option, arg_name = "n")]
    max_connections: Option<usize>,

    /// maximum concurrent clients from one address, or off (default: 1000)
    #[argh(option, arg_name = "n", from_str_fn(number_or_off))]
    max_connections_per_address: Option<Bound<usize>>,

    /// network whose hosts are proxies and send a PROXY header first, such as 10.0.0.0/8, 192.0.2.1 or unix; repeat it for several; it holds for every address that is listened on (default: none)
    #[argh(option, arg_name = "network")]
    proxy_protocol: Vec<String>,

    /// certificate with its chain, in PEM, for every address that begins with tls:; it is read again when the file changes; repeat it, with a key for each, for several names (default: none)
    #[argh(option, arg_name = "file")]
    tls_cert: Vec<PathBuf>,

    /// key of the certificate, in PEM (default: none)
    #[argh(option, arg_name = "file")]
    tls_key: Vec<PathBuf>,

    /// authorities of clients' certificates, in PEM: clients are asked for one (default: none)
    #[argh(option, arg_name = "file")]
    tls_client_ca: Option<PathBuf>,

    /// whether a client without a certificate is refused, with --tls-client-ca: optional or required (default: required)
    #[argh(option, arg_name = "auth", from_str_fn(client_auth))]
    tls_client_auth: Option<ClientAuth>,

    /// maximum concurrent clients that have not sent their PROXY header, or are in their TLS handshake (default: 1024)
    #[argh(option, arg_name = "n")]
    max_handshakes: Option<usize>,

    /// time for a client to send its PROXY header and to finish its TLS handshake (default: 10s)
    #[argh(option, arg_name = "duration", from_str_fn(duration))]
    handshake_timeout: Option<Duration>,

    /// what happens to a client beyond the maximum: refuse tells it so, wait leaves it in the backlog (default: refuse)
    #[argh(option, arg_name = "policy", default = "WhenFull::Reject", from_str_fn(when_full))]
    when_full: WhenFull,

    /// maximum size of the replies that wait for one client to read them (default: 64KiB)
    #[argh(option, arg_name = "size", from_str_fn(size))]
    max_unsent_bytes: Option<usize>,

    /// maximum memory for the names and replies of all clients (default: 256MiB)
    #[argh(option, arg_name = "size", from_str_fn(size))]
    max_buffer_bytes: Option<usize>,

    /// time for a line from its first byte to its end, or off (default: 10s)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    line_timeout: Option<Bound<Duration>>,

    /// time without a word from a client, or off (default: 5m)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    idle_timeout: Option<Bound<Duration>>,

    /// time in which a client reads none of its replies, or off (default: 30s)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    write_timeout: Option<Bound<Duration>>,

    /// time for a worker to make a reply, or off (default: 30s)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    reply_timeout: Option<Bound<Duration>>,

    /// time for a name to wait for a worker, or off (default: 5s)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    queue_timeout: Option<Bound<Duration>>,

    /// time for a client to close its end of the connection after the server has closed its own (default: 2s)
    #[argh(option, arg_name = "duration", from_str_fn(duration))]
    linger: Option<Duration>,

    /// maximum time for a client to be connected, a tenth less or more, or off; then the connection ends once nothing is owed to it (default: off)
    #[argh(option, arg_name = "duration", from_str_fn(duration_or_off))]
    max_session_time: Option<Bound<Duration>>,

    /// maximum number of clients that each address accepts in a second, or off (default: off)
    #[argh(option, arg_name = "n", from_str_fn(number_or_off))]
    max_accept_rate: Option<Bound<usize>>,

    /// time to go on as before once SIGTERM has come, for balancers to send clients elsewhere; a second signal ends it (default: 0s)
    #[argh(option, arg_name = "duration", default = "Duration::ZERO", from_str_fn(duration))]
    drain_delay: Duration,

    /// time over which idle clients are let go, one after the other, at the end; nine tenths of --drain at most (default: 0s)
    #[argh(option, arg_name = "duration", from_str_fn(duration))]
    drain_spread: Option<Duration>,

    /// time to answer what has arrived, once a signal asks for the end (default: 10s)
    #[argh(option, arg_name = "duration", default = "Duration::from_secs(10)", from_str_fn(duration))]
    drain: Duration,

    /// address of the admin server, HOST:PORT or unix:PATH, such as 127.0.0.1:8081: it has /metrics for Prometheus, /livez and /readyz for probes, /connections as JSON, and at / a page for people; it tells all this to whoever can connect (default: none)
    #[argh(option, arg_name = "address")]
    admin: Option<String>,

    /// address that tells HAProxy's agent-check how much of this server is free, and to drain it before it stops (default: none)
    #[argh(option, arg_name = "address")]
    agent: Option<String>,

    /// program that answers in the place of the greeter, with its arguments, to the end of the command line: it reads a line from stdin and writes one to stdout, again and again (default: none)
    #[argh(option, arg_name = "word")]
    exec: Vec<String>,

    /// how the program is talked to: lines, where it answers each with one; tagged, where it has many clients and each line says whose it is; or per-client, where each client has a process of its own, as of inetd (default: lines)
    #[argh(option, arg_name = "mode", default = "ExecMode::Lines", from_str_fn(exec_mode))]
    exec_mode: ExecMode,

    /// number of processes that the program runs in, which with per-client is the most there may be (default: one for each processor; 1 with tagged, 100 with per-client)
    #[argh(option, arg_name = "n")]
    exec_children: Option<usize>,

    /// number of lines of one client that a process is given at once (default: 1)
    #[argh(option, arg_name = "n")]
    exec_batch: Option<usize>,

    /// number of lines after which a process is replaced, a tenth less or more, or off (default: off)
    #[argh(option, arg_name = "n", from_str_fn(number_or_off))]
    exec_lines_max: Option<Bound<usize>>,

    /// line that each process has to answer before it is given any other (default: none)
    #[argh(option, arg_name = "line")]
    exec_probe: Option<String>,

    /// least level to log: off, error, warn, info or debug (default: info)
    #[argh(option, arg_name = "level", default = "LevelFilter::INFO", from_str_fn(level))]
    log: LevelFilter,

    /// format of the log: text, or json for an object in each line (default: text)
    #[argh(option, arg_name = "format", default = "log::Format::Text", from_str_fn(format))]
    log_format: log::Format,
}

/// The options as people look for them in the help.
const GROUPS: [(&str, &[&str]); 9] = [
    ("Configuration", &["--config", "--check-config", "--print-config"]),
    ("Listening and answering", &["--listen", "--proxy-protocol", "--workers", "--connection-threads", "--work"]),
    (
        "A program that answers",
        &["--exec", "--exec-mode", "--exec-children", "--exec-batch", "--exec-lines-max", "--exec-probe"],
    ),
    (
        "Limits",
        &[
            "--max-connections",
            "--max-connections-per-address",
            "--max-handshakes",
            "--max-accept-rate",
            "--max-session-time",
            "--when-full",
            "--max-line-bytes",
            "--max-unsent-bytes",
            "--max-buffer-bytes",
        ],
    ),
    (
        "Timeouts",
        &[
            "--line-timeout",
            "--idle-timeout",
            "--write-timeout",
            "--reply-timeout",
            "--queue-timeout",
            "--handshake-timeout",
            "--linger",
        ],
    ),
    ("TLS", &["--tls-cert", "--tls-key", "--tls-client-ca", "--tls-client-auth"]),
    ("Stopping", &["--drain-delay", "--drain", "--drain-spread"]),
    ("Watching", &["--admin", "--agent"]),
    ("Logging", &["--log", "--log-format"]),
];

/// The groups of options that hold at once when the file was read again, and others that do: the
/// name is a listener's.
const LIVE_GROUPS: [&str; 5] = ["A program that answers", "Limits", "Timeouts", "TLS", "Stopping"];
const LIVE: [&str; 3] = ["proxy-protocol", "log", "name"];

fn main() -> ExitCode {
    if let Some(exit) = completions::asked::<Options>(NAME, values) {
        return exit.print();
    }
    let sources = match Sources::of_process::<Options>(NAME, env!("CARGO_PKG_VERSION")) {
        Ok(sources) => sources,
        Err(exit) => return completions::in_help(exit.with_groups(&GROUPS)).print(),
    };
    // Before there is another thread: it changes the environment.
    let inherited = InheritedSockets::from_env();
    let hangups = match sources.has_file().then(signals::hold_hangups).transpose() {
        Ok(hangups) => hangups,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot catch signals: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    let (settings, options) = match read(&sources) {
        Ok(read) => read,
        Err(problems) => {
            let lines = problems.iter().map(|problem| error_line(problem) + "\n");
            let _ = io::stderr().write_all(lines.collect::<String>().as_bytes());
            return ExitCode::from(USAGE);
        }
    };
    if options.print_config && !options.check_config {
        return Exit::Asked(settings.to_toml()).print();
    }
    let log = match log::start(options.log, options.log_format) {
        Ok(log) => log,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: cannot start the log: {error}");
            return ExitCode::from(NOT_STARTED);
        }
    };
    sources.warn_of_unknown_variables();
    let otherwise = match addresses_if_none_is_given(&settings, &inherited) {
        Ok(otherwise) => otherwise,
        Err(problems) => return fail(&log, &problems, USAGE),
    };
    let Prepared { options, builder, certificates } = match prepare(&settings, options, &otherwise) {
        Ok(prepared) => prepared,
        Err(problems) => return fail(&log, &problems, USAGE),
    };
    if options.check_config {
        let said = if options.print_config { settings.to_toml() } else { "the configuration is valid\n".to_owned() };
        return Exit::Asked(said).print();
    }
    let given = Given { sources, settings, options, otherwise, certificates, hangups };
    begin(builder.inherited(inherited), &log, given)
}

/// Starts the program that answers, if one does, and runs the server.
fn begin(builder: Builder<Expensive<Greeter>>, log: &Log, given: Given) -> ExitCode {
    let max_open_files = raise_descriptor_limit();
    let options = program(&given.options);
    let program = match options.to_start(max_open_files).map(|program| program.start(builder.push())).transpose() {
        Ok(program) => program,
        Err(error) => return fail(log, &[options.in_words(error, &given.settings)], USAGE),
    };
    let started = Started { program, max_open_files };
    match started.program.clone() {
        Some(RunningProgram::Lines(exec)) => run(builder.responder(exec), log, given, &started),
        Some(RunningProgram::Tagged(tagged)) => run(builder.responder(tagged), log, given, &started),
        Some(RunningProgram::PerClient(per_client)) => run(builder.responder(per_client), log, given, &started),
        None => run(builder, log, given, &started),
    }
}

/// Listens and serves, until a signal asks for the end, and returns the exit code.
fn run<R: Responder>(builder: Builder<R>, log: &Log, given: Given, started: &Started) -> ExitCode {
    let outcome = match builder.build() {
        Ok(server) => serve(server, log, given, started),
        Err(error) => {
            started.stop();
            return fail(log, &in_words_of_options(error, &given.settings), USAGE);
        }
    };
    started.stop();
    match outcome {
        Ok(DrainReport { discarded: 0, threads_left: 0, .. }) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(DISCARDED),
        Err(error) => {
            // An address of the observers, which begin behind the server itself.
            let code = if error.is::<BuildError>() { USAGE } else { NOT_STARTED };
            fail(log, &[SettingProblem { source: SettingSource::Default, message: format!("{error:#}") }], code)
        }
    }
}

/// What the value of an option may be, by what the help calls it, for shells to complete.
fn values(name: &str) -> Choice {
    match name {
        "auth" => Choice::of(&["optional", "required"]),
        "format" => Choice::of(&["text", "json"]),
        "mode" => Choice::of(&["lines", "tagged", "per-client"]),
        "level" => Choice::of(&["off", "error", "warn", "info", "debug"]),
        "policy" => Choice::of(&["refuse", "wait"]),
        _ => Choice::NONE,
    }
}

/// Reads everything that says what holds.
fn read(sources: &Sources) -> Result<(Settings, Options), Vec<SettingProblem>> {
    let settings = sources.settings()?;
    let options = settings.options()?;
    Ok((settings, options))
}

/// What a server that runs is made of, as far as that can be read again.
struct Given {
    sources: Sources,
    settings: Settings,
    options: Options,
    /// The addresses if none is given.
    otherwise: Vec<String>,
    certificates: Vec<Tls>,
    /// Whether SIGHUP has come already, where that means something.
    hangups: Option<Arc<AtomicBool>>,
}

/// What runs already when the server begins, and ends behind it.
struct Started {
    /// The program that answers, if it is not the greeter.
    program: Option<RunningProgram>,
    /// How many files its processes may have open: as many as this one might at first.
    max_open_files: Option<u64>,
}

impl Started {
    fn stop(&self) {
        self.program.iter().for_each(RunningProgram::stop);
    }

    /// Has the program be the one that is asked for now, if a program answers.
    fn replace(&self, options: &Options, settings: &Settings) -> Result<(), Vec<SettingProblem>> {
        let replaced = program(options).replace(self.program.as_ref(), self.max_open_files, settings);
        replaced.map_err(|problem| vec![problem])
    }
}

/// A limit; none where the option is `off`.
#[derive(Clone, Copy)]
struct Bound<T>(Option<T>);

/// Turns options into what can listen, with all of it checked that shows before that, at these
/// addresses if none is given.
fn prepare(
    settings: &Settings,
    options: Options,
    otherwise: &[String],
) -> Result<Prepared<Options, Expensive<Greeter>>, Vec<SettingProblem>> {
    let listeners = settings.of_listeners(otherwise);
    let mut made = listeners::of(&listeners, of_listener);
    let certificates = made.certificates();
    let mut problems = made.problems;
    problems.extend(program(&options).check(settings));
    problems.extend(observers::check(options.admin.as_deref(), options.agent.as_deref(), &mut made.taken, settings));
    let builder = made.listeners.into_iter().fold(limits(&options), Builder::listen);
    match builder.check() {
        Ok(builder) if problems.is_empty() => return Ok(Prepared { options, builder, certificates }),
        Ok(_) => {}
        Err(error) => problems.extend(in_words_of_options(error, settings)),
    }
    problems.sort_by(|one, other| one.source.cmp(&other.source));
    Err(problems)
}

/// Returns the addresses of what a service manager has passed, or that of this machine only.
fn addresses_if_none_is_given(
    settings: &Settings,
    inherited: &InheritedSockets,
) -> Result<Vec<String>, Vec<SettingProblem>> {
    match inherited.problem() {
        // They are not asked for, and a reload that asks for them comes too late.
        _ if settings.has_listeners() => return Ok(vec![LISTEN.to_owned()]),
        Some(problem @ InheritedError::AnotherProcess { .. }) => {
            tracing::warn!(%problem, "Sockets of a service manager are not used.");
        }
        Some(problem) => {
            let message = format!("cannot use the sockets of a service manager: {problem}");
            return Err(vec![SettingProblem { source: SettingSource::Default, message }]);
        }
        None => {}
    }
    let addresses = inherited.addresses();
    Ok(if addresses.is_empty() { vec![LISTEN.to_owned()] } else { addresses })
}

/// Turns the options of one listener into what it is made of.
fn of_listener(settings: &Settings) -> Result<ListenerOptions, Vec<SettingProblem>> {
    let options: Options = settings.options()?;
    Ok(ListenerOptions {
        address: options.listen.into_iter().next().unwrap_or_default(),
        proxies: options.proxy_protocol,
        tls: TlsFiles {
            certificates: options.tls_cert,
            keys: options.tls_key,
            client_authorities: options.tls_client_ca,
            client_auth: options.tls_client_auth,
        },
    })
}

/// Returns what is said of the program that answers.
fn program(options: &Options) -> ProgramOptions {
    let bound = |option: Option<Bound<Duration>>| option.map(|Bound(time)| time);
    ProgramOptions {
        words: options.exec.clone(),
        mode: options.exec_mode,
        children: options.exec_children,
        batch: options.exec_batch,
        lines_max: options.exec_lines_max.and_then(|Bound(lines)| lines).map(|lines| lines as u64),
        probe: options.exec_probe.clone(),
        reply_timeout: bound(options.reply_timeout),
        queue_timeout: bound(options.queue_timeout),
        max_reply_bytes: options.max_unsent_bytes,
    }
}

/// Turns options into a builder without an address.
fn limits(options: &Options) -> Builder<Expensive<Greeter>> {
    let mut builder = Server::builder().responder(Expensive::new(Greeter, options.work)).when_full(options.when_full);
    let program = program(options);
    let observers = usize::from(options.admin.is_some()) + usize::from(options.agent.is_some());
    let spared = DESCRIPTORS_OF_OTHERS + observers * observers::DESCRIPTORS + program.descriptors();
    builder = builder.spare_descriptors(spared).in_parallel(program.batch());
    // A line is only handed to a program: nobody has to help with that.
    let workers = options.workers.or_else(|| (!program.words.is_empty()).then_some(0));
    builder = given(builder, workers, |builder, workers| match workers {
        0 => builder.in_place(),
        workers => builder.workers(workers),
    });
    builder = given(builder, options.connection_threads, Builder::connection_threads);
    builder = given(builder, options.max_connections, Builder::max_connections);
    builder = given(builder, options.max_connections_per_address, |builder, Bound(most)| {
        builder.max_connections_per_address(most)
    });
    builder = given(builder, options.max_line_bytes, Builder::max_line_bytes);
    builder = given(builder, options.max_unsent_bytes, Builder::max_unsent_bytes);
    builder = given(builder, options.max_buffer_bytes, Builder::max_buffer_bytes);
    builder = given(builder, options.line_timeout, |builder, Bound(time)| builder.line_timeout(time));
    builder = given(builder, options.idle_timeout, |builder, Bound(time)| builder.idle_timeout(time));
    builder = given(builder, options.write_timeout, |builder, Bound(time)| builder.write_timeout(time));
    builder = given(builder, options.reply_timeout, |builder, Bound(time)| builder.reply_timeout(time));
    builder = given(builder, options.queue_timeout, |builder, Bound(time)| builder.queue_timeout(time));
    builder = given(builder, options.max_handshakes, Builder::max_handshakes);
    builder = given(builder, options.handshake_timeout, Builder::handshake_timeout);
    builder = given(builder, options.linger, Builder::linger_timeout);
    builder = given(builder, options.max_session_time, |builder, Bound(time)| builder.max_session_time(time));
    builder = given(builder, options.max_accept_rate, |builder, Bound(rate)| builder.max_accept_rate(rate));
    given(builder, options.drain_spread, Builder::drain_spread)
}

/// Sets an option that was given, and leaves the library's default for one that was not.
fn given<B, T>(builder: B, value: Option<T>, set: impl FnOnce(B, T) -> B) -> B {
    match value {
        Some(value) => set(builder, value),
        None => builder,
    }
}

/// Serves until a signal asks for the end.
fn serve<R: Responder>(server: Server<R>, log: &Log, given: Given, started: &Started) -> anyhow::Result<DrainReport> {
    let Given { sources, settings, mut options, otherwise, certificates, hangups } = given;
    let mut signals = Signals::catch(!options.drain_delay.is_zero(), hangups).context("cannot catch signals")?;
    reloader::watch(&certificates).context("cannot watch the certificates")?;
    let mut manager = Manager::from_env().context("cannot start a thread")?;
    if let (Some(0), Some(watchdog)) = (options.workers, manager.watchdog()) {
        tracing::warn!(
            ?watchdog,
            "With no workers, a reply that takes so long looks to the service manager like a hang."
        );
    }
    let handle = server.spawn()?;
    let drain = options.drain;
    let observers =
        Observers::start(&handle, started.program.as_ref(), options.admin.as_deref(), options.agent.as_deref())
            .inspect_err(|_| {
                // Some may have come already.
                handle.shutdown(drain);
            })?;
    let addresses = handle.local_addrs().iter().map(|address| format!("listening on {address}"));
    announce(addresses.chain(observers.addresses()).collect()).context("cannot say where the server listens")?;
    let status = format!("Listening on {}", in_words(handle.local_addrs()));
    manager.ready(&handle, &status).context("cannot start a thread")?;
    say_grace(&options);
    let mut reloader = Reloader::new(handle.clone(), sources, settings, otherwise, certificates, is_live);
    while signals.wait().context("cannot wait for signals")? == SignalRequest::Reload {
        manager.reloading();
        let level = options.log;
        let prepare = |settings: &Settings, otherwise: &[String]| {
            let prepared = prepare(settings, settings.options()?, otherwise)?;
            // The last thing that can be wrong.
            started.replace(&prepared.options, settings)?;
            Ok(prepared)
        };
        // What the reload says is shown at the level before, and at the one behind.
        match reloader.reload(prepare, |reloaded| log.set_level(reloaded.log.max(level))) {
            Ok(reloaded) => {
                options = reloaded;
                log.set_level(options.log);
                say_grace(&options);
                if let Err(error) = signals.set_delayed(!options.drain_delay.is_zero()) {
                    tracing::warn!(%error, "Cannot have a second SIGTERM end the process at once.");
                }
                manager.reloaded(&status);
            }
            Err(problem) => manager.reloaded(&format!("{status}; the settings were not reloaded: {problem}")),
        }
    }
    let report = stop(&handle, &options, &mut signals, &mut manager)?;
    observers.stop();
    manager.flush();
    Ok(report)
}

/// Stops the server, behind the delay unless somebody is in a hurry.
fn stop(
    handle: &ServerHandle,
    options: &Options,
    signals: &mut Signals,
    manager: &mut Manager,
) -> anyhow::Result<DrainReport> {
    let Options { drain, drain_delay: delay, .. } = *options;
    if !delay.is_zero() && !signals.is_urgent() {
        tracing::info!(?delay, ?drain, "Server will stop, and goes on as before until then.");
        handle.set_ready(false);
        // From here on it asks for time, so that nobody ends it before it has stopped.
        manager.stopping(handle);
        signals.wait_for(delay).context("cannot wait for signals")?;
    }
    signals.end_delays();
    tracing::info!(?drain, "Server is stopping.");
    manager.stopping(handle);
    Ok(handle.shutdown(drain))
}

/// Says how long a stop may take, if nobody would think so.
fn say_grace(options: &Options) {
    if !options.drain_delay.is_zero() {
        let grace = options.drain_delay.saturating_add(options.drain).saturating_add(Duration::from_secs(5));
        tracing::info!(?grace, "Whoever ends this process by SIGTERM should wait so long for it.");
    }
}

/// Returns whether an option holds at once when the file was read again.
fn is_live(name: &str) -> bool {
    let is_it = |option: &&str| option.strip_prefix("--") == Some(name);
    let mut groups = GROUPS.iter().filter(|(heading, _)| LIVE_GROUPS.contains(heading));
    LIVE.contains(&name) || groups.any(|(_, options)| options.iter().any(is_it))
}

fn in_words(addresses: &[ListenerAddress]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes the addresses to stdout, for programs that have started this one. People have the log. A
/// program that does not read its pipe blocks only the thread that writes here.
fn announce(lines: Vec<String>) -> io::Result<()> {
    let say = move || {
        let mut stdout = io::stdout().lock();
        let said = lines.iter().try_for_each(|line| writeln!(stdout, "{line}"));
        if let Err(error) = said {
            tracing::warn!(%error, "Cannot say on stdout where the server listens.");
        }
    };
    thread::Builder::new().name("stdout".to_owned()).spawn(say).map(drop)
}

/// Raises the limit of open files as far as allowed. A connection needs a descriptor, and the usual
/// limit of 1,024 is low only because of select(2), which is not used here. Returns what it was:
/// other programs may use that.
fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "Cannot raise the limit of open files.");
    }
    limit.current
}

/// Returns the error in terms of the options, each with its place.
fn in_words_of_options(error: BuildError, settings: &Settings) -> Vec<SettingProblem> {
    let problems = match error {
        BuildError::Invalid(problems) => problems,
        error => {
            let source = match &error {
                BuildError::Listen { address, .. } => settings.source_of_value(|text| {
                    text.starts_with(address) || text.get("tls:".len()..).is_some_and(|rest| rest.starts_with(address))
                }),
                _ => SettingSource::Default,
            };
            return vec![SettingProblem { source, message: format!("{:#}", anyhow::Error::from(error)) }];
        }
    };
    let of_option = |option: &str| settings.source_of(&option.replace('_', "-"));
    // If no listener is left, something was wrong with each, and is told.
    let problems = problems.iter().filter(|problem| !matches!(problem, ConfigError::NoAddress));
    let in_words = problems.map(|problem| match problem {
        // For the binary, 0 workers is in place.
        ConfigError::OutOfRange { option: "workers", value, max, .. } => {
            (of_option("workers"), format!("--workers is {value}, but must be from 0 to {max}"))
        }
        ConfigError::OutOfRange { option, .. } | ConfigError::TooShort { option, .. } => {
            let said = problem.to_string().replacen(option, &format!("--{}", option.replace('_', "-")), 1);
            (of_option(option), said.replace("or none at all", "or off"))
        }
        ConfigError::Address { address, .. } => {
            // Of an address behind tls:, only what is behind that.
            let is_shown = |text: &str| format!("{text:?}") == *address;
            let is_it = |text: &str| is_shown(text) || text.get("tls:".len()..).is_some_and(is_shown);
            (settings.source_of_value(is_it), problem.to_string())
        }
        ConfigError::Network { network } => (settings.source_of_value(|text| text == network), problem.to_string()),
        problem => (SettingSource::Default, problem.to_string()),
    });
    in_words.map(|(source, message)| SettingProblem { source, message }).collect()
}

/// Writes what is wrong to stderr, after the log, and returns the exit code.
fn fail(log: &Log, problems: &[SettingProblem], code: u8) -> ExitCode {
    problems.iter().for_each(|problem| log.write_line(&error_line(problem)));
    ExitCode::from(code)
}

fn error_line(problem: &SettingProblem) -> String {
    format!("error: {}", printable(&problem.to_string()))
}

fn duration(text: &str) -> Result<Duration, String> {
    if text == "off" {
        return Err("this one cannot be off".to_owned());
    }
    if text.contains('M') {
        return Err("M would be a month; write m for minutes".to_owned());
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 500ms, 2s or 1m"))
}

fn duration_or_off(text: &str) -> Result<Bound<Duration>, String> {
    if text == "off" { Ok(Bound(None)) } else { duration(text).map(|time| Bound(Some(time))) }
}

fn number_or_off(text: &str) -> Result<Bound<usize>, String> {
    if text == "off" {
        return Ok(Bound(None));
    }
    text.parse().map(|number| Bound(Some(number))).map_err(|error| format!("{error}; write a number, or off"))
}

fn when_full(text: &str) -> Result<WhenFull, String> {
    match text {
        "refuse" => Ok(WhenFull::Reject),
        "wait" => Ok(WhenFull::Wait),
        _ => Err("use refuse or wait".to_owned()),
    }
}

fn client_auth(text: &str) -> Result<ClientAuth, String> {
    match text {
        "optional" => Ok(ClientAuth::Optional),
        "required" => Ok(ClientAuth::Required),
        _ => Err("use optional or required".to_owned()),
    }
}

fn exec_mode(text: &str) -> Result<ExecMode, String> {
    match text {
        "lines" => Ok(ExecMode::Lines),
        "tagged" => Ok(ExecMode::Tagged),
        "per-client" => Ok(ExecMode::PerClient),
        _ => Err("use lines, tagged or per-client".to_owned()),
    }
}

fn size(text: &str) -> Result<usize, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}; write it as 8192, 8KiB or 1MiB"))?;
    usize::try_from(size.0).map_err(|error| error.to_string())
}

fn level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        _ => Err("use off, error, warn, info or debug".to_owned()),
    }
}

fn format(text: &str) -> Result<log::Format, String> {
    match text {
        "text" => Ok(log::Format::Text),
        "json" => Ok(log::Format::Json),
        _ => Err("use text or json".to_owned()),
    }
}
