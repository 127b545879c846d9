//! Lists, page by page: each page has a deadline of its own, so a list of many objects needs no more luck than one of few.

use kube::Api;
use kube::api::{ListParams, ObjectList};
use serde::de::DeserializeOwned;

use zoho_client::calls::{ApiError, call};

/// Objects in a page.
const PAGE: u32 = 500;
/// How often a list is begun. The API server forgets a list that takes minutes.
const TRIES: usize = 2;

/// All objects of a kind.
///
/// # Errors
///
/// The API server's.
pub(crate) async fn all<T>(api: &Api<T>) -> Result<ObjectList<T>, ApiError>
where
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    selected(api, None).await
}

/// The objects of a kind that a field selector selects: who may list only one by its name gets that one.
///
/// # Errors
///
/// The API server's.
pub(crate) async fn selected<T>(api: &Api<T>, fields: Option<&str>) -> Result<ObjectList<T>, ApiError>
where
    T: Clone + DeserializeOwned + std::fmt::Debug,
{
    gather(async |token| {
        let field_selector = fields.map(str::to_owned);
        let params = ListParams { limit: Some(PAGE), continue_token: token, field_selector, ..ListParams::default() };
        api.list(&params).await
    })
    .await
}

async fn gather<T: Clone>(
    page: impl AsyncFn(Option<String>) -> kube::Result<ObjectList<T>>,
) -> Result<ObjectList<T>, ApiError> {
    let is_forgotten = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 410);
    let (mut items, mut token, mut begun) = (Vec::new(), None, 1);
    loop {
        let answer = async {
            match page(token.take()).await {
                Err(error) if is_forgotten(&error) => Ok(Err(error)),
                answer => answer.map(Ok),
            }
        };
        match call(answer).await? {
            Ok(mut list) => {
                items.append(&mut list.items);
                token = list.metadata.continue_.take().filter(|token| !token.is_empty());
                if token.is_none() {
                    return Ok(ObjectList { items, ..list });
                }
            }
            Err(_) if begun < TRIES => {
                begun += 1;
                items.clear();
            }
            Err(error) => return Err(ApiError::Unavailable(Some(Box::new(error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use kube::core::Status;
    use serde_json::json;

    use super::*;

    type Answer = Result<(Vec<u8>, Option<&'static str>), u16>;

    /// Lists from these answers; what came of it, and which pages were asked for.
    async fn listed(answers: &[Answer]) -> (Result<Vec<u8>, ApiError>, Vec<Option<String>>) {
        let asked = RefCell::new(Vec::new());
        let page = async |token: Option<String>| {
            // No page has time for all of them.
            tokio::time::sleep(Duration::from_secs(8)).await;
            asked.borrow_mut().push(token);
            let number = asked.borrow().len() - 1;
            match &answers[number] {
                Ok((items, next)) => {
                    let metadata = json!({ "resourceVersion": "7", "continue": next });
                    let list = json!({ "metadata": metadata, "items": items });
                    Ok(serde_json::from_value(list).unwrap())
                }
                Err(code) => Err(kube::Error::Api(Box::new(Status::failure("", "").with_code(*code)))),
            }
        };
        let list = gather::<u8>(page).await.map(|list| {
            assert_eq!(list.metadata.resource_version.as_deref(), Some("7"));
            list.items
        });
        (list, asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn list_is_all_of_its_pages_and_is_begun_again_once() {
        let (first, end) = (Ok((vec![1, 2], Some("t"))), Ok((vec![3], Some(""))));
        let (came, asked) = listed(&[first.clone(), end.clone()]).await;
        assert_eq!((came.unwrap(), asked), (vec![1, 2, 3], vec![None, Some("t".into())]));

        let (came, asked) = listed(&[first.clone(), Err(410), first.clone(), end]).await;
        assert_eq!((came.unwrap(), asked.len()), (vec![1, 2, 3], 4));

        let (came, asked) = listed(&[first.clone(), Err(410), first.clone(), Err(410)]).await;
        assert!(matches!(came, Err(ApiError::Unavailable(Some(_)))) && asked.len() == 4);

        let (came, _) = listed(&[first, Err(403)]).await;
        assert!(matches!(came, Err(ApiError::Refused { .. })), "no half of a list");
    }
}
