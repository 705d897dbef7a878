//! Why a policy cannot be compiled, and what helps.

/// Why a policy cannot be compiled; the one in force stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Ids last as long as the pins, and none is left.
    #[error(
        "no id is left for {kind} `{name}`: {limit} are in use, {removed} of them by names that the \
         configuration no longer has ({names}); ids last as long as the pins, so stop limiterd, \
         which removes them, and start it again"
    )]
    IdsExhausted {
        /// `service` or `class`.
        kind: &'static str,
        /// The name that needs an id.
        name: String,
        /// How many ids there are.
        limit: usize,
        /// How many of them removed names keep.
        removed: usize,
        /// The removed names, separated by commas.
        names: String,
    },
    /// The merged prefixes are more than a policy has room for.
    #[error(
        "the policy has {count} distinct prefixes, of {limit} that there may be; join neighbouring prefixes or remove some"
    )]
    TooManyPrefixes {
        /// After merging.
        count: usize,
        /// The most that there may be.
        limit: usize,
    },
    /// The policy itself does not fit memory.
    #[error("out of memory")]
    OutOfMemory,
}
