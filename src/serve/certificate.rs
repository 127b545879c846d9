//! The certificate of a port, read again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// Certificate chain and key, as a Secret of type `kubernetes.io/tls` has them.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

type Pems = [Zeroizing<Vec<u8>>; 2];

/// A certificate and its key, from a folder. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Certificate {
    folder: PathBuf,
    current: Arc<Mutex<Current>>,
}

struct Current {
    /// As the files were when they were last looked at; `None`: they could not be read.
    seen: Option<Pems>,
    /// The last that was in order.
    config: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads `tls.crt` and `tls.key`.
    ///
    /// # Errors
    ///
    /// A file cannot be read, is no PEM, or the key is not that of the certificate.
    pub(crate) fn load(folder: &Path) -> anyhow::Result<Self> {
        let pems = read(folder)?;
        let config = parse(&pems)?;
        let current = Arc::new(Mutex::new(Current { seen: Some(pems), config }));
        Ok(Self { folder: folder.to_owned(), current })
    }

    /// For the next handshake. The files are read before each; changed ones that are not in order are warned of once, and
    /// what was read before goes on serving.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let pems = match read(&self.folder) {
            Ok(pems) => Some(pems),
            Err(error) => {
                if current.seen.is_some() {
                    tracing::warn!(error = format!("{error:#}"), "the metrics' certificate cannot be read again");
                }
                None
            }
        };
        if let Some(changed) = pems.as_ref().filter(|pems| Some(*pems) != current.seen.as_ref()) {
            match parse(changed) {
                Ok(config) => {
                    tracing::info!("the metrics' certificate changed and is read again");
                    current.config = config;
                }
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "the metrics' changed certificate is not used");
                }
            }
        }
        current.seen = pems;
        TlsAcceptor::from(current.config.clone())
    }
}

fn read(folder: &Path) -> anyhow::Result<Pems> {
    let read = |name: &str| {
        let path = folder.join(name);
        let pem = std::fs::read(&path).with_context(|| format!("read {} of --metrics-certificate", path.display()))?;
        anyhow::Ok(Zeroizing::new(pem))
    };
    Ok([read(FILES[0])?, read(FILES[1])?])
}

fn parse([certificates, key]: &Pems) -> anyhow::Result<Arc<ServerConfig>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .context("parse tls.crt of --metrics-certificate: want PEM certificates")?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .context("parse tls.key of --metrics-certificate: want a private key in PEM")?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("use tls.crt and tls.key of --metrics-certificate together")?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(folder: &Path, certificate: &str, key: &str) {
        fs::write(folder.join("tls.crt"), certificate).unwrap();
        fs::write(folder.join("tls.key"), key).unwrap();
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["metrics.example".into()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[tokio::test]
    async fn changed_certificate_is_used_once_it_is_whole_and_never_a_broken_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Certificate::load(folder.path()).is_err(), "there is none");
        let (first, first_key) = pair();
        write(folder.path(), &first, &first_key);
        let certificate = Certificate::load(folder.path()).unwrap();
        let used = || Arc::as_ptr(certificate.acceptor().config());
        let before = used();
        assert_eq!(used(), before, "what did not change is not read anew");

        let (second, second_key) = pair();
        for (broken, key) in [(&second, &first_key), (&"nothing".to_owned(), &first_key), (&second, &String::new())] {
            write(folder.path(), broken, key);
            assert_eq!(used(), before, "{broken}");
        }
        fs::remove_file(folder.path().join("tls.key")).unwrap();
        assert_eq!(used(), before, "it is not there");
        write(folder.path(), &second, &second_key);
        assert_ne!(used(), before);
        assert!(Certificate::load(folder.path()).is_ok());
    }
}
