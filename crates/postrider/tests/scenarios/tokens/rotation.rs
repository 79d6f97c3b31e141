//! Proofs that are exchanged while the daemon runs: what is good is taken up at once, what is not
//! changes nothing.

use std::time::Duration;

use postrider_sandbox::token_endpoint::{
    GrantKind, TokenConfig,
    keys::{AppCertificate, Issuer},
};

use super::{RIGHT, Scene, client_id, trouble::POD};

/// Half of it is the time to a refresh.
const LIFE: Duration = Duration::from_secs(6);
const EXCHANGE: &str = "api://AzureADTokenExchange";
const HOUR: Duration = Duration::from_secs(3600);

fn certificate() -> AppCertificate {
    AppCertificate::generate("postrider").unwrap()
}

fn knows(config: &mut TokenConfig, certificates: &[&AppCertificate]) {
    config.certificates = certificates
        .iter()
        .map(|one| one.certificate_pem().to_owned())
        .collect();
}

/// What this application did in vain, and what an operator was told of it.
fn refusals(scene: &Scene, name: &str) -> (usize, usize) {
    let asked = scene.asked(name);
    let refused = asked.iter().filter(|one| one.status == Some(401)).count();
    let told = scene.events("credential.refused", name).len()
        + scene.events("mailbox.auth_failed", name).len();
    (refused, told)
}

/// Waits until so many more tokens came, which is that many refreshes.
async fn refreshed(scene: &Scene, names: &[&str], times: usize) {
    let before: Vec<usize> = names.iter().map(|name| scene.granted(name)).collect();
    scene
        .expect("tokens renewed", |scene| {
            let now = names.iter().map(|name| scene.granted(name));
            now.zip(&before).all(|(now, before)| now >= before + times)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_proof_in_its_file_is_taken_up_at_once_and_no_mail_waits() {
    let mut scene = Scene::new().await;
    let (old, new) = (certificate(), certificate());
    let cluster = Issuer::new("https://oidc.example.net/cluster").unwrap();
    let pod_token = |subject: &str| cluster.token(subject, EXCHANGE, HOUR).unwrap();

    let file = scene.write("app.pem", &old.both_pem());
    scene.with_proof("cert", &format!("certificate = {{ file = \"{file}\" }}\n"));
    scene.change("cert", |config| knows(config, &[&old, &new]));
    let file = scene.write("pod-token", &pod_token(POD));
    scene.with_proof(
        "pod",
        &format!("federated_token = {{ file = \"{file}\" }}\n"),
    );
    scene.change("pod", |config| {
        config.federated = vec![cluster.credential(POD)]
    });
    scene.with_secret("secret", RIGHT);
    scene.change("secret", |config| {
        config.secrets.push("the~next".to_owned())
    });
    let files = [("new", "the~next"), ("old", RIGHT)]
        .map(|(name, secret)| format!("{{ file = \"{}\" }}", scene.write(name, secret)));
    scene.with_proof(
        "listed",
        &format!("client_secret = [{}]\n", files.join(", ")),
    );
    let names = ["cert", "pod", "secret", "listed"];
    for name in names {
        scene.change(name, |config| config.lifetime = LIFE);
    }
    scene.start();
    scene.world.expect_watching(names.len() + 1).await;
    // The provider does not know the first of the list yet.
    assert_eq!(refusals(&scene, "listed"), (1, 1));

    let proven = ["cert", "secret"].map(|name| scene.granted(name));
    scene.write("app.pem", &new.both_pem());
    scene.write("secret.secret", "the~next");
    let other = "system:serviceaccount:mail:postrider-2";
    scene.write("pod-token", &pod_token(other));
    scene.change("pod", |config| {
        config.federated = vec![cluster.credential(other)]
    });
    scene
        .expect("the new ones proven", |scene| {
            let now = ["cert", "secret"].map(|name| scene.granted(name));
            now.iter().zip(proven).all(|(now, before)| *now > before)
        })
        .await;
    refreshed(&scene, &["cert", "secret", "pod"], 1).await;
    // From here on only the new ones are good.
    scene.change("cert", |config| knows(config, &[&new]));
    for name in ["secret", "listed"] {
        scene.change(name, |config| config.secrets = vec!["the~next".to_owned()]);
    }
    scene.deliver_to_all();
    refreshed(&scene, &names, 2).await;
    scene.deliver_to_all();
    scene.world.expect_all().await;
    for name in names {
        assert_eq!(scene.state(name), "watching", "{name}");
        let (refused, told) = refusals(&scene, name);
        // The list's old one is refused once, when the provider has dropped it.
        let expected = if name == "listed" { (2, 1) } else { (0, 0) };
        assert_eq!((refused, told), expected, "{name}");
    }
    let by_certificate = scene
        .tokens
        .tally(&client_id("cert"), GrantKind::Certificate);
    assert_eq!(by_certificate.requests, by_certificate.answered);
    scene.world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_proof_that_is_no_good_leaves_the_old_one_at_work() {
    let mut scene = Scene::new().await;
    let (old, stranger) = (certificate(), certificate());
    for name in ["cert", "half"] {
        let file = scene.write(&format!("{name}.pem"), &old.both_pem());
        scene.with_proof(name, &format!("certificate = {{ file = \"{file}\" }}\n"));
        scene.change(name, |config| knows(config, &[&old]));
    }
    scene.with_secret("secret", RIGHT);
    scene.with_secret("empty", RIGHT);
    let names = ["cert", "half", "secret", "empty"];
    for name in names {
        scene.change(name, |config| config.lifetime = LIFE);
    }
    scene.start();
    scene.world.expect_watching(names.len() + 1).await;

    scene.write("cert.pem", &stranger.both_pem());
    scene.write("secret.secret", "mistyped");
    let both = stranger.both_pem();
    scene.write("half.pem", &both[..both.len() / 2]);
    scene.write("empty.secret", "");
    for (name, code) in [("cert", "AADSTS700027"), ("secret", "AADSTS7000215")] {
        let event = scene.expect_event("credential.refused", name).await;
        assert!(
            event["data"]["detail"].to_string().contains(code),
            "{event:#}"
        );
    }
    scene.deliver_to_all();
    refreshed(&scene, &names, 2).await;
    scene.deliver_to_all();
    scene.world.expect_all().await;
    for name in names {
        assert_eq!(scene.state(name), "watching", "{name}");
        assert!(
            scene.events("mailbox.auth_failed", name).is_empty(),
            "{name}"
        );
    }
    for name in ["half", "empty"] {
        assert_eq!(refusals(&scene, name), (0, 0), "{name}");
    }
    assert!(!scene.world.log().contains("mistyped"));

    // The right one ends it.
    let next = certificate();
    scene.change("cert", |config| knows(config, &[&next]));
    scene.change("secret", |config| {
        config.secrets = vec!["typed~well".to_owned()]
    });
    scene.write("cert.pem", &next.both_pem());
    scene.write("secret.secret", "typed~well");
    refreshed(&scene, &["cert", "secret"], 2).await;
    scene.world.expect_account().await;
}
