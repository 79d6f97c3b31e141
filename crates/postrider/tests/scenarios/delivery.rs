//! The receiver is in trouble: nothing is lost, nothing becomes a dead letter, and everything
//! arrives within seconds of its recovery.

use std::time::Duration;

use postrider_sandbox::receiver::{Answer, Behaviour};

use crate::{
    repair::audit,
    world::{Settings, World},
};

const RECOVERY: Duration = Duration::from_secs(20);

async fn trouble_for_a_while(behaviour: Behaviour) {
    let world = World::watching(Settings::default()).await;
    world.burst(0, 3);
    world.expect_all().await;
    world.receiver.set(behaviour);
    world.burst(0, 20);
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.receiver.set(Behaviour::Accept);
    world.burst(0, 1);
    world.expect_all_within(RECOVERY).await;
    world.expect_account().await;
    assert_eq!(
        world
            .metric("postrider_outbox_events{endpoint=\"tickets\",state=\"dead\"}")
            .await,
        0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_500_gets_everything_when_it_recovers() {
    trouble_for_a_while(Behaviour::status(500)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_that_answers_401_condemns_nothing() {
    trouble_for_a_while(Behaviour::status(401)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_deploy_that_answers_404_condemns_nothing() {
    trouble_for_a_while(Behaviour::status(404)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_closes_after_the_full_request_gets_repeats_with_the_same_id() {
    trouble_for_a_while(Behaviour::CloseUnanswered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_gets_everything_when_it_is_back() {
    let world = World::watching(Settings::default()).await;
    world.receiver.down().await;
    world.burst(0, 30);
    world
        .expect("the breaker open", |world| {
            world
                .ask(&["endpoints", "list"])
                .is_ok_and(|json| json["endpoints"][0]["state"] == "open")
        })
        .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    world.receiver.up().await.unwrap();
    world.expect_all_within(RECOVERY).await;
    world.expect_account().await;
    assert_eq!(world.receiver.repeats(), 0, "nothing had arrived before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receivers_clock_that_is_off_is_told_in_metrics_and_log() {
    let world = World::watching(Settings::default()).await;
    world.receiver.set(Behaviour::Answer(Answer {
        status: 204,
        headers: vec![(
            "date".to_owned(),
            "Wed, 21 Oct 2015 07:28:00 GMT".to_owned(),
        )],
        body: String::new(),
    }));
    world.deliver(0);
    world.expect_all().await;
    let metric = "postrider_webhook_clock_skew_seconds{endpoint=\"tickets\"}";
    let years = 10.0 * 365.0 * 86_400.0;
    assert!(world.metric(metric).await > years);
    assert!(world.log().contains("ahead of the endpoint's"));
    world.receiver.set(Behaviour::Accept);
    world.deliver(0);
    world.expect_all().await;
    assert_eq!(world.metric(metric).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_disables_itself_stays_paused_over_a_kill_until_an_operator_resumes_it() {
    let mut world = World::watching(Settings::default()).await;
    world.receiver.set(Behaviour::Answer(Answer {
        status: 410,
        headers: vec![("webhook-delivery".to_owned(), "disable".to_owned())],
        body: String::new(),
    }));
    world.deliver(0);
    world
        .expect("the pause in the audit", |world| {
            let rows = audit(world);
            rows.iter().any(|row| {
                row["what"] == "pause endpoint" && row["through"] == "webhook-delivery: disable"
            })
        })
        .await;
    world.receiver.set(Behaviour::Accept);
    world.kill();
    world.start();
    world.expect_watching(world.users.len()).await;
    world.deliver(0);
    world
        .expect("both waiting at a paused endpoint", |world| {
            world.ask(&["endpoints", "list"]).is_ok_and(|json| {
                let endpoint = &json["endpoints"][0];
                endpoint["state"] == "paused" && endpoint["pending"] == 2
            })
        })
        .await;
    assert!(world.arrived().is_empty());
    world.ask(&["endpoints", "resume", "tickets"]).unwrap();
    world.expect_all().await;
    world.expect_account().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_that_is_refused_does_not_stop_the_others() {
    let world = World::watching(Settings::default()).await;
    let refused = world.deliver(0);
    world.expect_all().await;
    let poison = world.next_number();
    let id = postrider_sandbox::mail::message_id(poison)
        .trim_matches(['<', '>'])
        .to_owned();
    let known = id.clone();
    world.receiver.when(
        move |request| request.json()["data"]["message"]["message_id"] == known.as_str(),
        Behaviour::status(413),
    );
    world.deliver_raw(0, poison, postrider_sandbox::mail::plain(poison, 500));
    world.burst(0, 20);
    world
        .expect("all but the refused one arrive", |world| {
            world.lost() == [id.clone()]
        })
        .await;
    let endpoints = world.ask(&["endpoints", "list"]).unwrap();
    assert_eq!(
        endpoints["endpoints"][0]["state"], "closed",
        "{endpoints:#}"
    );
    assert_eq!(
        endpoints["endpoints"][0]["dead"], 0,
        "refused once is not refused for good"
    );
    assert_eq!(endpoints["endpoints"][0]["pending"], 1);
    world.receiver.forget_rules();
    world.expect_all().await;
    world.expect_account().await;
    assert!(world.arrived().contains(&refused));
}
