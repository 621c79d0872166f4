use iced_test::Simulator;
use kith::app::{App, Message, Parts, Place};
use kith::capture::Hardware;
use kith::link::{Commander, Event};
use kith::session::Memory;
use kith::{mock, theme};

fn app() -> App {
    let (commander, commands) = Commander::new();
    std::mem::forget(commands);
    let (mut app, notices, _bell) = App::new(Parts { commander, hardware: Hardware::None, memory: Memory::none() });
    std::mem::forget(notices);
    let status = kith_common::node::NodeStatus { services: mock::node::services(), ..mock::status() };
    for event in [
        Event::Connected { identity: mock::identity(), status },
        Event::Peers(mock::node::peers_at(kith_common::clock::unix_ms() / 1000, &[])),
        Event::Services(Ok(mock::node::services())),
        Event::Network(Ok(mock::node::network())),
        Event::Links(Ok(mock::node::history(kith_common::clock::unix_ms()))),
    ] {
        let _ = app.update(Message::Link(Box::new(event)));
    }
    app
}

fn shoot(app: &App, name: &str, size: (f32, f32)) {
    let mut ui = Simulator::with_size(theme::settings(), size, app.view());
    let path = format!("/root/shots/{name}.png");
    let _ = std::fs::remove_file(format!("/root/shots/{name}-tiny-skia.png"));
    ui.snapshot(&app.theme()).unwrap().matches_image(&path).unwrap();
}

#[test]
fn shots() {
    std::fs::create_dir_all("/root/shots").unwrap();
    for (size, tag) in [((1180.0, 760.0), "wide"), ((860.0, 600.0), "small")] {
        for (place, name) in [
            (Place::Calls, "calls"),
            (Place::Network, "network"),
            (Place::Services, "services"),
            (Place::Diagnostics, "diagnostics"),
        ] {
            let mut app = app();
            let _ = app.go(place);
            shoot(&app, &format!("{name}-{tag}"), size);
            match place {
                Place::Network => {
                    let _ = app.update(Message::Network(kith::screen::network::Message::Target("192.0.2.9".into())));
                    let _ = app.update(Message::Network(kith::screen::network::Message::Connect));
                    let _ = app.update(Message::Network(kith::screen::network::Message::Select(mock::peer_id(2))));
                    shoot(&app, &format!("network-peer-{tag}"), size);
                }
                Place::Services => {
                    let _ = app.update(Message::Services(kith::screen::services::Message::Edit("audio".into())));
                    let _ = app.update(Message::Services(kith::screen::services::Message::Port("70000".into())));
                    let _ = app.update(Message::Services(kith::screen::services::Message::Set));
                    let _ = app.update(Message::Services(kith::screen::services::Message::Stop("node".into())));
                    shoot(&app, &format!("services-asked-{tag}"), size);
                }
                Place::Diagnostics => {
                    app.diagnostics.choose(Some(mock::peer_id(3)));
                    let _ = app.update(Message::Diagnostics(kith::screen::diagnostics::Message::Run(
                        kith::screen::diagnostics::Tool::Ping,
                    )));
                    shoot(&app, &format!("diagnostics-peer-{tag}"), size);
                }
                Place::Calls => {}
            }
        }
    }
}
