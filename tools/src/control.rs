//! The way to the control page of a node: one request over HTTP, one answer in JSON. Its requests and answers are
//! few and have a stated length, so a library for HTTP would bring more than it spares.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use serde_json::Value;

use crate::arguments::ControlArguments;
use crate::failure::{Exit, Failure};

/// The longest answer that is read, in bytes: the connections of a large node are 250 bytes each.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A machine on the same network answers in far less, or is not there.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(5);

/// Asks for something.
///
/// # Errors
/// The node cannot be reached or does not answer, or what it says.
pub fn ask(arguments: &ControlArguments, path: &str) -> Result<Value, Failure> {
    request(arguments, ("GET", path), "")
}

/// Has something changed; `body` is JSON, or empty.
///
/// # Errors
/// As [`ask`].
pub fn command(arguments: &ControlArguments, path: &str, body: &str) -> Result<Value, Failure> {
    request(arguments, ("POST", path), body)
}

fn request(
    arguments: &ControlArguments,
    (method, path): (&str, &str),
    body: &str,
) -> Result<Value, Failure> {
    let address = arguments.address();
    let answer = exchange(arguments, (method, path), body).map_err(|error| {
        let remedy = "see that corelithd runs and that --control is the address of its control page \
                      (corelithd prints it when it starts)";
        Failure::new(
            format!("the control page at {address} cannot be reached: {error}"),
            remedy,
        )
        .with_exit(Exit::Partial)
    })?;
    let (status, value) = parse(&answer).ok_or_else(|| {
        Failure::new(
            format!("what answers at {address} is no corelithd, or broke off"),
            "see that --control is the address of its control page",
        )
        .with_exit(Exit::Partial)
    })?;
    if status == 200 {
        return Ok(value);
    }
    let member = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let exit = if status == 503 {
        Exit::Partial
    } else {
        Exit::Failed
    };
    Err(Failure::new(member("error"), member("remedy")).with_exit(exit))
}

/// The bytes of the answer.
fn exchange(
    arguments: &ControlArguments,
    (method, path): (&str, &str),
    body: &str,
) -> std::io::Result<Vec<u8>> {
    let (mut stream, address) = connect(arguments)?;
    stream.set_read_timeout(Some(arguments.timeout))?;
    stream.set_write_timeout(Some(arguments.timeout))?;
    // The address and not the name: the node takes changes for no host that has one.
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nCorelith-Command: 1\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// To the first of the host's addresses that takes the connection.
fn connect(arguments: &ControlArguments) -> std::io::Result<(TcpStream, SocketAddr)> {
    let timeout = arguments.timeout.min(CONNECT_TIMEOUT_MAX);
    let mut last = None;
    for address in arguments.address().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::Error::other("the name has no address")))
}

/// Status and body; `None` if it is no whole answer with JSON in it.
fn parse(answer: &[u8]) -> Option<(u16, Value)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (str::from_utf8(&answer[..end]).ok()?, &answer[end + 4..]);
    let mut lines = head.split("\r\n");
    let status_line = lines.next().filter(|line| line.starts_with("HTTP/1."))?;
    let status = status_line.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let body = body.get(..length?)?;
    Some((status, serde_json::from_slice(body).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_answers_are_read_and_others_not() {
        let whole = "HTTP/1.1 404 Not Found\r\ncontent-type: x\r\nContent-Length: 13\r\n\r\n{\"error\":\"a\"}";
        let (status, value) = parse(whole.as_bytes()).unwrap();
        assert_eq!((status, value["error"].as_str()), (404, Some("a")));
        let cut = &whole[..whole.len() - 1];
        for wrong in [
            cut,
            "",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "220 smtp ready\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ] {
            assert!(parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
