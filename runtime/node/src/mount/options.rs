//! Options of a mount of a file server that users may set. Pure.

/// Those that go to the kernel's client as they are. Nothing here can weaken what the runtime
/// sets itself: no other server, port or protocol, no set-user-id programs, no device files.
const PLAIN: &[&str] = &[
    "ac",
    "noac",
    "cto",
    "nocto",
    "sync",
    "async",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "lock",
    "nolock",
    "hard",
    "soft",
    "softerr",
    "rdirplus",
    "nordirplus",
    "acl",
    "noacl",
    "sharecache",
    "nosharecache",
    "exec",
];

/// Those with a number.
const NUMBERS: &[&str] = &[
    "rsize",
    "wsize",
    "timeo",
    "retrans",
    "acregmin",
    "acregmax",
    "acdirmin",
    "acdirmax",
    "actimeo",
    "nconnect",
    "max_connect",
    "namlen",
];

/// Those that mean nothing here, but stand in many a recipe.
const WITHOUT_EFFECT: &[&str] = &[
    "defaults",
    "auto",
    "noauto",
    "_netdev",
    "nofail",
    "nosuid",
    "nodev",
    "proto=tcp",
    "tcp",
    "nouser",
    "intr",
    "nointr",
    "bg",
    "fg",
];

/// What a user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NfsOptions {
    /// Whether nothing can be written.
    pub(super) read_only: bool,
    /// Whether no program there can be started.
    pub(super) no_exec: bool,
    /// The version of the protocol, if the user chose one.
    pub(super) version: Option<String>,
    /// All others.
    pub(super) others: Vec<String>,
}

impl NfsOptions {
    /// Reads a list as `mount -o` takes it.
    ///
    /// # Errors
    ///
    /// A sentence with the options that cannot be set.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut unknown = Vec::new();
        let parts = text.unwrap_or_default().split(',').map(str::trim);
        for option in parts.filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None if option == "ro" => options.read_only = true,
                None if option == "rw" => options.read_only = false,
                None if option == "noexec" => options.no_exec = true,
                Some(("vers" | "nfsvers", version)) if is_version(version) => {
                    options.version = Some(version.to_owned());
                }
                None if PLAIN.contains(&option) => options.others.push(option.to_owned()),
                Some((name, value)) if NUMBERS.contains(&name) && is_number(value) => {
                    options.others.push(option.to_owned());
                }
                Some(
                    ("lookupcache", "all" | "none" | "pos" | "positive")
                    | ("local_lock", "all" | "flock" | "posix" | "none"),
                ) => {
                    options.others.push(option.to_owned());
                }
                _ if WITHOUT_EFFECT.contains(&option) => {}
                _ => unknown.push(option),
            }
        }
        if unknown.is_empty() {
            return Ok(options);
        }
        Err(format!(
            "these mount options cannot be set: {}; leave them out",
            unknown.join(", ")
        ))
    }

    /// The newest version that the server speaks, or the one that the user chose.
    ///
    /// # Errors
    ///
    /// A sentence if the server does not speak that one.
    pub(super) fn version<'a>(&'a self, spoken: &'a [String]) -> Result<&'a str, String> {
        let newest = spoken.first().map_or("4.2", String::as_str);
        let Some(wanted) = &self.version else {
            return Ok(newest);
        };
        // `vers=4` is any of 4.x.
        let fits = |version: &&String| {
            *version == wanted
                || version
                    .split_once('.')
                    .is_some_and(|(major, _)| major == wanted)
        };
        let found = spoken.iter().find(fits).map(String::as_str);
        found.ok_or_else(|| {
            format!(
                "the file server does not speak version {wanted} of NFS, but {}",
                spoken.join(", ")
            )
        })
    }
}

fn is_version(text: &str) -> bool {
    matches!(text, "3" | "4" | "4.0" | "4.1" | "4.2")
}

fn is_number(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_kept() {
        let options = NfsOptions::parse(Some("rw, vers=4.1,noexec,rsize=1048576,,nocto,_netdev"));
        let expected = NfsOptions {
            read_only: false,
            no_exec: true,
            version: Some("4.1".into()),
            others: vec!["rsize=1048576".into(), "nocto".into()],
        };
        assert_eq!(options.unwrap(), expected);
        assert_eq!(NfsOptions::parse(None).unwrap(), NfsOptions::default());
        assert!(NfsOptions::parse(Some("ro")).unwrap().read_only);
    }

    #[test]
    fn what_is_not_is_named() {
        let options = "rw,suid,addr=10.0.0.1,dev,port=1,rsize=a,vers=2,clientaddr=::1,sec=krb5";
        let error = NfsOptions::parse(Some(options)).unwrap_err();
        assert_eq!(
            error,
            "these mount options cannot be set: suid, addr=10.0.0.1, dev, port=1, rsize=a, vers=2, \
             clientaddr=::1, sec=krb5; leave them out"
        );
    }

    #[test]
    fn the_newest_version_is_taken_unless_one_is_asked_for() {
        let spoken: Vec<String> = ["4.2", "4.1", "3"].map(str::to_owned).into();
        let version = |text: &str| {
            let options = NfsOptions::parse(Some(text)).unwrap();
            options.version(&spoken).map(str::to_owned)
        };
        assert_eq!(version("").unwrap(), "4.2");
        assert_eq!(version("vers=4").unwrap(), "4.2");
        assert_eq!(version("nfsvers=3").unwrap(), "3");
        let error = version("vers=4.0").unwrap_err();
        assert!(error.ends_with("4.2, 4.1, 3"), "{error}");
    }
}
