//! What is asked of the daemon about calls that are over, and the feed that tells of them.

use kith_common::call::{CallRecord, LogQuery};
use kith_common::client::Client;
use kith_common::failure::Failure;
use kith_common::ids::CallId;
use tokio::sync::mpsc;

use super::{Event, News};

#[derive(Clone, PartialEq, Eq)]
pub enum Log {
    Page(LogQuery),
    Forget(CallId),
    /// All there are.
    Clear,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Whom it is about has no place in a log.
        match self {
            Self::Page(query) => write!(f, "Page({} bytes, {:?})", query.text.len(), query.before),
            Self::Forget(call) => write!(f, "Forget({call:?})"),
            Self::Clear => f.write_str("Clear"),
        }
    }
}

pub(super) async fn obey(client: &Client, log: Log) -> Result<News, Failure> {
    Ok(match log {
        Log::Page(query) => News::Calls(client.call_log(query).await?),
        Log::Forget(call) => client.forget_call(call).await.map(|()| News::Done)?,
        Log::Clear => client.clear_call_log(None).await.map(|_| News::Done)?,
    })
}

/// Follows the newest calls that are over; a refusal is told once.
pub(super) async fn follow(client: Client, events: mpsc::Sender<Event>) {
    let followed = async {
        let mut feed = client.watch_call_log().await?;
        while let Some(newest) = feed.next().await {
            let newest: Vec<CallRecord> = newest?;
            let _ = events.send(Event::CallLog(Ok(newest))).await;
        }
        Ok(())
    };
    if let Err(failure) = followed.await {
        let _ = events.send(Event::CallLog(Err(failure))).await;
    }
}
