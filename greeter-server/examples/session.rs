//! State for each client: a calculator in which each client has its own stack.
//!
//! It also shows a banner, a reply that closes the connection, and a limit on what a client can
//! make the server keep.
//!
//! ```sh
//! # An address is optional: -- 127.0.0.1:7000
//! cargo run -p greeter-server --example session
//! # Type: 6 7, then: *, then: quit
//! nc 127.0.0.1 8080
//! ```

#![expect(clippy::print_stdout, reason = "it prints where it listens")]

use greeter_server::{BoxError, Line, Peer, Rejection, Reply, Responder, Server};

const MAX_NUMBERS: usize = 100;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let server = Server::builder().responder(Calculator).bind(address)?;
    println!("listening on {}", server.local_addr());
    server.run()?;
    Ok(())
}

struct Calculator;

impl Responder for Calculator {
    /// The client's stack.
    type Session = Vec<i64>;

    fn connect(&self, _peer: &Peer, reply: &mut Reply<'_>) -> Result<Vec<i64>, BoxError> {
        reply.line("numbers and + - * / please, or quit");
        Ok(Vec::new())
    }

    fn respond(&self, stack: &mut Vec<i64>, line: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        let line = line.to_str()?;
        if line == "quit" {
            reply.line("bye");
            reply.close();
            return Ok(());
        }
        line.split_whitespace().try_for_each(|word| calculate(stack, word)).map_err(Rejection::custom)?;
        reply.line(format_args!("{stack:?}"));
        Ok(())
    }
}

/// Pushes a number onto the stack, or replaces two of them by the result of an operator.
fn calculate(stack: &mut Vec<i64>, word: &str) -> Result<(), &'static str> {
    let operator = match word {
        "+" => i64::checked_add,
        "-" => i64::checked_sub,
        "*" => i64::checked_mul,
        "/" => i64::checked_div,
        _ if stack.len() == MAX_NUMBERS => return Err("too many numbers"),
        _ => {
            stack.push(word.parse().map_err(|_| "neither a number nor an operator")?);
            return Ok(());
        }
    };
    let &[.., left, right] = stack.as_slice() else { return Err("too few numbers") };
    let result = operator(left, right).ok_or("no such number")?;
    stack.truncate(stack.len() - 2);
    stack.push(result);
    Ok(())
}
