//! Which members of a body are secret, and how they are taken out of it.
//!
//! They are taken out before the body is typed: no type of a stored or shown
//! resource has a place for them. What remains is what a GET shows: names of
//! secret variables, `credentials` without a key, accounts without a password.

use serde_json::{Map, Value};

use crate::problem::Problem;
use crate::request_check::TEXT_LENGTH_MAX;
use crate::secret::{KeyVaultReference, SecretText, SecretValue, Secrets};

/// A secret member, and the object that has it.
#[derive(Clone, Copy, Debug)]
pub struct SecretMember {
    /// Where the object stands below `properties`; `*` is each element of a list.
    pub object: &'static [&'static str],
    /// The member with the secret itself.
    pub value: &'static str,
    /// The member that refers to a key vault instead. With one, exactly one of
    /// the two must be given; without, the secret may be left out.
    pub reference: Option<&'static str>,
    /// Whether an empty text is a value.
    pub may_be_empty: bool,
}

const fn account_key(object: &'static [&'static str]) -> SecretMember {
    SecretMember {
        object,
        value: "accountKey",
        reference: Some("accountKeySecretReference"),
        may_be_empty: false,
    }
}

const fn variable(object: &'static [&'static str]) -> SecretMember {
    SecretMember {
        object,
        value: "value",
        reference: Some("valueSecretReference"),
        may_be_empty: true,
    }
}

const fn password(object: &'static [&'static str]) -> SecretMember {
    SecretMember {
        object,
        value: "adminUserPassword",
        reference: None,
        may_be_empty: false,
    }
}

/// The secret members of a job.
pub const OF_JOBS: [SecretMember; 4] = [
    variable(&["secrets", "*"]),
    account_key(&["mountVolumes", "azureFileShares", "*", "credentials"]),
    account_key(&["mountVolumes", "azureBlobFileSystems", "*", "credentials"]),
    SecretMember {
        object: &["containerSettings", "imageSourceRegistry", "credentials"],
        value: "password",
        reference: Some("passwordSecretReference"),
        may_be_empty: false,
    },
];

/// The secret members of a cluster.
pub const OF_CLUSTERS: [SecretMember; 5] = [
    variable(&["nodeSetup", "setupTask", "secrets", "*"]),
    account_key(&[
        "nodeSetup",
        "mountVolumes",
        "azureFileShares",
        "*",
        "credentials",
    ]),
    account_key(&[
        "nodeSetup",
        "mountVolumes",
        "azureBlobFileSystems",
        "*",
        "credentials",
    ]),
    SecretMember {
        object: &[
            "nodeSetup",
            "performanceCountersSettings",
            "appInsightsReference",
        ],
        value: "instrumentationKey",
        reference: Some("instrumentationKeySecretReference"),
        may_be_empty: false,
    },
    password(&["userAccountSettings"]),
];

/// The secret members of a file server.
pub const OF_FILE_SERVERS: [SecretMember; 1] =
    [password(&["sshConfiguration", "userAccountSettings"])];

/// The JSON pointer by which [`Secrets`] has the value of a job's secret variable.
pub fn variable_pointer(index: usize) -> String {
    format!("/properties/secrets/{index}/value")
}

/// Takes every secret out of `properties`; what is wrong with one is a finding,
/// which never says its value.
pub fn take(properties: &mut Map<String, Value>, members: &[SecretMember]) -> Taken {
    let mut taken = Taken::default();
    for member in members {
        let Some((first, rest)) = member.object.split_first() else {
            continue;
        };
        if let Some(value) = properties.get_mut(*first) {
            let base = format!("/properties/{first}");
            taken.visit(value, rest, &base, member);
        }
    }
    taken
}

/// What [`take`] found.
#[derive(Debug, Default)]
pub struct Taken {
    /// The secrets.
    pub secrets: Secrets,
    /// What is wrong with them.
    pub findings: Vec<Problem>,
}

impl Taken {
    /// What was typed from the rest; or what is wrong with the secrets, if that is
    /// why it could not be.
    pub(crate) fn or_findings<T>(&self, typed: Result<T, Problem>) -> Result<T, Problem> {
        typed.map_err(|problem| Problem::gather(self.findings.clone()).unwrap_or(problem))
    }

    fn visit(&mut self, value: &mut Value, path: &[&str], pointer: &str, member: &SecretMember) {
        match (path, value) {
            (_, Value::Null) => {}
            ([], Value::Object(object)) => self.take_from(object, pointer, member),
            (["*", rest @ ..], Value::Array(elements)) => {
                for (index, element) in elements.iter_mut().enumerate() {
                    self.visit(element, rest, &format!("{pointer}/{index}"), member);
                }
            }
            (["*", ..], other) => self.refuse(other, pointer, "a list"),
            ([name, rest @ ..], Value::Object(object)) => {
                if let Some(next) = object.get_mut(*name) {
                    self.visit(next, rest, &format!("{pointer}/{name}"), member);
                }
            }
            // A secret may stand right where an object or a list is expected, so what is there
            // must not come to the types, whose errors quote it.
            (_, other) => self.refuse(other, pointer, "an object"),
        }
    }

    fn refuse(&mut self, value: &mut Value, pointer: &str, expected: &str) {
        *value = Value::Null;
        let name = pointer.rsplit('/').next().unwrap_or(pointer);
        let message = if name.bytes().all(|c| c.is_ascii_digit()) {
            format!("the element must be {expected}")
        } else {
            format!("'{name}' must be {expected}")
        };
        self.findings.push(Problem::invalid(pointer, message));
    }

    fn take_from(&mut self, object: &mut Map<String, Value>, pointer: &str, member: &SecretMember) {
        let given = |value: &Value| !value.is_null();
        let value = object.remove(member.value).filter(given);
        let reference = member
            .reference
            .and_then(|reference| object.remove(reference))
            .filter(given);
        let at = format!("{pointer}/{}", member.value);
        let read = match (value, reference, member.reference) {
            (Some(value), None, _) => text(&value, &at, member),
            (None, Some(reference), Some(name)) => {
                key_vault(reference, &format!("{pointer}/{name}"))
            }
            (None, None, None) => return,
            (_, _, name) => Err(Problem::invalid(
                pointer,
                format!(
                    "give exactly one of '{}' and '{}'",
                    member.value,
                    name.unwrap_or_default()
                ),
            )),
        };
        match read {
            Ok(secret) => self.secrets.insert(at, secret),
            Err(problem) => self.findings.push(problem),
        }
    }
}

fn text(value: &Value, at: &str, member: &SecretMember) -> Result<SecretValue, Problem> {
    let name = member.value;
    let wrong = |message: String| Err(Problem::invalid(at, message));
    let Value::String(text) = value else {
        return wrong(format!("'{name}' must be a text"));
    };
    if text.is_empty() && !member.may_be_empty {
        return wrong(format!("'{name}' must not be empty"));
    }
    if text.contains('\0') || text.len() > TEXT_LENGTH_MAX {
        return wrong(format!(
            "'{name}' has at most {TEXT_LENGTH_MAX} bytes and no NUL character"
        ));
    }
    Ok(SecretValue::Text(SecretText::new(text.as_str())))
}

fn key_vault(value: Value, at: &str) -> Result<SecretValue, Problem> {
    let wrong =
        |member: &str, message: &str| Problem::invalid(format!("{at}{member}"), message.to_owned());
    let Value::Object(mut reference) = value else {
        return Err(wrong("", "a reference to a key vault must be an object"));
    };
    let source_vault = match reference.remove("sourceVault") {
        Some(Value::Object(mut vault)) => vault.remove("id"),
        _ => None,
    };
    let Some(Value::String(source_vault)) = source_vault.filter(|id| id != "") else {
        return Err(wrong(
            "/sourceVault",
            "sourceVault must be {\"id\": …}, the resource id of the vault",
        ));
    };
    let Some(Value::String(secret_url)) = reference
        .remove("secretUrl")
        .filter(|url| url.as_str().is_some_and(is_secret_url))
    else {
        return Err(wrong(
            "/secretUrl",
            "secretUrl must be https://VAULT/secrets/NAME, with /VERSION behind it or not",
        ));
    };
    if let Some(name) = reference.keys().next() {
        return Err(wrong(
            "",
            &format!("'{name}' is no member of a reference to a key vault"),
        ));
    }
    Ok(SecretValue::KeyVault(KeyVaultReference {
        source_vault,
        secret_url,
    }))
}

/// `https://<vault host>/secrets/<name>[/<version>]` (capabilities §7.7).
fn is_secret_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else {
        return false;
    };
    let is_part = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-._:".contains(&c))
    };
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    matches!(parts.len(), 3 | 4)
        && parts[1].eq_ignore_ascii_case("secrets")
        && parts.iter().all(is_part)
}

#[cfg(test)]
mod tests;
