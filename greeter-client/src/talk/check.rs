//! What only the steps together show: that a step cannot do what it says in any run, because of
//! those before it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::diagnostic::LineDiagnostic;
use super::limits::{MAX_ANY_ORDER, MAX_DIAGNOSTICS, MIN_SECRET_BYTES};
use super::pattern::Template;
use super::script::{Action, Connect, ConnectionName, Incoming, Outgoing, Step, secrets};
use super::source::Source;
use super::variables::Name;

/// The steps that cannot work, and why.
pub(super) fn check<'a>(steps: &'a [Step], sources: &'a [Arc<Source>]) -> Vec<(&'a Step, LineDiagnostic)> {
    let mut flow = StepChecker {
        sources,
        connections: HashMap::new(),
        within: None,
        pending: BTreeMap::new(),
        secrets: secrets(steps).collect(),
        diagnostics: vec![],
    };
    let mut abandoned = None;
    for step in steps {
        if flow.diagnostics.len() > MAX_DIAGNOSTICS {
            break;
        }
        if let Some(abandon) = abandoned {
            flow.report(step, format!("nothing is done after 'abandon' ({})", flow.place(abandon, step)), None);
            break;
        }
        match step.action() {
            Action::Send { to, what } => flow.send(step, to, what),
            Action::Expect { from, what } => flow.expect(step, from, what),
            Action::Within(_) => flow.within(step),
            // It waits, too.
            Action::Exits(_) => flow.within = None,
            Action::Connect(connect) => flow.connect(step, connect),
            Action::Set { name, value } => flow.set(step, name, value),
            Action::Close(connection_name) => flow.close(step, connection_name),
            Action::StartTls(connection_name) => flow.start_tls(step, connection_name),
            Action::Abandon => abandoned = Some(step),
            _ => {}
        }
    }
    flow.finish()
}

struct StepChecker<'a> {
    sources: &'a [Arc<Source>],
    connections: HashMap<Option<&'a Name>, CheckedConnection<'a>>,
    /// A `within` that waits for its expectation.
    within: Option<&'a Step>,
    /// The last step of each connection that is about what comes before its next expectation.
    pending: BTreeMap<&'a ConnectionName, (&'a Step, Before)>,
    secrets: HashSet<&'a Name>,
    diagnostics: Vec<(&'a Step, LineDiagnostic)>,
}

const NOT_SKIPPED_TO: (&str, &str) =
    ("'<*' stands before this, and cannot skip to it", "it skips to a line, to raw bytes, to a prompt or to the end");

/// What a step says of the lines before the next expectation of its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// `<*`
    Any,
    /// `<!`
    Never,
    /// `<?`
    Optional,
}

/// A connection or a crowd, as far as the steps tell.
struct CheckedConnection<'a> {
    opened: &'a Step,
    crowd: Option<NonZeroU32>,
    /// Which step has it speak TLS.
    tls: Option<&'a Step>,
    ends: EndedBy<'a>,
    /// What single members have ended for themselves.
    members: HashMap<NonZeroU32, EndedBy<'a>>,
}

/// Which step ended what.
#[derive(Clone, Copy, Default)]
struct EndedBy<'a> {
    sending: Option<&'a Step>,
    receiving: Option<&'a Step>,
    all: Option<&'a Step>,
}

impl<'a> StepChecker<'a> {
    fn report(&mut self, step: &'a Step, message: String, help: Option<String>) {
        // Where on the line is for the caller to say: it is all of it.
        self.diagnostics.push((step, LineDiagnostic { at: 0..0, message, help }));
    }

    /// Where a step is, told at another one.
    fn place(&self, step: &Step, at: &Step) -> String {
        match &self.sources[step.source as usize].name {
            name if step.source != at.source => format!("line {} of {}", step.line, escaped(name)),
            _ => format!("line {}", step.line),
        }
    }

    fn send(&mut self, step: &'a Step, to: &'a ConnectionName, what: &'a Outgoing) {
        let Some(ends) = self.used(step, to) else { return };
        match (ends.sending, what) {
            (Some(end), Outgoing::Line(_) | Outgoing::Raw(_) | Outgoing::Eof) => {
                let message = format!("nothing can be sent after '>eof' ({})", self.place(end, step));
                self.report(step, message, None);
            }
            (_, Outgoing::Eof) => self.ends(to).sending = Some(step),
            (_, Outgoing::Reset) => self.ends(to).all = Some(step),
            _ => {}
        }
    }

    fn expect(&mut self, step: &'a Step, from: &'a ConnectionName, what: &'a Incoming) {
        self.within = None;
        let before = self.pending.remove(from).map(|(_, before)| before);
        let follows = match what {
            Incoming::Skip => Some(Before::Any),
            Incoming::Never(_) => Some(Before::Never),
            Incoming::Optional(_) => Some(Before::Optional),
            _ => None,
        };
        let takes_anything = matches!(what, Incoming::Nothing(_) | Incoming::Bytes { .. });
        if let Some((message, help)) = before.and_then(|before| before.refuses(follows, takes_anything)) {
            self.report(step, message.to_owned(), Some(help.to_owned()));
        }
        if let Some(follows) = follows {
            self.pending.insert(from, (step, follows));
        }
        // Told once, where the first stands that is one too many, seen from the last.
        if matches!(what, Incoming::AnyOrder { more: MAX_ANY_ORDER, .. }) {
            self.report(step, format!("at most {MAX_ANY_ORDER} lines can come in any order"), None);
        }
        let Some(ends) = self.used(step, from) else { return };
        match (ends.receiving, what) {
            (Some(end), _) => {
                let help = "what is sent after it must not be refused; the end of the script sees to that".to_owned();
                self.report(step, format!("nothing can come after '<eof' ({})", self.place(end, step)), Some(help));
            }
            (None, Incoming::Reset | Incoming::Closed) => self.ends(from).all = Some(step),
            (None, Incoming::Eof) => self.ends(from).receiving = Some(step),
            (None, _) => {}
        }
    }

    fn within(&mut self, step: &'a Step) {
        if let Some(earlier) = self.within.replace(step) {
            self.report_useless_within(earlier);
        }
    }

    fn report_useless_within(&mut self, step: &'a Step) {
        let help = "'timeout' is the deadline of all that follow".to_owned();
        self.report(step, "this is a deadline for the next expectation, and none follows".into(), Some(help));
    }

    fn connect(&mut self, step: &'a Step, connect: &'a Connect) {
        let name = connect.name.as_ref();
        if let Some(open) = self.connections.get(&name).filter(|known| known.is_open()) {
            let message = format!("{} is open already ({})", called(name), self.place(open.opened, step));
            self.report(step, message, None);
            return;
        }
        self.open(step, name, connect.crowd, connect.tls.then_some(step));
    }

    fn open(&mut self, step: &'a Step, name: Option<&'a Name>, crowd: Option<NonZeroU32>, tls: Option<&'a Step>) {
        let (ends, members) = (EndedBy::default(), HashMap::new());
        self.connections.insert(name, CheckedConnection { opened: step, crowd, tls, ends, members });
    }

    fn set(&mut self, step: &'a Step, name: &Name, value: &Template) {
        if self.secrets.contains(name) && value.text().is_some_and(|text| text.len() < MIN_SECRET_BYTES) {
            let help = format!("'{name}' is to be '***' wherever it is found, and so little is found everywhere");
            self.report(step, format!("a secret has at least {MIN_SECRET_BYTES} bytes"), Some(help));
        }
    }

    fn close(&mut self, step: &'a Step, connection_name: &'a ConnectionName) {
        if !self.connections.contains_key(&name(connection_name)) {
            self.report(step, format!("{} was never opened", called(name(connection_name))), None);
        } else if self.member_exists(step, connection_name) {
            self.ends(connection_name).all = Some(step);
        }
    }

    fn start_tls(&mut self, step: &'a Step, connection_name: &'a ConnectionName) {
        let Some(ends) = self.used(step, connection_name) else { return };
        if let Some(end) = ends.sending.or(ends.receiving) {
            self.report(step, format!("a side of this connection has ended ({})", self.place(end, step)), None);
            return;
        }
        let name = name(connection_name);
        let connection = self.connections.get_mut(&name).expect("what is used has been opened");
        // Of a single member, the others know nothing.
        let earlier = match connection_name {
            ConnectionName::Member(..) => connection.tls,
            _ => connection.tls.replace(step),
        };
        if let Some(earlier) = earlier {
            let message = format!("{} speaks TLS already ({})", called(name), self.place(earlier, step));
            self.report(step, message, None);
        }
    }

    /// What has ended of a connection that is used now, which opens it; [`None`] if it cannot be
    /// used.
    fn used(&mut self, step: &'a Step, connection_name: &'a ConnectionName) -> Option<EndedBy<'a>> {
        let name = name(connection_name);
        if !self.connections.contains_key(&name) && !matches!(connection_name, ConnectionName::Member(..)) {
            self.open(step, name, None, None);
        }
        if !self.member_exists(step, connection_name) {
            return None;
        }
        let ends = self.connections[&name].ends_of(connection_name);
        let Some(end) = ends.all else { return Some(ends) };
        let connect = name.map_or_else(|| "connect".to_owned(), |name| format!("connect {name}"));
        let message = format!("{} has ended ({})", called(name), self.place(end, step));
        self.report(step, message, Some(format!("'{connect}' opens it again")));
        None
    }

    /// Whether the member is one, if it is a member that `connection_name` names.
    fn member_exists(&mut self, step: &'a Step, connection_name: &'a ConnectionName) -> bool {
        let ConnectionName::Member(name, index) = connection_name else { return true };
        match self.connections.get(&Some(name)).map(|known| known.crowd) {
            Some(Some(size)) if *index <= size => true,
            Some(Some(size)) => {
                self.report(step, format!("the crowd {name} has {size} members, and none is {connection_name}"), None);
                false
            }
            _ => {
                let help = format!("'connect {name} x50' makes one");
                self.report(step, format!("there is no crowd {name} here"), Some(help));
                false
            }
        }
    }

    fn ends(&mut self, connection_name: &'a ConnectionName) -> &mut EndedBy<'a> {
        let connection = self.connections.get_mut(&name(connection_name)).expect("what is used has been opened");
        match connection_name {
            ConnectionName::Member(_, index) => connection.members.entry(*index).or_default(),
            _ => &mut connection.ends,
        }
    }

    fn finish(mut self) -> Vec<(&'a Step, LineDiagnostic)> {
        if let Some(step) = self.within.take() {
            self.report_useless_within(step);
        }
        for (_, (step, before)) in std::mem::take(&mut self.pending) {
            let message = match before {
                Before::Any => "nothing follows on this connection that could be skipped to",
                Before::Never => "no '<*' follows on this connection that could skip such a line",
                Before::Optional => "nothing follows on this connection that such a line could come before",
            };
            self.report(step, message.into(), None);
        }
        self.diagnostics
    }
}

impl Before {
    /// Why a step cannot stand behind this one, and what to do: one that is about the same
    /// expectation, or, without `follows`, what is expected.
    const fn refuses(self, follows: Option<Self>, takes_anything: bool) -> Option<(&'static str, &'static str)> {
        Some(match (self, follows) {
            (Self::Any, Some(Self::Any)) => NOT_SKIPPED_TO,
            (Self::Any, None) if takes_anything => NOT_SKIPPED_TO,
            (Self::Any, Some(Self::Never)) => ("'<*' stands before this", "what it must not skip is said before it"),
            (Self::Any | Self::Never, Some(Self::Optional)) | (Self::Optional, Some(Self::Any | Self::Never)) => (
                "'<?' and '<*' cannot stand before the same expectation",
                "they take the same lines; what '<*' must not skip, '<!' says before it",
            ),
            (Self::Never, None) => (
                "'<!' stands before this, and nothing is skipped here",
                "behind '<!' stands '<*', which must not skip such a line",
            ),
            (Self::Optional, None) if takes_anything => {
                ("'<?' cannot stand before this", "it stands before a line, raw bytes, a prompt or the end")
            }
            _ => return None,
        })
    }
}

impl<'a> CheckedConnection<'a> {
    fn is_open(&self) -> bool {
        self.ends.all.is_none() && self.ends.receiving.is_none()
    }

    fn ends_of(&self, connection_name: &ConnectionName) -> EndedBy<'a> {
        let own = match connection_name {
            ConnectionName::Member(_, index) => self.members.get(index).copied().unwrap_or_default(),
            _ => EndedBy::default(),
        };
        EndedBy {
            sending: own.sending.or(self.ends.sending),
            receiving: own.receiving.or(self.ends.receiving),
            all: own.all.or(self.ends.all),
        }
    }
}

fn name(connection_name: &ConnectionName) -> Option<&Name> {
    match connection_name {
        ConnectionName::Main => None,
        ConnectionName::Named(name) | ConnectionName::Member(name, _) => Some(name),
    }
}

fn called(name: Option<&Name>) -> String {
    name.map_or_else(|| "the connection".to_owned(), |name| format!("'{name}'"))
}

fn escaped(name: &str) -> String {
    crate::net::escape::one_line(name.as_bytes()).to_string()
}
