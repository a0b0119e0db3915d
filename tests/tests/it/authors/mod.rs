//! The home of plugins' authors: every command of the guide, and the examples, with the real
//! tools of each language and a real daemon.

mod examples;
mod guide;
mod workshop;
