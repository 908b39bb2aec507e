//! TLS to a database server: the options, and the client's side of the handshake.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::process::files::{self, Aside};
use crate::process::key_pair::{KeyPair, MAKE_V3, Part, certificates};

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Default)]
pub enum Tls {
    /// Plain text.
    #[default]
    Off,
    /// Encrypted.
    On {
        /// What is checked about the server's certificate.
        check: Check,
        /// The certificate that is shown to the server, if it asks for one.
        identity: Option<Identity>,
    },
}

/// What is checked about the server's certificate.
#[derive(Debug, Clone)]
pub enum Check {
    /// Nothing: whoever is between can read everything, but who only listens cannot.
    Nothing,
    /// That one of the authorities in this file has signed it.
    Authority(PathBuf),
    /// That, and that it is for the server's name. Without a file, the authorities are the usual
    /// public ones.
    Name(Option<PathBuf>),
}

/// The files of a certificate that is shown to the server.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, followed by its intermediate certificates.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Tls {
    /// The configuration of the next handshake; `None` without TLS. The files are read each time,
    /// because they may be replaced, and on another thread, because they may not answer.
    pub(super) async fn client_config(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        static READING: LazyLock<Aside> = LazyLock::new(Aside::new);
        let Tls::On { check, identity } = self else { return Ok(None) };
        let made = match (check, identity) {
            (Check::Nothing | Check::Name(None), None) => config(self),
            _ => {
                let tls = self.clone();
                let made = READING.run(move || config(&tls)).await;
                made.map_err(|why| format!("cannot read its files: {why}")).flatten()
            }
        };
        made.map(Some)
    }

    /// The name that the certificate of the server on `host` must have.
    pub(super) fn name(&self, host: &str) -> Result<ServerName<'static>, String> {
        // If the name is not checked, it may be one that no certificate can have.
        let is_checked = matches!(self, Tls::On { check: Check::Name(_), .. });
        match ServerName::try_from(host.to_owned()) {
            Err(_) if is_checked => Err(format!("no certificate can be for the name `{host}`")),
            name => Ok(name.unwrap_or_else(|_| ServerName::from(UNNAMED))),
        }
    }
}

/// Stands for a server whose name cannot be sent.
const UNNAMED: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn config(tls: &Tls) -> Result<Arc<ClientConfig>, String> {
    let Tls::On { check, identity } = tls else { return Err("it is off".into()) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let versions = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|why| why.to_string())?;
    let verifier: Arc<dyn ServerCertVerifier> = match check {
        Check::Nothing => Arc::new(Unchecked(algorithms)),
        Check::Authority(path) => Arc::new(Checked::new(Some(path), false, algorithms)?),
        Check::Name(path) => Arc::new(Checked::new(path.as_deref(), true, algorithms)?),
    };
    let config = versions.dangerous().with_custom_certificate_verifier(verifier);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let pair = Arc::new(SingleCertAndKey::from(identity.read()?.certified));
            config.with_client_cert_resolver(pair)
        }
    };
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path).map_err(|why| format!("cannot read {}: {why}", path.display()))
}

impl Identity {
    fn read(&self) -> Result<KeyPair, String> {
        KeyPair::read(&read(&self.key)?, &read(&self.chain)?).map_err(|fault| {
            let (key, chain) = (self.key.display(), self.chain.display());
            match fault.part {
                Part::Key => format!("{key} {fault}"),
                Part::Chain => format!("{chain} {fault}"),
                Part::Both => format!("the key in {key} and the certificate in {chain} {fault}"),
            }
        })
    }
}

/// Accepts every certificate. It does not check the signature of the handshake either: that only
/// proves that the server has the key of its certificate, and anybody can make a certificate. The
/// check would refuse certificates that the library cannot read, such as those of version 1.
#[derive(Debug)]
struct Unchecked(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// Accepts certificates that a trusted authority has signed, and those that are trusted
/// themselves: operators often give the server's own certificate as the authority.
#[derive(Debug)]
struct Checked {
    roots: RootCertStore,
    trusted: Vec<CertificateDer<'static>>,
    checks_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Checked {
    fn new(
        path: Option<&Path>,
        checks_name: bool,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Checked, String> {
        let mut roots = RootCertStore::empty();
        let Some(path) = path else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            return Ok(Checked { roots, trusted: Vec::new(), checks_name, algorithms });
        };
        let trusted = certificates(&read(path)?).map_err(|fault| format!("{} {fault}", path.display()))?;
        let (added, _) = roots.add_parsable_certificates(trusted.iter().cloned());
        match added {
            0 => Err(format!("{} holds no certificate that can be read", path.display())),
            _ => Ok(Checked { roots, trusted, checks_name, algorithms }),
        }
    }
}

impl ServerCertVerifier for Checked {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = ParsedCertificate::try_from(own)?;
        match self.trusted.contains(own) {
            true => check_dates(own, now)?,
            false => rustls::client::verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &self.roots,
                intermediates,
                now,
                self.algorithms.all,
            )?,
        }
        if self.checks_name {
            rustls::client::verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, own, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, own, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_dates(own: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(own).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Why a handshake failed, and what to do. `error` is the library's, or has it as a cause.
pub(super) fn explain(error: &(dyn Error + 'static)) -> String {
    tls_error(error).map_or_else(|| unexplained(error), explain_tls)
}

/// The error of TLS among the causes of an error.
pub(super) fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        // The source of such an error is that of its inner error, not the inner error itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref()).or_else(|| error.downcast_ref());
        if found.is_some() {
            return found;
        }
        next = error.source();
    }
    None
}

fn unexplained(error: &(dyn Error + 'static)) -> String {
    format!("{error}; check the server's log, its certificate and which versions of TLS it speaks")
}

/// The text between the brackets of `DnsName("example.org")`.
fn name(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

fn explain_tls(error: &rustls::Error) -> String {
    use AlertDescription as A;
    use CertificateError as C;
    if let rustls::Error::AlertReceived(
        alert @ (A::UnknownCA
        | A::BadCertificate
        | A::CertificateExpired
        | A::CertificateRequired
        | A::CertificateUnknown
        | A::UnsupportedCertificate),
    ) = error
    {
        return format!(
            "the server does not accept the client's certificate ({alert:?}): give one that its authority signed"
        );
    }
    let rustls::Error::InvalidCertificate(wrong) = error else { return unexplained(error) };
    match wrong {
        C::Expired | C::ExpiredContext { .. } => "the server's certificate has expired: renew it".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: check the clocks of both machines".into()
        }
        C::NotValidForName => "the server's certificate is for another name".into(),
        C::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("the server's certificate names no host in subjectAltName: {MAKE_V3}, or check only its authority")
        }
        C::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for {}, not for {}: connect by one of its names, or check only its authority",
            presented.iter().map(|presented| name(presented)).collect::<Vec<_>>().join(", "),
            expected.to_str()
        ),
        // The second is that of an authority of the same name with another key.
        C::UnknownIssuer | C::BadSignature => {
            "the server's certificate is not signed by a trusted authority: give the certificate of its authority"
                .into()
        }
        other if format!("{other:?}").contains("UnsupportedCertVersion") => {
            format!("the server's certificate is of the old version 1, which cannot be checked: {MAKE_V3}")
        }
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => "the server's certificate is that of an \
             authority: trust this certificate itself, or give the server one that the authority signs"
            .into(),
        _ => unexplained(error),
    }
}
