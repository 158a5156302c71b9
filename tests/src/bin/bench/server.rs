//! The servers that are measured: greeter in its placements, the floor, and what others would
//! write.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use greeter_tests::process::{TestedServer, build, greeter_server};

use crate::case::{Case, named};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contestant {
    BareLoop,
    InPlace,
    InPlaceOnTwo,
    Pool,
    Go,
    GoJobs,
    TokioLines,
    TokioBatched,
    ThreadPool,
    Redis,
}

impl Contestant {
    pub(crate) const ALL: [Self; 10] = [
        Self::BareLoop,
        Self::InPlace,
        Self::InPlaceOnTwo,
        Self::Pool,
        Self::Go,
        Self::GoJobs,
        Self::TokioLines,
        Self::TokioBatched,
        Self::ThreadPool,
        Self::Redis,
    ];

    /// The three ways to run ours.
    pub(crate) const OURS: [Self; 3] = [Self::InPlace, Self::InPlaceOnTwo, Self::Pool];

    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::BareLoop => "bare-loop",
            Self::InPlace => "in-place",
            Self::InPlaceOnTwo => "in-place-2",
            Self::Pool => "pool",
            Self::Go => "server.go",
            Self::GoJobs => "server2.go",
            Self::TokioLines => "tokio-lines",
            Self::TokioBatched => "tokio-batched",
            Self::ThreadPool => "thread-pool",
            Self::Redis => "redis",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::BareLoop => "bare loop",
            Self::InPlace => "in place",
            Self::InPlaceOnTwo => "in place, 2 threads",
            Self::Pool => "pool of 2",
            Self::Go => "server.go",
            Self::GoJobs => "server2.go",
            Self::TokioLines => "tokio, LinesCodec",
            Self::TokioBatched => "tokio, batched",
            Self::ThreadPool => "thread per connection",
            Self::Redis => "Redis PING",
        }
    }

    /// What it is, for those who read only the tables.
    pub(crate) const fn description(self) -> &'static str {
        match self {
            Self::BareLoop => {
                "the floor: one thread, one `mio` loop, no limits, no back-pressure (`tests/src/bin/floor.rs`)"
            }
            Self::InPlace => {
                "`greeter-server --workers 0 --connection-threads 1`: the default on two processors, but for the pool"
            }
            Self::InPlaceOnTwo => "`greeter-server --workers 0 --connection-threads 2`",
            Self::Pool => "`greeter-server --workers 2 --connection-threads 1`: the default on two processors",
            Self::Go => "the article's first program (`tests/peers/go/server.go`)",
            Self::GoJobs => "the article's second program (`tests/peers/go/server2.go`)",
            Self::TokioLines => "tokio with `LinesCodec` (`tests/peers/src/bin/tokio_lines.rs`)",
            Self::TokioBatched => "tokio, one write for all lines of a read (`tests/peers/src/bin/tokio_batched.rs`)",
            Self::ThreadPool => {
                "a thread for each connection, and a crossbeam pool of 2 (`tests/peers/src/bin/thread_pool.rs`)"
            }
            Self::Redis => "`redis-server`, which answers `PING` with `+PONG`",
        }
    }

    pub(crate) fn is_ours(self) -> bool {
        Self::OURS.contains(&self)
    }

    /// Whether it is among those whose cost is looked at from one connection to thousands: ours,
    /// and the fastest of the others.
    pub(crate) fn is_watched_growing(self) -> bool {
        self.is_ours() || matches!(self, Self::BareLoop | Self::Go | Self::TokioBatched)
    }

    /// Those of ours that are not the same for all.
    const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::InPlace => &["--workers", "0", "--connection-threads", "1"],
            Self::InPlaceOnTwo => &["--workers", "0", "--connection-threads", "2"],
            Self::Pool => &["--workers", "2", "--connection-threads", "1"],
            _ => &[],
        }
    }
}

impl FromStr for Contestant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named(&Self::ALL, Self::key, text)
    }
}

/// For as many connections as the system allows, all of them from one address.
const OURS_ARGUMENTS: [&str; 8] =
    ["--listen", "127.0.0.1:0", "--log", "error", "--max-connections-per-address", "off", "--max-connections", "20000"];

/// The programs of the servers, built.
#[derive(Debug)]
pub(crate) struct Programs {
    paths: BTreeMap<Contestant, PathBuf>,
    /// The one whose replies wait.
    waiting: PathBuf,
    /// Whom there is no program of, and why.
    pub(crate) missing: Vec<(Contestant, String)>,
}

impl Programs {
    /// Builds those of `servers`.
    pub(crate) fn build(servers: &[Contestant]) -> Self {
        let mut programs =
            Self { paths: BTreeMap::new(), waiting: build("greeter-tests", "waiting"), missing: Vec::new() };
        for &server in servers {
            match program(server) {
                Ok(path) => drop(programs.paths.insert(server, path)),
                Err(error) => programs.missing.push((server, format!("{error:#}"))),
            }
        }
        programs
    }

    /// Those that can be measured.
    pub(crate) fn servers(&self) -> impl Iterator<Item = Contestant> {
        self.paths.keys().copied()
    }

    /// Starts a fresh one.
    pub(crate) fn start(&self, server: Contestant, case: Case) -> Result<TestedServer> {
        let mut command = Command::new(&self.paths[&server]);
        match (server, case) {
            (_, Case::Waiting { workers }) => {
                command = Command::new(&self.waiting);
                command.arg(workers.to_string());
            }
            (_, Case::Working { workers }) => {
                command.args(OURS_ARGUMENTS).args(["--work", "1ms", "--workers", &workers.to_string()]);
            }
            (Contestant::Redis, _) => return start_redis(command),
            _ if server.is_ours() => drop(command.args(OURS_ARGUMENTS).args(server.arguments())),
            _ => {}
        }
        let started = TestedServer::try_start(command, 1);
        started.or_else(|(status, log)| bail!("{} has ended, {status}: {log}", server.name()))
    }
}

fn program(server: Contestant) -> Result<PathBuf> {
    match server {
        Contestant::BareLoop => Ok(build("greeter-tests", "floor")),
        Contestant::InPlace | Contestant::InPlaceOnTwo | Contestant::Pool => Ok(greeter_server().to_owned()),
        Contestant::Go => go("server"),
        Contestant::GoJobs => go("server2"),
        Contestant::TokioLines => peer("tokio_lines"),
        Contestant::TokioBatched => peer("tokio_batched"),
        Contestant::ThreadPool => peer("thread_pool"),
        Contestant::Redis => {
            said("redis-server", "--version").context("install redis-server")?;
            Ok("redis-server".into())
        }
    }
}

/// The first line that a program says if it is asked that.
///
/// # Errors
///
/// It is not there, or does not understand.
pub(crate) fn said(program: &str, question: &str) -> Result<String> {
    let output = Command::new(program).arg(question).output().with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} {question} has failed, {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Where the programs of others are built: beside ours.
fn target() -> Result<PathBuf> {
    let program = std::env::current_exe().context("this program has no path")?;
    let folder = program.ancestors().nth(2).context("this program is not in a target folder")?.join("peers");
    std::fs::create_dir_all(&folder).context("cannot make a folder for the peers")?;
    Ok(folder)
}

fn go(program: &str) -> Result<PathBuf> {
    said("go", "version").context("install Go")?;
    let path = target()?.join(program);
    let mut command = Command::new("go");
    command.current_dir(peers().join("go")).arg("build").arg("-o").arg(&path).arg(format!("{program}.go"));
    finish(command)?;
    Ok(path)
}

fn peer(program: &str) -> Result<PathBuf> {
    let target = target()?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--release", "--locked", "--bin", program, "--manifest-path"]);
    command.arg(peers().join("Cargo.toml")).arg("--target-dir").arg(&target);
    finish(command).context("cannot build tests/peers, which needs the registry")?;
    Ok(target.join("release").join(program))
}

fn finish(mut command: Command) -> Result<()> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let status = command.status().with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} build has failed, {status}");
    Ok(())
}

/// It does not say where it listens, so it is told.
fn start_redis(mut command: Command) -> Result<TestedServer> {
    let address = free_address().context("loopback has no free port")?;
    let port = address.port().to_string();
    command.args(["--bind", "127.0.0.1", "--port", &port, "--maxclients", "20000", "--loglevel", "warning"]);
    // Visitors come from all of 127.0.0.0/8, of which it takes only 127.0.0.1 for this host.
    command.args(["--protected-mode", "no"]);
    // It keeps nothing, and has as many clients wait to be accepted as the others.
    command.args(["--save", "", "--appendonly", "no", "--tcp-backlog", "4096"]);
    let started = TestedServer::try_start_at(command, address);
    started.or_else(|(status, log)| bail!("redis-server has ended, {status}: {log}"))
}

fn free_address() -> io::Result<std::net::SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
