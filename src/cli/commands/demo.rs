//! `jitsiprovs demo`: one command that serves an example database.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tinytemplate::TinyTemplate;

use crate::cli::args;
use crate::cli::print;
use crate::core::conventions::Conventions;
use crate::core::request;
use crate::process;
use crate::process::sockets::PassedSockets;
use crate::reload;
use crate::serve::app::{Prepared, Serve};
use crate::serve::fetches::FetchSettings;
use crate::serve::http;
use crate::serve::http::client_address::TrustedProxies;
use crate::serve::listener::ConnectionLimits;
use crate::serve::throttle;
use crate::source::{self, Queries};

/// The values for the placeholders in `demo.txt`.
#[derive(Serialize)]
struct DemoText {
    url: String,
    path: String,
    pid: u32,
    requests: Vec<DemoRequest>,
}

#[derive(Serialize)]
struct DemoRequest {
    why: &'static str,
    form: String,
}

/// Serves the example until a signal ends it.
///
/// # Errors
/// When the port is in use, or there is no room for a temporary file.
pub async fn demo(options: args::DemoArgs) -> anyhow::Result<()> {
    let args::DemoArgs { http_port } = options;
    let folder = tempfile::tempdir().context("cannot create a temporary folder: check TMPDIR")?;
    let path = folder.path().join("demo.db");
    let source = source::sqlite(&path, Queries::default());
    source.setup().await?;
    rusqlite::Connection::open(&path)?.execute_batch(include_str!("../../../sql/demo.sql"))?;

    let serve = Serve {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, http_port)),
        admin: None,
        sockets: PassedSockets::default(),
        tls: None,
        admin_tls: None,
        proxies: TrustedProxies::default(),
        limits: ConnectionLimits { drain: Duration::from_secs(1), ..ConnectionLimits::default() },
        workers: process::cores(),
        body_timeout: Duration::from_secs(10),
        throttle: throttle::ThrottleSettings { limit: 10, window: Duration::from_secs(60) },
        source,
        snapshot: Conventions::default(),
        reload: reload::ReloadSettings::default(),
        params: request::ParamSettings::default(),
        client_dialects: true,
        access_log: true,
        metrics_tenants: false,
        operators: http::Admin::default(),
        sign_ins: None,
        fetches: Some(FetchSettings { most: 10_000, keep: None }),
    };
    let explain = |address| {
        let text = render(&text(address, &path)).expect("the template is part of the program, and tested");
        // Serve even if the text cannot be printed.
        let _ = print::write(print::Text::lines(text.lines()));
    };
    Prepared::new(serve)?.run(explain).await
}

fn text(address: SocketAddr, path: &Path) -> DemoText {
    let request = |why, user: &str, password: &str, more: &str| DemoRequest {
        why,
        form: format!("username={user}&password={password}{more}"),
    };
    let hardware = "&osname=Linux&hwaddr=00:1a:2b:3c:4d:5e";
    DemoText {
        url: format!("http://{address}/jitsiprovs/"),
        path: path.display().to_string(),
        pid: std::process::id(),
        requests: vec![
            request("alice gets what everyone gets", "alice@example.org", "wonderland", ""),
            request("on this hardware, UDP", "alice@example.org", "wonderland", hardware),
            request("bob has rules of his own, which come first", "bob@example.org", "builder", hardware),
            request("carol's tenant has another server", "carol@example.net", "lantern", ""),
            request(
                "a wrong password gets nothing (add -i to see the 401)",
                "alice@example.org",
                "wrong",
                "",
            ),
        ],
    }
}

fn render(text: &DemoText) -> Result<String, tinytemplate::error::Error> {
    let mut templates = TinyTemplate::new();
    // The text is for a terminal, so it needs no HTML escapes.
    templates.set_default_formatter(&tinytemplate::format_unescaped);
    templates.add_template("demo", include_str!("demo.txt"))?;
    templates.render("demo", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_the_url_with_placeholders_for_the_client_to_fill() {
        let text =
            render(&text(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), Path::new("/p"))).expect("renders");
        let url = "http://127.0.0.1:80/jitsiprovs/";
        let form = "username=carol@example.net&password=lantern";
        assert!(text.contains(&format!("curl -d '{form}' {url}\n")), "{text}");
        assert!(text.contains(&format!("{url}?username=${{username}}&password=${{password}}&")), "{text}");
        assert!(text.contains("sqlite3 /p ") && text.contains(&format!("kill -HUP {}", std::process::id())));
    }
}
