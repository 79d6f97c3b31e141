//! Certificates and keys as they come: PEM of several shapes, PKCS#12 of several ages, and what is
//! none of it.

use postrider_core::time::Wall;
use postrider_oauth::certificate::{Certificate, CertificateError};
use secrecy::SecretString;

use crate::pki::{Desk, Made};

fn desk(made: &Made) -> Desk {
    Desk::new(&[
        ("cert.pem", &made.certificate_pem()),
        ("key.pem", &made.key_pem()),
        ("chain.pem", &Made::rsa("An issuer").certificate_pem()),
    ])
}

fn pkcs12(file: &[u8], password: &str) -> Result<Certificate, CertificateError> {
    Certificate::from_pkcs12(file, &SecretString::from(password))
}

fn pem(certificate: &str, key: &str) -> Result<Certificate, CertificateError> {
    Certificate::from_pem(certificate.as_bytes(), key.as_bytes())
}

#[test]
fn pem_is_read_in_one_file_or_two_with_a_chain_in_any_order() {
    let made = Made::rsa("Contoso mail reader");
    let desk = desk(&made);
    let pkcs1 = desk.openssl("rsa -in key.pem -traditional");
    assert!(pkcs1.contains("BEGIN RSA PRIVATE KEY"));
    let (certificate, key) = (made.certificate_pem(), made.key_pem());
    let chain = String::from_utf8(desk.read("chain.pem")).unwrap();
    let expected = made.load();
    let shapes = [
        (certificate.clone(), key.clone()),
        (certificate.clone(), pkcs1.clone()),
        (format!("{certificate}{chain}"), key.clone()),
        (format!("{chain}\n# the leaf\n{certificate}"), pkcs1.clone()),
        (
            format!("\u{feff}{certificate}").replace('\n', "\r\n"),
            format!("\u{feff}{key}").replace('\n', "\r\n"),
        ),
    ];
    for (certificate, key) in &shapes {
        let one_file = format!("Bag Attributes: <none>\n{key}\n{certificate}");
        for read in [pem(certificate, key), pem(&one_file, &one_file)] {
            assert_eq!(
                read.unwrap().thumbprint_sha256(),
                expected.thumbprint_sha256()
            );
        }
    }
}

#[test]
fn a_certificate_tells_what_openssl_tells() {
    let made = Made::rsa("Contoso mail reader");
    let ours = made.load();
    let desk = desk(&made);
    let printed = desk.openssl("x509 -in cert.pem -noout -fingerprint -sha1 -enddate");
    let sha1 = printed
        .lines()
        .next()
        .and_then(|line| line.split('=').nth(1))
        .unwrap()
        .replace(':', "");
    assert_eq!(ours.portal_thumbprint(), sha1);
    assert!(printed.contains("Dec 31 00:00:00 2049 GMT"), "{printed}");
    assert_eq!(ours.not_after().rfc3339(), "2049-12-31T00:00:00.000Z");
    assert_eq!(ours.not_before().rfc3339(), "2024-02-29T00:00:00.000Z");
    assert!(ours.not_after() > Wall(0));
    assert_eq!(ours.subject(), "CN=Contoso mail reader");
    assert_eq!(ours.thumbprint_sha256().len(), 43);
}

#[test]
fn pkcs12_is_read_whether_openssl_wrote_it_in_the_new_or_the_old_way() {
    let made = Made::rsa("Contoso mail reader");
    let desk = desk(&made);
    let expected = made.load().thumbprint_sha256();
    let ways = [
        "",
        "-legacy",
        "-legacy -certpbe PBE-SHA1-3DES",
        "-certpbe AES-128-CBC -keypbe AES-256-CBC -macalg sha512",
        "-certpbe NONE -keypbe AES-256-CBC",
        "-certfile chain.pem -name reader",
        "-legacy -certfile chain.pem",
    ];
    for way in ways {
        for password in ["pässwörd~1", "a"] {
            desk.openssl(&format!(
                "pkcs12 -export -inkey key.pem -in cert.pem -out x.p12 -passout pass:{password} {way}"
            ));
            let file = desk.read("x.p12");
            let read = pkcs12(&file, password).unwrap_or_else(|error| panic!("{way}: {error}"));
            assert_eq!(read.thumbprint_sha256(), expected, "{way}");
            for wrong in ["", "pässwörd~2"] {
                let error = pkcs12(&file, wrong).unwrap_err();
                assert_eq!(error, CertificateError::Password, "{way}");
            }
        }
    }
}

#[test]
fn a_file_that_is_not_whole_is_refused_and_nothing_else_happens() {
    let made = Made::rsa("Contoso mail reader");
    let desk = desk(&made);
    let one_file = format!("{}{}", made.key_pem(), made.certificate_pem());
    let least = one_file.trim_end().len() - 1;
    for end in (0..least).step_by(7) {
        let cut = &one_file[..end];
        let error = pem(cut, cut).unwrap_err();
        assert!(error.to_string().contains("hint: "), "{end}: {error}");
    }
    for way in ["", "-legacy"] {
        desk.openssl(&format!(
            "pkcs12 -export -inkey key.pem -in cert.pem -out x.p12 -passout pass:a {way}"
        ));
        let file = desk.read("x.p12");
        for end in (0..file.len()).step_by(61) {
            assert!(pkcs12(&file[..end], "a").is_err(), "{end}");
        }
        for place in (0..file.len()).step_by(61) {
            let mut bent = file.clone();
            bent[place] ^= 0x20;
            // Whatever it makes of it, it comes back, and with nothing but this certificate.
            if let Ok(read) = pkcs12(&bent, "a") {
                assert_eq!(read.thumbprint_sha256(), made.load().thumbprint_sha256());
            }
        }
    }
    assert_eq!(
        pkcs12(one_file.as_bytes(), "a").unwrap_err(),
        CertificateError::NotPkcs12
    );
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (Made::rsa("one"), Made::rsa("other"));
    let error = pem(&one.certificate_pem(), &other.key_pem()).unwrap_err();
    assert_eq!(error, CertificateError::Mismatch);
    assert!(error.to_string().contains("hint: "), "{error}");
}

#[test]
fn other_kinds_of_keys_are_refused_by_name() {
    let elliptic = Made::elliptic();
    let desk = Desk::new(&[
        ("ec.pem", &elliptic.key_pem()),
        ("ec-cert.pem", &elliptic.certificate_pem()),
    ]);
    let sec1 = desk.openssl("ec -in ec.pem");
    assert!(sec1.contains("BEGIN EC PRIVATE KEY"));
    desk.openssl("pkcs12 -export -inkey ec.pem -in ec-cert.pem -out ec.p12 -passout pass:a");
    desk.openssl("req -x509 -newkey rsa:1024 -nodes -keyout short.pem -out short-cert.pem -subj /CN=short -days 2");
    let text = |name| String::from_utf8(desk.read(name)).unwrap();
    let edwards = Made::edwards();
    let rsa = Made::rsa("rsa");
    let curve = CertificateError::EllipticCurve;
    let table = [
        (pem(&elliptic.certificate_pem(), &elliptic.key_pem()), curve),
        (pem(&elliptic.certificate_pem(), &sec1), curve),
        (pem(&elliptic.certificate_pem(), &rsa.key_pem()), curve),
        (pkcs12(&desk.read("ec.p12"), "a"), curve),
        (
            pem(&edwards.certificate_pem(), &edwards.key_pem()),
            CertificateError::NotRsa,
        ),
        (
            pem(&text("short-cert.pem"), &text("short.pem")),
            CertificateError::KeySize,
        ),
    ];
    for (read, expected) in table {
        assert_eq!(read.unwrap_err(), expected);
    }
}

#[test]
fn what_is_missing_or_locked_is_named() {
    let made = Made::rsa("Contoso mail reader");
    let desk = desk(&made);
    desk.openssl("pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:a");
    desk.openssl("rsa -in key.pem -traditional -aes256 -out older.pem -passout pass:a");
    desk.openssl("pkcs12 -export -nokeys -in cert.pem -out nokeys.p12 -passout pass:a");
    desk.openssl("pkcs12 -export -nocerts -inkey key.pem -out nocerts.p12 -passout pass:a");
    let text = |name| String::from_utf8(desk.read(name)).unwrap();
    let (certificate, key) = (made.certificate_pem(), made.key_pem());
    let table = [
        (pem("", &key), CertificateError::NoCertificate),
        (pem(&key, &key), CertificateError::NoCertificate),
        (pem(&certificate, &certificate), CertificateError::NoKey),
        (pem(&certificate, ""), CertificateError::NoKey),
        (
            pem(&certificate, &text("locked.pem")),
            CertificateError::EncryptedKey,
        ),
        (
            pem(&certificate, &text("older.pem")),
            CertificateError::EncryptedKey,
        ),
        (
            pkcs12(&desk.read("nokeys.p12"), "a"),
            CertificateError::NoKey,
        ),
        (
            pkcs12(&desk.read("nocerts.p12"), "a"),
            CertificateError::NoCertificate,
        ),
        (
            pem(&certificate.replace("MII", "MIJ"), &key),
            CertificateError::BrokenCertificate,
        ),
    ];
    for (at, (read, expected)) in table.into_iter().enumerate() {
        assert_eq!(read.unwrap_err(), expected, "row {at}");
    }
}

#[test]
fn a_certificate_prints_no_key() {
    let made = Made::rsa("Contoso mail reader");
    let printed = format!("{:?} {:#?}", made.load(), made.load());
    assert!(printed.contains("Contoso"));
    let line = made.key_pem().lines().nth(2).unwrap().to_owned();
    assert!(!printed.contains(&line) && printed.len() < 1000);
}
