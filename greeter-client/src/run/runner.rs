//! Walks the steps of a script over a session.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::error::StepError;
use super::options::RunOptions;
use super::outcome::{Failure, Outcome};
use super::own_server::{OwnServer, check_survival};
use super::pending::{Findings, LineJudge, LinesBefore};
use super::process::ServerProcess;
use crate::net::ServerAddress;
use crate::session;
use crate::session::{Actual, ConnectionHandle, Expected, Mismatch, Session, SessionError, SessionOptions, Target};
use crate::talk;
use crate::talk::{
    Action, Bindings, CalculationError, Capability, Connect, ConnectionName, CountError, Destination, Incoming,
    Outgoing, Pattern, Script, Step, Unbound, Variables,
};

/// What can be written can be waited for.
const _: () = assert!(talk::MAX_PROMPT_BYTES == session::MAX_PROMPT_BYTES);

/// Runs `script`. With a `server`, connections go to its address, and `signal` and `exits` mean it.
///
/// In the outcome, `***` takes the place of what is a secret, for the script or among the
/// [variables](RunOptions::variables).
pub fn run(script: &Script, options: &RunOptions, server: Option<&mut ServerProcess>) -> Outcome {
    let mut run = Runner::new(script, options, server);
    let outcome = walk(&mut run, script, options);
    outcome.masked(run.variables.secrets())
}

fn walk(run: &mut Runner<'_>, script: &Script, options: &RunOptions) -> Outcome {
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
                return Outcome::Failed(Box::new(failure.with_end_of(run.server.take()).advised(options)));
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
    /// Which lines may come before the next expectation of a connection.
    pub(super) pending: BTreeMap<ConnectionName, LinesBefore>,
    /// Patterns of the lines that are expected next, in any order, as far as the steps have come.
    any_order: Vec<Pattern>,
    /// Patterns of lines that might have come and have not.
    not_come: Vec<Pattern>,
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
    pub(super) fn new(script: &Script, options: &RunOptions, server: Option<&'a mut ServerProcess>) -> Self {
        let mut variables = options.variables.clone();
        // From the start: what is a secret from some line on would be told of a failure before it.
        script.secrets().for_each(|name| variables.make_secret(name.clone()));
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
            pending: BTreeMap::new(),
            any_order: Vec::new(),
            not_come: Vec::new(),
            ends: Instant::now().checked_add(options.max_time),
            max_time: options.max_time,
        }
    }

    pub(super) fn step(&mut self, step: &Step) -> Result<AfterStep, StepError> {
        self.check_time()?;
        self.hide_secrets()?;
        let done = self.act(step.action()).map_err(|error| self.explained(error));
        // Also where it failed: what it has bound before is told.
        let hidden = self.hide_secrets();
        done.and_then(|after| hidden.map(|()| after))
    }

    /// Keeps the values that secrets have by now out of what the server prints.
    fn hide_secrets(&self) -> Result<(), StepError> {
        if let (Some(own), false) = (&self.server, self.variables.secrets().is_empty()) {
            own.server.hide(self.variables.secrets());
        }
        self.variables.short_secret().map_or(Ok(()), |name| Err(StepError::ShortSecret(name.clone())))
    }

    fn act(&mut self, action: &Action) -> Result<AfterStep, StepError> {
        match action {
            Action::Send { to, what } => self.send(to, what)?,
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
            Action::Let { name, value } => {
                let is_secret = value.is_secret(&self.variables)?;
                let value = value.value(&self.variables)?;
                if is_secret {
                    self.variables.make_secret(name.clone());
                }
                self.variables.set(name.clone(), value);
            }
            // It has been one from the start.
            Action::Secret(_) => {}
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
        match what {
            Incoming::Skip => self.pending.entry(from.clone()).or_default().add_any(),
            Incoming::Never(pattern) => self.pending.entry(from.clone()).or_default().add_excluded(pattern),
            Incoming::Optional(pattern) => self.pending.entry(from.clone()).or_default().add_optional(pattern),
            Incoming::AnyOrder { pattern, more } => {
                self.any_order.push(pattern.clone());
                if *more == 0 {
                    self.wait_for(from, what)?;
                }
            }
            _ => self.wait_for(from, what)?,
        }
        Ok(())
    }

    fn wait_for(&mut self, from: &ConnectionName, what: &Incoming) -> Result<(), StepError> {
        let timeout = self.deadline();
        let count = if let Incoming::Bytes { count, capture } = what {
            count.bytes_to_capture(&self.variables, capture.is_some())?
        } else {
            0
        };
        let before = self.pending.remove(from).unwrap_or_default();
        let any_order = std::mem::take(&mut self.any_order);
        let judge = LineJudge::new(&before, &any_order, &mut self.variables);
        let name = from.to_string();
        let outcome = wait(judge.admit(self.session.on(&name).within(timeout)), &judge, what, count);
        let findings = judge.into_findings();
        match outcome {
            Ok(()) => {
                self.not_come.extend(findings.unmet.into_iter().cloned());
                Ok(())
            }
            Err(SessionError::Mismatch(mut mismatch)) => {
                if let LinesBefore::These(_) = before {
                    // They were asked for, and are shown as whatever was.
                    mismatch.skipped_lines = 0;
                }
                Err(self.classify(mismatch, what, &findings))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What a mismatch means: the line or the prompt that a pattern stands for, or that the script
    /// as a whole has run out of time.
    fn classify(&self, mut mismatch: Box<Mismatch>, what: &Incoming, findings: &Findings<'_>) -> StepError {
        if mismatch.timed_out && self.is_over() {
            return StepError::MaxTime(self.max_time);
        }
        let member = mismatch.member;
        let written = |pattern: &Pattern| pattern.expected(&self.variables, member);
        if let Some(unclear) = &findings.unclear {
            return findings.assignment.explain(unclear);
        }
        match (what, findings.excluded) {
            (Incoming::AnyOrder { .. }, None) => {
                mismatch.expected = Expected::AnyOrder {
                    came: findings.assignment.lines().map(<[u8]>::to_vec).collect(),
                    left: findings.assignment.patterns_left().map(written).collect(),
                };
            }
            (_, Some(pattern)) => mismatch.expected = Expected::Not(pattern.expected(&self.variables, mismatch.member)),
            (Incoming::Line(pattern), None) => {
                mismatch.expected = Expected::Line(Some(pattern.expected(&self.variables, mismatch.member)));
            }
            (Incoming::Bytes { capture: Some(name), .. }, None) => {
                if let (Some(value), Actual::Bytes(_)) = (self.variables.value(name.as_str()), &mismatch.actual) {
                    mismatch.expected = Expected::Bytes(value.to_vec());
                }
            }
            (Incoming::Prompt(prompt), None) => {
                // What is escaped here could not be masked later.
                mismatch.expected = Expected::Prompt(prompt.expected(&self.variables.masked(), mismatch.member));
            }
            _ => {}
        }
        SessionError::Mismatch(mismatch).into()
    }

    /// A value that is missing because the line that has it in it need not come is told with that.
    fn explained(&self, error: StepError) -> StepError {
        let name = match &error {
            StepError::Unbound(Unbound::Variable(name))
            | StepError::Calculation(CalculationError::Unbound(Unbound::Variable(name)))
            | StepError::Count(CountError::Unbound(Unbound::Variable(name))) => name,
            _ => return error,
        };
        let captures = |pattern: &&Pattern| pattern.names().any(|captured| captured == name.as_str());
        match self.not_come.iter().rfind(captures) {
            Some(pattern) => StepError::NotCaptured {
                name: name.clone(),
                line: String::from_utf8_lossy(&pattern.expected(&Variables::default(), None)).into_owned(),
            },
            None => error,
        }
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

    pub(super) fn finish(&mut self) -> Result<(), StepError> {
        if self.is_abandoned {
            return Ok(());
        }
        self.check_time()?;
        Ok(std::mem::take(&mut self.session).finish()?)
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

/// Waits until `what` has come: `count` bytes, if it is so many.
fn wait(
    handle: ConnectionHandle<'_>,
    judge: &LineJudge<'_, '_>,
    what: &Incoming,
    count: usize,
) -> Result<(), SessionError> {
    match what {
        Incoming::Line(pattern) => handle.expect_line(|member, line| judge.is_line(pattern, member, line)),
        Incoming::Raw(raw) => handle.expect_bytes(raw.to_vec()),
        Incoming::Prompt(prompt) => handle.expect_prompt(prompt.ending(), |member, start| {
            judge.binds(|variables| prompt.matches(start, variables, member))
        }),
        Incoming::Eof => handle.expect_eof(),
        Incoming::Reset => handle.expect_reset(),
        Incoming::Closed => handle.expect_closed(),
        Incoming::Nothing(duration) => handle.expect_nothing(*duration),
        Incoming::Bytes { capture: None, .. } => handle.take(count).map(drop),
        Incoming::Bytes { capture: Some(name), .. } => handle.take_if(count, |_, bytes| {
            judge.binds(|variables| match variables.value(name.as_str()) {
                Some(value) => (value == bytes).then(Bindings::default),
                None => Some(Bindings::of(name, bytes)),
            })
        }),
        Incoming::AnyOrder { .. } => handle.expect_lines(|member, line| judge.fit(member, line)),
        // They are about what comes next, and wait for nothing.
        Incoming::Skip | Incoming::Never(_) | Incoming::Optional(_) => Ok(()),
    }
}

fn lacking(capability: Capability) -> String {
    match capability {
        Capability::Server => "this run has no server of its own: give it one with --server".to_owned(),
        Capability::Tls => "TLS is not built in".to_owned(),
        _ => format!("this machine has no {capability}"),
    }
}
