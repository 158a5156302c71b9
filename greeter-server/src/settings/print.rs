//! Turns settings into a file that has them hold again. Must not decide any: what is a default
//! stays one, and so stands in a comment.

use super::known::KnownOptions;
use super::setting::{CONFIG, LISTEN, ListenerTable, Setting, SettingSource, find, is_above_the_file};

pub(super) fn to_toml(known: &KnownOptions, settings: &[Setting], listeners: &[ListenerTable]) -> String {
    let mut text = String::from("# All settings, and where each comes from. What is a default is a comment.\n");
    for option in known.iter().filter(|option| option.name != CONFIG) {
        let (name, default) = (option.name, option.default);
        let is_in_tables = name == LISTEN && !listeners.is_empty();
        let line = match find(settings, name) {
            _ if is_in_tables => continue,
            Some(setting) => given(setting, option.may_be_repeated),
            None if default == "none" || known.check(name, default).is_err() => {
                format!("# {name}: {default}  # default\n")
            }
            None if option.may_be_repeated => format!("# {name} = [{}]  # default\n", quoted(default)),
            None => format!("# {name} = {}  # default\n", value(default)),
        };
        text.push_str(&line);
    }
    for listener in listeners {
        text.push_str(&format!("\n[[listen]]  # {}\n", listener.source));
        for setting in &listener.settings {
            let is_address = setting.name == LISTEN;
            if is_address {
                text.push_str(&given(&Setting { name: "address", ..setting.clone() }, false));
                text.extend(listener.name.iter().map(|name| format!("name = {}\n", quoted(name))));
            } else if !is_above_the_file(settings, setting.name) {
                let may_be_repeated = known.find(setting.name).is_some_and(|option| option.may_be_repeated);
                text.push_str(&given(setting, may_be_repeated));
            }
        }
    }
    text
}

fn given(Setting { name, source, values }: &Setting, is_list: bool) -> String {
    let source = match source {
        SettingSource::CommandLine => format!("--{name} on the command line"),
        source => source.to_string(),
    };
    let values = values.iter().map(|given| if is_list { quoted(&given.text) } else { value(&given.text) });
    let values = values.collect::<Vec<_>>().join(", ");
    if is_list { format!("{name} = [{values}]  # {source}\n") } else { format!("{name} = {values}  # {source}\n") }
}

/// Returns a number as one, and anything else as a text.
fn value(text: &str) -> String {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => text.to_owned(),
        _ => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
