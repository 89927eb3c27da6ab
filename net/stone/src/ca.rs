//! The certificate authority of `dropstone dev`: made once, with a leaf for this machine's own names at each start.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Names that every leaf has.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file cannot be read or written.
    #[error("could not use {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate cannot be made of what is there.
    #[error("could not make a certificate: {0}; remove ca.pem and ca.key to begin with a new authority")]
    Made(#[from] rcgen::Error),
    /// A certificate or key cannot be used.
    #[error("could not use a certificate or its key: {0}")]
    Tls(#[from] rustls::Error),
    /// A file holds no certificate or key.
    #[error("{path} holds no certificate or no key in PEM")]
    Pem {
        /// Which.
        path: PathBuf,
    },
}

/// The authority of one `dev` cluster.
#[derive(Debug)]
pub struct DevCa {
    dir: PathBuf,
    key: KeyPair,
}

impl DevCa {
    /// The one in a directory; it is made first where there is none.
    ///
    /// Errors: [`CaError`].
    pub fn open(dir: &Path) -> Result<DevCa, CaError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::Io { path, source }
        };
        let (certificate, key_file) = (dir.join(CERTIFICATE), dir.join(KEY));
        if key_file.exists() && certificate.exists() {
            let text = std::fs::read_to_string(&key_file).map_err(io(&key_file))?;
            return Ok(DevCa { dir: dir.to_owned(), key: KeyPair::from_pem(&text)? });
        }
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let key = KeyPair::generate()?;
        let made = authority().self_signed(&key)?;
        // One without the other is left from a start that was cut off.
        let _ = std::fs::remove_file(&key_file);
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o400).open(&key_file).map_err(io(&key_file))?;
        file.write_all(key.serialize_pem().as_bytes()).map_err(io(&key_file))?;
        std::fs::write(&certificate, made.pem()).map_err(io(&certificate))?;
        Ok(DevCa { dir: dir.to_owned(), key })
    }

    /// The file with its certificate, which clients are to trust.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join(CERTIFICATE)
    }

    /// What a listener shows: a new leaf for this machine's names and `names`.
    ///
    /// Errors: [`CaError`].
    pub fn tls(&self, names: &[String]) -> Result<Arc<rustls::ServerConfig>, CaError> {
        let all: Vec<String> = OWN_NAMES.iter().map(|name| (*name).to_owned()).chain(names.iter().cloned()).collect();
        let mut params = CertificateParams::new(all)?;
        params.distinguished_name.push(DnType::CommonName, "dropstone dev");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &Issuer::from_params(&authority(), &self.key))?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|why| rustls::Error::General(why.to_owned()))?;
        server_config(vec![leaf.der().clone()], key)
    }
}

/// The same for every authority but the key.
fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "dropstone dev authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What a listener shows: a certificate chain and its key, in PEM files.
///
/// Errors: [`CaError`].
pub fn tls_of_files(certificate: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, CaError> {
    let pem = |path: &Path| {
        let path = path.to_owned();
        move |_| CaError::Pem { path }
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(pem(certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(pem(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
    server_config(chain, key)
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<rustls::ServerConfig>, CaError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_authority_is_made_once_and_only_its_owner_reads_the_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = DevCa::open(dir.path()).expect("made");
        let text = std::fs::read_to_string(made.certificate()).expect("written");
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----"));
        let mode = std::fs::metadata(dir.path().join(KEY)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o400);
        made.tls(&["files.example".to_owned()]).expect("a leaf");
        let found = DevCa::open(dir.path()).expect("found");
        assert_eq!(found.key.serialize_der(), made.key.serialize_der());
        assert_eq!(std::fs::read_to_string(found.certificate()).expect("there"), text);
    }

    #[test]
    fn files_without_a_certificate_are_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.pem");
        std::fs::write(&path, "nothing").expect("written");
        assert!(tls_of_files(&path, &path).is_err());
    }
}
