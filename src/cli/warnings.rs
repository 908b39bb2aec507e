//! What is dangerous about the options, for the log at the start.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::process::{files, privileges};

/// What the warnings depend on.
pub(super) struct Facts<'a> {
    /// Where a console without TLS listens.
    pub console_ip: Option<IpAddr>,
    /// `--http-ip`
    pub http_ip: IpAddr,
    /// Whether clients must use TLS.
    pub has_tls: bool,
    /// Whether there is a `--trusted-proxy`.
    pub has_proxy: bool,
    /// Whether the process changes its user.
    pub changes_user: bool,
    /// Files with secrets, and their options.
    pub secrets: &'a [(&'static str, Option<&'a PathBuf>)],
}

/// One line for each danger, which says what to do.
pub(super) fn of(facts: &Facts<'_>) -> Vec<String> {
    let mut warnings = Vec::new();
    if privileges::is_root() && !facts.changes_user {
        warnings
            .push("the server runs as root: give --user, so that a defect in it is less dangerous".into());
    }
    if !facts.has_tls && !facts.has_proxy && !facts.http_ip.to_canonical().is_loopback() {
        warnings.push(format!(
            "passwords cross the network in plain text to --http-ip {}: give --ssl-keyfile and --ssl-certfile, \
             or listen on 127.0.0.1 behind a proxy with TLS and name it with --trusted-proxy",
            facts.http_ip
        ));
    }
    if let Some(ip) = facts.console_ip.filter(|ip| !ip.to_canonical().is_loopback()) {
        warnings.push(format!(
            "operators' passwords cross the network in plain text to --admin-ip {ip}: give --admin-tls, or \
             listen on 127.0.0.1 behind a proxy with TLS and name it with --trusted-proxy"
        ));
    }
    for (option, path) in facts.secrets {
        if let Some(path) = path.filter(|path| others_read(path)) {
            let path = path.display();
            warnings
                .push(format!("every user of this machine can read {option} {path}: run `chmod o= {path}`"));
        }
    }
    warnings
}

#[allow(clippy::disallowed_methods, reason = "before anything is served, with a bound")]
fn others_read(path: &Path) -> bool {
    const OTHERS_READ: u32 = 0o004;
    let path = path.to_owned();
    let found = files::within_bound(move || std::fs::metadata(path)).flatten();
    found.is_ok_and(|found| found.is_file() && found.mode() & OTHERS_READ != 0)
}
