//! Tickets as pictures: reads the QR code in a PNG or JPEG that somebody has sent, in a screenshot, or in a photo of a
//! screen, and writes one. Used by the command line and the window.
//!
//! Such a picture comes from somebody else: how much of it is read and unpacked is bounded, and whatever is in it, the worst
//! that can come of it is that no ticket is found.

use std::fs::{File, OpenOptions};
use std::io::{Cursor, Read as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, ImageReader, Limits, Luma, imageops};
use kith_common::failure::{Failure, FailureKind};
use kith_common::target::Target;
use qrcode::{Color, EcLevel, QrCode};

/// Photos of good cameras have half of this.
const MAX_FILE_BYTES: u64 = 32 * 1024 * 1024;
const MAX_PIXELS: u64 = 64_000_000;
/// What a decoder may allocate: the pixels in four channels of two bytes.
const MAX_DECODER_BYTES: u64 = 8 * MAX_PIXELS;
/// Sizes in which a picture is looked at, by its longer side, the first being larger than most screens: in a large photo the
/// noise goes with the size before the code does, and looking takes as long as there are pixels. In a larger square the sum
/// of all shades would not fit the 31 bits that `quircs` has for it.
const SIDES: [u32; 3] = [2880, 1440, 720];
/// The smallest QR code has 21 modules on a side.
const MIN_SIDE: u32 = 21;
/// Light falls on photos unevenly: black is what is darker than its surroundings, which reach so far (a part of the longer
/// side), by so much (per cent).
const SURROUNDINGS: u32 = 16;
const DARKER_PERCENT: u32 = 12;
/// Pixels of one module of a picture that is written, and the white around it in modules (ISO 18004 asks for four).
const MODULE: u32 = 8;
const QUIET: u32 = 4;
/// What is shown of a code that says something else.
const SHOWN_CHARS: usize = 40;

/// The picture that a person means by what they have typed, pasted or dropped: a path, or a file's address, with the ending of
/// a PNG or JPEG.
pub fn named(text: &str) -> Option<PathBuf> {
    let text = text.trim();
    let path = match (text.strip_prefix("file://"), text.strip_prefix("~/")) {
        (Some(address), _) => unescaped(address)?,
        (None, Some(below)) => PathBuf::from(std::env::var_os("HOME")?).join(below),
        (None, None) => PathBuf::from(text),
    };
    is_picture(&path).then_some(path)
}

/// By its ending.
pub fn is_picture(path: &Path) -> bool {
    let endings = ["png", "jpg", "jpeg"];
    path.extension().is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

/// The path in a file's address, as file managers put it on the clipboard: `%20` is a space.
fn unescaped(address: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(address.len());
    let mut rest = address.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (first, rest) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push(u8::try_from(digit(high)? * 16 + digit(low)?).ok()?);
                rest = behind;
            }
            _ => bytes.push(*first),
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// The ticket, or peer id, in that picture. Takes up to a second or two of computing; kinds: `NotFound` where there is none,
/// `InvalidArgument` where there is no such picture.
pub fn read(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let wrong = |message: String| Failure::new(FailureKind::InvalidArgument, message);
    let bytes = bytes(path)?;
    let picture = decoded(&bytes).map_err(|reason| {
        wrong(format!("{shown} cannot be read as a picture: {reason}"))
            .advise("A PNG or a JPEG will do, like a screenshot.")
    })?;
    let mut other = None;
    for text in texts(&on_paper(&picture)) {
        if matches!(text.parse(), Ok(Target::Ticket(_) | Target::Peer(_))) {
            return Ok(text);
        }
        other.get_or_insert(text);
    }
    let none = |message| Failure::new(FailureKind::NotFound, message);
    Err(match other {
        Some(other) => {
            let other: String = other.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS).collect();
            none(format!("the QR code in {shown} is no ticket of Kith: it says {other:?}"))
                .advise("`kithctl id qr` shows the right one, and so does the window where contacts are added.")
        }
        None => none(format!("no QR code was found in {shown}")).advise(
            "Take the picture again, nearer and straight, with all four corners in it; or ask for the ticket as text.",
        ),
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let wrong = |message: String| Failure::new(FailureKind::InvalidArgument, message);
    let failed = |error: std::io::Error| {
        wrong(format!("the picture {} cannot be read: {error}", path.display()))
            .advise("Check its name and that you may read it.")
    };
    // Whatever else there is under that name may have no end, or no beginning.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(wrong(format!("{} is no file", path.display())));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let message = format!("{} is too large to be looked at: at most {} MiB", path.display(), MAX_FILE_BYTES >> 20);
        return Err(wrong(message).advise("Take a screenshot of it, or cut out the code."));
    }
    Ok(bytes)
}

/// Or why not, in a few words.
fn decoded(bytes: &[u8]) -> Result<DynamicImage, String> {
    // By what is in it: names lie, and no other format is to be unpacked.
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        _ => return Err("it is neither a PNG nor a JPEG".to_owned()),
    };
    let reader = || {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        limits.max_alloc = Some(MAX_DECODER_BYTES);
        reader.limits(limits);
        reader
    };
    let unpacking = || {
        let (width, height) = reader().into_dimensions().map_err(|error| error.to_string())?;
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(format!("{width} by {height} pixels are too many"));
        }
        reader().decode().map_err(|error| error.to_string())
    };
    // The decoders are others' code, and pictures can be made to find their mistakes.
    catch_unwind(AssertUnwindSafe(unpacking)).unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

/// In shades of grey, with white behind what is transparent.
fn on_paper(picture: &DynamicImage) -> GrayImage {
    let grey = picture.to_luma_alpha8();
    GrayImage::from_fn(grey.width(), grey.height(), |x, y| {
        let [shade, alpha] = grey.get_pixel(x, y).0.map(u32::from);
        Luma([u8::try_from((shade * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)])
    })
}

/// What the QR codes in a picture say. Looks on only for as long as somebody asks for more.
fn texts(picture: &GrayImage) -> impl Iterator<Item = String> {
    let longest = picture.width().max(picture.height());
    let largest = longest.min(SIDES[0]);
    let sizes = std::iter::once(largest).chain(SIDES.into_iter().filter(move |side| *side < largest));
    let attempts = sizes.flat_map(move |side| {
        let size = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest.max(1))).max(1) as u32;
        let mut scaled = match side < longest {
            true => imageops::thumbnail(picture, size(picture.width()), size(picture.height())),
            false => picture.clone(),
        };
        let positive = [scaled.clone(), in_black_and_white(&scaled)];
        // On terminals codes are often white on black.
        imageops::invert(&mut scaled);
        let negative = [in_black_and_white(&scaled)];
        positive.into_iter().chain(negative)
    });
    attempts.flat_map(|attempt| codes(&attempt)).map(|text| text.trim().to_owned())
}

fn codes(picture: &GrayImage) -> Vec<String> {
    let (width, height) = picture.dimensions();
    if width < MIN_SIDE || height < MIN_SIDE {
        return Vec::new();
    }
    let looking = || {
        let mut finder = quircs::Quirc::default();
        let found = finder.identify(width as usize, height as usize, picture.as_raw());
        let said = found.filter_map(|code| code.ok()?.decode().ok());
        said.filter_map(|data| String::from_utf8(data.payload).ok()).collect()
    };
    // As above: what looks like a code and is none can be made to look for mistakes.
    catch_unwind(AssertUnwindSafe(looking)).unwrap_or_default()
}

/// Black where a pixel is darker than what is around it.
fn in_black_and_white(picture: &GrayImage) -> GrayImage {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let reach = (picture.width().max(picture.height()) / SURROUNDINGS).max(1) as usize;
    // The sums of all that is above and to the left: at most 2880 x 2880 x 255, which fits.
    let mut sums = vec![0_u32; (width + 1) * (height + 1)];
    for (y, row) in picture.as_raw().chunks_exact(width.max(1)).enumerate() {
        let mut line = 0;
        for (x, shade) in row.iter().enumerate() {
            line += u32::from(*shade);
            sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + line;
        }
    }
    GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        let (left, top) = ((x as usize).saturating_sub(reach), (y as usize).saturating_sub(reach));
        let (right, bottom) = ((x as usize + reach + 1).min(width), (y as usize + reach + 1).min(height));
        let at = |x: usize, y: usize| u64::from(sums[y * (width + 1) + x]);
        let sum = at(right, bottom) + at(left, top) - at(left, bottom) - at(right, top);
        let pixels = ((right - left) * (bottom - top)) as u64;
        let shade = u64::from(picture.get_pixel(x, y).0[0]);
        let dark = shade * pixels * 100 < sum * u64::from(100 - DARKER_PERCENT);
        Luma([if dark { 0 } else { u8::MAX }])
    })
}

/// Writes a new PNG with that text as a QR code; one that is there is not overwritten.
pub fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let failed = |reason: &dyn std::fmt::Display| {
        Failure::new(FailureKind::Internal, format!("the picture {} cannot be written: {reason}", path.display()))
    };
    // A photo of it has reflections and blur: a few more modules that mend them.
    let code = QrCode::with_error_correction_level(text, EcLevel::M).map_err(|error| failed(&error))?;
    let modules = u32::try_from(code.width()).map_err(|error| failed(&error))?;
    let side = (modules + 2 * QUIET) * MODULE;
    let picture = GrayImage::from_fn(side, side, |x, y| {
        let module = |pixel: u32| (pixel / MODULE).checked_sub(QUIET).filter(|module| *module < modules);
        let dark = module(x).zip(module(y)).is_some_and(|(x, y)| code[(x as usize, y as usize)] == Color::Dark);
        Luma([if dark { 0 } else { u8::MAX }])
    });
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).map_err(|error| failed(&error))?;
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(&bytes));
    written.map_err(|error| failed(&error).advise("Choose a name that is free, in a folder that you may write to."))
}

#[cfg(test)]
mod tests {
    use kith_common::ids::PeerId;
    use kith_common::target::Ticket;

    use super::*;

    /// As long as tickets get: all the addresses that fit.
    fn ticket() -> String {
        let address = |n: u8| format!("/ip4/192.0.2.{n}/udp/9999/quic-v1").parse().expect("an address");
        let peer = PeerId::from_public_key([7; 32]);
        Ticket { peer, addresses: (1..=8).map(address).collect() }.to_string()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn picture(text: &str) -> GrayImage {
        let folder = folder();
        let path = folder.path().join("code.png");
        write_new(&path, text).expect("an own folder");
        image::open(&path).expect("just written").to_luma8()
    }

    /// Saves and reads it, as it would be sent.
    fn sent(picture: &GrayImage, name: &str) -> Result<String, Failure> {
        let folder = folder();
        let path = folder.path().join(name);
        picture.save(&path).expect("an own folder");
        read(&path)
    }

    /// What a camera makes of it: smaller than the picture around it, turned, with light from one side, blurred, and noisy.
    fn photo(of: &GrayImage, side: u32, degrees: f32) -> GrayImage {
        let (sine, cosine) = degrees.to_radians().sin_cos();
        let scale = of.width() as f32 / (side as f32 * 0.55);
        let mut noise = 12_345_u32;
        let seen = GrayImage::from_fn(side, side, |x, y| {
            let (dx, dy) = (x as f32 - side as f32 / 2.0, y as f32 - side as f32 / 2.0);
            let at = |a: f32, b: f32| ((a * cosine + b * sine) * scale + of.width() as f32 / 2.0).floor();
            let (sx, sy) = (at(dx, dy), at(dy, -dx));
            let inside = |value: f32| value >= 0.0 && value < of.width() as f32;
            let shade = if inside(sx) && inside(sy) { of.get_pixel(sx as u32, sy as u32).0[0] } else { 130 };
            let light = 0.45 + 0.5 * (x as f32 / side as f32);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let grain = (noise >> 28) as f32 - 8.0;
            Luma([((20.0 + f32::from(shade) * 0.8) * light + grain).clamp(0.0, 255.0) as u8])
        });
        imageops::blur(&seen, 0.7)
    }

    #[test]
    fn a_picture_that_was_written_is_read() {
        let folder = folder();
        let path = folder.path().join("me.png");
        write_new(&path, &ticket()).expect("an own folder");
        assert_eq!(read(&path), Ok(ticket()));
        assert!(write_new(&path, &ticket()).is_err(), "nothing is overwritten");
        assert_eq!(sent(&picture(&ticket()), "me.jpeg"), Ok(ticket()));
    }

    #[test]
    fn photos_screenshots_and_negatives_are_read() {
        let code = picture(&ticket());
        for (side, degrees) in [(1000, 0.0), (1400, 7.0), (3000, -12.0)] {
            assert_eq!(sent(&photo(&code, side, degrees), "photo.jpg"), Ok(ticket()), "{side} {degrees}");
        }
        let mut negative = code.clone();
        imageops::invert(&mut negative);
        assert_eq!(sent(&negative, "terminal.png"), Ok(ticket()));
        // As it stands in the window, somewhere on a large screen.
        let mut screen = GrayImage::from_pixel(2560, 1440, Luma([40]));
        let small = imageops::thumbnail(&code, code.width() * 4 / MODULE, code.height() * 4 / MODULE);
        imageops::replace(&mut screen, &small, 1900, 300);
        assert_eq!(sent(&screen, "screen.png"), Ok(ticket()));
    }

    #[test]
    fn of_several_codes_the_ticket_is_meant() {
        let (shop, ours) = (picture("https://example.org/"), picture(&ticket()));
        let mut both = GrayImage::from_pixel(shop.width() + ours.width(), ours.height(), Luma([255]));
        imageops::replace(&mut both, &shop, 0, 0);
        imageops::replace(&mut both, &ours, i64::from(shop.width()), 0);
        assert_eq!(sent(&both, "both.png"), Ok(ticket()));
        let other = sent(&shop, "shop.png").expect_err("it is none");
        assert!(other.message.contains("https://example.org/") && !other.advice.is_empty(), "{other:?}");
    }

    #[test]
    fn what_is_no_picture_of_a_ticket_is_said_in_words() {
        let folder = folder();
        let path = folder.path().join("x.png");
        let fails = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("an own folder");
            read(&path).expect_err("there is no ticket in it")
        };
        assert!(fails(b"").message.contains("neither a PNG nor a JPEG"));
        assert!(fails(b"GIF89a").message.contains("neither a PNG nor a JPEG"));
        let blank = sent(&GrayImage::from_pixel(300, 200, Luma([200])), "blank.png").expect_err("nothing is on it");
        assert!(blank.message.contains("no QR code") && !blank.advice.is_empty(), "{blank:?}");
        for (missing, word) in [("none.png", "cannot be read"), ("", "no file")] {
            let failure = read(&folder.path().join(missing)).expect_err("there is none");
            assert!(failure.message.contains(word), "{failure:?}");
        }
        let file = File::create(&path).expect("an own folder");
        file.set_len(MAX_FILE_BYTES + 1).expect("it has holes");
        assert!(read(&path).expect_err("too large").message.contains("too large"));
    }

    #[test]
    fn a_picture_that_announces_more_than_it_may_have_is_refused_before_it_is_unpacked() {
        let mut bytes = Vec::new();
        let one = GrayImage::from_pixel(1, 1, Luma([0]));
        one.write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).expect("memory has room");
        // Width and height of the header (ISO 15948, 11.2.2), with its checksum made right.
        bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        let checksum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        assert!(decoded(&bytes).expect_err("four thousand million pixels").contains("too many"));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        })
    }

    #[test]
    fn damaged_pictures_are_an_error_or_another_picture_and_never_a_panic() {
        let code = picture("12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X");
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let mut whole = Vec::new();
            code.write_to(&mut Cursor::new(&mut whole), format).expect("memory has room");
            for seed in 0..40_usize {
                let mut bytes = whole.clone();
                bytes[seed * 7919 % whole.len()] ^= 1 << (seed % 8);
                bytes.truncate(whole.len() - (seed * 31) % whole.len());
                if let Ok(picture) = decoded(&bytes) {
                    let _ = codes(&on_paper(&picture));
                }
            }
        }
        // Nothing but finder patterns and noise.
        let mut noise = 99_u32;
        let wild = GrayImage::from_fn(400, 300, |x, y| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (x, y) = (x % 50 / 5, y % 50 / 5);
            let ring = |at: u32| at == 0 || at == 6;
            let finder = x < 7 && y < 7 && (ring(x) || ring(y) || ((2..5).contains(&x) && (2..5).contains(&y)));
            Luma([if finder || noise >> 31 == 1 { 0 } else { 255 }])
        });
        assert_eq!(texts(&wild).count(), 0);
    }

    #[test]
    fn a_picture_is_known_by_its_path_or_address() {
        assert_eq!(named(" /tmp/a b.PNG "), Some(PathBuf::from("/tmp/a b.PNG")));
        assert_eq!(named("file:///tmp/a%20b.jpeg"), Some(PathBuf::from("/tmp/a b.jpeg")));
        for other in ["", "ada", "kith:abc", "file:///tmp/a%2", "file://host.png", "notes.txt", "192.0.2.1", "png"] {
            assert_eq!(named(other), None, "{other}");
        }
    }
}
