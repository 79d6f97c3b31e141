//! A token endpoint that throttles, fails, answers nonsense, or refuses.

use std::time::{Duration, Instant};

use postrider_sandbox::token_endpoint::{ExpiresIn, TokenConfig, TokenTrouble, keys::Issuer};

use super::{RIGHT, Scene};

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
    ]
}

/// Entra is busy or broken for the moment, and says so with 400.
const BUSY: [(&str, u32); 7] = [
    ("busy-90055", 90_055),
    ("busy-90024", 90_024),
    ("busy-90033", 90_033),
    ("busy-90006", 90_006),
    ("busy-90012", 90_012),
    ("busy-50033", 50_033),
    ("busy-50000", 50_000),
];

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
        let trouble = one.trouble.times(one.times);
        scene.with_trouble(one.name, RIGHT, trouble);
    }
    for (name, code) in BUSY {
        scene.with_trouble(name, RIGHT, TokenTrouble::Aadsts(code).times(1));
    }
    for (name, lever) in harmless() {
        scene.with_secret(name, RIGHT);
        scene.change(name, lever);
    }
    let slow = TokenTrouble::Slow(Duration::from_secs(2));
    scene.with_trouble("slow", RIGHT, slow);
    let odd = TokenTrouble::ThrottledOddly(Some("soon".to_owned()));
    scene.with_trouble("throttled-oddly", RIGHT, odd.times(1));
    scene.start();
    let began = Instant::now();
    let all = passing().len() + BUSY.len() + harmless().len() + 2;
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
    for (name, _) in BUSY {
        scene.deliver(name);
        let gaps = scene.gaps(name);
        let early = gaps.iter().find(|gap| gap.as_millis() < 450);
        assert_eq!((gaps.len(), early), (1, None), "{name}");
        let told = scene.events("credential.refused", name).len();
        assert_eq!(told, 0, "{name}");
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
    for (outcome, times) in [
        ("throttled", 3.0),
        ("unavailable", 13.0),
        ("malformed", 4.0),
    ] {
        let line = format!(
            "postrider_oauth_token_requests_total{{outcome=\"{outcome}\",provider=\"microsoft\"}}"
        );
        assert_eq!(scene.world.metric(&line).await, times, "{outcome}");
    }
    scene.world.expect_account().await;
}

/// What asking again does not mend: the number, and a word of the advice that comes with it.
const REFUSALS: [(u32, &str); 53] = [
    (7_000_215, "Secret ID"),
    (7_000_222, "expired"),
    (7_000_218, "client_secret"),
    (700_016, "tenant"),
    (700_011, "enterprise application"),
    (70_001, "enterprise application"),
    (7_000_112, "enterprise application"),
    (90_002, "tenant"),
    (90_038, "cloud"),
    (900_382, "cloud"),
    (900_432, "cloud"),
    (700_027, "certificate"),
    (50_027, "clock"),
    (50_012, "certificate"),
    (700_030, "certificate"),
    (70_011, "scope"),
    (28_002, "scope"),
    (28_003, "scope"),
    (1_002_012, "/.default"),
    (700_022, "one resource"),
    (700_023, "one resource"),
    (500_011, "Exchange Online"),
    (650_057, "tenant"),
    (50_001, "tenant"),
    (65_001, "consent"),
    (90_094, "consent"),
    (650_056, "consent"),
    (50_034, "user"),
    (51_004, "user"),
    (50_020, "user"),
    (50_057, "enable"),
    (50_076, "factor"),
    (50_079, "factor"),
    (50_074, "factor"),
    (50_072, "factor"),
    (50_055, "password"),
    (50_126, "password"),
    (50_053, "locked"),
    (53_003, "Conditional Access"),
    (53_000, "Conditional Access"),
    (530_032, "Conditional Access"),
    (530_035, "Conditional Access"),
    (700_082, "sign in again"),
    (70_008, "sign in again"),
    (70_000, "sign in again"),
    (50_173, "sign in again"),
    (54_005, "again"),
    (50_011, "redirect"),
    (50_194, "tenant"),
    (9_001_023, "tenant"),
    (90_130, "tenant"),
    (50_196, "loop"),
    (70_003, "grant"),
];

fn refused(code: u32) -> String {
    format!("a{code}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_named_once_with_its_advice_and_ends_when_its_cause_does() {
    let mut scene = Scene::new().await;
    for (code, _) in REFUSALS {
        scene.with_trouble(&refused(code), "not-yet", TokenTrouble::Aadsts(code));
    }
    scene.with_trouble("echo", "not~yet~right", TokenTrouble::EchoSecret);
    let names: Vec<String> = REFUSALS
        .iter()
        .map(|(code, _)| refused(*code))
        .chain(["echo".to_owned()])
        .collect();
    scene.start();
    scene.deliver_to_all();
    for (code, says) in REFUSALS {
        let name = refused(code);
        let event = scene.expect_event("credential.refused", &name).await;
        let told = event["data"]["detail"].as_str().unwrap_or_default();
        let number = format!("AADSTS{code}: ");
        assert!(
            told.contains(&number) && told.contains(says),
            "{says}: {told}"
        );
        scene.assert_log(&name, &number);
    }
    scene.expect_event("credential.refused", "echo").await;
    scene.expect_state("echo", "auth_failed").await;
    scene.expect_state("box0", "watching").await;
    let log = scene.world.log();
    assert!(!log.contains("not~yet~right") && !log.contains("not%7Eyet%7Eright"));
    let count = "postrider_credentials{state=\"refused\"}";
    scene.world.expect_metric(count, names.len() as f64).await;
    let once = |scene: &Scene| names.iter().all(|name| scene.asked(name).len() == 1);
    let what = "asked in vain again and again";
    scene.holds_for(Duration::from_secs(2), what, once).await;

    // A new secret is tried as soon as it is there, and the mail that waited comes.
    for name in &names {
        scene.meets(name, TokenTrouble::None);
        scene.write(&format!("{name}.secret"), RIGHT);
    }
    scene.world.expect_watching(names.len() + 1).await;
    for name in &names {
        scene.expect_event("credential.recovered", name).await;
        assert_eq!(scene.events("credential.refused", name).len(), 1, "{name}");
        assert_eq!(scene.granted(name), 1, "{name}");
    }
    scene.world.expect_all().await;
    scene.world.expect_account().await;
}

/// Whatever the token has to do with it, what failed is a login.
fn assert_login_refused(scene: &Scene, name: &str) {
    let lines = scene.log_of(name);
    let mut refusals = lines.iter().filter(|line| line.contains("\"diagnosis\":"));
    assert!(
        refusals.all(|line| line.contains("\"cause\":\"login_refused\"")),
        "{lines:#?}"
    );
}

/// The application is as it should be, and takes another secret as well.
fn set_right(scene: &Scene, name: &str) {
    scene.change(name, |config| {
        *config = TokenConfig {
            client_id: config.client_id.clone(),
            secrets: vec![RIGHT.to_owned(), "another~secret".to_owned()],
            ..TokenConfig::default()
        };
    });
}

/// `credentials renew`, which leaves a trace and is not for every second.
fn order_a_token(scene: &Scene, name: &str) {
    let world = &scene.world;
    let renewed = world.ask(&["credentials", "renew", name]).unwrap();
    assert_eq!(renewed["done"], "renewed");
    let again = world.ask(&["credentials", "renew", name]).unwrap_err();
    assert!(again.contains("try again in"), "{again}");
    let audit = world.ask(&["admin", "audit"]).unwrap().to_string();
    assert!(audit.contains("renew credential"), "{audit}");
    scene.assert_log(name, "a new token is asked for by order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_says_the_wrong_thing_is_named_for_what_it_is() {
    let mut scene = Scene::new().await;
    let table: [(&str, Lever, &str, &str); 3] = [
        (
            "without-roles",
            |config| config.roles.clear(),
            "app_consent_missing",
            "IMAP.AccessAsApp",
        ),
        (
            "for-graph",
            |config| config.audience = GRAPH.to_owned(),
            "token_for_graph",
            "https://outlook.office365.com/.default",
        ),
        (
            "other-principal",
            |config| config.claims.oid = "0000-another".to_owned(),
            "service_principal_missing",
            "ServicePrincipal",
        ),
    ];
    scene
        .authority
        .only_principals(&["99999999-8888-7777-6666-555555555555"]);
    for (name, lever, _, _) in table {
        scene.with_secret(name, RIGHT);
        scene.change(name, lever);
    }
    scene.start();
    scene.deliver_to_all();
    for (name, _, cause, fix) in table {
        scene.expect_state(name, "auth_failed").await;
        let event = scene.expect_event("mailbox.auth_failed", name).await;
        let data = &event["data"];
        let told = data["fix"].as_str().unwrap_or_default();
        assert!(data["cause"] == cause && told.contains(fix), "{event:#}");
        scene.assert_log(name, &format!("\"diagnosis\":\"{cause}\""));
        assert_login_refused(&scene, name);
        // Asking for more of the same would not help.
        assert!(scene.asked(name).len() <= 2, "{name}");
        // The doctor looks into the token.
        let told = scene.world.ask(&["doctor", name, "--no-ping"]);
        let told = told.map_or_else(|text| text, |json| json.to_string());
        assert!(told.contains(cause) && told.contains(fix), "{name}: {told}");
    }
    scene.expect_state("box0", "watching").await;

    // What was wrong is set right. The old token says so no more than before: a new one is needed.
    // An operator orders it, or another look, for which it is asked for where the old one is at
    // fault; a new secret brings one by itself.
    let before = table.map(|(name, _, _, _)| scene.granted(name));
    for (name, _, _, _) in table {
        set_right(&scene, name);
    }
    order_a_token(&scene, "without-roles");
    scene
        .world
        .ask(&["mailboxes", "resync", "for-graph"])
        .unwrap();
    scene.write("other-principal.secret", "another~secret");
    for ((name, _, _, _), before) in table.iter().zip(before) {
        scene
            .expect("a new token", |scene| scene.granted(name) > before)
            .await;
    }
    let last = &table[2].0;
    scene.world.ask(&["mailboxes", "resync", last]).unwrap();
    scene.world.expect_watching(table.len() + 1).await;
    for (name, _, _, _) in table {
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
