//! A token endpoint that throttles, fails, answers nonsense, or refuses.

use std::time::{Duration, Instant};

use postrider_sandbox::token_endpoint::{ExpiresIn, TokenConfig, TokenTrouble, keys::Issuer};

use super::{RIGHT, Scene, client_id};

const GRAPH: &str = "https://graph.microsoft.com";

/// What passes by itself: the trouble, how many requests meet it, how long the daemon has to wait
/// before it asks again, and what the log says of it.
struct Passing {
    name: &'static str,
    trouble: TokenTrouble,
    times: u32,
    wait_min: Duration,
    says: &'static str,
}

fn passing() -> Vec<Passing> {
    let one = |name, trouble, wait_min, says| Passing {
        name,
        trouble,
        times: 1,
        wait_min: Duration::from_millis(wait_min),
        says,
    };
    let three = Duration::from_secs(3);
    let answer = |status, body: &str| TokenTrouble::Answer {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    };
    vec![
        one(
            "throttled",
            TokenTrouble::Throttled { retry_after: 3 },
            2_950,
            "fewer requests",
        ),
        // A date has whole seconds.
        one(
            "throttled-date",
            TokenTrouble::ThrottledUntil(three),
            1_950,
            "fewer requests",
        ),
        Passing {
            times: 2,
            ..one("html", TokenTrouble::Html(503), 450, "HTTP status 503")
        },
        one("gateway", TokenTrouble::Status(502), 450, "HTTP status 502"),
        one("portal", TokenTrouble::LoginPage, 450, "cannot be used"),
        one("truncated", TokenTrouble::Truncated, 450, "cannot be used"),
        one(
            "unanswered",
            TokenTrouble::CloseUnanswered,
            450,
            "connection lost",
        ),
        one("lost", TokenTrouble::AnswerLost, 450, "connection lost"),
        one(
            "redirect",
            TokenTrouble::Redirect("/oauth/token".to_owned()),
            450,
            "HTTP status 302",
        ),
        one("empty", answer(200, "{}"), 450, "cannot be used"),
        one("not-json", answer(200, ""), 450, "cannot be used"),
        Passing {
            times: 2,
            ..one(
                "busy",
                TokenTrouble::Aadsts(90_033),
                450,
                "temporarily_unavailable",
            )
        },
    ]
}

/// What makes no difference: a token comes at once.
type Lever = fn(&mut TokenConfig);

fn harmless() -> Vec<(&'static str, Lever)> {
    vec![
        ("text", |config| config.expires_in = ExpiresIn::Text),
        ("without-life", |config| {
            config.expires_in = ExpiresIn::Missing
        }),
        ("without-ext", |config| config.ext_expires_in = false),
        ("large", |config| config.claims.bytes_min = 5_000),
        ("hinted", |config| {
            config.refresh_in = Some(Duration::from_secs(1_800))
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_at_the_token_endpoint_passes_unseen_by_the_mail() {
    let mut scene = Scene::new().await;
    for one in passing() {
        scene.with_secret(one.name, RIGHT);
        let trouble = one.trouble.times(one.times);
        scene
            .tokens
            .set_trouble_of(&client_id(one.name), trouble)
            .unwrap();
    }
    for (name, lever) in harmless() {
        scene.with_secret(name, RIGHT);
        scene.change(name, lever);
    }
    scene.with_secret("slow", RIGHT);
    let slow = TokenTrouble::Slow(Duration::from_secs(2));
    scene
        .tokens
        .set_trouble_of(&client_id("slow"), slow)
        .unwrap();
    scene.with_secret("throttled-oddly", RIGHT);
    let odd = TokenTrouble::ThrottledOddly(Some("soon".to_owned())).times(1);
    scene
        .tokens
        .set_trouble_of(&client_id("throttled-oddly"), odd)
        .unwrap();
    scene.start();
    let began = Instant::now();
    let all = passing().len() + harmless().len() + 2;
    scene.world.expect_watching(all).await;
    scene.world.deliver(0);
    for one in passing() {
        scene.deliver(one.name);
        let gaps = scene.gaps(one.name);
        assert_eq!(gaps.len(), one.times as usize, "{}: {gaps:?}", one.name);
        let early = gaps.iter().find(|gap| **gap < one.wait_min);
        assert_eq!(early, None, "{} was asked again too soon", one.name);
        scene.assert_log(one.name, one.says);
        // Nobody has to do anything.
        assert!(
            scene.events("credential.refused", one.name).is_empty(),
            "{}",
            one.name
        );
    }
    for (name, _) in harmless() {
        scene.deliver(name);
        assert_eq!(scene.asked(name).len(), 1, "{name}");
    }
    scene.deliver("slow");
    scene.world.expect_all().await;
    // An odd Retry-After is worth a minute.
    assert!(began.elapsed() < Duration::from_secs(55));
    assert_eq!(scene.asked("throttled-oddly").len(), 1);
    scene.world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_named_once_and_ends_when_its_cause_does() {
    let mut scene = Scene::new().await;
    // Wrong from the start, each in its own way.
    let refused: [(&str, u32, &str); 5] = [
        ("wrong-secret", 7_000_215, "Secret ID"),
        ("expired-secret", 7_000_222, "expired"),
        ("no-consent", 65_001, "onsent"),
        ("blocked", 53_003, "Conditional Access"),
        ("other-cloud", 900_382, "cloud"),
    ];
    for (name, code, _) in refused {
        scene.with_secret(name, "not-yet-right");
        let trouble = TokenTrouble::Aadsts(code);
        scene
            .tokens
            .set_trouble_of(&client_id(name), trouble)
            .unwrap();
    }
    scene.with_secret("echo", "not~yet~right");
    scene
        .tokens
        .set_trouble_of(&client_id("echo"), TokenTrouble::EchoSecret)
        .unwrap();
    scene.start();
    scene.deliver_to_all();
    for (name, code, says) in refused {
        scene.expect_event("credential.refused", name).await;
        scene.assert_log(name, &format!("AADSTS{code}"));
        scene.assert_log(name, says);
    }
    scene.expect_event("credential.refused", "echo").await;
    let log = scene.world.log();
    assert!(!log.contains("not~yet~right") && !log.contains("not%7Eyet%7Eright"));
    scene.expect_state("box0", "watching").await;
    scene
        .holds_for(
            Duration::from_secs(3),
            "asked in vain again and again",
            |scene| {
                refused
                    .iter()
                    .all(|(name, _, _)| scene.asked(name).len() == 1)
            },
        )
        .await;

    // A new secret is tried as soon as it is there, and the mail that waited comes.
    for name in refused.iter().map(|(name, _, _)| *name).chain(["echo"]) {
        scene
            .tokens
            .set_trouble_of(&client_id(name), TokenTrouble::None)
            .unwrap();
        scene.write(&format!("{name}.secret"), RIGHT);
    }
    scene.world.expect_watching(refused.len() + 2).await;
    for name in refused.iter().map(|(name, _, _)| *name).chain(["echo"]) {
        scene.expect_event("credential.recovered", name).await;
        assert_eq!(scene.events("credential.refused", name).len(), 1, "{name}");
        assert_eq!(scene.granted(name), 1, "{name}");
    }
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_the_wrong_thing_is_named_for_what_it_is() {
    let mut scene = Scene::new().await;
    let table: [(&str, Lever, &str); 3] = [
        (
            "without-roles",
            |config| config.roles.clear(),
            "IMAP.AccessAsApp",
        ),
        (
            "for-graph",
            |config| config.audience = GRAPH.to_owned(),
            "graph.microsoft.com",
        ),
        (
            "other-principal",
            |config| config.claims.oid = "0000-another".to_owned(),
            "ObjectId",
        ),
    ];
    scene
        .authority
        .only_principals(&["99999999-8888-7777-6666-555555555555"]);
    for (name, lever, _) in table {
        scene.with_secret(name, RIGHT);
        scene.change(name, lever);
    }
    scene.start();
    scene.deliver_to_all();
    for (name, _, says) in table {
        scene.expect_state(name, "auth_failed").await;
        let event = scene.expect_event("mailbox.auth_failed", name).await;
        let data = &event["data"];
        assert_eq!(data["reason"], "login_refused", "{event:#}");
        scene.assert_log(name, "AUTHENTICATIONFAILED");
        // The doctor looks into the token.
        let told = scene.world.ask(&["doctor", name]);
        let told = told.map_or_else(|text| text, |json| json.to_string());
        assert!(told.contains(says), "{told}");
        // Asking for more of the same would not help.
        assert!(scene.asked(name).len() <= 2, "{name}");
    }
    scene.expect_state("box0", "watching").await;

    // The permission is granted; the administrator says that it is so.
    let right = TokenConfig::default();
    for (name, _, _) in table {
        scene.change(name, |config| {
            config.roles.clone_from(&right.roles);
            config.audience.clone_from(&right.audience);
            config.claims = right.claims.clone();
        });
        scene.write(&format!("{name}.secret"), &format!("{RIGHT}\n"));
    }
    scene.authority.expire_all();
    for (name, _, _) in table {
        scene.world.ask(&["mailboxes", "resync", name]).unwrap();
    }
    scene.world.expect_watching(table.len() + 1).await;
    for (name, _, _) in table {
        scene.expect_event("mailbox.recovered", name).await;
    }
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}

/// A pod's own token.
pub(super) const POD: &str = "system:serviceaccount:mail:postrider";

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_credential_that_is_not_known_everywhere_yet_comes_up_by_itself() {
    let mut scene = Scene::new().await;
    let cluster = Issuer::new("https://oidc.example.net/cluster").unwrap();
    let token = cluster.token(POD, "api://AzureADTokenExchange", Duration::from_secs(3600));
    let file = scene.write("pod-token", &token.unwrap());
    scene.with_proof(
        "pod",
        &format!("federated_token = {{ file = \"{file}\" }}\n"),
    );
    scene.change("pod", |config| {
        config.federated = vec![cluster.credential(POD)];
        config.federation_flaps = 1;
    });
    scene.start();
    scene.deliver("pod");
    scene.expect_state("pod", "watching").await;
    assert_eq!(scene.asked("pod").len(), 2);
    // A wrong subject looks the same, so it is told.
    scene.expect_event("credential.refused", "pod").await;
    scene.expect_event("credential.recovered", "pod").await;
    scene.assert_log("pod", "AADSTS70021");
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}
