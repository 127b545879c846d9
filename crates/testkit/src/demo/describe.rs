//! What `kubectl describe` says about how an object is: its conditions and Events, without the rest.

/// The conditions and Events, with long messages broken into lines of `width` characters.
pub(super) fn excerpt(described: &str, width: usize) -> String {
    let mut shown = Vec::new();
    let mut events_message = None;
    let mut in_conditions = false;
    for line in described.lines() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if line.starts_with("Events:") {
            (in_conditions, events_message) = (false, Some(0));
            shown.push(line.to_owned());
        } else if let Some(column) = events_message {
            let column = if text.starts_with("Type ") { line.find("Message").unwrap_or(0) } else { column };
            events_message = Some(column);
            shown.extend(hanging(line, column, width));
        } else if indent == 2 {
            in_conditions = text.starts_with("Conditions:");
            if in_conditions {
                shown.push(text.to_owned());
            }
        } else if in_conditions
            && !text.starts_with("Last Transition Time:")
            && !text.starts_with("Observed Generation:")
        {
            let line = &line[2..];
            let name = text.split_inclusive(':').next().map_or(0, str::len);
            let column = indent - 2 + name + text[name..].len() - text[name..].trim_start().len();
            shown.extend(hanging(line, column, width));
        }
    }
    shown.join("\n")
}

/// A line whose text from `column` on is continued below that column.
fn hanging(line: &str, column: usize, width: usize) -> Vec<String> {
    let (Some(head), Some(text)) = (line.get(..column), line.get(column..)) else { return vec![line.to_owned()] };
    let mut lines = super::screen::wrapped(text, width.saturating_sub(column)).into_iter();
    let first = format!("{head}{}", lines.next().unwrap_or_default()).trim_end().to_owned();
    std::iter::once(first).chain(lines.map(|line| format!("{:column$}{line}", ""))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_events_are_left_and_long_messages_are_broken() {
        let described = "\
Name:         patch-manager
Spec:
  Data Center:  US
Status:
  Conditions:
    Last Transition Time:  2026-11-22T09:13:45Z
    Message:               Zoho refused the refresh token
    Observed Generation:   1
    Reason:                RefreshTokenRejected
    Status:                False
    Type:                  Renewable
  Expiration Time:         2026-11-22T09:14:42Z
Events:
  Type     Reason                Message
  ----     ------                -------
  Warning  RefreshTokenRejected  Zoho refused the token
";
        let expected = "\
Conditions:
  Message:               Zoho refused
                         the refresh
                         token
  Reason:                RefreshTokenRejected
  Status:                False
  Type:                  Renewable
Events:
  Type     Reason                Message
  ----     ------                -------
  Warning  RefreshTokenRejected  Zoho
                                 refused
                                 the
                                 token";
        assert_eq!(excerpt(described, 40), expected);
    }

    #[test]
    fn no_events_is_one_line() {
        assert_eq!(excerpt("Name:  x\nEvents:  <none>\n", 40), "Events:  <none>");
    }
}
