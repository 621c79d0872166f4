//! The screens. Each owns its messages, turns them into actions that the application carries out, and draws itself.

pub mod call;
pub mod devices;
pub mod ended;
pub mod home;
pub mod incoming;
pub mod sidebar;
