//! Files: what is seen of them, what a press, a drop or a pasted ticket asks of the daemon, and where it is said that
//! something is.

use std::path::PathBuf;
use std::sync::Arc;

use kith::app::{Key, Place};
use kith::link::{Errand, Filing, Job, News, Talk};
use kith::mock::files::{self as shelf, SHARED, Shelf};
use kith::mock::talk::Talks;
use kith::screen::chat::{self, card};
use kith::screen::files::{self as screen, Filter, settings};
use kith_common::chat::ConversationId;
use kith_common::contact::{Contact, People};
use kith_common::file::{AddOptions, FileSettings, FilesState, ShareScope, TransferState};

use super::*;

/// A window and the scripted daemon, whose answers come at once.
struct Filed {
    window: Window,
    shelf: Shelf,
    talks: Talks,
    /// What was asked since the last time.
    asked: Vec<Filing>,
    said: Vec<Talk>,
}

impl Filed {
    fn new() -> Self {
        Self::at(Place::Files)
    }

    fn at(place: Place) -> Self {
        let (mut window, shelf, talks) = (Window::new(), Shelf::default(), Talks::default());
        window.hear(Event::People(Ok(talks.people.clone())));
        window.hear(Event::Conversations(Ok(talks.conversations())));
        window.hear(shelf.told());
        let _ = window.app.update(Message::Go(place));
        let mut filed = Self { window, shelf, talks, asked: Vec::new(), said: Vec::new() };
        filed.settle();
        filed.asked.clear();
        filed
    }

    /// Looking at a conversation.
    fn with(number: u8) -> Self {
        let mut filed = Self::at(Place::Chat);
        filed.chat(chat::Message::Show(ConversationId::Peer(mock::peer_id(number))));
        filed
    }

    fn settle(&mut self) {
        let Self { window, shelf, talks, asked, said } = self;
        window.settle(|command| match command {
            Command::Start(job, Errand::Files(filing)) => {
                let events = shelf.obey(job, &filing);
                asked.push(filing);
                events
            }
            Command::Start(job, Errand::Talk(talk)) => {
                let (news, events) = talks.obey(&talk);
                said.push(talk);
                std::iter::once(Event::News(job, news)).chain(events).collect()
            }
            Command::Cancel(job) => {
                shelf.cancel(job);
                Vec::new()
            }
            _ => Vec::new(),
        });
    }

    fn say(&mut self, message: screen::Message) {
        let _ = self.window.app.update(Message::Files(message));
        self.settle();
    }

    fn chat(&mut self, message: chat::Message) {
        let _ = self.window.app.update(Message::Chat(message));
        self.settle();
    }

    fn key(&mut self, key: Key) {
        let _ = self.window.app.update(Message::Key(key));
        self.settle();
    }

    fn drop_file(&mut self, path: &str) {
        let _ = self.window.app.update(Message::Dropped(path.into()));
        self.settle();
    }

    fn type_in(&mut self, text: &str) {
        self.say(screen::Message::Target(text.to_owned()));
    }

    fn click(&mut self, text: &str) -> Result<(), Error> {
        self.window.click(text)?;
        self.settle();
        Ok(())
    }

    /// A second passes at the daemon.
    fn second(&mut self) {
        let events = self.shelf.tick();
        events.into_iter().for_each(|event| self.window.hear(event));
        self.settle();
    }

    fn shows(&self, text: &str) -> bool {
        self.window.shows(text)
    }

    fn only(&mut self, change: impl FnOnce(&mut FilesState)) {
        change(&mut self.shelf.state);
        let told = self.shelf.told();
        self.window.hear(told);
        self.settle();
    }

    fn adds(&self) -> Vec<(&PathBuf, &AddOptions)> {
        self.asked
            .iter()
            .filter_map(|filing| match filing {
                Filing::Add(path, options) => Some((path, options)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_transfer_says_how_far_it_is_who_gives_it_and_who_lied() {
    let filed = Filed::new();
    for seen in [
        "Offered to you",
        "engine-drawings",
        "Ada Lovelace · Folder with 48 files · 1.2 GB · 5 min ago",
        "apollo-11-listings.tar",
        "1.2 GB of 5.0 GB · 23 % · 57.6 MB/s · 1 min 6 s left",
        "47.3 MB/s",
        "LAN",
        "Relayed",
        "Mallory",
        "sent something else than the file; nothing of that was kept",
        "Into /home/grace/Downloads",
    ] {
        assert!(filed.shows(seen), "{seen}");
    }
}

#[test]
fn what_does_not_go_on_says_why_and_what_to_do() {
    let mut filed = Filed::new();
    filed.only(|state| {
        state.offers.clear();
        state.transfers.retain(|transfer| matches!(transfer.state, TransferState::Paused | TransferState::Failed));
    });
    for seen in [
        "The disk of /home/grace/Downloads is full: 4.4 GB more are needed.",
        "Make room and press Resume.",
        "Dennis Ritchie does not share it with you.",
    ] {
        assert!(filed.shows(seen), "{seen}");
    }
}

#[test]
fn the_full_path_of_what_has_arrived_stands_last_and_can_be_copied() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.only(|state| {
        state.offers.clear();
        state.transfers = vec![shelf::finished()];
    });
    let path = "/home/grace/Downloads/apollo-11-listings (1).tar";
    assert!(filed.shows(path) && filed.shows("Open folder") && filed.shows("Arrived"));
    assert!(filed.shows("5.0 GB in 1:27, 57.6 MB/s · from Ada Lovelace, Alan Turing and Katherine Johnson"));
    assert!(filed.shows("Mallory"), "and who lied is still named");
    filed.click("Copy path")?;
    assert!(filed.shows("Copied"));
    Ok(())
}

#[test]
fn a_folder_that_cannot_be_opened_is_a_sentence_where_it_was_asked() {
    let mut filed = Filed::new();
    let failure = Failure::new(FailureKind::NotFound, "the folder /x is not there any more").advise("It was moved.");
    let _ = filed.window.app.update(Message::Revealed(Err(failure)));
    assert!(filed.shows("The folder /x is not there any more.") && filed.shows("It was moved."));
}

#[test]
fn pausing_resuming_and_going_first_are_asked_of_the_daemon() {
    let mut filed = Filed::new();
    for (message, asked) in [
        (screen::Message::Pause(1), Filing::Pause(1)),
        (screen::Message::Resume(2), Filing::Resume(2)),
        (screen::Message::First(4), Filing::First(4)),
    ] {
        filed.say(message);
        assert_eq!(filed.asked.pop(), Some(asked));
    }
    let transfers = &filed.shelf.state.transfers;
    assert_eq!(transfers[0].id, 4, "before all others");
}

#[test]
fn cancelling_what_has_begun_is_asked_before_it_is_deleted() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.say(screen::Message::Cancel(1));
    assert!(filed.asked.is_empty() && filed.shows("Cancel it and delete the 1.2 GB that are here?"));
    filed.click("Keep")?;
    assert!(filed.asked.is_empty() && !filed.shows("Delete"));
    filed.say(screen::Message::Cancel(1));
    filed.click("Delete")?;
    assert_eq!(filed.asked, [Filing::Cancel(1)]);
    assert!(!filed.shows("apollo-11-listings.tar"));
    // Of what is whole nothing is deleted.
    filed.say(screen::Message::Cancel(6));
    assert_eq!(filed.asked.last(), Some(&Filing::Cancel(6)));
    Ok(())
}

#[test]
fn an_offer_is_accepted_or_refused_where_it_stands() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.click("Accept")?;
    assert!(matches!(filed.asked[..], [Filing::Accept(1, _)]));
    assert!(filed.shows("engine-drawings") && filed.shows("Asking who has it… · 1.2 GB"), "a transfer now");
    filed.click("Refuse")?;
    assert!(matches!(filed.asked[..], [_, Filing::Refuse(2)]));
    assert!(!filed.shows("Offered to you"));
    Ok(())
}

#[test]
fn a_dropped_file_is_shared_where_it_is_and_its_ticket_is_at_hand() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.drop_file("/home/grace/thesis.pdf");
    assert_eq!(filed.adds(), [(&PathBuf::from("/home/grace/thesis.pdf"), &AddOptions::default())]);
    assert!(filed.shows("thesis.pdf") && filed.shows("Reading…"));
    filed.second();
    assert!(filed.shows("900.0 MB of 2.2 GB"));
    filed.second();
    filed.second();
    assert!(filed.shows("thesis.pdf is shared."));
    filed.click("Copy the ticket")?;
    assert!(filed.shows("Copied"));
    Ok(())
}

#[test]
fn many_that_are_dropped_at_once_are_all_shared() {
    let mut filed = Filed::new();
    for number in 0..70 {
        let _ = filed.window.app.update(Message::Dropped(format!("/srv/{number}").into()));
    }
    for _ in 0..3 * 70 {
        if filed.shelf.state.shares as usize == SHARED + 70 {
            break;
        }
        filed.second();
    }
    assert_eq!(filed.adds().len(), 70);
    assert_eq!(filed.shelf.state.shares as usize, SHARED + 70);
}

/// Jobs of files that are to be shared.
fn sharing(window: &mut Window) -> Vec<Job> {
    let jobs = window.asked().into_iter().filter_map(|command| match command {
        Command::Start(job, Errand::Files(Filing::Add(..))) => Some(job),
        _ => None,
    });
    jobs.collect()
}

#[test]
fn of_many_that_cannot_be_shared_one_is_told_and_all_are_counted() {
    let mut filed = Filed::new();
    for path in ["/x/1", "/x/2"] {
        let _ = filed.window.app.update(Message::Dropped(path.into()));
    }
    for job in sharing(&mut filed.window) {
        let failure = Failure::new(FailureKind::NotPermitted, "/x may not be read");
        filed.window.hear(Event::News(job, News::Failed(failure)));
    }
    assert!(filed.shows("2 were not shared; of the last: /x may not be read."));
}

#[test]
fn who_gets_what_was_just_shared_is_named() {
    for (scope, told) in [
        (ShareScope::Anyone, "Anyone who has its ticket gets it: send it to whoever is to have it."),
        (ShareScope::Contacts, "Your contacts get it, and nobody else. Send them its ticket."),
        (ShareScope::Peers, "Alan Turing gets it, and nobody else. It is offered to them."),
    ] {
        let mut filed = Filed::new();
        filed.say(screen::Message::Scope(scope));
        filed.say(screen::Message::With(mock::peer_id(2)));
        filed.drop_file("/srv/x");
        for _ in 0..3 {
            filed.second();
        }
        assert!(filed.shows("x is shared.") && filed.shows(told), "{scope:?}");
    }
}

/// With so many contacts.
fn friends(count: u8) -> Event {
    let contact =
        |number| Contact { mutual: true, ..Contact::new(mock::peer_id(number), format!("Friend {number:02}")) };
    Event::People(Ok(People { contacts: (1..=count).map(contact).collect(), ..mock::talk::people() }))
}

#[test]
fn of_many_contacts_those_who_are_chosen_stand_first_and_the_others_are_found() {
    let mut filed = Filed::new();
    filed.window.hear(friends(60));
    filed.say(screen::Message::Scope(ShareScope::Peers));
    assert!(filed.shows("Friend 40") && !filed.shows("Friend 59") && filed.shows("and 20 more"));
    filed.say(screen::Message::Find("friend 59".into()));
    assert!(filed.shows("Friend 59") && !filed.shows("Friend 40"));
    filed.say(screen::Message::With(mock::peer_id(59)));
    filed.say(screen::Message::Find(String::new()));
    assert!(filed.shows("Friend 59") && filed.shows("Friend 40"));
    // Who is a contact no longer gets nothing.
    filed.window.hear(friends(58));
    filed.drop_file("/srv/x");
    assert!(filed.adds().is_empty() && filed.shows("Nobody is chosen who would get it."));
    for number in 1..=33 {
        filed.say(screen::Message::With(mock::peer_id(number)));
    }
    assert!(filed.shows("At most 32 people can be chosen."));
    // And the same where sealed copies are kept.
    let share = filed.window.app.files.shares.list[0].hash;
    filed.say(screen::Message::Scope(ShareScope::Anyone));
    filed.say(screen::Message::Show(Filter::Shared));
    filed.say(screen::Message::Select(share));
    assert!(!filed.shows("Friend 58"));
    filed.say(screen::Message::FindKeeper("58".into()));
    assert!(filed.shows("Friend 58"));
}

#[test]
fn what_is_asked_for_says_so_until_it_is_answered() {
    let mut filed = Filed::new();
    filed.type_in(&shelf::ticket(2));
    assert!(filed.shows("Fetch"));
    let _ = filed.window.app.update(Message::Files(screen::Message::Submit));
    assert!(filed.shows("Asking…") && !filed.shows("Fetch"));
    filed.settle();
    assert!(!filed.shows("Asking…"));
}

#[test]
fn lines_are_walked_and_answered_with_the_keys() {
    let mut filed = Filed::new();
    filed.key(Key::Enter);
    assert!(filed.asked.is_empty(), "nothing is chosen");
    filed.key(Key::Step(1));
    filed.key(Key::Enter);
    assert!(matches!(filed.asked[..], [Filing::Accept(1, _)]), "{:?}", filed.asked);
    filed.key(Key::Enter);
    assert_eq!(filed.asked.len(), 1, "the offer is gone");
    filed.only(|state| {
        state.offers.clear();
        state.transfers.retain(|transfer| transfer.state == TransferState::Paused);
    });
    let paused = filed.shelf.state.transfers[0].id;
    filed.key(Key::Step(1));
    filed.key(Key::Escape);
    filed.key(Key::Enter);
    assert_eq!(filed.asked.len(), 1, "one has left the line");
    filed.key(Key::Step(1));
    filed.key(Key::Enter);
    assert_eq!(filed.asked.last(), Some(&Filing::Resume(paused)));
    filed.only(|state| state.transfers = vec![shelf::finished()]);
    filed.key(Key::Step(-1));
    filed.key(Key::Copy);
    assert!(filed.shows("Copied"), "its path");
}

#[test]
fn the_line_that_is_reached_with_the_keys_is_in_sight_however_far_down() {
    let mut filed = Filed::new();
    filed.say(screen::Message::Show(Filter::Shared));
    let loaded = filed.window.app.files.shares.list.len();
    for _ in 0..loaded {
        let _ = filed.window.app.update(Message::Key(Key::Step(1)));
    }
    filed.settle();
    assert!(filed.window.app.files.shares.list.len() > loaded, "more are loaded on the way");
    filed.key(Key::Copy);
    assert!(filed.shows("Copied"));
    filed.key(Key::Enter);
    assert_eq!(filed.window.app.files.selected, Some(filed.window.app.files.shares.list[loaded - 1].hash));
}

#[test]
fn a_copy_that_is_kept_for_somebody_is_dropped_only_when_it_is_confirmed() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.click("Settings")?;
    let kept = filed.shelf.kept[0].hash;
    filed.asked.clear();
    filed.say(screen::Message::Settings(settings::Message::Drop(kept)));
    assert!(filed.asked.is_empty() && filed.shows("Drop it? Their file cannot be had from here any more."));
    filed.say(screen::Message::Settings(settings::Message::Keep));
    assert!(!filed.shows("Drop it? Their file cannot be had from here any more."));
    filed.say(screen::Message::Settings(settings::Message::Drop(kept)));
    filed.say(screen::Message::Settings(settings::Message::DropSurely(kept)));
    assert_eq!(filed.asked[0], Filing::DropKept(kept));
    Ok(())
}

#[test]
fn what_is_dropped_elsewhere_was_a_slip() {
    let mut filed = Filed::at(Place::Services);
    filed.drop_file("/home/grace/diary.txt");
    assert!(filed.asked.is_empty());
}

#[test]
fn who_gets_it_is_chosen_before_and_must_be_somebody() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.click("Chosen people")?;
    filed.drop_file("/srv/x");
    assert!(filed.adds().is_empty() && filed.shows("Nobody is chosen who would get it."));
    filed.say(screen::Message::With(mock::peer_id(2)));
    filed.drop_file("/srv/x");
    let adds = filed.adds();
    let [(_, options)] = adds[..] else { panic!("{adds:?}") };
    assert_eq!((options.scope, options.peers.clone()), (ShareScope::Peers, vec![mock::peer_id(2).to_string()]));
    Ok(())
}

#[test]
fn a_pasted_ticket_is_fetched_and_a_typed_path_shared() -> Result<(), Error> {
    let mut filed = Filed::new();
    let ticket = shelf::ticket(2);
    filed.say(screen::Message::Pasted(Some(format!(" {ticket}\n"))));
    filed.click("Fetch")?;
    assert!(matches!(&filed.asked[..], [Filing::Get(target, _)] if *target == ticket));
    assert!(filed.window.app.files.target.is_empty());
    filed.type_in("/srv/talks");
    filed.click("Share")?;
    assert_eq!(filed.adds()[0].0, &PathBuf::from("/srv/talks"));
    Ok(())
}

#[test]
fn nonsense_is_answered_in_a_sentence_and_not_asked() {
    let mut filed = Filed::new();
    for nonsense in ["thesis.pdf", "kithfile:2abc", "../../x"] {
        filed.type_in(nonsense);
        filed.say(screen::Message::Submit);
        assert!(filed.window.app.files.trouble.is_some(), "{nonsense}");
    }
    assert!(filed.asked.is_empty());
    assert!(filed.shows("To share something of this machine, type its full path: it begins with a slash."));
}

#[test]
fn what_could_not_be_shared_says_why() {
    let mut filed = Filed::new();
    let _ = filed.window.app.update(Message::Dropped("/home/ada/x".into()));
    let asked = filed.window.asked();
    let [Command::Start(job, Errand::Files(Filing::Add(..)))] = &asked[..] else { panic!("{asked:?}") };
    let failure = Failure::new(FailureKind::NotPermitted, "/home/ada/x may not be read").advise("Ask who owns it.");
    filed.window.hear(Event::News(*job, News::Failed(failure)));
    assert!(filed.shows("/home/ada/x may not be read.") && filed.shows("Ask who owns it."));
}

#[test]
fn a_share_shows_who_has_a_copy_and_is_withdrawn_after_asking() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.say(screen::Message::Show(Filter::Shared));
    for seen in
        ["cobol-manual.pdf", "212.0 MB · anyone with the ticket · sent 1.9 GB · 1 of 2 sealed copies", "Missing"]
    {
        assert!(filed.shows(seen), "{seen}");
    }
    filed.click("cobol-manual.pdf")?;
    for seen in ["/home/grace/Documents/cobol-manual.pdf", "has all of it", "88.0 MB of 212.0 MB"] {
        assert!(filed.shows(seen), "{seen}");
    }
    let hash = filed.window.app.files.selected.expect("it is open");
    filed.say(screen::Message::Copies(hash, mock::peer_id(3)));
    let holders = [1, 2, 3].map(mock::peer_id).to_vec();
    assert_eq!(
        filed.asked.iter().find(|filing| matches!(filing, Filing::Keep(..))),
        Some(&Filing::Keep(hash, holders))
    );
    assert!(filed.shows("asked; they are away"));
    filed.asked.clear();
    filed.say(screen::Message::Withdraw(hash));
    assert!(filed.asked.is_empty());
    filed.say(screen::Message::WithdrawSurely(hash));
    assert_eq!(filed.asked[0], Filing::Remove(hash));
    assert!(!filed.shows("cobol-manual.pdf"));
    Ok(())
}

#[test]
fn a_file_that_was_changed_is_shared_again_with_the_same_people() {
    let mut filed = Filed::new();
    let changed = filed.window.app.files.shares.list[2].clone();
    filed.say(screen::Message::Again(changed.hash));
    let adds = filed.adds();
    let [(path, options)] = adds[..] else { panic!("{adds:?}") };
    assert_eq!((path.to_string_lossy(), options.scope), (changed.path.as_str().into(), ShareScope::Peers));
    assert_eq!(options.peers.len(), 2);
}

#[test]
fn a_search_finds_transfers_here_and_shares_at_the_daemon() {
    let mut filed = Filed::new();
    filed.say(screen::Message::Search("photo-0007".into()));
    assert!(matches!(&filed.asked[..], [Filing::Shares { search, before: 0 }, ..] if search == "photo-0007"));
    assert!(filed.shows("photo-0007.jpg") && !filed.shows("apollo-11-listings.tar"));
    filed.say(screen::Message::Search("katherine".into()));
    assert!(filed.shows("apollo-11-listings.tar") && !filed.shows("engine-drawings"));
    filed.say(screen::Message::Search("nothing like it".into()));
    assert!(filed.shows("Nothing is like that"));
    let _ = filed.window.app.update(Message::Key(Key::Escape));
    filed.settle();
    assert!(filed.shows("engine-drawings"));
}

#[test]
fn of_thousands_of_shares_few_are_drawn_and_more_are_loaded_in_time() {
    let mut filed = Filed::new();
    filed.say(screen::Message::Show(Filter::Shared));
    assert_eq!(filed.asked.len(), 0, "the first page is there");
    let loaded = filed.window.app.files.shares.list.len();
    assert!(loaded < 200, "{loaded}");
    let sight = kith::widget::rows::Sight {
        first: loaded - 5,
        last: loaded,
        built: 12,
        at_end: kith::widget::rows::AtEnd::Yes,
    };
    filed.say(screen::Message::Sight(sight));
    assert!(matches!(filed.asked[0], Filing::Shares { before, .. } if before > 0));
    assert!(filed.window.app.files.shares.list.len() > loaded);
}

#[test]
fn settings_are_what_the_daemon_has_and_go_back_to_it() -> Result<(), Error> {
    let mut filed = Filed::new();
    filed.click("Settings")?;
    assert!(filed.shows("What arrives is saved in") && filed.shows("Ada Lovelace"));
    filed.say(screen::Message::Settings(settings::Message::Typed(settings::Field::Download, "1.5".into())));
    filed.say(screen::Message::Settings(settings::Message::Folder("Downloads".into())));
    filed.say(screen::Message::Settings(settings::Message::Save));
    assert!(filed.shows("“Downloads” is not a full path."));
    filed.say(screen::Message::Settings(settings::Message::Folder("/srv/in".into())));
    filed.asked.clear();
    filed.say(screen::Message::Settings(settings::Message::Save));
    let wanted = FileSettings { folder: "/srv/in".into(), download_bytes_per_second: 1_500_000, ..shelf::settings() };
    assert_eq!(filed.asked[0], Filing::Set(wanted));
    assert!(filed.shows("Saved"));
    let _ = filed.window.app.update(Message::Key(Key::Escape));
    assert!(!filed.shows("What arrives is saved in"));
    Ok(())
}

#[test]
fn an_older_daemon_is_a_sentence_and_a_stopped_service_too() {
    let mut window = Window::new();
    let _ = window.app.update(Message::Go(Place::Files));
    window.hear(Event::Files(Err(Failure::new(FailureKind::Unsupported, "not known"))));
    assert!(window.shows("Your node is older than this window and does not tell of files."));
    let mut filed = Filed::new();
    let mut rows = mock::node::services();
    let files = rows.iter_mut().find(|row| row.name == "files").expect("it is there");
    files.state = kith_common::node::ServiceState::Stopped;
    filed.window.hear(Event::Services(Ok(rows)));
    assert!(filed.shows("The files service is stopped: nothing is sent or offered; what you fetch goes on."));
}

#[test]
fn what_was_being_read_when_the_daemon_went_is_read_by_the_next() {
    let mut filed = Filed::new();
    filed.drop_file("/srv/x");
    filed.window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection was lost.")));
    filed.asked.clear();
    filed.shelf = Shelf::default();
    filed.window.hear(Event::Connected { identity: mock::identity(), status: mock::status() });
    filed.window.hear(filed.shelf.told());
    filed.settle();
    assert_eq!(filed.adds().len(), 1);
}

// In conversations.

#[test]
fn a_file_dropped_on_a_conversation_is_shared_with_its_members_and_goes_with_the_message() {
    let mut filed = Filed::with(1);
    filed.drop_file("/home/grace/thesis.pdf");
    let adds = filed.adds();
    let [(_, options)] = adds[..] else { panic!("{adds:?}") };
    assert_eq!((options.scope, options.peers.clone()), (ShareScope::Peers, vec![mock::peer_id(1).to_string()]));
    assert!(filed.shows("thesis.pdf") && filed.shows("Reading…"));
    filed.window.app.chat.write("Read this");
    filed.chat(chat::Message::Send);
    assert!(filed.shows("It is sent as soon as the files are shared."));
    for _ in 0..3 {
        filed.second();
    }
    let sent = filed.said.iter().find_map(|talk| match talk {
        Talk::Send(_, draft) => Some(draft),
        _ => None,
    });
    let sent = sent.expect("it was sent by itself");
    assert_eq!((sent.text.as_str(), sent.attachments.len()), ("Read this", 1));
    assert!(sent.attachments[0].ticket.starts_with("kithfile:"));
    assert_eq!(sent.attachments[0].name, "thesis.pdf");
}

#[test]
fn files_that_were_chosen_go_to_whom_they_were_chosen_for() -> Result<(), Error> {
    let mut filed = Filed::with(1);
    filed.window.press(Icon::Paperclip)?;
    filed.key(Key::Attach);
    // One looks at another conversation while the desktop's dialog is open.
    let ada = ConversationId::Peer(mock::peer_id(1));
    filed.chat(chat::Message::Show(ConversationId::Peer(mock::peer_id(2))));
    filed.chat(chat::Message::Chosen(ada, Ok(vec!["/srv/a".into(), "/srv/b".into()])));
    let adds = filed.adds();
    assert_eq!(adds.len(), 2);
    assert!(adds.iter().all(|(_, options)| options.peers == [mock::peer_id(1).to_string()]), "{adds:?}");
    let none = Failure::new(FailureKind::Unsupported, "this desktop has no dialog for choosing files");
    filed.chat(chat::Message::Chosen(ada, Err(none)));
    assert!(filed.shows("This desktop has no dialog for choosing files."));
    Ok(())
}

#[test]
fn what_waits_for_its_files_is_sent_to_whom_it_was_written() {
    let mut filed = Filed::with(1);
    filed.drop_file("/srv/for-ada.txt");
    filed.window.app.chat.write("For Ada");
    filed.chat(chat::Message::Send);
    filed.chat(chat::Message::Show(ConversationId::Peer(mock::peer_id(2))));
    filed.window.app.chat.write("For Alan, not yet");
    for _ in 0..3 {
        filed.second();
    }
    let sent: Vec<&Talk> = filed.said.iter().filter(|talk| matches!(talk, Talk::Send(..))).collect();
    assert!(
        matches!(sent[..], [Talk::Send(to, draft)]
            if *to == ConversationId::Peer(mock::peer_id(1)) && draft.text == "For Ada" && draft.attachments.len() == 1),
        "{}",
        sent.len()
    );
}

#[test]
fn in_a_group_all_others_get_it() {
    let mut filed = Filed::at(Place::Chat);
    filed.chat(chat::Message::Show(mock::talk::group()));
    filed.drop_file("/srv/minutes.txt");
    let mut peers = filed.adds()[0].1.peers.clone();
    peers.sort();
    let mut others = [1, 2].map(|number| mock::peer_id(number).to_string());
    others.sort();
    assert_eq!(peers, others);
}

#[test]
fn what_cannot_be_shared_is_not_sent_without_it() {
    let mut filed = Filed::with(1);
    let _ = filed.window.app.update(Message::Dropped("/home/ada/x".into()));
    filed.window.app.chat.write("Look");
    let _ = filed.window.app.update(Message::Chat(chat::Message::Send));
    let job = filed.window.asked().into_iter().find_map(|command| match command {
        Command::Start(job, Errand::Files(Filing::Add(..))) => Some(job),
        _ => None,
    });
    let failure = Failure::new(FailureKind::NotPermitted, "/home/ada/x may not be read");
    filed.window.hear(Event::News(job.expect("it was asked"), News::Failed(failure)));
    filed.settle();
    assert!(filed.said.iter().all(|talk| !matches!(talk, Talk::Send(..))));
    assert!(filed.shows("/home/ada/x may not be read."));
}

#[test]
fn a_file_of_a_message_is_fetched_there_and_leads_to_where_it_is() -> Result<(), Error> {
    let mut filed = Filed::with(1);
    assert!(filed.shows("cards.pdf") && filed.shows("File · 2.4 MB"));
    assert!(filed.shows("1.2 GB of 5.0 GB · 23 % · 57.6 MB/s · 1 min 6 s left"), "one is on its way");
    assert!(filed.shows("/home/grace/Downloads/note-g.pdf"), "and one has arrived");
    filed.click("Fetch")?;
    assert!(matches!(&filed.asked[..], [Filing::Get(ticket, _)] if *ticket == shelf::ticket(2)));
    assert!(filed.shows("Asking who has it… · 2.4 MB"));
    for _ in 0..4 {
        filed.second();
    }
    assert!(filed.shows("/home/grace/Downloads/cards.pdf"));
    Ok(())
}

#[test]
fn what_is_offered_and_said_is_accepted_once() {
    let mut filed = Filed::with(1);
    let ticket = shelf::ticket_of(2);
    filed.only(|state| state.offers[0].hash = ticket.hash);
    filed.chat(chat::Message::File(card::Message::Fetch(ticket.hash, ticket.to_string())));
    assert!(matches!(filed.asked[..], [Filing::Accept(1, _)]));
}

#[test]
fn a_message_holds_only_so_many_files() {
    let mut filed = Filed::with(1);
    for number in 0..20 {
        filed.drop_file(&format!("/srv/{number}"));
    }
    assert!(filed.shows("A message holds at most 16 files."));
    for _ in 0..40 {
        filed.second();
    }
    assert_eq!(filed.adds().len(), 16);
}

#[test]
fn progress_that_nobody_asked_for_changes_nothing() {
    let mut filed = Filed::new();
    let news = News::Adding(kith_common::file::AddProgress { done_bytes: 1, total_bytes: 2, files: 1 });
    filed.window.hear(Event::News(Job::next(), news));
    filed.window.hear(Event::News(Job::next(), News::Share(Box::new(shelf::page(0)[0].clone()))));
    assert!(!filed.shows("cobol-manual.pdf is shared."));
}

/// Each state of the screen is drawn; with `KITH_SHOTS=FOLDER` the pictures stay there.
#[test]
fn every_state_of_the_files_can_be_drawn() -> Result<(), Error> {
    let folder = std::env::var_os("KITH_SHOTS").map(PathBuf::from);
    let shot = |filed: &Filed, name: &str| -> Result<(), Error> {
        let mut ui = filed.window.simulator();
        let picture = ui.snapshot(&theme::theme())?;
        if let Some(folder) = &folder {
            let _ = picture.matches_image(folder.join(format!("{name}.png")))?;
        }
        Ok(())
    };
    let mut filed = Filed::new();
    shot(&filed, "files-all")?;
    filed.only(|state| state.offers.clear());
    filed.say(screen::Message::Cancel(1));
    filed.say(screen::Message::Show(Filter::Going));
    shot(&filed, "files-going")?;
    filed.say(screen::Message::Keep);
    filed.only(|state| state.transfers = vec![shelf::finished()]);
    filed.say(screen::Message::Show(Filter::Finished));
    shot(&filed, "files-finished")?;
    filed.drop_file("/home/grace/thesis.pdf");
    filed.say(screen::Message::Show(Filter::All));
    filed.second();
    shot(&filed, "files-adding")?;
    filed.second();
    filed.second();
    filed.say(screen::Message::Show(Filter::Shared));
    let open = filed.window.app.files.shares.list[1].hash;
    filed.say(screen::Message::Select(open));
    filed.say(screen::Message::Scope(ShareScope::Peers));
    shot(&filed, "files-shared")?;
    filed.say(screen::Message::Dismiss);
    filed.say(screen::Message::Search("nothing like it".into()));
    shot(&filed, "files-nothing")?;
    filed.say(screen::Message::Search(String::new()));
    let _ = filed.window.app.update(Message::Hovered(true));
    shot(&filed, "files-hovered")?;
    let _ = filed.window.app.update(Message::Hovered(false));
    filed.say(screen::Message::ShowSettings);
    shot(&filed, "files-settings")?;
    let mut filed = Filed::with(1);
    filed.drop_file("/home/grace/thesis.pdf");
    filed.second();
    filed.chat(chat::Message::End);
    shot(&filed, "files-chat")?;
    filed.window = Window::new();
    filed.window.hear(Event::Files(Ok(Arc::new(FilesState::default()))));
    let _ = filed.window.app.update(Message::Go(Place::Files));
    shot(&filed, "files-empty")
}
