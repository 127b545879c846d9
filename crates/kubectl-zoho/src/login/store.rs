//! Where a login is stored: the source Secret and the `ZohoCredential`, never over somebody else's.
//!
//! Everything that can be refused is tried as a server-side dry run before the code is spent, which works only once.
//!
//! A source may serve several credentials, each by keys of its own: a login writes its own keys, and no other one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::DeserializeGuard;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::connect::{Cluster, FIELD_MANAGER};
use super::super::facts::manager_of;
use super::super::pages;
use super::super::secret_io::{self, SourceValues};
use super::scopes;
use super::wanted::Wanted;
use zoho_api::names::ObjectVersion;
use zoho_api::{DataCenter, Grant, SecretRef, ZohoCredential, keys};
use zoho_client::apply::{Before, write_secret};
use zoho_client::calls::{ApiError, call};
use zoho_core::facts::source::{consents_to_others, with_consent};
use zoho_core::issuer::data_centers;

/// How often a write whose answer did not come is made again, and how long after: each call has ten seconds of its own.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// The credential of that name, if there is one.
///
/// # Errors
///
/// With a sentence: no permission, no cluster.
///
/// # Permissions
///
/// get on `zohocredentials`.
pub(crate) async fn existing(cluster: &Cluster, name: &str) -> anyhow::Result<Option<ZohoCredential>> {
    match call(cluster.credentials().get(name)).await {
        Ok(credential) => Ok(Some(credential)),
        Err(ApiError::NotFound) => Ok(None),
        Err(error) => Err(cluster.explain(error, name)),
    }
}

/// A place that was looked at and takes what is to be stored.
pub(crate) struct Place<'a> {
    cluster: &'a Cluster,
    reference: SecretRef,
    /// The source that was there before, and ours: its version.
    own: Option<ObjectVersion>,
    /// The other credentials that are served from the refresh token that is replaced.
    token_of: Vec<ZohoCredential>,
    /// Whom the source is for, as its annotation will say.
    source_for: String,
    /// The source is for others, too: the client id that they use.
    client_of_others: Option<SecretString>,
    is_shared: bool,
}

impl<'a> Place<'a> {
    /// May the refresh token be of another data center than was thought?
    ///
    /// # Errors
    ///
    /// With a sentence: it would replace one that another credential needs.
    pub(crate) fn check_move(&self, wanted: &Wanted, to: (DataCenter, Option<&str>)) -> anyhow::Result<()> {
        let Some(other) = self.token_of.first() else { return Ok(()) };
        if place_of(to.0, to.1) == place_of(wanted.data_center, wanted.accounts_host.as_deref()) {
            return Ok(());
        }
        anyhow::bail!(
            "your account is in data center {}, and Secret {} also serves ZohoCredential {} with this refresh token: sign in with another account, or give this credential a Secret of its own",
            to.0,
            self.reference.name,
            name_of(other)
        )
    }

    /// Is a refresh token with the granted scopes of use to the others that are served from the one that it replaces? Which
    /// scopes a code is for is said in the API console, so they need not be those that were asked for. `granted`: as Zoho
    /// said them, if it did.
    ///
    /// # Errors
    ///
    /// With a sentence: one of them would lose a scope.
    pub(crate) fn check_granted(&self, granted: Option<&str>) -> anyhow::Result<()> {
        let Some(granted) = granted else { return Ok(()) };
        for other in &self.token_of {
            let lost = lost_by(other, granted);
            if !lost.is_empty() {
                anyhow::bail!(
                    "Zoho did not grant {}, which ZohoCredential {} needs, and key {} of Secret {} also serves that one: log in with all of these scopes, or give this credential a Secret, or a refreshTokenKey, of its own",
                    lost.join(","),
                    name_of(other),
                    self.reference.refresh_token_key(),
                    self.reference.name
                );
            }
        }
        Ok(())
    }

    /// Does the source hold these values already? Writing them again is no news to the operator.
    ///
    /// # Permissions
    ///
    /// get on Secrets.
    pub(crate) async fn holds(&self, grant: &impl SourceValues) -> bool {
        // A line break at the end is no part of a value.
        let is_same = |there: &[u8], value: &[u8]| there.trim_ascii() == value.trim_ascii();
        self.version_with(&secret_io::source_data(grant, &self.reference), is_same).await.is_some()
    }

    /// Looks at what is there, and tries the writes.
    ///
    /// # Errors
    ///
    /// With a sentence: somebody else's Secret, no permission, no such namespace, kinds that are not installed.
    ///
    /// # Permissions
    ///
    /// patch on `zohocredentials` where there is none yet, get and patch (and create) on Secrets.
    pub(crate) async fn find(cluster: &'a Cluster, wanted: &Wanted) -> anyhow::Result<Self> {
        let (namespace, reference) = (&cluster.namespace, wanted.reference.clone());
        let secret = match call(secrets(cluster).get_metadata(&reference.name)).await {
            Ok(secret) => Some(secret.metadata),
            Err(ApiError::NotFound) => None,
            Err(error) => return Err(anyhow::Error::new(error).context(format!("look at Secret {}", reference.name))),
        };
        if let Some(meta) = &secret {
            let labels = meta.labels.as_ref();
            if labels.and_then(|labels| labels.get(keys::MANAGED_BY)).map(String::as_str) != Some(FIELD_MANAGER)
                || meta.owner_references.is_some()
            {
                anyhow::bail!(not_ours(namespace, wanted, manager_of(meta).as_deref()));
            }
        }
        let own = secret.as_ref().map(ObjectVersion::of);
        let mut token_of = Vec::new();
        let said = secret.as_ref().and_then(|meta| meta.annotations.as_ref()?.get(keys::SOURCE_FOR));
        let source_for = with_consent(said.map(String::as_str), &wanted.name);
        let says_so = consents_to_others(said.map(String::as_str), &wanted.name);
        let (is_shared, shares_client) = match &own {
            None => (false, false),
            // Who may not list them goes by what the Secret says, and is not told whom other scopes concern.
            Some(_) => match sharers(cluster, wanted).await? {
                None => (says_so, says_so),
                Some(Sharers { known, has_unknown }) => {
                    check_keys(&known, wanted)?;
                    check_scopes(&known, wanted)?;
                    let client = wanted.reference.client_id_key();
                    let shares_client = known.iter().any(|other| other.spec.secret_ref.client_id_key() == client);
                    let may_be_more = has_unknown && says_so;
                    let shares = (!known.is_empty() || may_be_more, shares_client || may_be_more);
                    token_of = known.into_iter().filter(|other| shares_token(other, wanted)).collect();
                    shares
                }
            },
        };
        let client_of_others = if shares_client { client_of(cluster, &reference).await? } else { None };
        let place = Self { cluster, reference, own, token_of, source_for, client_of_others, is_shared };
        place.rehearse(wanted).await?;
        Ok(place)
    }

    /// May a login of this client be stored? Others who use the source have refresh tokens of the client that is there.
    ///
    /// # Errors
    ///
    /// With a sentence: it is another client.
    pub(crate) fn check_client(&self, id: &str) -> anyhow::Result<()> {
        if self.client_of_others.as_ref().is_none_or(|theirs| secret_io::is_same(theirs, id)) {
            return Ok(());
        }
        anyhow::bail!(
            "Secret {}/{} is for other credentials as well ({}) and holds another client id, which theirs need: log in with that client, or give this credential a Secret of its own, or keys of its own in this one (clientIdKey, clientSecretKey, refreshTokenKey and, with --browser, redirectUriKey)",
            self.cluster.namespace,
            self.reference.name,
            self.source_for
        )
    }

    async fn rehearse(&self, wanted: &Wanted) -> anyhow::Result<()> {
        let data = [("dry-run".to_owned(), ByteString(b"dry-run".to_vec()))].into();
        self.write_source(&data, true).await.with_context(|| {
            format!("nothing was sent to Zoho, since Secret {} could not be stored", self.reference.name)
        })?;
        self.apply_credential(wanted, true).await.with_context(|| {
            format!("nothing was sent to Zoho, since ZohoCredential {} could not be stored", wanted.name)
        })
    }

    /// Writes the source Secret and returns its `uid/resourceVersion`. A write whose answer does not come is made again: twice
    /// is as good as once.
    ///
    /// # Errors
    ///
    /// The API server's; one that [`is_unknown`] where it is not known whether the Secret was written.
    pub(crate) async fn store_source(&self, grant: &impl SourceValues) -> anyhow::Result<ObjectVersion> {
        let data = secret_io::source_data(grant, &self.reference);
        let mut last: Option<anyhow::Error> = None;
        for number in 1..=TRIES {
            let error = match self.write_source(&data, false).await {
                Ok(written) => return Ok(ObjectVersion::of(&written.metadata)),
                Err(error) => error,
            };
            if !is_unavailable(&error) {
                // Whatever it says, the write before may have been carried out.
                return match last.filter(is_unknown) {
                    None => Err(error),
                    Some(unknown) => self.version_with(&data, |it, value| it == value).await.ok_or(unknown),
                };
            }
            // What is not known outweighs what was not taken.
            if is_unknown(&error) || last.is_none() {
                last = Some(error);
            }
            if number < TRIES {
                sleep(PAUSE).await;
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("it was not tried")))
    }

    /// The version of the source, if it has all of these values, as far as `is_same` says.
    async fn version_with(
        &self,
        data: &BTreeMap<String, ByteString>,
        is_same: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Option<ObjectVersion> {
        let found = call(secrets(self.cluster).get(&self.reference.name)).await.ok()?;
        let there = found.data.unwrap_or_default();
        let is_there = |(key, value): (&String, &ByteString)| there.get(key).is_some_and(|it| is_same(&it.0, &value.0));
        data.iter().all(is_there).then(|| ObjectVersion::of(&found.metadata))
    }

    async fn write_source(&self, data: &BTreeMap<String, ByteString>, dry_run: bool) -> anyhow::Result<Secret> {
        let mut metadata = self.source_metadata();
        let manifest = json!({ "metadata": metadata, "type": "Opaque", "data": data });
        let wanted: Secret = serde_json::from_value(manifest).context("compose the Secret")?;
        let secrets = secrets(self.cluster);
        let written = match &self.own {
            // Where nothing was a moment ago, a Secret that has come since makes this fail, whoever made it.
            None => {
                let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.into()) };
                write_secret(&secrets, &wanted, Before::Nothing, secrets.create(&params, &wanted)).await
            }
            // Key by key: an applied configuration would take away what the login of another credential has put there.
            Some(version) => {
                metadata["uid"] = json!(version.uid);
                let mut data = json!(data);
                let redirect_uri = self.reference.redirect_uri_key();
                if !self.is_shared && !dry_run && data.get(redirect_uri).is_none() {
                    data[redirect_uri] = Value::Null;
                }
                let patch = Patch::Merge(json!({ "metadata": metadata, "data": data }));
                let params =
                    PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
                let request = secrets.patch(&self.reference.name, &params, &patch);
                write_secret(&secrets, &wanted, Before::At(version), request).await
            }
        };
        written.map_err(|error| self.explain(error))
    }

    /// The metadata of the source, but for its namespace.
    pub(crate) fn source_metadata(&self) -> Value {
        json!({
            "name": self.reference.name,
            "labels": { (keys::MANAGED_BY): FIELD_MANAGER },
            "annotations": { (keys::SOURCE_FOR): self.source_for },
        })
    }

    /// Writes the `ZohoCredential`, unless there is one.
    ///
    /// # Errors
    ///
    /// The API server's.
    pub(crate) async fn store_credential(&self, wanted: &Wanted) -> anyhow::Result<()> {
        for _ in 1..TRIES {
            match self.apply_credential(wanted, false).await {
                Err(error) if is_unavailable(&error) => sleep(PAUSE).await,
                done => return done,
            }
        }
        self.apply_credential(wanted, false).await
    }

    async fn apply_credential(&self, wanted: &Wanted, dry_run: bool) -> anyhow::Result<()> {
        if wanted.is_there {
            return Ok(());
        }
        let manifest = wanted.manifest(None);
        let params = PatchParams { dry_run, ..PatchParams::apply(FIELD_MANAGER) };
        let api = self.cluster.credentials();
        call(api.patch(&wanted.name, &params, &Patch::Apply(manifest))).await.map_err(|error| self.explain(error))?;
        Ok(())
    }

    fn explain(&self, error: ApiError) -> anyhow::Error {
        match error {
            ApiError::NotFound => anyhow::anyhow!(
                "namespace {} does not exist, or the kinds of zoho-operator are not installed: see kubectl zoho doctor",
                self.cluster.namespace
            ),
            ApiError::Conflict
            | ApiError::AlreadyExists
            | ApiError::Refused { .. }
            | ApiError::NoDryRun
            | ApiError::Unavailable(_) => error.into(),
        }
    }
}

/// May the same write succeed a little later? No answer, or the API server had no time.
fn is_unavailable(error: &anyhow::Error) -> bool {
    let answer = error.downcast_ref::<ApiError>();
    answer.is_some_and(|answer| matches!(answer, ApiError::Unavailable(_)) && !answer.is_unauthenticated())
}

/// Is it not known whether the write was carried out? It was not where the API server did not know the caller, or had no time.
pub(crate) fn is_unknown(error: &anyhow::Error) -> bool {
    let Some(ApiError::Unavailable(cause)) = error.downcast_ref::<ApiError>() else { return false };
    let had_no_time = matches!(cause.as_deref(), Some(kube::Error::Api(status)) if status.code == 429);
    is_unavailable(error) && !had_no_time
}

/// The other credentials that a source serves.
struct Sharers {
    known: Vec<ZohoCredential>,
    /// There are credentials in the namespace that this version cannot read. They may be among them.
    has_unknown: bool,
}

/// The other credentials of the namespace that name the source. `None` where the caller may not list them.
///
/// # Errors
///
/// With a sentence: the API server did not say. A refresh token that is theirs too could be overwritten.
async fn sharers(cluster: &Cluster, wanted: &Wanted) -> anyhow::Result<Option<Sharers>> {
    let api = Api::<DeserializeGuard<ZohoCredential>>::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = unless_refused(pages::all(&api).await).with_context(|| {
        let source = &wanted.reference.name;
        format!("nothing was sent to Zoho, since it is not known which ZohoCredentials use Secret {source}")
    })?;
    let Some(listed) = listed else { return Ok(None) };
    let has_unknown = listed.items.iter().any(|DeserializeGuard(item)| item.is_err());
    let others = listed.items.into_iter().filter_map(|DeserializeGuard(item)| item.ok());
    let shares = |other: &ZohoCredential| {
        other.metadata.name.as_deref() != Some(&wanted.name) && other.spec.secret_ref.name == wanted.reference.name
    };
    Ok(Some(Sharers { known: others.filter(shares).collect(), has_unknown }))
}

/// What was read; `None` where the caller has no right to it.
fn unless_refused<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(read) => Ok(Some(read)),
        Err(ApiError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Would a value of another client, or of another data center, take the place of one that another credential needs?
///
/// # Errors
///
/// With a sentence: the key, whose it is too, and what to do.
fn check_keys(sharers: &[ZohoCredential], wanted: &Wanted) -> anyhow::Result<()> {
    let own = &wanted.reference;
    for other in sharers.iter().filter(|other| other.spec.endpoint_central_server.is_none()) {
        let (name, theirs) = (name_of(other), &other.spec.secret_ref);
        let share_token = shares_token(other, wanted);
        let of_other_client = theirs.client_id_key() != own.client_id_key();
        let secret = (theirs.client_secret_key() == own.client_secret_key()).then(|| own.client_secret_key());
        let token = share_token.then(|| own.refresh_token_key());
        if let Some(key) = secret.or(token).filter(|_| of_other_client) {
            anyhow::bail!(
                "key {key} of Secret {} also serves ZohoCredential {name}, which has the client of key {}: give this credential keys of its own (clientIdKey, clientSecretKey, refreshTokenKey and, with --browser, redirectUriKey), or a Secret of its own",
                own.name,
                theirs.client_id_key()
            );
        }
        let theirs = other.spec.data_center.map(|at| place_of(at, other.spec.accounts_host.as_deref()));
        if share_token && theirs != Some(place_of(wanted.data_center, wanted.accounts_host.as_deref())) {
            anyhow::bail!(
                "key {} of Secret {} also serves ZohoCredential {name}, which logs in at another data center or accounts host: give this credential a refreshTokenKey, or a Secret, of its own",
                own.refresh_token_key(),
                own.name
            );
        }
    }
    Ok(())
}

/// The scopes that a credential needs, and would not have with a refresh token of those that were granted. What it does not
/// have now either is not lost.
fn lost_by(other: &ZohoCredential, granted: &str) -> Vec<String> {
    let has = other.status.as_ref().map(|status| status.granted_scopes.as_slice()).unwrap_or_default();
    let has = |scope: &str| has.is_empty() || has.iter().any(|one| one.eq_ignore_ascii_case(scope));
    needed_by(other).into_iter().filter(|scope| has(scope) && !scopes::is_granted(scope, granted)).collect()
}

/// The scopes that a credential asks for.
fn needed_by(credential: &ZohoCredential) -> Vec<String> {
    scopes::wanted(&credential.spec.scopes, credential.spec.product).unwrap_or_default()
}

fn name_of(credential: &ZohoCredential) -> &str {
    credential.metadata.name.as_deref().unwrap_or_default()
}

/// Is the other one served from the refresh token that this login replaces?
fn shares_token(other: &ZohoCredential, wanted: &Wanted) -> bool {
    wanted.grant == Grant::RefreshToken
        && other.spec.grant() == Grant::RefreshToken
        && other.spec.endpoint_central_server.is_none()
        && other.spec.secret_ref.refresh_token_key() == wanted.reference.refresh_token_key()
}

/// Where an account is. Hosts of one data center are one place, and other hosts a place each.
fn place_of(data_center: DataCenter, host: Option<&str>) -> (DataCenter, Option<String>) {
    match host {
        None => (data_center, None),
        Some(host) => data_centers::of_accounts_host(host)
            .map_or_else(|| (DataCenter::Other, Some(host.to_owned())), |data_center| (data_center, None)),
    }
}

/// Would the new refresh token be of use to the others that are served from the one that it replaces?
///
/// # Errors
///
/// With a sentence: one of them needs what is not asked for.
fn check_scopes(sharers: &[ZohoCredential], wanted: &Wanted) -> anyhow::Result<()> {
    let key = wanted.reference.refresh_token_key();
    for other in sharers.iter().filter(|other| shares_token(other, wanted)) {
        let mut lacks = needed_by(other);
        lacks.retain(|scope| !wanted.scopes.contains(scope));
        if !lacks.is_empty() {
            let (name, lacks) = (name_of(other), lacks.join(","));
            anyhow::bail!(
                "key {key} of Secret {} also serves ZohoCredential {name}, which needs {lacks} too: log in for all of them with --scope, or give this one a Secret, or a refreshTokenKey, of its own",
                wanted.reference.name
            );
        }
    }
    Ok(())
}

/// The client id in a source.
async fn client_of(cluster: &Cluster, reference: &SecretRef) -> anyhow::Result<Option<SecretString>> {
    let secret = call(secrets(cluster).get(&reference.name)).await;
    let secret = secret.with_context(|| format!("look at Secret {}", reference.name))?;
    let id = secret.data.and_then(|mut data| data.remove(reference.client_id_key()));
    Ok(id.and_then(|ByteString(id)| String::from_utf8(id).ok()).map(SecretString::from))
}

fn secrets(cluster: &Cluster) -> Api<Secret> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

fn not_ours(namespace: &str, wanted: &Wanted, manager: Option<&str>) -> String {
    let name = &wanted.reference.name;
    if let Some(manager) = manager {
        return format!(
            "Secret {namespace}/{name} is managed by {manager}, which would undo a change. Put the new values where it takes them from: --print-secret=json prints them for a pipe"
        );
    }
    // A credential that is there names its Secret.
    let other = if wanted.is_there { "Hand" } else { "Choose another one with --secret, or hand" };
    format!(
        "Secret {namespace}/{name} exists and was not created by kubectl zoho; it is left as it is. {other} it over: kubectl label secret -n {namespace} {name} {}={FIELD_MANAGER}",
        keys::MANAGED_BY
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn scopes_of_others_count_where_their_refresh_token_would_be_replaced() {
        let other = json!({ "metadata": { "name": "desk" }, "spec": {
            "dataCenter": "EU", "secretRef": { "name": "patch-oauth" }, "scopes": ["A.b.READ"] } });
        let sharers = [serde_json::from_value(other).unwrap()];
        let check = |flags: &[&str]| {
            let args = ["z", "login", "patch", "--data-center", "EU", "--scope", "A.c.READ"];
            let Command::Login(args) = Cli::try_parse_from([&args, flags].concat()).unwrap().command else { panic!() };
            check_scopes(&sharers, &Wanted::of(&args, None).unwrap())
        };
        assert!(check(&[]).unwrap_err().to_string().contains("needs A.b.READ too"));
        assert!(check(&["--client-credentials"]).is_ok());
    }

    #[test]
    fn scope_that_another_one_needs_is_lost_if_it_has_it_now() {
        let other = |status: &Value| {
            let spec =
                json!({ "dataCenter": "EU", "secretRef": { "name": "zoho" }, "scopes": ["A.b.READ", "A.c.READ"] });
            serde_json::from_value(json!({ "metadata": { "name": "desk" }, "spec": spec, "status": status })).unwrap()
        };
        let with = |scopes: &[&str]| json!({ "grantedScopes": scopes });
        assert!(lost_by(&other(&json!({})), "a.b.read A.c.READ").is_empty());
        assert_eq!(lost_by(&other(&json!({})), "A.b.READ"), ["A.c.READ"]);
        assert_eq!(lost_by(&other(&with(&["A.b.READ", "A.c.READ"])), "A.b.READ"), ["A.c.READ"]);
        assert!(lost_by(&other(&with(&["A.b.READ"])), "A.b.READ").is_empty(), "it does not have the other one now");
    }

    #[test]
    fn keys_that_another_client_or_data_center_needs_are_not_written_over() {
        let login = |key: [&str; 3], data_center: &str| {
            let [id, secret, token] = key;
            serde_json::from_value::<ZohoCredential>(json!({ "metadata": { "name": "patch" }, "spec": {
                "dataCenter": data_center, "scopes": ["A.b.READ"], "secretRef": { "name": "zoho",
                "clientIdKey": id, "clientSecretKey": secret, "refreshTokenKey": token } } }))
            .unwrap()
        };
        let check = |own: [&str; 3], data_center: &str, flags: &[&str]| {
            let args = ["z", "login", "patch", "--timeout", "0s"];
            let Command::Login(args) = Cli::try_parse_from([&args, flags].concat()).unwrap().command else { panic!() };
            let other = [login(["client_id", "client_secret", "refresh_token"], "EU")];
            let checked = check_keys(&other, &Wanted::of(&args, Some(&login(own, data_center))).unwrap());
            checked.map_err(|error| error.to_string()).err().unwrap_or_default()
        };
        let none: &[&str] = &[];
        assert_eq!(check(["client_id", "client_secret", "mine"], "US", none), "", "one client, two tokens");
        assert_eq!(check(["client_id", "client_secret", "refresh_token"], "EU", none), "", "one token for both");
        assert_eq!(check(["my_id", "my_secret", "my_token"], "US", none), "");
        assert!(
            check(["my_id", "client_secret", "my_token"], "EU", none).starts_with("key client_secret of Secret zoho")
        );
        assert!(
            check(["my_id", "my_secret", "refresh_token"], "EU", none).starts_with("key refresh_token of Secret zoho")
        );
        let named = json!({ "metadata": { "name": "desk" }, "spec": { "dataCenter": "EU",
            "accountsHost": "accounts.zoho.eu", "secretRef": { "name": "zoho" } } });
        let named: ZohoCredential = serde_json::from_value(named).unwrap();
        assert_eq!(place_of(DataCenter::EU, named.spec.accounts_host.as_deref()), place_of(DataCenter::EU, None));
        let elsewhere = check(["client_id", "client_secret", "refresh_token"], "US", none);
        assert!(elsewhere.contains("logs in at another data center"), "{elsewhere}");
    }

    #[test]
    fn only_a_refusal_says_that_it_may_not_be_read() {
        assert!(matches!(unless_refused(Ok(1)), Ok(Some(1))));
        assert!(matches!(unless_refused::<u8>(Err(ApiError::Refused { message: "no".into() })), Ok(None)));
        for error in [ApiError::Unavailable(None), ApiError::NotFound] {
            assert!(unless_refused::<u8>(Err(error)).is_err());
        }
    }
}
