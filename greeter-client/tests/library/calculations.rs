//! `let`: sums and digests, what they refuse, and what becomes of them in a script.

use std::collections::BTreeMap;

use greeter_client::talk::{Action, Calculation, Script, Variables};

use crate::kit::{Says, puppet, ran};

fn calculation(text: &str) -> Calculation {
    let script = Script::parse("a.talk", format!("let x = {text}\n")).unwrap_or_else(|problems| panic!("{problems}"));
    match script.steps()[0].action() {
        Action::Let { value, .. } => value.clone(),
        action => panic!("{action:?}"),
    }
}

/// The value, or why there is none.
fn value(text: &str) -> String {
    let mut variables = Variables::default();
    let values = [
        ("p1", "195"),
        ("p2", "80"),
        ("minus", "-7"),
        ("zeros", "0007"),
        ("max", "9223372036854775807"),
        ("min", "-9223372036854775808"),
        ("more", "9223372036854775808"),
        ("empty", ""),
        ("plus", "+7"),
        ("text", "12a"),
        ("blank", " 7"),
        ("half", "1.5"),
        ("sign", "-"),
        ("banner", "<1896.697170952@dbc.mtview.ca.us>"),
        ("password", "tanstaaf"),
    ];
    for (name, value) in values {
        variables.set(name.parse().unwrap(), value);
    }
    variables.set("bytes".parse().unwrap(), b"\xff\n\x1b".to_vec());
    match calculation(text).value(&variables) {
        Ok(value) => String::from_utf8(value).unwrap(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_sum_is_computed_with_times_before_plus_and_minus() {
    assert_eq!(value("{{p1}}*256+{{p2}}"), "50000");
    assert_eq!(value("1 + 2 * 3 - 4"), "3");
    assert_eq!(value("10-2-3"), "5");
    assert_eq!(value("2*3*4-5*0"), "24");
    assert_eq!(value("{{minus}}*{{minus}}"), "49");
    assert_eq!(value("{{zeros}}"), "7");
    assert_eq!(value("1-2"), "-1");
    assert_eq!(value("{{minus}} - {{minus}}"), "0");
}

#[test]
fn what_does_not_fit_into_64_bits_is_an_error() {
    let too_large = "a number is too large: all that is computed must be within 64 bits";
    for (text, expected) in [
        ("{{max}}", "9223372036854775807"),
        ("{{min}}", "-9223372036854775808"),
        ("9223372036854775807", "9223372036854775807"),
        ("{{max}}-1+1", "9223372036854775807"),
        ("{{min}}+{{max}}", "-1"),
        ("0-{{max}}-1", "-9223372036854775808"),
        ("3037000499*3037000499", "9223372030926249001"),
        ("{{more}}", too_large),
        ("{{max}}+1", too_large),
        ("{{max}}+1-1", too_large),
        ("{{min}}-1", too_large),
        ("0-{{min}}", too_large),
        ("{{min}}*{{minus}}", too_large),
        ("{{max}}*2", too_large),
        ("4294967296*4294967296", too_large),
        ("0*{{more}}", too_large),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_number_is_told_with_its_value() {
    for (name, shown) in [
        ("empty", ""),
        ("plus", "+7"),
        ("text", "12a"),
        ("blank", " 7"),
        ("half", "1.5"),
        ("sign", "-"),
        ("bytes", "\\\\xff\\\\n\\\\e"),
    ] {
        assert_eq!(value(&format!("1+{{{{{name}}}}}")), format!("{{{{{name}}}}} is \"{shown}\", which is no number"));
    }
    assert_eq!(value("1+{{nobody}}"), "{{nobody}} has no value yet");
    assert_eq!(value("md5({{nobody}})"), "{{nobody}} has no value yet");
}

/// The first digest is the example of RFC 1939, others are those of RFC 1321 and RFC 4648.
#[test]
fn functions_are_those_of_the_rfcs() {
    assert_eq!(value("md5({{banner}}{{password}})"), "c4c9334bac560ecc979e58001b3e22fb");
    assert_eq!(value("md5()"), "d41d8cd98f00b204e9800998ecf8427e");
    assert_eq!(value("md5(message digest)"), "f96b697d7cb7938d525a2f31aaf161d0");
    assert_eq!(value("base64(foobar)"), "Zm9vYmFy");
    assert_eq!(value("base64(fooba)"), "Zm9vYmE=");
    assert_eq!(value("base64({{bytes}})"), "/wob");
    assert_eq!(value("len({{bytes}})"), "3");
    assert_eq!(value("len(a (b) c)"), "7");
    assert_eq!(value("len( )"), "1");
}

#[test]
fn it_is_written_down_as_it_was() {
    for (text, normal) in [
        ("{{a}} * 256 +  {{b}}", "{{a}}*256+{{b}}"),
        ("007-{{a}}", "7-{{a}}"),
        ("md5({{a}} {{b}} )", "md5({{a}} {{b}} )"),
        ("len()", "len()"),
    ] {
        assert_eq!(calculation(text).to_string(), normal);
        assert_eq!(calculation(normal), calculation(text));
    }
}

#[test]
fn a_script_says_what_it_has_computed() {
    let says = |line: &str, reply: &str| (line.to_owned(), Says::lines(&[reply]));
    let server = puppet(BTreeMap::from([
        says("PASV", "227 (127,0,0,1,195,80)"),
        says("to 50000", "fine"),
        says("none", "227 (127,0,0,1,no,ports)"),
    ]));
    let script = "> PASV\n< 227 (127,0,0,1,{{high}},{{low}})\nlet port = {{high}}*256+{{low}}\n> to {{port}}\n< fine\n";
    assert_eq!(ran(&server, script), "passed");
    assert_eq!(
        ran(&server, &script.replace("PASV", "none")),
        "  a.talk:3\n      > none\n      < 227 (127,0,0,1,no,ports)\n      let port = {{high}}*256+{{low}}\n    \
         {{high}} is \"no\", which is no number"
    );
    // The value that it had is another one from then on.
    assert_eq!(ran(&server, "set n = 49998\nlet n = {{n}}+2\n> to {{n}}\n< fine\n"), "passed");
}
