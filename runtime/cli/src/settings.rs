//! Which daemon a command talks to, as whom, about which workspace.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use lote_model::access::Scope;
use lote_model::access::fingerprint::Fingerprint;
use lote_model::name::{GroupName, ResourceName};
use lote_model::path::WorkspacePath;
use serde::Deserialize;

use crate::args::{Format, GlobalArgs};
use crate::tls::Trust;

/// The daemon of a first start on this machine.
pub const URL_DEFAULT: &str = "http://127.0.0.1:8471";

/// What the process was given by whoever started it, gathered in one place so
/// that tests can give something else.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables whose name and value are text.
    pub variables: BTreeMap<String, String>,
    /// The current directory, if it is known and is text.
    pub current_directory: Option<String>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
            current_directory: std::env::current_dir()
                .ok()
                .and_then(|path| text(path.into_os_string())),
        }
    }

    /// A variable that is set and not empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// `~/.config/lote/config.toml`, or the same below `XDG_CONFIG_HOME`.
    pub fn config_file(&self) -> Option<PathBuf> {
        let base = match self.variable("XDG_CONFIG_HOME") {
            Some(path) => PathBuf::from(path),
            None => Path::new(self.variable("HOME")?).join(".config"),
        };
        Some(base.join("lote/config.toml"))
    }
}

/// The file a user keeps so as not to repeat options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
struct ConfigFile {
    url: Option<String>,
    token: Option<String>,
    ca_file: Option<PathBuf>,
    fingerprint: Option<String>,
    group: Option<String>,
    workspace: Option<String>,
    output: Option<Format>,
}

/// What every command needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The daemon, without a slash at the end.
    pub url: String,
    /// The token, if there is one.
    pub token: Option<String>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Group and workspace.
    pub workspace: WorkspacePath,
    /// What options and variables name of group and workspace, without the file
    /// and the defaults: how far a new token is to reach.
    pub named_scope: Scope,
    /// How answers are printed.
    pub format: Format,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The user's file cannot be read.
    #[error("cannot read '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The user's file is wrong.
    #[error("'{}' is wrong; it may hold url, token, ca-file, fingerprint, group, workspace and output", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A group or workspace that cannot exist.
    #[error("the {what} is wrong")]
    Name {
        /// Group or workspace.
        what: &'static str,
        /// The rule.
        #[source]
        source: Box<lote_model::problem::Problem>,
    },
    /// A fingerprint that is none.
    #[error("the fingerprint is wrong")]
    Fingerprint(#[source] Box<lote_model::problem::Problem>),
    /// A URL that is none, or of a kind that nobody speaks here.
    #[error("'{0}' is not the URL of a daemon; give it as http://HOST:PORT or https://HOST:PORT")]
    Url(String),
}

impl Settings {
    /// Options win over variables (clap merges those two), variables over the file.
    pub fn resolve(
        global: &GlobalArgs,
        surroundings: &Surroundings,
    ) -> Result<Self, SettingsError> {
        let file = read_config(surroundings)?;
        // `LOTE_URL= lote …` is how shells unset a variable for one command.
        let given = |given: &Option<String>| given.clone().filter(|text| !text.is_empty());
        let pick = |option: &Option<String>, kept: Option<String>| given(option).or(kept);
        let url = pick(&global.url, file.url).unwrap_or_else(|| URL_DEFAULT.into());
        let fingerprint = pick(&global.fingerprint, file.fingerprint);
        let ca_file = global.ca_file.clone().or(file.ca_file);
        let trust = trust(fingerprint.as_deref(), ca_file)?;
        let group = pick(&global.group, file.group).unwrap_or_else(|| "default".into());
        let workspace = pick(&global.workspace, file.workspace).unwrap_or_else(|| "default".into());
        let workspace = WorkspacePath {
            group: GroupName::new(group).map_err(name_error("group"))?,
            workspace: ResourceName::new(workspace).map_err(name_error("workspace"))?,
        };
        let named_scope = match (given(&global.group), given(&global.workspace)) {
            (_, Some(_)) => Scope::Workspace(workspace.clone()),
            (Some(_), None) => Scope::Group(workspace.group.clone()),
            (None, None) => Scope::Everything,
        };
        Ok(Self {
            url: checked_url(&url)?,
            trust,
            token: pick(&global.token, file.token),
            workspace,
            named_scope,
            format: global.output.or(file.output).unwrap_or_default(),
        })
    }

    /// Whether the daemon is on this machine, so that paths here are paths there.
    pub fn daemon_is_local(&self) -> bool {
        is_local(&self.url)
    }
}

/// A pinned certificate says more than a signed one.
pub(crate) fn trust(
    fingerprint: Option<&str>,
    ca_file: Option<PathBuf>,
) -> Result<Trust, SettingsError> {
    let ca_file = ca_file.filter(|path| !path.as_os_str().is_empty());
    match (fingerprint, ca_file) {
        (Some(text), _) => Fingerprint::parse(text)
            .map(Trust::Pinned)
            .map_err(|problem| SettingsError::Fingerprint(Box::new(problem))),
        (None, Some(path)) => Ok(Trust::Authorities(path)),
        (None, None) => Ok(Trust::System),
    }
}

fn name_error(what: &'static str) -> impl Fn(lote_model::problem::Problem) -> SettingsError {
    move |problem| SettingsError::Name {
        what,
        source: Box::new(problem),
    }
}

fn read_config(surroundings: &Surroundings) -> Result<ConfigFile, SettingsError> {
    let Some(path) = surroundings.config_file() else {
        return Ok(ConfigFile::default());
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(ConfigFile::default());
        }
        Err(source) => return Err(SettingsError::Read { path, source }),
    };
    toml::from_str(&text).map_err(|source| SettingsError::Parse {
        path,
        source: Box::new(source),
    })
}

pub(crate) fn checked_url(text: &str) -> Result<String, SettingsError> {
    let text = text.trim();
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    match host_of(&url) {
        Some(host) if !host.is_empty() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(SettingsError::Url(text.to_owned())),
    }
}

/// The host of an `http` or `https` URL, without port and brackets.
fn host_of(url: &str) -> Option<&str> {
    let plain = url.strip_prefix("http://");
    let rest = plain.or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split('/').next()?;
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next();
    }
    authority.split(':').next()
}

/// Whether the URL names this machine, whichever that is.
pub(crate) fn is_local(url: &str) -> bool {
    host_of(url).is_some_and(is_loopback)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(home: &Path) -> Surroundings {
        Surroundings {
            variables: [("HOME".to_owned(), home.display().to_string())].into(),
            ..Surroundings::default()
        }
    }

    #[test]
    fn defaults_name_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let settings =
            Settings::resolve(&GlobalArgs::default(), &surroundings(folder.path())).unwrap();
        assert_eq!(settings.url, URL_DEFAULT);
        assert_eq!(settings.workspace.to_string(), "default/default");
        assert!(settings.daemon_is_local());
    }

    #[test]
    fn an_empty_variable_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let global = GlobalArgs {
            url: Some(String::new()),
            ..GlobalArgs::default()
        };
        let settings = Settings::resolve(&global, &surroundings(folder.path())).unwrap();
        assert_eq!(settings.url, URL_DEFAULT);
    }

    #[test]
    fn options_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(".config/lote");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(
            config.join("config.toml"),
            "url = 'http://gpu1:8471/'\ntoken = 't'\ngroup = 'lab'\noutput = 'json'",
        )
        .unwrap();
        let global = GlobalArgs {
            group: Some("other".into()),
            ..GlobalArgs::default()
        };
        let settings = Settings::resolve(&global, &surroundings(folder.path())).unwrap();
        assert_eq!(settings.url, "http://gpu1:8471");
        assert_eq!(settings.token.as_deref(), Some("t"));
        assert_eq!(settings.workspace.group.as_str(), "other");
        assert_eq!(settings.format, Format::Json);
        assert!(!settings.daemon_is_local());
    }

    #[test]
    fn a_file_with_a_slip_is_refused_not_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join(".config/lote");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::write(config.join("config.toml"), "ulr = 'http://gpu1'").unwrap();
        let error = Settings::resolve(&GlobalArgs::default(), &surroundings(folder.path()));
        assert!(matches!(error, Err(SettingsError::Parse { .. })));
    }

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        assert_eq!(checked_url("gpu1:8471").unwrap(), "http://gpu1:8471");
        assert_eq!(checked_url("https://gpu1/").unwrap(), "https://gpu1");
        for bad in ["", "https://", "http://", "ftp://x"] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pinned_certificate_counts_before_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let resolve = |fingerprint: Option<&str>, ca_file: Option<&str>| {
            let global = GlobalArgs {
                fingerprint: fingerprint.map(str::to_owned),
                ca_file: ca_file.map(PathBuf::from),
                ..GlobalArgs::default()
            };
            Settings::resolve(&global, &surroundings(folder.path())).map(|settings| settings.trust)
        };
        let pinned = Fingerprint([0xab; 32]);
        let text = pinned.to_string();
        assert_eq!(resolve(None, None).unwrap(), Trust::System);
        assert_eq!(resolve(None, Some("")).unwrap(), Trust::System);
        assert_eq!(
            resolve(None, Some("ca.pem")).unwrap(),
            Trust::Authorities("ca.pem".into())
        );
        assert_eq!(
            resolve(Some(&text), Some("ca.pem")).unwrap(),
            Trust::Pinned(pinned)
        );
        let error = resolve(Some("abc"), None).unwrap_err();
        assert!(matches!(error, SettingsError::Fingerprint(_)), "{error}");
    }

    #[test]
    fn a_token_reaches_as_far_as_options_say() {
        let folder = tempfile::tempdir().unwrap();
        let scope = |group: Option<&str>, workspace: Option<&str>| {
            let global = GlobalArgs {
                group: group.map(str::to_owned),
                workspace: workspace.map(str::to_owned),
                ..GlobalArgs::default()
            };
            let settings = Settings::resolve(&global, &surroundings(folder.path())).unwrap();
            settings.named_scope.to_string()
        };
        assert_eq!(scope(None, None), "everything");
        assert_eq!(scope(Some("lab"), None), "group lab");
        assert_eq!(scope(Some("lab"), Some("ws")), "workspace lab/ws");
        assert_eq!(scope(None, Some("ws")), "workspace default/ws");
    }

    #[test]
    fn loopback_is_recognised_in_every_spelling() {
        for url in [
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://LOCALHOST",
            "http://127.9.9.9/x",
        ] {
            assert!(host_of(url).is_some_and(is_loopback), "{url}");
        }
        assert!(!host_of("http://10.0.0.1:1").is_some_and(is_loopback));
    }
}
