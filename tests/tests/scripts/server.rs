//! Programs that nobody here wrote, as servers for scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use greeter_client::run::{Outcome, RunOptions, ServerError, ServerProcess, run};
use greeter_client::talk::{Script, Signal};
use greeter_tests::{missing, missing_program};

/// How long a program may take until it listens, on a machine that does much else.
const START: Duration = Duration::from_secs(20);

/// A program, and how to start it on the port `{port}`, with a folder for itself.
pub(crate) struct Stranger {
    /// Its scripts are those whose name starts with this.
    protocol: &'static str,
    program: &'static str,
    /// Where Debian has it.
    package: &'static str,
    arguments: fn(&Path) -> Vec<String>,
}

const STRANGERS: &[Stranger] = &[
    Stranger { protocol: "ftp", program: "vsftpd", package: "vsftpd", arguments: vsftpd },
    Stranger { protocol: "irc", program: "ngircd", package: "ngircd", arguments: ngircd },
    Stranger { protocol: "memcached", program: "memcached", package: "memcached", arguments: memcached },
    Stranger { protocol: "pop3", program: "dovecot", package: "dovecot-pop3d", arguments: dovecot },
    Stranger { protocol: "redis", program: "redis-server", package: "redis-server", arguments: redis },
    Stranger { protocol: "shell", program: "python3", package: "python3", arguments: shell },
    Stranger { protocol: "smtp", program: "smtp-sink", package: "postfix", arguments: smtp_sink },
];

fn vsftpd(folder: &Path) -> Vec<String> {
    let place = folder.display();
    // Whoever comes is a user of the system, who has a home.
    let user = if is_root() { "ftp_username=daemon" } else { "run_as_launching_user=YES" };
    let text = format!(
        "listen=YES\nlisten_address=127.0.0.1\nlisten_port=@PORT@\nbackground=NO\nanonymous_enable=YES\n{user}\n\
         anon_root={place}/files\nsecure_chroot_dir={place}/nothing\nxferlog_enable=NO\nseccomp_sandbox=NO\n"
    );
    let file = folder.join("vsftpd.conf");
    let files = folder.join("files");
    let made = [&files, &folder.join("nothing")].into_iter().try_for_each(fs::create_dir);
    made.and_then(|()| fs::write(files.join("hello.txt"), "Hello, Bob\n")).expect("the folder is ours");
    fs::write(&file, text).expect("the folder is ours");
    vec![file.display().to_string()]
}

/// Anybody who knows the password is a user, and has no mail.
fn dovecot(folder: &Path) -> Vec<String> {
    let file = folder.join("dovecot.conf");
    let place = folder.display();
    let text = format!(
        "base_dir = {place}/run\nstate_dir = {place}/state\nlog_path = /dev/stderr\nprotocols = pop3\nlisten = 127.0.0.1\n\
         ssl = no\nauth_failure_delay = 0 secs\nservice anvil {{\n  unix_listener anvil-auth-penalty {{\n    mode = 0\n  }}\n}}\nauth_mechanisms = plain apop\nmail_location = mbox:{place}/home/mail\nfirst_valid_uid = 1\n\
         passdb {{\n  driver = static\n  args = password=wonderland\n}}\n\
         userdb {{\n  driver = static\n  args = uid=nobody gid=nogroup home={place}/home\n}}\n\
         service pop3-login {{\n  inet_listener pop3 {{\n    port = @PORT@\n  }}\n  inet_listener pop3s {{\n    port = 0\n  }}\n}}\n"
    );
    fs::write(&file, text).expect("the folder is ours");
    // Whose mail it is, is a user of the system.
    let open = fs::Permissions::from_mode(0o777);
    let home = folder.join("home");
    fs::create_dir(&home).and_then(|()| fs::set_permissions(&home, open)).expect("the folder is ours");
    words(&format!("-F -c {}", file.display()))
}

fn ngircd(folder: &Path) -> Vec<String> {
    let file = folder.join("ngircd.conf");
    // People who type are made to wait for what could be a flood. Nobody types here.
    let text = "[Limits]\nMaxPenaltyTime = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n\
         [Global]\nName = irc.example.net\nInfo = A place to test\nListen = 127.0.0.1\n\
         ServerUID = nobody\nServerGID = nogroup\nPorts = @PORT@\n";
    fs::write(&file, text).expect("the folder is ours");
    words(&format!("--nodaemon --config {}", file.display()))
}

fn memcached(_folder: &Path) -> Vec<String> {
    words("--listen=127.0.0.1 --port={port} --udp-port=0 --user=nobody --memory-limit=16 --threads=1")
}

fn redis(folder: &Path) -> Vec<String> {
    let mut arguments = words("--bind 127.0.0.1 --port {port} --appendonly no --dir");
    arguments.push(folder.display().to_string());
    // Never.
    arguments.extend(["--save".to_owned(), String::new()]);
    arguments
}

fn shell(_folder: &Path) -> Vec<String> {
    // It becomes the shell of its only client, so that there is no other process to wait for. That
    // asks on stderr, and `$$` is its number.
    let program = "import os, socket, sys\n\
         client, _ = socket.create_server(('127.0.0.1', int(sys.argv[1]))).accept()\n\
         for stream in range(3): os.dup2(client.fileno(), stream)\n\
         asks = {'PS1': 'guest@host-$$:~\\\\$ ', 'PS2': '> '}\n\
         os.execvpe('dash', ['dash', '-i'], {**os.environ, **asks})";
    ["-c", program, "{port}"].map(str::to_owned).into()
}

fn smtp_sink(_folder: &Path) -> Vec<String> {
    let user = if is_root() { "-u nobody " } else { "" };
    words(&format!("{user}-h mail.example.net 127.0.0.1:{{port}} 10"))
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
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

    /// Whether it cannot be had here, which is told.
    pub(crate) fn is_missing(&self) -> bool {
        // It becomes other users, and is no server without that.
        let is_forbidden = self.program == "dovecot" && !is_root();
        missing_program(&self.path(), self.package) || missing(is_forbidden, "the right to run dovecot", self.package)
    }

    /// How the program is started. Debian has some where only the administrator looks for programs.
    fn path(&self) -> String {
        let path = Path::new("/usr/sbin").join(self.program);
        if path.is_file() { path.display().to_string() } else { self.program.to_owned() }
    }

    /// Who speaks this.
    pub(crate) fn speaking(protocol: &str) -> Option<&'static Self> {
        STRANGERS.iter().find(|stranger| stranger.protocol == protocol)
    }

    /// Runs a script against a server of its own.
    pub(crate) fn run(&self, script: &Script, options: &RunOptions) -> Result<Outcome, String> {
        self.with_server(|server| run(script, options, Some(server)))
    }

    /// Does something with a server of its own.
    pub(crate) fn with_server<T>(&self, act: impl FnOnce(&mut ServerProcess) -> T) -> Result<T, String> {
        let folder = Folder::new();
        let log = folder.0.join("log");
        // It becomes the program. Some are told their port only by a file.
        let wrapper = r#"cd "$0"; sed -i "s/@PORT@/{port}/" *.conf 2>/dev/null; exec "$@" >log 2>&1"#.to_owned();
        let command = [
            vec!["sh".to_owned(), "-c".to_owned(), wrapper, folder.0.display().to_string(), self.path()],
            (self.arguments)(&folder.0),
        ];
        let told = |error: ServerError| format!("{error}\n{}", fs::read_to_string(&log).unwrap_or_default());
        let mut server = ServerProcess::start(&command.concat(), START).map_err(told)?;
        let outcome = act(&mut server);
        // It has nothing to save, and some take a second to end when they are asked to. One that
        // has ended with its client cannot be killed; of any other trouble, its end tells. One that
        // is many processes ends them all by itself.
        let _ = server.signal(if self.program == "dovecot" { Signal::Term } else { Signal::Kill });
        server.end().map_err(told)?;
        Ok(outcome)
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
