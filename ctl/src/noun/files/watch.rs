//! `files watch`: transfers, offers and uploads as they change.

use std::collections::BTreeMap;

use kith_common::client::Client;
use kith_common::file::{FilesState, Offer, Transfer, TransferState, Upload};
use serde_json::Value;

use super::show;
use crate::harmless::line;
use crate::output::{Output, ReaderGone, name};
use crate::session::interrupt::Interrupt;
use crate::stop::Stop;

pub async fn run(client: &Client, output: &Output) -> Result<(), Stop> {
    let mut feed = client.watch_files().await?;
    let mut interrupt = Interrupt::new()?;
    let mut known = Known::default();
    loop {
        let Some(state) = interrupt.or_next(&mut feed).await? else { return Ok(()) };
        let news = known.news(state.clone());
        let shown = if output.is_live() {
            output.redraw("\x1b[H\x1b[2J");
            output.text(&show::everything(&state))
        } else {
            news.iter().try_for_each(|news| {
                output.row(&news.row())?;
                news.text().map_or(Ok(()), |text| output.text(&text))
            })
        };
        if shown == Err(ReaderGone) {
            return Ok(());
        }
    }
}

#[derive(Debug, PartialEq)]
enum News {
    /// The state that it had before; `None` for a new one.
    Transfer(Transfer, Option<TransferState>),
    Gone(Transfer),
    Offer(Offer),
    /// Taken, refused or withdrawn.
    OfferGone(Offer),
    Upload(Upload),
    UploadEnded(Upload),
}

impl News {
    fn row(&self) -> Value {
        let (mut row, event) = match self {
            Self::Transfer(transfer, _) => (show::transfer_row(transfer), "transfer"),
            Self::Gone(transfer) => (show::transfer_row(transfer), "gone"),
            Self::Offer(offer) => (show::offer_row(offer), "offer"),
            Self::OfferGone(offer) => (show::offer_row(offer), "offer_gone"),
            Self::Upload(upload) => (show::upload_row(upload), "upload"),
            Self::UploadEnded(upload) => (show::upload_row(upload), "upload_ended"),
        };
        row["event"] = event.into();
        row
    }

    /// For people who do not look at a terminal: what they would want to be told of.
    fn text(&self) -> Option<String> {
        match self {
            Self::Transfer(transfer, before) if *before != Some(transfer.state) => {
                let remark = show::remark(transfer);
                let remark = if remark.is_empty() { remark } else { format!(": {remark}") };
                Some(format!("{}  {}  {}{remark}", transfer.id, show::title(transfer), name(transfer.state)))
            }
            Self::Gone(transfer) => Some(format!("{}  {}  is not listed any more", transfer.id, show::title(transfer))),
            Self::Offer(offer) => {
                let (who, what) = (show::who(&offer.peer, &offer.name), line(&offer.file_name));
                Some(format!(
                    "{who} offers {what} ({}): kithctl files accept {}",
                    show::bytes(offer.size_bytes),
                    offer.id
                ))
            }
            Self::OfferGone(offer) => {
                let (who, what) = (show::who(&offer.peer, &offer.name), line(&offer.file_name));
                Some(format!("{what} of {who} is not offered any more"))
            }
            Self::UploadEnded(upload) => Some(format!(
                "{} fetches {} no longer: {} sent",
                show::who(&upload.peer, &upload.name),
                show::sent(upload),
                show::bytes(upload.sent_bytes)
            )),
            Self::Transfer(..) | Self::Upload(_) => None,
        }
    }
}

/// What has been told.
#[derive(Default)]
struct Known {
    transfers: BTreeMap<u32, Transfer>,
    offers: Vec<Offer>,
    uploads: Vec<Upload>,
}

impl Known {
    /// What is new or different.
    fn news(&mut self, state: FilesState) -> Vec<News> {
        let mut news = Vec::new();
        let before = std::mem::take(&mut self.transfers);
        for transfer in state.transfers {
            match before.get(&transfer.id) {
                Some(known) if *known == transfer => {}
                known => news.push(News::Transfer(transfer.clone(), known.map(|known| known.state))),
            }
            self.transfers.insert(transfer.id, transfer);
        }
        news.extend(before.into_values().filter(|known| !self.transfers.contains_key(&known.id)).map(News::Gone));
        let offered = std::mem::replace(&mut self.offers, state.offers);
        let among = |offers: &[Offer], offer: &Offer| offers.iter().any(|other| other.id == offer.id);
        news.extend(self.offers.iter().filter(|offer| !among(&offered, offer)).cloned().map(News::Offer));
        news.extend(offered.into_iter().filter(|offer| !among(&self.offers, offer)).map(News::OfferGone));
        let sent = std::mem::replace(&mut self.uploads, state.uploads);
        news.extend(self.uploads.iter().filter(|upload| !sent.contains(upload)).cloned().map(News::Upload));
        let which = |upload: &Upload| (upload.peer, upload.hash, upload.sealed);
        let goes_on = |ended: &Upload| self.uploads.iter().any(|upload| which(upload) == which(ended));
        news.extend(sent.into_iter().filter(|upload| !goes_on(upload)).map(News::UploadEnded));
        news
    }
}

#[cfg(test)]
mod tests {
    use super::show::tests::{offer, transfer};
    use super::*;

    #[test]
    fn a_watch_reports_what_is_new_and_different_once() {
        let mut known = Known::default();
        let state = FilesState {
            transfers: vec![transfer(TransferState::Searching)],
            offers: vec![offer()],
            ..FilesState::default()
        };
        let news = known.news(state.clone());
        assert_eq!(news.iter().map(|news| news.row()["event"].clone()).collect::<Vec<_>>(), ["transfer", "offer"]);
        assert!(known.news(state.clone()).is_empty());
        let fetching = FilesState { transfers: vec![transfer(TransferState::Fetching)], ..state.clone() };
        let news = known.news(fetching);
        assert_eq!(news, [News::Transfer(transfer(TransferState::Fetching), Some(TransferState::Searching))]);
        assert!(news[0].text().is_some_and(|text| text.starts_with("3  a.bin  fetching: 120.0 MB/s")));
        let more = Transfer { done_bytes: 2_300_000_000, ..transfer(TransferState::Fetching) };
        let news = known.news(FilesState { transfers: vec![more], ..state });
        assert_eq!(news.iter().map(News::text).collect::<Vec<_>>(), [None]);
        assert!(matches!(known.news(FilesState::default())[..], [News::Gone(_), News::OfferGone(_)]));
    }

    #[test]
    fn a_watch_says_that_an_offer_went_and_an_upload_ended() {
        let upload = Upload {
            peer: offer().peer,
            name: "ada".into(),
            hash: offer().hash,
            file_name: "a.bin".into(),
            sent_bytes: 1000,
            bytes_per_second: 5,
            path: None,
            sealed: false,
        };
        let of = |sent_bytes| FilesState {
            offers: vec![offer()],
            uploads: vec![Upload { sent_bytes, ..upload.clone() }],
            ..FilesState::default()
        };
        let mut known = Known::default();
        known.news(of(1000));
        let events = |news: &[News]| news.iter().map(|news| news.row()["event"].clone()).collect::<Vec<_>>();
        assert_eq!(events(&known.news(of(2000))), ["upload"], "it goes on");
        let news = known.news(FilesState::default());
        assert_eq!(events(&news), ["offer_gone", "upload_ended"]);
        let said: Vec<String> = news.iter().filter_map(News::text).collect();
        assert_eq!(said, ["b.bin of ada is not offered any more", "ada fetches a.bin no longer: 2 kB sent"]);
    }
}
