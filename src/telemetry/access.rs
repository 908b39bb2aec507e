//! The line that is logged for each request.
//!
//! There are very many of these lines, so they do not go through `tracing`, but look as if
//! they did.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tracing::Level;

use super::lines::{Log, Look};
use super::queue::Priority;
use super::{Format, stamp};

/// What is logged about a request.
#[derive(Debug)]
pub struct RequestLine<'a> {
    /// What became of it.
    pub result: &'static str,
    /// Why the client got no properties, if that is about its account.
    pub reason: Option<&'static str>,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// The domain that the client asked for.
    pub tenant: Option<&'a str>,
    /// Who the client said it was.
    pub username: Option<&'a str>,
    /// The client's address.
    pub address: IpAddr,
    /// The length of the answer's body.
    pub bytes: u64,
    /// The time from the end of the head to the answer.
    pub taken: Duration,
    /// The version of the snapshot that it was answered from.
    pub snapshot: u64,
    /// An identifier to find the request in the log.
    pub id: &'a RequestId,
}

/// An identifier of a request.
#[derive(Debug)]
pub enum RequestId {
    /// A trusted proxy gave it: letters, digits and a few signs of ASCII.
    Given(Box<str>),
    /// It is shown as 16 hexadecimal digits.
    Random(u64),
}

thread_local! {
    /// Kept, so that a line needs no memory of its own.
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Log {
    pub fn request(&self, request: &RequestLine<'_>) {
        LINE.with_borrow_mut(|text| {
            text.clear();
            self.look.begin(Level::INFO, text);
            Line { text, look: self.look }.fill(SystemTime::now(), request);
            self.look.end(text);
            self.queue.push(Priority::Routine, text.as_bytes());
        });
    }
}

/// A line that is being built, of which each part looks as tracing-subscriber shows it.
struct Line<'a> {
    text: &'a mut String,
    look: Look,
}

impl Line<'_> {
    fn fill(&mut self, at: SystemTime, request: &RequestLine<'_>) {
        self.open(at);
        self.word("result", |text| text.push_str(request.result));
        if let Some(status) = request.status {
            self.number("status", status.into());
        }
        if let Some(tenant) = request.tenant {
            self.quoted("tenant", tenant);
        }
        if let Some(username) = request.username {
            self.quoted("username", username);
        }
        self.word("address", |text| push_address(request.address, text));
        self.number("bytes", request.bytes);
        self.number("us", request.taken.as_micros() as u64);
        self.number("snapshot", request.snapshot);
        if let Some(reason) = request.reason {
            self.quoted("reason", reason);
        }
        match request.id {
            RequestId::Given(id) => self.word("request", |text| text.push_str(id)),
            RequestId::Random(id) => self.word("request", |text| push_hex(*id, text)),
        }
        if self.look.format == Format::Json {
            self.text.push('}');
        }
    }

    fn open(&mut self, at: SystemTime) {
        let Look { format, has_colours, is_syslog } = self.look;
        let (before, between, after) = match (format, has_colours, is_syslog) {
            (Format::Human, _, true) => return self.text.push_str("request"),
            (Format::Json, _, true) => return self.text.push_str(r#"{"message":"request""#),
            (Format::Human, false, false) => ("", " ", " INFO request"),
            (Format::Human, true, false) => ("\x1b[2m", "\x1b[0m ", "\x1b[32m INFO\x1b[0m request"),
            (Format::Json, _, false) => {
                (r#"{"timestamp":""#, r#"","level":"INFO","#, r#""message":"request""#)
            }
        };
        self.text.push_str(before);
        // Writing to a string cannot fail.
        let _ = stamp::append(at, self.text);
        self.text.push_str(between);
        self.text.push_str(after);
    }

    fn name(&mut self, name: &str) {
        let (before, after) = match (self.look.format, self.look.has_colours) {
            (Format::Human, false) => (" ", "="),
            (Format::Human, true) => (" \x1b[3m", "\x1b[0m\x1b[2m=\x1b[0m"),
            (Format::Json, _) => (",\"", "\":"),
        };
        self.text.push_str(before);
        self.text.push_str(name);
        self.text.push_str(after);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.text.push_str(itoa::Buffer::new().format(value));
    }

    /// Text of our own or that has been looked at, which needs no escapes.
    fn word(&mut self, name: &str, push: impl FnOnce(&mut String)) {
        self.name(name);
        let quote = if self.look.format == Format::Json { "\"" } else { "" };
        self.text.push_str(quote);
        push(self.text);
        self.text.push_str(quote);
    }

    /// Text from a client.
    fn quoted(&mut self, name: &str, value: &str) {
        self.name(name);
        let is_plain = |byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if value.bytes().all(is_plain) {
            self.text.push('"');
            self.text.push_str(value);
            self.text.push('"');
        } else {
            let _ = match self.look.format {
                Format::Human => write!(self.text, "{value:?}"),
                Format::Json => write!(self.text, "{}", serde_json::Value::from(value)),
            };
        }
    }
}

/// The formatting of the standard library takes several times as long.
fn push_address(address: IpAddr, text: &mut String) {
    match address {
        IpAddr::V4(address) => {
            for (place, part) in address.octets().into_iter().enumerate() {
                text.push_str(if place > 0 { "." } else { "" });
                text.push_str(itoa::Buffer::new().format(part));
            }
        }
        IpAddr::V6(address) => {
            let _ = write!(text, "{address}");
        }
    }
}

fn push_hex(number: u64, text: &mut String) {
    let digit = |shift: u32| char::from(b"0123456789abcdef"[(number >> shift & 0xf) as usize]);
    text.extend((0..u64::BITS).step_by(4).rev().map(digit));
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use proptest::prelude::*;
    use tracing::level_filters::LevelFilter;

    use super::super::queue::Queue;
    use super::*;

    struct Sent(Sender<String>);

    impl io::Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const LOOKS: [Look; 5] = [
        Look { format: Format::Human, has_colours: false, is_syslog: false },
        Look { format: Format::Human, has_colours: true, is_syslog: false },
        Look { format: Format::Json, has_colours: false, is_syslog: false },
        Look { format: Format::Human, has_colours: false, is_syslog: true },
        Look { format: Format::Json, has_colours: false, is_syslog: true },
    ];

    fn logs() -> Vec<(Log, Receiver<String>)> {
        let log = |look| {
            let (sender, lines) = channel();
            (Log { look, queue: Queue::start(Sent(sender)).expect("a thread") }, lines)
        };
        LOOKS.into_iter().map(log).collect()
    }

    /// The same line, as an event of `tracing`.
    fn event(request: &RequestLine<'_>) {
        let id = match request.id {
            RequestId::Given(id) => id.to_string(),
            RequestId::Random(id) => format!("{id:016x}"),
        };
        tracing::info!(
            result = %request.result,
            status = request.status,
            tenant = request.tenant,
            username = request.username,
            address = %request.address,
            bytes = request.bytes,
            us = request.taken.as_micros() as u64,
            snapshot = request.snapshot,
            reason = request.reason,
            request = %id,
            "request"
        );
    }

    /// A line without its time, whose digits are replaced.
    fn timeless(line: &str) -> String {
        let Some(at) = line.find("Z").filter(|at| *at >= 26 && line.as_bytes()[at - 7] == b'.') else {
            return line.to_owned();
        };
        let digits = line[at - 26..at].replace(|c: char| c.is_ascii_digit(), "0");
        format!("{}{digits}{}", &line[..at - 26], &line[at..])
    }

    fn assert_same(logs: &[(Log, Receiver<String>)], request: &RequestLine<'_>) {
        for (log, lines) in logs {
            log.request(request);
            log.queue.flush(Duration::from_secs(60));
            let ours = lines.recv().expect("a line");
            let dispatch = log.clone().dispatch(LevelFilter::INFO);
            tracing::dispatcher::with_default(&dispatch, || event(request));
            let theirs = lines.recv().expect("a line");
            assert_eq!(timeless(&ours), timeless(&theirs));
            assert_eq!(ours.matches('\n').count(), 1, "{ours:?}");
        }
    }

    proptest! {
        #[test]
        fn a_request_looks_like_an_event_of_tracing(
            tenant in prop::option::of(r#"(\PC|["\\'\x00-\u{ff}\u{2028}-\u{202e}\u{301}]|[a-z.]){0,12}"#),
            username in prop::option::of(r#"(.|["\\\n\x1b]|[a-z]){0,12}"#),
            status in prop::option::of(100..600_u16),
            reason in prop::option::of(prop::sample::select(vec!["wrong password", "disabled"])),
            given in prop::option::of("[a-zA-Z0-9_.:-]{1,64}"),
            (address, bytes, micros, snapshot, id) in any::<(IpAddr, u64, u32, u64, u64)>(),
        ) {
            thread_local!(static LOGS: Vec<(Log, Receiver<String>)> = logs());
            let request = RequestLine {
                result: "not-found",
                reason,
                status,
                tenant: tenant.as_deref(),
                username: username.as_deref(),
                address,
                bytes,
                taken: Duration::from_micros(micros.into()),
                snapshot,
                id: &given.map_or(RequestId::Random(id), |given| RequestId::Given(given.into())),
            };
            LOGS.with(|logs| assert_same(logs, &request));
        }
    }
}
