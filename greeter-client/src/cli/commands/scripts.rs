//! The scripts and the variables that `run` and `load` are given.

use std::env;
use std::io::{self, Write};

use greeter_args::Exit;
use greeter_client::talk::{self, MIN_SECRET_BYTES, Name, Script, Variables};

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

/// The variables that the environment and `-D` set; the latter has the last word. Secrets are those
/// that `--secret` names, which must have a value, and those of `scripts`.
pub(crate) fn variables(define: &[String], secret: &[String], scripts: &[Script]) -> Result<Variables, Exit> {
    let mut variables = Variables::default();
    for name in secret {
        variables.make_secret(secret_name(name)?);
    }
    scripts.iter().flat_map(Script::secrets).for_each(|name| variables.make_secret(name.clone()));
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
        if variables.is_secret(name) {
            let words =
                format!("warning: -D {name}=… shows a secret to whoever sees this process: set {VARIABLE}{name}");
            let _ = writeln!(io::stderr(), "{words}");
        }
    }
    if let Some(name) = secret.iter().find(|name| variables.value(name).is_none()) {
        // With a name that was mistyped, all would be shown.
        return Err(Exit::usage(NAME, &format!("--secret {name}: {VARIABLE}{name} is not set")));
    }
    match variables.short_secret() {
        Some(name) => {
            let why = format!("has less than {MIN_SECRET_BYTES} bytes, and would mask too much of what is reported");
            Err(Exit::usage(NAME, &format!("the secret {name} {why}")))
        }
        None => Ok(variables),
    }
}

/// The variable of the environment that gives a value to a variable of scripts.
pub(crate) fn in_environment(name: &Name) -> String {
    format!("{VARIABLE}{name}")
}

/// What `--secret` says is not repeated where it is wrong: it may be the secret itself.
fn secret_name(text: &str) -> Result<Name, Exit> {
    text.parse().map_err(|error| match text.split_once('=') {
        Some(_) => Exit::usage(NAME, &format!("--secret takes a name; its value is that of {VARIABLE}NAME")),
        None => Exit::usage(NAME, &format!("--secret: {error}")),
    })
}
