//! Whom to trust: the system's authorities, those of `--ca-file`, and for listed servers exactly the certificates that
//! stand in it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Certificates of files, in PEM.
///
/// # Errors
///
/// A file without any, or with something that is none.
pub(crate) fn certificates(files: &[PathBuf], pems: &[Vec<u8>]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    for (path, pem) in files.iter().zip(pems) {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let found = found.with_context(|| format!("parse --ca-file {}: want PEM certificates", path.display()))?;
        anyhow::ensure!(!found.is_empty(), "--ca-file {} holds no certificate", path.display());
        certificates.extend(found);
    }
    Ok(certificates)
}

/// Who is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Who has a certificate of an authority: of the system, or of those that were given.
    Authorities,
    /// Also who shows one of the certificates that were given as its own, whatever that says of names and authorities.
    /// For listed servers only.
    OwnCertificates,
}

/// How to speak TLS.
///
/// # Errors
///
/// A certificate that cannot be read, or none at all to trust.
pub(crate) fn config(given: &[CertificateDer<'static>], trust: Trust) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let usual = rustls_platform_verifier::Verifier::new_with_extra_roots(given.iter().cloned(), provider.clone())
        .context("gather the certificates to trust")?;
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::OwnCertificates if !given.is_empty() => {
            Arc::new(OwnCertificates::new(Arc::new(usual), given, &provider)?)
        }
        Trust::OwnCertificates | Trust::Authorities => Arc::new(usual),
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The name of a host as certificates have it; `None` where no certificate can have it.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()
}

/// On-premises servers come with certificates that no authority signed: made by an installer or by `keytool`, with or
/// without `CA:TRUE`, mostly without the name they are called by. Such a server is known by its certificate itself: where
/// the administrator gave exactly this one, byte by byte, there is nothing that names and signatures could add. That the
/// server has the key is shown by the handshake, as ever, and an expired certificate is an expired one here too.
#[derive(Debug)]
struct OwnCertificates {
    usual: Arc<dyn ServerCertVerifier>,
    given: Vec<CertificateDer<'static>>,
    /// Trusts `given` only. It looks at the dates before anything else.
    dates: Arc<WebPkiServerVerifier>,
}

impl OwnCertificates {
    fn new(
        usual: Arc<dyn ServerCertVerifier>,
        given: &[CertificateDer<'static>],
        provider: &Arc<CryptoProvider>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in given {
            roots.add(certificate.clone()).context("read a certificate of --ca-file")?;
        }
        let dates = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        Ok(Self { usual, given: given.to_vec(), dates })
    }
}

impl ServerCertVerifier for OwnCertificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_its_own = self.given.iter().any(|own| own == end_entity);
        if !is_its_own {
            return self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        match self.dates.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(error)) if is_about_names_or_authorities(&error) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// What the bytes of a certificate that was given answer. Dates are looked at before any of these.
#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named is not forgiven")]
fn is_about_names_or_authorities(error: &CertificateError) -> bool {
    match error {
        CertificateError::UnknownIssuer
        | CertificateError::BadSignature
        | CertificateError::NotValidForName
        | CertificateError::NotValidForNameContext { .. }
        | CertificateError::InvalidPurpose
        | CertificateError::InvalidPurposeContext { .. } => true,
        error => is_authority_as_server(error),
    }
}

/// Is it a certificate with `CA:TRUE`, shown as a server's own?
pub(crate) fn is_authority_as_server(error: &CertificateError) -> bool {
    // rustls passes it on as it came from webpki, whose errors are words.
    matches!(error, CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity")
}
