//! A moving picture. With a GPU the planes go to persistent textures and a shader converts them; with the software
//! renderer they are scaled and converted to RGBA at the size that is shown. Never through `Handle::from_rgba` on wgpu:
//! it uploads large images late and draws nothing until then, so 720p flickers.
//!
//! Pictures reach the widget through a [`VideoSlot`], which any thread may fill. `update` only hears that there is
//! something to redraw.

mod gpu;
mod software;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use iced::advanced::image::Renderer as _;
use iced::advanced::widget::Tree;
use iced::advanced::{Layout, Widget, layout, mouse, renderer};
use iced::{Element, Length, Rectangle, Size, Theme};
use kith_common::clock::MonoTime;
use kith_common::media::Picture;
use tokio::sync::Notify;

/// Names the textures of a slot. A slot is shown in one place of the window at a time.
static NEXT_SLOT: AtomicU64 = AtomicU64::new(1);

/// What makes the window draw again. Clones share it.
#[derive(Clone, Default)]
pub struct Bell(Arc<Bells>);

#[derive(Default)]
struct Bells {
    notify: Notify,
    /// When a slot that leads last rang, in microseconds of the machine's clock.
    led: AtomicU64,
}

/// Whose pictures set the pace of drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Each picture is drawn.
    Leads,
    /// Drawn along with the leader's pictures while there are any: two sources of 30 pictures a second need not cost
    /// 60 drawings.
    Follows,
}

/// A leader that is silent this long does not set the pace any more.
const LEAD: Duration = Duration::from_millis(100);

impl Bell {
    /// Waits until there is something to draw.
    pub async fn rung(&self) {
        self.0.notify.notified().await;
    }

    fn ring(&self, role: Role) {
        let now = MonoTime::now();
        match role {
            Role::Leads => self.0.led.store(now.micros(), Ordering::Relaxed),
            Role::Follows if now.since(MonoTime(self.0.led.load(Ordering::Relaxed))) < LEAD => return,
            Role::Follows => {}
        }
        self.0.notify.notify_one();
    }
}

/// The newest picture of one source. Clones share it. Filling it rings the bell that makes the window redraw.
#[derive(Clone)]
pub struct VideoSlot(Arc<Inner>);

struct Inner {
    id: u64,
    bell: Bell,
    role: Role,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    picture: Option<Picture>,
    /// Counts what was put in: sequences of two sources may coincide.
    generation: u64,
    /// How the software renderer wants pictures, as it last drew one.
    wanted: Option<software::Shape>,
    prepared: Option<software::Prepared>,
}

impl VideoSlot {
    pub fn new(bell: Bell, role: Role) -> Self {
        let id = NEXT_SLOT.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Inner { id, bell, role, shown: Mutex::default() }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.0.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a picture from now on. Converts it on the caller's thread when the software renderer is in use.
    pub fn put(&self, picture: Picture) {
        let wanted = self.lock().wanted;
        let prepared = wanted.map(|shape| software::prepare(&picture, shape));
        {
            let mut shown = self.lock();
            shown.generation += 1;
            shown.picture = Some(picture);
            shown.prepared = prepared;
        }
        self.0.bell.ring(self.0.role);
    }

    /// Shows nothing.
    pub fn clear(&self) {
        {
            let mut shown = self.lock();
            shown.generation += 1;
            shown.picture = None;
            shown.prepared = None;
        }
        self.0.bell.0.notify.notify_one();
    }

    pub fn is_empty(&self) -> bool {
        self.lock().picture.is_none()
    }

    /// The size of the picture that is shown.
    pub fn picture_size(&self) -> Option<kith_common::media::Size> {
        self.lock().picture.as_ref().map(|picture| picture.size)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The whole picture, with margins.
    Contain,
    /// The whole area, with the picture's edges cut.
    Cover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mirror {
    Off,
    /// As in a looking glass, for one's own picture.
    On,
}

/// Shows what is in a slot.
pub struct Video {
    slot: VideoSlot,
    width: Length,
    height: Length,
    fit: Fit,
    mirror: Mirror,
    radius: f32,
}

pub fn video(slot: &VideoSlot) -> Video {
    Video {
        slot: slot.clone(),
        width: Length::Fill,
        height: Length::Fill,
        fit: Fit::Contain,
        mirror: Mirror::Off,
        radius: 0.0,
    }
}

impl Video {
    #[must_use]
    pub fn size(mut self, width: impl Into<Length>, height: impl Into<Length>) -> Self {
        (self.width, self.height) = (width.into(), height.into());
        self
    }

    #[must_use]
    pub fn fit(mut self, fit: Fit) -> Self {
        self.fit = fit;
        self
    }

    #[must_use]
    pub fn mirror(mut self, mirror: Mirror) -> Self {
        self.mirror = mirror;
        self
    }

    #[must_use]
    pub fn radius(mut self, radius: f32) -> Self {
        self.radius = radius;
        self
    }
}

/// The part of `bounds` that a picture of this size covers when it is shown whole, on whole pixels.
fn contained(bounds: Rectangle, width: f32, height: f32) -> Rectangle {
    let scale = (bounds.width / width).min(bounds.height / height);
    let (w, h) = ((width * scale).round(), (height * scale).round());
    Rectangle {
        x: (bounds.x + (bounds.width - w) / 2.0).round(),
        y: (bounds.y + (bounds.height - h) / 2.0).round(),
        width: w,
        height: h,
    }
}

impl<Message> Widget<Message, Theme, iced::Renderer> for Video {
    fn size(&self) -> Size<Length> {
        Size::new(self.width, self.height)
    }

    fn layout(&mut self, _tree: &mut Tree, _renderer: &iced::Renderer, limits: &layout::Limits) -> layout::Node {
        layout::atomic(limits, self.width, self.height)
    }

    fn draw(
        &self,
        _tree: &Tree,
        renderer: &mut iced::Renderer,
        _theme: &Theme,
        _style: &renderer::Style,
        layout: Layout<'_>,
        _cursor: mouse::Cursor,
        viewport: &Rectangle,
    ) {
        let bounds = layout.bounds();
        let mut shown = self.slot.lock();
        let Some(picture) = shown.picture.clone() else { return };
        let area = match self.fit {
            Fit::Contain => contained(bounds, picture.size.width() as f32, picture.size.height() as f32),
            Fit::Cover => bounds,
        };
        if area.width < 2.0 || area.height < 2.0 {
            return;
        }
        match renderer {
            iced::Renderer::Primary(renderer) => {
                use iced_wgpu::primitive::Renderer as _;
                let generation = shown.generation;
                drop(shown);
                let size = area.size();
                let primitive = gpu::Show::new(
                    (self.slot.0.id, generation),
                    picture,
                    gpu::Look { size, fit: self.fit, mirror: self.mirror, radius: self.radius },
                );
                renderer.draw_primitive(area, primitive);
            }
            iced::Renderer::Secondary(renderer) => {
                let shape = software::Shape::new(area.size(), self.fit, self.mirror, self.radius);
                shown.wanted = Some(shape);
                // Only the first picture after a change of size is converted here.
                let prepared = match shown.prepared.take() {
                    Some(prepared) if prepared.shape == shape => prepared,
                    _ => software::prepare(&picture, shape),
                };
                let image = prepared.image();
                shown.prepared = Some(prepared);
                drop(shown);
                renderer.draw_image(image, area, bounds.intersection(viewport).unwrap_or(bounds));
            }
        }
    }
}

impl<'a, Message: 'a> From<Video> for Element<'a, Message> {
    fn from(video: Video) -> Self {
        Self::new(video)
    }
}
