//! A complete event, made from a fixed mail by the code that makes the real ones: what the
//! documents show.

use std::collections::BTreeMap;

use postrider_core::{
    event::{EventType, Identity},
    ids::{Uid, UidValidity},
    message::{self, ParseLimits},
    time::Wall,
};

use super::{MailboxRef, MessageContext, RenderInput, message_data, render};

const MAIL: &str = "Received: from mail.example.org (mail.example.org [192.0.2.7])\r\n\
\tby mx.contoso.example with ESMTPS; Thu, 25 Apr 2024 16:00:02 +0000\r\n\
Authentication-Results: mx.contoso.example; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org;\r\n \
dmarc=pass header.from=example.org\r\n\
Delivered-To: support@contoso.example\r\n\
Message-ID: <20240425180000.1@example.org>\r\n\
In-Reply-To: <20240424090000.7@contoso.example>\r\n\
References: <20240423080000.1@example.org>\r\n <20240424090000.7@contoso.example>\r\n\
Date: Thu, 25 Apr 2024 18:00:00 +0200\r\n\
From: =?utf-8?Q?J=C3=B6rg_M=C3=BCller?= <joerg@example.org>\r\n\
To: Support <support@contoso.example>\r\n\
Subject: Re: Printer on the =?utf-8?Q?2=E2=81=BF=E1=B5=88?= floor\r\n\
MIME-Version: 1.0\r\n\
Content-Type: multipart/mixed; boundary=\"outer\"\r\n\
\r\n\
--outer\r\n\
Content-Type: multipart/alternative; boundary=\"inner\"\r\n\
\r\n\
--inner\r\n\
Content-Type: text/plain; charset=utf-8\r\n\
\r\n\
It prints again. Log attached.\r\n\
--inner\r\n\
Content-Type: text/html; charset=utf-8\r\n\
\r\n\
<p>It prints again. <b>Log</b> attached.</p>\r\n\
--inner--\r\n\
--outer\r\n\
Content-Type: text/x-log; name=\"printer.log\"\r\n\
Content-Disposition: attachment; filename=\"printer.log\"\r\n\
Content-Transfer-Encoding: base64\r\n\
\r\n\
b2sK\r\n\
--outer--\r\n";

/// The body of a `message.received` event, indented for reading.
pub fn sample() -> String {
    let message = message::parse(MAIL.as_bytes(), &ParseLimits::default());
    let internal_date = Wall::from_seconds(1_714_060_802);
    let fingerprint = message::fingerprint(MAIL.as_bytes(), Some(internal_date));
    let labels = BTreeMap::from([("team".to_owned(), "helpdesk".to_owned())]);
    let uid_validity = UidValidity(1_714_000_000);
    let uid = Uid(std::num::NonZeroU32::MIN.saturating_add(4710));
    let context = MessageContext {
        mailbox: MailboxRef {
            id: "support",
            address: "support@contoso.example",
            labels: &labels,
        },
        folder: "INBOX",
        uid,
        uid_validity,
        internal_date: Some(internal_date),
        size: MAIL.len() as u64,
        flags: &[],
        server_folder: "INBOX",
        gmail: None,
        fingerprint,
        trusted_authserv_id: Some("mx.contoso.example"),
    };
    let identity = Identity {
        instance: "prod".into(),
        mailbox: "support".into(),
        folder: "INBOX".into(),
        uid_validity,
        uid,
        fingerprint,
        internal_date: Some(internal_date),
    };
    let data = message_data(&context, &message, 64 << 10);
    let body = render(&RenderInput {
        id: identity.id(0),
        event_type: EventType::MessageReceived,
        instance: "prod",
        mailbox: Some("support"),
        subject: "INBOX/1714000000/4711",
        time: internal_date,
        stored_at: Wall(1_714_060_802_418),
        data: &data.json,
        sequence: 128,
        attempt: 1,
        first_attempt_at: Some(Wall(1_714_060_802_421)),
        replay: None,
        stepped_aside: false,
        when_failed: false,
        test: false,
    });
    indent(&String::from_utf8_lossy(&body))
}

/// Indents valid JSON, keeping the order of its keys.
fn indent(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            _ if quoted => {
                out.push(c);
                quoted = escaped || c != '"';
                escaped = !escaped && c == '\\';
            }
            '"' => {
                out.push(c);
                quoted = true;
            }
            '{' | '[' => {
                out.push(c);
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out.push('\n');
    out
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}
