//! Options in a file, in the environment and on the command line mean the same, and are refused in
//! the same words.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use greeter_tests::client::{Client, PATIENCE};
use greeter_tests::directory::TestDirectory;
use greeter_tests::process::{TestedServer, greeter_server, without_our_variables};
use rustix::process::Signal;

use crate::documents::options_in_the_help;
use crate::kit::{Identity, NAME, TlsClient, VERSIONS, World, socket_to};

/// The file's name, as it is in messages.
const FILE: &str = "greeter.toml";

/// A folder with a file of settings, in which the server is started.
struct Folder(TestDirectory);

impl Folder {
    fn with(file: impl AsRef<[u8]>) -> Self {
        let folder = Self(TestDirectory::new());
        folder.write(file);
        folder
    }

    fn write(&self, file: impl AsRef<[u8]>) {
        fs::write(self.0.file(FILE), file).expect("the folder is ours");
    }

    fn server(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(greeter_server());
        let folder = self.0.file(FILE).parent().map(PathBuf::from).expect("a file is in a folder");
        command.args(["--config", FILE]).args(arguments).current_dir(folder).envs(variables.iter().copied());
        without_our_variables(&mut command);
        command
    }

    fn output(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.server(arguments, variables).output().expect("the server can be started")
    }

    /// What is wrong, line by line, where that is an end with 2; nothing where all is valid.
    fn checked(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
        let output = self.output(&[&["--check-config"], arguments].concat(), variables);
        let said = text(&output.stderr);
        assert!(!said.contains("panicked") && !said.contains("Panicked"), "{said}");
        let errors = errors_in(&said);
        match output.status.code() {
            Some(0) => assert_eq!((text(&output.stdout).as_str(), errors.len()), ("the configuration is valid\n", 0)),
            code => assert!(code == Some(2) && output.stdout.is_empty() && !errors.is_empty(), "{output:?}"),
        }
        errors
    }

    /// The settings that hold, as a file.
    #[track_caller]
    fn printed(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let output = self.output(&[&["--print-config"], arguments].concat(), variables);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn errors_in(said: &str) -> Vec<String> {
    said.lines().filter_map(|line| line.strip_prefix("error: ")).map(str::to_owned).collect()
}

/// The names of all options that a file may have, and their defaults, as the help has them.
pub(crate) fn options_with_a_value() -> Vec<(String, String)> {
    let options = options_in_the_help().into_iter().filter(|(_, help)| help.starts_with('<'));
    let options = options.map(|(option, help)| {
        let default = help.rsplit_once("(default: ").expect("the help has a default").1;
        (option.trim_start_matches('-').to_owned(), default.trim_end_matches(')').to_owned())
    });
    options.filter(|(name, _)| !["config", "completions"].contains(&name.as_str())).collect()
}

/// The line of a setting among those that were printed.
fn line_of<'p>(printed: &'p str, name: &str) -> &'p str {
    let is_it = |line: &&str| line.trim_start_matches("# ").starts_with(&format!("{name} = "));
    printed.lines().find(is_it).unwrap_or_else(|| panic!("{name} is not in {printed}"))
}

#[test]
fn the_command_line_is_above_the_environment_and_that_above_the_file() {
    let in_file = ("max-connections = 11\n", "11  # greeter.toml:1");
    let in_environment = (Some(("GREETER_MAX_CONNECTIONS", "12")), "12  # GREETER_MAX_CONNECTIONS");
    let on_command_line = (&["--max-connections", "13"][..], "13  # --max-connections on the command line");
    for (file, from_file) in [("", "10000  # default"), in_file] {
        for (variable, from_environment) in [(None, from_file), in_environment] {
            for (arguments, expected) in [(&[][..], from_environment), on_command_line] {
                let folder = Folder::with(file);
                let variables: Vec<_> = variable.into_iter().collect();
                let printed = folder.printed(arguments, &variables);
                let line = line_of(&printed, "max-connections").trim_start_matches("# ");
                assert_eq!(line, format!("max-connections = {expected}"));
                // And that is what the server does.
                let arguments = [arguments, &["--listen", "127.0.0.1:0"]].concat();
                let mut server = TestedServer::start_command(folder.server(&arguments, &variables));
                server.signal(Signal::TERM);
                let (_, log) = server.wait(PATIENCE);
                let most = expected.split(' ').next().unwrap_or_default();
                assert!(log.contains(&format!("connections_max={most} ")), "{log}");
            }
        }
    }
}

#[test]
fn what_may_be_repeated_is_replaced_as_a_whole() {
    let folder = Folder::with("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\n");
    let listens = |folder: &Folder, arguments: &[&str], variables: &[(&str, &str)], expected: &[&str]| {
        let server = TestedServer::start_listeners(folder.server(arguments, variables), expected.len());
        let hosts: Vec<String> = server.addresses().iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(hosts, expected);
        assert_eq!(Client::connect(server.address()).ask("Bob"), "Hello, Bob\n");
    };
    let variables = [("GREETER_LISTEN", "127.0.0.3:0  127.0.0.4:0")];
    listens(&folder, &[], &[], &["127.0.0.1", "127.0.0.2"]);
    listens(&folder, &[], &variables, &["127.0.0.3", "127.0.0.4"]);
    listens(&folder, &["--listen=127.0.0.5:0"], &variables, &["127.0.0.5"]);
    folder.write("[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.6:0\"\n");
    listens(&folder, &[], &[], &["127.0.0.1", "127.0.0.6"]);
    listens(&folder, &[], &variables, &["127.0.0.3", "127.0.0.4"]);
    // An empty variable is none.
    listens(&folder, &[], &[("GREETER_LISTEN", " "), ("GREETER_LINE_TIMEOUT", "")], &["127.0.0.1", "127.0.0.6"]);
}

#[test]
fn the_environment_may_name_the_file() {
    let folder = Folder::with("max-connections = 7\n");
    let path = folder.0.file(FILE);
    let mut command = Command::new(greeter_server());
    command.arg("--print-config").env("GREETER_CONFIG", &path);
    let output = command.output().unwrap();
    let expected = format!("max-connections = 7  # {}:1", path.display());
    assert_eq!(line_of(&text(&output.stdout), "max-connections"), expected);
}

#[test]
fn a_listener_has_what_is_its_own_and_otherwise_what_all_have() {
    let worlds = [World::new(), World::new()];
    let [(a, a_key), (b, b_key)] = worlds.each_ref().map(|world| {
        let (certificate, key) = world.identity("own", &[NAME]);
        (certificate.display().to_string(), key.display().to_string())
    });
    let file = format!(
        "tls-cert = \"{a}\"\ntls-key = \"{a_key}\"\nproxy-protocol = [\"127.0.0.1\"]\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\n\
         [[listen]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = []\n\
         [[listen]]\naddress = \"tls:127.0.0.1:0\"\nproxy-protocol = []\n\
         [[listen]]\naddress = \"tls:127.0.0.1:0\"\nproxy-protocol = []\ntls-cert = \"{b}\"\ntls-key = [\"{b_key}\"]\n"
    );
    let folder = Folder::with(file);
    let server = TestedServer::start_listeners(folder.server(&[], &[]), 4);
    let mut proxied = Client::connect(server.addresses()[0]);
    proxied.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nBob\n");
    assert_eq!(proxied.text(), "Hello, Bob\n");
    assert_eq!(Client::connect(server.addresses()[1]).ask("Bob"), "Hello, Bob\n");
    let shown = |server: &TestedServer| [2, 3].map(|listener| is_of(&worlds[1], server.addresses()[listener]));
    assert_eq!(shown(&server), [false, true]);
    // What is above the file is above that of its listeners.
    let arguments = ["--tls-cert", &a, "--tls-key", &a_key];
    let server = TestedServer::start_listeners(folder.server(&arguments, &[]), 4);
    assert_eq!(shown(&server), [false, false]);
    let server = TestedServer::start_listeners(folder.server(&["--proxy-protocol", "127.0.0.1"], &[]), 4);
    let mut proxied = Client::connect(server.addresses()[1]);
    proxied.send("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nBob\n");
    assert_eq!(proxied.text(), "Hello, Bob\n");
    let printed = folder.printed(&arguments, &[]);
    assert!(!printed.contains(&b) && printed.matches("[[listen]]").count() == 4, "{printed}");
}

/// Whether a server shows a certificate of that world there.
fn is_of(world: &World, address: SocketAddr) -> bool {
    TlsClient::new(socket_to(address), &world.authority.trusting(&VERSIONS)).try_handshake().is_ok()
}

/// Files that are refused, each with all that is wrong.
const BAD_FILES: &[(&str, &[&str])] = &[
    ("x", &["1:2: key with no value, expected `=`"]),
    ("a = 1\n\nb = [1\n", &["3:7: unclosed array, expected `]`"]),
    ("log = \"info\"\nlog = \"warn\"\n", &["2:1: duplicate key"]),
    ("listen = [\"127.0.0.1:0\"]\n[[listen]]\naddress = \"127.0.0.1:0\"\n", &["2:3: duplicate key"]),
    ("max_connections = 1\n", &["1:1: unknown key 'max_connections'; did you mean max-connections?"]),
    ("colour = 1\n[limits]\n", &["1:1: unknown key 'colour'", "2:2: unknown key 'limits'"]),
    ("help = true\n", &["1:1: 'help' is for the command line only"]),
    (
        "config = \"x\"\ncheck-config = true\n",
        &["1:1: 'config' is for the command line only", "2:1: 'check-config' is for the command line only"],
    ),
    ("workers = \"two\"\n", &["1:11: cannot parse option '--workers' with value 'two': invalid digit found in string"]),
    ("workers = true\n", &["1:11: cannot parse option '--workers' with value 'true': invalid digit"]),
    ("workers = [1]\n", &["1:11: 'workers' has one value, and this is a list"]),
    ("log = { level = \"info\" }\n", &["1:7: 'log' is a value, and this is a table"]),
    ("proxy-protocol = [\"10.0.0.0/8\", [1]]\n", &["1:33: 'proxy-protocol' has one value, and this is a list"]),
    ("proxy-protocol = [\"10.0.0.0/8\",\n  \"nowhere\"]\n", &["2:3: \"nowhere\" is no network: write 10.0.0.0/8"]),
    (
        "max-connections = 0\nline-timeout = \"0s\"\n",
        &[
            "1:19: --max-connections is 0, but must be from 1 to 10000000",
            "2:16: --line-timeout is 0s, but must be at least 1ms, or off",
        ],
    ),
    ("max-buffer-bytes = 1\n", &["1:20: --max-buffer-bytes is 1, but must be at least 294912"]),
    ("workers = 2000\n", &["1:11: --workers is 2000, but must be from 0 to 1024"]),
    ("[listen]\naddress = \"x\"\n", &["1:2: a listener is written as [[listen]], with two brackets"]),
    ("listen = [{ address = \"127.0.0.1:0\" }, 1]\n", &["1:40: where one listener is a table, each is"]),
    ("[[listen]]\nname = \"a\"\n", &["1:1: this listener has no address"]),
    (
        "[[listen]]\naddress = \"127.0.0.1:0\"\nlog = \"info\"\nadress = 1\n",
        &[
            "3:1: 'log' is not of a listener: put it above the first [[listen]]",
            "4:1: unknown key 'adress'; did you mean address?",
        ],
    ),
    (
        "listen = [\n  \"127.0.0.1:0\",\n  \"nowhere\",\n]\n",
        &["3:3: cannot listen on \"nowhere\": the port is missing"],
    ),
    ("[[listen]]\naddress = \"tls:nowhere\"\n", &["2:11: an address with tls: needs --tls-cert and --tls-key"]),
    ("[[listen]]\naddress = \"unix:/s,mode=9\"\n", &["2:11: cannot listen on \"unix:/s,mode=9\": 9 is no mode"]),
    (
        "listen = \"unix:s,owner=no-such-user\"\n",
        &["1:10: cannot listen on unix:s: there is no user no-such-user in /etc/passwd; a number would do"],
    ),
    (
        "admin = \"nowhere\"\nagent = \"tls:127.0.0.1:0\"\n",
        &[
            "1:9: cannot start what --admin asks for: cannot listen on \"nowhere\": the port is missing",
            "2:9: cannot start what --agent asks for: tls:127.0.0.1:0 is for --listen only: use HOST:PORT or unix:PATH",
        ],
    ),
    (
        "listen = [\"127.0.0.1:7\", \"tls:127.0.0.1:7\"]\nadmin = \"unix:/a\"\nagent = \"unix:/a,mode=0600\"\n",
        &[
            "1:26: cannot listen on 127.0.0.1:7: it is to be listened at twice",
            "3:9: cannot start what --agent asks for: cannot listen on unix:/a,mode=0600: it is to be listened at twice",
        ],
    ),
    // A scheme may be in capitals.
    (
        "listen = [\"unix:/a,b\", \"UNIX:/a,b,mode=0600\", \"unix:/a,c\"]\nadmin = \"FD:3\"\nagent = \"Unix:/a,c\"\n",
        &[
            "1:24: cannot listen on unix:/a,b: it is to be listened at twice",
            "2:9: cannot start what --admin asks for: FD:3 is for --listen only: use HOST:PORT or unix:PATH",
            "3:9: cannot start what --agent asks for: cannot listen on Unix:/a,c: it is to be listened at twice",
        ],
    ),
    // Schemes may be in capitals, and a path may end like a port.
    (
        "listen = [\"unix:/a:0\", \"TLS:UNIX:/a:0,group=mail,mode=0600\"]\nadmin = \"FD:3\"\nagent = \"Unix:/a:0\"\n",
        &[
            "1:24: cannot listen on unix:/a:0: it is to be listened at twice",
            "2:9: cannot start what --admin asks for: FD:3 is for --listen only: use HOST:PORT or unix:PATH",
            "3:9: cannot start what --agent asks for: cannot listen on Unix:/a:0: it is to be listened at twice",
        ],
    ),
    ("tls-cert = \"a\"\n", &["1:12: --tls-cert and --tls-key belong together: there are 1 and 0"]),
    ("tls-client-auth = \"required\"\n", &["1:19: --tls-client-auth needs --tls-client-ca"]),
];

#[test]
fn paths_with_commas_are_places_of_their_own() {
    let folder =
        Folder::with("listen = [\"unix:a,b\", \"unix:a,c,mode=0600\", \"unix:@a,mode=1\", \"unix:@a,mode=2\"]\n");
    assert_eq!(folder.checked(&[], &[]), [""; 0]);
}

#[test]
fn a_check_and_a_start_refuse_the_same_in_the_same_words() {
    let world = World::new();
    let (certificate, key) = world.identity("one", &[NAME]);
    let (_, other_key) = world.identity("two", &[NAME]);
    let [one, key, other_key] = [&certificate, &key, &other_key].map(|path| path.to_str().unwrap());
    let expired = world.authority.issue_expired(&[NAME]).write(&world.directory, "expired");
    let [expired, expired_key] = [&expired.0, &expired.1].map(|path| path.to_str().unwrap());
    let tls = |certificate: &str, key: &str| format!("tls-cert = \"{certificate}\"\ntls-key = \"{key}\"\n");
    let at_tls = "[[listen]]\naddress = \"tls:127.0.0.1:0\"\n";
    let of_tls = [
        (&*tls(one, key), &["1:12: --tls-cert is given, and no address begins with tls:"][..]),
        (
            &format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{}", tls(one, key)),
            &["3:12: --tls-cert is given, and this address does not begin with tls:"],
        ),
        (
            &format!("{}{at_tls}[[listen]]\naddress = \"127.0.0.2:0\"\ntls-client-ca = \"{one}\"\n", tls(one, key)),
            &["7:17: --tls-client-ca is given, and this address does not begin with tls:"],
        ),
        (&(tls("missing.pem", key) + at_tls), &["1:12: cannot read missing.pem: No such file or directory"]),
        (
            &format!("{at_tls}{}", tls(one, other_key)),
            &[&*format!("4:11: {other_key} is not the key of the certificate in {one}")],
        ),
    ];
    for (file, expected) in BAD_FILES.iter().copied().chain(of_tls) {
        let folder = Folder::with(file);
        let checked = folder.checked(&[], &[]);
        let output = folder.output(&[], &[]);
        assert_eq!(output.status.code(), Some(2), "{file}: {output:?}");
        assert_eq!(errors_in(&text(&output.stderr)), checked, "{file}");
        assert_eq!(checked.len(), expected.len(), "{file}: {checked:?}");
        for (said, expected) in checked.iter().zip(expected) {
            assert!(said.starts_with(&format!("{FILE}:{expected}")), "{file}: {said}, not {expected}");
        }
    }
    let good = [
        String::new(),
        "# A comment.\r\nmax-connections = 1_000\r\nmax-handshakes = 0x10\r\n".to_owned(),
        "line-timeout = 'off'\nlog = \"debug\"\nproxy-protocol = \"10.0.0.0/8\"\n".to_owned(),
        format!("{}{at_tls}", tls(one, key)),
        format!("{at_tls}{}", tls(expired, expired_key)),
        // A comma is part of a path, unless a setting is behind it.
        "listen = [\"unix:a,b\", \"unix:a,c,mode=0600\", \"unix:a\", \"127.0.0.1:0\", \"127.0.0.1:0\"]\n".to_owned(),
    ];
    for file in good {
        let is_addressed = file.contains("[[listen]]");
        let folder = Folder::with(&file);
        assert_eq!(folder.checked(&[], &[]), [""; 0], "{file}");
        let arguments: &[&str] = if is_addressed { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut server = TestedServer::start_command(folder.server(arguments, &[]));
        server.signal(Signal::TERM);
        assert!(server.wait(PATIENCE).0.success());
    }
}

#[test]
fn each_option_is_refused_in_the_same_words_wherever_it_is_given() {
    let folder = Folder::with("");
    let mut refused = BTreeSet::new();
    for (option, _) in options_with_a_value() {
        for value in ["many", "\u{202e}-1", "0"] {
            folder.write("");
            let on_command_line = folder.checked(&[&format!("--{option}"), value], &[]);
            folder.write(format!("{option} = \"{value}\"\n"));
            let in_file = folder.checked(&[], &[]);
            let place = format!("{FILE}:1:{}: ", option.len() + 4);
            let variable = format!("GREETER_{}", option.to_uppercase().replace('-', "_"));
            folder.write("");
            let in_environment = folder.checked(&[], &[(&variable, value)]);
            for (told, place) in [(&in_file, place), (&in_environment, format!("{variable}: "))] {
                let expected: Vec<_> = on_command_line.iter().map(|said| format!("{place}{said}")).collect();
                assert_eq!(told, &expected, "{option} = {value}");
            }
            if !on_command_line.is_empty() {
                refused.insert(option.clone());
            }
        }
    }
    assert!(refused.len() > 25, "{refused:?}");
}

#[test]
fn what_is_printed_is_a_file_with_the_same_settings() {
    let file = "max-connections = 500\nline-timeout = \"off\"\nproxy-protocol = [\"10.0.0.0/8\", \"unix\"]\n\
                tls-client-ca = \"it's \\\"a\\\\b\\\" \\u0007\\n.pem\"\nmax-line-bytes = \"007\"\nlog = \"warn\"\n\
                [[listen]]\naddress = \"127.0.0.1:0\"\nname = \"one \\\"1\\\"\"\nproxy-protocol = []\n\
                [[listen]]\naddress = \"unix:/run/a,mode=0660\"\ntls-cert = [\"1\", \"b\"]\n";
    let folder = Folder::with(file);
    let without_sources = |printed: &str| {
        let lines = printed.lines().map(|line| line.rsplit_once("  # ").map_or(line, |(setting, _)| setting));
        lines.collect::<Vec<_>>().join("\n")
    };
    let arguments = [
        (&[][..], &[][..]),
        (&["--queue-timeout", "3s", "--listen", "[::1]:0"], &[("GREETER_WORKERS", "0")]),
        (&["--proxy-protocol", "192.0.2.0/24"], &[("GREETER_TLS_CERT", "a b c"), ("GREETER_TLS_KEY", "d")]),
        (&["--tls-client-auth", "optional", "--when-full=wait"], &[("GREETER_LISTEN", "fd:3 unix:@a")]),
    ];
    for (arguments, variables) in arguments {
        folder.write(file);
        let printed = folder.printed(arguments, variables);
        folder.write(&printed);
        assert_eq!(without_sources(&folder.printed(&[], &[])), without_sources(&printed));
        // A comment has no part in that: all that was given is in the file now.
        let line = printed.lines().position(|line| line.starts_with("max-connections")).expect("it was given") + 1;
        let printed = folder.printed(&[], &[]);
        assert_eq!(line_of(&printed, "max-connections"), format!("max-connections = 500  # {FILE}:{line}"));
    }
    // Each option is there, given or not.
    let printed = Folder::with("").printed(&[], &[]);
    for (option, default) in options_with_a_value() {
        let is_there =
            |line: &str| line.starts_with(&format!("# {option} =")) || line.starts_with(&format!("# {option}:"));
        let line = printed.lines().find(|line| is_there(line)).unwrap_or_else(|| panic!("{option} is not there"));
        assert!(line.contains(&default) && line.ends_with("  # default"), "{line}");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_warned_of() {
    let folder = Folder::with("");
    let variables = [
        ("GREETER_LINE_TIMOUT", "3s"),
        ("GREETER_COLOUR", "red"),
        ("GREETER_CHECK_CONFIG", "1"),
        // Of greeter-client, of Kubernetes, and of others.
        ("GREETER_CONNECT", "127.0.0.1:1"),
        ("GREETER_SERVICE_HOST", "10.0.0.1"),
        ("GREETER_PORT", "tcp://10.0.0.1:80"),
        ("GREETER_PORT_80_TCP_PROTO", "tcp"),
        ("GREETERS", "2"),
        ("greeter_line_timeout", "3s"),
    ];
    let output = folder.output(&["--check-config"], &variables);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let warned: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("is no setting. ")).map(|(_, it)| it).collect();
    let expected = [
        "variable=\"GREETER_CHECK_CONFIG\"",
        "variable=\"GREETER_COLOUR\"",
        "variable=\"GREETER_LINE_TIMOUT\" did_you_mean=\"GREETER_LINE_TIMEOUT\"",
    ];
    assert_eq!(warned, expected);
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = Folder::with(b"max-connections = 1\nlog = \"\xff\"\n");
    assert_eq!(folder.checked(&[], &[]), [format!("{FILE}:2:8: this is not UTF-8")]);
    folder.write("# ".repeat(1024 * 1024));
    assert_eq!(folder.checked(&[], &[]), [format!("cannot read {FILE}: it is larger than 1 MiB")]);
    fs::remove_file(folder.0.file(FILE)).expect("it is ours");
    assert_eq!(folder.checked(&[], &[]), [format!("cannot read {FILE}: No such file or directory (os error 2)")]);
    fs::create_dir(folder.0.file(FILE)).expect("the folder is ours");
    assert_eq!(folder.checked(&[], &[]), [format!("cannot read {FILE}: it is no file")]);
    fs::remove_dir(folder.0.file(FILE)).expect("it is ours");
    // Nobody writes to it, and nobody waits for that.
    let made = Command::new("mkfifo").arg(folder.0.file(FILE)).status().expect("there is mkfifo");
    assert!(made.success());
    assert_eq!(folder.checked(&[], &[]), [format!("cannot read {FILE}: it is no file")]);
}

/// Whatever is cut out of a file, the rest is valid, or is refused.
#[test]
fn no_file_breaks_it() {
    let file = "max-connections = 5\nlog = \"in\\u0066o\"\nproxy-protocol = ['10.0.0.0/8', 'unix']\n\
                [[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = '\u{e9}:1'\nname.x = { a = 1 }\n";
    let bytes = file.as_bytes();
    let folder = Folder::with("");
    for end in (0..=bytes.len()).step_by(5) {
        folder.write(&bytes[..end]);
        folder.checked(&[], &[]);
        folder.write([&bytes[..end], bytes.get(end + 2..).unwrap_or_default()].concat());
        folder.checked(&[], &[]);
    }
}

/// A certificate that nobody has signed is as good as any to a check.
#[test]
fn a_check_reads_certificates_and_listens_nowhere() {
    let directory = TestDirectory::new();
    let (certificate, key) = Identity::self_signed(&[NAME]).write(&directory, "own");
    let taken = TestedServer::start(&[]);
    let file = format!(
        "tls-cert = \"{}\"\ntls-key = \"{}\"\nlisten = [\"tls:{}\", \"fd:3\"]\n",
        certificate.display(),
        key.display(),
        taken.address()
    );
    let folder = Folder::with(file);
    assert_eq!(folder.checked(&[], &[]), [""; 0]);
    assert_eq!(folder.checked(&["--"], &[]), [""; 0]);
    fs::remove_file(&key).expect("it is ours");
    let expected = format!("{FILE}:2:11: cannot read {}: No such file or directory (os error 2)", key.display());
    assert_eq!(folder.checked(&[], &[]), [expected]);
}
