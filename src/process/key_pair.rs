//! A private key and its certificates, read from PEM files: those of the listeners, and those
//! that a database asks for.

use std::fmt;
use std::net::IpAddr;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Version;

/// How to make a certificate that every client accepts.
pub const MAKE_V3: &str = "sign it again with `openssl x509 -req -copy_extensions copy …` from a request made \
     with `openssl req -new -addext subjectAltName=DNS:NAME …`";

/// A key and the certificates that belong to it.
#[derive(Debug)]
pub struct KeyPair {
    /// The key, the certificate and its intermediate certificates.
    pub certified: CertifiedKey,
    /// When the certificate expires, in seconds since 1970.
    pub expiry: i64,
    /// What others may refuse about it: each says what is wrong with the file of the
    /// certificate, and what to do.
    pub doubts: Vec<String>,
}

/// Which of the two files is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The file of the key.
    Key,
    /// The file of the certificate.
    Chain,
    /// Each may be right, but they do not belong together.
    Both,
}

/// Why a key and a certificate cannot be used.
#[derive(Debug)]
pub struct Fault {
    /// Which of the files is wrong.
    pub part: Part,
    wrong: String,
    fix: String,
}

/// What is wrong, and after a colon what to do. The names of the files come before it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.wrong, self.fix)
    }
}

fn fault<T>(part: Part, wrong: &str, fix: &str) -> Result<T, Fault> {
    Err(Fault { part, wrong: wrong.into(), fix: fix.into() })
}

impl KeyPair {
    /// Reads the content of both files.
    ///
    /// # Errors
    /// When one of them holds something else, or they do not belong together.
    pub fn read(key: &[u8], chain: &[u8]) -> Result<KeyPair, Fault> {
        let key = private_key(key)?;
        let chain = certificates(chain)?;
        let parsed: Vec<X509Certificate<'_>> = chain.iter().filter_map(|one| parse(one)).collect();
        let [own, ..] = &*parsed else { return no_pem(Part::Chain, "certificate") };
        if parsed.len() < chain.len() {
            return no_pem(Part::Chain, "certificate that can be read");
        }
        let Ok(key) = aws_lc_rs::default_provider().key_provider.load_private_key(key) else {
            return fault(
                Part::Key,
                "holds a key of a kind that TLS does not use here",
                "make one with RSA of 2048 to 8192 bits, with ECDSA on P-256, P-384 or P-521, or with Ed25519",
            );
        };
        let spki = key.public_key();
        let is_of_key =
            |one: &X509Certificate<'_>| spki.as_ref().is_none_or(|spki| one.public_key().raw == &**spki);
        if !is_of_key(own) {
            return Err(stranger(parsed.iter().position(is_of_key)));
        }
        let (expiry, doubts) = (own.validity().not_after.timestamp(), doubts(&parsed));
        Ok(KeyPair { certified: CertifiedKey::new(chain, key), expiry, doubts })
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    // The second is a header of the old form.
    let is_encrypted = ["BEGIN ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"]
        .iter()
        .any(|mark| memchr::memmem::find(pem, mark.as_bytes()).is_some());
    if is_encrypted {
        return fault(
            Part::Key,
            "is encrypted with a passphrase, which nobody can type when a server starts",
            "decrypt it with `openssl pkey -in FILE -out NEW`, and let only the server's user read it",
        );
    }
    PrivateKeyDer::from_pem_slice(pem).or_else(|_| no_pem(Part::Key, "private key"))
}

/// The certificates in a file.
///
/// # Errors
/// When there are none, or something else is in their place.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => no_pem(Part::Chain, "certificate"),
    }
}

/// The hosts that a certificate is for.
#[derive(Debug)]
pub struct HostNames {
    certificate: CertificateDer<'static>,
    names: Vec<String>,
}

impl HostNames {
    /// Those of the first certificate of a chain.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(chain: &[CertificateDer<'static>]) -> Result<HostNames, Fault> {
        let Some((certificate, parsed)) = chain.first().and_then(|own| Some((own.clone(), parse(own)?)))
        else {
            return no_pem(Part::Chain, "certificate that can be read");
        };
        let extension = parsed.subject_alternative_name().ok().flatten();
        let named = extension.into_iter().flat_map(|extension| &extension.value.general_names);
        let names = named.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        Ok(HostNames { certificate, names: names.collect() })
    }

    /// All names and addresses.
    pub fn all(&self) -> &[String] {
        &self.names
    }

    /// The first that is not a wildcard.
    pub fn first(&self) -> Option<&str> {
        self.names.iter().map(String::as_str).find(|name| !name.starts_with('*'))
    }

    /// Whether a client accepts the certificate for this host.
    pub fn cover(&self, host: &str) -> bool {
        let host = host.trim_matches(['[', ']']).to_owned();
        match (ParsedCertificate::try_from(&self.certificate), ServerName::try_from(host)) {
            (Ok(certificate), Ok(host)) => verify_server_name(&certificate, &host).is_ok(),
            _ => false,
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn no_pem<T>(part: Part, what: &str) -> Result<T, Fault> {
    let wrong = format!("holds no {what} in PEM form");
    fault(part, &wrong, "check its name, and that the key and the certificate are not swapped")
}

/// The fault of a certificate that comes first in its file and is not that of the key. `own` is
/// the place of the one that is, if the file has it.
fn stranger(own: Option<usize>) -> Fault {
    let (part, wrong, fix) = match own {
        Some(place) => (
            Part::Chain,
            format!("has its certificates in the wrong order: that of the key is number {}", place + 1),
            "put it first, then the certificate of its issuer, and so on",
        ),
        None => (
            Part::Both,
            "cannot be used together".to_owned(),
            "give the key that the certificate was made for",
        ),
    };
    Fault { part, wrong, fix: fix.into() }
}

fn doubts(chain: &[X509Certificate<'_>]) -> Vec<String> {
    let mut doubts = Vec::new();
    let Some(own) = chain.first() else { return doubts };
    let has_names = own.subject_alternative_name().is_ok_and(|names| names.is_some());
    if own.version() != X509Version::V3 {
        doubts.push(format!("is of the old version 1, which many clients refuse: {MAKE_V3}"));
    } else if !has_names {
        doubts.push(format!("names no host in subjectAltName, so many clients refuse it: {MAKE_V3}"));
    }
    let is_out_of_order =
        chain.windows(2).any(|pair| matches!(pair, [one, next] if one.issuer() != next.subject()));
    if is_out_of_order {
        doubts.push(
            "has certificates in the wrong order, so some clients refuse it: after each must come that of its \
             issuer"
                .into(),
        );
    }
    doubts
}
