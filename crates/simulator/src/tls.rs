//! A certificate authority made on the spot, and a server certificate signed by it.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// How to serve over TLS, and what a client must trust.
pub(super) struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// PEM of the authority's certificate.
    pub(super) ca_pem: String,
}

/// Makes an authority and a certificate for these names: host names or IP addresses.
pub(super) fn make(names: Vec<String>) -> io::Result<Tls> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Zoho simulator");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(failed)?).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut server = CertificateParams::new(names).map_err(failed)?;
    server.distinguished_name.push(DnType::CommonName, "Zoho simulator's server");
    let certificate: CertificateDer<'static> = server.signed_by(&key, &authority).map_err(failed)?.into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(io::Error::other)?;
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem: authority.pem() })
}

fn failed(error: rcgen::Error) -> io::Error {
    io::Error::other(error)
}
