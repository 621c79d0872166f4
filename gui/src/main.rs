//! `kith`: opens the window.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use kith::app::{App, Parts, Place, Streams};
use kith::capture::Hardware;
use kith::link::{Commander, LinkConfig, link};
use kith::notify::Notifier;
use kith::session::Memory;
use kith::{mock, notify, theme};
use kith_common::paths;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Private calling between people's own machines: the window.
#[derive(Debug, Parser)]
#[command(name = "kith", version)]
struct Arguments {
    /// The daemon's socket; the default is your own daemon's.
    #[arg(long, value_name = "PATH", env = "KITH_SOCKET")]
    socket: Option<PathBuf>,
    /// Where to begin.
    #[arg(long, value_name = "NAME", default_value = "call")]
    screen: ScreenName,
    /// Shows a scripted daemon in place of a real one, for looking and for tests.
    #[arg(long)]
    mock: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ScreenName {
    Call,
    Chat,
    Files,
    Broadcast,
    Network,
    Services,
    Diagnostics,
    Settings,
}

impl ScreenName {
    /// `None` for a screen that this version does not have.
    fn place(self) -> Option<Place> {
        match self {
            Self::Call => Some(Place::Calls),
            Self::Chat => Some(Place::Chat),
            Self::Files => Some(Place::Files),
            Self::Network => Some(Place::Network),
            Self::Services => Some(Place::Services),
            Self::Diagnostics => Some(Place::Diagnostics),
            Self::Broadcast | Self::Settings => None,
        }
    }
}

fn main() -> ExitCode {
    kith_common::log::to_stderr("warn,kith=info,kith_capture=info");
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// iced panics without one, so it is looked for first.
fn display() -> anyhow::Result<()> {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    anyhow::ensure!(
        set("DISPLAY") || set("WAYLAND_DISPLAY") || set("WAYLAND_SOCKET"),
        "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). Start it from a desktop \
         session, or call from the terminal: kithctl call, kithctl test-call."
    );
    Ok(())
}

/// Without a graphics device the GPU renderer would run on an emulation that costs three times the CPU of iced's own
/// software renderer. iced chooses by this variable alone, so the program starts itself again with it.
fn choose_renderer() {
    use std::os::unix::process::CommandExt as _;
    const BACKEND: &str = "ICED_BACKEND";
    let has_gpu = std::fs::read_dir("/dev/dri")
        .is_ok_and(|nodes| nodes.flatten().any(|node| node.file_name().to_string_lossy().starts_with("render")));
    if has_gpu || std::env::var_os(BACKEND).is_some() {
        return;
    }
    let Ok(own) = std::env::current_exe() else { return };
    let error = std::process::Command::new(own).args(std::env::args_os().skip(1)).env(BACKEND, "tiny-skia").exec();
    // Only a failed start comes back here; the window works without.
    tracing::debug!(%error, "the renderer is left to iced");
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    display()?;
    choose_renderer();
    let place = arguments.screen.place().unwrap_or_else(|| {
        tracing::warn!("this version has no {:?} screen yet; it begins with calls", arguments.screen);
        Place::Calls
    });
    let config = LinkConfig {
        socket: arguments.socket.clone().unwrap_or_else(paths::socket),
        given: arguments.socket.is_some(),
    };
    let boot = move || {
        let (commander, commands) = Commander::new();
        let (hardware, memory, choices) = match arguments.mock {
            true => (Hardware::None, Memory::none(), None),
            false => (Hardware::Real, Memory::beside(&config.socket), notify::memory()),
        };
        let (mut app, notices, bell) =
            App::new(Parts { commander, hardware, memory, notifier: Notifier::desktop(), choices });
        app.place = place;
        let events = match arguments.mock {
            true => mock::link(commands, app.remote.clone()),
            false => link(config.clone(), commands),
        };
        (app, Streams { events, notices, bell }.into_task())
    };
    let window = iced::window::Settings {
        size: iced::Size::new(1180.0, 760.0),
        min_size: Some(iced::Size::new(860.0, 600.0)),
        exit_on_close_request: false,
        platform_specific: iced::window::settings::PlatformSpecific {
            application_id: "kith".into(),
            ..Default::default()
        },
        ..iced::window::Settings::default()
    };
    iced::application(boot, App::update, App::view)
        .title(App::title)
        .theme(App::theme)
        .subscription(App::subscription)
        .settings(theme::settings())
        .window(window)
        .run()
        .map_err(|error| anyhow::anyhow!("The window could not be opened: {error}."))?;
    Ok(())
}
