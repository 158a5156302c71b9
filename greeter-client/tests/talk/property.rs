//! What holds for every text as a script: a test and a fuzzer ask for it.

use greeter_client::talk::{self, Action, Script};

fn actions(text: &[u8]) -> Option<Vec<(Option<String>, Action)>> {
    let script = Script::parse("x.talk", text).ok()?;
    Some(script.steps().iter().map(|step| (step.title().map(str::to_owned), step.action().clone())).collect())
}

/// Nothing panics, problems point into the text, and the normal form means the same and is final.
#[track_caller]
pub(crate) fn holds(text: &[u8]) {
    let parsed = Script::parse("x.talk", text);
    if let Err(diagnostics) = &parsed {
        assert!(diagnostics.errors() > 0);
        let lines = text.split(|&byte| byte == b'\n').count();
        for diagnostic in diagnostics.iter() {
            assert!((1..=lines).contains(&diagnostic.line()), "{diagnostic}");
            assert!(diagnostic.to_string().chars().all(|c| !c.is_control() || c == '\n'), "{diagnostic:?}");
            assert!(!diagnostic.message().contains('\n'), "{diagnostic:?}");
        }
    }
    if let Ok(page) = talk::format("x.md", text) {
        assert_eq!(talk::format("x.md", &page).unwrap().escape_ascii().to_string(), page.escape_ascii().to_string());
    }
    let Ok(normal) = talk::format("x.talk", text) else {
        assert!(parsed.is_err());
        return;
    };
    assert_eq!(talk::format("x.talk", &normal).unwrap().escape_ascii().to_string(), normal.escape_ascii().to_string());
    assert_eq!(actions(&normal), actions(text), "{}", normal.escape_ascii());
}
