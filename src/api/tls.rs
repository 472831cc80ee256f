//! TLS with a certificate and key from files, which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::TlsConfig;

/// The TLS settings of a server; `None` without a certificate.
///
/// # Errors
/// If the files cannot be read, or do not belong together.
pub(super) fn server_config(config: &TlsConfig) -> std::io::Result<Option<ServerConfig>> {
    let Some(files) = Files::of(config) else { return Ok(None) };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let loaded = Loaded { stamp: files.stamp(), key: files.read(&provider).map_err(std::io::Error::other)? };
    let certificate = Certificate { files, provider: Arc::clone(&provider), loaded: Mutex::new(loaded) };
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(std::io::Error::other)?.with_no_client_auth();
    Ok(Some(builder.with_cert_resolver(Arc::new(certificate))))
}

/// Checks the files of a certificate, if there is one.
///
/// # Errors
/// If they cannot be read, or do not belong together.
pub fn check(config: &TlsConfig) -> std::io::Result<()> {
    server_config(config).map(drop)
}

/// The files of a certificate and its key.
#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// The certificate of a server. A changed file counts from the next connection on.
#[derive(Debug)]
struct Certificate {
    files: Files,
    provider: Arc<CryptoProvider>,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamp: Stamp,
    key: Arc<CertifiedKey>,
}

/// When both files were changed.
type Stamp = [Option<SystemTime>; 2];

impl Files {
    fn of(config: &TlsConfig) -> Option<Self> {
        let given = !config.certificate.as_os_str().is_empty();
        given.then(|| Self { certificate: config.certificate.clone(), key: config.key.clone() })
    }

    fn stamp(&self) -> Stamp {
        let changed = |path: &Path| path.metadata().and_then(|found| found.modified()).ok();
        [changed(&self.certificate), changed(&self.key)]
    }

    fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, String> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| format!("tls.certificate {certificate}: {error}"))?;
        if chain.is_empty() {
            return Err(format!("tls.certificate {certificate}: there is no certificate in PEM in it"));
        }
        let read = PrivateKeyDer::from_pem_file(&self.key);
        let read = read.map_err(|error| format!("tls.key {key}: {error}"))?;
        let made = CertifiedKey::from_der(chain, read, provider);
        made.map(Arc::new).map_err(|error| format!("tls: {certificate} and {key} do not go together: {error}"))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let stamp = self.files.stamp();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.stamp != stamp {
            // The files are written one after the other: what does not fit yet is read again with the next change.
            loaded.stamp = stamp;
            match self.files.read(&self.provider) {
                Ok(key) => {
                    tracing::info!("the certificate has changed");
                    loaded.key = key;
                }
                Err(error) => tracing::error!(error, "the certificate cannot be read; the last one stays in use"),
            }
        }
        Some(Arc::clone(&loaded.key))
    }
}
