//! The lines that wait for a program, in their order. Must not know programs.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::time::{Duration, Instant};

use greeter_core::{ClientId, Later, Rejection};

/// How many lines lie in the queue before it is looked through for those that nobody waits for.
const MIN_LOOK: usize = 64;

/// One line for a program.
#[derive(Debug)]
pub(super) struct AskedLine {
    /// With its LF.
    pub(super) text: Vec<u8>,
    pub(super) asked: Instant,
    /// Until when it is to be answered, once it was given to a program.
    pub(super) until: Option<Instant>,
    pub(super) asker: Asker,
}

/// Who has asked.
#[derive(Debug)]
pub(super) enum Asker {
    Client(ClientId, Later),
    /// We have, to see whether the program answers.
    Probe,
}

/// The lines that no program has been given.
#[derive(Debug)]
pub(super) struct WaitingLines {
    /// By a number that is larger for each that comes, and smaller for one that comes back.
    questions: BTreeMap<i64, AskedLine>,
    /// The numbers of each client's, where a program is given several of one client.
    by_client: Option<HashMap<ClientId, VecDeque<i64>>>,
    next: i64,
    first: i64,
    /// How many may wait before they are looked through.
    look_at: usize,
}

impl AskedLine {
    pub(super) fn new(text: &[u8], client: ClientId, later: Later) -> Self {
        let mut line = Vec::with_capacity(text.len() + 1);
        line.extend_from_slice(text);
        line.push(b'\n');
        Self { text: line, asked: Instant::now(), until: None, asker: Asker::Client(client, later) }
    }

    pub(super) fn probe(text: &[u8]) -> Self {
        let text = [text, b"\n"].concat();
        Self { text, asked: Instant::now(), until: None, asker: Asker::Probe }
    }

    fn is_wanted(&self) -> bool {
        match &self.asker {
            Asker::Client(_, later) => later.is_wanted(),
            Asker::Probe => true,
        }
    }

    pub(super) const fn is_of_client(&self) -> bool {
        matches!(self.asker, Asker::Client(..))
    }

    fn client(&self) -> Option<ClientId> {
        match &self.asker {
            Asker::Client(client, _) => Some(*client),
            Asker::Probe => None,
        }
    }

    /// Answers with a line.
    pub(super) fn answer(self, text: &[u8]) {
        if let Asker::Client(_, later) = self.asker {
            later.line(text);
        }
    }

    /// Says why there is no answer.
    pub(super) fn reject(self, rejection: Rejection) {
        if let Asker::Client(_, later) = self.asker {
            later.reject(rejection);
        }
    }

    /// Has it be an error of ours: the client learns of no details.
    pub(super) fn fail(self, error: &str) {
        if let Asker::Client(_, later) = self.asker {
            later.fail(error);
        }
    }
}

impl WaitingLines {
    /// Lines that are given one at a time, or several of one client.
    pub(super) fn new(batch: usize) -> Self {
        let by_client = (batch > 1).then(HashMap::new);
        Self { questions: BTreeMap::new(), by_client, next: 0, first: 0, look_at: MIN_LOOK }
    }

    /// Has so many lines of one client be given at once from now on.
    pub(super) fn set_batch(&mut self, batch: usize) {
        if self.by_client.is_some() != (batch > 1) {
            let before = mem::replace(self, Self::new(batch));
            before.questions.into_values().for_each(|question| self.push(question));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.questions.len()
    }

    /// Adds one that has just come.
    pub(super) fn push(&mut self, question: AskedLine) {
        self.insert(self.next, question, VecDeque::push_back);
        self.next += 1;
        // Clients leave and come back: what they have left behind does not grow for ever.
        if self.questions.len() >= self.look_at {
            let unwanted: Vec<i64> = self
                .questions
                .iter()
                .filter(|(_, question)| !question.is_wanted())
                .map(|(number, _)| *number)
                .collect();
            unwanted.into_iter().for_each(|number| drop(self.remove(number)));
            self.look_at = MIN_LOOK.max(2 * self.questions.len());
        }
    }

    /// Puts one back in front of all others.
    pub(super) fn push_front(&mut self, question: AskedLine) {
        self.first -= 1;
        self.insert(self.first, question, VecDeque::push_front);
    }

    fn insert(&mut self, number: i64, question: AskedLine, add: impl FnOnce(&mut VecDeque<i64>, i64)) {
        if let (Some(by_client), Some(client)) = (&mut self.by_client, question.client()) {
            add(by_client.entry(client).or_default(), number);
        }
        self.questions.insert(number, question);
    }

    fn remove(&mut self, number: i64) -> Option<AskedLine> {
        let question = self.questions.remove(&number)?;
        if let (Some(by_client), Some(client)) = (&mut self.by_client, question.client())
            && let Some(numbers) = by_client.get_mut(&client)
        {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                by_client.remove(&client);
            }
        }
        Some(question)
    }

    /// Takes the first that is still wanted, and others of the same client, up to so many.
    pub(super) fn take(&mut self, most: usize) -> VecDeque<AskedLine> {
        let mut taken = VecDeque::new();
        while let Some((&number, _)) = self.questions.first_key_value() {
            let Some(question) = self.remove(number).filter(AskedLine::is_wanted) else { continue };
            let client = question.client();
            taken.push_back(question);
            while taken.len() < most
                && let Some(client) = client
                && let Some(number) = self.by_client.as_ref().and_then(|all| all.get(&client)?.front().copied())
            {
                taken.extend(self.remove(number).filter(AskedLine::is_wanted));
            }
            break;
        }
        taken
    }

    /// Rejects those that have waited for so long, and those that were to be answered by now.
    /// Returns when the next one is due.
    pub(super) fn expire(&mut self, timeout: Option<Duration>, now: Instant) -> Option<Instant> {
        let due = |question: &AskedLine| question.until.or_else(|| question.asked.checked_add(timeout?));
        let mut next = None;
        let mut expired = Vec::new();
        for (number, question) in &self.questions {
            let Some(due) = due(question) else { continue };
            if due <= now {
                expired.push(*number);
                continue;
            }
            next = next.into_iter().chain([due]).min();
            // Behind those that have come back, they are in the order of their time.
            if question.until.is_none() {
                break;
            }
        }
        for question in expired.into_iter().filter_map(|number| self.remove(number)).collect::<Vec<_>>() {
            let rejection = if question.until.is_some() { Rejection::ReplyTimeout } else { Rejection::Busy };
            question.reject(rejection);
        }
        next
    }

    /// Takes all of them.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = AskedLine> {
        if let Some(by_client) = &mut self.by_client {
            by_client.clear();
        }
        mem::take(&mut self.questions).into_values()
    }
}
