//! Sends requests to a node's admin listener.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::reload::NodeStatus;

/// The time in which a node must answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a node may take to load all rows.
const LOAD: Duration = Duration::from_secs(120);
/// The longest answer that is accepted, in bytes.
const LONGEST: usize = 16 << 20;
/// The number of characters of a refusal that are shown.
const SHOWN: usize = 200;

/// Where a node's admin listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    /// `host:port`
    authority: String,
    host: String,
    is_https: bool,
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

impl NodeUrl {
    /// Reads `http://host:port` or `https://host:port`.
    ///
    /// # Errors
    /// When the URL is invalid. The message leaves out the part that may contain a password.
    pub fn parse(url: &str) -> anyhow::Result<NodeUrl> {
        parse(url)
            .with_context(|| format!("not a node's URL: {:?}", url.rsplit('@').next().unwrap_or_default()))
    }
}

fn parse(url: &str) -> anyhow::Result<NodeUrl> {
    let uri: Uri = url.parse().context("write http://host:port")?;
    let authority = uri.authority().context("write http://host:port")?;
    let is_https = match uri.scheme_str() {
        None | Some("http") => false,
        Some("https") => true,
        Some(_) => bail!("admin listeners speak HTTP: write http://host:port or https://host:port"),
    };
    if authority.as_str().contains('@') || authority.port().is_none() || uri.path().len() > 1 {
        bail!("write http://host:port, the node's --admin-ip and --admin-port");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(NodeUrl { authority: authority.to_string(), host, is_https })
}

/// How to ask nodes: with which header `Authorization`, and which certificates are trusted.
#[derive(Clone)]
pub struct Client {
    authorization: Option<String>,
    tls: Arc<ClientConfig>,
}

impl Default for Client {
    fn default() -> Client {
        Client::new()
    }
}

impl Client {
    /// Trusts the usual public certificates.
    pub fn new() -> Client {
        static USUAL: LazyLock<Arc<ClientConfig>> =
            LazyLock::new(|| tls(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));
        Client { authorization: None, tls: USUAL.clone() }
    }

    /// Trusts only the certificates in this text, which is in PEM form.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub fn trusting(pem: &[u8]) -> Result<Client, &'static str> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate.map(|certificate| roots.add(certificate));
            added
                .map_err(|_| "it is not in PEM form")?
                .map_err(|_| "it holds a certificate that cannot be used")?;
        }
        if roots.is_empty() {
            return Err("it holds no certificate in PEM form");
        }
        Ok(Client { authorization: None, tls: tls(roots) })
    }

    /// Sends this value of the header `Authorization`.
    pub fn with(self, authorization: Option<String>) -> Client {
        Client { authorization, ..self }
    }

    /// Sends a GET for `path` to the node and returns the body.
    ///
    /// # Errors
    /// When the node does not answer within [`PATIENCE`], or answers with another status than 200.
    pub async fn get(&self, node: &NodeUrl, path: &str) -> anyhow::Result<Bytes> {
        self.send(Method::GET, node, path, PATIENCE).await
    }

    /// Like [`Client::get`], but sends an empty POST, and waits for `patience`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, node: &NodeUrl, path: &str, patience: Duration) -> anyhow::Result<Bytes> {
        self.send(Method::POST, node, path, patience).await
    }

    /// The state of the node.
    ///
    /// # Errors
    /// When it does not answer, or is no node.
    pub async fn status(&self, node: &NodeUrl) -> anyhow::Result<NodeStatus> {
        let body = self.get(node, "/status").await?;
        serde_json::from_slice(&body).context("its answer is not that of a jitsiprovs node")
    }

    /// Confirms the loss that the node withholds, as `seen` shows it. The node refuses if its loss
    /// is another one by now. Returns what the node says.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn confirm(&self, node: &NodeUrl, seen: &NodeStatus) -> anyhow::Result<Bytes> {
        let (users, rules, attributes) = (seen.withheld_users, seen.withheld_rules, seen.withheld_attributes);
        // Nodes of earlier versions know two numbers.
        let path = match attributes {
            0 => format!("/reload?confirm={users},{rules}"),
            _ => format!("/reload?confirm={users},{rules},{attributes}"),
        };
        self.post(node, &path, LOAD).await
    }

    async fn send(
        &self,
        method: Method,
        node: &NodeUrl,
        path: &str,
        patience: Duration,
    ) -> anyhow::Result<Bytes> {
        let request = Request::builder().method(method).uri(path);
        let request = match &self.authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        };
        let answer = timeout(patience, self.exchange(node, request.body(Empty::new())?)).await;
        answer.unwrap_or_else(|_| bail!("no answer within {} s", patience.as_secs()))
    }

    async fn exchange(&self, node: &NodeUrl, request: Request<Empty<Bytes>>) -> anyhow::Result<Bytes> {
        let stream = TcpStream::connect(&node.authority).await.context("cannot connect")?;
        // Nodes accept IP addresses as the host, but not always their names.
        let host = stream.peer_addr().context("cannot connect")?;
        if !node.is_https {
            return ask(stream, host, request).await;
        }
        ask(self.secure(stream, &node.host).await?, host, request).await
    }

    /// Begins TLS with the server called `host`.
    ///
    /// # Errors
    /// When the handshake fails, or the server's certificate is not trusted.
    pub(in crate::ops) async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).context("no certificate can have this name")?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        stream.map_err(|why| untrusted(&why))
    }
}

fn tls(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12]);
    let config = versions.expect("the provider has both").with_root_certificates(roots).with_no_client_auth();
    Arc::new(config)
}

/// What a failed handshake means.
fn untrusted(why: &io::Error) -> anyhow::Error {
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    match why.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(InvalidCertificate(why)) => anyhow!(
            "its certificate is not trusted ({why}): give the file with its issuer's certificate as \
             --admin-ca, and use a name that the certificate has"
        ),
        Some(InvalidMessage(_)) => anyhow!("it does not speak HTTPS: write http://host:port"),
        _ => anyhow!("the TLS handshake failed: {why}"),
    }
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    host: SocketAddr,
    mut request: Request<Empty<Bytes>>,
) -> anyhow::Result<Bytes> {
    request.headers_mut().insert(HOST, host.to_string().parse()?);
    let path = request.uri().path().to_owned();
    let (status, body) = exchange(stream, request, LONGEST).await?;
    if status != StatusCode::OK {
        let why = String::from_utf8_lossy(&body);
        let why: String = why.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
        bail!("{status} for {path} ({why}): is this an admin listener?");
    }
    Ok(body)
}

/// Sends a request on a connection of its own, and returns the status and the body, which may have
/// `longest` bytes.
///
/// # Errors
/// When the other side does not answer in HTTP, or its answer is incomplete or too long.
pub(in crate::ops) async fn exchange<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<B>,
    longest: usize,
) -> anyhow::Result<(StatusCode, Bytes)>
where
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let reply = async {
        let reply = sender.send_request(request).await.context("it does not answer in HTTP")?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), longest).collect().await;
        let body = body.map_err(|_| anyhow!("its answer is incomplete or too long"))?.to_bytes();
        Ok((status, body))
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
            ("https://node1:9090", "node1:9090"),
        ] {
            let node = NodeUrl::parse(url).expect(url);
            assert_eq!((&*node.authority, node.is_https), (expected, url.starts_with("https:")));
        }
        assert_eq!(NodeUrl::parse("https://[::1]:1").expect("good").host, "::1");
        for url in ["ftp://a:1", "http://a", "http://u:secret@a:1", "http://a:1/status", "", "/status"] {
            let error = NodeUrl::parse(url).expect_err(url);
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }

    #[test]
    fn only_certificates_can_be_trusted() {
        for text in ["", "certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Client::trusting(text.as_bytes()).is_err(), "{text}");
        }
    }
}
