//! People and messages: what is seen of them, what a click or a key asks of the daemon, and that a conversation without
//! end costs no more than what is in sight.

use std::time::Duration;

use iced::keyboard::key::Named;
use iced::keyboard::{self, Modifiers};
use iced::mouse;
use kith::app::{Around, Key, Place};
use kith::link::{Errand, Job, News, Span, Talk};
use kith::mock::talk::{self, Talks};
use kith::notify::Telling;
use kith::screen::Wish;
use kith::screen::chat::thread::{HELD, Seen};
use kith::screen::chat::{self as screen, compose, dialog};
use kith_common::chat::{ConversationId, MessageState};
use kith_common::contact::{Right, Trust};
use kith_common::node::{PeerInfo, PeerStatus};

use super::*;

/// A window and the scripted daemon, whose answers come at once.
struct Chatting {
    window: Window,
    talks: Talks,
    /// What was asked since the last time.
    asked: Vec<Talk>,
}

impl Chatting {
    fn new() -> Self {
        let mut window = Window::new();
        window.mouse = Some(Point::new(800.0, 350.0));
        let talks = Talks::default();
        window.hear(Event::People(Ok(talks.people.clone())));
        window.hear(Event::Conversations(Ok(talks.conversations())));
        let _ = window.app.update(Message::Go(Place::Chat));
        window.asked();
        Self { window, talks, asked: Vec::new() }
    }

    fn with(conversation: ConversationId) -> Self {
        let mut chatting = Self::new();
        chatting.say(screen::Message::Show(conversation));
        chatting.asked.clear();
        chatting
    }

    fn ada() -> ConversationId {
        ConversationId::Peer(mock::peer_id(1))
    }

    fn alan() -> ConversationId {
        ConversationId::Peer(mock::peer_id(2))
    }

    fn settle(&mut self) {
        let Self { window, talks, asked } = self;
        window.settle(|command| {
            let Command::Start(job, Errand::Talk(talk)) = command else { return Vec::new() };
            let (news, events) = talks.obey(&talk);
            asked.push(talk);
            std::iter::once(Event::News(job, news)).chain(events).collect()
        });
    }

    fn say(&mut self, message: screen::Message) {
        let _ = self.window.app.update(Message::Chat(message));
        self.settle();
    }

    fn dialog(&mut self, message: dialog::Message) {
        self.say(screen::Message::Dialog(message));
    }

    fn key(&mut self, key: Key) {
        let _ = self.window.app.update(Message::Key(key));
        self.settle();
    }

    fn click(&mut self, text: &str) -> Result<(), Error> {
        self.window.click(text)?;
        self.settle();
        Ok(())
    }

    fn write(&mut self, text: &str) {
        self.window.app.chat.write(text);
    }

    /// A second passes at the daemon.
    fn second(&mut self) {
        let events = self.talks.tick();
        events.into_iter().for_each(|event| self.window.hear(event));
        self.settle();
    }

    fn shows(&self, text: &str) -> bool {
        self.window.shows(text)
    }

    fn thread(&self) -> &screen::thread::Thread {
        self.window.app.chat.thread.as_ref().expect("a conversation is open")
    }

    fn built(&self) -> usize {
        self.thread().sight.expect("something was drawn").built
    }

    fn asked_for(&self, accept: impl Fn(&Talk) -> bool) -> bool {
        self.asked.iter().any(accept)
    }
}

#[test]
fn people_groups_and_requests_are_listed_with_what_was_said_last() {
    let chatting = Chatting::new();
    for seen in [
        "Ada Lovelace",
        "You: And I will bring the cards.",
        "Alan Turing",
        "3",
        "Analytical circle",
        "Katherine Johnson",
        "Margaret Hamilton",
        "has not accepted you yet",
        "Barbara Liskov",
        "We met at the conference. May I write to you?",
        "Choose a conversation",
    ] {
        assert!(chatting.shows(seen), "{seen}");
    }
}

#[test]
fn a_request_is_accepted_or_refused_where_it_stands() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    chatting.click("Accept")?;
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Accept(peer, name)
        if *peer == mock::peer_id(6) && name == "Barbara Liskov")));
    assert!(!chatting.shows("Accept") && chatting.shows("Barbara Liskov"), "a contact now");
    let mut chatting = Chatting::new();
    chatting.click("Refuse")?;
    assert!(!chatting.shows("Barbara Liskov"));
    Ok(())
}

#[test]
fn an_open_conversation_shows_texts_files_answers_reactions_and_states() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    chatting.click("Ada Lovelace")?;
    for seen in [
        "I have time from seven.",
        "cards.pdf",
        "File · 2.4 MB",
        "Step 21 divides the wrong way round: v4 / v5 should be v5 / v4.",
        "👍",
        "edited",
        "online",
        "verified",
    ] {
        assert!(chatting.shows(seen), "{seen}");
    }
    for state in [Icon::Clock, Icon::Check, Icon::CheckCheck] {
        assert!(chatting.shows(&char::from(state).to_string()), "{state:?}");
    }
    Ok(())
}

#[test]
fn what_is_written_is_sent_with_enter_appears_and_comes_to_be_read() {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.write("How are you?");
    chatting.say(screen::Message::Send);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Send(to, draft)
        if *to == Chatting::ada() && draft.text == "How are you?" && draft.reply_to.is_none())));
    let state = |chatting: &Chatting| {
        let said = chatting.thread().messages.iter().rev().find(|message| message.text == "How are you?");
        said.expect("it appears").state
    };
    assert_eq!(state(&chatting), MessageState::Queued);
    assert!(chatting.shows("How are you?"));
    for expected in [MessageState::Sent, MessageState::Delivered, MessageState::Read] {
        chatting.second();
        assert_eq!(state(&chatting), expected);
    }
    assert!(chatting.shows("I see. Tell me more 🙂"), "and is answered");
}

#[test]
fn enter_sends_and_shift_enter_begins_a_line() -> Result<(), Error> {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.write("one");
    let press = |chatting: &mut Chatting, modifiers: Modifiers| -> Result<Vec<Message>, Error> {
        let mut ui = chatting.window.simulator();
        ui.click(iced::widget::Id::new(compose::COMPOSER))?;
        let enter = keyboard::Key::Named(Named::Enter);
        let _ = ui.simulate([Happening::Keyboard(keyboard::Event::KeyPressed {
            key: enter.clone(),
            modified_key: enter,
            physical_key: keyboard::key::Physical::Code(keyboard::key::Code::Enter),
            location: keyboard::Location::Standard,
            modifiers,
            text: None,
            repeat: false,
        })]);
        Ok(ui.into_messages().collect())
    };
    let sends =
        |messages: &[Message]| messages.iter().any(|message| matches!(message, Message::Chat(screen::Message::Send)));
    assert!(!sends(&press(&mut chatting, Modifiers::SHIFT)?));
    assert!(sends(&press(&mut chatting, Modifiers::empty())?));
    Ok(())
}

#[test]
fn what_cannot_be_sent_comes_back_with_the_reason() {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.write("precious words");
    let _ = chatting.window.app.update(Message::Chat(screen::Message::Send));
    let asked = chatting.window.asked();
    let job = asked.iter().find_map(|command| match command {
        Command::Start(job, Errand::Talk(Talk::Send(..))) => Some(*job),
        _ => None,
    });
    let failure = Failure::new(FailureKind::Internal, "the disk is full").advise("Make room and send it again.");
    chatting.window.hear(Event::News(job.expect("it was sent"), News::Failed(failure)));
    assert!(chatting.shows("The disk is full.") && chatting.shows("Make room and send it again."));
    let _ = chatting.window.app.update(Message::Chat(screen::Message::Send));
    assert!(has_send(&chatting.window.asked(), "precious words"), "it was not lost");
}

fn has_send(commands: &[Command], text: &str) -> bool {
    commands
        .iter()
        .any(|command| matches!(command, Command::Start(_, Errand::Talk(Talk::Send(_, draft))) if draft.text == text))
}

#[test]
fn unread_messages_are_counted_under_a_line_and_read_when_they_are_looked_at() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    assert_eq!(chatting.window.app.chat.unread(), 4, "three messages and a request");
    chatting.click("Alan Turing")?;
    assert!(chatting.shows("New messages") && chatting.shows("or never 🤔"));
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::MarkRead(id, _) if *id == Chatting::alan())));
    assert_eq!(chatting.window.app.chat.unread(), 1);
    Ok(())
}

#[test]
fn nothing_is_read_while_the_window_is_behind_others() {
    let mut chatting = Chatting::new();
    let _ = chatting.window.app.update(Message::Around(Around::Unfocused));
    chatting.say(screen::Message::Show(Chatting::alan()));
    assert!(!chatting.asked_for(|talk| matches!(talk, Talk::MarkRead(..))));
    let _ = chatting.window.app.update(Message::Around(Around::Focused));
    chatting.settle();
    assert_eq!(chatting.window.app.chat.seen, Seen::Yes);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::MarkRead(..))));
}

#[test]
fn answering_changing_deleting_and_reacting_are_asked_of_the_daemon() -> Result<(), Error> {
    let mut chatting = Chatting::with(Chatting::ada());
    let theirs = chatting.thread().messages.iter().find(|message| message.text == "🎉🎉").map(|message| message.id);
    let theirs = theirs.expect("it is there");
    chatting.say(screen::Message::Select(theirs));
    chatting.click(&char::from(Icon::Reply).to_string())?;
    assert!(chatting.shows("Answering Ada Lovelace"));
    chatting.write("Cheers");
    chatting.say(screen::Message::Send);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Send(_, draft) if draft.reply_to == Some(theirs))));

    chatting.say(screen::Message::React(theirs, "👍".into(), Switch::On));
    let reactions = &chatting.thread().get(theirs).expect("it stays").reactions;
    assert_eq!(reactions.len(), 1);

    chatting.say(screen::Message::EditLast);
    assert!(chatting.shows("Changing your message"));
    chatting.write(" to you");
    chatting.say(screen::Message::Send);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Edit(_, text) if text == "Cheers to you")));
    assert!(chatting.shows("Cheers to you"));

    let own = chatting.thread().own_last().expect("it was sent").id;
    chatting.say(screen::Message::Delete(own));
    assert!(chatting.shows("Delete this message for everybody?"));
    assert!(!chatting.asked_for(|talk| matches!(talk, Talk::Delete(_))), "asked first");
    chatting.say(screen::Message::DeleteSurely(own));
    assert!(chatting.shows("Message deleted"));
    Ok(())
}

#[test]
fn drafts_stay_with_their_conversations() {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.write("for Ada");
    chatting.say(screen::Message::Show(Chatting::alan()));
    chatting.say(screen::Message::Send);
    assert!(!chatting.asked_for(|talk| matches!(talk, Talk::Send(..))), "nothing was written to Alan");
    chatting.say(screen::Message::Show(Chatting::ada()));
    chatting.say(screen::Message::Send);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Send(_, draft) if draft.text == "for Ada")));
}

#[test]
fn a_search_finds_people_and_messages_and_leads_to_the_hit() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    chatting.say(screen::Message::Search("alan".into()));
    assert!(chatting.shows("Alan Turing") && !chatting.shows("Ada Lovelace"));
    chatting.say(screen::Message::Search("trajectory 49999".into()));
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Search(_, None))));
    assert!(chatting.shows("Messages") && chatting.shows("Katherine Johnson"));
    let position = 49_999;
    chatting.say(screen::Message::Hit(talk::huge(), position));
    assert_eq!(chatting.thread().sought, Some(position));
    let sight = chatting.thread().sight.expect("drawn");
    let shown = &chatting.thread().messages[sight.first..=sight.last];
    assert!(shown.iter().any(|message| message.position == position), "the hit is in sight");
    chatting.say(screen::Message::End);
    assert_eq!(chatting.thread().messages.last().map(|message| message.position), Some(talk::HUGE));
    Ok(())
}

#[test]
fn a_search_within_a_conversation_steps_from_hit_to_hit() {
    let mut chatting = Chatting::with(talk::huge());
    chatting.key(Key::Search);
    chatting.say(screen::Message::FindText("other sign".into()));
    assert!(chatting.shows("1 of 50"));
    let first = chatting.thread().sought.expect("the newest hit");
    chatting.say(screen::Message::FindStep(1));
    assert!(chatting.shows("2 of 50") && chatting.thread().sought < Some(first));
    chatting.say(screen::Message::FindText("nobody said this".into()));
    assert!(chatting.shows("Nothing found"));
    chatting.key(Key::Escape);
    assert!(!chatting.shows("Nothing found"));
}

#[test]
fn of_a_hundred_thousand_messages_a_screenful_is_laid_out_wherever_one_is() {
    let mut chatting = Chatting::with(talk::huge());
    assert!(chatting.built() < 60, "{}", chatting.built());
    let newest = chatting.thread().messages.last().map(|message| message.position);
    assert_eq!(newest, Some(talk::HUGE));
    let delta = mouse::ScrollDelta::Pixels { x: 0.0, y: 2_000.0 };
    let up = || Happening::Mouse(mouse::Event::WheelScrolled { delta });
    let began = Instant::now();
    for _ in 0..60 {
        scroll(&mut chatting, up());
        assert!(chatting.built() < 60, "{}", chatting.built());
        assert!(chatting.thread().messages.len() <= HELD);
    }
    let oldest = chatting.thread().messages.first().expect("some are held").position;
    assert!(oldest < talk::HUGE - 600, "older pages were loaded on the way: {oldest}");
    assert!(began.elapsed() < Duration::from_secs(60), "scrolling took {:?}", began.elapsed());
    assert!(chatting.shows(&char::from(Icon::ArrowDown).to_string()));
    chatting.say(screen::Message::End);
    assert_eq!(chatting.thread().messages.last().map(|message| message.position), Some(talk::HUGE));
}

/// A simulator forgets where its lists are: the way is gone by aiming at what is above.
fn scroll(chatting: &mut Chatting, event: Happening) {
    let first = chatting.thread().sight.map_or(0, |sight| sight.first);
    let above = chatting.thread().messages[first.saturating_sub(12)].position;
    chatting.say(screen::Message::GoTo(above));
    chatting.window.happens([event]);
    chatting.settle();
}

#[test]
fn keys_lead_through_the_chat() {
    let mut chatting = Chatting::new();
    assert_eq!(kith::app::key(&keyboard::Key::Character("k".into()), Modifiers::CTRL), Some(Key::Jump));
    chatting.key(Key::Step(1));
    assert_eq!(chatting.thread().id, Chatting::ada(), "the first of the list");
    chatting.key(Key::Step(1));
    assert_eq!(chatting.thread().id, Chatting::alan());
    chatting.key(Key::Step(-1));
    assert_eq!(chatting.thread().id, Chatting::ada());
    chatting.key(Key::Go(Place::Calls));
    chatting.key(Key::Jump);
    assert_eq!(chatting.window.app.place, Place::Chat);
    chatting.say(screen::Message::Search("dennis".into()));
    chatting.say(screen::Message::Submit);
    assert!(chatting.shows("They did not appear within 30 days."), "Enter opens the first that is found");
}

#[test]
fn a_contact_is_added_by_ticket_or_from_the_network() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    let stranger = mock::peer_id(30);
    let near = PeerInfo {
        peer_id: stranger,
        name: "Edsger".into(),
        connected: true,
        status: PeerStatus::Connected,
        path: Some(kith_common::node::Path::Lan),
        ..mock::peers().into_iter().next().expect("there are some")
    };
    chatting.window.hear(Event::Peers(vec![near]));
    chatting.click(&char::from(Icon::UserPlus).to_string())?;
    assert!(chatting.shows("In your network") && chatting.shows("Your ticket"));
    chatting.dialog(dialog::Message::Target("nonsense".into()));
    chatting.dialog(dialog::Message::Add);
    assert!(chatting.asked.is_empty(), "nonsense is not asked for");
    chatting.click("Edsger")?;
    chatting.dialog(dialog::Message::Text("Hello".into()));
    chatting.dialog(dialog::Message::Add);
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Add { target, name, text }
        if *target == stranger.to_string() && name == "Edsger" && text == "Hello")));
    assert_eq!(chatting.thread().id, ConversationId::Peer(stranger), "and can be written to");
    Ok(())
}

#[test]
fn safety_numbers_are_compared_and_the_contact_is_verified() -> Result<(), Error> {
    let mut chatting = Chatting::with(Chatting::alan());
    chatting.click("verify")?;
    assert!(chatting.shows("04712") && chatting.shows("60917") && chatting.shows("🐢"));
    chatting.click("They are the same: verified")?;
    assert!(chatting.shows("verified") && chatting.window.app.chat.dialog.is_none());
    Ok(())
}

#[test]
fn trust_is_set_right_by_right_and_parting_is_asked_twice() -> Result<(), Error> {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.say(screen::Message::ShowAbout);
    assert!(chatting.shows("They may call you") && chatting.shows("They may send you files"));
    chatting.click("Never")?;
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Trust(_, Right::Calls, Trust::Never))));
    chatting.click("Remove")?;
    assert!(!chatting.asked_for(|talk| matches!(talk, Talk::Remove(_))));
    assert!(chatting.shows("Remove this contact? Your messages stay until you delete them."));
    chatting.click("Remove")?;
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::Remove(peer) if *peer == mock::peer_id(1))));
    assert!(chatting.shows("They are not among your contacts: add them to write to them."));
    Ok(())
}

#[test]
fn a_group_is_made_of_contacts() -> Result<(), Error> {
    let mut chatting = Chatting::new();
    chatting.say(screen::Message::ShowGroup);
    chatting.dialog(dialog::Message::Title("Moon".into()));
    chatting.dialog(dialog::Message::Member(mock::peer_id(3), true));
    chatting.dialog(dialog::Message::Member(mock::peer_id(5), true));
    chatting.click("Make the group")?;
    assert!(chatting.asked_for(|talk| matches!(talk, Talk::NewGroup(title, members)
        if title == "Moon" && members.len() == 2)));
    assert!(chatting.shows("Moon") && matches!(chatting.thread().id, ConversationId::Group(_)));
    Ok(())
}

#[test]
fn a_picture_of_a_ticket_adds_a_contact_dropped_or_by_its_path() -> Result<(), Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ticket.png");
    let stranger = mock::peer_id(30);
    let ticket = kith_common::target::Ticket { peer: stranger, addresses: Vec::new() }.to_string();
    kith_capture::qr::write_new(&path, &ticket).expect("an own folder");
    // What the window asks for is done beside it; its outcome comes as a message.
    let read = |chatting: &mut Chatting| chatting.dialog(dialog::Message::Read(kith_capture::qr::read(&path)));

    let mut chatting = Chatting::new();
    let _ = chatting.window.app.update(Message::Dropped(path.clone()));
    assert!(chatting.shows("Add a contact") && chatting.shows("Looking at the picture…"));
    read(&mut chatting);
    assert!(chatting.shows(&ticket), "to be looked at first");
    chatting.click("Add")?;
    let added = |talk: &Talk| matches!(talk, Talk::Add { target, .. } if *target == ticket);
    assert!(chatting.asked_for(added));
    assert_eq!(chatting.thread().id, ConversationId::Peer(stranger));

    let mut chatting = Chatting::new();
    chatting.say(screen::Message::ShowAdd);
    chatting.dialog(dialog::Message::Target(path.display().to_string()));
    chatting.dialog(dialog::Message::Add);
    assert!(chatting.shows("Looking at the picture…") && !chatting.asked_for(added));
    read(&mut chatting);
    assert!(chatting.asked_for(added), "that was asked for");

    let mut chatting = Chatting::new();
    chatting.say(screen::Message::ShowAdd);
    chatting.dialog(dialog::Message::Picture("nowhere.png".into()));
    chatting.dialog(dialog::Message::Read(kith_capture::qr::read(std::path::Path::new("nowhere.png"))));
    assert!(chatting.shows("Check its name and that you may read it."));
    Ok(())
}

#[test]
fn the_text_of_a_message_is_copied_by_a_button_and_by_keys() -> Result<(), Error> {
    let mut chatting = Chatting::with(Chatting::ada());
    let copy = kith::app::key(&keyboard::Key::Character("c".into()), Modifiers::CTRL);
    assert_eq!(copy, Some(Key::Copy));
    let said = chatting.thread().messages.iter().find(|message| message.text == "🎉🎉").cloned().expect("it is there");
    assert_eq!(chatting.window.app.chat.update(screen::Message::CopyChosen), Wish::Nothing, "nothing is chosen");
    chatting.say(screen::Message::Select(said.id));
    assert_eq!(chatting.window.app.chat.update(screen::Message::CopyChosen), Wish::Copy(said.text.clone()));
    let mut ui = chatting.window.simulator();
    ui.click("Copy text")?;
    let asked: Vec<Message> = ui.into_messages().collect();
    assert!(
        asked.iter().any(|message| matches!(message, Message::Chat(screen::Message::Copy(text)) if *text == said.text))
    );
    Ok(())
}

#[test]
fn a_message_that_waits_for_a_reason_says_which() {
    let mut chatting = Chatting::with(Chatting::ada());
    let mut own = chatting.thread().own_last().cloned().expect("one wrote");
    (own.state, own.error) = (MessageState::Queued, "the other node has no room on its disk".into());
    chatting.window.hear(Event::Messages(vec![own]));
    assert!(chatting.shows("The other node has no room on its disk."));
}

#[test]
fn notifications_can_hide_what_they_tell_and_be_off() {
    let mut chatting = Chatting::new();
    assert_eq!(chatting.window.app.chat.telling, Telling::Everything);
    chatting.say(screen::Message::Telling);
    assert_eq!(chatting.window.app.chat.telling, Telling::Hidden);
    chatting.say(screen::Message::Telling);
    assert!(chatting.shows(&char::from(Icon::BellOff).to_string()));
}

#[test]
fn an_older_daemon_is_a_sentence_here_too() {
    let mut window = Window::new();
    window.hear(Event::Conversations(Err(Failure::new(FailureKind::Unsupported, "not known"))));
    let _ = window.app.update(Message::Go(Place::Chat));
    assert!(window.shows("Your node is older than this window and does not tell of contacts and messages."));
}

#[test]
fn what_was_on_its_way_when_the_daemon_went_is_kept() {
    let mut chatting = Chatting::with(Chatting::ada());
    chatting.write("do not lose me");
    let _ = chatting.window.app.update(Message::Chat(screen::Message::Send));
    chatting.window.asked();
    chatting.window.hear(Event::Lost(Failure::new(FailureKind::NoDaemon, "The connection was lost.")));
    chatting.window.hear(Event::Connected { identity: mock::identity(), status: mock::status() });
    chatting.window.asked();
    let _ = chatting.window.app.update(Message::Chat(screen::Message::Send));
    assert!(has_send(&chatting.window.asked(), "do not lose me"));
}

#[test]
fn a_page_that_nobody_asked_for_changes_nothing() {
    let mut chatting = Chatting::with(Chatting::ada());
    let before = chatting.thread().messages.clone();
    chatting.window.hear(Event::News(Job::next(), News::Page(talk::huge_page(Span::End))));
    assert_eq!(chatting.thread().messages, before);
}

/// Each state of the screen is drawn; with `KITH_SHOTS=FOLDER` the pictures stay there.
#[test]
fn every_state_can_be_drawn() -> Result<(), Error> {
    let folder = std::env::var_os("KITH_SHOTS").map(std::path::PathBuf::from);
    let shot = |chatting: &Chatting, name: &str| -> Result<(), Error> {
        let mut ui = chatting.window.simulator();
        let picture = ui.snapshot(&theme::theme())?;
        if let Some(folder) = &folder {
            let _ = picture.matches_image(folder.join(format!("{name}.png")))?;
        }
        Ok(())
    };
    let mut chatting = Chatting::new();
    shot(&chatting, "chat-list")?;
    chatting.say(screen::Message::Show(Chatting::ada()));
    shot(&chatting, "chat-ada")?;
    let own = chatting.thread().own_last().expect("one wrote").id;
    chatting.say(screen::Message::Select(own));
    chatting.say(screen::Message::Pick);
    chatting.write("A draft of two lines\nthat is not sent yet");
    shot(&chatting, "chat-writing")?;
    chatting.say(screen::Message::Show(Chatting::alan()));
    shot(&chatting, "chat-unread")?;
    chatting.say(screen::Message::ShowVerify(mock::peer_id(2)));
    shot(&chatting, "chat-verify")?;
    chatting.say(screen::Message::ShowAdd);
    shot(&chatting, "chat-add")?;
    chatting.say(screen::Message::ShowGroup);
    shot(&chatting, "chat-group")?;
    chatting.say(screen::Message::ShowAbout);
    shot(&chatting, "chat-about")?;
    chatting.key(Key::Escape);
    chatting.say(screen::Message::Show(talk::group()));
    shot(&chatting, "chat-circle")?;
    chatting.say(screen::Message::Show(talk::huge()));
    chatting.say(screen::Message::Search("sign".into()));
    chatting.key(Key::Search);
    chatting.say(screen::Message::FindText("trajectory".into()));
    shot(&chatting, "chat-huge")
}
