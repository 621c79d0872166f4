//! The Kith window: who I am, whom I can call, and the call itself. It captures and plays; everything else the daemon
//! does. The window may be closed and opened again at any time without harm to the daemon.

pub mod app;
pub mod capture;
pub mod chart;
pub mod desktop;
pub mod link;
pub mod mock;
pub mod notify;
pub mod playback;
pub mod screen;
pub mod session;
pub mod theme;
pub mod widget;
pub mod words;
