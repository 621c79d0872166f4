//! kithctl: everything that the window can do, for terminals and scripts, and the living example of the client library.
//!
//! One file a noun under `noun/`; what a call needs (sources, recording, figures, the timeline) is under `session/`.

mod cli;
mod harmless;
mod output;
mod stop;
mod throwaway;
mod when;

mod noun;
mod session;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command, IdArguments, IdVerb};
use output::Output;
use stop::Stop;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    kith_common::log::to_stderr("off");
    let output = Output::new(cli.json);
    // On the main thread, because a throw-away daemon is told to die with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli, &output));
            // A name look-up or a device that hangs must not keep the command from ending.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(Stop::failed(format!("cannot start: {error}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            if let Some(line) = stop.line() {
                output.note(&format!("kithctl: {line}"));
            }
            ExitCode::from(stop.exit as u8)
        }
    }
}

async fn run(cli: Cli, output: &Output) -> Result<(), Stop> {
    let socket = cli.socket.unwrap_or_else(kith_common::paths::socket);
    if let Command::TestCall(arguments) = cli.command {
        return noun::test_call::run_test(&socket, arguments, output).await;
    }
    if let Command::Service(arguments) = cli.command {
        return noun::service::run(arguments.verb, output).await;
    }
    // Kithd does these by itself, running or not.
    match &cli.command {
        Command::Id(IdArguments { verb: Some(IdVerb::Export(backup)) }) => {
            return noun::id::backup::export(backup, output).await;
        }
        Command::Id(IdArguments { verb: Some(IdVerb::Import(backup)) }) => {
            return noun::id::backup::import(backup, output).await;
        }
        _ => {}
    }
    let client = noun::connect(&socket).await?;
    match cli.command {
        Command::Id(arguments) => noun::id::run(&client, arguments, output).await,
        Command::Status => noun::status::run(&client, output).await,
        Command::Ip(arguments) => noun::ip::run(&client, arguments, output).await,
        Command::Diag(verb) => noun::diag::run(&client, verb, output).await,
        Command::Peers(arguments) => noun::peers::run(&client, arguments, output).await,
        Command::Services(arguments) => noun::services::run(&client, arguments, output).await,
        Command::Contacts(arguments) => noun::contacts::run(&client, arguments, output).await,
        Command::Chat(arguments) => noun::chat::run(&client, &socket, arguments, output).await,
        Command::Files(arguments) => noun::files::run(&client, arguments, output).await,
        Command::Call(arguments) => noun::call::call(&client, arguments, output).await,
        Command::Answer(arguments) => noun::call::answer(&client, arguments, output).await,
        Command::Calls(arguments) => noun::calls::run(&client, arguments, output).await,
        Command::Hangup(which) => noun::calls::hang_up(&client, which, output).await,
        Command::Decline(which) => noun::calls::decline(&client, which, output).await,
        Command::Mute(switch) => noun::calls::mute(&client, switch, output).await,
        Command::Camera(switch) => noun::calls::camera(&client, switch, output).await,
        Command::Service(_) | Command::TestCall(_) => Ok(()),
    }
}
