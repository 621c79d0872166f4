//! Whole flows with real daemons over real sockets, driven by the real command line. One binary, so that it links once.

mod call_log;
mod calls;
mod chat;
mod contacts;
mod diagnostics;
mod discovery;
mod endings;
mod files;
mod hostile;
mod matrix;
mod nat;
mod node;
mod python;
mod recordings;
mod services;
mod system;
mod walls;
mod window;
