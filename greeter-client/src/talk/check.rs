//! What only the steps together show: that a step cannot do what it says in any run, because of those before it.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use super::diagnostic::Fault;
use super::limits::PROBLEMS_MAX;
use super::script::{Action, Connect, Incoming, Outgoing, Speaker, Step};
use super::source::Source;
use super::variables::Name;

/// The steps that cannot work, and why.
pub(super) fn check<'a>(steps: &'a [Step], sources: &'a [Arc<Source>]) -> Vec<(&'a Step, Fault)> {
    let mut flow = Flow { sources, connections: HashMap::new(), within: None, skips: BTreeMap::new(), faults: vec![] };
    let mut abandoned = None;
    for step in steps {
        if flow.faults.len() > PROBLEMS_MAX {
            break;
        }
        if let Some(abandon) = abandoned {
            flow.fault(step, format!("nothing is done after 'abandon' ({})", flow.place(abandon, step)), None);
            break;
        }
        match step.action() {
            Action::Send { to, what } => flow.send(step, to, what),
            Action::Expect { from, what } => flow.expect(step, from, what),
            Action::Within(_) => flow.within(step),
            // It waits, too.
            Action::Exits(_) => flow.within = None,
            Action::Connect(connect) => flow.connect(step, connect),
            Action::Close(speaker) => flow.close(step, speaker),
            Action::Abandon => abandoned = Some(step),
            _ => {}
        }
    }
    flow.finish()
}

struct Flow<'a> {
    sources: &'a [Arc<Source>],
    connections: HashMap<Option<&'a Name>, Connection<'a>>,
    /// A `within` that waits for its expectation.
    within: Option<&'a Step>,
    /// Each `<*` that waits for what it skips to.
    skips: BTreeMap<&'a Speaker, &'a Step>,
    faults: Vec<(&'a Step, Fault)>,
}

/// A connection or a crowd, as far as the steps tell.
struct Connection<'a> {
    opened: &'a Step,
    crowd: Option<NonZeroU32>,
    ends: Ends<'a>,
    /// What single members have ended for themselves.
    members: HashMap<NonZeroU32, Ends<'a>>,
}

/// Which step ended what.
#[derive(Clone, Copy, Default)]
struct Ends<'a> {
    sending: Option<&'a Step>,
    receiving: Option<&'a Step>,
    all: Option<&'a Step>,
}

impl<'a> Flow<'a> {
    fn fault(&mut self, step: &'a Step, message: String, help: Option<String>) {
        // Where on the line is for the caller to say: it is all of it.
        self.faults.push((step, Fault { at: 0..0, message, help }));
    }

    /// Where a step is, told at another one.
    fn place(&self, step: &Step, at: &Step) -> String {
        match &self.sources[step.source as usize].name {
            name if step.source != at.source => format!("line {} of {}", step.line, escaped(name)),
            _ => format!("line {}", step.line),
        }
    }

    fn send(&mut self, step: &'a Step, to: &'a Speaker, what: &'a Outgoing) {
        let Some(ends) = self.used(step, to) else { return };
        match (ends.sending, what) {
            (Some(end), Outgoing::Line(_) | Outgoing::Raw(_) | Outgoing::Eof) => {
                let message = format!("nothing can be sent after '>eof' ({})", self.place(end, step));
                self.fault(step, message, None);
            }
            (_, Outgoing::Eof) => self.ends(to).sending = Some(step),
            (_, Outgoing::Reset) => self.ends(to).all = Some(step),
            _ => {}
        }
    }

    fn expect(&mut self, step: &'a Step, from: &'a Speaker, what: &'a Incoming) {
        self.within = None;
        let unskippable = matches!(what, Incoming::Skip | Incoming::Nothing(_) | Incoming::Bytes(_));
        if self.skips.remove(from).is_some() && unskippable {
            let message = "'<*' stands before this, and cannot skip to it".to_owned();
            self.fault(step, message, Some("it skips to a line, to raw bytes or to the end".into()));
        }
        if *what == Incoming::Skip {
            self.skips.insert(from, step);
        }
        let Some(ends) = self.used(step, from) else { return };
        match (ends.receiving, what) {
            (Some(end), _) => {
                let help = "what is sent after it must not be refused; the end of the script sees to that".to_owned();
                self.fault(step, format!("nothing can come after '<eof' ({})", self.place(end, step)), Some(help));
            }
            (None, Incoming::Reset | Incoming::Closed) => self.ends(from).all = Some(step),
            (None, Incoming::Eof) => self.ends(from).receiving = Some(step),
            (None, _) => {}
        }
    }

    fn within(&mut self, step: &'a Step) {
        if let Some(earlier) = self.within.replace(step) {
            self.within_for_nothing(earlier);
        }
    }

    fn within_for_nothing(&mut self, step: &'a Step) {
        let help = "'timeout' is the deadline of all that follow".to_owned();
        self.fault(step, "this is a deadline for the next expectation, and none follows".into(), Some(help));
    }

    fn connect(&mut self, step: &'a Step, connect: &'a Connect) {
        let name = connect.name.as_ref();
        if let Some(open) = self.connections.get(&name).filter(|known| known.is_open()) {
            let message = format!("{} is open already ({})", called(name), self.place(open.opened, step));
            self.fault(step, message, None);
            return;
        }
        self.open(step, name, connect.crowd);
    }

    fn open(&mut self, step: &'a Step, name: Option<&'a Name>, crowd: Option<NonZeroU32>) {
        let connection = Connection { opened: step, crowd, ends: Ends::default(), members: HashMap::new() };
        self.connections.insert(name, connection);
    }

    fn close(&mut self, step: &'a Step, speaker: &'a Speaker) {
        if !self.connections.contains_key(&name(speaker)) {
            self.fault(step, format!("{} was never opened", called(name(speaker))), None);
        } else if self.member_exists(step, speaker) {
            self.ends(speaker).all = Some(step);
        }
    }

    /// What has ended of a connection that is used now, which opens it; [`None`] if it cannot be used.
    fn used(&mut self, step: &'a Step, speaker: &'a Speaker) -> Option<Ends<'a>> {
        let name = name(speaker);
        if !self.connections.contains_key(&name) && !matches!(speaker, Speaker::Member(..)) {
            self.open(step, name, None);
        }
        if !self.member_exists(step, speaker) {
            return None;
        }
        let ends = self.connections[&name].ends_of(speaker);
        let Some(end) = ends.all else { return Some(ends) };
        let connect = name.map_or_else(|| "connect".to_owned(), |name| format!("connect {name}"));
        let message = format!("{} has ended ({})", called(name), self.place(end, step));
        self.fault(step, message, Some(format!("'{connect}' opens it again")));
        None
    }

    /// Whether the member is one, if it is a member that `speaker` names.
    fn member_exists(&mut self, step: &'a Step, speaker: &'a Speaker) -> bool {
        let Speaker::Member(name, index) = speaker else { return true };
        match self.connections.get(&Some(name)).map(|known| known.crowd) {
            Some(Some(size)) if *index <= size => true,
            Some(Some(size)) => {
                self.fault(step, format!("the crowd {name} has {size} members, and none is {speaker}"), None);
                false
            }
            _ => {
                let help = format!("'connect {name} x50' makes one");
                self.fault(step, format!("there is no crowd {name} here"), Some(help));
                false
            }
        }
    }

    fn ends(&mut self, speaker: &'a Speaker) -> &mut Ends<'a> {
        let connection = self.connections.get_mut(&name(speaker)).expect("what is used has been opened");
        match speaker {
            Speaker::Member(_, index) => connection.members.entry(*index).or_default(),
            _ => &mut connection.ends,
        }
    }

    fn finish(mut self) -> Vec<(&'a Step, Fault)> {
        if let Some(step) = self.within.take() {
            self.within_for_nothing(step);
        }
        for (_, step) in std::mem::take(&mut self.skips) {
            self.fault(step, "nothing follows on this connection that could be skipped to".into(), None);
        }
        self.faults
    }
}

impl<'a> Connection<'a> {
    fn is_open(&self) -> bool {
        self.ends.all.is_none() && self.ends.receiving.is_none()
    }

    fn ends_of(&self, speaker: &Speaker) -> Ends<'a> {
        let own = match speaker {
            Speaker::Member(_, index) => self.members.get(index).copied().unwrap_or_default(),
            _ => Ends::default(),
        };
        Ends {
            sending: own.sending.or(self.ends.sending),
            receiving: own.receiving.or(self.ends.receiving),
            all: own.all.or(self.ends.all),
        }
    }
}

fn name(speaker: &Speaker) -> Option<&Name> {
    match speaker {
        Speaker::Main => None,
        Speaker::Named(name) | Speaker::Member(name, _) => Some(name),
    }
}

fn called(name: Option<&Name>) -> String {
    name.map_or_else(|| "the connection".to_owned(), |name| format!("'{name}'"))
}

fn escaped(name: &str) -> String {
    crate::net::escape::one_line(name.as_bytes()).to_string()
}
