//! Turns a command line into a process with pipes, and sees to its end and that of all it has
//! started. Must not know what is said through the pipes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry, Token};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgid, kill_process, kill_process_group, waitid,
};

use super::report::ExecError;

/// What a service manager says to this process, and to no other (sd_notify(3), sd_listen_fds(3)).
const OF_SERVICE_MANAGER: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

/// A program, its arguments and its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: OsString,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
    /// Variables of this process that it does not have.
    pub(super) forgotten: &'static [&'static str],
    /// Whether its stdin and stdout are one socket, as of inetd, and not two pipes.
    pub(super) has_socket: bool,
    /// The soft limit of open files (RLIMIT_NOFILE), if it is another than this process has.
    pub(super) max_open_files: Option<u64>,
}

/// A process that was started, and our ends of its pipes, which do not block. Where it has a
/// socket, two of them are one end of that.
#[derive(Debug)]
pub(super) struct StartedProcess {
    pub(super) process: Process,
    pub(super) stdin: Sender,
    pub(super) stdout: Receiver,
    pub(super) stderr: Receiver,
}

/// A process that leads a group of its own. Dropped before it was [reaped](Self::try_reap), it is
/// killed with its group.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Readable once the process has ended.
    #[cfg(target_os = "linux")]
    descriptor: Option<OwnedFd>,
    is_reaped: bool,
}

impl Program {
    /// A program of this name, without arguments, in the environment of this process.
    pub(super) fn new(name: &OsStr) -> Self {
        Self {
            name: name.to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            forgotten: &[],
            has_socket: false,
            max_open_files: None,
        }
    }

    /// Finds out whether there is such a program.
    pub(super) fn check(&self) -> Result<(), ExecError> {
        let not_started = |source| ExecError::NotStarted { program: self.display().to_string(), source };
        self.find().map(drop).map_err(not_started)
    }

    /// Starts it, and waits until the program runs in its process, or cannot.
    pub(super) fn start(&self) -> io::Result<StartedProcess> {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments);
        for name in OF_SERVICE_MANAGER.iter().chain(self.forgotten) {
            command.env_remove(name);
        }
        // Otherwise nothing that Python prints leaves it before there are 8 KiB.
        if env::var_os("PYTHONUNBUFFERED").is_none() {
            command.env("PYTHONUNBUFFERED", "1");
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let socket = self.has_socket.then(|| give_socket(&mut command)).transpose()?;
        if socket.is_none() {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        }
        let mut process = Process::new(command.stderr(Stdio::piped()).process_group(0).spawn()?);
        self.limit_files(&process);
        let child = &mut process.child;
        let ends = socket.or_else(|| Some((child.stdin.take()?, child.stdout.take()?)));
        let (Some((stdin, stdout)), Some(stderr)) = (ends, child.stderr.take()) else {
            unreachable!("pipes were asked for")
        };
        let (stdin, stdout, stderr) = (Sender::from(stdin), Receiver::from(stdout), Receiver::from(stderr));
        stdin.set_nonblocking(true)?;
        stdout.set_nonblocking(true)?;
        stderr.set_nonblocking(true)?;
        Ok(StartedProcess { process, stdin, stdout, stderr })
    }

    /// Gives the process the limit of open files that is its own: with more than 1,024, programs
    /// break that use select(2).
    #[cfg(target_os = "linux")]
    fn limit_files(&self, process: &Process) {
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
        if let Some(most) = self.max_open_files {
            let limit = Rlimit { current: Some(most), maximum: getrlimit(Resource::Nofile).maximum };
            if let Err(error) = prlimit(Some(process.pid()), Resource::Nofile, limit) {
                tracing::warn!(%error, "Cannot limit the open files of a program.");
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn limit_files(&self, _: &Process) {}

    /// Looks whether there is such a program, as execvp(3) does.
    fn find(&self) -> io::Result<PathBuf> {
        if Path::new(&self.name).components().count() > 1 {
            return is_executable(Path::new(&self.name));
        }
        let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
        let mut problem = Errno::NOENT.into();
        for folder in env::split_paths(&path) {
            match is_executable(&folder.join(&self.name)) {
                Ok(found) => return Ok(found),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    pub(super) fn display(&self) -> impl std::fmt::Display + '_ {
        OsStr::display(&self.name)
    }
}

/// Has a program talk through a socket, and returns our end of it, to write to and to read from.
fn give_socket(command: &mut Command) -> io::Result<(ChildStdin, ChildStdout)> {
    let (ours, its) = UnixStream::pair()?;
    command.stdin(OwnedFd::from(its.try_clone()?)).stdout(OwnedFd::from(its));
    Ok((ChildStdin::from(OwnedFd::from(ours.try_clone()?)), ChildStdout::from(OwnedFd::from(ours))))
}

fn is_executable(path: &Path) -> io::Result<PathBuf> {
    let is_file = path.metadata()?.is_file();
    access(path, Access::EXEC_OK)?;
    if is_file { Ok(path.to_owned()) } else { Err(Errno::ACCESS.into()) }
}

impl Process {
    fn new(child: Child) -> Self {
        #[cfg(target_os = "linux")]
        let descriptor = {
            use rustix::process::{PidfdFlags, pidfd_open};
            // Without one, it is looked at now and then.
            pidfd_open(pid_of(&child), PidfdFlags::NONBLOCK).ok()
        };
        Self {
            child,
            #[cfg(target_os = "linux")]
            descriptor,
            is_reaped: false,
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        pid_of(&self.child)
    }

    /// Sends a signal to the process and to all that it has started and has not put into other
    /// groups. Until it is reaped, nobody else can have its number.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.is_reaped {
            // It may have ended.
            let _ = kill_process_group(self.pid(), signal);
            if getpgid(Some(self.pid())) != Ok(self.pid()) {
                // It has left its group.
                let _ = kill_process(self.pid(), signal);
            }
        }
    }

    /// Returns whether its end is an event, once it is [registered](Self::register).
    pub(super) const fn is_watched(&self) -> bool {
        #[cfg(target_os = "linux")]
        let is_watched = self.descriptor.is_some();
        #[cfg(not(target_os = "linux"))]
        let is_watched = false;
        is_watched
    }

    /// Has the end of the process be an event.
    #[cfg(target_os = "linux")]
    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        use mio::unix::SourceFd;
        use std::os::fd::AsRawFd;
        let Some(descriptor) = &self.descriptor else { return Ok(()) };
        registry.register(&mut SourceFd(&descriptor.as_raw_fd()), token, Interest::READABLE)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn register(&self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }

    /// Looks at how it is: nothing while it runs, and an error if another has reaped it, though it
    /// is ours.
    fn look(&self) -> Result<Option<WaitIdStatus>, Errno> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid()), look)
    }

    /// Returns whether it has ended, or is not there any more.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.look(), Ok(None))
    }

    /// Returns how it has ended, once it has; and then nothing is left of its group.
    pub(super) fn try_reap(&mut self) -> Option<ExitStatus> {
        match self.look() {
            Ok(None) => return None,
            Ok(Some(_)) => self.signal(Signal::KILL),
            // Its number may be anybody's.
            Err(_) => {}
        }
        self.is_reaped = true;
        Some(self.child.wait().unwrap_or_default())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !mem::replace(&mut self.is_reaped, true) {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            match kill_process(self.pid(), Signal::KILL) {
                Ok(()) => _ = self.child.wait(),
                // It has become another user's, and ends when it likes: nobody waits for that.
                Err(error) => tracing::error!(pid = self.id(), %error, "Cannot end a program."),
            }
        }
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}
