//! How answers look: tables, details, colours, sizes and times. Pure functions.

mod details;
mod style;
mod table;
mod time;

pub use details::Details;
pub use style::{Colour, Style};
pub use table::{Cell, Table};
pub use time::{day_and_time, seconds, span_between};
