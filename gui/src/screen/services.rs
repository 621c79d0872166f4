//! The listeners of this node: how each does and why, on which port, and starting, stopping and moving it.

use iced::widget::{column, container, row, space, text, text_input};
use iced::{Alignment, Color, Element, Fill};
use kith_common::clock::unix_ms;
use kith_common::failure::{Failure, FailureKind};
use kith_common::node::{ServiceInfo, ServiceState};
use lucide_icons::Icon;

use super::Wish;
use super::sidebar::Node;
use crate::link::{Errand, Job, News};
use crate::theme;
use crate::widget::parts::{compact, icon, muted, notice, pill, scroll, small};
use crate::words;

pub const PORT: &str = "service-port";
/// A port has no more digits than this.
const DIGITS: usize = 5;

#[derive(Debug, Clone)]
pub enum Message {
    Start(String),
    Stop(String),
    /// Stopping the node ends every connection, so it is asked.
    StopSurely(String),
    Keep,
    /// Opens the row's field for another port.
    Edit(String),
    Port(String),
    Set,
    CancelEdit,
    /// Takes the port that the node suggests.
    Use(String, u16),
    CancelWork(String),
}

/// The port of one row is being changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub name: String,
    pub text: String,
}

#[derive(Debug)]
struct Work {
    job: Job,
    name: String,
    doing: &'static str,
}

#[derive(Debug, Default)]
pub struct Services {
    /// Of the feed; `None` until the daemon has said.
    pub rows: Option<Result<Vec<ServiceInfo>, Failure>>,
    /// When the rows were heard: their countdowns began then.
    heard_unix_ms: i64,
    pub edit: Option<Edit>,
    /// Why the last action on a row did not happen.
    pub trouble: Option<(String, Failure)>,
    stopping: Option<String>,
    work: Vec<Work>,
}

/// A port that a person has typed.
pub fn port(text: &str) -> Result<u16, Failure> {
    match text.trim().parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => {
            let said = if text.trim().is_empty() { "nothing".to_owned() } else { format!("“{}”", text.trim()) };
            let message = format!("a port is a number from 1 to 65535, not {said}");
            Err(Failure::new(FailureKind::InvalidArgument, message)
                .advise("Ports from 1024 on need no special rights."))
        }
    }
}

/// The port that a suggestion names, if it names another than the wanted one.
pub fn suggested(row: &ServiceInfo) -> Option<u16> {
    let numbers = row.suggestion.split(|letter: char| !letter.is_ascii_digit()).filter_map(|word| word.parse().ok());
    numbers.into_iter().find(|port: &u16| *port >= 1024 && *port != row.wanted_port)
}

/// Chat, files and broadcasts come over the node's connections.
fn has_port(name: &str) -> bool {
    matches!(name, "node" | "video" | "audio")
}

pub fn symbol(name: &str) -> Icon {
    match name {
        "node" => Icon::Waypoints,
        "video" => Icon::Video,
        "audio" => Icon::Phone,
        "chat" => Icon::MessageSquare,
        "files" => Icon::Folder,
        "broadcast" => Icon::Radio,
        _ => Icon::Server,
    }
}

pub fn colour(state: ServiceState) -> Color {
    match state {
        ServiceState::Listening => theme::GOOD,
        ServiceState::Starting => theme::FAIR,
        ServiceState::Failed => theme::POOR,
        ServiceState::Stopped | ServiceState::Absent => theme::OFF,
    }
}

impl Services {
    pub fn hear(&mut self, rows: Result<Vec<ServiceInfo>, Failure>) {
        self.rows = Some(rows);
        self.heard_unix_ms = unix_ms();
    }

    pub fn lost(&mut self) {
        *self = Self::default();
    }

    /// The rows of the feed; where the daemon has none, those of its status.
    fn shown<'a>(&'a self, node: &'a Node) -> &'a [ServiceInfo] {
        match (&self.rows, node) {
            (Some(Ok(rows)), _) => rows,
            (_, Node::Up { status, .. }) => &status.services,
            _ => &[],
        }
    }

    pub fn news(&mut self, job: Job, news: &News) {
        let Some(at) = self.work.iter().position(|work| work.job == job) else { return };
        let work = self.work.remove(at);
        match news {
            // The feed tells it too; whichever comes first.
            News::Service(now) => {
                if let Some(Ok(rows)) = &mut self.rows
                    && let Some(row) = rows.iter_mut().find(|row| row.name == now.name)
                {
                    *row = now.clone();
                }
            }
            News::Failed(failure) => self.trouble = Some((work.name, failure.clone())),
            _ => {}
        }
    }

    pub fn update(&mut self, message: Message) -> Wish {
        match message {
            Message::Start(name) => return self.work(name.clone(), "Starting", Errand::StartService(name)),
            Message::Stop(name) if name == "node" => self.stopping = Some(name),
            Message::Stop(name) | Message::StopSurely(name) => {
                return self.work(name.clone(), "Stopping", Errand::StopService(name));
            }
            Message::Keep => self.stopping = None,
            Message::Edit(name) => {
                self.trouble = None;
                self.edit = Some(Edit { name, text: String::new() });
            }
            Message::Port(typed) => {
                if let Some(edit) = &mut self.edit {
                    edit.text = typed.chars().filter(|letter| !letter.is_whitespace()).take(DIGITS + 1).collect();
                    self.trouble = None;
                }
            }
            Message::Set => {
                let Some(edit) = &self.edit else { return Wish::Nothing };
                match port(&edit.text) {
                    Ok(port) => return self.take(edit.name.clone(), port),
                    Err(failure) => self.trouble = Some((edit.name.clone(), failure)),
                }
            }
            Message::CancelEdit => {
                self.edit = None;
                self.trouble = None;
            }
            Message::Use(name, port) => return self.take(name, port),
            Message::CancelWork(name) => {
                if let Some(at) = self.work.iter().position(|work| work.name == name) {
                    return Wish::Cancel(self.work.remove(at).job);
                }
            }
        }
        Wish::Nothing
    }

    /// Gives up what is half typed or asked.
    pub fn escape(&mut self) {
        self.edit = None;
        self.stopping = None;
        self.trouble = None;
    }

    fn take(&mut self, name: String, port: u16) -> Wish {
        self.edit = None;
        self.work(name.clone(), "Moving", Errand::MoveService(name, port))
    }

    fn work(&mut self, name: String, doing: &'static str, errand: Errand) -> Wish {
        self.trouble = None;
        self.stopping = None;
        if self.work.iter().any(|work| work.name == name) {
            return Wish::Nothing;
        }
        let job = Job::next();
        self.work.push(Work { job, name, doing });
        Wish::Start(job, errand)
    }

    pub fn view<'a>(&'a self, node: &'a Node) -> Element<'a, Message> {
        let rows = self.shown(node);
        let mut page = column![].spacing(10).max_width(860);
        let counted = if rows.is_empty() { String::new() } else { words::node::services(rows) };
        let head = row![text("Services").size(theme::TITLE).font(theme::STRONG), muted(counted).size(13)]
            .spacing(12)
            .align_y(Alignment::End);
        let about = muted(
            "Everything starts with your node and keeps trying. Each can be stopped and moved without the others.",
        );
        page = page.push(container(column![head, about.size(13)].spacing(6)).padding(iced::Padding::ZERO.bottom(8)));
        match node {
            Node::Lost(failure) => {
                let (sentence, advice) = words::node::failure(failure);
                page = page.push(notice(Icon::Unplug, theme::POOR, sentence, advice));
            }
            Node::Connecting => page = page.push(muted("Connecting to your node…").size(13)),
            Node::Trying(what) => page = page.push(notice(Icon::Loader, theme::FAIR, what.as_str(), "")),
            Node::Up { .. } => {}
        }
        if let (Some(Err(failure)), Node::Up { .. }) = (&self.rows, node) {
            let (sentence, advice) = words::node::refusal(failure, "of changes to its services");
            page = page.push(notice(Icon::Info, theme::FAIR, sentence, advice));
        }
        page = page.extend(rows.iter().map(|row| self.row(row)));
        let page = container(page).center_x(Fill).padding([22, 24]);
        container(scroll(page)).center_x(Fill).height(Fill).style(theme::panel).into()
    }

    fn row<'a>(&'a self, service: &'a ServiceInfo) -> Element<'a, Message> {
        let (name, purpose) = words::node::service(&service.name);
        let absent = service.state == ServiceState::Absent;
        let bright = if absent { theme::OFF } else { theme::TEXT };
        let title = row![
            text(name).size(15).font(theme::STRONG).color(bright),
            pill(colour(service.state), words::node::service_state(service.state))
        ];
        let about = column![title.spacing(10).align_y(Alignment::Center), muted(purpose)].spacing(4).width(Fill);
        let disc = container(icon(symbol(&service.name), 18.0).color(bright)).center(40);
        let mut line = row![disc.style(theme::disc(theme::CONTROL, 40.0)), about].spacing(14);
        if !absent {
            line = line.push(container(where_it_is(service)).width(150).align_x(Alignment::End));
            line = line.push(container(self.actions(service)).width(196).align_x(Alignment::End));
        }
        let mut card = column![line.align_y(Alignment::Center)].spacing(11);
        for more in [self.failed(service), self.asked(service), self.edited(service), self.refused(service)] {
            card = card.push(more);
        }
        container(card).padding([13, 16]).width(Fill).style(theme::raised).into()
    }

    fn actions<'a>(&'a self, service: &'a ServiceInfo) -> Element<'a, Message> {
        let name = service.name.clone();
        if let Some(work) = self.work.iter().find(|work| work.name == service.name) {
            let cancel = compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelWork(name)));
            return row![muted(format!("{}…", work.doing)), cancel].spacing(9).align_y(Alignment::Center).into();
        }
        let mut buttons = row![].spacing(8);
        if has_port(&service.name) {
            buttons = buttons.push(compact(Icon::Pencil, "Port", theme::CONTROL, Some(Message::Edit(name.clone()))));
        }
        let press = match service.state {
            ServiceState::Stopped => compact(Icon::Play, "Start", theme::ACCENT, Some(Message::Start(name))),
            _ => compact(Icon::Square, "Stop", theme::CONTROL, Some(Message::Stop(name))),
        };
        buttons.push(press).into()
    }

    /// Why it does not listen, what helps, and when it is tried again.
    fn failed<'a>(&'a self, service: &'a ServiceInfo) -> Option<Element<'a, Message>> {
        if service.error.is_empty() {
            return None;
        }
        let mut words = column![text(words::sentence_of(&service.error)).size(theme::BODY)].spacing(3).width(Fill);
        if !service.suggestion.is_empty() {
            words = words.push(muted(words::sentence_of(&service.suggestion)));
        }
        if service.next_try_s > 0 {
            words = words.push(muted(self.next_try(service)));
        }
        let mut line = row![icon(Icon::TriangleAlert, 18.0).color(theme::POOR), words].spacing(11);
        let busy = self.work.iter().any(|work| work.name == service.name);
        if let Some(port) = suggested(service).filter(|_| has_port(&service.name)) {
            let take = Message::Use(service.name.clone(), port);
            let label = format!("Use {port}");
            line = line.push(compact(Icon::Check, label, theme::ACCENT, (!busy).then_some(take)));
        }
        Some(container(line.align_y(Alignment::Center)).padding([10, 13]).style(theme::notice(theme::POOR)).into())
    }

    fn next_try(&self, service: &ServiceInfo) -> String {
        let passed = (unix_ms() - self.heard_unix_ms).max(0) / 1000;
        // Rows of the status come without a time of hearing; they are new every two seconds.
        let passed = if matches!(self.rows, Some(Ok(_))) { passed } else { 0 };
        match i64::from(service.next_try_s) - passed {
            ..=0 => "Trying again now.".to_owned(),
            1 => "Tried again in 1 second.".to_owned(),
            seconds => format!("Tried again in {seconds} seconds."),
        }
    }

    fn asked<'a>(&'a self, service: &'a ServiceInfo) -> Option<Element<'a, Message>> {
        if self.stopping.as_ref() != Some(&service.name) {
            return None;
        }
        let words = column![
            text("Stop the node service?").size(theme::BODY),
            muted("Every connection ends, and nobody can call you or write to you until you start it again.")
        ];
        let stop = Message::StopSurely(service.name.clone());
        let line = row![
            words.spacing(3).width(Fill),
            compact(Icon::Square, "Stop it", theme::POOR, Some(stop)),
            compact(Icon::X, "Keep it", theme::CONTROL, Some(Message::Keep))
        ];
        let line = line.spacing(8).align_y(Alignment::Center);
        Some(container(line).padding([10, 13]).style(theme::notice(theme::POOR)).into())
    }

    fn edited<'a>(&'a self, service: &'a ServiceInfo) -> Option<Element<'a, Message>> {
        let edit = self.edit.as_ref().filter(|edit| edit.name == service.name)?;
        let field = text_input(&service.wanted_port.to_string(), &edit.text)
            .id(PORT)
            .on_input(Message::Port)
            .on_submit(Message::Set)
            .padding([7, 11])
            .size(13)
            .width(110)
            .style(theme::input);
        let line = row![
            muted("New port"),
            field,
            compact(Icon::Check, "Set", theme::ACCENT, (!edit.text.is_empty()).then_some(Message::Set)),
            compact(Icon::X, "Cancel", theme::CONTROL, Some(Message::CancelEdit)),
        ];
        Some(row![space().width(54), line.spacing(9).align_y(Alignment::Center)].into())
    }

    fn refused<'a>(&'a self, service: &'a ServiceInfo) -> Option<Element<'a, Message>> {
        let (_, failure) = self.trouble.as_ref().filter(|(name, _)| *name == service.name)?;
        let (sentence, advice) = words::node::failure(failure);
        let told = notice(Icon::CircleAlert, theme::POOR, sentence, advice);
        Some(row![told, small(Icon::X, "Dismiss", Message::CancelEdit)].spacing(4).align_y(Alignment::Center).into())
    }
}

/// The port, whether it is the wanted one, and since when.
fn where_it_is(service: &ServiceInfo) -> Element<'_, Message> {
    let transport = if service.name == "node" { "TCP and UDP" } else { "UDP" };
    let (port, wanted) = (service.port, service.wanted_port);
    let first = match (has_port(&service.name), port) {
        (false, _) => "on the node's port".to_owned(),
        (true, 0) if wanted == 0 => "any port".to_owned(),
        (true, 0) => format!("wants {wanted}"),
        (true, port) => format!("{transport} {port}"),
    };
    let mut second = match service.state {
        ServiceState::Listening | ServiceState::Stopped | ServiceState::Failed if service.since_unix_ms > 0 => {
            format!("for {}", words::node::since(service.since_unix_ms, unix_ms()))
        }
        _ => String::new(),
    };
    if port != 0 && wanted != 0 && port != wanted {
        second = format!("wanted {wanted} · {second}");
    }
    column![text(first).size(13), muted(second).size(theme::TINY)].spacing(3).align_x(Alignment::End).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(suggestion: &str, wanted_port: u16) -> ServiceInfo {
        ServiceInfo {
            name: "video".into(),
            state: ServiceState::Failed,
            port: 0,
            wanted_port,
            since_unix_ms: 0,
            error: "port 9996 is in use".into(),
            next_try_s: 4,
            suggestion: suggestion.into(),
        }
    }

    #[test]
    fn the_suggested_port_is_read_from_the_sentence() {
        let said = "port 9997 is free: start with --video-port 9997, or stop the program that uses 9996";
        assert_eq!(suggested(&row(said, 9996)), Some(9997));
        assert_eq!(suggested(&row("stop the program that uses 9996", 9996)), None);
        assert_eq!(suggested(&row("choose one of this machine's addresses with --bind 127.0.0.1", 80)), None);
        assert_eq!(suggested(&row("port 99999 is no port", 9996)), None);
    }

    #[test]
    fn only_ports_are_ports() {
        for text in ["1", "65535", " 9997 "] {
            assert!(port(text).is_ok(), "{text}");
        }
        for text in ["", "0", "65536", "-1", "http", "99 97"] {
            assert!(port(text).is_err_and(|failure| failure.message.contains("1 to 65535")), "{text}");
        }
    }
}
