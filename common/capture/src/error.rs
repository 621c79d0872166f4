//! What goes wrong with devices, in sentences that a user can act on.

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    #[error("No camera was found.")]
    NoCamera,
    #[error("The camera {name} could not be opened: {why}.")]
    CameraOpen { name: String, why: String },
    #[error("The camera {name} offers no picture format that Kith can use.")]
    CameraFormat { name: String },
    #[error("The camera {name} stopped delivering pictures: {why}.")]
    CameraStopped { name: String, why: String },
    #[error("No microphone was found.")]
    NoMicrophone,
    #[error("No speaker was found.")]
    NoSpeaker,
    #[error("The sound device {name} could not be opened: {why}.")]
    SoundOpen { name: String, why: String },
    #[error("The sound device {name} stopped working: {why}.")]
    SoundStopped { name: String, why: String },
    #[error("The system refused to start another thread: {0}.")]
    Thread(String),
}

impl CaptureError {
    /// What the user can try, in a sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoCamera => "Plug in a camera, or go on with the test picture.",
            Self::CameraOpen { .. } => {
                "Close other programs that use the camera, and check that you may read /dev/video* (group video)."
            }
            Self::CameraFormat { .. } => "Choose another camera.",
            Self::CameraStopped { .. } => "Check its cable, then switch the camera off and on.",
            Self::NoMicrophone => "Plug in a microphone, or go on with the test sound.",
            Self::NoSpeaker => "Plug in headphones or a speaker to hear the other side.",
            Self::SoundOpen { .. } => "Close other programs that use it, or choose another device.",
            Self::SoundStopped { .. } => {
                "Kith keeps trying to open it again; choose another device if it stays silent."
            }
            Self::Thread(_) => "Close other programs and try again.",
        }
    }
}

/// Without the final stop and in lower case at the front, to stand inside a sentence.
pub(crate) fn clause(error: impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.trim().trim_end_matches('.').to_owned()
}
