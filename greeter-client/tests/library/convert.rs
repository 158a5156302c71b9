//! What others have written down becomes the draft of a script, in which everything is as it was.

use greeter_client::convert::{
    ConvertError, Draft, MAX_TRANSCRIPT_BYTES, MAX_TRANSCRIPT_LINE_BYTES, RemarkKind, TranscriptKind, convert,
};
use greeter_client::talk::{self, Script};
use proptest::prelude::*;

/// The draft is a script, in the normal form, and nothing of it is worth a warning.
#[track_caller]
fn is_a_script(draft: &Draft) {
    let script = Script::parse("draft.talk", &draft.script).unwrap_or_else(|err| panic!("{err}\n{}", draft.script));
    assert_eq!(script.warnings(), [], "{}", draft.script);
    let normal = talk::format("draft.talk", &draft.script).unwrap();
    assert_eq!(String::from_utf8(normal).unwrap(), draft.script);
}

/// The draft behind its first line, and the remarks as text: `lines: remark`.
#[track_caller]
fn drafted(kind: TranscriptKind, text: &str) -> (String, Vec<String>) {
    let draft = convert(text.as_bytes()).unwrap();
    assert_eq!(draft.kind, kind);
    is_a_script(&draft);
    let (first, script) = draft.script.split_once('\n').unwrap();
    assert_eq!(first, format!("# A draft, made of {kind}: read it before you run it."));
    let remarks: Vec<String> = draft
        .remarks
        .iter()
        .map(|remark| format!("{}-{}: {remark}", remark.lines.start(), remark.lines.end()))
        .collect();
    assert_eq!(draft.is_whole(), !remarks.iter().any(|remark| remark.contains(": not said: ")));
    (script.trim_start().to_owned(), remarks)
}

#[track_caller]
fn becomes(kind: TranscriptKind, text: &str, script: &str, remarks: &[&str]) {
    let (is, told) = drafted(kind, text);
    assert_eq!(is, script);
    assert_eq!(told, remarks);
}

#[test]
fn an_rfcs_transcript_keeps_what_is_said_and_its_prose() {
    becomes(
        TranscriptKind::Rfc,
        "4.  Example POP3 Session\n\n      S:    +OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\n      \
         C:    APOP mrose c4c9334bac560ecc979e58001b3e22fb\n      C:      two blanks more\n      S:\n\n   So it ends.\n",
        "# 4.  Example POP3 Session\n\n< +OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\n\
         > APOP mrose c4c9334bac560ecc979e58001b3e22fb\n>   two blanks more\n<\n\n# So it ends.\n"
            .replacen("# 4", "eol crlf\n# 4", 1)
            .as_str(),
        &[],
    );
}

#[test]
fn what_may_stand_for_something_else_stays_and_is_named() {
    becomes(
        TranscriptKind::Rfc,
        "C: RETR 1\nS: +OK 120 octets\nS: <the server sends message 1>\nS: ...\nC: A3 APPEND box (\\Seen) {310}\n\
         C: MAIL FROM:<ann@example.org>\nS: 250 {{ok}}\nS: café {a}\n",
        "eol crlf\n> RETR 1\n# 120 octets depends on what is sent\n< +OK 120 octets\n\
         # <the server sends message 1> may stand for something else\n< <the server sends message 1>\n\
         # ... may stand for what was left out\n< ...\n# {310} depends on what is sent\n> A3 APPEND box (\\Seen) {310}\n\
         > MAIL FROM:<ann@example.org>\n<\"250 {{ok}}\\r\\n\"\n< café {a}\n",
        &[
            "2-2: kept as it is: 120 octets depends on what is sent",
            "3-3: kept as it is: <the server sends message 1> may stand for something else",
            "4-4: kept as it is: ... may stand for what was left out",
            "5-5: kept as it is: {310} depends on what is sent",
        ],
    );
}

#[test]
fn a_folded_line_is_not_put_together_by_guess() {
    becomes(
        TranscriptKind::Rfc,
        "   S: * CAPABILITY IMAP4rev1 STARTTLS\n        AUTH=GSSAPI\n        LOGINDISABLED\n   C: a LOGOUT\n",
        "eol crlf\n< * CAPABILITY IMAP4rev1 STARTTLS\n#         AUTH=GSSAPI\n#         LOGINDISABLED\n> a LOGOUT\n",
        &["2-3: not said: the rest of a line that was folded, or a line that does not say who speaks"],
    );
}

#[test]
fn the_oldest_rfcs_have_a_sender_and_a_receiver() {
    let (script, _) = drafted(TranscriptKind::Rfc, "S: MAIL FROM:<a@b>\nR: 250 OK\n");
    assert_eq!(script, "eol crlf\n> MAIL FROM:<a@b>\n< 250 OK\n");
    // Where somebody is C, R is nobody.
    let (script, _) = drafted(TranscriptKind::Rfc, "S: 250 OK\nC: QUIT\n\nR: 250 OK\n");
    assert_eq!(script, "eol crlf\n< 250 OK\n> QUIT\n\n# R: 250 OK\n");
}

#[test]
fn what_swaks_prints_is_said_in_tls_from_where_it_was() {
    becomes(
        TranscriptKind::Swaks,
        "=== Trying 127.0.0.1:25...\n=== Connected to 127.0.0.1.\n<-  220 mail.example ESMTP\n -> EHLO client\n\
         <-  250-mail.example\n<-  250 STARTTLS\n -> STARTTLS\n<-  220 go ahead\n=== TLS started\n ~> EHLO client\n\
         <~  250 HELP\n ~> MAIL FROM:<a@b>\n<~* 550 no\n ~>\n*** gone\n",
        "eol crlf\n# Trying 127.0.0.1:25...\n# Connected to 127.0.0.1.\n< 220 mail.example ESMTP\n> EHLO client\n\
         < 250-mail.example\n< 250 STARTTLS\n> STARTTLS\n< 220 go ahead\n# TLS started\nstarttls\n> EHLO client\n\
         < 250 HELP\n> MAIL FROM:<a@b>\n< 550 no\n>\n# gone\n",
        &[],
    );
    let (script, remarks) = drafted(TranscriptKind::Swaks, "<~  220 hi\n ~> QUIT\nwhat?\nand that\n<** 500 no\n");
    assert_eq!(
        script,
        "eol crlf\nconnect tls\n< 220 hi\n> QUIT\n# what?\n# and that\n# it is said in plain, behind something that was \
         said in TLS\n< 500 no\n"
    );
    assert_eq!(
        remarks,
        [
            "3-4: not said: the line does not say who speaks",
            "5-5: kept as it is: it is said in plain, behind something that was said in TLS"
        ]
    );
}

#[test]
fn what_curl_prints_has_a_comment_where_a_body_was() {
    let body = "here is a body, which curl does not show";
    becomes(
        TranscriptKind::Curl,
        "*   Trying 127.0.0.1:80...\n> GET / HTTP/1.1\n> Host: a\n> \n< HTTP/1.1 200 OK\n< Content-Length: 3\n< \nabc\n\
         * Connection #0 left intact\n",
        &format!(
            "eol crlf\n#   Trying 127.0.0.1:80...\n> GET / HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 200 OK\n\
             < Content-Length: 3\n<\n# {body}\n# abc\n# Connection #0 left intact\n"
        ),
        &[
            &format!("7-7: not said: {body}"),
            "8-8: not said: the line does not say who speaks: it may be a body, or curl's progress",
        ],
    );
    let at = |request: &str, response: &str| {
        let text = format!("* x\n> {request}\n> \n< {response}\n< \n");
        let lines: Vec<usize> =
            convert(text.as_bytes()).unwrap().remarks.iter().map(|remark| *remark.lines.start()).collect();
        lines
    };
    assert_eq!(at("GET / HTTP/1.1", "HTTP/1.1 200 OK\n< Content-Length: 0"), [0; 0]);
    assert_eq!(at("GET / HTTP/1.1", "HTTP/1.1 204 No Content"), [0; 0]);
    assert_eq!(at("HEAD / HTTP/1.1", "HTTP/1.1 200 OK\n< Content-Length: 10"), [0; 0]);
    assert_eq!(at("GET / HTTP/1.1", "HTTP/1.1 200 OK"), [5]);
    assert_eq!(at("POST / HTTP/1.1\n> Content-Length: 5", "HTTP/1.1 304 Not Modified"), [4]);
    assert_eq!(at("PUT / HTTP/1.1\n> Transfer-Encoding: chunked", "HTTP/1.1 100 Continue"), [4]);
    assert_eq!(at("GET / HTTP/2", "HTTP/2 204"), [2]);
}

#[test]
fn what_curl_prints_of_mail_has_no_mail_and_three_signs_are_not_one() {
    becomes(
        TranscriptKind::Curl,
        "* Connected\n< 220 hi\n> DATA\n< 354 go\n} [12 bytes data]\n< 250 ok\n>>> no\n",
        "eol crlf\n# Connected\n< 220 hi\n> DATA\n< 354 go\n# here is a body, which curl does not show\n\
         # } [12 bytes data]\n< 250 ok\n# >>> no\n",
        &[
            "4-4: not said: here is a body, which curl does not show",
            "5-5: not said: the line does not say who speaks: it may be a body, or curl's progress",
            "7-7: not said: the line does not say who speaks: it may be a body, or curl's progress",
        ],
    );
}

#[test]
fn literal_expect_and_send_are_a_prompt_anywhere_and_a_line() {
    becomes(
        TranscriptKind::Expect,
        "#!/usr/bin/expect -f\nset timeout 20\nspawn telnet 127.0.0.1 2323\n\nexpect \"ogin: \"\nsend \"bob\\r\"\n\
         expect \"assword: \" { send -- \"sec\\\\ret\\r\" }\nexpect -ex {*$ }\nsend \"a\\nb\\003\"\nexpect \"*done\\r\\n\"\n\
         expect \"\\\\$ \"\nsend_user \"fine\"\nexpect eof\n",
        "#!/usr/bin/expect -f\ntimeout 20s\n# spawn telnet 127.0.0.1 2323\n\n<*\n<prompt \"{{*}}ogin: \"\n> bob\n<*\n\
         <prompt \"{{*}}assword: \"\n> sec\\ret\n<*\n<prompt \"{{*}}*$ \"\n> a\n>\"b\\x03\"\n<*\n< {{*}}done\n<*\n\
         <prompt \"{{*}}$ \"\n# send_user \"fine\"\n<*\n<eof\n"
            .replacen("#!", "# !", 1)
            .as_str(),
        &["3-3: kept as it is: what is spawned says where to connect, and how lines end: --connect, and eol crlf"],
    );
}

#[test]
fn what_is_not_literal_in_an_expect_script_is_a_comment() {
    let why_not = "only literal text is said, and eof: no patterns, no variables, no branches";
    for (command, why) in [
        ("expect -re {\\d+}", why_not),
        ("expect \"a*b\"", why_not),
        ("expect \"^a\"", why_not),
        ("expect \"a$\"", why_not),
        ("expect \"$prompt\"", why_not),
        ("expect {\n  \"a\" { send \"b\\r\" }\n  timeout { exit 1 }\n}", why_not),
        ("expect \"a\" { exit 1 }", why_not),
        ("expect timeout", why_not),
        ("expect \"a\\nb\"", "a prompt is part of one line, and of 4096 bytes at most"),
        ("expect \"a\\033\\n\"", "a line with these characters cannot be searched for"),
        ("send \"$password\\r\"", "what is sent depends on something"),
        ("send [lindex $argv 0]", "what is sent depends on something"),
        ("send -i $other \"a\"", "what is sent depends on something"),
        ("send -break", "it is an option of send"),
        ("send -raw a", "it is sent in a way of its own, or elsewhere"),
        ("set timeout -1", "it waits without end, or not at all"),
        ("set name bob", "there are no variables but the timeout"),
        ("if {$a} { send b }", "only literal expect and send are said"),
        ("interact", "only literal expect and send are said"),
        ("send \"open", "what is sent depends on something"),
    ] {
        let (script, remarks) = drafted(TranscriptKind::Expect, &format!("send \"x\\r\"\n{command}\n"));
        let comments: String = command.lines().map(|line| format!("# {line}\n")).collect();
        let last = 1 + command.lines().count();
        assert_eq!(script, format!("> x\n{comments}close\n"), "{command}");
        assert_eq!(remarks, [format!("2-{last}: not said: {why}")], "{command}");
    }
    let (script, remarks) = drafted(TranscriptKind::Expect, "expect eof\nsend a\nspawn a\nspawn b\nexit\nsend c\n");
    assert_eq!(script, "<*\n<eof\n# send a\n# spawn a\n# spawn b\n# exit\n# send c\n");
    assert_eq!(remarks.len(), 3, "{remarks:?}");
}

#[test]
fn what_says_nothing_of_directions_is_refused() {
    let telnet = b"Trying 127.0.0.1...\nConnected to localhost.\nEscape character is '^]'.\n220 hi\nQUIT\n221 bye\n";
    assert!(matches!(convert(telnet), Err(ConvertError::Telnet)));
    for text in [&b""[..], b"\n", b"# a comment\n", b"220 hi\nQUIT\n", b"SC: a\n", b">a\n<b\n", b"expected a thing\n"] {
        assert!(matches!(convert(text), Err(ConvertError::NoDirections)), "{}", text.escape_ascii());
    }
    assert!(matches!(convert(b"> GET / HTTP/1.1\n<\n"), Err(ConvertError::Script)));
    let long = vec![b'x'; MAX_TRANSCRIPT_LINE_BYTES + 1];
    assert!(matches!(convert(&[b"C: a\n", &long[..]].concat()), Err(ConvertError::LineTooLong { line: 2 })));
    assert!(matches!(convert(&b"C: a\n".repeat(MAX_TRANSCRIPT_BYTES / 5 + 1)), Err(ConvertError::TooLong)));
}

/// The most that can be said, and the worst of it: each byte takes four characters.
#[test]
fn the_longest_text_is_within_the_limits_of_a_script() {
    let most_steps = [&b"* x\n"[..], &b">\n".repeat(MAX_TRANSCRIPT_BYTES / 2 - 2)].concat();
    is_a_script(&convert(&most_steps).unwrap());
    let long = [&b"C: "[..], &[1; MAX_TRANSCRIPT_LINE_BYTES - 3], b"\n"].concat();
    is_a_script(&convert(&long.repeat(4)).unwrap());
}

/// Lines that belong to one kind of text or another.
fn line() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "[ <>{}.*\\[\\]\"\\\\$#]{0,8}",
        "(HTTP/1.1 200 OK|GET / HTTP/2|DATA|354|Content-Length: [0-9]|\\{[0-9]{1,3}\\}|[0-9] octets|<a>|...)?",
        any::<String>().prop_map(|text| text.replace('\n', " ")),
    ];
    let start = prop_oneof![
        "( {0,3}[CSR]:|[<>*]| ->|<-|<\\*\\*|<~\\*?| ~>|===|\\*\\*\\*|>>>|\\}) ?",
        "(expect|send|exp_send|spawn|set timeout|sleep|close|exit|interact|wait|expect -ex|send --|expect eof|#)( |;|\n)[\"{]?",
        " {0,4}",
    ];
    (start, text, "[\"}]?( \\{ ?send b[\"\\}]?)?(\\\\r)?(\\\\|;)?\r?")
        .prop_map(|(start, text, end)| start + &text + &end)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_in_what_comes_out_is_a_script(lines in prop::collection::vec(line(), 1..12)) {
        let text = lines.join("\n");
        match convert(text.as_bytes()) {
            Ok(draft) => {
                is_a_script(&draft);
                let count = text.split('\n').count();
                for remark in &draft.remarks {
                    prop_assert!(1 <= *remark.lines.start() && remark.lines.start() <= remark.lines.end());
                    prop_assert!(*remark.lines.end() <= count, "{:?}", remark);
                    prop_assert!(!remark.to_string().contains(char::is_control));
                }
                let is_whole = draft.remarks.iter().all(|remark| remark.kind == RemarkKind::Kept);
                prop_assert_eq!(is_whole, draft.is_whole());
            }
            Err(ConvertError::NoDirections | ConvertError::Script) => {}
            Err(err) => prop_assert!(false, "{}", err),
        }
    }

    #[test]
    fn so_it_is_with_any_bytes(noise in prop::collection::vec(any::<u8>(), 0..60), start in "(C: |S:|> |\\* |expect |send \"| -> |<-  )") {
        let text = [start.as_bytes(), &noise, b"\n* \n> a\n", start.as_bytes(), &noise].concat();
        match convert(&text) {
            Ok(draft) => is_a_script(&draft),
            Err(err) => prop_assert!(matches!(err, ConvertError::NoDirections | ConvertError::Script), "{}", err),
        }
    }
}
