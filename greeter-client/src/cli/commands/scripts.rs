//! The scripts and the variables that `run` and `load` are given.

use std::env;

use greeter_args::Exit;
use greeter_client::talk::{self, Script, Variables};

use super::check;
use crate::cli::args::NAME;
use crate::cli::exit::ExitError;

/// What variables of the environment start with that are variables of scripts.
const VARIABLE: &str = "TALK_";

/// All scripts, or an end before anything is run.
pub(crate) fn load(paths: &[String]) -> Result<Vec<Script>, ExitError> {
    let mut scripts = Vec::new();
    let mut bad = 0;
    for script in talk::load_all(paths) {
        match script {
            Ok(script) => {
                check::tell(script.warnings().iter());
                scripts.push(script);
            }
            Err(error) => {
                bad += 1;
                check::tell_error(&error);
            }
        }
    }
    match bad {
        0 => Ok(scripts),
        _ => Err(ExitError::unreadable(anyhow::anyhow!("nothing was run: scripts with errors: {bad}"))),
    }
}

/// The variables that the environment and `-D` set; the latter has the last word.
pub(crate) fn variables(define: &[String]) -> Result<Variables, Exit> {
    let mut variables = Variables::default();
    for (name, value) in env::vars_os() {
        if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(VARIABLE))
            && let Ok(name) = name.parse()
        {
            variables.set(name, value.into_encoded_bytes());
        }
    }
    for definition in define {
        let bad = |why: String| Exit::usage(NAME, &format!("-D {definition}: {why}"));
        let (name, value) = definition.split_once('=').ok_or_else(|| bad("write it as name=value".to_owned()))?;
        variables.set(name.parse().map_err(|error| bad(format!("{error}")))?, value);
    }
    Ok(variables)
}
