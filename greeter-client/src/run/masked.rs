//! Takes secrets out of all that is told of a script, at one place and before anything is escaped
//! or cut: whoever shows an outcome knows nothing of them.
//!
//! What a failure has as bytes is masked here. The rest is the messages of errors, of which new
//! ones will come, and the text of the step: they are masked as texts, when they are
//! [told](Failure::message).

use super::error::StepError;
use super::outcome::{Failure, Outcome};
use crate::session::{Actual, Entry, Expected, MAX_ENTRY_BYTES, Mismatch, SessionError};
use crate::talk::{CalculationError, CountError, MAX_SHOWN_VALUE_BYTES, Secrets};

impl Outcome {
    /// Returns the outcome with `***` in place of secrets. [`run`](super::run()) and
    /// [`bless`](super::bless()) have done so with those of the script.
    pub fn masked(self, secrets: &Secrets) -> Self {
        match self {
            Self::Passed => Self::Passed,
            Self::Skipped(reason) => Self::Skipped(secrets.mask_text(&reason)),
            Self::Failed(failure) => Self::Failed(Box::new(failure.masked(secrets))),
        }
    }
}

impl Failure {
    fn masked(mut self, secrets: &Secrets) -> Self {
        if secrets.is_empty() {
            return self;
        }
        if let Some(title) = &mut self.title {
            *title = secrets.mask_text(title);
        }
        match &mut self.error {
            StepError::Session(SessionError::Mismatch(mismatch)) => mask_mismatch(mismatch, secrets),
            StepError::Count(CountError::NoNumber { value, .. })
            | StepError::Calculation(CalculationError::NoNumber { value, .. }) => {
                *value = mask_start(value, MAX_SHOWN_VALUE_BYTES, secrets);
            }
            _ => {}
        }
        if let Some(server) = &mut self.server {
            server.stderr.mask(secrets);
        }
        mask_transcript(&mut self.transcript, secrets);
        self.secrets.extend(secrets);
        self
    }
}

fn mask_mismatch(mismatch: &mut Mismatch, secrets: &Secrets) {
    match &mut mismatch.expected {
        Expected::Line(Some(bytes)) | Expected::Bytes(bytes) | Expected::Prompt(bytes) | Expected::Not(bytes) => {
            mask(bytes, secrets);
        }
        Expected::AnyOrder { came, left } => came.iter_mut().chain(left).for_each(|bytes| mask(bytes, secrets)),
        _ => {}
    }
    // What came in place of bytes ends where they should have ended: in the middle of anything.
    let bytes = match &mut mismatch.actual {
        Actual::Bytes(bytes) => Some(bytes),
        Actual::Line(bytes) => {
            mask(bytes, secrets);
            None
        }
        // The rest of it may still be on its way.
        Actual::PartialLine(bytes) => {
            *bytes = secrets.mask_start(bytes);
            None
        }
        _ => None,
    };
    let first = bytes.as_ref().map_or(&[][..], |bytes| bytes);
    let (first, buffered) = secrets.mask_pieces(first, &mismatch.buffered, true);
    if let Some(bytes) = bytes {
        *bytes = first;
    }
    // How long a secret is is not told, either.
    mismatch.buffered_bytes = mismatch.buffered_bytes - mismatch.buffered.len() + buffered.len();
    mismatch.buffered = buffered;
    mask_transcript(&mut mismatch.transcript, secrets);
}

fn mask_transcript(transcript: &mut [Entry], secrets: &Secrets) {
    for bytes in transcript.iter_mut().filter_map(|entry| entry.event.bytes_mut()) {
        *bytes = mask_start(bytes, MAX_ENTRY_BYTES, secrets);
    }
}

fn mask(bytes: &mut Vec<u8>, secrets: &Secrets) {
    *bytes = secrets.mask(bytes).into_owned();
}

/// Masks what may have been cut at `limit`.
fn mask_start(bytes: &[u8], limit: usize, secrets: &Secrets) -> Vec<u8> {
    if bytes.len() < limit { secrets.mask(bytes).into_owned() } else { secrets.mask_start(bytes) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::net::StreamEnd;
    use crate::session::Event;
    use crate::talk::Script;

    /// Also of errors that nobody has thought of here.
    #[test]
    fn the_message_of_any_error_is_masked() {
        let mut secrets = Secrets::default();
        secrets.add(b"hunter2");
        let script = Script::parse("a.talk", "> x\n").unwrap();
        let failure = Failure::at_the_end(&script, StepError::Unsupported("no hunter2".to_owned())).masked(&secrets);
        assert_eq!(failure.message(), "no ***; `require` lets a script be skipped where that is so");
        assert_eq!(failure.to_string(), format!("  a.talk  at its end\n    {}", failure.message()));
        match Outcome::Skipped("no hunter2".to_owned()).masked(&secrets) {
            Outcome::Skipped(reason) => assert_eq!(reason, "no ***"),
            outcome => panic!("{outcome:?}"),
        }
    }

    /// A line with a secret somewhere in it, in small letters otherwise.
    fn line(secret: &[u8], before: usize, behind: usize) -> Vec<u8> {
        [&b"a".repeat(before)[..], secret, &b"z".repeat(behind)].concat()
    }

    fn entry(event: Event) -> Entry {
        let mut entry = Entry { number: 1, at: Duration::ZERO, connection: "".into(), event };
        if let Some(bytes) = entry.event.bytes_mut() {
            bytes.truncate(MAX_ENTRY_BYTES);
        }
        entry
    }

    fn mismatch(expected: Expected, actual: Actual, behind: &[u8], transcript: Vec<Entry>) -> StepError {
        let mismatch = Mismatch {
            connection: String::new(),
            member: None,
            local: "here".to_owned(),
            peer: "there".to_owned(),
            expected,
            actual,
            end: Some(StreamEnd::Eof),
            timed_out: false,
            waited: Duration::ZERO,
            skipped_lines: 0,
            buffered: behind[..behind.len().min(1024)].to_vec(),
            buffered_bytes: behind.len(),
            unsent_bytes: 0,
            send_error: None,
            transcript,
        };
        SessionError::Mismatch(Box::new(mismatch)).into()
    }

    /// It is no failure of its own that a line has not ended, or that more is on its way.
    #[test]
    fn a_secret_of_which_the_rest_is_on_its_way_is_masked() {
        let mut secrets = Secrets::default();
        secrets.add(b"HUNTER2");
        let script = Script::parse("a.talk", "> x\n").unwrap();
        let line = || Expected::Line(Some(b"right".to_vec()));
        for error in [
            mismatch(line(), Actual::Line(b"wrong".to_vec()), b"pass HUNTE", Vec::new()),
            mismatch(line(), Actual::PartialLine(b"pass HUNTE".to_vec()), b"", Vec::new()),
            mismatch(Expected::Bytes(b"pass x".to_vec()), Actual::Bytes(b"pass H".to_vec()), b"UNTE", Vec::new()),
            mismatch(Expected::Bytes(b"pass x".to_vec()), Actual::Bytes(b"pass H".to_vec()), b"", Vec::new()),
        ] {
            let failure = Failure::at(&script, 0, error, Vec::new()).masked(&secrets);
            let shown = format!("{}\n{failure}", failure.message());
            assert!(shown.contains("***") && !shown.contains(|c: char| c.is_ascii_uppercase()), "{shown}");
        }
    }

    proptest! {
        /// Its letters are capitals, which nothing else in a report has: one that is left would be
        /// found, wherever something was cut and however it was escaped.
        #[test]
        fn no_letter_of_a_secret_is_in_a_report(
            secret in "[A-Z]{1,3}[\"'\\\\{}\u{e9}\u{1b}\u{202e}*]{1,2}[A-Z]{2,6}[\u{ff}<&][A-Z]{1,40}",
            before in prop_oneof![0..30_usize, 150..210_usize, 980..1030_usize],
            behind in 0..300_usize,
            cut in 0..60_usize,
            is_latin in any::<bool>(),
        ) {
            // Not all secrets are text.
            let secret = if is_latin { secret.chars().map(|c| c as u8).collect() } else { secret.into_bytes() };
            let mut secrets = Secrets::default();
            secrets.add(&secret);
            let whole = line(&secret, before, behind);
            let transcript = vec![entry(Event::SentLine(whole.clone())), entry(Event::ReceivedBytes(whole.clone()))];
            let (came, rest) = whole.split_at((before + cut).min(whole.len()));
            let errors = [
                mismatch(Expected::Line(Some(whole.clone())), Actual::Line(whole.clone()), &whole, transcript.clone()),
                mismatch(Expected::Bytes(whole.clone()), Actual::Bytes(came.to_vec()), rest, transcript.clone()),
                mismatch(Expected::Prompt(whole.clone()), Actual::PartialLine(whole.clone()), b"", transcript.clone()),
                StepError::Count(CountError::NoNumber {
                    name: "size".parse().unwrap(),
                    value: whole[..whole.len().min(MAX_SHOWN_VALUE_BYTES)].to_vec(),
                }),
                StepError::Unsupported(crate::net::escape::one_line(&whole).to_string()),
            ];
            let script = Script::parse("a.talk", [&b"# "[..], &whole, b"\n> x\n"].concat()).unwrap();
            for error in errors {
                let failure = Failure::at(&script, 0, error, transcript.clone()).masked(&secrets);
                let shown = format!("{}\n{failure}", failure.message());
                prop_assert!(!shown.contains(|c: char| c.is_ascii_uppercase()), "{shown}");
                prop_assert!(shown.contains("***"), "{shown}");
            }
        }
    }
}
