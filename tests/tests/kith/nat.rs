//! Calls between two homes: each behind its own router, with one public node between them that relays and tells what
//! it sees.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kith_tests::namespaces::{Nat, Net};
use kith_tests::{Daemon, Lines, Options, note, skip};
use serde_json::Value;

use crate::calls::{SOON, ended, stage};

/// Packets of the test sound in a second: 50, fewer where it pauses.
const FLOWING: f64 = 25.0;
/// Seconds after which a call has its tunnel, over the relay at least.
const WARM: f64 = 2.0;
/// Seconds from the end of a path to sound by another.
const BACK: f64 = 3.0;
/// The same when a home has another address: it notices after half a second, the other side after one of silence.
const MOVED: f64 = 5.0;
/// The same when both have: each must be missed at the relay, too, before the other reaches it there.
const BOTH_MOVED: f64 = 6.0;
/// Seconds that a call is followed after that.
const SETTLED: f64 = 12.0;
/// Seconds of a call after which whatever lived by UDP has been given up, and a call without sound has ended.
const OUTLIVED: f64 = 20.0;
/// How the homes know the relay.
const BY_TCP: &str = "tcp/9999";
const BY_QUIC: &str = "udp/9999/quic-v1";

struct Homes {
    net: Net,
    relay: Daemon,
    ada: Daemon,
    ben: Daemon,
}

fn homes(nat_a: Nat, nat_b: Nat) -> Result<Option<Homes>> {
    homes_via(BY_TCP, nat_a, nat_b, |_| Ok(()))
}

fn homes_via(
    relay_at: &str,
    nat_a: Nat,
    nat_b: Nat,
    prepare: impl FnOnce(&Net) -> Result<()>,
) -> Result<Option<Homes>> {
    if let Some(reason) = Net::impossible() {
        skip(&reason);
        return Ok(None);
    }
    let net = Net::new(nat_a, nat_b)?;
    prepare(&net)?;
    let at = |host: &str, flags: &[String]| Options {
        namespace: Some(net.name(host)),
        flags: flags.to_vec(),
        ..Options::default()
    };
    let relay = Daemon::with("relay", at("relay", &["--relay".into()]))?;
    let bootstrap = ["--bootstrap".to_owned(), format!("/ip4/203.0.113.10/{relay_at}/p2p/{}", relay.peer)];
    let ada = Daemon::with("ada", at("hostA", &bootstrap))?;
    let ben = Daemon::with("ben", at("hostB", &bootstrap))?;
    // Ben can be called once the relay has reserved a place for him, which his ticket then names.
    let end = Instant::now() + SOON;
    while !ben.ask(&["id"])?["addresses"].to_string().contains("p2p-circuit") {
        ensure!(Instant::now() < end, "no relay address: {}\n{}", ben.ask(&["id"])?, ben.log());
    }
    Ok(Some(Homes { net, relay, ada, ben }))
}

fn call(homes: &Homes) -> Result<(Lines, Lines)> {
    let answer = homes.ben.spawn(&["answer", "--wait", "30", "--video", "test", "--audio", "test"])?;
    let ticket = homes.ben.ticket()?;
    let caller = homes.ada.spawn(&["call", &ticket, "--video", "test", "--audio", "test"])?;
    Ok((caller, answer))
}

fn stats_until(lines: &mut Lines, what: &str, deadline: Duration, accept: impl Fn(&Value) -> bool) -> Result<Value> {
    lines.wait_for(what, deadline, |line| {
        serde_json::from_str::<Value>(line).ok().filter(|json| json["event"] == "stats" && accept(json))
    })
}

fn number(stats: &Value, name: &str) -> Result<f64> {
    stats[name].as_f64().with_context(|| format!("no {name} in {stats}"))
}

/// Seconds of sound that were made up since `before`, and seconds from `cut` to the begin of a second that the relay
/// filled with sound.
fn silence(lines: &mut Lines, before: &Value, cut: Instant) -> Result<(f64, f64)> {
    let relayed = |json: &Value| json["transport"] == "tcp" && json["path"] == "relayed";
    let mut last = stats_until(lines, "relayed", SOON, relayed)?;
    loop {
        let stats = stats_until(lines, "relayed", SOON, relayed)?;
        let passed = |name| Ok::<_, anyhow::Error>(number(&stats, name)? - number(&last, name)?);
        let (seconds, packets) = (passed("duration_s")?, passed("audio_received")?);
        if packets >= seconds * FLOWING {
            let concealed = number(&stats, "audio_concealed_ms")? - number(before, "audio_concealed_ms")?;
            return Ok((concealed / 1000.0, cut.elapsed().as_secs_f64() - seconds));
        }
        ensure!(cut.elapsed() < SOON, "no sound by the relay");
        last = stats;
    }
}

#[test]
fn two_homes_behind_cone_routers_talk_directly() -> Result<()> {
    let Some(homes) = homes(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let stats = stats_until(&mut caller, "direct path", SOON, |json| json["path"] == "direct")?;
    ensure!(stats["transport"] == "udp", "{stats}");
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn when_udp_dies_the_call_goes_on_through_the_tunnel_and_comes_back() -> Result<()> {
    let Some(homes) = homes(Nat::Cone, Nat::Cone)? else { return Ok(()) };
    // Where the two reach each other by TCP, the tunnel needs no relay.
    homes.net.part_tcp()?;
    let (mut caller, mut callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let direct = |json: &Value| json["transport"] == "udp" && json["path"] == "direct";
    let warm = |json: &Value| direct(json) && json["duration_s"].as_f64() > Some(WARM);
    let of_caller = stats_until(&mut caller, "udp", SOON, warm)?;
    let of_callee = stats_until(&mut callee, "udp", SOON, warm)?;
    homes.net.cut_udp("natA")?;
    homes.net.cut_udp("natB")?;
    let cut = Instant::now();
    let measured = std::thread::scope(|scope| {
        let other = scope.spawn(|| silence(&mut callee, &of_callee, cut));
        [("caller", silence(&mut caller, &of_caller, cut)), ("callee", other.join().expect("it returns its errors"))]
    });
    for (side, silence) in measured {
        let (concealed, back) = silence?;
        note(&format!(
            "{side}: {concealed:.2} s of sound made up, relayed at the latest {back:.2} s after UDP was cut"
        ));
        ensure!(concealed < BACK && back < BACK, "{side}: sound was back after {concealed} to {back} s");
    }
    homes.net.restore_udp("natA")?;
    homes.net.restore_udp("natB")?;
    let restored = Instant::now();
    for (side, lines) in [("caller", &mut caller), ("callee", &mut callee)] {
        stats_until(lines, "udp again", SOON, direct)?;
        note(&format!("{side}: direct {:.2} s after UDP was back", restored.elapsed().as_secs_f64()));
    }
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn two_homes_behind_symmetric_routers_talk_through_the_relay() -> Result<()> {
    let Some(homes) = homes(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let stats = stats_until(&mut caller, "any stats", SOON, |json| json["audio_received"].as_u64() > Some(50))?;
    ensure!(stats["path"] == "relayed" && stats["transport"] == "tcp", "{stats}");
    Ok(())
}

/// Follows a call until it has gone on for that many seconds since `before`: sound must come at the end, and of all the
/// time no more than `most` seconds may be made up or missing. Returns the last figures.
fn goes_on(lines: &mut Lines, before: &Value, seconds: f64, most: f64) -> Result<Value> {
    let begin = number(before, "duration_s")?;
    let mut last = before.clone();
    loop {
        let stats = stats_until(lines, "more of the call", SOON, |_| true)?;
        let passed = |name, since: &Value| Ok::<_, anyhow::Error>(number(&stats, name)? - number(since, name)?);
        if number(&stats, "duration_s")? < begin + seconds {
            last = stats;
            continue;
        }
        let (all, packets) = (passed("duration_s", before)?, passed("audio_received", before)?);
        let concealed = passed("audio_concealed_ms", before)? / 1000.0;
        note(&format!("{all:.1} s went on with {packets:.0} packets of sound and {concealed:.2} s made up"));
        ensure!(packets >= (all - most) * FLOWING && concealed < most, "{stats}");
        let flows = passed("audio_received", &last)? >= passed("duration_s", &last)? * FLOWING;
        ensure!(flows, "no sound at the end: {stats}");
        return Ok(stats);
    }
}

fn both_go_on(
    caller: &mut Lines,
    callee: &mut Lines,
    before: [Value; 2],
    seconds: f64,
    most: f64,
) -> Result<[Value; 2]> {
    let [of_caller, of_callee] = before;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| goes_on(callee, &of_callee, seconds, most).context("callee"));
        let caller = goes_on(caller, &of_caller, seconds, most).context("caller");
        Ok([caller?, other.join().expect("it returns its errors")?])
    })
}

fn relayed_and_warm(json: &Value) -> bool {
    json["path"] == "relayed" && json["duration_s"].as_f64() > Some(WARM)
}

#[test]
fn a_call_through_a_relay_that_was_known_by_quic_outlives_udp() -> Result<()> {
    let Some(homes) = homes_via(BY_QUIC, Nat::Symmetric, Nat::Symmetric, |_| Ok(()))? else { return Ok(()) };
    let (mut caller, mut callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let before = [&mut caller, &mut callee].map(|lines| stats_until(lines, "relayed", SOON, relayed_and_warm));
    let [of_caller, of_callee] = before;
    homes.net.cut_udp("natA")?;
    homes.net.cut_udp("natB")?;
    both_go_on(&mut caller, &mut callee, [of_caller?, of_callee?], OUTLIVED, BACK)
        .with_context(|| format!("{}\n{}", homes.ada.log(), homes.ben.log()))?;
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn where_no_tcp_leads_to_the_relay_quic_does() -> Result<()> {
    let no_tcp = |net: &Net| ["natA", "natB"].into_iter().try_for_each(|router| net.cut_tcp(router));
    let Some(homes) = homes_via(BY_QUIC, Nat::Symmetric, Nat::Symmetric, no_tcp)? else { return Ok(()) };
    let (mut caller, _callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let stats = stats_until(&mut caller, "sound", SOON, |json| json["audio_received"].as_u64() > Some(50))?;
    ensure!(stats["path"] == "relayed", "{stats}");
    Ok(())
}

/// The homes move one after the other, those of a group at once, in one call.
fn move_in_mid_call(groups: &[&[&str]], most: f64) -> Result<()> {
    let Some(homes) = homes(Nat::Symmetric, Nat::Symmetric)? else { return Ok(()) };
    let (mut caller, mut callee) = call(&homes)?;
    stage(&mut caller, "active")?;
    let before = [&mut caller, &mut callee].map(|lines| stats_until(lines, "relayed", SOON, relayed_and_warm));
    let [of_caller, of_callee] = before;
    let mut before = [of_caller?, of_callee?];
    for group in groups {
        group.iter().try_for_each(|home| homes.net.move_home(home))?;
        note(&format!("moved: {}", group.join(" and ")));
        before = both_go_on(&mut caller, &mut callee, before, SETTLED, most)
            .with_context(|| format!("{group:?}\n{}\n{}\n{}", homes.ada.log(), homes.ben.log(), homes.relay.log()))?;
    }
    homes.ada.ctl(&["hangup"])?;
    ensure!(ended(&mut caller)?["reason"] == "local");
    Ok(())
}

#[test]
fn a_caller_whose_address_changes_in_mid_call_keeps_the_call() -> Result<()> {
    move_in_mid_call(&[&["A"]], MOVED)
}

#[test]
fn a_callee_whose_address_changes_in_mid_call_keeps_the_call() -> Result<()> {
    move_in_mid_call(&[&["B"]], MOVED)
}

#[test]
fn addresses_that_change_on_both_sides_at_once_end_no_call() -> Result<()> {
    move_in_mid_call(&[&["A", "B"]], BOTH_MOVED)
}
