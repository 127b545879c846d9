//! Reads a page of a list as it comes. Anybody may write metadata of a megabyte into each of a thousand Secrets; so one
//! object at a time is held whole, and of the others only what is kept of them.

use std::cell::Cell;
use std::fmt;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::rc::Rc;

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use http::Request;
use kube::Client;
use kube::api::{ListMeta, ObjectList};
use kube::core::TypeMeta;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tokio::sync::mpsc;

use super::kept::Kept;

/// Longest object, in bytes of its JSON. etcd takes one and a half megabytes, and a control character is one byte there and
/// six here.
const LARGEST_OBJECT: u64 = 16 << 20;
/// Largest page: more than 500 of the largest objects that etcd takes, however they are written.
const LARGEST_PAGE: u64 = 5 << 30;
/// Parts of the body that may wait to be parsed.
const PARTS_AHEAD: usize = 2;

/// Sends a list request and reads the answer. Where it is dropped, so is the connection, and the parser ends.
///
/// # Errors
///
/// As kube's own list. A body that breaks off or that is too large is [`kube::Error::Service`].
pub(super) async fn list<K>(client: &Client, request: Request<Vec<u8>>) -> kube::Result<ObjectList<K>>
where
    K: Kept + Clone + DeserializeOwned + Send + 'static,
{
    let body = client.request_stream(request).await?;
    read(body, LARGEST_PAGE, LARGEST_OBJECT).await
}

async fn read<K>(body: impl AsyncBufRead, most: u64, most_of_one: u64) -> kube::Result<ObjectList<K>>
where
    K: Kept + Clone + DeserializeOwned + Send + 'static,
{
    let (parts, received) = mpsc::channel(PARTS_AHEAD);
    let parser = tokio::task::spawn_blocking(move || parse(received, most_of_one));
    // Dropped at the end, whatever it is: that is the end of the text for the parser.
    feed(body, parts, most).await.map_err(|error| kube::Error::Service(Box::new(error)))?;
    // Where is in the log. What it said may quote the list.
    let page = parser.await.map_err(|_| kube::Error::Service("the parser of the list panicked".into()))?;
    page.map_err(kube::Error::SerdeError)
}

/// Passes the body on, until the end of it or of the parser.
async fn feed(body: impl AsyncBufRead, parts: mpsc::Sender<Vec<u8>>, most: u64) -> io::Result<()> {
    let mut body = std::pin::pin!(body);
    let mut left = most;
    loop {
        let part = body.fill_buf().await?.to_vec();
        let length = part.len();
        left = left.checked_sub(length as u64).ok_or_else(|| io::Error::other("the list is too large"))?;
        if length == 0 || parts.send(part).await.is_err() {
            return Ok(());
        }
        body.as_mut().consume(length);
    }
}

/// What the parser reads from; waits for the next part.
struct Parts {
    received: mpsc::Receiver<Vec<u8>>,
    part: io::Cursor<Vec<u8>>,
    left: Rc<Cell<u64>>,
}

impl Read for Parts {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut length = self.part.read(into)?;
        while length == 0 {
            let Some(part) = self.received.blocking_recv() else { return Ok(0) };
            self.part = io::Cursor::new(part);
            length = self.part.read(into)?;
        }
        let left = self.left.get().checked_sub(length as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("an object of the list is too large"))?);
        Ok(length)
    }
}

fn parse<K: Kept + Clone + DeserializeOwned>(
    received: mpsc::Receiver<Vec<u8>>,
    most_of_one: u64,
) -> serde_json::Result<ObjectList<K>> {
    let left = Rc::new(Cell::new(most_of_one));
    let reader = BufReader::new(Parts { received, part: io::Cursor::default(), left: left.clone() });
    let mut text = serde_json::Deserializer::from_reader(reader);
    let page = Page { left, most_of_one, kind: PhantomData }.deserialize(&mut text)?;
    text.end()?;
    Ok(page)
}

/// A page, and within it the items: `left` is set anew for each.
#[derive(Clone)]
struct Page<K> {
    left: Rc<Cell<u64>>,
    most_of_one: u64,
    kind: PhantomData<K>,
}

impl<'de, K: Kept + Clone + Deserialize<'de>> DeserializeSeed<'de> for Page<K> {
    type Value = ObjectList<K>;

    fn deserialize<D: Deserializer<'de>>(self, page: D) -> Result<Self::Value, D::Error> {
        page.deserialize_map(self)
    }
}

impl<'de, K: Kept + Clone + Deserialize<'de>> Visitor<'de> for Page<K> {
    type Value = ObjectList<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut list = ObjectList { types: TypeMeta::default(), metadata: ListMeta::default(), items: Vec::new() };
        while let Some(field) = fields.next_key::<String>()? {
            match field.as_str() {
                "metadata" => list.metadata = fields.next_value()?,
                "items" => list.items = fields.next_value_seed(Items(self.clone()))?,
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(list)
    }
}

struct Items<K>(Page<K>);

impl<'de, K: Kept + Deserialize<'de>> DeserializeSeed<'de> for Items<K> {
    type Value = Vec<K>;

    fn deserialize<D: Deserializer<'de>>(self, items: D) -> Result<Self::Value, D::Error> {
        items.deserialize_any(self)
    }
}

impl<'de, K: Kept + Deserialize<'de>> Visitor<'de> for Items<K> {
    type Value = Vec<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("items, or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element::<K>()? {
            kept.push(item.kept());
            self.0.left.set(self.0.most_of_one);
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream::{self, StreamExt as _, TryStreamExt as _};
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use zoho_client::told::SecretMeta;

    /// Reads a body that comes in parts of this length, and then an end or none.
    async fn page(text: &str, length: usize, ends: bool) -> Result<ObjectList<SecretMeta>, String> {
        let parts: Vec<_> = text.as_bytes().chunks(length).map(|part| Ok(part.to_vec())).collect();
        let body = stream::iter(parts).chain(if ends { stream::empty().boxed() } else { stream::pending().boxed() });
        read(body.into_async_read(), 1_000_000, 20_000).await.map_err(|error| error.to_string())
    }

    fn secret(number: usize, uid: &str) -> serde_json::Value {
        let owner = json!({ "apiVersion": "v1", "kind": "Thing", "name": "é\"\\", "uid": uid, "controller": true });
        json!({ "metadata": { "name": format!("s{number}"), "namespace": "ns", "uid": "u", "resourceVersion": "7",
            "labels": { "a": "b" }, "ownerReferences": [owner] } })
    }

    #[tokio::test]
    async fn page_says_the_same_in_whatever_parts_it_comes() {
        let items: Vec<_> = (0..30).map(|number| secret(number, "owner")).collect();
        let text = json!({ "kind": "List", "apiVersion": "v1", "more": [{ "items": [1] }], "items": items,
            "metadata": { "resourceVersion": "9", "continue": "c" } });
        for length in [1, 7, 100_000] {
            let page = page(&text.to_string(), length, true).await.unwrap();
            let ListMeta { resource_version, continue_, .. } = page.metadata;
            assert_eq!((resource_version.as_deref(), continue_.as_deref()), (Some("9"), Some("c")));
            let names: Vec<_> = page.items.iter().filter_map(|item| item.metadata.name.as_deref()).collect();
            assert_eq!((names.len(), names[0], names[29]), (30, "s0", "s29"));
        }
        let empty = page(r#"{"items":null,"metadata":{"resourceVersion":"1"}}"#, 9, true).await.unwrap();
        assert_eq!(empty.items.len(), 0);
    }

    #[tokio::test]
    async fn each_object_is_reduced_before_the_next_is_read() {
        // Together more than an object may have, each of them less.
        let items: Vec<_> = (0..40).map(|number| secret(number, &"x".repeat(10_000))).collect();
        let page = page(&json!({ "metadata": {}, "items": items }).to_string(), 4096, true).await.unwrap();
        let kept = format!("{:?}", page.items).len();
        assert!(kept < 40 * 1500, "{kept} bytes of 400,000");
    }

    #[tokio::test]
    async fn what_is_no_page_is_an_error_and_never_half_a_list() {
        let text = json!({ "metadata": {}, "items": [secret(0, "a"), secret(1, "b")] }).to_string();
        for (what, text) in [
            ("broken off", &text[..text.len() - 1]),
            ("broken off in an item", &text[..text.len() / 2]),
            ("empty", ""),
            ("more than a list", &format!("{text}{{}}")),
            ("no JSON", "<html>"),
            ("an object that is too large", &json!({ "items": [secret(0, &"x".repeat(30_000))] }).to_string()),
            ("a field that is too large", &json!({ "x".repeat(30_000): 1 }).to_string()),
            ("too many objects", &json!({ "items": vec![secret(0, &"x".repeat(10_000)); 120] }).to_string()),
        ] {
            let page = timeout(Duration::from_secs(10), page(text, 1000, true)).await.expect(what);
            assert!(page.is_err(), "{what}");
        }
        let error = read::<SecretMeta>(
            stream::iter([Ok(text.into_bytes()), Err(io::Error::other("reset"))]).into_async_read(),
            1_000_000,
            20_000,
        );
        assert!(matches!(error.await, Err(kube::Error::Service(_))), "the connection's own error");
    }

    #[tokio::test]
    async fn body_that_never_ends_leaves_no_thread_behind_when_it_is_given_up() {
        let open = page(r#"{"items":[{"metadata":{"name":"a"#, 5, false);
        assert!(timeout(Duration::from_millis(50), open).await.is_err());
        // The runtime waits for its blocking threads when it is dropped: this test would not end.
    }
}
