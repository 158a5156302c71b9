//! The process of a server, and those that it starts: a group of their own, which ends as a whole.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::super::port::NoStarts;
use super::error::ServerError;
use super::output::{OutputReader, pass_on};
use crate::talk::{Secrets, Signal};

/// How long a server may take to end when it is asked to, before it is made to.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(2);

/// How often to look whether a process has ended: the system has no wait with a deadline.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// How often to look, where somebody takes their time.
pub(super) const LOOK_RARELY: Duration = Duration::from_millis(50);

/// How long what belongs together may take to arrive: that a process has ended, and what it said
/// last.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// What no server is told, and what is not shown of what a server says.
#[derive(Debug, Default)]
pub(super) struct HiddenFromServers {
    pub(super) secrets: Secrets,
    /// Of the environment.
    pub(super) variables: Vec<String>,
}

/// A process that does not outlive its value.
#[derive(Debug)]
pub(super) struct ProcessGroup {
    child: Child,
    status: Option<ExitStatus>,
    end: GroupEnd,
    pub(super) stdout: OutputReader,
    pub(super) stderr: OutputReader,
}

/// Whether it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GroupEnd {
    NotYet,
    Whole,
    /// Somebody still holds what it has printed to: a process that has left its group.
    ButForOne,
}

impl ProcessGroup {
    /// Starts a program; what it prints on stderr is printed on ours, without secrets.
    pub(super) fn start(command: &[String], stdout: Stdio, hidden: &HiddenFromServers) -> Result<Self, ServerError> {
        let (program, arguments) = command.split_first().ok_or(ServerError::NoCommand)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        for variable in &hidden.variables {
            command.env_remove(variable);
        }
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let starting = NoStarts::wait();
        let child = command.spawn();
        drop(starting);
        let child = child.map_err(|source| ServerError::Start { program: program.clone(), source })?;
        let (stdout, stderr) = (OutputReader::default(), OutputReader::default());
        let mut process = Self { child, status: None, end: GroupEnd::NotYet, stdout, stderr };
        let pipe = process.child.stderr.take().expect("stderr was asked for as a pipe");
        process.stderr.hide(&hidden.secrets);
        process.stderr.start("server-stderr", pipe, pass_on).map_err(ServerError::Process)?;
        Ok(process)
    }

    /// Reads what it prints on stdout, which was asked for as a pipe.
    pub(super) fn read_stdout(&mut self, take: impl FnMut(&[u8]) + Send + 'static) -> io::Result<()> {
        let pipe = self.child.stdout.take().expect("stdout was asked for as a pipe");
        self.stdout.start("server-stdout", pipe, take)
    }

    /// How it ended, if it has. Even then its number is no other's, nor is that of its group, until
    /// [`end`](Self::end).
    #[cfg(unix)]
    pub(super) fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};
        if self.status.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            self.status = waitid(WaitId::Pid(self.pid()), options)?.as_ref().map(exit_status);
        }
        Ok(self.status)
    }

    #[cfg(not(unix))]
    pub(super) fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.status = self.child.try_wait()?;
        Ok(self.status)
    }

    #[cfg(unix)]
    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    #[cfg(unix)]
    pub(super) fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match self.status()? {
            Some(_) => Err(io::Error::new(io::ErrorKind::NotFound, "the server has ended")),
            None => Ok(rustix::process::kill_process(self.pid(), system(signal))?),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn signal(&mut self, _signal: Signal) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Asks it to end, and those that it has started, too.
    #[cfg(unix)]
    pub(super) fn ask_to_end(&self) -> bool {
        // A process that stands still would not hear that it is to end.
        self.end == GroupEnd::NotYet && self.signal_group(Signal::Term) && self.signal_group(Signal::Cont)
    }

    #[cfg(not(unix))]
    pub(super) fn ask_to_end(&self) -> bool {
        false
    }

    /// Makes it end unless it does so itself soon, and those that it has started, too.
    pub(super) fn end(&mut self) {
        if self.end != GroupEnd::NotYet {
            return;
        }
        let deadline = Instant::now() + END_TIMEOUT;
        if !self.ask_to_end() || !self.ends_by(deadline) {
            // It may have ended by itself.
            let _ = self.child.kill();
        }
        let waited = self.child.wait();
        self.status = self.status.or(waited.ok());
        self.end_group(deadline);
        let at_least = Instant::now() + GRACE;
        let is_whole = [&self.stdout, &self.stderr].into_iter().all(|drain| drain.ends_by(deadline.max(at_least)));
        self.end = if is_whole { GroupEnd::Whole } else { GroupEnd::ButForOne };
    }

    /// Whether a process that it has started is still there after [`end`](Self::end).
    pub(super) fn has_left_one_behind(&self) -> bool {
        self.end == GroupEnd::ButForOne
    }

    fn ends_by(&mut self, deadline: Instant) -> bool {
        loop {
            match self.status() {
                Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
                status => return status.is_ok_and(|status| status.is_some()),
            }
        }
    }

    /// Lets those end that it has started, and then makes them. As long as there are any, the
    /// group's number is no other's; and nothing is done about it once there is none.
    #[cfg(unix)]
    fn end_group(&self, deadline: Instant) {
        let mut pause = LOOK;
        while rustix::process::test_kill_process_group(self.pid()).is_ok() && has_living(self.pid()) {
            if Instant::now() >= deadline {
                let _ = rustix::process::kill_process_group(self.pid(), rustix::process::Signal::KILL);
                return;
            }
            thread::sleep(pause);
            // On a machine with many processes, a look takes milliseconds.
            pause = (pause * 2).min(LOOK_RARELY);
        }
    }

    #[cfg(not(unix))]
    fn end_group(&self, _deadline: Instant) {}

    #[cfg(unix)]
    fn signal_group(&self, signal: Signal) -> bool {
        use rustix::process::{kill_process, kill_process_group};
        let signal = system(signal);
        // It may have gone to another group.
        kill_process_group(self.pid(), signal).or_else(|_| kill_process(self.pid(), signal)).is_ok()
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether somebody in a group has not ended. The system counts those, too, that have and whom
/// nobody has asked about; process 1 of a container may never do that. Where nobody tells, somebody
/// may be there.
#[cfg(unix)]
fn has_living(group: rustix::process::Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return true };
    let mut is_told = false;
    for process in processes.flatten() {
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { continue };
        // Behind the name, which may hold anything: the state, the parent, and the group.
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let mut fields = fields.split(' ');
        let (state, its_group) = (fields.next(), fields.nth(1));
        is_told = true;
        if its_group == Some(&*group.as_raw_nonzero().to_string()) && !matches!(state, Some("Z" | "X")) {
            return true;
        }
    }
    !is_told
}

/// The same as [`Child::wait`] would tell: what a program has said itself above, and the signal
/// that ended it below.
#[cfg(unix)]
fn exit_status(status: &rustix::process::WaitIdStatus) -> ExitStatus {
    const DUMPED: i32 = 0x80;
    let raw = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code & 0xff) << 8,
        (None, signal) => signal.unwrap_or_default() | if status.dumped() { DUMPED } else { 0 },
    };
    std::os::unix::process::ExitStatusExt::from_raw(raw)
}

#[cfg(unix)]
fn system(signal: Signal) -> rustix::process::Signal {
    use rustix::process::Signal as System;
    match signal {
        Signal::Term => System::TERM,
        Signal::Int => System::INT,
        Signal::Hup => System::HUP,
        Signal::Quit => System::QUIT,
        Signal::Kill => System::KILL,
        Signal::Usr1 => System::USR1,
        Signal::Usr2 => System::USR2,
        Signal::Stop => System::STOP,
        Signal::Cont => System::CONT,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn whoever_has_ended_and_is_not_asked_about_is_nobody() {
        let command = ["sh", "-c", "read line"].map(str::to_owned);
        let mut shell = Command::new(&command[0]);
        shell.args(&command[1..]).stdin(Stdio::piped());
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let starting = NoStarts::wait();
        let mut child = shell.spawn().unwrap();
        drop(starting);
        let group = rustix::process::Pid::from_child(&child);
        assert!(has_living(group));
        drop(child.stdin.take());
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(group), options).unwrap();
        assert!(rustix::process::test_kill_process_group(group).is_ok());
        assert!(!has_living(group));
        child.wait().unwrap();
    }

    /// Waited for with our own means and with std's, a process has ended in the same way.
    #[test]
    fn a_status_is_the_one_that_the_system_tells_its_parent() {
        for script in ["exit 0", "exit 7", "exit 255", "kill -TERM $$", "kill -KILL $$"] {
            let command = ["sh", "-c", script].map(str::to_owned);
            let mut process = ProcessGroup::start(&command, Stdio::null(), &HiddenFromServers::default()).unwrap();
            let status = loop {
                match process.status().unwrap() {
                    Some(status) => break status,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(process.child.wait().unwrap(), status, "{script}");
        }
    }
}
