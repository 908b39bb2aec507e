//! Sends requests to a node's admin listener.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The time in which a node must answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is accepted, in bytes.
const LONGEST: usize = 16 << 20;
/// The number of characters of a refusal that are shown.
const SHOWN: usize = 200;

/// The `host:port` of a node's URL.
///
/// # Errors
/// When the URL is invalid. The message leaves out the part that may contain a password.
pub fn authority(url: &str) -> anyhow::Result<String> {
    parse(url).with_context(|| format!("not a node's URL: {:?}", url.rsplit('@').next().unwrap_or_default()))
}

fn parse(url: &str) -> anyhow::Result<String> {
    let uri: Uri = url.parse().context("write http://host:port")?;
    let authority = uri.authority().context("write http://host:port")?;
    match uri.scheme_str() {
        None | Some("http") => {}
        Some(_) => bail!("admin listeners speak HTTP: write http://host:port"),
    }
    if authority.as_str().contains('@') || authority.port().is_none() || uri.path().len() > 1 {
        bail!("write http://host:port, the node's --admin-ip and --admin-port");
    }
    Ok(authority.to_string())
}

/// Sends a GET for `path` to the node at `authority` and returns the body. `authorization` is the
/// value of the header of this name, for listeners and paths that want one.
///
/// # Errors
/// When the node does not answer within [`PATIENCE`], or answers with another status than 200.
pub async fn get(authority: &str, path: &str, authorization: Option<&str>) -> anyhow::Result<Bytes> {
    send(Method::GET, authority, path, authorization, PATIENCE).await
}

/// Like [`get`], but sends an empty POST, and waits for `patience`.
///
/// # Errors
/// As [`get`].
pub async fn post(
    authority: &str,
    path: &str,
    authorization: Option<&str>,
    patience: Duration,
) -> anyhow::Result<Bytes> {
    send(Method::POST, authority, path, authorization, patience).await
}

async fn send(
    method: Method,
    authority: &str,
    path: &str,
    authorization: Option<&str>,
    patience: Duration,
) -> anyhow::Result<Bytes> {
    let request = Request::builder().method(method).uri(path);
    let request = match authorization {
        Some(value) => request.header(AUTHORIZATION, value),
        None => request,
    };
    let answer = timeout(patience, exchange(authority, request.body(Empty::new())?)).await;
    answer.unwrap_or_else(|_| bail!("no answer within {} s", patience.as_secs()))
}

async fn exchange(authority: &str, mut request: Request<Empty<Bytes>>) -> anyhow::Result<Bytes> {
    let stream = TcpStream::connect(authority).await.context("cannot connect")?;
    // Nodes accept IP addresses as the host, but not always their names.
    let host = stream.peer_addr().context("cannot connect")?.to_string();
    request.headers_mut().insert(HOST, host.parse()?);
    let path = request.uri().path().to_owned();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let reply = async {
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), LONGEST).collect().await;
        let body = body.map_err(|_| anyhow!("its answer is incomplete or too long"))?.to_bytes();
        if status != StatusCode::OK {
            let why = String::from_utf8_lossy(&body);
            let why: String = why.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
            bail!("{status} for {path} ({why}): is this an admin listener?");
        }
        Ok(body)
    };
    let (mut reply, mut connection) = (pin!(reply), pin!(connection));
    tokio::select! {
        reply = &mut reply => reply,
        // The connection may end before its answer is read.
        _ = &mut connection => reply.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_and_port_of_an_admin_listener() {
        for (url, expected) in [
            ("http://10.0.0.1:9090", "10.0.0.1:9090"),
            ("http://10.0.0.1:9090/", "10.0.0.1:9090"),
            ("node1:9090", "node1:9090"),
            ("http://[::1]:9090", "[::1]:9090"),
        ] {
            assert_eq!(authority(url).expect(url), expected);
        }
        for url in ["https://a:1", "http://a", "http://u:secret@a:1", "http://a:1/status", "", "/status"] {
            let error = authority(url).expect_err(url);
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
