//! What is known of the cluster without asking: the index, and what feeds it.

pub(crate) mod feed;
pub(crate) mod follow;
pub(crate) mod index;
pub(crate) mod kept;
mod page;
pub(crate) mod poll;
pub(crate) mod source;
