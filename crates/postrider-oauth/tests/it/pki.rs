//! Keys and certificates made for a test, and openssl, which writes them into the files that people
//! have.

use std::{path::Path, process::Command, sync::Arc};

use postrider_oauth::certificate::Certificate;
use rcgen::{
    CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256,
    RsaKeySize, date_time_ymd,
};
use tempfile::TempDir;

pub(crate) struct Made {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Made {
    pub(crate) fn rsa(name: &str) -> Self {
        Self::of(
            name,
            KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
        )
    }

    pub(crate) fn elliptic() -> Self {
        Self::of(
            "elliptic",
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
        )
    }

    pub(crate) fn edwards() -> Self {
        Self::of("edwards", KeyPair::generate_for(&PKCS_ED25519).unwrap())
    }

    fn of(name: &str, key: KeyPair) -> Self {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2024, 2, 29);
        params.not_after = date_time_ymd(2049, 12, 31);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn load(&self) -> Arc<Certificate> {
        let (certificate, key) = (self.certificate_pem(), self.key_pem());
        Arc::new(Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap())
    }
}

/// A folder with files, and openssl in it.
pub(crate) struct Desk(TempDir);

impl Desk {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    /// What openssl wrote to its output.
    pub(crate) fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.path())
            .output()
            .unwrap_or_else(|error| {
                panic!("openssl cannot be run ({error}); run scripts/install-test-tools.sh")
            });
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {complaint}");
        String::from_utf8(output.stdout).unwrap()
    }
}
