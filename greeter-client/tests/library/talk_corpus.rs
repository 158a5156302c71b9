//! What holds for every text, tried on a corpus, on changed scripts and on noise. A fuzzer starts
//! from the same files.

#[path = "../talk/property.rs"]
mod property;

use std::fs;
use std::path::{Path, PathBuf};

use greeter_client::talk::{self, Script};
use proptest::prelude::*;

use property::holds;

fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/talk/corpus");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn the_corpus_holds() {
    for (path, text) in corpus() {
        holds(&text);
        let is_bad = path.file_stem().is_some_and(|name| name == "bad");
        assert_eq!(Script::parse("x.talk", &text).is_err(), is_bad, "{}", path.display());
    }
}

#[test]
fn every_line_of_the_bad_script_is_bad() {
    let (_, text) = corpus().into_iter().find(|(path, _)| path.ends_with("bad.talk")).unwrap();
    let diagnostics = Script::parse("bad.talk", &text).unwrap_err();
    let told: Vec<_> = diagnostics.iter().map(talk::Diagnostic::line).collect();
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count();
    assert_eq!(told, (1..=lines).collect::<Vec<_>>());
}

/// One line, more or less right.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let speaker = "(|bob|c|c\\.[0-9]|[a-z.]{1,3})";
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\{{1,4}[a-z#*:]{0,3}[\\[\\](){}\\\\d+*]{0,4}\\}{1,4}",
        "(\\{\\{[abc]\\}\\}|\\{\\{[abc]?:[a-z.*+()\\[\\]\\\\]{1,5}\\}\\}|\\{\\{[#*]\\}\\}|[ab ]){0,5}",
    ];
    let raw = "\"([ -!#-\\[\\]-~é\u{202e}\t]|\\\\[nrt0ea\\\\\"]|\\\\x[0-9a-fA-F]{2}){0,6}\"( *x *[0-9]{1,3})? *";
    let prompt = "prompt +\"([ -!#-\\[\\]-~é]|\\{{1,3}|\\{\\{[a-z#*]\\}\\}|\\{\\{[ab]?:[ab\".*+\\\\]{1,4}\\}\\}|\\\\[rt0ea\\\\\"]|\\\\x[0-9a-fA-F]{2}){0,6}[$> ]\" *";
    let word =
        "eof|reset|closed|[*?!]|nothing [0-9.]{1,4}(us|ms|s|m|h)|bytes ([0-9]{1,4}|\\{\\{a\\}\\})( +\\{\\{[ab]\\}\\})?";
    let control = "(within|timeout|sleep) +[0-9]{1,3}(\\.[0-9]{1,4})?(us|ms|s|m|min|h)|eol +(lf|crlf)|signal TERM|exits [0-9]{1,3}\
        |set +[a-z] *= *([ -~\t]{0,8}|\"([a-z {]|\\\\n|\\\\xff){0,4}\")|let +[a-z] *= *(([0-9]{1,3}|\\{\\{[ab]\\}\\}) *[-+*]? *){1,4}|let x = (md5|base64|len)\\([ -~]{0,6}\\)|secret +[a-z7]|require (tls|unix)|(close|starttls)( bob| c\\.1)?|abandon|include \"?[a-z ]{1,4}\"?\
        |connect( [a-z]{1,3})?( x[0-9]{1,3}| to (a:1|\\[::1\\]:2|unix:x|\"unix:a b\"|\\{\\{a\\}\\}:5)| tls| from ::1| proxy v[12]( local| 1\\.2\\.3\\.4:5)?){0,3} *";
    let comment = "#[ #!]{0,3}[ -~]{0,8}";
    prop_oneof![
        4 => (speaker, "<|>|<[?!&]", text).prop_map(|(speaker, sign, text)| format!("{speaker}{sign} {text}")),
        2 => (speaker, "[<>]", prop_oneof![raw, prompt, word]).prop_map(|(speaker, sign, what)| format!("{speaker}{sign}{what}")),
        3 => control,
        1 => comment,
        1 => "[ \t]{0,2}",
    ]
    .prop_map(String::into_bytes)
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    let line = ("[ \t]{0,2}", line(), "\n|\n|\n|\r\n|\n\n\n");
    prop::collection::vec(line, 0..8).prop_map(|lines| {
        lines.into_iter().flat_map(|(blank, line, end)| [blank.into_bytes(), line, end.into_bytes()].concat()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn likely_lines_hold(line in line()) {
        holds(&line);
    }

    #[test]
    fn likely_scripts_hold(script in script()) {
        holds(&script);
    }

    #[test]
    fn noise_holds(text in prop::collection::vec(any::<u8>(), 0..60)) {
        holds(&text);
    }

    #[test]
    fn noise_of_the_languages_own_signs_holds(text in "[<>?!&#{}\"\\\\:*x. 0-9a-f\n\r\t]{0,60}") {
        holds(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Some bytes of a good script are overwritten, dropped or doubled.
    #[test]
    fn changed_scripts_hold(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3, any::<u8>()), 1..6),
    ) {
        let corpus = corpus();
        let mut text = corpus[file.index(corpus.len())].1.clone();
        for (at, kind, byte) in changes {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => drop(text.remove(at)),
                _ => text.insert(at, text[at]),
            }
        }
        holds(&text);
    }
}
