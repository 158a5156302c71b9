//! The files that people copy are what the programs that read them take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::process::TestedServer;
use greeter_tests::{missing, missing_program};
use rustix::process::Signal;

use crate::balancer::configuration;

/// Debian's own, which has its packages.
const PYTHON: &str = "/usr/bin/python3";

/// Reads the manifests, checks what belongs together in them, and prints the server's arguments and
/// then the memory that it may have.
const MANIFESTS: &str = r#"
import re, sys, yaml
deployment, service = yaml.safe_load_all(open(sys.argv[1]))
assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
labels = deployment["spec"]["template"]["metadata"]["labels"]
assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
pod = deployment["spec"]["template"]["spec"]
[container] = pod["containers"]
given = dict(argument.split("=", 1) for argument in container["args"])
def seconds(option):
    return int(re.fullmatch(r"(\d+)s", given[option])[1])
delay, drain = seconds("--drain-delay"), seconds("--drain")
assert pod["terminationGracePeriodSeconds"] == delay + drain + 5
assert seconds("--drain-spread") <= drain
ready, alive = container["readinessProbe"], container["livenessProbe"]
assert delay > ready["periodSeconds"] * ready["failureThreshold"]
assert (ready["httpGet"]["path"], alive["httpGet"]["path"]) == ("/readyz", "/livez")
ports = {port["name"]: port["containerPort"] for port in container["ports"]}
for name, option in ("lines", "--listen"), ("admin", "--admin"):
    assert given[option] == f"0.0.0.0:{ports[name]}"
assert [probe["httpGet"]["port"] for probe in (ready, alive)] == ["admin"] * 2
assert [port["targetPort"] for port in service["spec"]["ports"]] == ["lines"]
assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0
security = container["securityContext"]
assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
assert security["capabilities"]["drop"] == ["ALL"]
print(*container["args"], sep="\n")
print(int(re.fullmatch(r"(\d+)Mi", container["resources"]["limits"]["memory"])[1]) << 20)
"#;

fn packaging(file: &str) -> PathBuf {
    configuration().with_file_name(file)
}

/// The log of a server that was started with these arguments at addresses of loopback, and greets.
fn started_with<'a>(arguments: impl IntoIterator<Item = &'a str>) -> String {
    let arguments = arguments.into_iter().map(|argument| match argument.split_once("=0.0.0.0:") {
        Some((option, _)) => format!("{option}=127.0.0.1:0"),
        None => argument.to_owned(),
    });
    let arguments: Vec<_> = arguments.collect();
    let mut server = TestedServer::start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    // SIGINT knows no delay.
    server.signal(Signal::INT);
    let (status, log) = server.wait(PATIENCE);
    assert!(status.success(), "{log}");
    log
}

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

#[test]
fn the_manifests_belong_together_and_their_arguments_start_a_server() {
    let yaml = Command::new(PYTHON).args(["-c", "import yaml"]).stderr(Stdio::null()).status();
    if missing(!yaml.is_ok_and(|status| status.success()), "yaml of python3", "python3-yaml") {
        return;
    }
    let output = Command::new(PYTHON).args(["-c", MANIFESTS]).arg(packaging("kubernetes.yaml")).output();
    let output = output.expect("a program can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).expect("it prints text");
    let (arguments, memory) = printed.trim().rsplit_once('\n').expect("there are several lines");
    let log = started_with(arguments.lines());
    let (_, used) = log.split_once("\"memory_bytes_max\":").expect("the log has it at the start");
    let used = used.split([',', '}']).next().expect("a number has an end");
    assert!(used.parse::<u64>().expect("it is a number") < memory.parse().expect("it is a number"), "{log}");
}

/// It cannot be built everywhere. What it names is there, and its arguments start a server.
#[test]
fn the_image_is_built_with_the_oldest_toolchain_that_will_do_and_starts_a_server() {
    let read = |path: &Path| fs::read_to_string(path).expect("the file is there");
    let image = read(&packaging("Containerfile"));
    let workspace = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
    let version = workspace.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("there is a version");
    assert!(image.contains(&format!("\nFROM rust:{}-", version.trim_matches('"'))), "{image}");
    let user = image.lines().find_map(|line| line.strip_prefix("USER ")).expect("it is somebody's");
    let uid = format!("runAsUser: {}\n", user.split(':').next().unwrap_or(user));
    assert!(read(&packaging("kubernetes.yaml")).contains(&uid), "{user}");
    let arguments = image.lines().find_map(|line| line.strip_prefix("CMD [")).expect("it has arguments");
    started_with(arguments.trim_end_matches(']').split(", ").map(|argument| argument.trim_matches('"')));
}
