//! What Batch AI's own command line put into a job file before it was sent: the storage account
//! and its key, for which published job files have a placeholder or nothing at all.

use serde_json::{Map, Value, json};

/// The variable with the account's name; in files, between `<` and `>`.
pub const ACCOUNT: &str = "AZURE_BATCHAI_STORAGE_ACCOUNT";

/// The variable with the account's key; in files, between `<` and `>`.
pub const KEY: &str = "AZURE_BATCHAI_STORAGE_KEY";

/// A placeholder for which nothing was given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file has the placeholder <{variable}> in {member}; set the variable {variable} to what belongs there"
)]
pub struct Unfilled {
    /// The variable.
    pub variable: &'static str,
    /// Where it stands, as a JSON pointer.
    pub member: String,
}

/// What goes into the places.
#[derive(Clone, Copy, Debug, Default)]
pub struct StorageAccount<'a> {
    /// The account's name.
    pub name: Option<&'a str>,
    /// The account's key.
    pub key: Option<&'a str>,
}

impl StorageAccount<'_> {
    /// Completes the shares and containers in `mountVolumes` of `properties`. A name that is left
    /// out is that in the URL of the share, a key that is left out the one that was given. What
    /// the daemon insists on and nobody has given stays away, and the daemon says so.
    ///
    /// # Errors
    /// For a placeholder without a value.
    pub fn fill(&self, properties: &mut Value) -> Result<(), Unfilled> {
        for list in ["azureFileShares", "azureBlobFileSystems"] {
            let pointer = format!("/mountVolumes/{list}");
            let elements = properties
                .pointer_mut(&pointer)
                .and_then(Value::as_array_mut);
            for (index, element) in elements.into_iter().flatten().enumerate() {
                if let Value::Object(mount) = element {
                    self.fill_mount(mount, &format!("/properties{pointer}/{index}"))?;
                }
            }
        }
        Ok(())
    }

    fn fill_mount(&self, mount: &mut Map<String, Value>, base: &str) -> Result<(), Unfilled> {
        for member in ["accountName", "azureFileUrl"] {
            if let Some(Value::String(text)) = mount.get_mut(member) {
                replace(text, ACCOUNT, self.name, || format!("{base}/{member}"))?;
            }
        }
        if is_absent(mount, "accountName") {
            let in_url = mount.get("azureFileUrl").and_then(Value::as_str);
            if let Some(name) = in_url.and_then(account_in).or(self.name) {
                mount.insert("accountName".into(), name.into());
            }
        }
        if let Some(Value::String(key)) = mount
            .get_mut("credentials")
            .and_then(|credentials| credentials.get_mut("accountKey"))
        {
            replace(key, KEY, self.key, || {
                format!("{base}/credentials/accountKey")
            })?;
        }
        if let Some(key) = self.key.filter(|_| is_absent(mount, "credentials")) {
            mount.insert("credentials".into(), json!({"accountKey": key}));
        }
        Ok(())
    }
}

fn is_absent(mount: &Map<String, Value>, member: &str) -> bool {
    mount.get(member).is_none_or(Value::is_null)
}

/// The first label of the URL's host.
fn account_in(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let (name, _) = rest.split_once('.')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

fn replace(
    text: &mut String,
    variable: &'static str,
    value: Option<&str>,
    member: impl FnOnce() -> String,
) -> Result<(), Unfilled> {
    let placeholder = format!("<{variable}>");
    if !text.contains(&placeholder) {
        return Ok(());
    }
    let Some(value) = value else {
        let member = member();
        return Err(Unfilled { variable, member });
    };
    *text = text.replace(&placeholder, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: StorageAccount<'_> = StorageAccount {
        name: Some("lab"),
        key: Some("a2V5"),
    };

    fn published() -> Value {
        json!({"mountVolumes": {
            "azureFileShares": [{
                "azureFileUrl": "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file.core.windows.net/logs",
                "relativeMountPath": "logs",
            }],
            "azureBlobFileSystems": [{
                "accountName": "<AZURE_BATCHAI_STORAGE_ACCOUNT>",
                "credentials": {"accountKey": "<AZURE_BATCHAI_STORAGE_KEY>"},
                "containerName": "data",
            }],
        }})
    }

    #[test]
    fn placeholders_and_what_is_left_out_are_filled_in() {
        let mut job = published();
        GIVEN.fill(&mut job).unwrap();
        assert_eq!(
            job,
            json!({"mountVolumes": {
                "azureFileShares": [{
                    "accountName": "lab",
                    "credentials": {"accountKey": "a2V5"},
                    "azureFileUrl": "https://lab.file.core.windows.net/logs",
                    "relativeMountPath": "logs",
                }],
                "azureBlobFileSystems": [{
                    "accountName": "lab",
                    "credentials": {"accountKey": "a2V5"},
                    "containerName": "data",
                }],
            }})
        );
    }

    #[test]
    fn what_a_file_says_stays() {
        let said = json!({"mountVolumes": {"azureFileShares": [{
            "accountName": "other",
            "azureFileUrl": "https://third.file.core.windows.net/logs",
            "credentials": {"accountKey": "b3du"},
        }]}});
        let mut job = said.clone();
        GIVEN.fill(&mut job).unwrap();
        assert_eq!(job, said);
    }

    #[test]
    fn without_a_placeholder_nothing_needs_to_be_given() {
        let mut job = json!({"mountVolumes": {"azureFileShares": [
            {"azureFileUrl": "https://third.file.core.windows.net/logs"},
        ]}});
        StorageAccount::default().fill(&mut job).unwrap();
        let share = &job["mountVolumes"]["azureFileShares"][0];
        assert_eq!(share["accountName"], "third");
        assert!(share.get("credentials").is_none());
    }

    #[test]
    fn a_placeholder_without_a_value_is_told() {
        let error = StorageAccount::default()
            .fill(&mut published())
            .unwrap_err();
        assert_eq!(error.variable, ACCOUNT);
        assert_eq!(
            error.member,
            "/properties/mountVolumes/azureFileShares/0/azureFileUrl"
        );
        let no_key = StorageAccount { key: None, ..GIVEN };
        assert_eq!(no_key.fill(&mut published()).unwrap_err().variable, KEY);
    }

    #[test]
    fn strange_files_are_left_to_the_daemon() {
        for strange in [
            json!(null),
            json!({"mountVolumes": 3}),
            json!({"mountVolumes": {"azureFileShares": [7, {"azureFileUrl": 1}, {"azureFileUrl": "x"}]}}),
        ] {
            let mut job = strange.clone();
            StorageAccount::default().fill(&mut job).unwrap();
            assert_eq!(job, strange);
        }
    }
}
