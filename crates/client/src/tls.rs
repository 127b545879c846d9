//! Whom to trust: the system's authorities, those of `--ca-file`, and exactly the servers whose certificates stand in it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::BasicConstraints;

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

/// Who is trusted beside who has a certificate of an authority: of the system, or of those that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Who shows one of the certificates that were given, where it is for the name by which the server is called.
    Named,
    /// Who shows one of the certificates that were given, whatever that says of names and authorities. For listed servers
    /// only.
    Shown,
}

/// How to speak TLS.
///
/// # Errors
///
/// A certificate that cannot be read, or none at all to trust.
pub(crate) fn config(given: &[CertificateDer<'static>], trust: Trust) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let authorities = given.iter().filter(|certificate| is_authority(certificate)).cloned();
    let usual = rustls_platform_verifier::Verifier::new_with_extra_roots(authorities, provider.clone())
        .context("gather the certificates to trust")?;
    let verifier: Arc<dyn ServerCertVerifier> = if given.is_empty() {
        Arc::new(usual)
    } else {
        Arc::new(Given::new(Arc::new(usual), given, trust, &provider)?)
    };
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The name of a host as certificates have it; `None` where no certificate can have it.
pub(crate) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()
}

/// May its key sign other certificates? Of a root, whoever verifies does not ask that again: the key of a server's own
/// certificate would sign for every name.
pub(crate) fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let constraints = Certificate::from_der(certificate).and_then(|it| it.tbs_certificate.get::<BasicConstraints>());
    matches!(constraints, Ok(Some((_, BasicConstraints { ca: true, .. }))))
}

/// On-premises servers come with certificates that no authority signed: made by an installer or by `keytool`, with or
/// without `CA:TRUE`, mostly without the name they are called by. Such a server is known by its certificate itself: where
/// the administrator gave exactly this one, byte by byte, there is nothing that names and signatures could add. That the
/// server has the key is shown by the handshake, as ever, and an expired certificate is an expired one here too.
#[derive(Debug)]
struct Given {
    usual: Arc<dyn ServerCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
    trust: Trust,
    /// Trusts `certificates` only. It looks at the dates before anything else.
    own: Arc<WebPkiServerVerifier>,
}

impl Given {
    fn new(
        usual: Arc<dyn ServerCertVerifier>,
        given: &[CertificateDer<'static>],
        trust: Trust,
        provider: &Arc<CryptoProvider>,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in given {
            roots.add(certificate.clone()).context("read a certificate of --ca-file")?;
        }
        let own = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        Ok(Self { usual, certificates: given.to_vec(), trust, own })
    }
}

impl ServerCertVerifier for Given {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_its_own = self.certificates.iter().any(|own| own == end_entity);
        if !is_its_own {
            return self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        // Only itself speaks for it here, not what it sends along.
        match (self.own.verify_server_cert(end_entity, &[], server_name, ocsp_response, now), self.trust) {
            (Err(Error::InvalidCertificate(error)), Trust::Shown) if is_about_names_or_authorities(&error) => {
                Ok(ServerCertVerified::assertion())
            }
            // An authority may speak for it all the same.
            (Err(error), Trust::Named) => {
                let usual = self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
                usual.map_err(|_| error)
            }
            (verified, Trust::Shown | Trust::Named) => verified,
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
