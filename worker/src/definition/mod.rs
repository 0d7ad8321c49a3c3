//! Agent definitions: Markdown files with front matter, as people write them (A1).

mod discover;
mod front_matter;
mod owner;

pub use discover::{Discovered, Folder, Places, discover, discover_where, read_folders};
pub use front_matter::{DefinitionError, parse};
pub use owner::is_foreign;
