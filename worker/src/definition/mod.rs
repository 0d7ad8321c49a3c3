//! Agent definitions: Markdown files with front matter, as people write them (A1).

mod discover;
mod front_matter;

pub use discover::{Discovered, discover};
pub use front_matter::{DefinitionError, parse};
