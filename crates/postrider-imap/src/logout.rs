//! Leaving in order. What the server answers, or whether it does, changes nothing any more.

use crate::conversation::{Conversation, ignore, within};

pub(crate) async fn run(conversation: &mut Conversation) {
    let deadline = conversation.deadlines.logout;
    let left = within(deadline, "logging out", async {
        // The server says BYE, and then a tagged OK that nobody needs.
        let bye = conversation.command("LOGOUT", "LOGOUT", ignore).await;
        conversation.shutdown().await;
        bye
    })
    .await;
    drop(left);
    conversation.close();
}
