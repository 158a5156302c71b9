//! Takes secrets out of bytes that are to be shown. It knows no variable, and prints nothing.
//!
//! Bytes are masked before they are escaped or cut, for half a secret is one. What has been cut
//! already is masked up to where it was cut; and what was made text without having been masked,
//! such as the message of an error, holds a secret in the form that the text has given it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::iter;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;

use super::lexer::quote;
use super::limits::MIN_SECRET_BYTES;
use crate::net::escape::one_line;

/// What stands in the place of a secret.
pub(crate) const MASK: &[u8] = b"***";

/// Values that are not to be shown, in every form in which they may be met: as they are, in
/// hexadecimal digits, in base64 wherever its groups of three bytes begin, and escaped.
///
/// What is promised ends there: whoever turns a value around, or splits it, shows it.
///
/// ```
/// use greeter_client::talk::Secrets;
///
/// let mut secrets = Secrets::default();
/// secrets.add(b"hunter2");
/// assert_eq!(*secrets.mask(b"PASS hunter2"), *b"PASS ***");
/// assert_eq!(*secrets.mask(b"AUTH 68756e74657232 =68756E74657232"), *b"AUTH *** =***");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    forms: BTreeSet<Box<[u8]>>,
}

impl Secrets {
    /// Adds a value, and each of its lines. One shorter than [`MIN_SECRET_BYTES`] is masked as it
    /// is, and in no other form: too much would look like it.
    pub fn add(&mut self, value: &[u8]) {
        self.add_forms(value);
        // What has several lines is shown line by line.
        let lines = value.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| line.len() >= MIN_SECRET_BYTES).for_each(|line| self.add_forms(line));
    }

    /// Adds those of `other`.
    pub fn extend(&mut self, other: &Self) {
        other.forms.iter().for_each(|form| self.add_form(form));
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Returns `bytes` with `***` in place of each secret. What several of them share, or the ends
    /// of, is masked as one.
    #[must_use]
    pub fn mask<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match &self.found_in(bytes)[..] {
            [] => Cow::Borrowed(bytes),
            found => Cow::Owned(masked(bytes, 0..bytes.len(), found)),
        }
    }

    /// Returns a text in the same way.
    #[must_use]
    pub fn mask_text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.mask(text.as_bytes())).into_owned()
    }

    /// Returns whether a secret is in `bytes`.
    #[must_use]
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| memmem::find(bytes, form).is_some())
    }

    /// As [`mask`](Self::mask), of the start of something longer: what may be the start of a secret
    /// at its end is masked, too.
    pub(crate) fn mask_start(&self, bytes: &[u8]) -> Vec<u8> {
        self.mask_pieces(bytes, &[], true).0
    }

    /// As [`mask`](Self::mask), of two pieces that follow each other. A secret that was cut between
    /// them is masked in the first. The second may be the start of something longer.
    pub(crate) fn mask_pieces(&self, first: &[u8], second: &[u8], is_start: bool) -> (Vec<u8>, Vec<u8>) {
        let bytes = [first, second].concat();
        let begun = if is_start { self.begun_at(&bytes) } else { bytes.len() };
        let found = merged(self.all_in(&bytes).chain(iter::once(begun..bytes.len())).collect());
        let pieces = [0..first.len(), first.len()..bytes.len()];
        let [first, second] = pieces.map(|piece| masked(&bytes, piece, &found));
        (first, second)
    }

    /// Where the end of `bytes` begins that may be the start of a secret: mostly that is nowhere,
    /// and where they end.
    pub(crate) fn begun_at(&self, bytes: &[u8]) -> usize {
        let begun_at = |form: &[u8]| {
            let start = bytes.len().saturating_sub(form.len() - 1);
            let firsts = memchr::memchr_iter(form[0], &bytes[start..]).map(|offset| start + offset);
            firsts.into_iter().find(|&at| form.starts_with(&bytes[at..]))
        };
        self.forms.iter().filter_map(|form| begun_at(form)).min().unwrap_or(bytes.len())
    }

    /// Where `bytes` can be cut so that no secret is: as far behind as that is possible.
    pub(crate) fn cut_at(&self, bytes: &[u8]) -> usize {
        let end = self.begun_at(bytes);
        self.found_in(bytes).iter().find(|one| one.start < end && one.end > end).map_or(end, |one| one.start)
    }

    fn add_forms(&mut self, value: &[u8]) {
        self.add_form(value);
        if value.len() < MIN_SECRET_BYTES {
            return;
        }
        let text = String::from_utf8_lossy(value);
        let quoted = quote(value);
        self.add_form(text.as_bytes());
        self.add_form(text.escape_debug().to_string().as_bytes());
        self.add_form(one_line(value).to_string().as_bytes());
        self.add_form(value.escape_ascii().to_string().as_bytes());
        self.add_form(&quoted.as_bytes()[1..quoted.len() - 1]);
        let hex = |digits: &[u8; 16]| -> Vec<u8> {
            value.iter().flat_map(|&byte| [byte >> 4, byte & 15]).map(|digit| digits[usize::from(digit)]).collect()
        };
        self.add_form(&hex(b"0123456789abcdef"));
        self.add_form(&hex(b"0123456789ABCDEF"));
        for before in 0..3 {
            let form = base64(value, before);
            let for_urls: Vec<u8> = form.iter().map(|&digit| for_url(digit)).collect();
            self.add_form(&form);
            self.add_form(&for_urls);
        }
    }

    fn add_form(&mut self, form: &[u8]) {
        if !form.is_empty() {
            self.forms.insert(form.into());
        }
    }

    /// Every place in which one stands, also where that is within another, or overlaps with it.
    fn all_in(&self, bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
        self.forms.iter().flat_map(move |form| {
            let finder = memmem::Finder::new(form);
            let mut from = 0;
            iter::from_fn(move || {
                let at = from + finder.find(bytes.get(from..)?)?;
                from = at + 1;
                Some(at..at + form.len())
            })
        })
    }

    fn found_in(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        merged(self.all_in(bytes).collect())
    }
}

/// The number: a value must not get into a message by way of this.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("forms", &self.forms.len()).finish()
    }
}

/// In order, and those that overlap as one.
fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|one| one.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for one in found.into_iter().filter(|one| !one.is_empty()) {
        match merged.last_mut() {
            Some(last) if one.start < last.end => last.end = last.end.max(one.end),
            _ => merged.push(one),
        }
    }
    merged
}

/// A piece of `bytes` with a mask for all that was found in it, or that began in it.
fn masked(bytes: &[u8], piece: Range<usize>, found: &[Range<usize>]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(piece.len());
    let mut at = piece.start;
    for one in found.iter().filter(|one| one.end > piece.start && one.start < piece.end) {
        if one.start >= piece.start {
            masked.extend_from_slice(&bytes[at..one.start]);
            masked.extend_from_slice(MASK);
        }
        at = one.end;
    }
    masked.extend_from_slice(bytes.get(at..piece.end).unwrap_or_default());
    masked
}

/// The digits that `value` alone decides, where so many bytes of the first group of three are not
/// its own.
fn base64(value: &[u8], before: usize) -> Vec<u8> {
    let bytes = [&vec![0; before], value].concat();
    let digits = (8 * before).div_ceil(6)..8 * bytes.len() / 6;
    BASE64_STANDARD.encode(bytes).as_bytes()[digits].to_vec()
}

/// The digit of the alphabet for URLs.
fn for_url(digit: u8) -> u8 {
    match digit {
        b'+' => b'-',
        b'/' => b'_',
        digit => digit,
    }
}

/// Takes secrets out of bytes that come in pieces, however they are cut. What may be the start of a
/// secret waits for the next piece.
#[derive(Debug, Default)]
pub(crate) struct SecretStream {
    waiting: Vec<u8>,
    /// How many of them belong to a secret whose mask is out already.
    masked: usize,
}

impl SecretStream {
    /// Takes a piece, and returns what can be shown.
    pub(crate) fn take(&mut self, secrets: &Secrets, piece: &[u8]) -> Vec<u8> {
        self.waiting.extend_from_slice(piece);
        let end = secrets.begun_at(&self.waiting);
        self.release(secrets, end)
    }

    /// Returns what is left, for there will be no other piece. The start of a secret is masked: who
    /// has begun to say it was ended.
    pub(crate) fn finish(&mut self, secrets: &Secrets) -> Vec<u8> {
        let mut shown = self.release(secrets, secrets.begun_at(&self.waiting));
        let is_begun = !std::mem::take(&mut self.waiting).is_empty();
        if is_begun && std::mem::take(&mut self.masked) == 0 {
            shown.extend_from_slice(MASK);
        }
        shown
    }

    fn release(&mut self, secrets: &Secrets, end: usize) -> Vec<u8> {
        if end == 0 {
            return Vec::new();
        }
        let found = merged(secrets.all_in(&self.waiting).chain(iter::once(0..self.masked)).collect());
        // The mask of what goes on is out already.
        let start = if self.masked > 0 { found[0].end.min(end) } else { 0 };
        let shown = masked(&self.waiting, start..end, &found);
        let open = found.iter().find(|one| one.start < end && one.end > end);
        self.masked = open.map_or(0, |one| one.end - end);
        self.waiting.drain(..end);
        shown
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&[u8]]) -> Secrets {
        let mut secrets = Secrets::default();
        values.iter().for_each(|value| secrets.add(value));
        secrets
    }

    #[track_caller]
    fn check(values: &[&[u8]], text: &[u8], shown: &[u8]) {
        let shown = shown.escape_ascii().to_string();
        assert_eq!(secrets(values).mask(text).escape_ascii().to_string(), shown);
    }

    #[test]
    fn each_form_of_a_value_is_masked() {
        let value: &[u8] = b"a\"\\\xff\x1bz'\xc3\xa9\xfb";
        let forms: [&[u8]; 10] = [
            value,
            "a\"\\\u{fffd}\u{1b}z'\u{e9}\u{fffd}".as_bytes(),
            "a\\\"\\\\\u{fffd}\\u{1b}z\\'\u{e9}\u{fffd}".as_bytes(),
            "a\"\\\\xff\\ez'\u{e9}\\xfb".as_bytes(),
            b"a\\\"\\\\\\xff\\x1bz\\'\\xc3\\xa9\\xfb",
            "a\\\"\\\\\\xff\\ez'\u{e9}\\xfb".as_bytes(),
            b"61225cff1b7a27c3a9fb",
            b"61225CFF1B7A27C3A9FB",
            b"YSJc/xt6J8Op+",
            b"YSJc_xt6J8Op-",
        ];
        for form in forms {
            check(&[value], &[b"<", form, b">"].concat(), b"<***>");
        }
        check(&[b"one\r\ntwo is longer\nx"], b"one two is longer x one\r\ntwo is longer\nx", b"one *** x ***");
    }

    /// What stands before and behind it decides on the other digits.
    #[test]
    fn base64_is_masked_wherever_its_groups_begin() {
        for (text, shown) in [
            // hunter2, xhunter2 and xxhunter2, each with more behind it.
            ("aHVudGVyMiE=", "***iE="),
            ("eGh1bnRlcjIh", "eG***Ih"),
            ("eHhodW50ZXIyIQ==", "eHh***IQ=="),
        ] {
            check(&[b"hunter2"], text.as_bytes(), shown.as_bytes());
        }
    }

    #[test]
    fn of_what_overlaps_nothing_is_left() {
        check(&[b"abcd", b"cdefgh"], b"-abcdefgh-cdefgh-", b"-***-***-");
        check(&[b"abcd", b"abcdef"], b"abcdefabcd", b"******");
        check(&[b"aaaa"], b"baaaaaab", b"b***b");
        check(&[b"ab"], b"abab ba 6162", b"****** ba 6162");
        check(&[b""], b"", b"");
    }

    /// A server that makes up its token may make it so, and as much around it.
    #[test]
    fn a_value_that_repeats_itself_or_has_many_lines_is_masked_in_one_go() {
        let token = "a".repeat(400);
        check(&[token.as_bytes()], "a".repeat(300_000).as_bytes(), b"***");
        let lines: Vec<u8> = (0..20_000).flat_map(|line| format!("{line:05}\n").into_bytes()).collect();
        check(&[&lines], b"-00000-19999-20000-", b"-***-***-20000-");
    }

    #[test]
    fn what_was_cut_is_masked_up_to_there() {
        let secrets = secrets(&[b"hunter2"]);
        let pieces = |first: &str, second: &str, is_start| {
            let (first, second) = secrets.mask_pieces(first.as_bytes(), second.as_bytes(), is_start);
            (String::from_utf8(first).unwrap(), String::from_utf8(second).unwrap())
        };
        assert_eq!(pieces("x hun", "ter2 x hunt", true), ("x ***".into(), " x ***".into()));
        assert_eq!(pieces("x hun", "ter2 x hunt", false), ("x ***".into(), " x hunt".into()));
        assert_eq!(pieces("x hunter2", "", true), ("x ***".into(), "".into()));
        assert_eq!(pieces("x hun", "t", true), ("x ***".into(), "".into()));
        assert_eq!(secrets.mask_start(b"6875"), b"***");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// What is shown of a stream is what is shown of it as a whole, of which the last secret
        /// may have been cut.
        #[test]
        fn a_stream_may_be_cut_anywhere(
            values in prop::collection::vec("[ab]{4,6}", 1..3),
            text in "[abc]{0,40}",
            cuts in prop::collection::vec(0..40_usize, 0..8),
        ) {
            let secrets = secrets(&values.iter().map(|value| value.as_bytes()).collect::<Vec<_>>());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let mut stream = SecretStream::default();
            let mut shown = Vec::new();
            for cut in cuts.windows(2) {
                shown.extend(stream.take(&secrets, &text.as_bytes()[cut[0]..cut[1]]));
            }
            shown.extend(stream.finish(&secrets));
            let whole = secrets.mask_start(text.as_bytes());
            prop_assert_eq!(shown.escape_ascii().to_string(), whole.escape_ascii().to_string());
        }

        /// However a value stands in the text, no form of it is left, and nothing else is lost.
        #[test]
        fn no_value_is_left(
            value in prop::collection::vec(1..=255_u8, 4..12),
            before in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let secrets = secrets(&[&value]);
            let text = [&before[..], &value, b"!"].concat();
            for form in [text.clone(), base64(&text, 0)] {
                let masked = secrets.mask(&form).into_owned();
                prop_assert!(!secrets.are_in(&masked), "{}", masked.escape_ascii());
                prop_assert!(memmem::find(&masked, MASK).is_some(), "{}", masked.escape_ascii());
            }
        }
    }
}
