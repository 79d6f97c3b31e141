//! Answers that later requests need: all of them, or known not to be.

use std::time::Duration;

use postrider_core::delivery::Class;
use postrider_webhook::client::{Client, Sent};
use tokio::net::TcpStream;

use crate::{
    receiver::{self, hang, read_request, write},
    sending::{hook, send_with},
};

/// The body comes in two halves, the second one late or not at all.
async fn asked(needed: Option<usize>, rest: Option<&'static str>) -> Sent {
    let at = receiver::raw(move |mut stream: TcpStream| async move {
        read_request(&mut stream).await;
        write(
            &mut stream,
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[1",
        )
        .await;
        tokio::time::sleep(Duration::from_millis(2500)).await;
        if let Some(rest) = rest {
            write(&mut stream, rest).await;
            hang().await;
        }
    })
    .await;
    let settings = hook(at);
    let mut client = Client::new(&settings).unwrap();
    if let Some(bytes) = needed {
        client = client.answers_up_to(bytes);
    }
    send_with(&client, &settings.url).await
}

fn told(sent: &Sent) -> (bool, &[u8]) {
    assert_eq!(sent.attempt.class(), Class::Delivered, "{sent:?}");
    let answer = sent.answer.as_ref().unwrap();
    (answer.whole, &answer.body)
}

#[tokio::test]
async fn a_late_answer_is_waited_for_where_it_is_needed_and_a_part_is_known_for_one() {
    let (whole, not_needed, too_long, ended) = tokio::join!(
        asked(Some(4), Some("2]")),
        asked(None, Some("2]")),
        asked(Some(3), Some("2]")),
        asked(Some(4), None),
    );
    assert_eq!(told(&whole), (true, &b"[12]"[..]));
    assert_eq!(told(&not_needed), (false, &b"[1"[..]));
    assert_eq!(told(&too_long), (false, &b"[12"[..]));
    assert_eq!(told(&ended), (false, &b"[1"[..]));
}
