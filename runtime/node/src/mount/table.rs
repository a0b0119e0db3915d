//! The operator's table of storage: what stands here for the shares and containers of the
//! original service. A TOML file with a line for each:
//!
//! ```toml
//! "account/share" = { directory = "/srv/share" }
//! "account/*" = { nfs = { server = "10.0.0.5", path = "/export/{container}" } }
//! ```
//!
//! It is read again for every job that needs it, so that a new line needs no restart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::command_line::directory_of;
use crate::isolation::Identity;
use crate::operator_table::{Kind, TableError};

/// The table, for who reads and names it.
const TABLE: Kind = Kind {
    name: "storage table",
    says: "what stands for a share",
};

/// What stands for a share or container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Directory(Directory),
    Nfs(Nfs),
    Smb(Smb),
    S3(S3),
    /// A program with its arguments.
    Command(Vec<String>),
}

/// A directory of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) path: String,
    /// Whether it is made if it is missing, and then whether it is the job's.
    pub(super) create: bool,
    pub(super) owner: Owner,
    /// The directory in it that is meant. Jobs may change what lies on the way.
    pub(super) below: Option<String>,
}

/// Whose a directory is that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Owner {
    /// Root's; others may read.
    #[default]
    Root,
    /// The user's of the job that comes first, and nobody else's.
    Job,
}

/// An export of an NFS server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nfs {
    pub(super) server: String,
    pub(super) path: String,
    pub(super) options: Option<String>,
}

/// A share of an SMB server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smb {
    pub(super) server: String,
    pub(super) share: String,
    #[serde(default)]
    pub(super) credentials: Credentials,
    pub(super) options: Option<String>,
}

/// Who logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) enum Credentials {
    /// The account, with the key that the job brings.
    #[default]
    Job,
    /// Whom this file names: `username=…` and `password=…`.
    File(PathBuf),
}

impl From<String> for Credentials {
    fn from(text: String) -> Self {
        match text.as_str() {
            "job" => Self::Job,
            _ => Self::File(text.into()),
        }
    }
}

/// A bucket of an S3-compatible service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct S3 {
    pub(super) endpoint: String,
    pub(super) bucket: String,
    /// A file as `s3fs` takes it; without one the account is the access key, and the key that
    /// the job brings the secret one.
    pub(super) credentials: Option<PathBuf>,
    pub(super) options: Option<String>,
    /// Instead of `s3fs`.
    pub(super) command: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    directory: Option<String>,
    create: Option<bool>,
    owner: Option<Owner>,
    nfs: Option<Nfs>,
    smb: Option<Smb>,
    s3: Option<S3>,
    command: Option<String>,
}

/// What stands for shares and containers, by `account/share` in lower case.
#[derive(Debug)]
pub(super) struct StorageTable {
    path: PathBuf,
    targets: BTreeMap<String, Target>,
}

impl StorageTable {
    /// Reads a table that only root can write and nobody else can read: what stands in it is run
    /// and shown with root's rights, and tells where the data of all users is.
    pub(super) fn read(path: &Path) -> Result<Self, TableError> {
        let text = TABLE.read(path)?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, TableError> {
        let lines: BTreeMap<String, Line> = TABLE.parse(path, text)?;
        let mut targets = BTreeMap::new();
        for (entry, line) in lines {
            let wrong = |message: &str| TABLE.wrong(path, &entry, message);
            let is_name = |name: &str| name == "*" || is_plain(name);
            match entry.split_once('/') {
                Some((account, name)) if is_plain(account) && is_name(name) => {}
                _ => {
                    return Err(wrong(
                        "an entry is called \"ACCOUNT/SHARE\" or \"ACCOUNT/*\"",
                    ));
                }
            }
            let target = line.target().map_err(|message| wrong(&message))?;
            if targets.insert(entry.to_ascii_lowercase(), target).is_some() {
                return Err(wrong("it is there twice, in upper and lower case"));
            }
        }
        Ok(Self {
            path: path.into(),
            targets,
        })
    }

    /// What stands for a share or container: its own line, or else that for all of its account.
    ///
    /// # Errors
    ///
    /// A sentence if a directory of it is meant, and what stands for it cannot show one alone.
    pub(super) fn find(&self, name: &StorageName) -> Result<Option<Target>, String> {
        let own = name.entry().to_ascii_lowercase();
        let all = format!("{}/*", name.account.to_ascii_lowercase());
        let found = self.targets.get(&own).or_else(|| self.targets.get(&all));
        let found = found.map(|target| target.filled_in(name));
        match (found, &name.directory) {
            (Some(target), Some(directory)) => target.below(directory).map(Some),
            (found, _) => Ok(found),
        }
    }

    /// How many entries it has.
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Where it was read.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Line {
    fn target(self) -> Result<Target, String> {
        let made = self.create.is_some() || self.owner.is_some();
        if made && self.directory.is_none() {
            return Err("create and owner are for a directory".into());
        }
        if self.owner == Some(Owner::Job) && self.create != Some(true) {
            return Err(
                "owner = \"job\" needs create = true: a directory that is there keeps its \
                        owner"
                    .into(),
            );
        }
        let directory = self.directory.map(|path| {
            Target::Directory(Directory {
                path,
                create: self.create.unwrap_or_default(),
                owner: self.owner.unwrap_or_default(),
                below: None,
            })
        });
        let command = self.command.as_deref().map(words).transpose()?;
        if let Some(command) = self.s3.as_ref().and_then(|s3| s3.command.as_deref()) {
            words(command)?;
        }
        let given = [
            directory,
            self.nfs.map(Target::Nfs),
            self.smb.map(Target::Smb),
            self.s3.map(Target::S3),
            command.map(Target::Command),
        ];
        let mut given = given.into_iter().flatten();
        let (Some(target), None) = (given.next(), given.next()) else {
            return Err("give exactly one of directory, nfs, smb, s3 and command".into());
        };
        target.check()?;
        Ok(target)
    }
}

/// A command's words; no shell sees them.
fn words(command: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    words.ok_or_else(|| "the command is empty, or a quote in it has no end".into())
}

impl Target {
    fn check(&self) -> Result<(), String> {
        let absolute =
            |path: &str| path.starts_with('/') && !path.split('/').any(|part| part == "..");
        match self {
            Self::Directory(Directory { path, .. }) if !absolute(path) => {
                Err("the directory must be an absolute path without '..'".into())
            }
            Self::Nfs(nfs) if !absolute(&nfs.path) => {
                Err("the path of an export is absolute and has no '..'".into())
            }
            Self::Nfs(Nfs { server, .. }) | Self::Smb(Smb { server, .. })
                if server.is_empty() || server.starts_with('-') =>
            {
                Err("the server needs a name or an address".into())
            }
            _ => Ok(()),
        }
    }

    /// A directory in it instead of the whole.
    fn below(self, directory: &str) -> Result<Self, String> {
        match self {
            Self::Directory(whole) => Ok(Self::Directory(Directory {
                below: Some(directory.to_owned()),
                ..whole
            })),
            Self::Nfs(nfs) => Ok(Self::Nfs(Nfs {
                path: directory_of(&nfs.path, Some(directory)),
                ..nfs
            })),
            Self::Smb(smb) => Ok(Self::Smb(Smb {
                share: directory_of(&smb.share, Some(directory)),
                ..smb
            })),
            Self::S3(s3) if s3.command.is_none() => Ok(Self::S3(S3 {
                bucket: format!("{}:/{directory}", s3.bucket),
                ..s3
            })),
            Self::S3(_) | Self::Command(_) => Err(format!(
                "the URL names the directory '{directory}' of a share for which the storage table \
                 has a command: commands mount whole shares"
            )),
        }
    }

    /// With the names of account and container in their places.
    fn filled_in(&self, name: &StorageName) -> Self {
        let fill = |text: &str| name.fill(text);
        match self {
            Self::Directory(directory) => Self::Directory(Directory {
                path: fill(&directory.path),
                ..directory.clone()
            }),
            Self::Nfs(nfs) => Self::Nfs(Nfs {
                path: fill(&nfs.path),
                ..nfs.clone()
            }),
            Self::Smb(smb) => Self::Smb(Smb {
                share: fill(&smb.share),
                ..smb.clone()
            }),
            Self::S3(s3) => Self::S3(S3 {
                bucket: fill(&s3.bucket),
                ..s3.clone()
            }),
            Self::Command(words) => {
                Self::Command(words.iter().map(|word| name.fill(word)).collect())
            }
        }
    }
}

impl S3 {
    /// The operator's own command, if there is one, with the bucket and the endpoint in it.
    pub(super) fn own_command(&self, name: &StorageName) -> Option<Vec<String>> {
        let command = words(self.command.as_deref()?).ok()?;
        let fill = |word: &String| {
            let word = word.replace("{bucket}", &self.bucket);
            name.fill(&word.replace("{endpoint}", &self.endpoint))
        };
        Some(command.iter().map(fill).collect())
    }
}

/// A command with the path and the job's user in their places.
pub(super) fn with_target(words: &[String], target: &Path, identity: Identity) -> Vec<String> {
    let fill = |word: &String| {
        word.replace("{uid}", &identity.uid.to_string())
            .replace("{gid}", &identity.gid.to_string())
            // Last: a path may have braces in it.
            .replace("{path}", &target.to_string_lossy())
    };
    words.iter().map(fill).collect()
}

/// Which share or container of the original service is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StorageName {
    pub(super) account: String,
    /// The share or the container.
    pub(super) container: String,
    /// A directory of it, if not all of it is meant.
    pub(super) directory: Option<String>,
}

impl StorageName {
    /// A container of an account.
    ///
    /// # Errors
    ///
    /// A sentence if these can be no names, and must not come near a command or a path.
    pub(super) fn new(account: &str, container: &str) -> Result<Self, String> {
        for name in [account, container] {
            if !is_plain(name.strip_prefix('$').unwrap_or(name)) {
                return Err(format!(
                    "'{name}' is no name of a storage account, share or container: these have \
                     letters, digits, '-', '_' and '.'"
                ));
            }
        }
        Ok(Self {
            account: account.into(),
            container: container.into(),
            directory: None,
        })
    }

    /// What a URL names: `https://ACCOUNT.file.HOST/SHARE`, or a directory of that share behind
    /// it. Emulators have the account before the share.
    pub(super) fn of_share(account: &str, url: &str) -> Result<Self, String> {
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let path = path.split_once("://").map_or(path, |(_, rest)| rest);
        let mut parts = path.split('/');
        let host = parts.next().unwrap_or_default();
        let mut parts = parts.filter(|part| !part.is_empty()).peekable();
        let names_account = host
            .split_once('.')
            .is_some_and(|(first, _)| first.eq_ignore_ascii_case(account));
        if !names_account {
            parts.next_if(|part| part.eq_ignore_ascii_case(account));
        }
        let Some(share) = parts.next() else {
            return Err(format!(
                "the URL '{url}' names no share: https://ACCOUNT.file.HOST/SHARE"
            ));
        };
        let directories: Vec<&str> = parts.collect();
        if let Some(wrong) = directories.iter().find(|part| !is_plain(part)) {
            return Err(format!(
                "'{wrong}' in the URL '{url}' is no name of a directory of a share: these have \
                 letters, digits, '-', '_' and '.'"
            ));
        }
        Ok(Self {
            directory: (!directories.is_empty()).then(|| directories.join("/")),
            ..Self::new(account, share)?
        })
    }

    /// How its line begins.
    pub(super) fn entry(&self) -> String {
        format!("{}/{}", self.account, self.container)
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{account}", &self.account)
            .replace("{container}", &self.container)
            .replace("{share}", &self.container)
    }
}

/// Nothing that a path, an option or a command could take for more than a name.
fn is_plain(name: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    (1..=255).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<StorageTable, TableError> {
        StorageTable::parse(Path::new("/t"), text)
    }

    fn name(account: &str, container: &str) -> StorageName {
        StorageName::new(account, container).unwrap()
    }

    #[test]
    fn a_line_of_its_own_counts_before_that_for_all() {
        let table = parse(
            "\"Data/Sets\" = { directory = \"/srv/sets\" }\n\
             \"data/*\" = { directory = \"/srv/{account}/{container}\", create = true, owner = \"job\" }\n",
        )
        .unwrap();
        let find = |container| table.find(&name("DATA", container)).unwrap();
        let own = Directory {
            path: "/srv/sets".into(),
            create: false,
            owner: Owner::Root,
            below: None,
        };
        assert_eq!(find("sets"), Some(Target::Directory(own)));
        let other = Directory {
            path: "/srv/DATA/logs".into(),
            create: true,
            owner: Owner::Job,
            below: None,
        };
        assert_eq!(find("logs"), Some(Target::Directory(other)));
        assert_eq!(table.find(&name("other", "sets")), Ok(None));
    }

    #[test]
    fn every_kind_is_read() {
        let table = parse(
            "[\"a/nfs\"]\nnfs = { server = \"10.0.0.5\", path = \"/x/{share}\", options = \"vers=4.2\" }\n\
             [\"a/smb\"]\nsmb = { server = \"f\", share = \"s\", credentials = \"/etc/smb\" }\n\
             [\"a/job\"]\nsmb = { server = \"f\", share = \"s\" }\n\
             [\"a/s3\"]\ns3 = { endpoint = \"https://e\", bucket = \"b\", command = \"fs {bucket} '{path} x'\" }\n\
             [\"a/cmd\"]\ncommand = \"sshfs h:/{container} {path} -o uid={uid},gid={gid}\"\n",
        )
        .unwrap();
        let find = |container| table.find(&name("a", container)).unwrap().unwrap();
        assert!(matches!(find("nfs"), Target::Nfs(nfs) if nfs.path == "/x/nfs"));
        let credentials = |container| match find(container) {
            Target::Smb(smb) => smb.credentials,
            other => panic!("{other:?}"),
        };
        assert_eq!(credentials("smb"), Credentials::File("/etc/smb".into()));
        assert_eq!(credentials("job"), Credentials::Job);
        let user = Identity { uid: 7, gid: 8 };
        let command = |words: &[String]| with_target(words, Path::new("/m/a b;c"), user);
        let Target::Command(words) = find("cmd") else {
            panic!()
        };
        // One word, whatever is in it.
        assert_eq!(
            command(&words),
            ["sshfs", "h:/cmd", "/m/a b;c", "-o", "uid=7,gid=8"]
        );
        let Target::S3(s3) = find("s3") else { panic!() };
        let words = s3.own_command(&name("a", "s3")).unwrap();
        assert_eq!(command(&words), ["fs", "b", "/m/a b;c x"]);
    }

    #[test]
    fn what_is_wrong_is_said_and_not_quoted() {
        for (text, expected) in [
            ("\"a/b\" = {}", "exactly one of"),
            (
                "\"a/b\" = { directory = \"/x\", command = \"m\" }",
                "exactly one of",
            ),
            ("\"a/b\" = { directory = \"x\" }", "absolute path"),
            ("\"a/b\" = { directory = \"/x/../y\" }", "absolute path"),
            (
                "\"a/b\" = { directory = \"/x\", owner = \"job\" }",
                "create = true",
            ),
            (
                "\"a/b\" = { command = \"m\", create = true }",
                "for a directory",
            ),
            ("\"a/b\" = { command = \"'m\" }", "no end"),
            ("\"a\" = { directory = \"/x\" }", "ACCOUNT/SHARE"),
            ("\"a/b/c\" = { directory = \"/x\" }", "ACCOUNT/SHARE"),
            (
                "\"a/b\" = { folder = \"/x\" }",
                "line 1: unknown field `folder`",
            ),
            (
                "\"a/b\" = { directory = \"/x\" }\n\"A/b\" = { directory = \"/y\" }",
                "twice",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(expected) && !error.contains("= {"),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn names_that_are_more_than_names_are_refused() {
        for bad in [
            "..", "a/b", "a b", "-o", "a;b", "", "a'", ".x", "$", "a$b", "{path}",
        ] {
            assert!(StorageName::new("account", bad).is_err(), "{bad}");
            assert!(StorageName::new(bad, "container").is_err(), "{bad}");
        }
        assert!(StorageName::new("account", "$root").is_ok());
    }

    #[test]
    fn a_url_names_a_share_or_a_directory_of_it() {
        let share = |url: &str| {
            let name = StorageName::of_share("a", url)?;
            Ok::<_, String>((name.container, name.directory))
        };
        for (url, directory) in [
            ("https://a.file.core.example/logs", None),
            ("https://a.file.core.example/logs/", None),
            ("http://h:80/a/logs?sv=1", None),
            ("http://h:80/logs", None),
            (
                "https://a.file.core.example/logs/2018/run-1/",
                Some("2018/run-1"),
            ),
            ("http://h:80/a/logs/a", Some("a")),
        ] {
            let expected = ("logs".to_owned(), directory.map(str::to_owned));
            assert_eq!(share(url).unwrap(), expected, "{url}");
        }
        // A share may be called as its account is.
        let own = share("https://a.file.core.example/a").unwrap();
        assert_eq!(own, ("a".to_owned(), None));
        for bad in [
            "https://a.file.core.example",
            "https://h/",
            "https://h/..",
            "https://h/a",
            "https://h/logs/..",
            "https://h/logs/a,b",
        ] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_directory_of_a_share_is_one_of_what_stands_for_it() {
        let table = parse(
            "\"a/dir\" = { directory = \"/srv/{share}\" }\n\
             \"a/nfs\" = { nfs = { server = \"h\", path = \"/x\" } }\n\
             \"a/smb\" = { smb = { server = \"h\", share = \"s/\" } }\n\
             \"a/s3\" = { s3 = { endpoint = \"https://e\", bucket = \"b\" } }\n\
             \"a/cmd\" = { command = \"x {path}\" }\n",
        )
        .unwrap();
        let find = |share: &str| {
            let url = format!("https://a.file.core.example/{share}/p/q");
            let found = table.find(&StorageName::of_share("a", &url).unwrap());
            found.map(|found| found.unwrap())
        };
        let Ok(Target::Directory(directory)) = find("dir") else {
            panic!()
        };
        assert_eq!(
            (directory.path.as_str(), directory.below.as_deref()),
            ("/srv/dir", Some("p/q"))
        );
        assert!(matches!(find("nfs"), Ok(Target::Nfs(nfs)) if nfs.path == "/x/p/q"));
        assert!(matches!(find("smb"), Ok(Target::Smb(smb)) if smb.share == "s/p/q"));
        assert!(matches!(find("s3"), Ok(Target::S3(s3)) if s3.bucket == "b:/p/q"));
        assert!(find("cmd").unwrap_err().contains("'p/q'"));
    }

    #[test]
    fn a_table_is_roots_alone() {
        use std::os::unix::fs::{PermissionsExt, chown};
        if !nix::unistd::geteuid().is_root() {
            println!("SKIPPED: a_table_is_roots_alone: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("storage.toml");
        std::fs::write(&path, "\"a/b\" = { directory = \"/x\" }").unwrap();
        let with_mode = |mode| {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            StorageTable::read(&path)
        };
        assert!(with_mode(0o600).is_ok() && with_mode(0o640).is_ok());
        for mode in [0o644, 0o602, 0o660] {
            assert!(
                matches!(with_mode(mode), Err(TableError::Open { .. })),
                "{mode:o}"
            );
        }
        chown(&path, Some(7), None).unwrap();
        assert!(matches!(
            with_mode(0o600),
            Err(TableError::Owner { owner: 7, .. })
        ));
        let error = StorageTable::read(&folder.path().join("none")).unwrap_err();
        assert!(matches!(error, TableError::Read { .. }));
    }
}
