//! Waiting for the server to announce something: IDLE (RFC 2177) with an absolute end, or polling
//! where IDLE is missing, refused or not to be trusted. A wake-up is a hint; the survey is the truth.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use tokio::time::{Duration, Instant, sleep_until};

use crate::{
    conversation::{Conversation, IdleTrust, ignore, within},
    error::{Breach, Error},
    parse::{
        Response,
        status::{Condition, Status},
    },
};

/// A server that ends IDLE of itself sooner than this, so many times in a row, is polled instead.
const ENDED_EARLY: Duration = Duration::from_secs(10);
const ENDED_EARLY_TIMES: u8 = 3;

#[derive(Debug, PartialEq, Eq)]
pub enum WaitEnd<T> {
    /// The number of messages changed, or the server ended IDLE of itself: survey.
    Changed,
    /// The time is up, and the server answered that nothing changed.
    Elapsed,
    /// What the interrupt gave. Where ending IDLE failed, the session is closed, and the next call
    /// says so.
    Interrupted(T),
}

/// Why the inner wait ended.
enum End<T> {
    Changed,
    Elapsed,
    Interrupted(T),
    /// The tagged reply came without our DONE.
    ByServer(Status),
}

/// Only listening is part of this future, which lives as long as the session waits; the turns of
/// the conversation around it are boxed.
pub(crate) async fn run<T>(
    conversation: &mut Conversation,
    until: Instant,
    interrupt: impl Future<Output = T>,
) -> Result<WaitEnd<T>, Error> {
    let mut interrupt = pin!(interrupt);
    if conversation.changed {
        return Ok(WaitEnd::Changed);
    }
    let idles = conversation.capabilities.idle
        && matches!(conversation.idle, IdleTrust::Trusted { .. })
        && Box::pin(begin_idle(conversation)).await?;
    let began = Instant::now();
    let end = attend(conversation, until, interrupt.as_mut()).await?;
    let ending = match &end {
        End::ByServer(status) => ended_by_server(conversation, status.clone(), began),
        End::Changed | End::Elapsed | End::Interrupted(_) if idles => {
            conversation.idle = IdleTrust::Trusted { ended_early: 0 };
            Box::pin(done(conversation)).await
        }
        End::Changed | End::Elapsed | End::Interrupted(_) => Ok(()),
    };
    match (end, ending) {
        (End::Interrupted(value), ending) => {
            // What interrupted is not lost with the connection.
            if ending.is_err_and(|error| !error.usable()) {
                conversation.close();
            }
            Ok(WaitEnd::Interrupted(value))
        }
        (_, Err(error)) => Err(error),
        (End::Changed | End::ByServer(_), Ok(())) => Ok(WaitEnd::Changed),
        (End::Elapsed, Ok(())) => Box::pin(poll(conversation)).await,
    }
}

/// Whether the server now idles; after a refusal it is polled.
async fn begin_idle(conversation: &mut Conversation) -> Result<bool, Error> {
    within(conversation.deadlines.command, "beginning IDLE", async {
        conversation.begin_text("IDLE").await?;
        loop {
            match conversation.response().await? {
                Response::Continue(_) => return Ok(true),
                Response::Tagged { status, .. } => {
                    conversation.idle = IdleTrust::Polling;
                    return match conversation.end("IDLE", status) {
                        Ok(_) | Err(Error::Refused { .. }) => Ok(false),
                        Err(error) => Err(error),
                    };
                }
                Response::Untagged(_) | Response::Skipped(_) => {}
                Response::Bare(line) => return Err(Response::stray(&line).into()),
            }
        }
    })
    .await
}

/// Listens, in IDLE or out of it. What the server says besides is a sign of life and no more.
async fn attend<T>(
    conversation: &mut Conversation,
    until: Instant,
    mut interrupt: Pin<&mut impl Future<Output = T>>,
) -> Result<End<T>, Error> {
    let mut elapsed = pin!(sleep_until(until));
    loop {
        // Also what came before the `+`.
        if conversation.changed {
            return Ok(End::Changed);
        }
        tokio::select! {
            biased;
            value = interrupt.as_mut() => return Ok(End::Interrupted(value)),
            response = conversation.response() => match response? {
                Response::Tagged { status, .. } => return Ok(End::ByServer(status)),
                Response::Untagged(_) | Response::Skipped(_) | Response::Continue(_) => {}
                Response::Bare(line) => return Err(Response::stray(&line).into()),
            },
            () = elapsed.as_mut() => return Ok(End::Elapsed),
        }
    }
}

/// Ends IDLE. What is announced on the way to the tagged OK is noted for the next wait.
async fn done(conversation: &mut Conversation) -> Result<(), Error> {
    within(conversation.deadlines.done, "ending IDLE", async {
        conversation.send(b"DONE\r\n").await?;
        loop {
            match conversation.response().await? {
                Response::Tagged { status, .. } => {
                    return match conversation.end("IDLE", status) {
                        Ok(_) => Ok(()),
                        Err(Error::Refused { .. }) => {
                            conversation.idle = IdleTrust::Polling;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    };
                }
                Response::Untagged(_) | Response::Skipped(_) | Response::Continue(_) => {}
                Response::Bare(line) => return Err(Response::stray(&line).into()),
            }
        }
    })
    .await
}

/// OK, NO and BAD all end IDLE; one that always does so at once is not used again.
fn ended_by_server(
    conversation: &mut Conversation,
    status: Status,
    began: Instant,
) -> Result<(), Error> {
    let refused = status.condition != Condition::Ok;
    let before = match conversation.idle {
        IdleTrust::Trusted { ended_early } => ended_early,
        // No command was in flight.
        IdleTrust::Polling => return Err(Breach::ForeignTag.into()),
    };
    let early = before + 1;
    conversation.idle = if refused || (began.elapsed() < ENDED_EARLY && early >= ENDED_EARLY_TIMES)
    {
        IdleTrust::Polling
    } else if began.elapsed() < ENDED_EARLY {
        IdleTrust::Trusted { ended_early: early }
    } else {
        IdleTrust::Trusted { ended_early: 0 }
    };
    match conversation.end("IDLE", status) {
        Ok(_) | Err(Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Asks whether there is something new: for polling, and because some servers tell it only then.
async fn poll<T>(conversation: &mut Conversation) -> Result<WaitEnd<T>, Error> {
    conversation.command("NOOP", "NOOP", ignore).await?;
    Ok(if conversation.changed {
        WaitEnd::Changed
    } else {
        WaitEnd::Elapsed
    })
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::{
        server::{Deadlines, IdleUse},
        stream::Stream,
    };

    #[tokio::test]
    async fn a_waiting_session_is_small() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let deadlines = Deadlines::default();
        let mut session = Conversation::new(Stream::Plain(tcp), deadlines, IdleUse::Auto);
        let wait = run(&mut session, Instant::now(), ready(()));
        let size = size_of_val(&wait) + size_of::<Conversation>();
        assert!(size <= 1024, "{size} bytes");
    }
}
