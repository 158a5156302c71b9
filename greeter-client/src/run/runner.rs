//! Walks the steps of a script over a session.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::error::StepError;
use super::options::RunOptions;
use super::outcome::{Failure, Outcome};
use super::own_server::{OwnServer, check_survival};
use super::process::ServerProcess;
use crate::net::ServerAddress;
use crate::session;
use crate::session::{Expected, Session, SessionError, SessionOptions, Target};
use crate::talk;
use crate::talk::{
    Action, Capability, Connect, ConnectionName, Destination, Incoming, Outgoing, Script, Step, Variables,
};

/// What can be written can be waited for.
const _: () = assert!(talk::MAX_PROMPT_BYTES == session::MAX_PROMPT_BYTES);

/// Runs `script`. With a `server`, connections go to its address, and `signal` and `exits` mean it.
pub fn run(script: &Script, options: &RunOptions, server: Option<&mut ServerProcess>) -> Outcome {
    let mut run = Runner::new(options, server);
    for (index, step) in script.steps().iter().enumerate() {
        match run.step(step) {
            Ok(AfterStep::Continue) => {}
            Ok(AfterStep::Abandon) => {
                run.is_abandoned = true;
                break;
            }
            Ok(AfterStep::Skip(reason)) => return Outcome::Skipped(reason),
            Err(error) => {
                let failure = Failure::at(script, index, error, run.session.transcript());
                return Outcome::Failed(Box::new(failure.with_end_of(run.server).advised(options)));
            }
        }
    }
    let mut server = run.server.take();
    match run.finish().and_then(|()| check_survival(&mut server)) {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            let failure = Failure::at_the_end(script, error).with_end_of(server);
            Outcome::Failed(Box::new(failure.advised(options)))
        }
    }
}

/// A script at work.
pub(super) struct Runner<'a> {
    pub(super) session: Session,
    /// Nothing is checked of its connections any more.
    pub(super) is_abandoned: bool,
    pub(super) server: Option<OwnServer<'a>>,
    pub(super) variables: Variables,
    /// The deadline of the next expectation.
    pub(super) within: Option<Duration>,
    /// The connections whose next expectation skips lines.
    pub(super) skipping: Vec<ConnectionName>,
    /// None for a time so far off that the clock cannot tell it.
    pub(super) ends: Option<Instant>,
    pub(super) max_time: Duration,
}

/// What follows a step.
pub(super) enum AfterStep {
    Continue,
    Abandon,
    Skip(String),
}

impl<'a> Runner<'a> {
    pub(super) fn new(options: &RunOptions, server: Option<&'a mut ServerProcess>) -> Self {
        let mut variables = options.variables.clone();
        variables.set_slot(variables.slot().unwrap_or(1));
        variables.set_number(variables.number().unwrap_or(1));
        let mut target = options.target.clone();
        if let Some(server) = &server {
            target = Some(Target {
                address: server.address().clone(),
                ..target.unwrap_or_else(|| server.address().clone().into())
            });
        }
        Self {
            session: Session::new(SessionOptions {
                target,
                eol: options.eol,
                timeout: options.timeout,
                ..SessionOptions::default()
            }),
            is_abandoned: false,
            server: server.map(|server| OwnServer { server, is_end_asked: false }),
            variables,
            within: None,
            skipping: Vec::new(),
            ends: Instant::now().checked_add(options.max_time),
            max_time: options.max_time,
        }
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<AfterStep, StepError> {
        self.check_time()?;
        match step.action() {
            Action::Send { to, what } => self.send(to, what)?,
            Action::Expect { from, what: Incoming::Skip } => self.skipping.push(from.clone()),
            Action::Expect { from, what } => self.expect(from, what)?,
            Action::Within(duration) => self.within = Some(*duration),
            Action::Timeout(duration) => self.session.set_timeout(*duration),
            Action::Sleep(duration) => self.session.sleep(self.at_most(*duration)),
            Action::Eol(eol) => self.session.set_eol(*eol),
            Action::Connect(connect) => self.connect(connect)?,
            Action::Set { name, value } => {
                let value = value.expand(&self.variables, None)?;
                self.variables.set(name.clone(), value);
            }
            Action::Require(capability) if !self.has(*capability) => return Ok(AfterStep::Skip(lacking(*capability))),
            Action::Require(_) => {}
            Action::Signal(signal) => {
                self.session.flush();
                self.server.as_mut().ok_or(StepError::NoServer)?.signal(*signal)?;
            }
            Action::Exits(status) => self.exits(*status)?,
            Action::Close(handle) => self.session.on(&handle.to_string()).close()?,
            Action::StartTls(handle) => {
                let timeout = self.at_most(self.session.options().timeout);
                self.session.on(&handle.to_string()).within(timeout).start_tls()?;
            }
            Action::Abandon => return Ok(AfterStep::Abandon),
        }
        Ok(AfterStep::Continue)
    }

    fn send(&mut self, to: &ConnectionName, what: &Outgoing) -> Result<(), StepError> {
        let name = to.to_string();
        if let Outgoing::Line(template) = what {
            // Nothing is sent where a value is missing; which member asks makes no difference to
            // that.
            template.expand(&self.variables, Some(1))?;
        }
        let handle = self.session.on(&name);
        match what {
            Outgoing::Line(template) => {
                let line = |member| template.expand(&self.variables, member).unwrap_or_default();
                Ok(handle.send_each(line)?)
            }
            Outgoing::Raw(raw) => Ok(handle.send_bytes(raw.to_vec())?),
            Outgoing::Eof => Ok(handle.half_close()?),
            Outgoing::Reset => Ok(handle.reset()?),
        }
    }

    fn expect(&mut self, from: &ConnectionName, what: &Incoming) -> Result<(), StepError> {
        let timeout = self.deadline();
        let name = from.to_string();
        let mut handle = self.session.on(&name).within(timeout);
        if let Some(index) = self.skipping.iter().position(|skipping| skipping == from) {
            self.skipping.swap_remove(index);
            handle = handle.skipping();
        }
        let outcome = match what {
            Incoming::Line(pattern) => {
                let variables = &mut self.variables;
                handle.expect_line(|member, line| match pattern.matches(line, variables, member) {
                    Some(bindings) => {
                        variables.bind(bindings);
                        true
                    }
                    None => false,
                })
            }
            Incoming::Raw(raw) => handle.expect_bytes(raw.to_vec()),
            Incoming::Prompt(prompt) => {
                let variables = &mut self.variables;
                handle.expect_prompt(prompt.ending(), |member, start| match prompt.matches(start, variables, member) {
                    Some(bindings) => {
                        variables.bind(bindings);
                        true
                    }
                    None => false,
                })
            }
            Incoming::Eof => handle.expect_eof(),
            Incoming::Reset => handle.expect_reset(),
            Incoming::Closed => handle.expect_closed(),
            Incoming::Nothing(duration) => handle.expect_nothing(*duration),
            Incoming::Bytes(count) => handle.take(count.bytes(&self.variables)?).map(drop),
            // Noted down before.
            Incoming::Skip => Ok(()),
        };
        outcome.map_err(|error| self.classify(error, what))
    }

    /// What a mismatch means: the line or the prompt that a pattern stands for, or that the script
    /// as a whole has run out of time.
    fn classify(&self, error: SessionError, what: &Incoming) -> StepError {
        let SessionError::Mismatch(mut mismatch) = error else { return error.into() };
        if mismatch.timed_out && self.is_over() {
            return StepError::MaxTime(self.max_time);
        }
        match what {
            Incoming::Line(pattern) => {
                mismatch.expected = Expected::Line(Some(pattern.expected(&self.variables, mismatch.member)));
            }
            Incoming::Prompt(prompt) => {
                mismatch.expected = Expected::Prompt(prompt.expected(&self.variables, mismatch.member));
            }
            _ => {}
        }
        SessionError::Mismatch(mismatch).into()
    }

    fn connect(&mut self, connect: &Connect) -> Result<(), StepError> {
        let mut target = match (&connect.to, &self.session.options().target) {
            (None, None) => return Err(StepError::NoTarget),
            (None, Some(target)) => target.clone(),
            (Some(to), target) => {
                let address = self.address(to)?;
                target
                    .clone()
                    .map_or_else(|| address.clone().into(), |target| Target { address: address.clone(), ..target })
            }
        };
        target.from = connect.from.or(target.from);
        target.proxy = connect.proxy.or(target.proxy);
        if connect.tls {
            target.address = target.address.over_tls();
        }
        let name = connect.name.as_ref().map_or("", |name| name.as_str());
        match connect.crowd {
            Some(size) => Ok(self.session.open_crowd(name, size.get() as usize, &target)?),
            None => Ok(self.session.open(name, &target)?),
        }
    }

    fn address(&self, to: &Destination) -> Result<ServerAddress, StepError> {
        match to {
            Destination::Address(address) => Ok(address.clone()),
            Destination::Template(template) => {
                let text = template.expand(&self.variables, None)?;
                Ok(String::from_utf8_lossy(&text).parse()?)
            }
        }
    }

    fn exits(&mut self, expected: u8) -> Result<(), StepError> {
        self.session.flush();
        let timeout = self.deadline();
        self.server.as_mut().ok_or(StepError::NoServer)?.exits(expected, timeout)
    }

    pub(super) fn finish(self) -> Result<(), StepError> {
        if self.is_abandoned {
            return Ok(());
        }
        self.check_time()?;
        Ok(self.session.finish()?)
    }

    pub(super) fn check_time(&self) -> Result<(), StepError> {
        if self.is_over() { Err(StepError::MaxTime(self.max_time)) } else { Ok(()) }
    }

    /// How long the expectation at hand may take.
    fn deadline(&mut self) -> Duration {
        let timeout = self.within.take().unwrap_or(self.session.options().timeout);
        self.at_most(timeout)
    }

    fn is_over(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// As long as this, but not beyond the script's own end.
    pub(super) fn at_most(&self, duration: Duration) -> Duration {
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        left.map_or(duration, |left| duration.min(left))
    }

    fn has(&self, capability: Capability) -> bool {
        match capability {
            Capability::Unix => cfg!(unix),
            Capability::Ipv6 => TcpListener::bind("[::1]:0").is_ok(),
            Capability::Server => self.server.is_some(),
            Capability::Proxy => true,
            Capability::Tls => cfg!(feature = "tls"),
        }
    }
}

fn lacking(capability: Capability) -> String {
    match capability {
        Capability::Server => "this run has no server of its own: give it one with --server".to_owned(),
        Capability::Tls => "TLS is not built in".to_owned(),
        _ => format!("this machine has no {capability}"),
    }
}
