//! Tokens: as stored, as asked for, and as text.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fingerprint::Fingerprint;
use super::role::Role;
use super::rule::Grant;
use super::scope::Scope;
use crate::body;
use crate::duration::Seconds;
use crate::membership;
use crate::name::{GroupName, ResourceName};
use crate::path::WorkspacePath;
use crate::problem::Problem;

/// What the text of a token begins with, so that people and scanners of leaked
/// secrets recognise one.
const PREFIX: &str = "lote_";

/// The length of a token's id: 64 random bits in hexadecimal digits.
pub const ID_LENGTH: usize = 16;

/// What the text of a token begins with that lets a machine join.
const JOIN_PREFIX: &str = "lotejoin_";

/// How long a token lasts that lets machines join, unless somebody says it.
const JOIN_LIFE: Seconds = Seconds::days(1);

/// The most uses a token may have.
const USES_MAX: u32 = 10_000;

/// The longest name of a token, in characters.
const NAME_LENGTH_MAX: usize = 100;

/// The longest life of a token that expires, in days: ten years.
const LIFE_MAX: Seconds = Seconds::days(3_650);

/// The public part of a token: it names the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(String);

impl TokenId {
    /// An id from random bits.
    pub fn from_bits(bits: u64) -> Self {
        Self(format!("{bits:016x}"))
    }

    /// Reads an id; none if it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let fits = text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then_some(Self(text))
    }

    /// The id as it stands in keys and URLs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token as its owner shows it: `lote_{id}_{secret}`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenText<'a> {
    /// Which record it claims to be.
    id: &'a str,
    /// What proves the claim.
    secret: &'a str,
}

impl<'a> TokenText<'a> {
    /// Reads the text; none if it has another form. Whether it is right is not
    /// decided here.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let fits = TokenId::parse(id).is_some() && !secret.is_empty() && secret.chars().all(plain);
        fits.then_some(Self { id, secret })
    }

    /// Which record it claims to be.
    pub fn id(&self) -> Option<TokenId> {
        TokenId::parse(self.id)
    }

    /// What proves the claim.
    pub fn secret(&self) -> &'a str {
        self.secret
    }

    /// The text of a new token.
    pub fn compose(id: &TokenId, secret: &str) -> String {
        format!("{PREFIX}{id}_{secret}")
    }
}

/// Never the secret.
impl fmt::Debug for TokenText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenText({})", self.id)
    }
}

/// What a machine is given to join with: `lotejoin_{id}_{secret}`, and behind dots,
/// where they are known, the id of the cluster and the fingerprint of the certificate
/// of the daemon that it is to ask.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The token as the daemon wants it.
    pub bearer: String,
    /// The cluster that it is for, so that a member of another one notices.
    pub cluster_id: Option<String>,
    /// The one certificate that is believed; none if the daemon does not encrypt.
    pub fingerprint: Option<Fingerprint>,
}

impl JoinToken {
    /// Reads the text; none if it has another form.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix(JOIN_PREFIX)?;
        let mut parts = rest.split('.');
        let mut token = Self {
            bearer: format!("{PREFIX}{}", parts.next()?),
            cluster_id: None,
            fingerprint: None,
        };
        TokenText::parse(&token.bearer)?;
        for part in parts {
            // The two differ in length, so that either may be missing.
            if membership::is_cluster_id(part) {
                token.cluster_id = Some(part.to_owned());
            } else {
                token.fingerprint = Some(Fingerprint::parse(part).ok()?);
            }
        }
        Some(token)
    }

    /// The text that [`Self::parse`] reads.
    pub fn compose(&self) -> String {
        let token = self.bearer.strip_prefix(PREFIX).unwrap_or(&self.bearer);
        let mut text = format!("{JOIN_PREFIX}{token}");
        if let Some(cluster_id) = &self.cluster_id {
            text.push('.');
            text.push_str(cluster_id);
        }
        if let Some(fingerprint) = &self.fingerprint {
            let shown = fingerprint.to_string();
            text.push('.');
            text.push_str(shown.rsplit(':').next().unwrap_or_default());
        }
        text
    }
}

/// Never the secret.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").finish_non_exhaustive()
    }
}

/// What a client puts after `Bearer`. Clients that insist on the shape of a JSON
/// Web Token send three parts with dots between them; the last one is ours. Our
/// own tokens have no dots.
pub fn unwrapped(bearer: &str) -> &str {
    let mut parts = bearer.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(_), Some(last), None) => last,
        _ => bearer,
    }
}

/// A token as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenRecord {
    /// Its public part.
    pub id: TokenId,
    /// What its maker calls it.
    pub name: String,
    /// What for.
    pub role: Role,
    /// How far.
    pub scope: Scope,
    /// The SHA-256 of the secret part, in hexadecimal digits. The secret has 256
    /// random bits, so it cannot be guessed from a hash however fast that is; a
    /// slow hash is for what people think up.
    pub secret_hash: String,
    /// The last four characters of the secret, so that people find the right one.
    pub last_four: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: a token's id and name, or `open`.
    pub created_by: String,
    /// How often it can still be used; without a limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    /// From when on it is void.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Whether a token can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It can.
    Active,
    /// Its time is over.
    Expired,
    /// It was used as often as it could be.
    Used,
    /// Somebody took it back.
    Revoked,
}

impl TokenRecord {
    /// Whether it can be used at that time.
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            TokenState::Expired
        } else if self.uses_left == Some(0) {
            TokenState::Used
        } else {
            TokenState::Active
        }
    }

    /// When it ceased to be of use, if it has.
    pub fn ended_at(&self, now: Timestamp) -> Option<Timestamp> {
        let expired = self.expires_at.filter(|end| *end <= now);
        self.revoked_at.into_iter().chain(expired).min()
    }

    /// What it grants while it is active.
    pub fn grant(&self) -> Grant {
        Grant {
            role: self.role,
            scope: self.scope.clone(),
        }
    }

    /// Whether it alone would be enough to administer the installation.
    pub fn administers(&self, now: Timestamp) -> bool {
        self.role == Role::Admin
            && self.scope == Scope::Everything
            && self.state(now) == TokenState::Active
    }
}

/// A token as somebody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// What to call it.
    pub name: String,
    /// What for.
    pub role: Role,
    /// How far.
    pub scope: Scope,
    /// How long it lasts; for ever if absent.
    pub expires_in: Option<Seconds>,
    /// How often it can be used; without a limit if absent.
    pub uses: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Properties {
    #[serde(default)]
    display_name: Option<String>,
    role: Role,
    #[serde(default)]
    scope: Option<ScopeProperties>,
    #[serde(default)]
    expires_in: Option<Seconds>,
    #[serde(default)]
    uses: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScopeProperties {
    group: GroupName,
    #[serde(default)]
    workspace: Option<ResourceName>,
}

impl TokenRequest {
    /// Reads and checks the body of a request for a token.
    pub fn parse(request_body: &[u8]) -> Result<Self, Problem> {
        let members = body::properties(request_body, &[])?;
        let properties: Properties = body::typed(Value::Object(members), "/properties")?;
        let joins = properties.role == Role::Node;
        if joins && properties.scope.is_some() {
            let message =
                "a token for nodes has no scope: machines belong to the whole installation";
            return Err(Problem::invalid("/properties/scope", message));
        }
        let scope = properties.scope.map_or(Scope::Everything, Into::into);
        let life = properties.expires_in.or(joins.then_some(JOIN_LIFE));
        Ok(Self {
            uses: checked_uses(properties.uses, joins)?,
            name: checked_name(properties.display_name)?,
            role: properties.role,
            scope,
            expires_in: checked_life(life)?,
        })
    }

    /// When a token made now would expire.
    pub fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        let life = self.expires_in?;
        let life = SignedDuration::from_secs(i64::try_from(life.0).unwrap_or(i64::MAX));
        Some(now.checked_add(life).unwrap_or(Timestamp::MAX))
    }
}

impl From<ScopeProperties> for Scope {
    fn from(scope: ScopeProperties) -> Self {
        let group = scope.group;
        match scope.workspace {
            None => Self::Group(group),
            Some(workspace) => Self::Workspace(WorkspacePath { group, workspace }),
        }
    }
}

fn checked_name(name: Option<String>) -> Result<String, Problem> {
    let name = name.unwrap_or_default();
    let name = name.trim();
    if name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        let message = format!("displayName is one line of at most {NAME_LENGTH_MAX} characters");
        return Err(Problem::invalid("/properties/displayName", message));
    }
    Ok(name.to_owned())
}

/// Only what happens seldom is counted: every use of a token is a write.
fn checked_uses(uses: Option<u32>, joins: bool) -> Result<Option<u32>, Problem> {
    match uses {
        Some(_) if !joins => {
            let message = "only tokens with the role node have a number of uses";
            Err(Problem::invalid("/properties/uses", message))
        }
        Some(uses) if uses == 0 || uses > USES_MAX => {
            let message = format!("uses must be 1 to {USES_MAX}");
            Err(Problem::invalid("/properties/uses", message))
        }
        uses => Ok(uses),
    }
}

fn checked_life(life: Option<Seconds>) -> Result<Option<Seconds>, Problem> {
    match life {
        Some(life) if life.0 == 0 || life > LIFE_MAX => {
            let message = format!(
                "expiresIn must be longer than nothing and at most {LIFE_MAX}; leave it out for a \
                 token that never expires"
            );
            Err(Problem::invalid("/properties/expiresIn", message))
        }
        life => Ok(life),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(properties: &Value) -> Result<TokenRequest, Problem> {
        TokenRequest::parse(json!({"properties": properties}).to_string().as_bytes())
    }

    #[test]
    fn a_request_says_role_scope_and_life() {
        let request = parse(&json!({"role": "reader"})).unwrap();
        assert_eq!(
            (request.role, request.scope),
            (Role::Reader, Scope::Everything)
        );
        let request = parse(&json!({
            "role": "contributor", "displayName": " ci ", "expiresIn": "P30D",
            "scope": {"group": "lab", "workspace": "ws"},
        }))
        .unwrap();
        assert_eq!(request.name, "ci");
        assert_eq!(request.scope.to_string(), "workspace lab/ws");
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(request.expires_at(now).unwrap().as_second(), 30 * 86_400);
    }

    #[test]
    fn wrong_requests_are_refused_with_their_place() {
        for (properties, target) in [
            (json!({}), "/properties"),
            (json!({"role": "owner"}), "/properties/role"),
            (json!({"role": "reader", "scope": {}}), "/properties/scope"),
            (
                json!({"role": "reader", "scope": {"workspace": "ws"}}),
                "/properties/scope",
            ),
            (
                json!({"role": "reader", "scope": {"group": ".."}}),
                "/properties/scope/group",
            ),
            (
                json!({"role": "reader", "expiresIn": "P0D"}),
                "/properties/expiresIn",
            ),
            (
                json!({"role": "reader", "expiresIn": "P3651D"}),
                "/properties/expiresIn",
            ),
            (
                json!({"role": "reader", "expires": "P1D"}),
                "/properties/expires",
            ),
            (
                json!({"role": "reader", "displayName": "a\nb"}),
                "/properties/displayName",
            ),
        ] {
            let problem = parse(&properties).unwrap_err();
            assert_eq!(problem.target.as_deref(), Some(target), "{properties}");
        }
    }

    #[test]
    fn a_machines_token_ends_soon_and_reaches_nothing_else() {
        let request = parse(&json!({"role": "node"})).unwrap();
        assert_eq!((request.expires_in, request.uses), (Some(JOIN_LIFE), None));
        let request = parse(&json!({"role": "node", "uses": 3, "expiresIn": "P7D"})).unwrap();
        assert_eq!(request.uses, Some(3));
        assert_eq!(request.expires_in, Some(Seconds::days(7)));
        for (properties, target) in [
            (json!({"role": "node", "uses": 0}), "/properties/uses"),
            (json!({"role": "admin", "uses": 1}), "/properties/uses"),
            (
                json!({"role": "node", "scope": {"group": "lab"}}),
                "/properties/scope",
            ),
        ] {
            let problem = parse(&properties).unwrap_err();
            assert_eq!(problem.target.as_deref(), Some(target), "{properties}");
        }
    }

    #[test]
    fn a_token_to_join_with_says_whom_to_believe() {
        let bearer = TokenText::compose(&TokenId::from_bits(5), "s3cr-_t");
        let cluster = || Some("0123456789abcdef0123456789abcdef".to_owned());
        let certificate = || Some(Fingerprint([0xab; 32]));
        for (cluster_id, fingerprint) in [
            (None, None),
            (None, certificate()),
            (cluster(), None),
            (cluster(), certificate()),
        ] {
            let token = JoinToken {
                bearer: bearer.clone(),
                cluster_id,
                fingerprint,
            };
            let text = token.compose();
            assert!(
                text.starts_with("lotejoin_0000000000000005_s3cr-_t"),
                "{text}"
            );
            assert_eq!(JoinToken::parse(&text), Some(token.clone()));
            assert!(!format!("{token:?}").contains("s3cr"));
        }
        for bad in [
            "",
            "lote_0000000000000005_x",
            "lotejoin_5_x",
            "lotejoin_0000000000000005_x.ab",
        ] {
            assert_eq!(JoinToken::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn wrappers_of_old_clients_are_taken_off() {
        assert_eq!(unwrapped("a.b.lote_1_2"), "lote_1_2");
        for other in ["lote_1_2", "a.b", "a.b.c.d", "", "a.b.c.lote_1_2"] {
            assert_eq!(unwrapped(other), other);
        }
        assert_eq!(unwrapped(".."), "");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = TokenText::compose(&TokenId::from_bits(1), "s3cr3t");
        let token = TokenText::parse(&text).unwrap();
        assert_eq!(token.secret(), "s3cr3t");
        assert!(!format!("{token:?}").contains("s3cr3t"));
    }

    #[test]
    fn revocation_counts_before_expiry() {
        let second = |number| Timestamp::from_second(number).unwrap();
        let mut record = TokenRecord {
            id: TokenId::from_bits(7),
            name: String::new(),
            role: Role::Admin,
            scope: Scope::Everything,
            secret_hash: String::new(),
            last_four: String::new(),
            created_at: second(0),
            created_by: "open".into(),
            uses_left: None,
            expires_at: Some(second(100)),
            revoked_at: None,
        };
        assert_eq!(record.state(second(99)), TokenState::Active);
        assert!(record.administers(second(99)));
        assert_eq!(record.state(second(100)), TokenState::Expired);
        assert_eq!(record.ended_at(second(99)), None);
        record.revoked_at = Some(second(50));
        assert_eq!(record.state(second(100)), TokenState::Revoked);
        assert_eq!(record.ended_at(second(100)), Some(second(50)));
        assert!(!record.administers(second(60)));
    }

    proptest! {
        #[test]
        fn what_is_composed_is_read_back(bits in any::<u64>(), secret in "[A-Za-z0-9_-]{1,60}") {
            let id = TokenId::from_bits(bits);
            let text = TokenText::compose(&id, &secret);
            let token = TokenText::parse(&text).unwrap();
            prop_assert_eq!(token.id(), Some(id));
            prop_assert_eq!(token.secret(), secret);
            prop_assert_eq!(unwrapped(&text), text.as_str());
        }

        #[test]
        fn strangers_texts_do_no_harm(text in ".{0,80}") {
            let _ = TokenText::parse(unwrapped(&text));
        }
    }
}
