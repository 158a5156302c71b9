//! The files that people copy are what the programs that read them take.

use std::process::Command;

use greeter_tests::missing_program;

use crate::balancer::configuration;

#[test]
fn haproxy_has_nothing_to_say_about_its_configuration() {
    if missing_program("haproxy", "haproxy") {
        return;
    }
    let output = Command::new("haproxy").arg("-c").arg("-f").arg(configuration()).output();
    let output = output.expect("a program can be started");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.trim() == "Configuration file is valid", "{said}");
}
