//! A token endpoint that is away, for less and for more than a token lives.

use std::time::Duration;

use postrider_sandbox::{imap::Scope, token_endpoint::TokenTrouble};

use super::{RIGHT, Scene, client_id};

/// Half of it is the time to a refresh.
const LIFE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_noticed_by_nobody_while_the_token_lives_and_costs_one_request_after_it() {
    let mut scene = Scene::new().await;
    let names: Vec<String> = (0..4).map(|n| format!("shared{n}")).collect();
    scene.with_secret("shared", RIGHT);
    scene.change("shared", |config| config.lifetime = LIFE);
    for name in &names {
        scene.share("shared", name);
    }
    scene.start();
    scene.world.expect_watching(names.len() + 2).await;
    let watched = |scene: &Scene| names.iter().all(|name| scene.state(name) == "watching");
    let client = client_id("shared");
    assert_eq!(scene.asked("shared").len(), 1, "one token for all");

    // The refresh fails, and the token that is there does.
    let broken = TokenTrouble::Html(503);
    scene.tokens.set_trouble_of(&client, broken).unwrap();
    scene
        .expect("the refresh failed", |scene| {
            scene.asked("shared").len() > 1
        })
        .await;
    scene.deliver_to_all();
    scene.world.expect_all().await;
    assert!(watched(&scene), "{}", scene.world.log());
    scene.assert_log("shared", "no new tokens for now");

    // Now it ends, and every session with it.
    scene
        .expect("the token has ended", |scene| {
            names.iter().all(|name| scene.state(name) != "watching")
        })
        .await;
    assert_eq!(scene.state("box0"), "watching");
    scene.deliver_to_all();
    assert!(scene.events("credential.refused", "shared").is_empty());
    let in_vain = scene.asked("shared").len();
    assert!(
        in_vain < 20,
        "{in_vain} requests while the endpoint was away"
    );

    scene
        .tokens
        .set_trouble_of(&client, TokenTrouble::None)
        .unwrap();
    scene.world.expect_watching(names.len() + 2).await;
    scene.world.expect_all().await;
    // A life may have passed once more meanwhile.
    let granted = scene.granted("shared");
    assert!(granted <= 3, "{granted} tokens for one outage");
    assert_eq!(scene.tokens.counters().in_flight_max, 1);
    let counters = scene.world.server.counters(Scope::Server);
    assert!(counters.logins >= 10, "{counters:?}");
    scene.world.expect_account().await;
}
