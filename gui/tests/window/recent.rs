//! Calls that are over: what the list says of them, and what a click asks of the daemon.

use kith::app::{Key, Place};
use kith::link::{Errand, Job, Log, News};
use kith::mock::log::{Calls, calls};
use kith::screen::recent as screen;
use kith_common::call::{CallRecord, LogQuery};

use super::*;

impl Window {
    /// With so many calls in the log.
    fn after(count: usize) -> Self {
        let mut window = Self::new();
        window.hear(Event::CallLog(Ok(calls(count))));
        window.asked();
        window
    }

    fn recent(&mut self, message: screen::Message) {
        let _ = self.app.update(Message::Recent(message));
    }

    fn key(&mut self, key: Key) {
        let _ = self.app.update(Message::Key(key));
    }

    fn of_the_log(&mut self) -> Vec<(Job, Log)> {
        let errands = self.asked().into_iter().filter_map(|command| match command {
            Command::Start(job, Errand::Log(log)) => Some((job, log)),
            _ => None,
        });
        errands.collect()
    }

    fn page(&mut self) -> (Job, LogQuery) {
        match self.of_the_log().pop() {
            Some((job, Log::Page(query))) => (job, query),
            other => panic!("no page was asked for: {other:?}"),
        }
    }
}

#[test]
fn calls_that_are_over_say_who_how_long_and_how_they_ended() {
    let window = Window::after(9);
    for seen in [
        "Recent calls",
        "12:34",
        "1:02:05",
        "Missed",
        "Missed: you were in a call",
        "Was busy",
        "Declined",
        "1:35 · connection lost",
        "Not reachable",
        "Was declined",
    ] {
        assert!(window.shows(seen), "{seen}");
    }
    for icon in [Icon::PhoneMissed, Icon::PhoneIncoming, Icon::PhoneOutgoing] {
        assert!(window.shows(&char::from(icon).to_string()), "{icon:?}");
    }
}

#[test]
fn where_there_were_no_calls_it_is_said() {
    let window = Window::after(0);
    assert!(window.shows("No calls yet") && !window.shows("Missed"));
}

#[test]
fn an_older_daemon_is_a_sentence() {
    let mut window = Window::new();
    window.hear(Event::CallLog(Err(Failure::new(FailureKind::Unsupported, "it does not know that"))));
    assert!(window.shows("Your node is older than this window and does not tell of calls that are over."));
}

#[test]
fn a_click_calls_again_in_the_same_way() -> Result<(), Error> {
    let mut window = Window::after(9);
    window.click("Not reachable")?;
    let asked = window.asked();
    let called = &calls(9)[6];
    assert!(
        matches!(&asked[..], [Command::Dial { target, options }]
            if Some(target) == called.again().as_ref() && options.kind == Some(called.kind)),
        "{asked:?}"
    );
    Ok(())
}

#[test]
fn an_address_where_nobody_was_found_is_dialed_again() -> Result<(), Error> {
    let mut window = Window::new();
    let target = "192.0.2.7:9999".to_owned();
    let nobody = CallRecord { peer: None, peer_name: String::new(), target: target.clone(), ..calls(9)[6].clone() };
    window.hear(Event::CallLog(Ok(vec![nobody])));
    window.click(&target)?;
    assert!(matches!(&window.asked()[..], [Command::Dial { target: dialed, .. }] if *dialed == target));
    Ok(())
}

#[test]
fn a_contact_is_called_what_the_user_calls_it() {
    let mut window = Window::after(9);
    let mut people = mock::talk::people();
    for contact in people.contacts.iter_mut().filter(|contact| contact.peer_id == mock::peer_id(1)) {
        contact.name = "Countess".into();
    }
    window.hear(Event::People(Ok(people)));
    assert!(window.shows("Countess"));
}

#[test]
fn few_calls_need_no_search_and_many_are_searched_in_the_whole_log() {
    let mut window = Window::after(3);
    let search = iced::widget::Id::new(screen::SEARCH);
    assert!(window.simulator().find(search.clone()).is_err());
    window.hear(Event::CallLog(Ok(calls(100))));
    assert!(window.simulator().find(search).is_ok());
    window.recent(screen::Message::Search("turing".into()));
    let (job, query) = window.page();
    assert_eq!((query.text.as_str(), query.before.position), ("turing", 0));
    let mut log = Calls::default();
    let (news, _) = log.obey(&Log::Page(query));
    window.hear(Event::News(job, news));
    window.recent(screen::Message::Search("nobody at all".into()));
    let (job, _) = window.page();
    window.hear(Event::News(job, News::Calls(Vec::new())));
    assert!(window.shows("No such calls"));
}

#[test]
fn the_keys_for_a_search_lead_to_calls_where_there_are_some_to_search() {
    let mut window = Window::after(9);
    window.key(Key::Search);
    assert_eq!(window.app.place, Place::Calls);
    let mut window = Window::after(3);
    window.key(Key::Search);
    assert_eq!(window.app.place, Place::Network, "there is no search there");
}

#[test]
fn escape_leaves_the_question_and_then_the_search() {
    let mut window = Window::after(9);
    window.recent(screen::Message::Search("nobody of that name".into()));
    window.recent(screen::Message::Clear);
    assert!(window.shows("Keep") && !window.shows("Was busy"));
    window.key(Key::Escape);
    assert!(!window.shows("Keep") && !window.shows("Was busy"));
    window.key(Key::Escape);
    assert!(window.shows("Was busy"));
}

#[test]
fn calls_are_walked_and_called_again_with_the_keys() {
    let mut window = Window::after(9);
    window.key(Key::Enter);
    assert!(window.asked().is_empty(), "none is chosen");
    for _ in 0..7 {
        window.key(Key::Step(1));
    }
    window.key(Key::Enter);
    let (asked, called) = (window.asked(), &calls(9)[6]);
    assert!(
        matches!(&asked[..], [Command::Dial { target, options }]
            if Some(target) == called.again().as_ref() && options.kind == Some(called.kind)),
        "{asked:?}"
    );
    let mut window = Window::after(9);
    window.key(Key::Step(1));
    let _ = window.app.update(Message::Home(kith::screen::home::Message::Target("a".into())));
    window.key(Key::Enter);
    assert!(window.asked().is_empty(), "who types stands there no longer");
}

#[test]
fn the_call_that_is_reached_with_the_keys_is_drawn() {
    let mut window = Window::new();
    let named = |record: CallRecord| CallRecord { peer_name: format!("Caller {}", record.position), ..record };
    window.hear(Event::CallLog(Ok(calls(100).into_iter().map(named).collect())));
    assert!(!window.shows("Caller 41"));
    for _ in 0..60 {
        window.key(Key::Step(1));
    }
    assert!(window.shows("Caller 41"));
}

#[test]
fn only_missed_ones_are_shown_when_that_is_wanted() {
    let mut window = Window::after(9);
    window.recent(screen::Message::Missed);
    assert!(window.shows("Missed: you were in a call") && !window.shows("Was busy") && !window.shows("1:02:05"));
    window.recent(screen::Message::Missed);
    assert!(window.shows("Was busy"));
}

#[test]
fn one_call_is_taken_out_at_once_and_all_only_when_it_is_confirmed() -> Result<(), Error> {
    let mut window = Window::after(9);
    let busy = calls(9)[3].id;
    window.recent(screen::Message::Forget(busy));
    assert!(!window.shows("Was busy"));
    assert!(matches!(&window.of_the_log()[..], [(_, Log::Forget(call))] if *call == busy));
    window.press(Icon::Trash2)?;
    assert!(window.of_the_log().is_empty() && window.shows("Keep"));
    window.click("Keep")?;
    assert!(!window.shows("Keep"));
    window.press(Icon::Trash2)?;
    window.click("Clear")?;
    assert!(matches!(&window.of_the_log()[..], [(_, Log::Clear)]));
    window.hear(Event::CallLog(Ok(Vec::new())));
    assert!(window.shows("No calls yet"));
    Ok(())
}

#[test]
fn what_the_daemon_refuses_is_said() {
    let mut window = Window::after(9);
    window.recent(screen::Message::Forget(calls(9)[0].id));
    let (job, _) = window.of_the_log().pop().expect("it was asked");
    let failure = Failure::new(FailureKind::Internal, "the disk is full").advise("make space");
    window.hear(Event::News(job, News::Failed(failure)));
    assert!(window.shows("The disk is full.") && window.shows("Make space."));
}

#[test]
fn a_test_call_is_kept_out_of_the_log() -> Result<(), Error> {
    let mut window = Window::new();
    window.click("Test call")?;
    let asked = window.asked();
    assert!(matches!(&asked[..], [Command::TestCall { options }] if options.log == Switch::Off), "{asked:?}");
    Ok(())
}

#[test]
fn of_many_calls_those_in_sight_are_drawn() {
    let mut window = Window::new();
    let all: Vec<CallRecord> = calls(100)
        .into_iter()
        .map(|record| CallRecord { peer_name: format!("Caller {}", record.position), ..record })
        .collect();
    window.hear(Event::CallLog(Ok(all)));
    let drawn = |window: &Window| {
        let mut ui = window.simulator();
        (1..=100).filter(|number| ui.find(format!("Caller {number}").as_str()).is_ok()).collect::<Vec<u32>>()
    };
    let first = drawn(&window);
    assert!((5..40).contains(&first.len()) && first.contains(&100), "{first:?}");
    window.recent(screen::Message::Scrolled(3_000.0, 600.0));
    let further = drawn(&window);
    assert!((5..40).contains(&further.len()) && !further.contains(&100), "{further:?}");
}
