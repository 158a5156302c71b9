//! Scripts, and every word that is said of them: `line:column: severity: message (help)`.

/// A line that is wrong by itself.
pub(crate) const LINES: &[(&str, &str)] = &[
    (">Bob", "1:2: error: '>Bob' is no statement (to send a line put one space after >: '> Bob')"),
    ("<Bob", "1:2: error: '<Bob' is no statement (to expect a line put one space after <: '< Bob')"),
    (
        ">oef",
        "1:2: error: '>oef' is no statement (did you mean '>eof'? else, to send a line put one space after >: '> oef')",
    ),
    (
        "<Eof",
        "1:2: error: '<Eof' is no statement (did you mean '<eof'? else, to expect a line put one space after <: '< Eof')",
    ),
    ("bob>nohting", "1:5: error: '>nohting' is no statement (to send a line put one space after >: 'bob> nohting')"),
    (r#"<"open"#, r#"1:2: error: the closing quote is missing (a quote within is \")"#),
    (r#">"a\q""#, r#"1:4: error: \q is no escape (the escapes are \n \r \t \0 \e \a \\ \" and \xNN)"#),
    (
        r#">"a\x4""#,
        r#"1:4: error: two hexadecimal digits must follow \x (the escapes are \n \r \t \0 \e \a \\ \" and \xNN)"#,
    ),
    (r#">"a\"#, r#"1:4: error: nothing follows the backslash (the escapes are \n \r \t \0 \e \a \\ \" and \xNN)"#),
    (r#">"""#, "1:2: error: there is nothing between the quotes (an empty line is > or < alone)"),
    (
        r#">"a" y"#,
        r#"1:6: error: only a repetition can follow the closing quote (it is written x 3; a quote within is \", and nothing is added to what is sent)"#,
    ),
    (r#">"a" x 0"#, "1:8: error: the repetition must be from 1 to 67108864"),
    (r#">"a" x 67108865"#, "1:8: error: the repetition must be from 1 to 67108864"),
    (r#">"a" x"#, "1:6: error: no number follows x (a repetition is written x 3)"),
    (r#">"a" x many"#, "1:8: error: 'many' is no number (the repetition is a number from 1 to 67108864)"),
    (">\ttab", "1:2: error: a tab follows > (put one space there; what follows it is literal)"),
    (">eof now", "1:6: error: nothing can follow '>eof'"),
    ("<* until", "1:4: error: nothing can follow '<*'"),
    ("<?motd", "1:2: error: '<?motd' is no statement (put one space after <?: '<? motd')"),
    ("bob<!\tERR {{*}}", "1:5: error: '<!ERR {{*}}' is no statement (put one space after <!: '<! ERR {{*}}')"),
    ("<&a", "1:2: error: '<&a' is no statement (put one space after <&: '<& a')"),
    ("<bytes 5 x", "1:10: error: only {{name}} can follow the number of 'bytes' (as in '<bytes 512 {{body}}')"),
    ("<bytes 5 \"{{x}}\"", "1:10: error: only {{name}} can follow the number of 'bytes' (as in '<bytes 512 {{body}}')"),
    ("<bytes 5 {{x:.*}}", "1:10: error: only {{name}} can follow the number of 'bytes' (as in '<bytes 512 {{body}}')"),
    ("<bytes 1048577 {{x}}", "1:8: error: at most 1048576 bytes can be captured"),
    ("<? {{a:(}}", "1:8: error: bad regex: unclosed group"),
    ("<nothing", "1:2: error: 'nothing' needs a value (as in '<nothing 100ms')"),
    (
        "<nothing 5",
        "1:10: error: '5' has no unit (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    ("<nothing 5 minutes", "1:12: error: only one value can follow 'nothing' (as in '<nothing 100ms')"),
    ("<nothing 0ms", "1:10: error: nothing can happen in no time (write 1ms or more)"),
    ("<bytes", "1:2: error: 'bytes' needs a value (as in '<bytes 512')"),
    ("<bytes 0", "1:8: error: the number of bytes must be from 1 to 67108864"),
    ("<bytes -1", "1:8: error: '-1' is no number (the number of bytes is a number from 1 to 67108864)"),
    ("<bytes 99999999999999999999999", "1:8: error: the number of bytes must be from 1 to 67108864"),
    (
        "<bytes {{a}}{{b}}",
        "1:8: error: the number of bytes is a number or one variable (as in '<bytes 512' or '<bytes {{size}}')",
    ),
    (
        "<bytes {{#}}",
        "1:8: error: the number of bytes is a number or one variable (as in '<bytes 512' or '<bytes {{size}}')",
    ),
    (
        "<bytes {{a",
        "1:8: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself can be written in the raw form, in double quotes)",
    ),
    (r#"<bytes "{{a}}""#, "1:8: error: '{{a}}' is no number (the number of bytes is a number from 1 to 67108864)"),
    ("<prompt", r#"1:2: error: 'prompt' needs a value (as in '<prompt "user@host-{{n}}:~$ "')"#),
    ("<prompt \t", r#"1:2: error: 'prompt' needs a value (as in '<prompt "user@host-{{n}}:~$ "')"#),
    ("<prompt $ ", r#"1:9: error: a prompt stands in double quotes (as in '<prompt "user@host-{{n}}:~$ "')"#),
    (r#"bob<prompt"$ ""#, "1:11: error: a blank must stand before the quote"),
    (r#"<prompt """#, r#"1:9: error: there is nothing between the quotes (as in '<prompt "user@host-{{n}}:~$ "')"#),
    (r#"<prompt "$ "#, r#"1:9: error: the closing quote is missing (a quote within is \")"#),
    (r#"<prompt "{{:a"}}"#, r#"1:9: error: the closing quote is missing (a quote within is \")"#),
    (r#"<prompt "$ " x 3"#, "1:13: error: nothing can follow the closing quote"),
    (
        r#"<prompt "a{{n}}""#,
        "1:11: error: a prompt must end in text, so that it is known where it ends (half of a value that is still on its way would do for this placeholder)",
    ),
    (
        r#"<prompt "$ {{a}}{{:\d}}""#,
        "1:17: error: a prompt must end in text, so that it is known where it ends (half of a value that is still on its way would do for this placeholder)",
    ),
    (
        r#"<prompt "$ \n""#,
        "1:12: error: a prompt is part of one line (what ends with a newline is a line: '< text', or <* to skip it)",
    ),
    (
        r#"<prompt "a\x0Ab""#,
        "1:11: error: a prompt is part of one line (what ends with a newline is a line: '< text', or <* to skip it)",
    ),
    (r#"<prompt "a\q""#, r#"1:11: error: \q is no escape (the escapes are \n \r \t \0 \e \a \\ \" and \xNN)"#),
    (r#"<prompt "{{ n }}$ ""#, "1:10: error: '{{' opens no placeholder (write it without blanks: {{n}})"),
    (
        r#"<prompt "a {{$ ""#,
        r"1:12: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself is written \x7b{)",
    ),
    (
        r#"<prompt "{{n:[}}$ ""#,
        "1:10: error: this placeholder is not closed (}} closes it; a brace within the regex needs its partner or a backslash)",
    ),
    (r#"<prompt "\x41{{n:(}}$ ""#, "1:18: error: bad regex: unclosed group"),
    (
        "<promt \"$ \"",
        "1:2: error: '<promt' is no statement (did you mean '<prompt'? else, to expect a line put one space after <: '< promt \"$ \"')",
    ),
    (
        "<prompts",
        "1:2: error: '<prompts' is no statement (did you mean '<prompt'? else, to expect a line put one space after <: '< prompts')",
    ),
    ("> {{ name }}", "1:3: error: '{{' opens no placeholder (write it without blanks: {{name}})"),
    (
        "> {{name",
        "1:3: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself can be written in the raw form, in double quotes)",
    ),
    (
        "> {{}}",
        "1:3: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself can be written in the raw form, in double quotes)",
    ),
    (
        "> {{7up}}",
        "1:5: error: '7up' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    (
        "> {{*}}",
        "1:3: error: only {{name}}, {{#}} and {{#n}} have a value that can be put in here (a regex or {{*}} belongs into a line that is expected)",
    ),
    (
        "> {{a:b}}",
        "1:3: error: only {{name}}, {{#}} and {{#n}} have a value that can be put in here (a regex or {{*}} belongs into a line that is expected)",
    ),
    (
        "< {{a b}}",
        "1:3: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself can be written in the raw form, in double quotes)",
    ),
    ("< {{a:}}", "1:7: error: no regex follows the colon ({{name}} and {{*}} match anything)"),
    ("< {{:(}}", "1:6: error: bad regex: unclosed group"),
    ("< {{:a(?=b)}}", "1:6: error: bad regex: look-around, including look-ahead and look-behind, is not supported"),
    (r#"< {{:\d{99999}}}"#, "1:6: error: bad regex: compiled, it is larger than 256 KiB"),
    (
        "< {{:(?P<n>a)}}",
        "1:6: error: a group in a placeholder can have no name ({{name:regex}} names what is captured)",
    ),
    ("< {{:(?x)a # }}", "1:6: error: bad regex: unclosed group"),
    ("< {{:é[é]}}", "1:6: error: bad regex: Unicode not allowed here"),
    (
        "< {{a:[}}",
        "1:3: error: this placeholder is not closed (}} closes it; a brace within the regex needs its partner or a backslash)",
    ),
    ("bob > Bob", "1:1: error: a blank stands between a connection's name and its > (write 'bob>')"),
    (
        "bob. > x",
        "1:1: error: 'bob.' is no control word (to send the line write '> bob. > x', to expect it '< bob. > x')",
    ),
    (".7> x", "1:1: error: '' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)"),
    ("7> x", "1:1: error: '7' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)"),
    ("c.0> x", "1:3: error: the index of a member must be from 1 to 10000"),
    ("c.x> x", "1:3: error: 'x' is no number (the index of a member is a number from 1 to 10000)"),
    ("c.10001> x", "1:3: error: the index of a member must be from 1 to 10000"),
    ("to> x", "1:1: error: no connection can be called 'to' (that is a word of connect)"),
    (
        "tiemout 5s",
        "1:1: error: 'tiemout' is no control word (did you mean 'timeout'? to send the line write '> tiemout 5s')",
    ),
    ("wihtin", "1:1: error: 'wihtin' is no control word (did you mean 'within'? to send the line write '> wihtin')"),
    ("Sleep 5s", "1:1: error: 'Sleep' is no control word (did you mean 'sleep'? to send the line write '> Sleep 5s')"),
    ("send Bob", "1:1: error: 'send' is no control word (a line is sent by > and one space, as in '> Bob')"),
    (
        "expect Bob",
        "1:1: error: 'expect' is no control word (a line is expected by < and one space, as in '< Hello, Bob')",
    ),
    ("wait 5s", "1:1: error: 'wait' is no control word (did you mean 'sleep'?)"),
    ("// text", "1:1: error: '//' is no control word (a comment starts with #)"),
    ("Bob", "1:1: error: 'Bob' is no control word (to send the line write '> Bob', to expect it '< Bob')"),
    ("é", "1:1: error: 'é' is no control word (to send the line write '> é', to expect it '< é')"),
    ("timeout", "1:1: error: 'timeout' needs a value (as in 'timeout 2s')"),
    (
        "timeout 5",
        "1:9: error: '5' has no unit (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    ("timeout 5 s", "1:11: error: only one value can follow 'timeout' (as in 'timeout 2s')"),
    ("timeout 0s", "1:9: error: nothing can happen in no time (write 1ms or more)"),
    ("timeout 25h", "1:9: error: '25h' is longer than a day"),
    (
        "timeout 1.s",
        "1:9: error: '1.s' is no duration (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    (
        "timeout 1.2.3s",
        "1:9: error: '1.2.3s' is no duration (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    (
        "timeout 0.0001us",
        "1:9: error: '0.0001us' is finer than a nanosecond (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    (
        "timeout soon",
        "1:9: error: 'soon' is no duration (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    ("timeout 5s # slow", "1:12: error: only one value can follow 'timeout' (a comment stands on a line of its own)"),
    (
        "sleep -1s",
        "1:7: error: '-1s' is no duration (write a number and its unit: 200ms, 2s, 1.5s or 1m (the units are us, ms, s, m and h))",
    ),
    ("eol cr", "1:5: error: 'cr' is not known here (known are lf, crlf)"),
    ("eol CRLF", "1:5: error: 'CRLF' is not known here (did you mean 'crlf'?)"),
    (
        "let",
        "1:4: error: 'let' needs a name, = and a value (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let = 1",
        "1:5: error: '' is no name (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x =",
        "1:8: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = 1+",
        "1:11: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = -1",
        "1:9: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = 1 2",
        "1:11: error: here +, - or * must stand, or the end of the line (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = 2*(3+4)",
        "1:11: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = {{a:b}}+1",
        "1:9: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = {{a}}/2",
        "1:14: error: here +, - or * must stand, or the end of the line (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    (
        "let x = \"1\"",
        "1:9: error: here a number or {{name}} must stand (as in 'let port = {{high}}*256+{{low}}' or 'let digest = md5({{banner}}{{password}})')",
    ),
    ("let x = 9223372036854775808", "1:9: error: this number is too large (it can be 9223372036854775807 at most)"),
    ("let x = md6(a)", "1:9: error: 'md6' is no function (did you mean 'md5'?)"),
    ("let x = crypt(a)", "1:9: error: 'crypt' is no function (the functions are md5, base64, len)"),
    ("let x = md5(a", "1:13: error: 'md5(' is not closed (the last ) of the line closes it, and nothing follows that)"),
    (
        "let x = len(a) + 1",
        "1:18: error: 'len(' is not closed (the last ) of the line closes it, and nothing follows that)",
    ),
    (
        "let x = md5({{*}})",
        "1:13: error: only {{name}}, {{#}} and {{#n}} have a value that can be put in here (a regex or {{*}} belongs into a line that is expected)",
    ),
    ("let x = md5({{#}})", "1:13: error: {{#}} has no value here: a variable is in no crowd"),
    ("set", "1:4: error: 'set' needs a name, = and a value (as in 'set host = mail.example')"),
    ("set a", "1:4: error: 'set' needs a name, = and a value (as in 'set host = mail.example')"),
    ("set = b", "1:5: error: '' is no name (as in 'set host = mail.example')"),
    (
        "set 7 = b",
        "1:5: error: '7' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    ("set a = {{#n}}\n> {{#n}} {{a}}\n< {{#n}}{{*}}", ""),
    (
        "> {{# n}}",
        "1:3: error: '{{' opens no placeholder (placeholders are {{name}}, {{name:regex}}, {{:regex}}, {{*}}, {{#}} and {{#n}}; {{ itself can be written in the raw form, in double quotes)",
    ),
    ("> {{ #n }}", "1:3: error: '{{' opens no placeholder (write it without blanks: {{#n}})"),
    ("set a = {{#}}", "1:9: error: {{#}} has no value here: a variable is in no crowd"),
    (
        "set a = {{*}}",
        "1:9: error: only {{name}}, {{#}} and {{#n}} have a value that can be put in here (a regex or {{*}} belongs into a line that is expected)",
    ),
    (r#"set a = "b" c"#, "1:12: error: nothing can follow the closing quote"),
    (r#"set a = "b"#, r#"1:9: error: the closing quote is missing (a quote within is \")"#),
    ("connect bob bob", "1:13: error: 'bob' is not known here (known are to, from, tls, proxy)"),
    ("connect x50", "1:9: error: a crowd needs a name (as in 'connect c x50')"),
    ("connect c x0", "1:12: error: the size of a crowd must be from 1 to 10000"),
    ("connect c x10001", "1:12: error: the size of a crowd must be from 1 to 10000"),
    ("connect c x 50", "1:11: error: the size of a crowd is written x50, without a blank"),
    ("connect bob to", "1:13: error: 'to' needs a value (as in 'to 127.0.0.1:8080 or to unix:run.sock')"),
    ("connect bob to localhost", "1:16: error: 'localhost' names no port (write HOST:PORT, as in localhost:8080)"),
    (r#"connect bob to "a b:1""#, "1:16: error: 'a b:1' has no usable host (write HOST:PORT, as in localhost:8080)"),
    ("connect bob to a:1 to b:1", "1:20: error: 'to' is there twice"),
    ("connect bob tls tls", "1:17: error: 'tls' is there twice"),
    (
        "connect bob from localhost",
        "1:18: error: 'localhost' is no IP address (our own address has no port and no brackets, as in 127.0.0.2 or ::1)",
    ),
    ("connect bob proxy v3 192.0.2.1:5000", "1:19: error: 'v3' is not known here (did you mean 'v1'?)"),
    ("connect bob proxy", "1:13: error: 'proxy' needs a value (as in 'proxy v2 192.0.2.1:5000')"),
    ("connect bob proxy v1 proxy v2", "1:22: error: 'proxy' is there twice"),
    ("connect bob proxy tls", "1:19: error: 'tls' is not known here (known are v1, v2)"),
    (
        "connect bob proxy v2 192.0.2.1",
        "1:22: error: '192.0.2.1' is no IP address with a port (as in 'proxy v2 192.0.2.1:5000', or local)",
    ),
    ("starttls bob carol", "1:14: error: only one value can follow 'starttls' (as in 'starttls bob')"),
    (
        "starttls 7",
        "1:10: error: '7' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    ("connect bob tls\nstarttls bob", "2:1: error: 'bob' speaks TLS already (line 1)"),
    ("starttls\nstarttls", "2:1: error: the connection speaks TLS already (line 1)"),
    ("> a\n>eof\nstarttls", "3:1: error: a side of this connection has ended (line 2)"),
    ("close\nstarttls", "1:1: error: the connection was never opened"),
    ("starttls c.1", "1:1: error: there is no crowd c here ('connect c x50' makes one)"),
    (
        "startls",
        "1:1: error: 'startls' is no control word (did you mean 'starttls'? to send the line write '> startls')",
    ),
    ("connect bob form 127.0.0.2", "1:13: error: 'form' is not known here (did you mean 'from'?)"),
    (
        "connect 7",
        "1:9: error: '7' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    (r#"connect "bob"#, r#"1:9: error: the closing quote is missing (a quote within is \")"#),
    (r#"connect "b"c"#, "1:12: error: a blank must follow the closing quote"),
    ("include", "1:1: error: 'include' needs a value (as in 'include setup.talk')"),
    ("include a b", "1:11: error: only one value can follow 'include' (a path with blanks stands in double quotes)"),
    (r#"include """#, "1:9: error: this is no path"),
    ("include setup.talk", "1:1: error: a script that is no file can include nothing"),
    ("require magic", "1:9: error: 'magic' is not known here (known are tls, proxy, unix, ipv6, server)"),
    ("require TLS", "1:9: error: 'TLS' is not known here (did you mean 'tls'?)"),
    ("signal SIGTERM", "1:8: error: 'SIGTERM' is not known here (write 'TERM')"),
    (
        "signal SIGMAGIC",
        "1:8: error: 'SIGMAGIC' is not known here (known are TERM, INT, HUP, QUIT, KILL, USR1, USR2, STOP, CONT)",
    ),
    ("exits", "1:1: error: 'exits' needs a value (as in 'exits 0')"),
    ("exits 256", "1:7: error: '256' is no exit status (an exit status is a number from 0 to 255)"),
    ("exits -1", "1:7: error: '-1' is no exit status (an exit status is a number from 0 to 255)"),
    ("close bob carl", "1:11: error: only one value can follow 'close' (as in 'close bob')"),
    (
        "close b:b",
        "1:7: error: 'b:b' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    ("secret", "1:1: error: 'secret' needs a value (as in 'secret password')"),
    ("secret a = b", "1:10: error: only one value can follow 'secret' (as in 'secret password')"),
    (
        "secret 7up",
        "1:8: error: '7up' is no name (a name is made of letters, digits, _ and -, and starts with a letter or _)",
    ),
    ("abandon now", "1:9: error: nothing can follow 'abandon'"),
];

const AFTER_EOF: &str = "2:1: error: nothing can come after '<eof' (line 1) \
    (what is sent after it must not be refused; the end of the script sees to that)";

const SHORT_SECRET: &str = "2:1: error: a secret has at least 4 bytes \
    ('pin' is to be '***' wherever it is found, and so little is found everywhere)";

/// Lines of which each is right by itself. Where nothing is said, all of them are right together.
pub(crate) const FLOWS: &[(&str, &str)] = &[
    (
        "within 1s",
        "1:1: error: this is a deadline for the next expectation, and none follows ('timeout' is the deadline of all that follow)",
    ),
    (
        "within 1s\nwithin 2s\n< a",
        "1:1: error: this is a deadline for the next expectation, and none follows ('timeout' is the deadline of all that follow)",
    ),
    ("<*", "1:1: error: nothing follows on this connection that could be skipped to"),
    (
        "<*\n<*\n< a",
        "2:1: error: '<*' stands before this, and cannot skip to it (it skips to a line, to raw bytes, to a prompt or to the end)",
    ),
    (
        "<*\n<nothing 1s",
        "2:1: error: '<*' stands before this, and cannot skip to it (it skips to a line, to raw bytes, to a prompt or to the end)",
    ),
    (
        "<*\n<bytes 3",
        "2:1: error: '<*' stands before this, and cannot skip to it (it skips to a line, to raw bytes, to a prompt or to the end)",
    ),
    ("<*\n<prompt \"$ \"", ""),
    ("<? a\n<? b\n> c\nbob<! d\n<eof\nbob<! d\nbob<*\nbob< e", ""),
    (
        "<?\n<!\n<*\n< a",
        "2:1: error: '<?' and '<*' cannot stand before the same expectation (they take the same lines; what '<*' must not skip, '<!' says before it)",
    ),
    ("<*\n<& a\n<& b", ""),
    ("<& a\nbob<& b\n<& c", ""),
    (
        "<! a\n<& b",
        "2:1: error: '<!' stands before this, and nothing is skipped here (behind '<!' stands '<*', which must not skip such a line)",
    ),
    ("<? a", "1:1: error: nothing follows on this connection that such a line could come before"),
    ("bob<! a\n< a", "1:1: error: no '<*' follows on this connection that could skip such a line"),
    (
        "<! a\n< b",
        "2:1: error: '<!' stands before this, and nothing is skipped here (behind '<!' stands '<*', which must not skip such a line)",
    ),
    (
        "<! a\n<eof",
        "2:1: error: '<!' stands before this, and nothing is skipped here (behind '<!' stands '<*', which must not skip such a line)",
    ),
    ("<*\n<! a\n<*\n< b", "2:1: error: '<*' stands before this (what it must not skip is said before it)"),
    (
        "<*\n<? a\n< b",
        "2:1: error: '<?' and '<*' cannot stand before the same expectation (they take the same lines; what '<*' must not skip, '<!' says before it)",
    ),
    (
        "<? a\n<*\n< b",
        "2:1: error: '<?' and '<*' cannot stand before the same expectation (they take the same lines; what '<*' must not skip, '<!' says before it)",
    ),
    (
        "<? a\n<nothing 1s",
        "2:1: error: '<?' cannot stand before this (it stands before a line, raw bytes, a prompt or the end)",
    ),
    (
        "<? a\n<bytes 1",
        "2:1: error: '<?' cannot stand before this (it stands before a line, raw bytes, a prompt or the end)",
    ),
    ("<eof\n<prompt \"$ \"", AFTER_EOF),
    ("bob<*\n< a", "1:1: error: nothing follows on this connection that could be skipped to"),
    (">eof\n> a", "2:1: error: nothing can be sent after '>eof' (line 1)"),
    (">eof\n>eof", "2:1: error: nothing can be sent after '>eof' (line 1)"),
    ("<eof\n< a", AFTER_EOF),
    ("<eof\n<eof", AFTER_EOF),
    ("<eof\n<nothing 1s", AFTER_EOF),
    ("<eof\n<closed", AFTER_EOF),
    ("<eof\n<reset", AFTER_EOF),
    ("<eof\n> a\n>\"b\"\n>eof", ""),
    ("<eof\n> a\nconnect\n> b", ""),
    (">reset\n< a", "2:1: error: the connection has ended (line 1) ('connect' opens it again)"),
    ("<closed\n> a", "2:1: error: the connection has ended (line 1) ('connect' opens it again)"),
    ("<reset\n>eof", "2:1: error: the connection has ended (line 1) ('connect' opens it again)"),
    ("bob> a\nclose bob\nbob> b", "3:1: error: 'bob' has ended (line 2) ('connect bob' opens it again)"),
    ("bob> a\nclose bob\nconnect bob\nbob> b", ""),
    ("bob> a\nconnect bob", "2:1: error: 'bob' is open already (line 1)"),
    ("connect\nconnect", "2:1: error: the connection is open already (line 1)"),
    ("> a\nconnect", "2:1: error: the connection is open already (line 1)"),
    ("close", "1:1: error: the connection was never opened"),
    ("close bob", "1:1: error: 'bob' was never opened"),
    ("c.7> a", "1:1: error: there is no crowd c here ('connect c x50' makes one)"),
    ("connect c\nc.7> a", "2:1: error: there is no crowd c here ('connect c x50' makes one)"),
    ("connect c x6\nc.7> a", "2:1: error: the crowd c has 6 members, and none is c.7"),
    (
        "connect c x7\nc.7> {{#}}\nc< {{#}}\nc.7>eof\nc.7> a\nc.6> a",
        "5:1: error: nothing can be sent after '>eof' (line 4)",
    ),
    ("connect c x7\nc>reset\nc.3> a", "3:1: error: 'c' has ended (line 2) ('connect c' opens it again)"),
    // Outside a crowd it is the number of the session.
    ("> {{#}}\nconnect c\nc< {{#}}", ""),
    ("secret pin\nset pin = 123", SHORT_SECRET),
    ("> a\nset pin = \"\"\nsecret pin", SHORT_SECRET),
    ("secret pin\nset pin = 1234\nset other = 123\nset pin = {{other}}", ""),
    ("abandon\n> a\n> b", "2:1: error: nothing is done after 'abandon' (line 1)"),
];

/// Scripts that can run.
pub(crate) const WARNINGS: &[(&str, &str)] = &[
    (
        "> Bob ",
        r#"1:6: warning: the blanks at the end are part of the line (where they are meant, the raw form shows them, as in "Bob  \n")"#,
    ),
    ("> ", "1:2: warning: the blank at the end has no meaning"),
    (
        "bob< \t \n",
        r#"1:5: warning: the blanks at the end are part of the line (where they are meant, the raw form shows them, as in "Bob  \n")"#,
    ),
    (
        "c<? Bob \nc< a",
        r#"1:8: warning: the blanks at the end are part of the line (where they are meant, the raw form shows them, as in "Bob  \n")"#,
    ),
    ("c<& \nc<& a", "1:4: warning: the blank at the end has no meaning"),
    ("c<! \nc<*\nc< a", "1:4: warning: the blank at the end has no meaning"),
    (
        r#"> Bob\n"#,
        r#"1:6: warning: \n is literal here: a backslash and a letter (a line's ending is added; escapes belong into the raw form, in double quotes)"#,
    ),
    (
        r#"< Bob\r\n"#,
        r#"1:6: warning: \r\n is literal here: a backslash and a letter (a line's ending is added; escapes belong into the raw form, in double quotes)"#,
    ),
    (
        "> a\r\n> b\n> c\n",
        r#"2:4: warning: this line ends with LF, the first one with CR LF (neither is part of what the line says; a CR that is meant is written in the raw form: \r)"#,
    ),
    (
        "> a\n> b\r\n",
        r#"2:4: warning: this line ends with CR LF, the first one with LF (neither is part of what the line says; a CR that is meant is written in the raw form: \r)"#,
    ),
];

/// What is no text, or too long to stand here.
pub(crate) fn odd() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (b"\xff\xfe>\0 \0a\0".to_vec(), "1:1: error: this looks like UTF-16 (save it as UTF-8)"),
        (
            b"sleep \xff".to_vec(),
            "1:7: error: this byte is not valid UTF-8 (only comments and data may hold any bytes)",
        ),
        (b"connect \"\\xff\"".to_vec(), "1:9: error: this is not valid UTF-8 (only data may be any bytes)"),
        (
            b"< {{:\xff}}".to_vec(),
            r"1:6: error: this regex is not valid UTF-8 (a byte that is no UTF-8 is written \xNN)",
        ),
        (
            format!("<prompt \"{}$\"", "{{a}}".repeat(65)).into_bytes(),
            "1:330: error: a prompt can have at most 64 placeholders",
        ),
        (format!("<prompt \"{}\"", "a".repeat(4097)).into_bytes(), "1:9: error: a prompt can have at most 4096 bytes"),
        (
            b"<prompt \"\xff{{:\xff}}$\"".to_vec(),
            r"1:14: error: this regex is not valid UTF-8 (a byte that is no UTF-8 is written \xNN)",
        ),
        (format!("< {}", "{{a}}".repeat(65)).into_bytes(), "1:323: error: a line can have at most 64 placeholders"),
        (
            format!("> {}", "a".repeat(1024 * 1024)).into_bytes(),
            "1:1: error: a line of a script can have at most 1048576 bytes \
             (what repeats can be written in the raw form: >\"A\" x 70000)",
        ),
    ]
}
