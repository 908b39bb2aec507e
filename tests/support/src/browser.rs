//! An operator's browser, as far as the console can tell.

use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::path::Path;

use crate::client::{Reply, encode, exchange, request};
use crate::server::{Server, jitsiprovs, run_command};

/// The password of all operators.
pub const PASSWORD: &str = "open sesame";

/// Adds an operator to the file, with the password [`PASSWORD`].
pub fn add_operator(file: &Path, name: &str, role: &str, tenants: &[&str]) {
    let path = file.to_str().expect("UTF-8");
    let mut args = vec!["operator", "add", name, "--role", role, "--password-stdin", "--console-users", path];
    tenants.iter().for_each(|tenant| args.extend(["--tenant", tenant]));
    let mut stdin = tempfile::tempfile().expect("a file");
    stdin.write_all(PASSWORD.as_bytes()).and_then(|()| stdin.rewind()).expect("written");
    let mut command = jitsiprovs(&args);
    command.stdin(stdin);
    let output = run_command(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A browser with at most one cookie.
#[derive(Debug, Clone)]
pub struct Browser {
    pub address: SocketAddr,
    /// `name=value`
    pub cookie: Option<String>,
    /// The token of the page that was shown last.
    pub csrf: String,
}

impl Browser {
    /// Opens the console of a server, without signing in.
    pub fn open(server: &Server) -> Browser {
        Browser { address: server.admin(), cookie: None, csrf: String::new() }
    }

    /// Signs in with the password [`PASSWORD`].
    pub fn sign_in(server: &Server, name: &str) -> Browser {
        let mut browser = Browser::open(server);
        let reply = browser.post("/console/sign-in", &[("name", name), ("password", PASSWORD)]);
        assert_eq!((reply.status, reply.header("location")), (303, Some("/console")), "{}", reply.text());
        browser.get("/console");
        assert!(!browser.csrf.is_empty(), "no page with a form for {name}");
        browser
    }

    /// Shows a page.
    pub fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[], b"")
    }

    /// Sends a form of the page that was shown last.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let csrf = self.csrf.clone();
        let fields = [fields, &[("csrf", &*csrf)]].concat();
        let origin = format!("http://{}", self.address);
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", &*origin)];
        self.ask("POST", path, &headers, encode(&fields).as_bytes())
    }

    /// Sends a request with these headers, the cookie and the right host, and keeps what the
    /// answer sets.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let cookie = self.cookie.clone().map(|cookie| ("cookie", cookie));
        let mut all = headers.to_vec();
        all.extend(cookie.as_ref().map(|(name, value)| (*name, &**value)));
        let sent = request(method, path, &all, body);
        let host = format!("host: {}\r\n", self.address);
        let sent = String::from_utf8(sent).expect("UTF-8").replacen("host: localhost\r\n", &host, 1);
        let reply = exchange(self.address, sent.as_bytes());
        if let Some(set) = reply.header("set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        if let Some(token) = between(&String::from_utf8_lossy(&reply.body), "name=\"csrf\" value=\"", "\"") {
            token.clone_into(&mut self.csrf);
        }
        reply
    }
}

/// What is between two texts.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Adds operators called `view`, `help` and `edit`, and `limited`, who may edit only the tenant
/// `a.org`.
pub fn add_operators(file: &Path) {
    for role in ["view", "help", "edit"] {
        add_operator(file, role, role, &[]);
    }
    add_operator(file, "limited", "edit", &["a.org"]);
}

/// A server with a console, and the operators of [`add_operators`].
pub fn console(path: &Path, args: &[&str]) -> Server {
    let file = path.with_extension("operators");
    if !file.exists() {
        add_operators(&file);
    }
    let own = ["--admin-port", "0", "--console-users", file.to_str().expect("UTF-8")];
    Server::on_sqlite(path, &[&own, args].concat())
}
