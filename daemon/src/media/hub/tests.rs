use bytes::Bytes;

use super::*;

fn format() -> VideoFormat {
    VideoFormat { size: Size::new(16, 16).expect("the smallest"), fps_milli: 30_000 }
}

fn picture(sequence: u64) -> Picture {
    let size = format().size;
    let data = Bytes::from(vec![0; size.i420_bytes()]);
    Picture::new(size, MonoTime(sequence * 1000), sequence, data).expect("the right length")
}

fn sound(sequence: u64) -> Sound {
    Sound { capture: MonoTime(sequence * 1000), sequence, samples: vec![0; 960] }
}

fn hub() -> Hub {
    let hub = Hub::new();
    hub.set_camera(Switch::On);
    hub.set_microphone(Switch::On);
    hub
}

#[tokio::test]
async fn the_newest_source_takes_over_and_the_old_one_is_told() {
    let hub = hub();
    let (first, first_sound) = (hub.send_video(format()), hub.send_audio());
    assert!(first.put(picture(1)).is_ok() && first_sound.put(sound(1)).is_ok());
    let (second, _second_sound) = (hub.send_video(format()), hub.send_audio());
    assert_eq!(first.taken().await, InputError::Taken);
    assert_eq!(first_sound.taken().await, InputError::Taken);
    assert_eq!(first.put(picture(2)), Err(InputError::Taken));
    assert_eq!(first_sound.put(sound(2)), Err(InputError::Taken));
    drop(first);
    drop(first_sound);
    assert!(hub.has_video_source() && hub.has_audio_source());
    assert!(second.put(picture(3)).is_ok());
    assert!(hub.video_format().borrow().is_some());
    drop(second);
    assert!(!hub.has_video_source());
    assert!(hub.video_format().borrow().is_none());
}

#[tokio::test]
async fn a_client_that_never_reads_costs_one_picture_and_a_little_sound() {
    let hub = hub();
    let (stuck, stuck_sound) = (hub.receive_video(), hub.receive_audio());
    let (reader, _other_sound) = (hub.receive_video(), hub.receive_audio());
    for number in 1..=100 {
        hub.deliver_picture(picture(number));
        hub.deliver_sound(sound(number));
        assert_eq!(reader.next().await.map(|picture| picture.sequence), Ok(number));
    }
    assert_eq!(stuck.next().await.map(|picture| picture.sequence), Ok(100));
    assert_eq!(stuck_sound.queue.len(), SINK_CHUNKS);
    assert_eq!(stuck_sound.next().await.map(|sound| sound.sequence), Ok(101 - SINK_CHUNKS as u64));
}

#[tokio::test]
async fn closing_ends_all_and_stays() {
    let hub = hub();
    let (input, output, sounds) = (hub.send_video(format()), hub.receive_video(), hub.receive_audio());
    hub.close();
    assert_eq!(input.taken().await, InputError::Ended);
    assert_eq!(input.put(picture(1)), Err(InputError::Ended));
    assert!(output.next().await.is_err() && sounds.next().await.is_err());
    assert_eq!(hub.send_audio().put(sound(1)), Err(InputError::Ended));
    assert!(hub.receive_video().next().await.is_err());
    assert!(!hub.has_video_source());
}

#[test]
fn a_client_that_goes_leaves_nothing_behind() {
    let hub = hub();
    for _ in 0..1000 {
        let _outputs = (hub.receive_video(), hub.receive_audio());
    }
    let state = hub.lock();
    assert!(state.picture_sinks.is_empty() && state.sound_sinks.is_empty());
}

#[test]
fn what_the_source_dropped_itself_counts_as_captured() {
    let hub = hub();
    let input = hub.send_video(format());
    for sequence in [10, 11, 14, 14, 3, u64::MAX] {
        assert!(input.put(picture(sequence.min(1 << 40))).is_ok());
    }
    // 1, 1, 3, and one each for numbers that cannot be.
    assert_eq!(hub.video_captured(), 8);
    hub.set_camera(Switch::Off);
    assert!(input.put(picture(20)).is_ok());
    assert_eq!(hub.video_captured(), 8);
    assert_eq!(hub.source_pictures().len(), 0);
}

#[test]
fn delivery_counts_once_and_without_clients_at_once() {
    let hub = hub();
    hub.deliver_picture(picture(1));
    assert_eq!(hub.delivered().pictures, 1);
    let (a, b) = (hub.receive_video(), hub.receive_video());
    hub.deliver_picture(picture(2));
    assert_eq!(hub.delivered().pictures, 1);
    a.delivered(&picture(2), MonoTime(5000));
    b.delivered(&picture(2), MonoTime(6000));
    assert_eq!(hub.delivered().pictures, 2);
}
