//! Programs that nobody here wrote, as servers for scripts.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use greeter_client::Address;
use greeter_client::run::{Outcome, RunOptions, Server, run};
use greeter_client::session::Target;
use greeter_client::talk::{Script, Signal};

/// A program, and how to start it on a port, with a folder for itself.
pub(crate) struct Stranger {
    /// Its scripts are those whose name starts with this.
    protocol: &'static str,
    program: &'static str,
    /// Where Debian has it.
    pub(crate) package: &'static str,
    arguments: fn(u16, &Path) -> Vec<String>,
}

const STRANGERS: &[Stranger] = &[
    Stranger { protocol: "irc", program: "ngircd", package: "ngircd", arguments: ngircd },
    Stranger { protocol: "memcached", program: "memcached", package: "memcached", arguments: memcached },
    Stranger { protocol: "redis", program: "redis-server", package: "redis-server", arguments: redis },
    Stranger { protocol: "smtp", program: "smtp-sink", package: "postfix", arguments: smtp_sink },
];

fn ngircd(port: u16, folder: &Path) -> Vec<String> {
    let file = folder.join("ngircd.conf");
    // People who type are made to wait for what could be a flood. Nobody types here.
    let text = format!(
        "[Global]\nName = irc.example.net\nInfo = A place to test\nListen = 127.0.0.1\nPorts = {port}\n\
         ServerUID = nobody\nServerGID = nogroup\n\
         [Limits]\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
    );
    fs::write(&file, text).expect("the folder is ours");
    words(&format!("--nodaemon --config {}", file.display()))
}

fn memcached(port: u16, _folder: &Path) -> Vec<String> {
    words(&format!("--listen=127.0.0.1 --port={port} --udp-port=0 --user=nobody --memory-limit=16 --threads=1"))
}

fn redis(port: u16, folder: &Path) -> Vec<String> {
    let mut arguments = words(&format!("--bind 127.0.0.1 --port {port} --appendonly no --dir {}", folder.display()));
    // Never.
    arguments.extend(["--save".to_owned(), String::new()]);
    arguments
}

fn smtp_sink(port: u16, _folder: &Path) -> Vec<String> {
    let user = if rustix::process::geteuid().is_root() { "-u nobody " } else { "" };
    words(&format!("{user}-h mail.example.net 127.0.0.1:{port} 10"))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Stranger {
    /// Whom a script is for.
    pub(crate) fn of(script: &Script) -> Option<&'static Self> {
        let file = Path::new(script.name()).file_stem()?.to_str()?;
        STRANGERS.iter().find(|stranger| file.starts_with(stranger.protocol))
    }

    /// How the program is started. Debian has some where only the administrator looks for programs.
    pub(crate) fn path(&self) -> String {
        let path = Path::new("/usr/sbin").join(self.program);
        if path.is_file() { path.display().to_string() } else { self.program.to_owned() }
    }

    /// Runs a script against a server of its own. Between the choice of a free port and its use, another may take it;
    /// then the server ends, and there is another try.
    pub(crate) fn run(&self, script: &Script, options: &RunOptions) -> Result<Outcome, String> {
        let mut log = String::new();
        for _ in 0..5 {
            let folder = Folder::new();
            let log_file = folder.0.join("log");
            let port = free_port();
            let address = format!("127.0.0.1:{port}");
            let command = [
                // It says for the server what that does not say, and becomes it.
                words("sh -c"),
                vec![r#"echo "listening on $1"; log=$2; shift 2; exec "$@" >"$log" 2>&1"#.to_owned()],
                vec!["sh".to_owned(), address.clone(), log_file.display().to_string(), self.path()],
                (self.arguments)(port, &folder.0),
            ];
            let mut server = Server::start(&command.concat(), Duration::from_secs(5)).map_err(|err| err.to_string())?;
            let mut target = Target::from(address.parse::<Address>().map_err(|err| err.to_string())?);
            target.wait = Duration::from_secs(5);
            let mut options = options.clone();
            options.target = Some(target);
            let outcome = run(script, &options, Some(&mut server));
            if server.wait(Duration::ZERO).map_err(|err| err.to_string())?.is_none() {
                // It has nothing to save, and some take a second to end when they are asked to.
                server.signal(Signal::Kill).map_err(|err| err.to_string())?;
                return Ok(outcome);
            }
            log = String::from_utf8_lossy(&fs::read(log_file).unwrap_or_default()).into_owned();
        }
        Err(format!("{} does not stay:\n{log}", self.program))
    }
}

/// A port that is free now. It is none that the system gives to those who do not care, our own connections among them.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let some = u16::try_from(process::id() % 10_000).expect("so little fits");
    loop {
        let port = 20_000 + (some + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A folder that does not outlive its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("greeter-stranger-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a temporary folder can be had");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
