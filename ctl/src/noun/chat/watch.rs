//! `chat watch`: every message that comes or changes, a line each. A daemon that restarts is waited for, and asked for
//! everything since the cursor that was reached, so that nothing is skipped.

use std::path::Path;
use std::time::Duration;

use kith_common::chat::{ConversationId, Message};
use kith_common::client::Client;

use super::show::{Names, one_line, row};
use crate::output::{Output, ReaderGone};
use crate::session::interrupt::Interrupt;
use crate::stop::{Exit, Stop};

/// How often a daemon that has gone is looked for.
const LOOK: Duration = Duration::from_millis(250);

pub async fn run(client: &Client, socket: &Path, after: Option<u64>, output: &Output) -> Result<(), Stop> {
    let mut interrupt = Interrupt::new()?;
    let mut client = client.clone();
    let mut cursor = after;
    loop {
        let stop = match follow(&client, &mut cursor, &mut interrupt, output).await {
            Err(stop) if stop.exit == Exit::NoDaemon => stop,
            over => return over,
        };
        tracing::debug!(message = stop.message, "lost the daemon");
        output.note("kithctl: the daemon has gone; this goes on when it is back.");
        client = tokio::select! {
            back = back(socket) => back?,
            () = interrupt.asked() => return Ok(()),
        };
    }
}

async fn back(socket: &Path) -> Result<Client, Stop> {
    loop {
        match Client::connect(socket).await.map_err(Stop::from) {
            Err(stop) if stop.exit == Exit::NoDaemon => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

/// Ends when somebody asks for it, nobody reads any more, or the daemon goes; `cursor` is then how far it came.
async fn follow(
    client: &Client,
    cursor: &mut Option<u64>,
    interrupt: &mut Interrupt,
    output: &Output,
) -> Result<(), Stop> {
    let after = match *cursor {
        Some(cursor) => cursor,
        None => newest(client).await?,
    };
    *cursor = Some(after);
    let mut names = if output.is_json() { Names::default() } else { Names::load(client).await? };
    let mut feed = client.watch_messages(after).await?;
    loop {
        let Some((messages, reached)) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        if !output.is_json() && messages.iter().any(|message| is_strange(message, &names)) {
            names = Names::load(client).await?;
        }
        let shown = messages.iter().try_for_each(|message| {
            output.row(&row(message))?;
            output.text(&one_line(message, &names))
        });
        if shown == Err(ReaderGone) {
            return Ok(());
        }
        *cursor = Some(reached);
    }
}

/// The cursor of what has changed last.
async fn newest(client: &Client) -> Result<u64, Stop> {
    let conversations = client.conversations().await?;
    let cursors = conversations
        .iter()
        .flat_map(|conversation| [conversation.cursor, conversation.last.as_ref().map_or(0, |message| message.cursor)]);
    Ok(cursors.max().unwrap_or(0))
}

/// Somebody who has become a contact since the names were read.
fn is_strange(message: &Message, names: &Names) -> bool {
    let other = match message.conversation {
        ConversationId::Peer(peer) => Some(peer),
        ConversationId::Group(_) => None,
    };
    !names.knows(&message.author) || other.is_some_and(|peer| !names.knows(&peer))
}
