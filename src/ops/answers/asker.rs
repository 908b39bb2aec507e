//! Asks a provisioning server as Jitsi does.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::form_urlencoded;

use super::{Answer, TestUser};
use crate::ops::nodes::{Client, exchange};

/// The longest answer that is accepted, in bytes.
const LONGEST: usize = 4 << 20;
/// The path of provisioning servers.
const PATH: &str = "/jitsiprovs/";

/// The URL of a provisioning server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl {
    /// As it is sent in `Host`.
    authority: String,
    host: String,
    port: u16,
    is_https: bool,
    path: String,
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl ServerUrl {
    /// Reads `http://host[:port][/path]`, or the same with `https`.
    ///
    /// # Errors
    /// When the URL is another one. The message does not show it, because it may have a password.
    pub fn parse(url: &str) -> anyhow::Result<ServerUrl> {
        let uri: Uri = url.parse().context("not a URL: write http://host:port/jitsiprovs/")?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => bail!("write http://host:port/jitsiprovs/ or https://..."),
        };
        let authority = uri.authority().context("write http://host:port/jitsiprovs/")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            bail!(
                "leave out what is before `@` and after `?` of the URL: users come from the list, and parameters \
                 are written as PARAM=VALUE"
            );
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = if uri.path().len() > 1 { uri.path() } else { PATH };
        Ok(ServerUrl { authority: authority.to_string(), host, port, is_https, path: path.into() })
    }
}

/// Asks one server.
pub struct Asker {
    url: ServerUrl,
    client: Client,
    patience: Duration,
}

impl Asker {
    /// Asks the server at `url`, and waits for `patience` for each answer.
    pub fn new(url: ServerUrl, client: Client, patience: Duration) -> Asker {
        Asker { url, client, patience }
    }

    /// The answer to this user with these parameters.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, user: &TestUser, params: &[(String, String)]) -> anyhow::Result<Answer> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("username", &user.name).append_pair("password", user.password.reveal());
        params.iter().for_each(|(name, value)| {
            form.append_pair(name, value);
        });
        let request = Request::post(&self.url.path)
            .header(HOST, &self.url.authority)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8")
            .header(USER_AGENT, concat!("jitsiprovs/", env!("CARGO_PKG_VERSION"), " compare"))
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(form.finish())))?;
        let answer = timeout(self.patience, self.exchange(request)).await;
        answer
            .unwrap_or_else(|_| Err(anyhow!("no answer within {} s", self.patience.as_secs())))
            .with_context(|| format!("asking {}", self.url))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        let stream = TcpStream::connect((&*self.url.host, self.url.port)).await.context("cannot connect")?;
        let (status, body) = match self.url.is_https {
            false => exchange(stream, request, LONGEST).await?,
            true => exchange(self.client.secure(stream, &self.url.host).await?, request, LONGEST).await?,
        };
        Ok(Answer::read(status.as_u16(), &body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_leave_out_port_and_path_and_must_have_no_user() {
        for (url, expected) in [
            ("http://old", "http://old/jitsiprovs/"),
            ("http://old:8080/", "http://old:8080/jitsiprovs/"),
            ("https://[::1]:1/x", "https://[::1]:1/x"),
        ] {
            assert_eq!(ServerUrl::parse(url).expect(url).to_string(), expected);
        }
        assert_eq!(ServerUrl::parse("https://a").expect("good").port, 443);
        for url in ["old:8080", "ftp://a", "http://u:hunter2@a", "http://a/?password=hunter2", ""] {
            let error = format!("{:#}", ServerUrl::parse(url).expect_err(url));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
