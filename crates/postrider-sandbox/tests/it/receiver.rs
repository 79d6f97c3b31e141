//! The receiver.

use std::time::Duration;

use postrider_sandbox::receiver::{Behaviour, Outcome, Receiver};
use standardwebhooks::Webhook;
use time::OffsetDateTime;

use crate::post::post;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER: &str = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// Sends an event and returns the status of the answer.
async fn send(receiver: &Receiver, secret: &str, id: &str, at: OffsetDateTime) -> Option<u16> {
    let body = format!("{{\"id\":\"{id}\"}}");
    let webhook = Webhook::new(secret).unwrap();
    let signature = webhook
        .sign(id, at.unix_timestamp(), body.as_bytes())
        .unwrap();
    let headers = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.unix_timestamp().to_string()),
        ("webhook-signature", format!("v1,bm9ib2R5 {signature}")),
    ];
    let answered = post(receiver.address(), "/hook", &headers, &body).await?;
    Some(answered.status)
}

#[tokio::test]
async fn what_is_signed_is_kept_and_repeats_are_counted() {
    let receiver = Receiver::start(SECRET).await.unwrap();
    let now = OffsetDateTime::now_utc();
    for id in ["a", "b", "a"] {
        assert_eq!(send(&receiver, SECRET, id, now).await, Some(204));
    }
    assert!(receiver.wait_for(2, Duration::ZERO).await);
    assert!(!receiver.wait_for(3, Duration::from_millis(10)).await);
    assert_eq!(receiver.distinct_ids(), 2);
    assert_eq!(receiver.repeats(), 1);
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    assert_eq!(received[1].json()["id"], "b");
    // The specification's own library agrees about the signature.
    let webhook = Webhook::new(SECRET).unwrap();
    webhook
        .verify(&received[0].body, &received[0].headers)
        .unwrap();
}

#[tokio::test]
async fn what_is_not_signed_by_a_known_secret_or_is_old_is_turned_away() {
    let receiver = Receiver::start(SECRET).await.unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(send(&receiver, OTHER, "a", now).await, Some(401));
    let old = now - Duration::from_secs(301);
    assert_eq!(send(&receiver, SECRET, "a", old).await, Some(401));
    let rejections = receiver.rejections();
    assert_eq!(
        rejections,
        [
            "webhook-signature is wrong",
            "webhook-timestamp is too far from now"
        ]
    );
    assert_eq!(receiver.attempt_count(), 0);
    receiver.set_secrets(&[SECRET, OTHER]).unwrap();
    assert_eq!(send(&receiver, OTHER, "a", now).await, Some(204));
}

#[tokio::test]
async fn it_breaks_in_every_way_and_comes_back() {
    let receiver = Receiver::start(SECRET).await.unwrap();
    let now = OffsetDateTime::now_utc();
    receiver.set(Behaviour::status(503));
    assert_eq!(send(&receiver, SECRET, "a", now).await, Some(503));
    receiver.set(Behaviour::CloseUnanswered);
    assert_eq!(send(&receiver, SECRET, "a", now).await, None);
    receiver.down().await;
    assert_eq!(send(&receiver, SECRET, "a", now).await, None);
    receiver.up().await.unwrap();
    receiver.set(Behaviour::Slow(Duration::from_millis(30)));
    receiver.when(|one| one.id == "big", Behaviour::status(413));
    assert_eq!(send(&receiver, SECRET, "big", now).await, Some(413));
    assert_eq!(send(&receiver, SECRET, "a", now).await, Some(204));
    let outcomes: Vec<Outcome> = receiver.attempts().iter().map(|one| one.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Refused(503),
            Outcome::Unanswered,
            Outcome::Refused(413),
            Outcome::Accepted
        ]
    );
    assert_eq!((receiver.distinct_ids(), receiver.repeats()), (1, 0));
}
