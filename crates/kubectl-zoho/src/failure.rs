//! An error as a person reads it. Pure.

/// The error and its causes in one line, each part once: many libraries print their cause and hand it on as well, whole or
/// with their own words around it.
pub(crate) fn told(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if parts.join(": ").contains(&cause) {
            continue;
        }
        let new: Vec<String> = cause.split(": ").map(str::to_owned).filter(|part| !parts.contains(part)).collect();
        parts.extend(new);
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cause_that_is_printed_by_its_error_too_is_told_once() {
        let table: [(&[&str], &str); 8] = [
            (
                &["cannot reach h (refused by peer), giving up", "refused by peer"],
                "cannot reach h (refused by peer), giving up",
            ),
            (&["read: a: b", "open: a", "b"], "read: a: b: open"),
            (&["a", "read: a", "b"], "a: read: b"),
            (&["a"], "a"),
            (&["a", "b"], "a: b"),
            (&["b: c", "c"], "b: c"),
            (
                &["reach it: client error: refused", "client error: refused", "refused"],
                "reach it: client error: refused",
            ),
            // What one error says twice itself is its own affair.
            (&["x: x", "y"], "x: x: y"),
        ];
        for (chain, expected) in table {
            let mut outwards = chain.iter().rev();
            let innermost = anyhow::anyhow!((*outwards.next().expect("an error")).to_owned());
            let error = outwards.fold(innermost, |error, text| error.context((*text).to_owned()));
            assert_eq!(told(&error), expected);
        }
    }
}
