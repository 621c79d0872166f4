//! What a message may be: the same rules for what users say and for what peers send.

use kith_common::chat::{
    Attachment, Draft, MAX_ATTACHMENTS, MAX_EMOJI_BYTES, MAX_MEMBERS, MAX_TEXT_BYTES, MAX_TITLE_CHARS,
};
use kith_common::failure::{Failure, FailureKind};
use kith_common::text::{clean_line, clean_text};
use kith_store::Body;

/// File systems allow 255 bytes.
pub(super) const MAX_FILE_NAME_CHARS: usize = 255;
/// Of all attachments of a message together: with the longest text still below the longest entry.
const MAX_TICKETS_BYTES: usize = 32 * 1024;

pub(super) fn attachments_fit(count: usize) -> bool {
    count <= MAX_ATTACHMENTS
}

pub(super) fn members_fit(count: usize) -> bool {
    count <= MAX_MEMBERS
}

/// Whether an entry is within the limits.
pub(super) fn fits(body: &Body) -> bool {
    match body {
        Body::Text { text, attachments, .. } => {
            let bytes = |attachment: &Attachment| attachment.ticket.len() + attachment.name.len();
            text.len() <= MAX_TEXT_BYTES
                && attachments_fit(attachments.len())
                && attachments.iter().map(bytes).sum::<usize>() <= MAX_TICKETS_BYTES
        }
        Body::Edit(text) => text.len() <= MAX_TEXT_BYTES,
        Body::React { emoji, .. } => (1..=MAX_EMOJI_BYTES).contains(&emoji.len()),
        Body::Group { title, members } => title.chars().count() <= MAX_TITLE_CHARS && members_fit(members.len()),
        Body::Delete | Body::Leave => true,
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

/// A text as it is kept.
pub(super) fn text(text: &str) -> Result<String, Failure> {
    let text = clean_text(text);
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the message has {} bytes, and at most {MAX_TEXT_BYTES} are sent", text.len());
        return Err(invalid(message).advise("Send it as a file, or in several messages."));
    }
    Ok(text)
}

/// What a user has typed, as it is said.
pub(super) fn draft(draft: Draft) -> Result<Body, Failure> {
    let text = text(&draft.text)?;
    if text.trim().is_empty() && draft.attachments.is_empty() {
        return Err(invalid("the message is empty").advise("Give a text, or something to attach."));
    }
    if !attachments_fit(draft.attachments.len()) {
        let message = format!("{} files at once are too many: at most {MAX_ATTACHMENTS}", draft.attachments.len());
        return Err(invalid(message).advise("Send them in several messages."));
    }
    let cleaned = |attachment: Attachment| Attachment {
        ticket: clean_line(&attachment.ticket, usize::MAX),
        name: clean_line(&attachment.name, MAX_FILE_NAME_CHARS),
        ..attachment
    };
    let attachments: Vec<Attachment> = draft.attachments.into_iter().map(cleaned).collect();
    if attachments.iter().any(|attachment| attachment.ticket.is_empty()) {
        return Err(invalid("an attachment without a ticket").advise("A ticket is what `kithctl files add` prints."));
    }
    let body = Body::Text { text, reply_to: draft.reply_to, attachments };
    if !fits(&body) {
        return Err(invalid("the tickets of the attachments are too long").advise("Send them in several messages."));
    }
    Ok(body)
}

pub(super) fn edit(new: &str) -> Result<Body, Failure> {
    let text = text(new)?;
    if text.trim().is_empty() {
        return Err(invalid("the new text is empty").advise("To take a message back, delete it."));
    }
    Ok(Body::Edit(text))
}

pub(super) fn reaction(emoji: &str, on: bool) -> Result<Body, Failure> {
    let body = Body::React { emoji: clean_line(emoji, usize::MAX), on };
    if !fits(&body) {
        return Err(invalid(format!("a reaction is one emoji of at most {MAX_EMOJI_BYTES} bytes")));
    }
    Ok(body)
}

pub(super) fn title(title: &str) -> Result<String, Failure> {
    let clean = clean_line(title, MAX_TITLE_CHARS + 1);
    if clean.is_empty() || clean.chars().count() > MAX_TITLE_CHARS {
        return Err(invalid(format!("the title of a group has 1 to {MAX_TITLE_CHARS} characters")));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, attachments: Vec<Attachment>) -> Draft {
        Draft { text: text.to_owned(), reply_to: None, attachments }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_in_words() {
        let file = |ticket: &str| Attachment { ticket: ticket.to_owned(), name: "a\nb".to_owned(), size_bytes: 1 };
        for (refused, word) in [
            (with(" \n", Vec::new()), "empty"),
            (with("\u{202e}\u{1b}", Vec::new()), "empty"),
            (with(&"x".repeat(10_000_000), Vec::new()), "10000000 bytes"),
            (with("x", vec![file("t"); 17]), "17 files"),
            (with("x", vec![file("\u{0}")]), "without a ticket"),
            (with("x", vec![file(&"t".repeat(40_000))]), "too long"),
        ] {
            let failure = draft(refused).expect_err("it cannot be sent");
            assert!(failure.message.contains(word), "{failure:?}");
            assert_eq!(failure.kind, FailureKind::InvalidArgument);
        }
        let Ok(Body::Text { attachments, .. }) = draft(with("", vec![file("t")])) else {
            panic!("a file alone will do")
        };
        assert_eq!(attachments[0].name, "a b");
        assert!(edit(" ").is_err() && reaction("\u{7}", true).is_err() && reaction(&"👍".repeat(20), true).is_err());
        assert!(title("\n").is_err() && title(&"x".repeat(65)).is_err() && title(&"x".repeat(64)).is_ok());
    }
}
