//! Certificates made on the spot: signed by an authority, or the server's own.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Which certificate a server shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// One for its names, signed by an authority.
    #[default]
    OfAuthority,
    /// Its own, as installers of on-premises servers make it: signed by itself, `CA:TRUE`, without any name.
    Own,
}

/// How to serve over TLS, and what a client must trust.
pub struct Tls {
    /// Serves with the certificate.
    pub acceptor: TlsAcceptor,
    /// PEM of the certificate that a client must know.
    pub ca_pem: String,
}

/// Makes a certificate; `names` are host names or IP addresses.
pub fn make(kind: Certificate, names: Vec<String>) -> io::Result<Tls> {
    let key = KeyPair::generate().map_err(failed)?;
    let (certificate, ca_pem) = match kind {
        Certificate::OfAuthority => of_authority(names, &key)?,
        Certificate::Own => own(&key)?,
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![certificate], key))
        .map_err(io::Error::other)?;
    Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), ca_pem })
}

fn own(key: &KeyPair) -> io::Result<(CertificateDer<'static>, String)> {
    let mut server = CertificateParams::default();
    server.distinguished_name.push(DnType::CommonName, "Zoho simulator's server");
    server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = server.self_signed(key).map_err(failed)?;
    let pem = certificate.pem();
    Ok((certificate.into(), pem))
}

fn of_authority(names: Vec<String>, key: &KeyPair) -> io::Result<(CertificateDer<'static>, String)> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Zoho simulator");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(failed)?).map_err(failed)?;
    let mut server = CertificateParams::new(names).map_err(failed)?;
    server.distinguished_name.push(DnType::CommonName, "Zoho simulator's server");
    let certificate = server.signed_by(key, &authority).map_err(failed)?.into();
    Ok((certificate, authority.pem()))
}

fn failed(error: rcgen::Error) -> io::Error {
    io::Error::other(error)
}
