//! The messages.

use std::collections::HashSet;

use postrider_sandbox::mail::{Odd, message_id, plain};

#[test]
fn plain_messages_have_the_size_that_was_asked_for() {
    for bytes in [600, 601, 1024, 5000, 100_000] {
        let mail = plain(7, bytes);
        assert_eq!(mail.len(), bytes);
        let text = String::from_utf8(mail).unwrap();
        assert!(text.contains(&format!("Message-ID: {}\r\n", message_id(7))));
        assert!(text.contains("\r\n\r\n"));
    }
}

#[test]
fn odd_messages_are_what_their_names_say_and_differ() {
    let all: HashSet<Vec<u8>> = Odd::ALL.iter().map(|odd| odd.make(9)).collect();
    assert_eq!(all.len(), Odd::ALL.len());
    assert!(
        Odd::EightBitHeaders
            .make(1)
            .windows(4)
            .any(|w| w == b"Gr\xfc\xdf")
    );
    assert!(Odd::NulBytes.make(1).contains(&0));
    assert!(Odd::NoHeaders.make(1).starts_with(b"\r\n"));
    assert!(Odd::HugeHeader.make(1).len() > 1024 * 1024);
    assert!(Odd::Large.make(1).len() >= 50 * 1024 * 1024);
    let parts = String::from_utf8(Odd::ManyParts.make(1)).unwrap();
    assert_eq!(parts.matches("--p\r\n").count(), 5000);
    let nested = String::from_utf8(Odd::DeepNesting.make(1)).unwrap();
    assert_eq!(nested.matches("message/rfc822").count(), 30);
}
