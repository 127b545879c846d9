//! What a test can make the simulator answer instead of the ordinary reply. Pure: no sockets, no waiting.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An HTTP reply, byte for byte.
///
/// Where a page is the answer of a [`Reply`], these words in its body are replaced before it is sent:
/// `$ACCESS_TOKEN` (of the mint that went with it), `$REFRESH_TOKEN`, `$CLIENT_ID` and `$CLIENT_SECRET` (as the
/// request brought them). So a reply can lie about a token that lives, or echo a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// HTTP status code.
    #[serde(default = "ok")]
    pub code: u16,
    /// Value of the `Content-Type` header.
    #[serde(default = "json_type")]
    pub content_type: String,
    /// Further headers, in order; a name may repeat.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body. In JSON it is a string, so bytes that are not UTF-8 can only be set from Rust.
    #[serde(default, with = "text")]
    pub body: Vec<u8>,
    /// Sends the body compressed, whether the client takes that or not.
    #[serde(default)]
    pub gzip: bool,
}

impl Page {
    /// A page with `application/json;charset=UTF-8`, the content type of Zoho's own replies.
    pub fn json(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, content_type: json_type(), headers: Vec::new(), body: body.into(), gzip: false }
    }

    /// A page with `text/html;charset=UTF-8`, as proxies and firewalls send.
    pub fn html(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { content_type: "text/html;charset=UTF-8".to_owned(), ..Self::json(code, body) }
    }

    /// The same page with one more header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same page, compressed.
    #[must_use]
    pub fn gzipped(mut self) -> Self {
        self.gzip = true;
        self
    }

    /// Replaces the words of `values` in the body.
    pub(super) fn fill(mut self, values: &[(&str, &str)]) -> Self {
        for (word, value) in values {
            let mut from = 0;
            while let Some(at) = find(&self.body[from..], word.as_bytes()) {
                let start = from + at;
                self.body.splice(start..start + word.len(), value.bytes());
                from = start + value.len();
            }
        }
        self
    }
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// What one request is answered with.
///
/// "Mints" means that the request is treated as Zoho treats it, limits and refusals included, whatever reply follows.
/// In JSON: an object with the variant's name in snake case as `kind`, beside its fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reply {
    /// Mints, and answers as Zoho does.
    Normal,
    /// Sends this page; does not mint.
    Status(Page),
    /// Mints, and sends this page all the same: a 502 that hides a mint, an `expires_in` that lies.
    MintThenStatus(Page),
    /// `200` and JSON content type with these bytes; does not mint.
    Body {
        /// The bytes to send.
        #[serde(with = "text")]
        body: Vec<u8>,
    },
    /// Mints, then `200` and JSON content type with these bytes.
    MintThenBody {
        /// The bytes to send.
        #[serde(with = "text")]
        body: Vec<u8>,
    },
    /// Never answers and does not mint. The connection stays until scripts are cleared or the client gives up.
    Swallow,
    /// Mints and never answers. The connection stays until scripts are cleared or the client gives up.
    MintThenSwallow,
    /// Resets the connection; does not mint.
    Reset,
    /// Mints, then resets the connection.
    MintThenReset,
    /// Waits for the release, then mints and answers as Zoho does.
    HoldThenMint,
    /// Mints, waits for the release, then answers as Zoho does.
    MintThenHold,
    /// Zoho's throttle reply, with status 400; does not mint, and does not touch the real limits.
    Throttle,
    /// The same in Chinese.
    LocalisedThrottle,
    /// Sends the client elsewhere; does not mint.
    Redirect {
        /// HTTP status code, 301 to 308.
        code: u16,
        /// Value of the `Location` header.
        location: String,
    },
    /// Mints, and sends the ordinary answer a byte at a time.
    Drip {
        /// Milliseconds from byte to byte.
        #[serde(default = "one_second")]
        every_ms: u64,
    },
    /// A `200` JSON reply of this many bytes, which never becomes valid; does not mint.
    Huge {
        /// Length of the body in bytes.
        size: u64,
    },
}

impl Reply {
    /// A reply with this status and JSON body; does not mint.
    pub fn json(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Status(Page::json(code, body))
    }

    /// A reply with this status and HTML body; does not mint.
    pub fn html(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Status(Page::html(code, body))
    }

    /// Zoho's way to refuse: `200` with `{"error": code}`.
    pub fn error(code: &str) -> Self {
        Self::json(200, serde_json::json!({ "error": code }).to_string())
    }

    /// `429` with `Retry-After` in seconds.
    pub fn too_many_requests(retry_after_seconds: u64) -> Self {
        Self::Status(Page::html(429, "Too Many Requests").with_header("Retry-After", retry_after_seconds.to_string()))
    }

    /// `200` with these bytes; does not mint.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::Body { body: body.into() }
    }

    /// Mints, then `200` with these bytes.
    pub fn mint_then_body(body: impl Into<Vec<u8>>) -> Self {
        Self::MintThenBody { body: body.into() }
    }

    /// Name for the request log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Status(_) => "status",
            Self::MintThenStatus(_) => "mint_then_status",
            Self::Body { .. } => "body",
            Self::MintThenBody { .. } => "mint_then_body",
            Self::Swallow => "swallow",
            Self::MintThenSwallow => "mint_then_swallow",
            Self::Reset => "reset",
            Self::MintThenReset => "mint_then_reset",
            Self::HoldThenMint => "hold_then_mint",
            Self::MintThenHold => "mint_then_hold",
            Self::Throttle => "throttle",
            Self::LocalisedThrottle => "localised_throttle",
            Self::Redirect { .. } => "redirect",
            Self::Drip { .. } => "drip",
            Self::Huge { .. } => "huge",
        }
    }

    /// Whether the request takes its ordinary effect the moment it arrives.
    pub(super) fn acts_on_arrival(&self) -> bool {
        match self {
            Self::Normal
            | Self::MintThenStatus(_)
            | Self::MintThenBody { .. }
            | Self::MintThenSwallow
            | Self::MintThenReset
            | Self::MintThenHold
            | Self::Drip { .. } => true,
            Self::Status(_)
            | Self::Body { .. }
            | Self::Swallow
            | Self::Reset
            | Self::HoldThenMint
            | Self::Throttle
            | Self::LocalisedThrottle
            | Self::Redirect { .. }
            | Self::Huge { .. } => false,
        }
    }
}

/// How long a script is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// For this many requests.
    Next(u32),
    /// For every request until scripts are cleared.
    UntilCleared,
}

/// One entry of a queue of replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What to answer with.
    pub reply: Reply,
    /// How often.
    pub times: Times,
    /// Wait before the answer, in place of the general latency.
    pub latency: Option<Duration>,
}

impl Script {
    /// The reply for one request.
    pub fn once(reply: Reply) -> Self {
        Self::times(reply, 1)
    }

    /// The reply for the next `count` requests.
    pub fn times(reply: Reply, count: u32) -> Self {
        Self { reply, times: Times::Next(count), latency: None }
    }

    /// The reply for every request until scripts are cleared.
    pub fn until_cleared(reply: Reply) -> Self {
        Self { reply, times: Times::UntilCleared, latency: None }
    }
}

impl From<Reply> for Script {
    fn from(reply: Reply) -> Self {
        Self::once(reply)
    }
}

/// Which requests a script is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Every POST to the token endpoint.
    Token,
    /// POSTs to the token endpoint with this refresh token. These go before [`Target::Token`].
    RefreshToken(String),
    /// POSTs to the revocation endpoint; "mint" in a [`Reply`] then means "revoke".
    Revocation,
    /// Both requests of a consent on another device; "mint" in a [`Reply`] then means that it is treated.
    Device,
    /// Logins on a server, both requests of them; "mint" in a [`Reply`] then means that it is treated.
    Login,
    /// Calls of a product's API; "mint" in a [`Reply`] then means that the call is counted.
    Product,
}

/// The queues of scripted replies, one a target.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    queues: HashMap<Target, VecDeque<Script>>,
}

impl Scripts {
    /// Appends to the queue of `target`. After an entry that plays until cleared nothing else is ever reached.
    pub(super) fn push(&mut self, target: Target, script: Script) {
        self.queues.entry(target).or_default().push_back(script);
    }

    /// Forgets all queues.
    pub(super) fn clear(&mut self) {
        self.queues.clear();
    }

    /// Takes the next reply from the first of `targets` that has one.
    pub(super) fn next(&mut self, targets: &[Target]) -> Option<(Reply, Option<Duration>)> {
        targets.iter().find_map(|target| {
            let queue = self.queues.get_mut(target)?;
            while let Some(script) = queue.front_mut() {
                match &mut script.times {
                    Times::UntilCleared => return Some((script.reply.clone(), script.latency)),
                    Times::Next(0) => {
                        queue.pop_front();
                    }
                    Times::Next(left) => {
                        *left -= 1;
                        return Some((script.reply.clone(), script.latency));
                    }
                }
            }
            self.queues.remove(target);
            None
        })
    }
}

fn ok() -> u16 {
    200
}

fn one_second() -> u64 {
    1000
}

fn json_type() -> String {
    "application/json;charset=UTF-8".to_owned()
}

/// Bytes as a JSON string.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(deserializer).map(String::into_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(scripts: &mut Scripts, targets: &[Target], count: usize) -> Vec<Option<&'static str>> {
        (0..count).map(|_| scripts.next(targets).map(|(reply, _)| reply.kind())).collect()
    }

    #[test]
    fn scripts_play_in_order_and_end() {
        let mut scripts = Scripts::default();
        scripts.push(Target::Token, Script::times(Reply::Swallow, 2));
        scripts.push(Target::Token, Script::times(Reply::Drip { every_ms: 1 }, 0));
        scripts.push(Target::Token, Script::once(Reply::Reset));
        assert_eq!(kinds(&mut scripts, &[Target::Token], 4), [Some("swallow"), Some("swallow"), Some("reset"), None]);
    }

    #[test]
    fn script_of_a_refresh_token_goes_before_the_general_one() {
        let mut scripts = Scripts::default();
        let mine = Target::RefreshToken("a".to_owned());
        scripts.push(Target::Token, Script::until_cleared(Reply::Reset));
        scripts.push(mine.clone(), Script::once(Reply::Throttle));
        assert_eq!(kinds(&mut scripts, &[mine, Target::Token], 3), [Some("throttle"), Some("reset"), Some("reset")]);
        scripts.clear();
        assert_eq!(kinds(&mut scripts, &[Target::Token], 1), [None]);
    }

    #[test]
    fn replies_can_be_written_as_json() {
        let cases = [
            (r#"{"kind":"mint_then_swallow"}"#, Reply::MintThenSwallow),
            (r#"{"kind":"status","code":503,"body":"down"}"#, Reply::json(503, "down")),
            (
                r#"{"kind":"redirect","code":302,"location":"http://x/"}"#,
                Reply::Redirect { code: 302, location: "http://x/".to_owned() },
            ),
            (r#"{"kind":"drip"}"#, Reply::Drip { every_ms: 1000 }),
            (r#"{"kind":"body","body":"{"}"#, Reply::body("{")),
        ];
        for (json, reply) in cases {
            let read: Reply = serde_json::from_str(json).expect(json);
            assert_eq!(read, reply, "{json}");
        }
    }

    #[test]
    fn page_fills_words_in_its_body_only() {
        let page = Page::json(200, "$ACCESS_TOKEN $OTHER").with_header("X", "$ACCESS_TOKEN");
        let filled = page.fill(&[("$ACCESS_TOKEN", "1000.a.b")]);
        assert_eq!(filled.body, b"1000.a.b $OTHER");
        assert_eq!(filled.headers[0].1, "$ACCESS_TOKEN");
    }
}
